public import Memory

/// Writes strings as JSON, quotes included, so that every reader sees one string on one line: control characters
/// (also DEL and U+0080 to U+009F, which terminals act on) are escaped, and a byte that is not UTF-8 becomes `\ufffd`.
public enum JSONWriter {
    /// Appends `text`; `false`, with nothing appended, when `block` has no room for it.
    public static func append(_ text: RawSpan, to block: inout Block) -> Bool {
        // Six bytes for one is the worst: most texts need not be measured.
        if block.freeCount < text.byteCount &* 6 &+ 2, block.freeCount < byteCount(text) { return false }
        block.append(UInt8(ascii: "\""))
        var offset = 0
        while offset < text.byteCount {
            let plainEnd = endOfPlain(text, from: offset)
            block.append(text.extracting(offset..<plainEnd))
            offset = plainEnd
            guard offset < text.byteCount else { break }
            let (escape, length) = escape(text, at: offset)
            for index in 0..<escape.count { block.append(escape.byte(index)) }
            offset &+= length
        }
        block.append(UInt8(ascii: "\""))
        return true
    }

    /// Appends `text`; `false` when `pool` has no block left for it. What was written until then stays: the caller
    /// drops the queue.
    public static func append(
        _ text: RawSpan, to queue: inout ByteQueue, from pool: borrowing BlockPool
    ) -> Bool {
        guard queue.append(UInt8(ascii: "\""), from: pool) else { return false }
        var offset = 0
        while offset < text.byteCount {
            let plainEnd = endOfPlain(text, from: offset)
            guard queue.append(text.extracting(offset..<plainEnd), from: pool) else { return false }
            offset = plainEnd
            guard offset < text.byteCount else { break }
            let (escape, length) = escape(text, at: offset)
            for index in 0..<escape.count {
                guard queue.append(escape.byte(index), from: pool) else { return false }
            }
            offset &+= length
        }
        return queue.append(UInt8(ascii: "\""), from: pool)
    }

    /// How many bytes `text` is as a JSON string, quotes included.
    public static func byteCount(_ text: RawSpan) -> Int {
        var count = 2
        var offset = 0
        while offset < text.byteCount {
            let plainEnd = endOfPlain(text, from: offset)
            count &+= plainEnd &- offset
            offset = plainEnd
            guard offset < text.byteCount else { break }
            let (escape, length) = escape(text, at: offset)
            count &+= escape.count
            offset &+= length
        }
        return count
    }

    /// Where the run of bytes that stand for themselves ends.
    private static func endOfPlain(_ text: RawSpan, from start: Int) -> Int {
        var at = start
        while at < text.byteCount {
            let byte = text[at]
            if byte < 0x80 {
                guard byte >= 0x20, byte != UInt8(ascii: "\""), byte != UInt8(ascii: "\\"), byte != 0x7f
                else { return at }
                at &+= 1
                continue
            }
            let length = UTF8Form.sequenceLength(in: text, at: at)
            if length == 0 || (byte == 0xc2 && text[at &+ 1] < 0xa0) { return at }
            at &+= length
        }
        return at
    }

    /// At most six bytes, the first in the lowest.
    private struct Escape {
        let word: UInt64
        let count: Int

        func byte(_ index: Int) -> UInt8 { UInt8(truncatingIfNeeded: word &>> UInt64(index &* 8)) }

        /// A backslash and `letter`.
        init(letter: UInt8) {
            word = UInt64(letter) &<< 8 | 0x5c
            count = 2
        }

        /// A backslash, `u` and four digits.
        init(unit: UInt16) {
            var built: UInt64 = 0x755c
            for index in 0..<4 {
                let digit = UInt8(truncatingIfNeeded: unit &>> UInt16(12 &- index &* 4)) & 15
                built |= UInt64(digit < 10 ? 0x30 &+ digit : 0x57 &+ digit) &<< UInt64(16 &+ index &* 8)
            }
            word = built
            count = 6
        }
    }

    /// What is written in place of the byte or character at `at`, and how many bytes that is.
    private static func escape(_ text: RawSpan, at: Int) -> (Escape, Int) {
        let byte = text[at]
        switch byte {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"): return (Escape(letter: byte), 1)
        case 0x0a: return (Escape(letter: UInt8(ascii: "n")), 1)
        case 0x0d: return (Escape(letter: UInt8(ascii: "r")), 1)
        case 0x09: return (Escape(letter: UInt8(ascii: "t")), 1)
        case 0..<0x80: return (Escape(unit: UInt16(byte)), 1)
        case 0xc2 where UTF8Form.sequenceLength(in: text, at: at) == 2:
            return (Escape(unit: UInt16(text[at &+ 1])), 2)
        default: return (Escape(unit: 0xfffd), 1)
        }
    }
}
