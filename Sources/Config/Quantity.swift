/// The units of the format: text -> number, and back for messages. Nothing but digits and one unit is taken: no sign, no
/// fraction, no space, no leading zero, so that a number has one spelling a unit.
enum Quantity {
    static let millisecond = 1_000_000
    static let second = 1_000 * millisecond
    static let minute = 60 * second
    static let hour = 60 * minute
    static let day = 24 * hour
    static let kibibyte = 1 << 10
    static let mebibyte = 1 << 20
    static let gibibyte = 1 << 30

    // The longer unit stands first where one ends with another.
    private static let durationUnits = [("ms", millisecond), ("s", second), ("m", minute), ("h", hour)]
    private static let sizeUnits = [("KiB", kibibyte), ("MiB", mebibyte), ("GiB", gibibyte), ("B", 1)]
    private static let windows = [("/s", second), ("/min", minute), ("/h", hour)]

    /// A count. `nil` for anything else, and for what exceeds `Int`.
    static func integer(_ text: String) -> Int? { integer(text.utf8[...]) }

    /// Nanoseconds.
    static func duration(_ text: String) -> Int? { scaled(text, durationUnits) }

    /// Nanoseconds, for what lasts for days.
    static func longDuration(_ text: String) -> Int? { scaled(text, durationUnits + [("d", day)]) }

    /// Bytes.
    static func size(_ text: String) -> Int? { scaled(text, sizeUnits) }

    /// So many a second, minute or hour.
    static func rate(_ text: String) -> Rate? {
        for (suffix, window) in windows where text.hasSuffix(suffix) {
            guard let count = integer(text.utf8.dropLast(suffix.utf8.count)) else { return nil }
            return Rate(count: count, windowNanoseconds: window)
        }
        return nil
    }

    /// Nanoseconds in the largest unit that says them exactly.
    static func durationText(_ nanoseconds: Int) -> String {
        guard nanoseconds > 0 else { return "0s" }
        return text(nanoseconds, durationUnits)
    }

    /// The same, in days where they say it.
    static func longDurationText(_ nanoseconds: Int) -> String {
        guard nanoseconds > 0 else { return "0s" }
        return text(nanoseconds, durationUnits + [("d", day)])
    }

    /// Bytes in the largest unit that says them exactly.
    static func sizeText(_ bytes: Int) -> String {
        guard bytes > 0 else { return "0B" }
        return text(bytes, sizeUnits)
    }

    private static func integer(_ digits: Substring.UTF8View) -> Int? {
        guard let first = digits.first, first != UInt8(ascii: "0") || digits.count == 1 else { return nil }
        var value = 0
        for digit in digits {
            guard (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(digit) else { return nil }
            let (tenfold, overflowed) = value.multipliedReportingOverflow(by: 10)
            let (sum, overflowedAgain) = tenfold.addingReportingOverflow(Int(digit - UInt8(ascii: "0")))
            guard !overflowed, !overflowedAgain else { return nil }
            value = sum
        }
        return value
    }

    private static func scaled(_ text: String, _ units: [(suffix: String, factor: Int)]) -> Int? {
        for unit in units where text.hasSuffix(unit.suffix) {
            guard let count = integer(text.utf8.dropLast(unit.suffix.utf8.count)) else { return nil }
            let (value, overflowed) = count.multipliedReportingOverflow(by: unit.factor)
            return overflowed ? nil : value
        }
        return nil
    }

    private static func text(_ value: Int, _ units: [(suffix: String, factor: Int)]) -> String {
        let exact = units.filter { value % $0.factor == 0 }.max { $0.factor < $1.factor }
        guard let exact else { return "\(value)" }
        return "\(value / exact.factor)\(exact.suffix)"
    }
}
