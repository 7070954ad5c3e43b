internal import Memory

extension Block {
    /// The mark at the end of a text that was cut.
    private static var cut: StaticString { "\u{2026}" }

    /// Bytes that a text with this limit takes at most, with its quotes.
    static func longestText(_ limit: Int) -> Int { limit + 5 }

    /// Appends `value` as a JSON string of at most `limit` bytes between its quotes, cut with an ellipsis beyond them.
    ///
    /// Control bytes (of C1 too) and DEL are written as `\u00XX`; a byte that is not part of valid UTF-8 as `\\xNN`,
    /// which reads back as the text `\xNN`. The block must have room for `longestText(limit)` bytes.
    mutating func append(jsonString value: RawSpan, limit: Int) {
        append(UInt8(ascii: "\""))
        var offset = 0
        var left = limit
        while true {
            let end = Self.endOfPlain(value, from: offset, upTo: min(value.byteCount, offset &+ left))
            append(value.extracting(offset..<end))
            left &-= end &- offset
            offset = end
            guard offset < value.byteCount else { break }
            let taken = left > 0 ? appendSpecial(value, at: offset, &left) : 0
            guard taken > 0 else {
                append(Self.cut)
                break
            }
            offset &+= taken
        }
        append(UInt8(ascii: "\""))
    }

    /// The first offset from `start` whose byte is not plain; `end` when all are.
    private static func endOfPlain(_ value: RawSpan, from start: Int, upTo end: Int) -> Int {
        var offset = start
        while offset &+ 8 <= end {
            let hits = special(UInt64(littleEndian: value.word(at: offset)))
            if hits != 0 { return offset &+ hits.trailingZeroBitCount &>> 3 }
            offset &+= 8
        }
        let left = end &- offset
        guard left > 0 else { return end }
        if end &- start >= 8 {
            // The first of these have been looked at, and are plain.
            let hits = special(UInt64(littleEndian: value.word(at: end &- 8)))
            return hits == 0 ? end : end &- 8 &+ hits.trailingZeroBitCount &>> 3
        }
        // The zeros above the last bytes count as control bytes: there is a hit at `end` at the latest.
        let hits = special(value.word(at: offset, count: left))
        return offset &+ hits.trailingZeroBitCount &>> 3
    }

    /// A word with the top bit set in each byte that is not plain.
    @inline(__always) private static func special(_ word: UInt64) -> UInt64 {
        let ones: UInt64 = 0x0101_0101_0101_0101
        let low = word & (ones &* 0x7f)
        // No sum carries into the next byte: its top bit is the answer.
        let isNoQuote = (low ^ (ones &* 0x22)) &+ ones &* 0x7f
        let isNoBackslash = (low ^ (ones &* 0x5c)) &+ ones &* 0x7f
        let isNoControl = low &+ ones &* 0x60
        let isDelete = low &+ ones
        return (~(isNoQuote & isNoBackslash & isNoControl) | isDelete | word) & 0x8080_8080_8080_8080
    }

    /// Appends what is not plain at `offset`; how many bytes of `value` that was, 0 when it does not fit in `left`.
    private mutating func appendSpecial(_ value: RawSpan, at offset: Int, _ left: inout Int) -> Int {
        let byte = value[offset]
        if byte == UInt8(ascii: "\"") || byte == UInt8(ascii: "\\") {
            guard left >= 2 else { return 0 }
            left &-= 2
            append(UInt8(ascii: "\\"))
            append(byte)
            return 1
        }
        if byte < 0x80 {
            return appendEscape("\\u00", byte, &left) ? 1 : 0
        }
        let count = UTF8Sequence.length(value, at: offset)
        if count == 0 { return appendEscape("\\\\x", byte, &left) ? 1 : 0 }
        if count == 2, byte == 0xc2, value[offset &+ 1] < 0xa0 {
            return appendEscape("\\u00", value[offset &+ 1], &left) ? 2 : 0
        }
        guard left >= count else { return 0 }
        left &-= count
        append(value.extracting(offset..<(offset &+ count)))
        return count
    }

    private mutating func appendEscape(_ start: StaticString, _ byte: UInt8, _ left: inout Int) -> Bool {
        let count = start.utf8CodeUnitCount &+ 2
        guard left >= count else { return false }
        left &-= count
        append(start)
        append(Self.hexDigit(byte &>> 4))
        append(Self.hexDigit(byte & 15))
        return true
    }

    private static func hexDigit(_ value: UInt8) -> UInt8 { value < 10 ? 0x30 &+ value : 0x57 &+ value }
}

/// Well-formed byte sequences of UTF-8 (RFC 3629 §4).
enum UTF8Sequence {
    /// How many bytes the sequence at `offset` has, whose first byte is 0x80 or above; 0 when it is not well-formed.
    static func length(_ bytes: RawSpan, at offset: Int) -> Int {
        let first = bytes[offset]
        let count = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2
        guard first >= 0xc2, first <= 0xf4, bytes.byteCount &- offset >= count else { return 0 }
        // The second byte's range shuts out overlong forms, surrogates, and what is past U+10FFFF.
        let second = bytes[offset &+ 1]
        let low: UInt8 = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80
        let high: UInt8 = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf
        guard second >= low, second <= high else { return 0 }
        var index = 2
        while index < count {
            guard bytes[offset &+ index] & 0xc0 == 0x80 else { return 0 }
            index &+= 1
        }
        return count
    }
}
