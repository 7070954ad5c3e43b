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

    /// A hash of the resolved bytes, a word of them at a time. It only saves comparisons: names that collide are still
    /// compared, and there are few of them.
    static func hash(_ text: JSONText, in source: RawSpan) -> UInt32 {
        if text.isEscaped { return hashResolved(source) }
        var hash: UInt64 = 0
        var offset = 0
        while offset &+ 8 <= source.byteCount {
            hash = mixed(hash, UInt64(littleEndian: source.word(at: offset)))
            offset &+= 8
        }
        hash = mixed(hash, source.word(at: offset, count: source.byteCount &- offset))
        return UInt32(truncatingIfNeeded: hash)
    }

    private static func hashResolved(_ source: RawSpan) -> UInt32 {
        var cursor = EscapeCursor()
        var (hash, word, count): (UInt64, UInt64, UInt64) = (0, 0, 0)
        while let byte = cursor.next(in: source) {
            word |= UInt64(byte) &<< ((count & 7) &* 8)
            count &+= 1
            guard count & 7 == 0 else { continue }
            hash = mixed(hash, word)
            word = 0
        }
        return UInt32(truncatingIfNeeded: mixed(hash, word))
    }

    /// The odd factor is 2^64 divided by the golden ratio. The upper half of the product depends on all bits of the word, and
    /// is brought down to where it is kept.
    private static func mixed(_ hash: UInt64, _ word: UInt64) -> UInt64 {
        let product = (hash ^ word) &* 0x9e37_79b9_7f4a_7c15
        return product ^ product &>> 32
    }
}

/// The shape of UTF-8 (RFC 3629 §4).
enum UTF8Form {
    /// Where the first byte at or past `from` stands that is not a whole character and itself in a string of JSON: a quote,
    /// a backslash, a control byte, or one beyond ASCII. `byteCount` when there is none.
    static func endOfPlain(in bytes: RawSpan, from: Int) -> Int {
        var at = from
        let ones: UInt64 = 0x0101_0101_0101_0101
        while at &+ 8 <= bytes.byteCount {
            let word = UInt64(littleEndian: bytes.word(at: at))
            // The top bit of a byte: where a quote or a backslash was made zero and less, where less than a space is left
            // of it, and where it is set already. Borrowed is from such a byte only, so the lowest that is marked is one.
            let quote = (word ^ (0x22 &* ones)) &- ones
            let backslash = (word ^ (0x5c &* ones)) &- ones
            let control = word &- (0x20 &* ones)
            let marks = (quote | backslash | control | word) & (0x80 &* ones)
            if marks != 0 { return at &+ marks.trailingZeroBitCount &>> 3 }
            at &+= 8
        }
        while at < bytes.byteCount {
            let byte = bytes[at]
            if byte == UInt8(ascii: "\"") || byte == UInt8(ascii: "\\") || byte < 0x20 || byte >= 0x80 {
                return at
            }
            at &+= 1
        }
        return at
    }

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
