internal import Memory

/// Unix time as RFC 3339 text with milliseconds, UTC: `2026-11-21T02:35:38.123Z`. The second of the last text is kept,
/// so that most lines cost three digits.
struct Timestamp: Sendable {
    private var second: UInt64 = .max
    private var text = InlineArray<24, UInt8>(repeating: UInt8(ascii: "0"))

    /// Years have four digits.
    static let last: UInt64 = 253_402_300_799_999

    init() {}

    /// Appends the 24 bytes.
    mutating func append(milliseconds: UInt64, to block: inout Block) {
        let time = min(milliseconds, Self.last)
        let now = time / 1000
        if now != second { render(now) }
        let rest = time &- now &* 1000
        text[20] = Self.digit(rest / 100)
        text[21] = Self.digit(rest / 10 % 10)
        text[22] = Self.digit(rest % 10)
        block.append(text.rawSpan)
    }

    private static func digit(_ value: UInt64) -> UInt8 { 0x30 &+ UInt8(truncatingIfNeeded: value) }

    private mutating func put(_ value: UInt64, at offset: Int, digits: Int, then mark: UInt8) {
        var left = value
        for place in (offset..<(offset + digits)).reversed() {
            text[place] = Self.digit(left % 10)
            left /= 10
        }
        text[offset + digits] = mark
    }

    private mutating func render(_ second: UInt64) {
        self.second = second
        let date = Self.date(day: second / 86400)
        let clock = second % 86400
        put(date.year, at: 0, digits: 4, then: UInt8(ascii: "-"))
        put(date.month, at: 5, digits: 2, then: UInt8(ascii: "-"))
        put(date.day, at: 8, digits: 2, then: UInt8(ascii: "T"))
        put(clock / 3600, at: 11, digits: 2, then: UInt8(ascii: ":"))
        put(clock / 60 % 60, at: 14, digits: 2, then: UInt8(ascii: ":"))
        put(clock % 60, at: 17, digits: 2, then: UInt8(ascii: "."))
        text[23] = UInt8(ascii: "Z")
    }

    /// The Gregorian date of a day since 1970-01-01 (Howard Hinnant, "chrono-compatible low-level date algorithms",
    /// civil_from_days): years are counted from March, so that the leap day comes last.
    private static func date(day: UInt64) -> (year: UInt64, month: UInt64, day: UInt64) {
        let shifted = day + 719_468
        let era = shifted / 146_097
        let dayOfEra = shifted % 146_097
        let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let march = (5 * dayOfYear + 2) / 153
        let month = march < 10 ? march + 3 : march - 9
        return (yearOfEra + era * 400 + (month <= 2 ? 1 : 0), month, dayOfYear - (153 * march + 2) / 5 + 1)
    }
}
