import Cryptography
import Memory

/// Accepted tokens, in slots of a fixed size, eight to a set. Found by a keyed hash and a comparison of the whole token.
///
/// The hash covers the length and the last 64 characters, which in an accepted token are signature: nobody but the
/// issuer makes two that agree there, and the issuer signs them differently. Hashing all of it would cost ten times
/// as much and find nothing that the comparison does not.
///
/// A slot is 256 bytes of head and 1,344 of body. The body holds the token and then its values; a token too long to
/// stand beside its values is held as its SHA-256 instead. Pages are touched as slots are first used.
struct TokenCache: ~Copyable {
    static let slotBytes = 1600
    static let headBytes = 256
    static let bodyBytes = slotBytes - headBytes
    static let waysPerSet = 8
    private static let digestBytes = 32

    /// The offsets of the words of a slot's head.
    private enum Field {
        static let expires = 0
        static let generation = 8
        static let lastUsed = 16
        static let serial = 24
        static let tokenCount = 32
        static let isDigest = 40
        /// 17 words, each the start (in the slot) and the end of a value in two halves.
        static let values = 48
        /// Of the names that `grants` is about; 0 when nobody has asked yet.
        static let grantNames = 184
        /// Four words.
        static let grants = 192
    }

    let setCount: Int
    private var slots: FixedBytes
    /// The low half of each slot's hash with its lowest bit set; 0 = the slot is free.
    private var tags: FixedArray<UInt32>
    private var lastSerial: UInt32 = 0
    private let hash: SipHash
    private var sha = SHA256()

    /// Room for at least `entries` tokens. With none, one slot behind the sets serves the token of the moment.
    init(entries: Int, hash: SipHash) {
        setCount = (entries + TokenCache.waysPerSet - 1) / TokenCache.waysPerSet
        let slotCount = setCount * TokenCache.waysPerSet
        slots = FixedBytes(count: (slotCount + 1) * TokenCache.slotBytes)
        tags = FixedArray(count: slotCount + 1) { _ in 0 }
        self.hash = hash
    }

    // MARK: - Finding

    private func key(_ token: RawSpan) -> UInt64 {
        let tail = token.extracting(max(0, token.byteCount &- 64)..<token.byteCount)
        return hash.hash64(prefix: UInt64(token.byteCount), tail)
    }

    private func firstSlot(_ key: UInt64) -> Int {
        Int(truncatingIfNeeded: key.multipliedFullWidth(by: UInt64(setCount)).high)
            &* TokenCache.waysPerSet
    }

    private static func tag(_ key: UInt64) -> UInt32 { UInt32(truncatingIfNeeded: key) | 1 }

    private func word(_ slot: Int, _ field: Int) -> UInt64 {
        slots.word(at: slot &* TokenCache.slotBytes &+ field)
    }

    private mutating func store(_ value: UInt64, _ slot: Int, _ field: Int) {
        slots.store(value, at: slot &* TokenCache.slotBytes &+ field)
    }

    /// The entry of exactly this token under this generation of keys; one that has expired is forgotten and told.
    mutating func lookUp(_ token: RawSpan, now: Int64, generation: UInt64) -> CacheAnswer {
        guard setCount > 0 else { return .miss }
        let key = key(token)
        let first = firstSlot(key)
        let tag = TokenCache.tag(key)
        for slot in first..<(first &+ TokenCache.waysPerSet) where tags[slot] == tag {
            guard word(slot, Field.generation) == generation, holds(slot, token) else { continue }
            guard now < Int64(bitPattern: word(slot, Field.expires)) else {
                tags[slot] = 0
                return .refused(.expired)
            }
            // Written only when it changes: most hits then leave the cache line clean.
            if word(slot, Field.lastUsed) != UInt64(bitPattern: now) {
                store(UInt64(bitPattern: now), slot, Field.lastUsed)
            }
            return .hit(name(slot))
        }
        return .miss
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
        return slots.bytes(body..<(body &+ token.byteCount)).equals(token)
    }

    private func name(_ slot: Int) -> TokenEntryID {
        TokenEntryID(
            slot: UInt32(truncatingIfNeeded: slot),
            serial: UInt32(truncatingIfNeeded: word(slot, Field.serial)))
    }

    // MARK: - Storing

    /// Puts an accepted token and its values into a slot of its set.
    mutating func store(
        _ token: RawSpan, _ values: borrowing ClaimValues, expires: Int64, now: Int64, generation: UInt64
    ) -> TokenEntryID {
        let key = key(token)
        let slot = setCount > 0 ? victim(from: firstSlot(key), now: now, generation: generation) : 0
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
        for index in 0..<17 {
            let range = values.ranges[index]
            let start = UInt64(valuesStart &+ range.lowerBound)
            store(start | UInt64(valuesStart &+ range.upperBound) &<< 32, slot, Field.values &+ index &* 8)
        }
        lastSerial &+= 1
        store(UInt64(bitPattern: expires), slot, Field.expires)
        store(generation, slot, Field.generation)
        store(UInt64(bitPattern: now), slot, Field.lastUsed)
        store(UInt64(lastSerial), slot, Field.serial)
        store(UInt64(token.byteCount), slot, Field.tokenCount)
        store(isWhole ? 0 : 1, slot, Field.isDigest)
        store(0, slot, Field.grantNames)
        tags[slot] = TokenCache.tag(key)
        return name(slot)
    }

    /// A free slot of the set, else one whose entry is dead, else the one that was used longest ago.
    private func victim(from first: Int, now: Int64, generation: UInt64) -> Int {
        var oldest = first
        for slot in first..<(first &+ TokenCache.waysPerSet) {
            if tags[slot] == 0 || word(slot, Field.generation) != generation
                || now >= Int64(bitPattern: word(slot, Field.expires))
            {
                return slot
            }
            if Int64(bitPattern: word(slot, Field.lastUsed))
                < Int64(bitPattern: word(oldest, Field.lastUsed))
            {
                oldest = slot
            }
        }
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
        return slot < tags.count && tags[slot] != 0
            && word(slot, Field.serial) == UInt64(entry.serial)
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
/// agree, the key must be known.
struct RefusedTokens: ~Copyable {
    static let entries = 1024
    private static let waysPerSet = 4

    struct Entry {
        var hash: (UInt64, UInt64) = (0, 0)
        var until = Int64.min
        var generation: UInt64 = 0
        var refusal = TokenRefusal.malformed
    }

    private var all: FixedArray<Entry>
    private let hash: SipHash
    private let seconds: Int64
    /// Nothing is remembered for longer: where nobody brings bad tokens, none is hashed to look for it.
    private var latest = Int64.min

    init(seconds: Int, hash: SipHash) {
        all = FixedArray(count: seconds > 0 ? RefusedTokens.entries : 0) { _ in Entry() }
        self.hash = hash
        self.seconds = Int64(seconds)
    }

    private static func firstEntry(_ hash: (UInt64, UInt64)) -> Int {
        Int(truncatingIfNeeded: hash.0 % UInt64(entries / waysPerSet)) &* waysPerSet
    }

    func lookUp(_ token: RawSpan, now: Int64, generation: UInt64) -> TokenRefusal? {
        guard now < latest else { return nil }
        let wanted = hash.hash128(token)
        let first = RefusedTokens.firstEntry(wanted)
        for index in first..<(first &+ RefusedTokens.waysPerSet)
        where all[index].hash == wanted && all[index].generation == generation && now < all[index].until {
            return all[index].refusal
        }
        return nil
    }

    mutating func remember(_ token: RawSpan, _ refusal: TokenRefusal, now: Int64, generation: UInt64) {
        guard seconds > 0 else { return }
        let key = hash.hash128(token)
        let first = RefusedTokens.firstEntry(key)
        var victim = first
        for index in first..<(first &+ RefusedTokens.waysPerSet)
        where all[index].until < all[victim].until { victim = index }
        latest = max(latest, now &+ seconds)
        all[victim] = Entry(hash: key, until: now &+ seconds, generation: generation, refusal: refusal)
    }
}
