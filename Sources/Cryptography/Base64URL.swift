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
