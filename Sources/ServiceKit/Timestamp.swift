internal import Foundation

/// Unix time in milliseconds, the one form in which the stores keep time.
public enum Timestamp {
    /// The wall clock, read now.
    public static var now: Int64 { Int64(Date().timeIntervalSince1970 * 1000) }

    /// RFC 3339 text in UTC with milliseconds, the one form in which the interfaces tell time.
    public static func text(_ milliseconds: Int64) -> String {
        Date(timeIntervalSince1970: Double(milliseconds) / 1000)
            .formatted(Date.ISO8601FormatStyle(includingFractionalSeconds: true))
    }
}
