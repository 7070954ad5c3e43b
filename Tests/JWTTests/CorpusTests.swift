import Cryptography
import JWT
import Memory
import Testing

/// Tokens of every algorithm with the verdict that they must get: see Tests/Fixtures/tokens/make_corpus.py.
@Suite("The corpus of tokens made by other code") struct CorpusTests {
    struct Case {
        let name: String
        let settings: String
        /// The reason's name, or `accepted`.
        let expected: String
        let token: [UInt8]
    }

    static let all: [Case] = Fixtures.file("corpus.txt").split(separator: UInt8(ascii: "\n")).map { line in
        let parts = line.split(separator: UInt8(ascii: "\t"), omittingEmptySubsequences: false)
        func text(_ index: Int) -> String { String(decoding: parts[index], as: UTF8.self) }
        return Case(name: text(0), settings: text(1), expected: text(2), token: Array(parts[3]))
    }

    static func verifier(_ name: String) throws -> TokenVerifier {
        let algorithms: SignatureAlgorithms
        switch name {
        case "rs256": algorithms = .rs256
        case "curves": algorithms = [.es256, .edDSA]
        default: algorithms = Fixtures.everyAlgorithm
        }
        let settings = try IssuerSettings(
            issuer: "https://auth.example.com", audiences: ["platform-api", "other-api"],
            algorithms: algorithms, leewaySeconds: 30, requiredClaims: ["sub"], maxTokenBytes: 4096,
            tokenType: name == "at" ? .accessToken : .any,
            forwards: [
                .init(fieldName: "X-User-ID", claimName: "sub"),
                .init(fieldName: "X-Roles", claimName: "roles"),
            ],
            cacheEntries: 64)
        // Under settings that do not name its algorithm a key is not in the set, and its name is unknown; here the
        // algorithm is refused before that, as it must be.
        return TokenVerifier(
            settings: settings, keySet: try Fixtures.keys("corpus.json", Fixtures.everyAlgorithm),
            hash: SipHash(key0: 1, key1: 2))
    }

    @Test("each token gets its verdict, first and again, and costs at most one check of a signature")
    func verdicts() throws {
        #expect(Self.all.count >= 200)
        var all = try Self.verifier("all")
        var rs256 = try Self.verifier("rs256")
        var curves = try Self.verifier("curves")
        var at = try Self.verifier("at")
        for item in Self.all {
            switch item.settings {
            case "all": Self.judge(item, &all)
            case "rs256": Self.judge(item, &rs256)
            case "curves": Self.judge(item, &curves)
            case "at": Self.judge(item, &at)
            default: Issue.record("\(item.name) has settings '\(item.settings)'")
            }
        }
    }

    private static func judge(_ item: Case, _ verifier: inout TokenVerifier) {
        let before = verifier.signatureChecks
        for _ in 0..<3 {
            let asked = verifier.ask(item.token)
            let name = asked.refusal.map { "\($0.name)" } ?? "accepted"
            #expect(name == item.expected, "\(item.name)")
        }
        let checks = verifier.signatureChecks - before
        #expect(checks <= 1, "\(item.name)")
    }

    @Test("every reason that one token alone can get stands in the corpus") func reasons() {
        let found = Set(Self.all.map(\.expected))
        for refusal in TokenRefusal.allCases { #expect(found.contains("\(refusal.name)"), "\(refusal.name)") }
    }

    @Test(
        "RFC 7518 §3.1: a key that does not do for an algorithm is not in the set of it",
        arguments: [
            (SignatureAlgorithms.rs256, 1), (.rs384, 1), (.ps256, 2), ([.rs256, .ps256], 2), (.es256, 1),
            (.edDSA, 1), ([.es256, .edDSA], 2), (Fixtures.everyAlgorithm, 4),
        ] as [(SignatureAlgorithms, Int)])
    func members(algorithms: SignatureAlgorithms, count: Int) throws {
        let keys = try Fixtures.keys("corpus.json", algorithms)
        let found = keys.count
        #expect(found == count)
    }

    @Test(
        "a PEM key of each kind verifies its own algorithms and no other",
        arguments: [
            ("a.pem", ["rs256", "rs384", "rs512"]), ("ec.pem", ["es256"]), ("ed.pem", ["eddsa"]),
        ])
    func pem(file: String, good: [String]) throws {
        let settings = try IssuerSettings(
            issuer: "https://auth.example.com", audiences: ["platform-api"],
            algorithms: Fixtures.everyAlgorithm)
        var verifier = TokenVerifier(
            settings: settings, keySet: try Fixtures.keys(file, Fixtures.everyAlgorithm),
            hash: SipHash(key0: 1, key1: 2))
        for item in Self.all where item.name.hasSuffix("-good") {
            let asked = verifier.ask(item.token)
            let algorithm = String(item.name.dropLast(5))
            if good.contains(algorithm) {
                #expect(asked.refusal == nil, "\(item.name)")
            } else {
                // A PEM key takes every algorithm of its kind, and this one has not signed.
                let isKind = file == "a.pem" && algorithm == "ps256"
                #expect(asked.refusal == (isKind ? .badSignature : .keyNotForAlgorithm), "\(item.name)")
            }
        }
    }

    @Test("a PEM key that no algorithm named takes is refused when the file is read") func pemForNothing() {
        #expect(throws: KeySetError.pem(.notForAlgorithms(.p256))) {
            _ = try Fixtures.keys("ec.pem", .rs256)
        }
        #expect(throws: KeySetError.pem(.notForAlgorithms(.ed25519))) {
            _ = try Fixtures.keys("ed.pem", [.rs256, .es256])
        }
        #expect(throws: KeySetError.pem(.notForAlgorithms(.rsa))) {
            _ = try Fixtures.keys("a.pem", [.es256, .edDSA])
        }
    }
}
