import Memory
import Testing

@testable import JWT

/// What the tables hold, by themselves: their tokens are bytes, and nobody signs ten thousand.
@Suite("As many tokens are remembered as is said") struct CacheRoomTests {
    private static let hash = SipHash(key0: 3, key1: 4)
    private static let never = Int64.max

    private static func token(_ number: Int) -> [UInt8] {
        Array("header.payload.signature-\(number)".utf8)
    }

    /// Whether the token was there; it is now.
    private static func ask(
        _ cache: inout TokenCache, _ number: Int, now: Int64 = 1, generation: UInt64 = 1,
        expires: Int64 = never
    ) -> CacheAnswer {
        let token = token(number)
        let answer = cache.lookUp(token.rawSpan, now: now, generation: generation)
        if answer == .miss {
            let values = ClaimValues()
            _ = cache.store(token.rawSpan, values, expires: expires, now: now, generation: generation)
        }
        return answer
    }

    private static func hits(_ cache: inout TokenCache, _ numbers: Range<Int>, now: Int64 = 1) -> Int {
        var hits = 0
        for number in numbers where ask(&cache, number, now: now) != .miss { hits += 1 }
        return hits
    }

    @Test("ten thousand tokens in a cache for ten thousand are all found, however often they take turns")
    func full() {
        var cache = TokenCache(entries: 10_000, hash: Self.hash)
        let found = (0..<3).map { _ in Self.hits(&cache, 0..<10_000) }
        #expect(found == [0, 10_000, 10_000])
    }

    @Test("a tenth more than there is room for costs a part of the hits, not all of them") func overfull() {
        var cache = TokenCache(entries: 1_000, hash: Self.hash)
        let found = (0..<6).map { _ in Self.hits(&cache, 0..<1_100) }
        #expect(found[1...].allSatisfy { $0 > 600 }, "\(found)")
    }

    @Test("tokens in use outlive any number that come once") func flood() {
        var cache = TokenCache(entries: 1_000, hash: Self.hash)
        _ = Self.hits(&cache, 0..<500)
        for second in 2..<20 {
            let found = Self.hits(&cache, 0..<500, now: Int64(second))
            #expect(found >= 475, "second \(second): \(found)")
            _ = Self.hits(&cache, (second * 1_000)..<(second * 1_000 + 300), now: Int64(second))
        }
    }

    @Test("tokens that have expired, or are of old keys, make room before any that is good") func dead() {
        var cache = TokenCache(entries: 64, hash: Self.hash)
        for number in 0..<64 { _ = Self.ask(&cache, number, expires: number < 32 ? 10 : Self.never) }
        // Half of them are looked for when they have expired, and told.
        for number in 0..<32 {
            let answer = Self.ask(&cache, number, now: 10)
            #expect(answer == .refused(.expired))
        }
        let fresh = Self.hits(&cache, 100..<132, now: 10)
        let found = Self.hits(&cache, 32..<64, now: 11) + Self.hits(&cache, 100..<132, now: 11)
        #expect(fresh == 0 && found == 64)
        for number in 200..<264 { _ = Self.ask(&cache, number, now: 12, generation: 2) }
        var kept = 0
        for number in 200..<264 where Self.ask(&cache, number, now: 12, generation: 2) != .miss { kept += 1 }
        // Each looks at sixteen slots for one of the old keys, of which there are ever fewer.
        #expect(kept >= 36)
    }

    @Test("an entry of a token that was forgotten is stale") func stale() {
        var cache = TokenCache(entries: 4, hash: Self.hash)
        _ = Self.ask(&cache, 1, expires: 10)
        guard case .hit(let entry) = Self.ask(&cache, 1) else {
            Issue.record("not found")
            return
        }
        let before = cache.contains(entry)
        _ = Self.ask(&cache, 1, now: 10)
        let after = cache.contains(entry)
        #expect(before && !after)
    }

    @Test("as many refused tokens as there is room for are all remembered, and then the oldest is given up")
    func refused() {
        var refused = RefusedTokens(seconds: 10, hash: Self.hash)
        for number in 0..<(RefusedTokens.capacity + 100) {
            refused.remember(Self.token(number).rawSpan, .badSignature, now: 1, generation: 1)
        }
        for number in 0..<(RefusedTokens.capacity + 100) {
            let answer = refused.lookUp(Self.token(number).rawSpan, now: 2, generation: 1)
            #expect(answer == (number < 100 ? nil : .badSignature), "\(number)")
        }
    }

    @Test("the index finds what was added and not removed, and nothing else, in any order") func index() {
        var random = SystemRandomNumberGenerator()
        for slots in [1, 2, 3, 8, 50] {
            var index = SlotIndex(slots: slots)
            var held: [Int: UInt64] = [:]
            for step in 0..<3_000 {
                let slot = Int.random(in: 0..<slots, using: &random)
                if let hash = held.removeValue(forKey: slot) {
                    index.remove(slot, hash)
                } else {
                    // Few hashes, so that many meet, some at the end of the row.
                    let hash = UInt64.random(in: 0..<6, using: &random) &* 0x3333_3333_0000_0000
                    index.add(slot, hash)
                    held[slot] = hash
                }
                for (slot, hash) in held {
                    let isFound = Self.finds(index, slot, hash)
                    #expect(isFound, "\(slots) slots, step \(step)")
                }
                let count = Self.count(index)
                #expect(count == held.count)
            }
        }
    }

    private static func finds(_ index: borrowing SlotIndex, _ slot: Int, _ hash: UInt64) -> Bool {
        var place = index.start(hash)
        while !index.isEmpty(place) {
            if index.slot(at: place, hash) == slot { return true }
            place = index.next(place)
        }
        return false
    }

    private static func count(_ index: borrowing SlotIndex) -> Int {
        var (place, count) = (0, 0)
        repeat {
            if !index.isEmpty(place) { count += 1 }
            place = index.next(place)
        } while place != 0
        return count
    }
}
