import JWT
import Memory
import Testing

@Suite("What a verifier remembers") struct TokenCacheTests {
    @Test("a look before the verification finds nothing, and afterwards the entry, without a check")
    func look()
        throws
    {
        var verifier = try Fixtures.verifier()
        let token = Fixtures.token("good")
        let before = verifier.lookUp(token.rawSpan, nowSeconds: Fixtures.now)
        #expect(before == .miss)
        _ = verifier.ask(token)
        guard case .hit(let entry) = verifier.lookUp(token.rawSpan, nowSeconds: Fixtures.now) else {
            Issue.record("not remembered")
            return
        }
        let subject = verifier.subject(of: entry).text
        let checks = verifier.signatureChecks
        #expect(subject == "user-1")
        #expect(checks == 1)
    }

    @Test("an expired token that is remembered is refused at the look") func expired() throws {
        var verifier = try Fixtures.verifier(Fixtures.settings(leeway: 0))
        let token = Fixtures.token("good")
        _ = verifier.ask(token)
        let answer = verifier.lookUp(token.rawSpan, nowSeconds: Fixtures.end)
        #expect(answer == .refused(.expired))
    }

    @Test("a forged token with the tail of a remembered one is not taken for it") func tail() throws {
        var verifier = try Fixtures.verifier()
        let good = Fixtures.token("good")
        _ = verifier.ask(good)
        var forged = good
        forged[40] = forged[40] == UInt8(ascii: "A") ? UInt8(ascii: "B") : UInt8(ascii: "A")
        let answer = verifier.lookUp(forged.rawSpan, nowSeconds: Fixtures.now)
        #expect(answer == .miss)
    }

    @Test("a long token is held by its digest, and one that differs in a byte is not it") func long() throws {
        var verifier = try Fixtures.verifier()
        let long = Fixtures.token("long")
        _ = verifier.ask(long)
        let again = verifier.ask(long)
        #expect(again.wasCached)
        var forged = long
        forged[400] = forged[400] == UInt8(ascii: "A") ? UInt8(ascii: "B") : UInt8(ascii: "A")
        let answer = verifier.lookUp(forged.rawSpan, nowSeconds: Fixtures.now)
        #expect(answer == .miss)
    }

    @Test("without a cache each token is verified, and its entry can be read") func none() throws {
        var verifier = try Fixtures.verifier(Fixtures.settings(cacheEntries: 0))
        for _ in 0..<3 {
            let asked = verifier.ask(Fixtures.token("good"))
            let expected = Asked(subject: "user-1", forwards: ["user-1", "editor,admin"])
            #expect(asked == expected)
        }
        let checks = verifier.signatureChecks
        #expect(checks == 3)
    }

    @Test("a full cache gives up the token that was used longest ago") func eviction() throws {
        // So few that each is looked at.
        var verifier = try Fixtures.verifier(Fixtures.settings(cacheEntries: 8))
        for index in 0..<8 {
            _ = verifier.ask(Fixtures.token("many-\(index)"), at: Fixtures.now + Int64(index))
        }
        // All but number 3 are used again, then a ninth comes.
        for index in 0..<8 where index != 3 {
            let asked = verifier.ask(Fixtures.token("many-\(index)"), at: Fixtures.now + 20)
            #expect(asked.wasCached)
        }
        let ninth = verifier.ask(Fixtures.token("many-8"), at: Fixtures.now + 21)
        #expect(!ninth.wasCached)
        for index in 0..<9 where index != 3 {
            let asked = verifier.ask(Fixtures.token("many-\(index)"), at: Fixtures.now + 22)
            #expect(asked.wasCached && asked.subject == "many-\(index)", "\(index)")
        }
        let third = verifier.ask(Fixtures.token("many-3"), at: Fixtures.now + 23)
        #expect(!third.wasCached)
    }

    @Test("an entry that was given to another token is known to be stale") func stale() throws {
        var verifier = try Fixtures.verifier(Fixtures.settings(cacheEntries: 0))
        let (first, second) = (Fixtures.token("good"), Fixtures.token("another"))
        guard case .accepted(let old, _) = verifier.verify(first.rawSpan, nowSeconds: Fixtures.now) else {
            Issue.record("refused")
            return
        }
        let isHeld = verifier.contains(old)
        _ = verifier.ask(second)
        let isStillHeld = verifier.contains(old)
        #expect(isHeld && !isStillHeld)
    }

    @Test("forty tokens in a cache for a thousand are all remembered, each with its own values") func many()
        throws
    {
        var verifier = try Fixtures.verifier(Fixtures.settings(cacheEntries: 1000))
        for isCached in [false, true] {
            for index in 0..<40 {
                let asked = verifier.ask(Fixtures.token("many-\(index)"))
                #expect(asked.wasCached == isCached && asked.subject == "many-\(index)")
            }
        }
    }

    @Test("a refused token is remembered for as long as is said, and then checked again") func negative()
        throws
    {
        var verifier = try Fixtures.verifier(Fixtures.settings(negativeSeconds: 10))
        let forged = Fixtures.token("signed-by-other")
        for (later, checks) in [(0, 1), (1, 1), (9, 1), (10, 2), (19, 2), (20, 3)] {
            let asked = verifier.ask(forged, at: Fixtures.now + Int64(later))
            #expect(asked.refusal == .badSignature)
            let done = verifier.signatureChecks
            #expect(done == checks, "after \(later) s")
        }
        let answer = verifier.lookUp(forged.rawSpan, nowSeconds: Fixtures.now + 20)
        #expect(answer == .refused(.badSignature))
    }

    @Test("nothing is remembered of refused tokens when that is switched off") func negativeOff() throws {
        var verifier = try Fixtures.verifier(Fixtures.settings(negativeSeconds: 0))
        for _ in 0..<3 { _ = verifier.ask(Fixtures.token("signed-by-other")) }
        let checks = verifier.signatureChecks
        #expect(checks == 3)
    }

    @Test("thousands of different forged tokens push out no accepted one") func flood() throws {
        var verifier = try Fixtures.verifier()
        let good = Fixtures.token("good")
        _ = verifier.ask(good)
        let expired = Fixtures.token("exp-past")
        for number in 0..<5000 {
            // The signature's first characters change: a new token each time, refused for its claims.
            var forged = expired
            let end = forged.count - 300
            for digit in 0..<3 { forged[end + digit] = UInt8(ascii: "A") + UInt8(number >> (digit * 4) & 15) }
            _ = verifier.ask(forged)
        }
        let asked = verifier.ask(good)
        #expect(asked.wasCached)
    }

    @Test("new keys end what was accepted and what was refused under the old") func replaced() throws {
        var verifier = try Fixtures.verifier(keys: "a.json")
        let (a, b) = (Fixtures.token("good"), Fixtures.token("signed-by-b"))
        let before = [verifier.ask(a).refusal, verifier.ask(b).refusal]
        #expect(before == [nil, .unknownKey])
        verifier.replaceKeySet(try Fixtures.keys("b.json"))
        let after = [verifier.ask(a).refusal, verifier.ask(b).refusal]
        #expect(after == [.unknownKey, nil])
        let generation = verifier.generation
        #expect(generation == 2)
    }

    @Test("the same keys again change nothing") func same() throws {
        var verifier = try Fixtures.verifier(keys: "a.json")
        _ = verifier.ask(Fixtures.token("good"))
        verifier.replaceKeySet(try Fixtures.keys("a.json"))
        let asked = verifier.ask(Fixtures.token("good"))
        let generation = verifier.generation
        #expect(asked.wasCached && generation == 1)
    }

    @Test("without a key nothing is good, also what was remembered, and no key is asked for by name")
    func noKeys() throws {
        var verifier = try Fixtures.verifier(keys: "a.json")
        let token = Fixtures.token("good")
        let before = verifier.ask(token).refusal
        let hadKeys = verifier.hasKeys
        verifier.replaceKeySet(KeySet())
        let after = [verifier.ask(token).refusal, verifier.ask(Fixtures.token("no-kid")).refusal]
        let hasKeys = verifier.hasKeys
        #expect(before == nil && hadKeys && !hasKeys)
        #expect(after == [.unknownKey, .unknownKey])
        verifier.replaceKeySet(try Fixtures.keys("a.json"))
        let again = verifier.ask(token)
        #expect(again.refusal == nil && !again.wasCached)
    }

    @Test("keys that are taken over end what was remembered under others; the same ones change nothing")
    func takenOver() throws {
        var verifier = try Fixtures.verifier(keys: "a.json")
        var fresh = try Fixtures.verifier(keys: "b.json")
        let (a, b) = (Fixtures.token("good"), Fixtures.token("signed-by-b"))
        _ = verifier.ask(a)
        verifier.exchangeKeySet(with: &fresh)
        let after = [verifier.ask(a).refusal, verifier.ask(b).refusal]
        let other = [fresh.ask(a).refusal, fresh.ask(b).refusal]
        #expect(after == [.unknownKey, nil] && other == [nil, .unknownKey])
        var same = try Fixtures.verifier(keys: "b.json")
        verifier.exchangeKeySet(with: &same)
        let asked = verifier.ask(b)
        #expect(asked.wasCached)
    }
}
