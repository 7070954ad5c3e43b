internal import Foundation

/// Unix time in milliseconds, the one form in which the stores keep time.
public enum Timestamp {
    /// The wall clock, read now.
    public static var now: Int64 { Int64(Date().timeIntervalSince1970 * 1000) }

    /// RFC 3339 text in UTC with milliseconds, the one form in which the interfaces tell time.
    public static func text(_ milliseconds: Int64) -> String {
        // The milliseconds are put in as whole numbers: a Double of seconds may fall just short of them.
        let thousandths = ((milliseconds % 1_000) + 1_000) % 1_000
        let seconds = Date(timeIntervalSince1970: Double((milliseconds - thousandths) / 1_000))
            .formatted(Date.ISO8601FormatStyle())
        return "\(seconds.dropLast()).\(String(thousandths + 1_000).dropFirst())Z"
    }

    /// The time that an RFC 3339 text in UTC tells, with or without a fraction of a second; `nil` when it is none.
    public static func milliseconds(_ text: String) -> Int64? {
        guard text.utf8.count <= 32 else { return nil }
        let style = Date.ISO8601FormatStyle(includingFractionalSeconds: text.contains("."))
        // A year of many digits is more than the milliseconds can hold.
        return (try? style.parse(text)).flatMap {
            Int64(exactly: ($0.timeIntervalSince1970 * 1_000).rounded())
        }
    }
}
