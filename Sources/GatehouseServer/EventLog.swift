import JSON
import LinuxIO
import Memory

/// What the gateway says about itself: one JSON line an event, on standard error. For the control side.
public struct EventLog: Sendable {
    public enum Level: Int, Sendable, Comparable {
        case debug, info, warning, error

        public static func < (left: Level, right: Level) -> Bool { left.rawValue < right.rawValue }

        var name: String {
            switch self {
            case .debug: "debug"
            case .info: "info"
            case .warning: "warning"
            case .error: "error"
            }
        }
    }

    let level: Level

    /// Events below `level` are not written.
    public init(level: Level) { self.level = level }

    /// Writes one event; `fields` in their order, values as text.
    public func tell(_ eventLevel: Level, _ event: String, _ fields: [(String, String)] = []) {
        guard eventLevel >= level else { return }
        var line =
            "{\"time\":\"\(EventLog.time())\",\"level\":\"\(eventLevel.name)\",\"event\":\(EventLog.quoted(event))"
        for (name, value) in fields { line += ",\(EventLog.quoted(name)):\(EventLog.quoted(value))" }
        Files.write(line + "}\n", to: 2)
    }

    static func quoted(_ text: String) -> String {
        var result = "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"": result += "\\\""
            case "\\": result += "\\\\"
            case "\n": result += "\\n"
            default:
                if scalar.value < 0x20 || scalar.value == 0x7f {
                    let digits = String(scalar.value, radix: 16)
                    result += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
                } else {
                    result.unicodeScalars.append(scalar)
                }
            }
        }
        return result + "\""
    }

    static func time() -> String { text(milliseconds: Int(Clock.wall() / 1_000_000)) }

    /// RFC 3339, UTC, from milliseconds since 1970.
    static func text(milliseconds: Int) -> String {
        let (days, rest) = (milliseconds / 86_400_000, milliseconds % 86_400_000)
        // Civil date from days since 1970, by eras of 400 years that begin in March.
        let shifted = days + 719_468
        let era = shifted / 146_097
        let dayOfEra = shifted % 146_097
        let year = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * year + year / 4 - year / 100)
        let month = (5 * dayOfYear + 2) / 153
        let day = dayOfYear - (153 * month + 2) / 5 + 1
        let civilMonth = month < 10 ? month + 3 : month - 9
        let civilYear = year + era * 400 + (civilMonth <= 2 ? 1 : 0)
        func two(_ value: Int) -> String { value < 10 ? "0\(value)" : "\(value)" }
        let thousandths = rest % 1000
        let fraction =
            thousandths < 10 ? "00\(thousandths)" : thousandths < 100 ? "0\(thousandths)" : "\(thousandths)"
        let seconds = rest / 1000
        return "\(civilYear)-\(two(civilMonth))-\(two(day))T\(two(seconds / 3600)):\(two(seconds / 60 % 60)):"
            + "\(two(seconds % 60)).\(fraction)Z"
    }
}
