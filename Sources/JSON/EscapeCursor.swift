import Memory

/// Walks the bytes that a string stands for, its escapes resolved. The string was checked by the reader.
struct EscapeCursor {
    private var at = 0
    /// UTF-8 bytes of an escape that are still to come, the next in the lowest byte.
    private var pending: UInt32 = 0
    private var pendingCount = 0

    /// The next byte of `source`, the inside of a string; `nil` at its end.
    mutating func next(in source: RawSpan) -> UInt8? {
        if pendingCount > 0 {
            let byte = UInt8(truncatingIfNeeded: pending)
            pending &>>= 8
            pendingCount &-= 1
            return byte
        }
        guard at < source.byteCount else { return nil }
        let byte = source[at]
        at &+= 1
        guard byte == UInt8(ascii: "\\"), at < source.byteCount else { return byte }
        let kind = source[at]
        at &+= 1
        switch kind {
        case UInt8(ascii: "b"): return 0x08
        case UInt8(ascii: "f"): return 0x0c
        case UInt8(ascii: "n"): return 0x0a
        case UInt8(ascii: "r"): return 0x0d
        case UInt8(ascii: "t"): return 0x09
        case UInt8(ascii: "u"): return character(in: source)
        default: return kind
        }
    }

    /// Reads the digits of `\u` (and its second half); returns the first byte of the character and keeps the rest.
    private mutating func character(in source: RawSpan) -> UInt8? {
        guard let first = EscapeCursor.unit(in: source, at: at) else { return nil }
        at &+= 4
        var scalar = UInt32(first)
        if first & 0xfc00 == 0xd800, let second = EscapeCursor.unit(in: source, at: at &+ 2) {
            at &+= 6
            scalar = 0x10000 &+ (UInt32(first) & 0x3ff) &<< 10 &+ (UInt32(second) & 0x3ff)
        }
        if scalar < 0x80 { return UInt8(truncatingIfNeeded: scalar) }
        let last = 0x80 | scalar & 0x3f
        let middle = 0x80 | scalar &>> 6 & 0x3f
        if scalar < 0x800 {
            pending = last
            pendingCount = 1
            return UInt8(truncatingIfNeeded: 0xc0 | scalar &>> 6)
        }
        if scalar < 0x10000 {
            pending = middle | last &<< 8
            pendingCount = 2
            return UInt8(truncatingIfNeeded: 0xe0 | scalar &>> 12)
        }
        pending = 0x80 | scalar &>> 12 & 0x3f | middle &<< 8 | last &<< 16
        pendingCount = 3
        return UInt8(truncatingIfNeeded: 0xf0 | scalar &>> 18)
    }

    /// The four hexadecimal digits at `at`.
    static func unit(in source: RawSpan, at: Int) -> UInt16? {
        guard at >= 0, at &+ 4 <= source.byteCount else { return nil }
        var unit: UInt16 = 0
        for index in 0..<4 {
            guard let digit = source[at &+ index].hexValue else { return nil }
            unit = unit &<< 4 | UInt16(digit)
        }
        return unit
    }

    /// FNV-1a over the resolved bytes. It only saves comparisons: names that collide are still compared, and there
    /// are few of them.
    static func hash(_ text: JSONText, in source: RawSpan) -> UInt32 {
        var hash: UInt32 = 0x811c_9dc5
        if !text.isEscaped {
            for offset in 0..<source.byteCount { hash = (hash ^ UInt32(source[offset])) &* 0x0100_0193 }
            return hash
        }
        var cursor = EscapeCursor()
        while let byte = cursor.next(in: source) { hash = (hash ^ UInt32(byte)) &* 0x0100_0193 }
        return hash
    }
}

/// The shape of UTF-8 (RFC 3629 §4).
enum UTF8Form {
    /// How many bytes the character at `at` has; 0 when the bytes are not UTF-8. Overlong forms, surrogates and
    /// what lies above U+10FFFF are not.
    static func sequenceLength(in bytes: RawSpan, at: Int) -> Int {
        let left = bytes.byteCount &- at
        guard at >= 0, left > 0 else { return 0 }
        let first = bytes[at]
        if first < 0x80 { return 1 }
        guard first >= 0xc2, first <= 0xf4, left >= 2 else { return 0 }
        let second = bytes[at &+ 1]
        if first < 0xe0 { return isContinuation(second) ? 2 : 0 }
        let lowest: UInt8 = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80
        let highest: UInt8 = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf
        guard second >= lowest, second <= highest, left >= 3, isContinuation(bytes[at &+ 2]) else { return 0 }
        if first < 0xf0 { return 3 }
        return left >= 4 && isContinuation(bytes[at &+ 3]) ? 4 : 0
    }

    private static func isContinuation(_ byte: UInt8) -> Bool { byte & 0xc0 == 0x80 }
}
