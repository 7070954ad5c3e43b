/// SipHash-2-4 (Aumasson and Bernstein, "SipHash: a fast short-input PRF", 2012) under one key. Whoever does not know
/// the key cannot choose inputs that collide, so tables filled by strangers are keyed with it.
@frozen public struct SipHash: Sendable {
    @usableFromInline let key0: UInt64
    @usableFromInline let key1: UInt64

    /// `key0` and `key1` are the two little-endian halves of the 16-byte key.
    @inlinable public init(key0: UInt64, key1: UInt64) {
        self.key0 = key0
        self.key1 = key1
    }

    /// The 64-bit hash of `bytes`.
    @inlinable public func hash64(_ bytes: RawSpan) -> UInt64 {
        var state = SipState(key0: key0, key1: key1)
        state.absorb(bytes, lengthBefore: 0)
        return state.finish64()
    }

    /// The 64-bit hash of the eight little-endian bytes of `word`.
    @inlinable @inline(__always) public func hash64(word: UInt64) -> UInt64 {
        var state = SipState(key0: key0, key1: key1)
        state.absorb(word: word)
        // The last word: no byte is left, and eight were taken.
        state.absorb(word: 8 &<< 56)
        return state.finish64()
    }

    /// The 64-bit hash of the eight little-endian bytes of `prefix` followed by `bytes`.
    @inlinable public func hash64(prefix: UInt64, _ bytes: RawSpan) -> UInt64 {
        var state = SipState(key0: key0, key1: key1)
        state.absorb(word: prefix)
        state.absorb(bytes, lengthBefore: 8)
        return state.finish64()
    }

    /// The 128-bit hash of `bytes`: the first and the second eight bytes of the reference's output, little-endian.
    @inlinable public func hash128(_ bytes: RawSpan) -> (UInt64, UInt64) {
        var state = SipState(key0: key0, key1: key1)
        state.v1 ^= 0xee
        state.absorb(bytes, lengthBefore: 0)
        return state.finish128()
    }

    /// The 128-bit hash of the eight little-endian bytes of `prefix` followed by `bytes`.
    @inlinable public func hash128(prefix: UInt64, _ bytes: RawSpan) -> (UInt64, UInt64) {
        var state = SipState(key0: key0, key1: key1)
        state.v1 ^= 0xee
        state.absorb(word: prefix)
        state.absorb(bytes, lengthBefore: 8)
        return state.finish128()
    }
}

/// The four words of the algorithm, by the names of the paper.
@usableFromInline struct SipState {
    @usableFromInline var v0: UInt64
    @usableFromInline var v1: UInt64
    @usableFromInline var v2: UInt64
    @usableFromInline var v3: UInt64

    @inlinable init(key0: UInt64, key1: UInt64) {
        v0 = key0 ^ 0x736f_6d65_7073_6575
        v1 = key1 ^ 0x646f_7261_6e64_6f6d
        v2 = key0 ^ 0x6c79_6765_6e65_7261
        v3 = key1 ^ 0x7465_6462_7974_6573
    }

    @inlinable @inline(__always) static func rotate(_ word: UInt64, by count: UInt64) -> UInt64 {
        word &<< count | word &>> (64 &- count)
    }

    @inlinable @inline(__always) mutating func round() {
        v0 &+= v1
        v2 &+= v3
        v1 = Self.rotate(v1, by: 13) ^ v0
        v3 = Self.rotate(v3, by: 16) ^ v2
        v0 = Self.rotate(v0, by: 32)
        v2 &+= v1
        v0 &+= v3
        v1 = Self.rotate(v1, by: 17) ^ v2
        v3 = Self.rotate(v3, by: 21) ^ v0
        v2 = Self.rotate(v2, by: 32)
    }

    @inlinable @inline(__always) mutating func absorb(word: UInt64) {
        v3 ^= word
        round()
        round()
        v0 ^= word
    }

    /// Takes all of `bytes`, then the last word, which ends with the length of the whole message modulo 256.
    @inlinable mutating func absorb(_ bytes: RawSpan, lengthBefore: Int) {
        var offset = 0
        while offset &+ 8 <= bytes.byteCount {
            absorb(word: UInt64(littleEndian: bytes.word(at: offset)))
            offset &+= 8
        }
        var last = UInt64(truncatingIfNeeded: bytes.byteCount &+ lengthBefore) &<< 56
        if offset < bytes.byteCount { last |= bytes.word(at: offset, count: bytes.byteCount &- offset) }
        absorb(word: last)
    }

    @inlinable @inline(__always) mutating func finalRounds() -> UInt64 {
        round()
        round()
        round()
        round()
        return v0 ^ v1 ^ v2 ^ v3
    }

    @inlinable @inline(__always) mutating func finish64() -> UInt64 {
        v2 ^= 0xff
        return finalRounds()
    }

    @inlinable mutating func finish128() -> (UInt64, UInt64) {
        v2 ^= 0xee
        let first = finalRounds()
        v1 ^= 0xdd
        return (first, finalRounds())
    }
}
