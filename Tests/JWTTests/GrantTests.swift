import JWT
import Memory
import Testing

@Suite("RFC 8693 §4.2 scopes, RFC 9068 §2.2.3.1 roles: what a good token may do") struct GrantTests {
    private static let scopes = ["documents:write", "documents:read documents:write", "https://x/write"]
    private static let roles = ["admin", "the editor", "editor admin"]

    private static func verifier(
        _ scopes: [String] = scopes, _ roles: [String] = roles, cacheEntries: Int = 64
    ) throws -> TokenVerifier {
        let settings = try IssuerSettings(
            issuer: "https://auth.example.com", audiences: ["platform-api"], cacheEntries: cacheEntries)
        return TokenVerifier(
            settings: settings, keySet: try Fixtures.keys(), hash: SipHash(key0: 1, key1: 2),
            grantNames: GrantNames(scopes: scopes, roles: roles))
    }

    private static func set(_ numbers: [Int]) -> GrantSet {
        var set = GrantSet()
        for number in numbers { set.insert(number) }
        return set
    }

    private static func ask(
        _ verifier: inout TokenVerifier, _ name: String, scopes: [Int] = [], roles: [Int] = []
    ) -> GrantAnswer? {
        let token = Fixtures.token(name)
        guard case .accepted(let entry, _) = verifier.verify(token.rawSpan, nowSeconds: Fixtures.now) else {
            return nil
        }
        let requirement = GrantRequirement(scopes: set(scopes), roles: set(roles))
        return verifier.judge(requirement, of: entry, token.rawSpan)
    }

    @Test(
        "a scope counts as a word of a text or an element of a list, and only whole",
        arguments: [
            ("scope-text", true), ("scope-one", true), ("scope-longer", false), ("scope-spaces", true),
            ("scope-list", true), ("scope-list-of-words", false), ("scope-number", false),
            ("scope-object", false),
            ("scope-list-mixed", true), ("scope-empty", false), ("scope-unknown", false),
            ("scope-null", false),
            ("scp-list", true), ("scp-text", true), ("scope-and-scp", true), ("good", false),
        ])
    func scope(name: String, isGranted: Bool) throws {
        var verifier = try Self.verifier()
        for _ in 0..<2 {
            let answer = Self.ask(&verifier, name, scopes: [0])
            #expect(answer == (isGranted ? .met : .lacksScope))
        }
        var uncached = try Self.verifier(cacheEntries: 0)
        let answer = Self.ask(&uncached, name, scopes: [0])
        #expect(answer == (isGranted ? .met : .lacksScope))
    }

    @Test("a needless escape changes nothing: some writers escape each solidus") func escaped() throws {
        var verifier = try Self.verifier()
        let answer = Self.ask(&verifier, "scope-escaped", scopes: [2])
        #expect(answer == .met)
        let other = Self.ask(&verifier, "scope-escaped", scopes: [0, 1])
        #expect(other == .lacksScope)
    }

    @Test(
        "a role is a text or an element of a list, spaces and all",
        arguments: [
            ("good", 3, true), ("good", 4, false), ("roles-of-one-name", 4, true),
            ("roles-of-one-name", 3, false),
            ("roles-spaces", 5, true), ("roles-spaces", 3, false), ("roles-text", 3, false),
            ("no-roles", 3, false),
            ("roles-null", 3, false), ("roles-number", 3, false), ("roles-object", 3, false),
            ("roles-nested", 3, false), ("roles-mixed", 3, false),
        ])
    func role(name: String, role: Int, isGranted: Bool) throws {
        var verifier = try Self.verifier()
        let answer = Self.ask(&verifier, name, roles: [role])
        #expect(answer == (isGranted ? .met : .lacksRole))
    }

    @Test("any of each: one scope of several and one role of several, and neither makes up for the other")
    func anyOfEach() throws {
        var verifier = try Self.verifier()
        let answers = [
            Self.ask(&verifier, "scope-one", scopes: [0, 2], roles: [3, 4]),
            Self.ask(&verifier, "scope-one", scopes: [2], roles: [3]),
            Self.ask(&verifier, "scope-one", scopes: [0], roles: [4]),
            Self.ask(&verifier, "scope-one", scopes: [2], roles: [4]),
            Self.ask(&verifier, "scope-one"),
        ]
        #expect(answers == [.met, .lacksScope, .lacksRole, .lacksScope, .met])
    }

    @Test("other names, which come with a reload, are read from the token again, without its signature")
    func reload() throws {
        var verifier = try Self.verifier(["other"], [])
        let before = Self.ask(&verifier, "scope-one", scopes: [0])
        var new = try Self.verifier(["x", "documents:write"], ["admin"])
        verifier.exchangeGrantNames(with: &new)
        let after = [
            Self.ask(&verifier, "scope-one", scopes: [1]), Self.ask(&verifier, "scope-one", scopes: [0]),
            Self.ask(&verifier, "scope-one", scopes: [1], roles: [2]),
        ]
        let checks = verifier.signatureChecks
        #expect(before == .lacksScope && after == [.met, .lacksScope, .met])
        #expect(checks == 1)
    }

    @Test("as many names as there may be have each a number of its own") func many() throws {
        let scopes = (0..<255).map { "s\($0)" } + ["documents:write"]
        var verifier = try Self.verifier(scopes, [])
        let answers = [0, 63, 64, 127, 128, 191, 192, 254, 255].map {
            Self.ask(&verifier, "scope-text", scopes: [$0])
        }
        #expect(answers.dropLast().allSatisfy { $0 == .lacksScope } && answers.last == .met)
    }
}
