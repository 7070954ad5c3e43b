public import Memory

/// Names a timer that was set; stale once it fired or was cancelled.
public typealias TimerID = SlabID

@usableFromInline struct TimerNode: ~Copyable {
    @usableFromInline let token: Token
    @usableFromInline let tick: UInt64
    @usableFromInline var list: Int
    @usableFromInline var previous = SlabID.none
    @usableFromInline var next = SlabID.none
}

/// Timers with a grain of 8 ms, in a wheel of 4,096 slots: to set and to cancel one costs the same however many there are.
///
/// A timer past one turn of the wheel (32.8 s) is looked at once a turn. No timer fires early; late by up to a tick.
public struct TimerWheel: ~Copyable {
    /// One tick is 2^23 ns = 8.39 ms.
    @inlinable static var tickShift: UInt64 { 23 }
    @inlinable static var slots: Int { 4096 }
    /// The list of those that are due, behind the slots.
    @inlinable static var due: Int { 4096 }

    private var nodes: Slab<TimerNode>
    private var heads: FixedArray<SlabID>
    private var occupied: FixedArray<UInt64>
    /// A bit for each word of `occupied` that is not zero: each turn of the loop asks for the next timer.
    private var words: UInt64 = 0
    private var current: UInt64
    /// The tick of the first occupied slot behind `current`; 0 when that has to be looked for. Each turn of the loop asks, and
    /// most turns neither set a timer nor let one fire.
    private var nextTick: UInt64 = 0

    /// Room for `capacity` timers; memory is touched as they are used. `now` in nanoseconds.
    public init(capacity: Int, now: UInt64) {
        nodes = Slab(capacity: capacity)
        heads = FixedArray(count: TimerWheel.slots + 1) { _ in .none }
        occupied = FixedArray(count: TimerWheel.slots / 64) { _ in 0 }
        current = now >> TimerWheel.tickShift
    }

    public var count: Int { nodes.count }

    /// Sets a timer; `nil` when there is no room for one more.
    public mutating func schedule(_ token: Token, at deadline: UInt64) -> TimerID? {
        guard !nodes.isFull else { return nil }
        // Rounded up: a timer that fires early would have to be set again.
        let tick = max((deadline &>> TimerWheel.tickShift) &+ 1, current &+ 1)
        let list = Int(truncatingIfNeeded: tick & UInt64(TimerWheel.slots - 1))
        let id = nodes.insert(TimerNode(token: token, tick: tick, list: list))
        link(id, to: list)
        // One that is further away than a turn of the wheel is looked at before.
        let distance = (tick &- current &- 1) & UInt64(TimerWheel.slots - 1)
        if nextTick != 0 { nextTick = min(nextTick, current &+ 1 &+ distance) }
        return id
    }

    /// Cancels a timer; one that has fired or was cancelled already is left alone.
    public mutating func cancel(_ id: TimerID) {
        guard nodes.contains(id) else { return }
        unlink(id)
        _ = nodes.remove(id)
    }

    /// Collects what is due at `now`; then `popDue` hands it out.
    public mutating func advance(to now: UInt64) {
        let target = now &>> TimerWheel.tickShift
        guard target > current else { return }
        let steps = min(target &- current, UInt64(TimerWheel.slots))
        for step in 1...steps {
            let slot = Int(truncatingIfNeeded: (current &+ step) & UInt64(TimerWheel.slots - 1))
            guard occupied[slot &>> 6] &>> UInt64(slot & 63) & 1 == 1 else { continue }
            var id = heads[slot]
            while !id.isNone {
                let next = nodes[id].next
                if nodes[id].tick <= target {
                    unlink(id)
                    link(id, to: TimerWheel.due)
                }
                id = next
            }
        }
        current = target
        if nextTick <= target { nextTick = 0 }
    }

    /// Takes one timer that is due.
    public mutating func popDue() -> Token? {
        let id = heads[TimerWheel.due]
        guard !id.isNone else { return nil }
        unlink(id)
        return nodes.remove(id).token
    }

    /// Milliseconds until something may be due; -1 when no timer is set.
    public mutating func milliseconds(from now: UInt64) -> Int32 {
        guard nodes.count > 0 else { return -1 }
        guard heads[TimerWheel.due].isNone else { return 0 }
        if nextTick == 0 { nextTick = nextOccupied() }
        let next = nextTick
        let nanoseconds = (next &<< TimerWheel.tickShift) &- min(now, next &<< TimerWheel.tickShift)
        return Int32(truncatingIfNeeded: min(nanoseconds / 1_000_000 + 1, 60_000))
    }

    private func nextOccupied() -> UInt64 {
        // From the slot after the current one: what is left of its word, then the next word around the wheel that has any, which
        // at last is the part before it.
        let first = Int(truncatingIfNeeded: (current &+ 1) & UInt64(TimerWheel.slots - 1))
        var word = first &>> 6
        var bits = occupied[word] & (UInt64.max &<< UInt64(first & 63))
        if bits == 0 {
            guard words != 0 else { return current &+ UInt64(TimerWheel.slots) }
            let after = UInt64((word &+ 1) & 63)
            let turned = words &>> after | words &<< ((64 &- after) & 63)
            word = (Int(after) &+ turned.trailingZeroBitCount) & 63
            bits = occupied[word]
        }
        let slot = word &<< 6 | bits.trailingZeroBitCount
        let distance = (slot &- first) & (TimerWheel.slots &- 1)
        return current &+ 1 &+ UInt64(distance)
    }

    private mutating func link(_ id: SlabID, to list: Int) {
        let head = heads[list]
        nodes[id].list = list
        nodes[id].previous = .none
        nodes[id].next = head
        if !head.isNone { nodes[head].previous = id }
        heads[list] = id
        guard list < TimerWheel.slots else { return }
        occupied[list &>> 6] |= 1 &<< UInt64(list & 63)
        words |= 1 &<< UInt64(list &>> 6)
    }

    private mutating func unlink(_ id: SlabID) {
        let list = nodes[id].list
        let previous = nodes[id].previous
        let next = nodes[id].next
        if previous.isNone { heads[list] = next } else { nodes[previous].next = next }
        if !next.isNone { nodes[next].previous = previous }
        guard list < TimerWheel.slots, heads[list].isNone else { return }
        nextTick = 0
        let word = list &>> 6
        occupied[word] &= ~(1 &<< UInt64(list & 63))
        if occupied[word] == 0 { words &= ~(1 &<< UInt64(word)) }
    }
}
