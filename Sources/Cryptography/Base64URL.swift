public import Memory

/// Base64 with the URL alphabet, as JOSE has it (RFC 4648 §5, RFC 7515 §2): no padding, no line breaks, and one text
/// only for each sequence of bytes.
public enum Base64URL {
    /// How many bytes `textCount` characters stand for; `nil` when no text has that length.
    @inlinable public static func decodedCount(_ textCount: Int) -> Int? {
        guard textCount >= 0, textCount & 3 != 1 else { return nil }
        return textCount / 4 &* 3 &+ (textCount & 3 == 0 ? 0 : (textCount & 3) &- 1)
    }

    /// Decodes `text` to `offset` of `target`; returns how many bytes it wrote.
    ///
    /// `nil` when a character is not of the alphabet, when the length is impossible, when the bits that stand for no
    /// byte are not zero (RFC 4648 §3.5: else one token has many spellings, and a cache of refused ones is walked
    /// round), or when it does not fit.
    public static func decode(_ text: RawSpan, into target: inout FixedBytes, at offset: Int) -> Int? {
        guard let count = decodedCount(text.byteCount), offset >= 0, offset <= target.count,
            count <= target.count &- offset
        else { return nil }
        // An invalid character has a value above 63; all are gathered here and judged once.
        var seen: UInt8 = 0
        var from = 0
        var to = offset
        // Eight characters are six bytes. A word of two more is written, so the last ones are done one by one.
        while from &+ 8 <= text.byteCount, to &+ 8 <= offset &+ count {
            guard let bits = eight(text.word(at: from)) else { return nil }
            target.store((bits &<< 16).byteSwapped, at: to)
            from &+= 8
            to &+= 6
        }
        while from &+ 4 <= text.byteCount {
            let first = value(text[from])
            let second = value(text[from &+ 1])
            let third = value(text[from &+ 2])
            let fourth = value(text[from &+ 3])
            seen |= first | second | third | fourth
            target[to] = first &<< 2 | second &>> 4
            target[to &+ 1] = second &<< 4 | third &>> 2
            target[to &+ 2] = third &<< 6 | fourth
            from &+= 4
            to &+= 3
        }
        switch text.byteCount &- from {
        case 2:
            let first = value(text[from])
            let second = value(text[from &+ 1])
            seen |= first | second
            target[to] = first &<< 2 | second &>> 4
            if second & 0x0f != 0 { return nil }
        case 3:
            let first = value(text[from])
            let second = value(text[from &+ 1])
            let third = value(text[from &+ 2])
            seen |= first | second | third
            target[to] = first &<< 2 | second &>> 4
            target[to &+ 1] = second &<< 4 | third &>> 2
            if third & 0x03 != 0 { return nil }
        default: break
        }
        return seen & 0xc0 == 0 ? count : nil
    }

    private static let lows: UInt64 = 0x0101_0101_0101_0101
    private static let highs: UInt64 = 0x8080_8080_8080_8080

    /// The high bit of each byte of `word`, all of which are below 128, that is at least `bound`.
    @inline(__always) private static func atLeast(_ bound: UInt64, _ word: UInt64) -> UInt64 {
        (word &+ (0x80 &- bound) &* lows) & highs
    }

    /// The 48 bits that eight characters stand for, the first of which is in the lowest byte; `nil` when one is outside the
    /// alphabet. A third of the instructions of one character after the other, since all eight are classed at once: a byte
    /// of each mask is 0 or 1, and no sum or difference leaves its byte.
    @inline(__always) private static func eight(_ word: UInt64) -> UInt64? {
        guard word & highs == 0 else { return nil }
        let (digits, large, small) = (
            atLeast(0x30, word) & ~atLeast(0x3a, word), atLeast(0x41, word) & ~atLeast(0x5b, word),
            atLeast(0x61, word) & ~atLeast(0x7b, word)
        )
        let (minus, line) = (
            atLeast(0x2d, word) & ~atLeast(0x2e, word), atLeast(0x5f, word) & ~atLeast(0x60, word)
        )
        guard digits | large | small | minus | line == highs else { return nil }
        let more = (digits &>> 7) &* 4 &+ (minus &>> 7) &* 17
        let less = (large &>> 7) &* 65 &+ (small &>> 7) &* 71 &+ (line &>> 7) &* 32
        var bits = (word &+ more &- less).byteSwapped
        bits = (bits & 0x3f00_3f00_3f00_3f00) &>> 2 | bits & 0x003f_003f_003f_003f
        bits = (bits & 0x0fff_0000_0fff_0000) &>> 4 | bits & 0x0000_0fff_0000_0fff
        return (bits & 0x00ff_ffff_0000_0000) &>> 8 | bits & 0x00ff_ffff
    }

    /// The six bits that `character` stands for; 255 for one outside the alphabet. Written as selections, since
    /// branches on random text are mispredicted.
    @inline(__always) static func value(_ character: UInt8) -> UInt8 {
        var bits: UInt8 = 255
        bits = character &- 0x41 < 26 ? character &- 0x41 : bits
        bits = character &- 0x61 < 26 ? character &- 0x61 &+ 26 : bits
        bits = character &- 0x30 < 10 ? character &- 0x30 &+ 52 : bits
        bits = character == 0x2d ? 62 : bits
        bits = character == 0x5f ? 63 : bits
        return bits
    }
}
