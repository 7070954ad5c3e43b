public import Memory
internal import Synchronization

/// How many of something each key holds right now, over all threads: a fixed table like the limiter's, whose slots hold a
/// tag and a count. A handle: copies name the same table.
///
/// A key that finds no room in its set of eight is not counted, and so not limited: a flood of keys must not lock
/// others out. Two threads that bring the same new key in the same moment may open two slots for it; what counts is the
/// sum of both, and it is looked at after one's own was added, so that never more than the limit are let in. Two that
/// come for the last place at once may both be refused.
@frozen public struct CountTable: Sendable {
    @usableFromInline let slots: WordPairTable
    @usableFromInline let hash: SipHash

    @inlinable static var setSize: Int { 8 }
    /// How often a set that changes while it is looked at is looked at again. It settles soon.
    @inlinable static var patience: Int { 64 }

    /// `slots` is rounded up to a power of two; 16 bytes each, resident as they are used.
    public init(slots count: Int, hash: SipHash) {
        var size = CountTable.setSize
        while size < count { size *= 2 }
        slots = WordPairTable(count: size)
        self.hash = hash
    }

    public enum Answer: Sendable {
        /// It is counted in this slot; `leave` must follow, once.
        case counted(slot: Int)
        case uncounted
        /// The key holds as many as it may.
        case refused
    }

    /// The hash for the keys of one limit, by its name: the same key has other slots under another.
    public func hash(name: RawSpan) -> SipHash {
        let key = hash.hash128(name)
        return SipHash(key0: key.0, key1: key.1)
    }

    /// Counts one more of `key`, if it holds fewer than `limit`.
    public func enter(_ key: RawSpan, limit: Int) -> Answer { enter(hash.hash128(key), limit: limit) }

    /// The same for a key whose hash is known, be it by the table's own or by one of `hash(name:)`.
    public func enter(_ keyHash: (UInt64, UInt64), limit: Int) -> Answer {
        let (tag, start) = place(keyHash)
        for _ in 0..<CountTable.patience {
            var free = -1
            var found = -1
            var sum: UInt = 0
            for slot in start..<(start &+ CountTable.setSize) {
                let pair = slots.load(slot)
                if pair.second == 0 {
                    if free < 0 { free = slot }
                } else if pair.first == tag {
                    if found < 0 { found = slot }
                    sum &+= pair.second
                }
            }
            if sum >= UInt(limit) { return .refused }
            let slot = found >= 0 ? found : free
            guard slot >= 0 else { return .uncounted }
            let old = slots.load(slot)
            // Another's meanwhile, or gone: look again.
            guard found >= 0 ? old.first == tag && old.second > 0 : old.second == 0 else { continue }
            let new = WordPair(first: tag, second: old.second &+ 1)
            guard slots.exchange(slot, from: old, to: new).isExchanged else { continue }
            if count(tag, start) <= UInt(limit) { return .counted(slot: slot) }
            leave(slot: slot)
            return .refused
        }
        return .uncounted
    }

    /// Counts one less in a slot in which one was counted. Until it is, the slot stays its key's: nothing is lost.
    public func leave(slot: Int) {
        while true {
            let old = slots.load(slot)
            precondition(old.second > 0, "it left twice")
            let new = WordPair(first: old.first, second: old.second &- 1)
            if slots.exchange(slot, from: old, to: new).isExchanged { return }
        }
    }

    /// How many `key` holds.
    package func count(_ key: RawSpan) -> Int {
        let (tag, start) = place(hash.hash128(key))
        return Int(count(tag, start))
    }

    /// How many all keys hold together: for tests, since it reads every slot.
    package var total: Int {
        (0..<slots.count).reduce(0) { $0 + Int(slots.load($1).second) }
    }

    private func count(_ tag: UInt, _ start: Int) -> UInt {
        var sum: UInt = 0
        for slot in start..<(start &+ CountTable.setSize) {
            let pair = slots.load(slot)
            if pair.first == tag { sum &+= pair.second }
        }
        return sum
    }

    private func place(_ keyHash: (UInt64, UInt64)) -> (UInt, Int) {
        let (low, high) = keyHash
        let sets = slots.count / CountTable.setSize
        return (
            UInt(truncatingIfNeeded: high | 1),
            Int(truncatingIfNeeded: low & UInt64(sets - 1)) * CountTable.setSize
        )
    }
}
