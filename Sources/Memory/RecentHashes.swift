/// Hashes of keys of sixteen bytes that were asked for lately. Most requests come from where the one before came from, and to
/// look here costs a tenth of SipHash. Each key has one place, from which the next that comes to it drives it out: a crowd
/// of clients costs nothing but the look.
@frozen public struct RecentHashes: ~Copyable {
    /// Always the truth: `result` is what `hash` makes of the two words.
    @frozen @usableFromInline struct Entry {
        @usableFromInline var hash: SipHash
        @usableFromInline var key: (UInt64, UInt64)
        @usableFromInline var result: (UInt64, UInt64)

        @usableFromInline init(_ key: (UInt64, UInt64), by hash: SipHash) {
            self.hash = hash
            self.key = key
            var copy = key
            result = unsafe withUnsafeBytes(of: &copy) { hash.hash128(unsafe RawSpan(_unsafeBytes: $0)) }
        }
    }

    @usableFromInline var entries: FixedArray<Entry>

    /// 12 KiB.
    @inlinable public init() {
        let first = Entry((0, 0), by: SipHash(key0: 0, key1: 0))
        entries = FixedArray(count: 256) { _ in first }
    }

    /// What `hash` makes of these sixteen bytes, two words in the machine's order.
    @inlinable public mutating func hash128(_ key: (UInt64, UInt64), by hash: SipHash) -> (UInt64, UInt64) {
        // The upper eight bits of the product depend on all bits of the factor.
        let place = Int(((key.0 ^ key.1 ^ hash.key0) &* 0x9e37_79b9_7f4a_7c15) &>> 56)
        let held = entries[place]
        if held.key == key, held.hash.key0 == hash.key0, held.hash.key1 == hash.key1 { return held.result }
        entries[place] = Entry(key, by: hash)
        return entries[place].result
    }
}
