public import Memory
internal import Synchronization

/// How many of something each key holds right now, over all threads: a fixed table like the limiter's, whose slots hold a
/// tag and a count. A handle: copies name the same table.
///
/// A key that finds no room in its set of eight is not counted, and so not limited: a flood of keys must not lock
/// others out. Two threads that bring the same new key in the same moment may count it twice, and then each on its own.
@frozen public struct CountTable: Sendable {
    @usableFromInline let slots: WordPairTable
    @usableFromInline let hash: SipHash

    @inlinable static var setSize: Int { 8 }

    /// `slots` is rounded up to a power of two; 16 bytes each, resident as they are used.
    public init(slots count: Int, hash: SipHash) {
        var size = CountTable.setSize
        while size < count { size *= 2 }
        slots = WordPairTable(count: size)
        self.hash = hash
    }

    public enum Answer: Sendable {
        /// It is counted; `leave` must follow.
        case counted
        case uncounted
        /// The key holds as many as it may.
        case refused
    }

    /// Counts one more of `key`, if it holds fewer than `limit`.
    public func enter(_ key: RawSpan, limit: Int) -> Answer {
        let (tag, start) = place(key)
        // A slot that changes under us is looked at again; a set of eight settles soon.
        for _ in 0..<64 {
            var free = -1
            var found = -1
            for offset in 0..<CountTable.setSize {
                let pair = slots.load(start + offset)
                if pair.second > 0, pair.first == tag { found = start + offset }
                if pair.second == 0, free < 0 { free = start + offset }
            }
            if found >= 0 {
                let pair = slots.load(found)
                guard pair.first == tag, pair.second > 0 else { continue }
                if pair.second >= UInt(limit) { return .refused }
                let next = WordPair(first: tag, second: pair.second + 1)
                if slots.exchange(found, from: pair, to: next).isExchanged { return .counted }
            } else if free >= 0 {
                let pair = slots.load(free)
                guard pair.second == 0 else { continue }
                if slots.exchange(free, from: pair, to: WordPair(first: tag, second: 1)).isExchanged {
                    return .counted
                }
            } else {
                return .uncounted
            }
        }
        return .uncounted
    }

    /// Counts one less of `key`, which was counted.
    public func leave(_ key: RawSpan) {
        let (tag, start) = place(key)
        for _ in 0..<64 {
            for offset in 0..<CountTable.setSize {
                let pair = slots.load(start + offset)
                guard pair.second > 0, pair.first == tag else { continue }
                let next = WordPair(first: tag, second: pair.second - 1)
                if slots.exchange(start + offset, from: pair, to: next).isExchanged { return }
            }
        }
    }

    private func place(_ key: RawSpan) -> (UInt, Int) {
        let (low, high) = hash.hash128(key)
        let sets = slots.count / CountTable.setSize
        return (
            UInt(truncatingIfNeeded: high | 1),
            Int(truncatingIfNeeded: low & UInt64(sets - 1)) * CountTable.setSize
        )
    }
}
