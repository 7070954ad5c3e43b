import JWT
import Memory
import Testing

@Suite("What is said of one token") struct ExplanationTests {
    /// What explanation and verifier say of the same token.
    private static func both(_ token: [UInt8], _ verifier: inout TokenVerifier) -> (
        TokenExplanation, TokenRefusal?
    ) {
        let explanation = TokenExplanation(
            of: token.rawSpan, by: &verifier, nowSeconds: Fixtures.now, GrantRequirement())
        return (explanation, verifier.ask(token).refusal)
    }

    @Test("the first step that fails is the verifier's reason, for every token that there is")
    func agreement() throws {
        var plain = try Fixtures.verifier()
        for (name, token) in Fixtures.tokens {
            let (explanation, refusal) = Self.both(token, &plain)
            #expect(explanation.refusal == refusal, "\(name)")
        }
        for settings in ["all", "rs256", "curves", "at"] {
            var verifier = try CorpusTests.verifier(settings)
            for item in CorpusTests.all where item.settings == settings {
                let (explanation, refusal) = Self.both(item.token, &verifier)
                #expect(explanation.refusal == refusal, "\(item.name)")
                for finding in explanation.findings {
                    // Nothing of a token reaches a terminal as more than text.
                    #expect(
                        finding.received.unicodeScalars.allSatisfy { $0.value >= 0x20 && $0.value != 0x7F })
                    #expect(finding.outcome == .unchecked || !finding.expected.isEmpty)
                }
            }
        }
    }

    @Test("each prefix of a good token, and each with one byte changed, is explained as it is judged")
    func changes() throws {
        var verifier = try CorpusTests.verifier("all")
        let good = try #require(CorpusTests.all.first { $0.name == "es256-good" }).token
        for index in good.indices {
            var changed = good
            changed[index] = changed[index] == UInt8(ascii: "A") ? UInt8(ascii: "B") : UInt8(ascii: "A")
            for token in [changed, Array(good.prefix(index))] {
                let (explanation, refusal) = Self.both(token, &verifier)
                #expect(explanation.refusal == refusal, "at \(index)")
            }
        }
    }

    @Test("it goes on behind the first step that fails, and says what was expected and what came") func all()
        throws
    {
        var verifier = try Fixtures.verifier()
        let token = Fixtures.token("exp-past")
        let explanation = TokenExplanation(
            of: token.rawSpan, by: &verifier, nowSeconds: Fixtures.now, GrantRequirement())
        let wrong = explanation.findings.filter { $0.outcome != .met }
        #expect(wrong.map(\.subject) == ["exp"])
        #expect(wrong.first?.expected == "after 1700000070 (now 1700000100, leeway 30 s)")
        #expect(wrong.first?.received == "1699990000, 10100 s ago")
        #expect(explanation.findings.last?.subject == "signature")
        #expect(explanation.findings.last?.outcome == .met)
    }

    @Test("scopes and roles are explained as they are judged") func grants() throws {
        let settings = try IssuerSettings(issuer: "https://auth.example.com", audiences: ["platform-api"])
        var verifier = TokenVerifier(
            settings: settings, keySet: try Fixtures.keys(), hash: SipHash(key0: 1, key1: 2),
            grantNames: GrantNames(scopes: ["documents:write", "other"], roles: ["admin", "owner"]))
        var requirement = (scopes: GrantSet(), roles: GrantSet())
        requirement.scopes.insert(0)
        requirement.roles.insert(3)
        let wanted = GrantRequirement(scopes: requirement.scopes, roles: requirement.roles)
        for name in ["good", "scope-one", "scope-longer", "scope-list", "roles-text"] {
            let token = Fixtures.token(name)
            let explanation = TokenExplanation(
                of: token.rawSpan, by: &verifier, nowSeconds: Fixtures.now, wanted)
            guard case .accepted(let entry, _) = verifier.verify(token.rawSpan, nowSeconds: Fixtures.now)
            else {
                Issue.record("\(name) is refused")
                continue
            }
            let answer = verifier.judge(wanted, of: entry, token.rawSpan)
            #expect(explanation.grants == answer && answer != .met, "\(name)")
        }
    }
}
