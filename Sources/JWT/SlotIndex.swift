import Memory

/// Which slots of a table may hold what has a given hash: a place each in a row that is half as long again as there are
/// slots, looked for from where the hash says and onwards (open addressing, linear probing).
///
/// One place in three is always empty, so that each search ends, after 2 places in the mean when it finds and 5 when it
/// does not. Whoever chooses hashes could make it longer: they must be keyed.
struct SlotIndex: ~Copyable {
    /// The upper half of a hash, and the number of its slot plus one in the lower half; 0 = empty.
    private var places: FixedArray<UInt64>

    init(slots: Int) {
        precondition(slots >= 0 && slots < Int(UInt32.max) / 2)
        places = FixedArray(count: slots &+ slots / 2 &+ 1) { _ in 0 }
    }

    /// Where the search for `hash` begins. Only its upper half counts.
    func start(_ hash: UInt64) -> Int {
        Int(truncatingIfNeeded: ((hash &>> 32) &* UInt64(places.count)) &>> 32)
    }

    func next(_ place: Int) -> Int { place &+ 1 == places.count ? 0 : place &+ 1 }

    func isEmpty(_ place: Int) -> Bool { places[place] == 0 }

    /// The slot at this place when it was added under the upper half of `hash`; of an empty place, and of those that
    /// others share, `nil`.
    func slot(at place: Int, _ hash: UInt64) -> Int? {
        let found = places[place]
        guard (found ^ hash) &>> 32 == 0, found & 0xffff_ffff != 0 else { return nil }
        return Int(truncatingIfNeeded: found & 0xffff_ffff) &- 1
    }

    /// `slot` must not be in already: there is room for each once.
    mutating func add(_ slot: Int, _ hash: UInt64) {
        var place = start(hash)
        while !isEmpty(place) { place = next(place) }
        places[place] = hash & ~0xffff_ffff | UInt64(truncatingIfNeeded: slot &+ 1)
    }

    /// Takes `slot` out, which was added under `hash`, and closes the gap: what was looked for across it moves into it.
    mutating func remove(_ slot: Int, _ hash: UInt64) {
        var gap = start(hash)
        while self.slot(at: gap, hash) != slot {
            precondition(!isEmpty(gap))
            gap = next(gap)
        }
        var place = next(gap)
        while !isEmpty(place) {
            if steps(from: start(places[place]), to: place) >= steps(from: gap, to: place) {
                places[gap] = places[place]
                gap = place
            }
            place = next(place)
        }
        places[gap] = 0
    }

    private func steps(from first: Int, to last: Int) -> Int {
        last >= first ? last &- first : last &- first &+ places.count
    }
}
