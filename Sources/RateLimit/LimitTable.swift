public import Memory
public import Synchronization

/// The buckets of all limits and all their keys, shared by all threads of the process. A handle: copies name the same
/// table, which lives as long as the process.
///
/// A bucket is a 16-byte slot: 64 bits of a keyed hash of limit and key, and the TAT in nanoseconds, changed together
/// by compare-exchange. Slots come in sets of eight, and a key may use only those of its set, so that a lookup is two
/// cache lines. A newcomer takes the slot of its set with the earliest TAT: an empty or idle one, if there is any; if
/// not, that bucket is forgotten (its client gets a full one) and counted as an eviction.
///
/// A key has at most one bucket, whatever threads do at once: a newcomer puts a mark that admits nobody, looks whether
/// anyone else put a mark or a bucket for the key, and only then turns its mark into a bucket. So what a bucket admits
/// is at most burst + rate x elapsed time, exactly; there is no lock, and a thread that stops at any point stops
/// nobody else.
@frozen public struct LimitTable: Sendable {
    @usableFromInline let slots: WordPairTable
    @usableFromInline let sets: UInt64
    @usableFromInline let hash: SipHash
    /// Cell 0 makes marks unique, cell 1 counts evictions.
    @usableFromInline let cells: SharedCells

    @inlinable static var setSize: Int { 8 }
    /// Set in a TAT, it makes the slot a mark. Times are below it: 2^62 ns are 146 years.
    @inlinable static var markBit: UInt { 1 << 63 }
    /// How often a newcomer looks again at another's mark before it takes it away.
    @inlinable static var patience: Int { 64 }

    /// A table of `slots` buckets (16 bytes each, rounded up to a multiple of eight), resident only as far as it is
    /// used. `hashKey` is random and secret: whoever knows it can choose keys that crowd each other out.
    public init(slots: Int, hashKey: (UInt64, UInt64)) {
        precondition(slots > 0)
        let count = (slots + LimitTable.setSize - 1) / LimitTable.setSize * LimitTable.setSize
        self.slots = WordPairTable(count: count)
        sets = UInt64(count / LimitTable.setSize)
        hash = SipHash(key0: hashKey.0, key1: hashKey.1)
        cells = SharedCells(count: 2)
    }

    /// How many buckets there can be.
    public var capacity: Int { slots.count }

    /// How many buckets were forgotten before they were full again, for lack of room. Any thread.
    public var evictions: Int { cells.load(1) }

    /// A limit whose buckets are in this table. The buckets are those of the name: a limit of the same name and
    /// another rate goes on with them. The numbers must be allowed (`Limit.isAllowed`).
    public func limit(name: RawSpan, count: Int, periodSeconds: Int, burst: Int) -> Limit {
        let key = hash.hash128(name)
        return Limit(
            hash: SipHash(key0: key.0, key1: key.1), count: count, periodSeconds: periodSeconds, burst: burst)
    }

    /// Takes a token from the bucket of `key` at `now` (nanoseconds, monotonic, below 2^62), if there is one. Any
    /// thread; two threads' times may differ.
    @inlinable public func take(_ limit: Limit, key: RawSpan, now: UInt64) -> LimitAnswer {
        take(limit, at: place(limit, key), now: now)
    }

    /// The same for a key whose place is known.
    @inlinable public func take(_ limit: Limit, at home: Place, now: UInt64) -> LimitAnswer {
        while true {
            let slot = find(home)
            guard slot >= 0 else {
                if insert(home, arrival: limit.later(now), now: now) {
                    return limit.admitted(next: limit.later(now), now: now)
                }
                continue
            }
            var held = slots.second(slot)
            while held & LimitTable.markBit == 0 {
                let arrival = limit.clamped(UInt64(held), now: now)
                let (isAdmitted, next) = limit.verdict(arrival: arrival, now: now)
                let old = WordPair(first: home.tag, second: held)
                // A refusal takes nothing, but must be known to be of this key's bucket; and a TAT that a slower rate
                // left far ahead must come down for good, or it would be cut to the same distance at each look. Far,
                // since another thread's clock may be ahead of this one's, and what it took must not be forgotten.
                let isLeftOver = UInt64(held) > arrival &+ LimitTable.clockSlack
                let kept = isAdmitted ? UInt(next) : isLeftOver ? UInt(arrival) : held
                let result = slots.exchange(slot, from: old, to: WordPair(first: home.tag, second: kept))
                if result.isExchanged {
                    return isAdmitted
                        ? limit.admitted(next: next, now: now)
                        : limit.refused(arrival: arrival, next: next, now: now)
                }
                guard result.original.first == home.tag else { break }
                held = result.original.second
            }
        }
    }

    /// What `take` would answer, with nothing taken: `remaining` counts all tokens that are there.
    @inlinable public func peek(_ limit: Limit, key: RawSpan, now: UInt64) -> LimitAnswer {
        peek(limit, at: place(limit, key), now: now)
    }

    /// The same for a key whose place is known.
    @inlinable public func peek(_ limit: Limit, at home: Place, now: UInt64) -> LimitAnswer {
        let slot = find(home)
        var arrival = now
        if slot >= 0 {
            let pair = slots.load(slot)
            if pair.first == home.tag, pair.second & LimitTable.markBit == 0 {
                arrival = limit.clamped(UInt64(pair.second), now: now)
            }
        }
        let (isAdmitted, next) = limit.verdict(arrival: arrival, now: now)
        guard isAdmitted else { return limit.refused(arrival: arrival, next: next, now: now) }
        return limit.admitted(next: arrival, now: now)
    }

    /// Puts a token back that was taken for a request which another bucket then refused. At most what was taken comes back:
    /// where the interval is not a whole number of nanoseconds, less than one nanosecond of it is lost. A bucket that was
    /// forgotten meanwhile is full.
    public func giveBack(_ limit: Limit, at home: Place) {
        while true {
            let slot = find(home)
            guard slot >= 0 else { return }
            let held = slots.second(slot)
            let interval = UInt(limit.numerator / limit.denominator)
            guard held & LimitTable.markBit == 0, held >= interval else { return }
            let old = WordPair(first: home.tag, second: held)
            let new = WordPair(first: home.tag, second: held - interval)
            if slots.exchange(slot, from: old, to: new).isExchanged { return }
        }
    }

    /// How far two threads' times may lie apart, in nanoseconds: loop turns are milliseconds.
    @inlinable static var clockSlack: UInt64 { 2_000_000_000 }

    /// Where a key's bucket may be, and what marks it as the key's.
    @frozen public struct Place: Sendable {
        @usableFromInline let start: Int
        @usableFromInline let tag: UInt

        @inlinable init(start: Int, tag: UInt) {
            self.start = start
            self.tag = tag
        }
    }

    @inlinable func place(_ limit: Limit, _ key: RawSpan) -> Place { place(limit.hash.hash128(key)) }

    /// The place of a key whose hash, by the limit's own `hash`, is known.
    @inlinable public func place(_ keyHash: (UInt64, UInt64)) -> Place {
        let (low, high) = keyHash
        let set = low.multipliedFullWidth(by: sets).high
        // An empty slot is two zeros: no key may have the tag 0.
        return Place(
            start: Int(truncatingIfNeeded: set) &* LimitTable.setSize,
            tag: high == 0 ? 1 : UInt(truncatingIfNeeded: high))
    }

    /// The slot of the set that has the tag, a bucket before a mark; -1 when none has.
    @inlinable func find(_ place: Place) -> Int {
        var offset = 0
        while offset < LimitTable.setSize {
            let slot = place.start &+ offset
            if slots.first(slot) == place.tag, slots.second(slot) & LimitTable.markBit == 0 { return slot }
            offset &+= 1
        }
        return -1
    }
}

extension LimitTable {
    /// Makes the bucket of a key that has none, with this TAT; `false` when another thread was first, or may have been.
    @usableFromInline @inline(never)
    func insert(_ place: Place, arrival: UInt64, now: UInt64) -> Bool {
        var attempt = 0
        while true {
            attempt &+= 1
            let view = survey(place, besides: -1)
            if view.bucket >= 0 { return false }
            if view.mark >= 0 {
                // Its owner is about to make the bucket; one that sleeps or has died must not keep us waiting.
                if attempt > LimitTable.patience { clear(view.mark, place.tag, view.markWord) }
                continue
            }
            let old = slots.load(view.victim)
            guard old.second == view.victimWord, old.first != place.tag else { continue }
            // Unique, so that a mark that was taken away is never mistaken for a later one in the same slot.
            let mark = LimitTable.markBit | UInt(bitPattern: cells.add(1, at: 0))
            let marked = WordPair(first: place.tag, second: mark)
            guard slots.exchange(view.victim, from: old, to: marked).isExchanged else { continue }
            if old.second & LimitTable.markBit == 0, UInt64(old.second) > now { cells.add(1, at: 1) }
            return settle(place, at: view.victim, marked, arrival: arrival)
        }
    }

    /// Turns our mark into a bucket, unless another thread has a bucket or a better mark. Of two marks the one in the
    /// lower slot stays. Each thread looks after it has put its mark, so of two at least one sees the other.
    private func settle(_ place: Place, at slot: Int, _ marked: WordPair, arrival: UInt64) -> Bool {
        while true {
            let view = survey(place, besides: slot)
            if view.bucket >= 0 || (view.mark >= 0 && view.mark < slot) {
                _ = slots.exchange(slot, from: marked, to: WordPair(first: 0, second: 0))
                return false
            }
            guard view.mark >= 0 else { break }
            clear(view.mark, place.tag, view.markWord)
        }
        let bucket = WordPair(first: place.tag, second: UInt(arrival))
        return slots.exchange(slot, from: marked, to: bucket).isExchanged
    }

    /// Takes away a mark; nothing happens if it has become a bucket or gone.
    private func clear(_ slot: Int, _ tag: UInt, _ word: UInt) {
        _ = slots.exchange(
            slot, from: WordPair(first: tag, second: word), to: WordPair(first: 0, second: 0))
    }

    private struct View {
        var bucket = -1
        var mark = -1
        var markWord: UInt = 0
        var victim = 0
        var victimWord = UInt.max
    }

    /// Looks through a set for the key's bucket, a mark for the key (the one in the lowest slot), and the slot with the
    /// earliest TAT. A mark is later than any TAT.
    private func survey(_ place: Place, besides ours: Int) -> View {
        var view = View()
        view.victim = place.start
        for slot in place.start..<(place.start &+ LimitTable.setSize) where slot != ours {
            let first = slots.first(slot)
            let word = slots.second(slot)
            if first == place.tag {
                if word & LimitTable.markBit == 0 {
                    view.bucket = slot
                } else if view.mark < 0 {
                    view.mark = slot
                    view.markWord = word
                }
            }
            if word < view.victimWord {
                view.victim = slot
                view.victimWord = word
            }
        }
        return view
    }
}
