public import Memory

/// The two values of a WebSocket handshake (RFC 6455 §4): the client's key, and the server's proof that it has read it.
/// Both are Base64 with padding (RFC 4648 §4).
public enum WebSocketKey {
    /// Characters of a key: 16 bytes (§4.1).
    @inlinable public static var keyCount: Int { 24 }
    /// Characters of the answer: a SHA-1.
    @inlinable public static var acceptCount: Int { 28 }

    /// Appends a fresh key, of 16 random bytes; `false` when `block` has no room for it.
    public static func append(to block: inout Block, from random: inout Random) -> Bool {
        var bytes = InlineArray<20, UInt8>(repeating: 0)
        for half in 0..<2 {
            let word = random.next()
            for index in 0..<8 {
                bytes[half &* 8 &+ index] = UInt8(truncatingIfNeeded: word &>> UInt64(index &* 8))
            }
        }
        guard block.freeCount >= keyCount else { return false }
        // 16 bytes are five groups of three and one byte more, which makes two characters and two of padding.
        for group in 0..<6 {
            let word = group24(bytes, at: group &* 3, of: 16)
            for index in 0..<4 {
                let isPadding = group == 5 && index >= 2
                _ = block.append(isPadding ? UInt8(ascii: "=") : character(word, index))
            }
        }
        return true
    }

    /// Whether `value` is what `Sec-WebSocket-Accept` must say to `key` (§4.2.2, item 5.4).
    public static func isAccepted(_ key: RawSpan, by value: RawSpan, _ hash: inout SHA1) -> Bool {
        guard value.byteCount == acceptCount else { return false }
        let guid: StaticString = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        let digest = hash.hash(key, guid.utf8Span)
        var difference: UInt8 = 0
        // Six groups of three bytes and one of two.
        for group in 0..<7 {
            let word = group24(digest, at: group &* 3, of: 20)
            for index in 0..<4 {
                let isPadding = group == 6 && index == 3
                let expected = isPadding ? UInt8(ascii: "=") : character(word, index)
                difference |= expected ^ value[group &* 4 &+ index]
            }
        }
        return difference == 0
    }

    /// Three bytes as one number; those at or behind `count` are 0.
    private static func group24(_ bytes: InlineArray<20, UInt8>, at offset: Int, of count: Int) -> UInt32 {
        var word: UInt32 = 0
        for index in offset..<(offset &+ 3) { word = word &<< 8 | (index < count ? UInt32(bytes[index]) : 0) }
        return word
    }

    private static func character(_ word: UInt32, _ index: Int) -> UInt8 {
        let bits = UInt8(truncatingIfNeeded: word &>> UInt32(18 &- 6 &* index)) & 63
        switch bits {
        case 0..<26: return bits &+ UInt8(ascii: "A")
        case 26..<52: return bits &- 26 &+ UInt8(ascii: "a")
        case 52..<62: return bits &- 52 &+ UInt8(ascii: "0")
        case 62: return UInt8(ascii: "+")
        default: return UInt8(ascii: "/")
        }
    }
}
