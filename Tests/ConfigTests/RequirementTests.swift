import Config
import Testing

@Suite("What routes require of tokens") struct RequirementTests {
    private func text(_ require: String, auth: String = "main") -> String {
        SampleConfiguration.text(
            "auth: {main: {jwt: {issuer: i, audience: [a], keys: {file: f}}}}",
            "routes: [{name: a, match: {prefix: /}, to: core, auth: \(auth), require: \(require)}]")
    }

    @Test(
        "scopes and roles are read, either alone or both",
        arguments: [
            ("{scopes: [documents:write]}", ["documents:write"], []),
            ("{roles: [editor, \"the admin\"]}", [], ["editor", "the admin"]),
            ("{scopes: [a, \"https://x/y.z\"], roles: [b]}", ["a", "https://x/y.z"], ["b"]),
        ])
    func read(require: String, scopes: [String], roles: [String]) throws {
        let it = try SampleConfiguration.load(text(require)).get()
        #expect(it.routes[0].requirement.scopes == scopes && it.routes[0].requirement.roles == roles)
    }

    @Test(
        "RFC 6749 §3.3: what is no scope, and what nobody could meet, is refused",
        arguments: [
            ("{}", "require must name scopes or roles"),
            ("{scopes: []}", "scopes must have at least 1 entry"),
            ("{roles: []}", "roles must have at least 1 entry"),
            ("{scopes: a}", "scopes must be a list, found 'a'"),
            ("{scopes: [a, a]}", "'a' stands in scopes already"),
            ("{scope: [a]}", "unknown key 'scope'; did you mean 'scopes'?"),
            (
                "{scopes: [\"a b\"]}",
                "a scope is made of printable ASCII without spaces, quotes and backslashes, found 'a b'"
            ),
            (
                "{scopes: ['a\"']}",
                "a scope is made of printable ASCII without spaces, quotes and backslashes, found 'a\"'"
            ),
            (
                "{scopes: [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q]}",
                "scopes has 17 entries; at most 16 are allowed"
            ),
        ])
    func refused(require: String, expected: String) {
        let errors = SampleConfiguration.errors(text(require))
        #expect(errors.contains { $0.hasSuffix(": " + expected) }, "\(errors)")
    }

    @Test("what is too long is refused, and so is a token asked for where there is none") func bounds() {
        let long = String(repeating: "s", count: 600)
        #expect(
            SampleConfiguration.errors(text("{scopes: [\(long)]}")).contains {
                $0.hasSuffix("scopes have 601 bytes together; at most 512 are allowed")
            })
        #expect(
            SampleConfiguration.errors(text("{roles: [\(long)]}")).contains {
                $0.hasSuffix("a role has more than 256 bytes")
            })
        #expect(
            SampleConfiguration.errors(text("{roles: [a]}", auth: "none")).contains {
                $0.hasSuffix("a route with auth: none has no token that could be required to have anything")
            })
    }

    @Test("the scopes and roles of one auth are counted together, each once") func together() {
        func routes(_ count: Int) -> String {
            let all = (0..<count).map { index in
                let scopes = (0..<16).map { "s\(index * 16 + $0)" }.joined(separator: ", ")
                return
                    "{name: r\(index), match: {prefix: /p\(index)}, to: core, auth: main, require: {scopes: [\(scopes)], roles: [r]}}"
            }
            return SampleConfiguration.text(
                "auth: {main: {jwt: {issuer: i, audience: [a], keys: {file: f}}}}",
                "routes: [\(all.joined(separator: ", "))]")
        }
        #expect(SampleConfiguration.errors(routes(15)).isEmpty)
        #expect(
            SampleConfiguration.errors(routes(17)).contains {
                $0.hasSuffix(
                    "the routes of one auth require 257 scopes and roles up to this one; at most 256 are allowed"
                )
            })
    }
}
