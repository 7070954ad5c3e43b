import JWT
import Memory
import Testing

@Suite("RFC 7515 §5.2, RFC 7519 §7.2: tokens made by other code") struct TokenTests {
    @Test(
        "RFC 7519 §7.2: a good token is accepted, and its claims come out",
        arguments: [
            ("good", "user-1", ["user-1", "editor,admin"]),
            ("another", "user-2", ["user-2", "editor,admin"]),
            ("signed-by-b", "user-b", ["user-b", "editor,admin"]),
            ("at-jwt", "user-1", ["user-1", "editor,admin"]),
            ("thumbprints", "user-1", ["user-1", "editor,admin"]),
            ("audience-list", "user-1", ["user-1", "editor,admin"]),
            ("no-sub", "", [nil, "editor,admin"]),
            ("no-roles", "user-1", ["user-1", nil]),
            ("roles-null", "user-1", ["user-1", nil]),
            ("roles-empty", "user-1", ["user-1", nil]),
            ("roles-text", "user-1", ["user-1", "editor"]),
            ("roles-number", "user-1", ["user-1", "12.5"]),
            ("roles-true", "user-1", ["user-1", "true"]),
            ("roles-mixed", "user-1", ["user-1", "editor,7,false"]),
            ("sub-unicode", "Jürgen 日本", ["Jürgen 日本", "editor,admin"]),
            ("exp-fraction", "user-1", ["user-1", "editor,admin"]),
            ("exp-exponent", "user-1", ["user-1", "editor,admin"]),
            ("exp-huge", "user-1", ["user-1", "editor,admin"]),
            ("escapes", "user-1", ["user-1", "editor,admin"]),
            ("white-space", "user-1", ["user-1", "editor,admin"]),
            ("long", "user-1", ["user-1", "editor,admin"]),
        ] as [(String, String, [String?])])
    func accepted(name: String, subject: String, forwards: [String?]) throws {
        var verifier = try Fixtures.verifier()
        let token = Fixtures.token(name)
        let first = verifier.ask(token)
        #expect(first == Asked(wasCached: false, subject: subject, forwards: forwards))
        let second = verifier.ask(token)
        #expect(second == Asked(wasCached: true, subject: subject, forwards: forwards))
        let checks = verifier.signatureChecks
        #expect(checks == 1)
    }

    /// What is refused before the signature, though the signature is right.
    static let refusedForContent: [(String, TokenRefusal)] = [
        ("alg-none", .algorithmNotAllowed), ("alg-none-signed", .algorithmNotAllowed),
        ("alg-lower", .algorithmNotAllowed), ("alg-missing", .malformed), ("alg-number", .malformed),
        ("alg-rs384", .algorithmNotAllowed), ("alg-ps256", .algorithmNotAllowed),
        ("alg-hs256", .algorithmNotAllowed), ("crit", .criticalHeader), ("crit-empty", .criticalHeader),
        ("jwk", .embeddedKey), ("jku", .embeddedKey), ("x5u", .embeddedKey), ("x5c", .embeddedKey),
        ("no-kid", .keyNotNamed), ("kid-unknown", .unknownKey), ("kid-number", .malformed),
        ("typ-number", .malformed), ("header-duplicate", .malformed),
        ("header-duplicate-escaped", .malformed), ("header-duplicate-deep", .malformed),
        ("header-array", .malformed), ("header-trailing", .malformed), ("header-cut", .malformed),
        ("iss-wrong", .wrongIssuer), ("iss-missing", .missingClaim), ("iss-list", .malformedClaims),
        ("aud-wrong", .wrongAudience), ("aud-list-wrong", .wrongAudience),
        ("aud-list-empty", .wrongAudience), ("aud-missing", .missingClaim), ("aud-number", .malformedClaims),
        ("aud-list-number", .malformedClaims), ("exp-missing", .missingClaim),
        ("exp-text", .malformedClaims), ("exp-null", .malformedClaims), ("exp-negative", .expired),
        ("exp-past", .expired), ("nbf-future", .notYetValid), ("iat-future", .notYetValid),
        ("nbf-text", .malformedClaims), ("sub-number", .malformedClaims), ("sub-null", .malformedClaims),
        ("sub-empty", .claimNotForwardable), ("sub-long", .claimNotForwardable),
        ("sub-newline", .claimNotForwardable), ("sub-delete", .claimNotForwardable),
        ("sub-zero", .claimNotForwardable), ("sub-space-first", .claimNotForwardable),
        ("sub-space-last", .claimNotForwardable), ("roles-object", .claimNotForwardable),
        ("roles-nested", .claimNotForwardable), ("roles-comma", .claimNotForwardable),
        ("roles-blank", .claimNotForwardable), ("roles-null-inside", .claimNotForwardable),
        ("roles-control", .claimNotForwardable), ("roles-long", .claimNotForwardable),
        ("claims-duplicate", .malformedClaims), ("claims-duplicate-escaped", .malformedClaims),
        ("claims-duplicate-deep", .malformedClaims), ("claims-array", .malformedClaims),
        ("claims-text", .malformedClaims), ("claims-trailing", .malformedClaims),
        ("claims-deep", .malformedClaims), ("claims-lone-surrogate", .malformedClaims),
    ]

    @Test("a rightly signed token is refused for what it says, before its signature is checked")
    func refusedForContent() throws {
        for (name, refusal) in Self.refusedForContent {
            var verifier = try Fixtures.verifier()
            let token = Fixtures.token(name)
            for _ in 0..<2 {
                let asked = verifier.ask(token)
                #expect(asked == Asked(refusal: refusal), "\(name)")
            }
            let checks = verifier.signatureChecks
            #expect(checks == 0, "\(name)")
        }
    }

    @Test(
        "RFC 7515 §5.2 step 8: a signature that does not fit is refused, and checked once only",
        arguments: [
            ("signed-by-other", 1), ("signed-sha512", 1), ("payload-swapped", 1), ("signature-short", 0),
            ("signature-zero", 1),
        ])
    func refusedForSignature(name: String, checks: Int) throws {
        var verifier = try Fixtures.verifier()
        let token = Fixtures.token(name)
        for _ in 0..<3 {
            let asked = verifier.ask(token)
            #expect(asked == Asked(refusal: .badSignature))
        }
        let done = verifier.signatureChecks
        #expect(done == checks)
    }

    @Test("each prefix of a good token is refused, and so is each with something behind it") func prefixes()
        throws
    {
        var verifier = try Fixtures.verifier()
        let good = Fixtures.token("good")
        for count in good.indices {
            let asked = verifier.ask(Array(good.prefix(count)))
            #expect(asked.refusal != nil)
        }
        for more in ["A", "AA", "AAA", "AAAA", "=", "==", ".", ".AA", " ", "\n", "\0"] {
            let asked = verifier.ask(good + Array(more.utf8))
            #expect(asked.refusal != nil, "\(more)")
        }
        let before = verifier.ask([UInt8(ascii: " ")] + good)
        #expect(before.refusal == .malformed)
    }

    @Test("RFC 4648 §3.5: another spelling of the same signature is another token, and refused")
    func spelling()
        throws
    {
        var verifier = try Fixtures.verifier()
        var token = Fixtures.token("good")
        let accepted = verifier.ask(token)
        // 256 bytes leave four bits of the last character for nothing: they must be zero.
        let last = token[token.count - 1]
        for other in [last + 1, last + 2] {
            token[token.count - 1] = other
            let asked = verifier.ask(token)
            #expect(asked.refusal == .malformed)
        }
        #expect(accepted.refusal == nil)
    }

    @Test("one changed byte anywhere makes a good token bad") func changes() throws {
        var verifier = try Fixtures.verifier()
        let good = Fixtures.token("good")
        for index in good.indices {
            var changed = good
            changed[index] = changed[index] == UInt8(ascii: "A") ? UInt8(ascii: "B") : UInt8(ascii: "A")
            let asked = verifier.ask(changed)
            #expect(asked.refusal != nil, "at \(index)")
        }
    }

    @Test(
        "what has not three parts of base64url is malformed",
        arguments: [
            "", ".", "..", "...", "a", "a.b", "a.b.", ".a.b", "a..b", "e30.e30", "e30.e30.", "e30.e30.AA",
            "e30.e30.e30.e30.e30", "e30=.e30.AA", "eyJhbGciOiJSUzI1NiJ9.e30=.AA", "Bearer e30.e30.AA",
            "eyJhbGciOiJSUzI1NiJ9.e30.", "////.////.////",
        ])
    func malformed(text: String) throws {
        var verifier = try Fixtures.verifier(keys: "a.json")
        let asked = verifier.ask(Array(text.utf8))
        #expect(asked == Asked(refusal: .malformed))
    }

    @Test("a token over its bound is not looked at") func tooLong() throws {
        let good = Fixtures.token("good")
        var exact = try Fixtures.verifier(Fixtures.settings(maxTokenBytes: good.count))
        var less = try Fixtures.verifier(Fixtures.settings(maxTokenBytes: good.count - 1))
        let accepted = exact.ask(good)
        let refused = less.ask(good)
        #expect(accepted.refusal == nil)
        #expect(refused.refusal == .tooLong)
    }
}

@Suite("RFC 7519 §4.1: claims and time") struct ClaimTimeTests {
    @Test(
        "§4.1.4: a token ends with exp and the leeway, to the second",
        arguments: [
            ("good", 0, Fixtures.end - 1, nil), ("good", 0, Fixtures.end, .expired),
            ("good", 30, Fixtures.end + 29, nil), ("good", 30, Fixtures.end + 30, .expired),
            ("exp-fraction", 0, Fixtures.end - 1, nil), ("exp-fraction", 0, Fixtures.end, .expired),
            ("exp-exponent", 0, Fixtures.end, .expired), ("exp-huge", 0, 200_000_000_000, nil),
        ] as [(String, Int, Int64, TokenRefusal?)])
    func expiry(name: String, leeway: Int, now: Int64, refusal: TokenRefusal?) throws {
        var fresh = try Fixtures.verifier(Fixtures.settings(leeway: leeway))
        let asked = fresh.ask(Fixtures.token(name), at: now)
        #expect(asked.refusal == refusal)
        // The same for a token that was accepted before and is remembered.
        var used = try Fixtures.verifier(Fixtures.settings(leeway: leeway))
        let before = used.ask(Fixtures.token(name))
        let after = used.ask(Fixtures.token(name), at: now)
        #expect(before.refusal == nil)
        #expect(after.refusal == refusal)
        let checks = used.signatureChecks
        #expect(checks == 1)
    }

    @Test(
        "§4.1.5, §4.1.6: a token begins with nbf and iat, less the leeway",
        arguments: [
            ("good", 0, 1_700_000_000, nil), ("good", 0, 1_699_999_999, .notYetValid),
            ("good", 30, 1_699_999_970, nil), ("good", 30, 1_699_999_969, .notYetValid),
        ] as [(String, Int, Int64, TokenRefusal?)])
    func begin(name: String, leeway: Int, now: Int64, refusal: TokenRefusal?) throws {
        var verifier = try Fixtures.verifier(Fixtures.settings(leeway: leeway))
        let asked = verifier.ask(Fixtures.token(name), at: now)
        #expect(asked.refusal == refusal)
    }

    @Test("a token that is refused as too early is accepted when its time has come") func early() throws {
        var verifier = try Fixtures.verifier(Fixtures.settings(leeway: 0))
        let early = verifier.ask(Fixtures.token("good"), at: 1_699_999_999)
        let later = verifier.ask(Fixtures.token("good"), at: 1_700_000_000)
        #expect(early.refusal == .notYetValid)
        #expect(later.refusal == nil)
    }

    @Test("no time of the clock traps", arguments: [Int64.min, -1, 0, Int64.max]) func clock(now: Int64)
        throws
    {
        var verifier = try Fixtures.verifier()
        for name in ["good", "exp-huge", "exp-negative", "signed-by-other"] {
            for time in [now, now, Fixtures.now] { _ = verifier.ask(Fixtures.token(name), at: time) }
        }
    }

    @Test("a required claim must be there and not null") func required() throws {
        var verifier = try Fixtures.verifier(Fixtures.settings(required: ["sub", "roles"]))
        for (name, refusal) in [
            ("good", nil), ("no-sub", .missingClaim), ("no-roles", .missingClaim),
            ("roles-null", .missingClaim), ("roles-empty", nil), ("escapes", nil),
        ] as [(String, TokenRefusal?)] {
            let asked = verifier.ask(Fixtures.token(name))
            #expect(asked.refusal == refusal, "\(name)")
        }
    }

    @Test("RFC 9068 §4: an access token says so in its typ") func accessToken() throws {
        var verifier = try Fixtures.verifier(Fixtures.settings(type: .accessToken))
        for (name, refusal) in [("at-jwt", nil), ("good", .wrongType)] as [(String, TokenRefusal?)] {
            let asked = verifier.ask(Fixtures.token(name))
            #expect(asked.refusal == refusal, "\(name)")
        }
        let full = verifier.ask(Fixtures.token("application-at-jwt"))
        #expect(full.refusal == nil)
    }

    @Test("the longest subject and values are carried whole, beside the longest token") func longest() throws
    {
        let settings = try IssuerSettings(
            issuer: "https://auth.example.com", audiences: ["platform-api"],
            forwards: [.init(fieldName: "X-Roles", claimName: "roles")])
        var verifier = try Fixtures.verifier(settings)
        for isCached in [false, true] {
            let asked = verifier.ask(Fixtures.token("longest-values"))
            let expected = Asked(
                wasCached: isCached, subject: String(repeating: "s", count: 255),
                forwards: [String(repeating: "r", count: 1024)])
            #expect(asked == expected)
        }
    }

    @Test("values that are too long together are refused") func together() throws {
        var verifier = try Fixtures.verifier()
        let asked = verifier.ask(Fixtures.token("longest-values"))
        #expect(asked.refusal == .claimNotForwardable)
    }

    @Test("every refusal has a name of its own, and a text that a quoted string can hold") func names() {
        let names = Set(TokenRefusal.allCases.map { $0.name.description })
        #expect(names.count == TokenRefusal.allCases.count)
        for refusal in TokenRefusal.allCases {
            let text = refusal.errorDescription.description
            #expect(!text.isEmpty && !text.contains("\"") && !text.contains("\\"))
            #expect(refusal.errorCode.description == "invalid_token")
        }
    }
}
