import Cryptography
import Memory

/// Accepted tokens, in slots of a fixed size, any token in any slot. Found by a keyed hash and a comparison of the whole
/// token. All that fit are held: with sets of slots, ten thousand tokens in a table for ten thousand fill some sets twice
/// over and leave others half empty, and every second look was a miss (257,000 instructions a request against 68,000).
///
/// The hash covers the length and the last 16 characters, which in an accepted token are 96 bits of its signature: nobody but
/// the issuer makes two that agree there, and the issuer signs them differently. Hashing all of it would cost fifty times as
/// much and find nothing that the comparison does not.
///
/// A slot is 256 bytes of head and 1,344 of body. The body holds the token and then its values; a token too long to
/// stand beside its values is held as its SHA-256 instead. Pages are touched as slots are first used.
struct TokenCache: ~Copyable {
    static let slotBytes = 1600
    static let headBytes = 256
    static let bodyBytes = slotBytes - headBytes
    /// So many slots are looked at for the one to give up.
    static let sampledSlots = 16
    private static let digestBytes = 32

    /// The offsets of the words of a slot's head.
    private enum Field {
        static let expires = 0
        static let generation = 8
        static let lastUsed = 16
        /// 0 = the slot is free.
        static let serial = 24
        static let tokenCount = 32
        static let isDigest = 40
        /// 17 words, each the start (in the slot) and the end of a value in two halves.
        static let values = 48
        /// Of the names that `grants` is about; 0 when nobody has asked yet.
        static let grantNames = 184
        /// Four words.
        static let grants = 192
        static let hash = 224
        /// Of a free slot: the next one, plus one; 0 = there is none.
        static let nextFree = 232
    }

    /// How many tokens there is room for. With none, one slot serves the token of the moment.
    let capacity: Int
    private var slots: FixedBytes
    private var index: SlotIndex
    /// The slots before this one have been used.
    private var usedSlots = 0
    /// The first of the used slots that are free again, plus one; 0 = there is none.
    private var firstFree: UInt64 = 0
    private var lastSerial: UInt32 = 0
    private let hash: SipHash
    private var sha = SHA256()

    init(entries: Int, hash: SipHash) {
        capacity = entries
        slots = FixedBytes(count: max(entries, 1) * TokenCache.slotBytes)
        index = SlotIndex(slots: entries)
        self.hash = hash
    }

    // MARK: - Finding

    private func key(_ token: RawSpan) -> UInt64 {
        let tail = token.extracting(max(0, token.byteCount &- 16)..<token.byteCount)
        return hash.hash64(prefix: UInt64(token.byteCount), tail)
    }

    private func word(_ slot: Int, _ field: Int) -> UInt64 {
        slots.word(at: slot &* TokenCache.slotBytes &+ field)
    }

    private mutating func store(_ value: UInt64, _ slot: Int, _ field: Int) {
        slots.store(value, at: slot &* TokenCache.slotBytes &+ field)
    }

    /// The entry of exactly this token under this generation of keys; one that has expired is forgotten and told.
    mutating func lookUp(_ token: RawSpan, now: Int64, generation: UInt64) -> CacheAnswer {
        let key = key(token)
        var place = index.start(key)
        while !index.isEmpty(place) {
            if let slot = index.slot(at: place, key), word(slot, Field.generation) == generation,
                holds(slot, token)
            {
                guard now < Int64(bitPattern: word(slot, Field.expires)) else {
                    forget(slot)
                    return .refused(.expired)
                }
                // Written only when it changes: most hits then leave the cache line clean.
                if word(slot, Field.lastUsed) != UInt64(bitPattern: now) {
                    store(UInt64(bitPattern: now), slot, Field.lastUsed)
                }
                return .hit(name(slot))
            }
            place = index.next(place)
        }
        return .miss
    }

    private mutating func forget(_ slot: Int) {
        index.remove(slot, word(slot, Field.hash))
        store(0, slot, Field.serial)
        store(firstFree, slot, Field.nextFree)
        firstFree = UInt64(slot &+ 1)
    }

    private mutating func holds(_ slot: Int, _ token: RawSpan) -> Bool {
        guard word(slot, Field.tokenCount) == UInt64(token.byteCount) else { return false }
        let body = slot &* TokenCache.slotBytes &+ TokenCache.headBytes
        guard word(slot, Field.isDigest) == 0 else {
            let digest = sha.hash(token)
            var difference: UInt64 = 0
            for index in 0..<4 { difference |= digest.words[index] ^ slots.word(at: body &+ index &* 8) }
            return difference == 0
        }
        return slots.bytes(body..<(body &+ token.byteCount)).equalsLong(token)
    }

    private func name(_ slot: Int) -> TokenEntryID {
        TokenEntryID(
            slot: UInt32(truncatingIfNeeded: slot),
            serial: UInt32(truncatingIfNeeded: word(slot, Field.serial)))
    }

    // MARK: - Storing

    /// Puts an accepted token and its values into a slot.
    mutating func store(
        _ token: RawSpan, _ values: borrowing ClaimValues, expires: Int64, now: Int64, generation: UInt64
    ) -> TokenEntryID {
        let key = key(token)
        let slot = capacity > 0 ? room(key, now: now, generation: generation) : 0
        let body = slot &* TokenCache.slotBytes &+ TokenCache.headBytes
        let isWhole = token.byteCount &+ values.byteCount <= TokenCache.bodyBytes
        var valuesStart = TokenCache.headBytes
        if isWhole {
            slots.copy(token, to: body)
            valuesStart &+= token.byteCount
        } else {
            let digest = sha.hash(token)
            for index in 0..<4 { slots.store(digest.words[index], at: body &+ index &* 8) }
            valuesStart &+= TokenCache.digestBytes
        }
        slots.copy(
            values.bytes.bytes(0..<values.byteCount), to: slot &* TokenCache.slotBytes &+ valuesStart)
        let ranges = values.ranges.span
        for index in 0..<17 {
            let range = ranges[index]
            let start = UInt64(valuesStart &+ range.lowerBound)
            store(start | UInt64(valuesStart &+ range.upperBound) &<< 32, slot, Field.values &+ index &* 8)
        }
        lastSerial = lastSerial == .max ? 1 : lastSerial &+ 1
        store(UInt64(bitPattern: expires), slot, Field.expires)
        store(generation, slot, Field.generation)
        store(UInt64(bitPattern: now), slot, Field.lastUsed)
        store(UInt64(lastSerial), slot, Field.serial)
        store(UInt64(token.byteCount), slot, Field.tokenCount)
        store(isWhole ? 0 : 1, slot, Field.isDigest)
        store(0, slot, Field.grantNames)
        store(key, slot, Field.hash)
        if capacity > 0 { index.add(slot, key) }
        usedSlots = max(usedSlots, slot &+ 1)
        return name(slot)
    }

    /// A slot that nobody needs, taken out of the index: one that is free, else of some that the hash of the newcomer picks one
    /// whose entry is dead, else the one that was used longest ago.
    private mutating func room(_ key: UInt64, now: Int64, generation: UInt64) -> Int {
        if firstFree != 0 {
            let slot = Int(firstFree) &- 1
            firstFree = word(slot, Field.nextFree)
            return slot
        }
        if usedSlots < capacity { return usedSlots }
        // The lower half of the hash: the upper one has chosen the place in the index. Far apart, since neighbours came together
        // and may all be in use.
        let stride = max(1, capacity / TokenCache.sampledSlots)
        var slot = Int(truncatingIfNeeded: ((key & 0xffff_ffff) &* UInt64(capacity)) &>> 32)
        var oldest = slot
        for _ in 0..<min(TokenCache.sampledSlots, capacity) {
            if word(slot, Field.generation) != generation
                || now >= Int64(bitPattern: word(slot, Field.expires))
            {
                oldest = slot
                break
            }
            if Int64(bitPattern: word(slot, Field.lastUsed)) < Int64(bitPattern: word(oldest, Field.lastUsed))
            {
                oldest = slot
            }
            slot &+= stride
            if slot >= capacity { slot &-= capacity }
        }
        index.remove(oldest, word(oldest, Field.hash))
        return oldest
    }

    // MARK: - Reading

    /// What the token of `entry` was found to grant of the names with this identity; `nil` when nobody has asked yet.
    func grants(of entry: TokenEntryID, names: UInt64) -> GrantSet? {
        precondition(contains(entry))
        let slot = Int(entry.slot)
        guard word(slot, Field.grantNames) == names else { return nil }
        return GrantSet(
            words: (
                word(slot, Field.grants), word(slot, Field.grants &+ 8), word(slot, Field.grants &+ 16),
                word(slot, Field.grants &+ 24)
            ))
    }

    mutating func keepGrants(_ grants: GrantSet, of entry: TokenEntryID, names: UInt64) {
        precondition(contains(entry))
        let slot = Int(entry.slot)
        store(names, slot, Field.grantNames)
        store(grants.words.0, slot, Field.grants)
        store(grants.words.1, slot, Field.grants &+ 8)
        store(grants.words.2, slot, Field.grants &+ 16)
        store(grants.words.3, slot, Field.grants &+ 24)
    }

    /// Whether the slot that `entry` names still holds what it was given for.
    func contains(_ entry: TokenEntryID) -> Bool {
        let slot = Int(entry.slot)
        return slot < usedSlots && entry.serial != 0 && word(slot, Field.serial) == UInt64(entry.serial)
    }

    /// Value 0 is the subject, 1 the first that is forwarded, and so on; empty when there is none.
    @_lifetime(borrow self)
    func value(_ index: Int, of entry: TokenEntryID) -> RawSpan {
        precondition(contains(entry) && index >= 0 && index < 17)
        let slot = Int(entry.slot)
        let range = word(slot, Field.values &+ index &* 8)
        let start = slot &* TokenCache.slotBytes
        return slots.bytes((start &+ Int(range & 0xffff_ffff))..<(start &+ Int(range &>> 32)))
    }
}

/// Tokens that were refused a short while ago, by a keyed 128-bit hash of the whole: for a stranger to find two that
/// agree, the key must be known. Each is remembered for as long as any other, so that the oldest is the one to give up.
struct RefusedTokens: ~Copyable {
    static let capacity = 1024

    struct Entry {
        var hash: (UInt64, UInt64) = (0, 0)
        var until = Int64.min
        var generation: UInt64 = 0
        var refusal = TokenRefusal.malformed
    }

    private var all: FixedArray<Entry>
    private var index: SlotIndex
    private var used = 0
    private var oldest = 0
    private let hash: SipHash
    private let seconds: Int64
    /// Nothing is remembered for longer: where nobody brings bad tokens, none is hashed to look for it.
    private var latest = Int64.min

    init(seconds: Int, hash: SipHash) {
        let capacity = seconds > 0 ? RefusedTokens.capacity : 0
        all = FixedArray(count: capacity) { _ in Entry() }
        index = SlotIndex(slots: capacity)
        self.hash = hash
        self.seconds = Int64(seconds)
    }

    func lookUp(_ token: RawSpan, now: Int64, generation: UInt64) -> TokenRefusal? {
        guard now < latest else { return nil }
        let wanted = hash.hash128(token)
        var place = index.start(wanted.0)
        while !index.isEmpty(place) {
            if let entry = index.slot(at: place, wanted.0), all[entry].hash == wanted,
                all[entry].generation == generation, now < all[entry].until
            {
                return all[entry].refusal
            }
            place = index.next(place)
        }
        return nil
    }

    mutating func remember(_ token: RawSpan, _ refusal: TokenRefusal, now: Int64, generation: UInt64) {
        guard seconds > 0 else { return }
        let key = hash.hash128(token)
        let entry = used < all.count ? used : oldest
        if used < all.count {
            used &+= 1
        } else {
            index.remove(entry, all[entry].hash.0)
            oldest = oldest &+ 1 == all.count ? 0 : oldest &+ 1
        }
        latest = max(latest, now &+ seconds)
        all[entry] = Entry(hash: key, until: now &+ seconds, generation: generation, refusal: refusal)
        index.add(entry, key.0)
    }
}
