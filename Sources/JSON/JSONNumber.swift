import Memory

extension JSONNumber {
    /// Where the number that begins at `start` ends: `-? (0 | [1-9][0-9]*) (. [0-9]+)? ([eE] [+-]? [0-9]+)?`.
    static func end(in bytes: RawSpan, from start: Int) throws(JSONError) -> Int {
        var at = start
        if bytes[at] == UInt8(ascii: "-") { at &+= 1 }
        let digits = at
        at = try endOfDigits(in: bytes, from: at)
        // A leading zero is octal to some readers.
        if bytes[digits] == UInt8(ascii: "0"), at &- digits > 1 { throw .badNumber(offset: start) }
        if at < bytes.byteCount, bytes[at] == UInt8(ascii: ".") {
            at = try endOfDigits(in: bytes, from: at &+ 1)
        }
        if at < bytes.byteCount, bytes[at].lowercased == UInt8(ascii: "e") {
            at &+= 1
            if at < bytes.byteCount, bytes[at] == UInt8(ascii: "+") || bytes[at] == UInt8(ascii: "-") {
                at &+= 1
            }
            at = try endOfDigits(in: bytes, from: at)
        }
        return at
    }

    private static func endOfDigits(in bytes: RawSpan, from start: Int) throws(JSONError) -> Int {
        var at = start
        while at < bytes.byteCount, bytes[at].isDigit { at &+= 1 }
        if at == start {
            if start >= bytes.byteCount { throw .unfinished }
            throw .badNumber(offset: start)
        }
        return at
    }

    /// The number with the digits `text`, rounded down (`isRoundedUp`: up) to a whole one and held within plus and
    /// minus `bound`. Exact, with no floating point: a fraction or an exponent of any size is understood.
    public static func whole(_ text: RawSpan, isRoundedUp: Bool, bound: Int64) -> Int64 {
        precondition(bound > 0 && bound <= 1 << 53)
        if let number = smallWhole(text) { return min(number, bound) }
        let isNegative = text.byteCount > 0 && text[0] == UInt8(ascii: "-")
        let (magnitude, hasFraction) = magnitude(text, bound: bound)
        // Down from a negative number is away from zero.
        let isAway = hasFraction && isRoundedUp != isNegative
        let whole = isAway && magnitude < bound ? magnitude &+ 1 : magnitude
        return isNegative ? 0 &- whole : whole
    }

    /// Whether the number is below 10^308 in size, and so surely a finite one to every reader, whose numbers mostly are
    /// doubles (RFC 8259 §6).
    public static func isFinite(_ text: RawSpan) -> Bool {
        if smallWhole(text) != nil { return true }
        var digitsBeforePoint = 0
        var zerosInFront = 0
        var isZero = true
        var isBeforePoint = true
        var at = 0
        while at < text.byteCount, text[at].lowercased != UInt8(ascii: "e") {
            defer { at &+= 1 }
            guard text[at].isDigit else {
                if text[at] == UInt8(ascii: ".") { isBeforePoint = false }
                continue
            }
            if isBeforePoint { digitsBeforePoint &+= 1 }
            if text[at] != UInt8(ascii: "0") { isZero = false }
            if isZero { zerosInFront &+= 1 }
        }
        return isZero || digitsBeforePoint &- zerosInFront &+ exponent(text) <= 308
    }

    /// The number when it is written with one to fifteen digits and nothing else, as times mostly are.
    private static func smallWhole(_ text: RawSpan) -> Int64? {
        guard text.byteCount > 0, text.byteCount <= 15 else { return nil }
        var number: Int64 = 0
        for offset in 0..<text.byteCount {
            guard text[offset].isDigit else { return nil }
            number = number &* 10 &+ Int64(text[offset] &- 0x30)
        }
        return number
    }

    /// The size without the sign: whole part, at most `bound`, and whether anything but zeros follows it.
    private static func magnitude(_ text: RawSpan, bound: Int64) -> (Int64, Bool) {
        let exponent = exponent(text)
        // The decimal point stands `exponent` places further right than written.
        var digitsBeforePoint = 0
        var at = 0
        while at < text.byteCount, text[at].lowercased != UInt8(ascii: "e"), text[at] != UInt8(ascii: ".") {
            if text[at].isDigit { digitsBeforePoint &+= 1 }
            at &+= 1
        }
        let places = digitsBeforePoint &+ exponent
        var whole: Int64 = 0
        var hasFraction = false
        var index = 0
        at = 0
        while at < text.byteCount, text[at].lowercased != UInt8(ascii: "e") {
            defer { at &+= 1 }
            guard text[at].isDigit else { continue }
            let digit = Int64(text[at] &- 0x30)
            if index < places {
                whole = min(whole &* 10 &+ digit, bound)
            } else if digit != 0 {
                hasFraction = true
            }
            index &+= 1
        }
        // Zeros that the exponent adds behind the last digit; 17 of them exceed every bound.
        var missing = min(places &- index, 17)
        while missing > 0, whole > 0 {
            whole = min(whole &* 10, bound)
            missing &-= 1
        }
        return (whole, hasFraction)
    }

    /// The exponent, held within plus and minus a million, which is more than any text that we read is long.
    private static func exponent(_ text: RawSpan) -> Int {
        var at = 0
        while at < text.byteCount, text[at].lowercased != UInt8(ascii: "e") { at &+= 1 }
        var value = 0
        var isNegative = false
        while at < text.byteCount {
            if text[at] == UInt8(ascii: "-") { isNegative = true }
            if text[at].isDigit { value = min(value &* 10 &+ Int(text[at] &- 0x30), 10_000_000) }
            at &+= 1
        }
        return isNegative ? 0 &- value : value
    }
}
