public import Memory

/// Why a path has no normal form; 400 for all of them.
@frozen public enum PathError: UInt8, Error, Equatable, Sendable {
    /// Does not begin with `/`.
    case notAbsolute
    /// `%` without two hexadecimal digits.
    case badPercentEncoding
    /// `%00`.
    case encodedNul
    /// `\` or `%5C`, which some services take for `/`.
    case backslash
    /// A control byte, a space, `#`, `?` or a byte above 0x7e, as it is.
    case badByte
    /// More `..` than segments before them.
    case aboveRoot
    /// Longer than the block that it is written to.
    case tooLong
}

/// What `PathForm.normalize` found.
@frozen public enum PathAnswer: Equatable, Sendable {
    /// The path is in normal form as it came.
    case unchanged
    /// The block holds the normal form.
    case rewritten
    case refused(PathError)
}

/// The one form of a path that is matched and forwarded: dot segments resolved, unreserved characters decoded, other
/// percent-encodings in upper case (RFC 3986 §6.2.2), and empty segments merged unless that is switched off.
///
/// `%2F` stays: decoded, it would make two segments of one. A path in normal form is its own normal form.
public enum PathForm {
    /// `raw` is a path without its query; `*` is the caller's. `block` is emptied when the answer is `.rewritten`.
    /// `..` above the root is refused: clamped there, as RFC 3986 §5.2.4 has it, it hides an attempt to leave.
    @inlinable public static func normalize(_ raw: RawSpan, mergeSlashes: Bool, into block: inout Block)
        -> PathAnswer
    {
        normalize(ByteRange(start: 0, end: raw.byteCount), of: raw, mergeSlashes: mergeSlashes, into: &block)
    }

    /// The same for the path that is `range` of `bytes`; looks past the path when bytes are there.
    @inlinable @inline(__always) public static func normalize(
        _ range: ByteRange, of bytes: RawSpan, mergeSlashes: Bool, into block: inout Block
    ) -> PathAnswer {
        let raw = bytes[range]
        if isPlain(range, of: bytes) { return .unchanged }
        return rewrite(raw, mergeSlashes: mergeSlashes, into: &block)
    }

    /// Whether nothing in the path needs a closer look; as below, sixteen bytes at a time.
    @inlinable @inline(__always) static func isPlain(_ range: ByteRange, of bytes: RawSpan) -> Bool {
        guard !range.isEmpty, bytes[range.lowerBound] == 0x2f else { return false }
        let end = range.upperBound
        var offset = range.lowerBound &+ 1
        while offset < end {
            guard let place = bytes.notPlainPath(in16: offset) else { return isPlain(bytes[range]) }
            if place < 16 { return offset &+ place >= end }
            offset &+= 16
        }
        return true
    }

    /// Whether nothing in `raw` needs a closer look: no percent-encoding, no byte to refuse, no `/` before `/` or `.`.
    /// May be `false` for a path that is normal all the same.
    @inlinable static func isPlain(_ raw: RawSpan) -> Bool {
        guard raw.byteCount > 0, raw[0] == 0x2f else { return false }
        var offset = 0
        // The high bit of the first byte when the byte before it was `/`.
        var isBehindSlash: UInt64 = 0
        while offset <= raw.byteCount &- 8 {
            let word = raw.word(at: offset)
            let slashes = ByteWord.equal(word, 0x2f)
            let dots = ByteWord.equal(word, 0x2e)
            let refused =
                ByteWord.below(word, 0x21) | ByteWord.equal(word, 0x7f) | ByteWord.equal(word, 0x23)
                | ByteWord.equal(word, 0x3f) | (word & ByteWord.highs)
            let odd = refused | ByteWord.equal(word, 0x25) | ByteWord.equal(word, 0x5c)
            let behind = slashes &<< 8 | isBehindSlash
            if odd | (behind & (slashes | dots)) != 0 { return false }
            isBehindSlash = slashes &>> 56
            offset &+= 8
        }
        var previous: UInt8 = isBehindSlash != 0 ? 0x2f : 0
        while offset < raw.byteCount {
            let byte = raw[offset]
            guard ByteSet.target.contains(byte), byte != 0x3f, byte != 0x25, byte != 0x5c else {
                return false
            }
            if previous == 0x2f, byte == 0x2f || byte == 0x2e { return false }
            previous = byte
            offset &+= 1
        }
        return true
    }

    @usableFromInline static func rewrite(_ raw: RawSpan, mergeSlashes: Bool, into block: inout Block)
        -> PathAnswer
    {
        guard raw.byteCount > 0, raw[0] == 0x2f else { return .refused(.notAbsolute) }
        block.removeAll()
        // The normal form is never longer than what it is made of.
        guard block.freeCount >= raw.byteCount else { return .refused(.tooLong) }
        var offset = 0
        while offset < raw.byteCount {
            // `offset` is at the `/` before a segment.
            let before = block.byteCount
            block.append(0x2f)
            offset &+= 1
            if let error = decodeSegment(raw, &offset, into: &block) { return .refused(error) }
            let isLast = offset == raw.byteCount
            let count = block.byteCount &- before &- 1
            if count == 0 {
                if mergeSlashes && !isLast { block.removeLast(1) }
            } else if isDots(block.bytes, from: before &+ 1, count: count) {
                block.removeLast(count &+ 1)
                if count == 2, !removeSegment(from: &block) { return .refused(.aboveRoot) }
                if isLast { block.append(0x2f) }
            }
        }
        return raw.equals(block.bytes) ? .unchanged : .rewritten
    }

    /// Appends the segment at `offset`, decoded as far as it may be, and moves `offset` behind it.
    private static func decodeSegment(_ raw: RawSpan, _ offset: inout Int, into block: inout Block)
        -> PathError?
    {
        while offset < raw.byteCount, raw[offset] != 0x2f {
            let byte = raw[offset]
            if byte == 0x5c { return .backslash }
            guard ByteSet.target.contains(byte), byte != 0x3f else { return .badByte }
            if byte != 0x25 {
                block.append(byte)
                offset &+= 1
                continue
            }
            guard offset &+ 2 < raw.byteCount, let high = raw[offset &+ 1].hexValue,
                let low = raw[offset &+ 2].hexValue
            else { return .badPercentEncoding }
            offset &+= 3
            let decoded = high &<< 4 | low
            if decoded == 0 { return .encodedNul }
            if decoded == 0x5c { return .backslash }
            if ByteSet.unreserved.contains(decoded) {
                block.append(decoded)
            } else {
                block.append(0x25)
                block.append(upperHex(high))
                block.append(upperHex(low))
            }
        }
        return nil
    }

    private static func upperHex(_ digit: UInt8) -> UInt8 { digit < 10 ? 0x30 &+ digit : 0x37 &+ digit }

    /// Whether the `count` bytes from `start` are `.` or `..`.
    private static func isDots(_ bytes: RawSpan, from start: Int, count: Int) -> Bool {
        guard count <= 2, bytes[start] == 0x2e else { return false }
        return count == 1 || bytes[start &+ 1] == 0x2e
    }

    /// Takes the last `/segment` away; `false` when there is none.
    private static func removeSegment(from block: inout Block) -> Bool {
        guard !block.isEmpty else { return false }
        var start = block.byteCount &- 1
        while block.bytes[start] != 0x2f { start &-= 1 }
        block.removeLast(block.byteCount &- start)
        return true
    }
}
