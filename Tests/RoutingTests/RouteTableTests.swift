import Memory
import Routing
import Testing

private func rule(_ index: Int, _ prefix: String, hosts: [String] = [], listeners: [Int] = []) -> RouteRule {
    RouteRule(
        index: index, prefix: Array(prefix.utf8), hosts: hosts.map { Array($0.utf8) }, listeners: listeners)
}

private func match(_ rules: [RouteRule], _ host: String, _ path: String, listener: Int = 0) throws -> Int? {
    let table = try RouteTable(rules)
    return table.match(
        host: Array(host.utf8).rawSpan, path: Array(path.utf8).rawSpan, listener: listener)
}

@Suite("A prefix") struct PrefixTests {
    @Test(
        "matches whole segments",
        arguments: [
            ("/auth", 1), ("/auth/", 1), ("/auth/x", 1), ("/auth/x/y", 1), ("/auth//x", 1), ("/authors", nil),
            ("/aut", nil), ("/", nil), ("/Auth", nil), ("/x/auth", nil), ("", nil), ("*", nil), ("auth", nil),
        ] as [(String, Int?)])
    func wholeSegments(path: String, expected: Int?) throws {
        #expect(try match([rule(1, "/auth")], "h", path) == expected)
    }

    @Test("may end in a slash, which means nothing", arguments: ["/auth", "/auth/", "/auth/x"])
    func trailingSlash(path: String) throws {
        #expect(try match([rule(1, "/auth/")], "h", path) == 1)
        #expect(try match([rule(1, "/auth/")], "h", "/authors") == nil)
        #expect(throws: RouteTableError.tie(first: 1, second: 2)) {
            _ = try RouteTable([rule(1, "/auth"), rule(2, "/auth/")])
        }
    }

    @Test("of one slash matches every path", arguments: ["/", "/a", "/a/b", "//", "/a/"])
    func root(path: String) throws {
        #expect(try match([rule(7, "/")], "", path) == 7)
    }

    @Test(
        "that is longer wins",
        arguments: [
            ("/", 0), ("/api", 1), ("/api/v1", 2), ("/api/v1/documents", 3), ("/api/v1/documents/9", 3),
            ("/api/v1/document", 2), ("/api/v2/documents", 1), ("/apis", 0),
        ])
    func longest(path: String, expected: Int) throws {
        let rules = [
            rule(3, "/api/v1/documents"), rule(0, "/"), rule(2, "/api/v1"), rule(1, "/api"),
        ]
        #expect(try match(rules, "h", path) == expected)
    }

    @Test("a deeper one that does not fit gives way to the one above it") func fallBack() throws {
        let rules = [rule(1, "/a"), rule(2, "/a/b/c/d")]
        #expect(try match(rules, "h", "/a/b/c") == 1)
        #expect(try match(rules, "h", "/a/b/c/d/e") == 2)
        #expect(try match(rules, "h", "/a/b/c/e") == 1)
    }

    @Test("may hold an empty segment, for where slashes are not merged") func emptySegment() throws {
        let rules = [rule(1, "/a"), rule(2, "/a//b")]
        #expect(try match(rules, "h", "/a//b") == 2)
        #expect(try match(rules, "h", "/a/b") == 1)
    }
}

@Suite("A host") struct HostTests {
    @Test(
        "is compared without its case, its port and the dot at its end (RFC 9110 §4.2.3)",
        arguments: [
            "api.example.com", "API.Example.COM", "api.example.com:8443", "api.example.com.",
            "api.example.com.:443", "api.example.com:",
        ])
    func normalForm(host: String) throws {
        #expect(try match([rule(1, "/", hosts: ["Api.Example.com"])], host, "/") == 1)
        #expect(try match([rule(1, "/", hosts: ["api.example.com."])], host, "/") == 1)
    }

    @Test(
        "that is another does not match",
        arguments: [
            "", "example.com", "api.example.comm", "xapi.example.com", "api.example.com..", ".", ":", ":80",
            "[",
            "[]", "api.example.com .", String(repeating: "a.", count: 5000),
            String(repeating: "a", count: 256),
        ])
    func others(host: String) throws {
        #expect(try match([rule(1, "/", hosts: ["api.example.com", "*.b"])], host, "/") == nil)
    }

    @Test("may be an address in brackets", arguments: ["[::1]", "[::1]:8080", "[2001:DB8::1]:1"])
    func address(host: String) throws {
        let expected = host.hasPrefix("[::1]") ? 1 : 2
        let rules = [rule(1, "/", hosts: ["[::1]"]), rule(2, "/", hosts: ["[2001:db8::1]"])]
        #expect(try match(rules, host, "/") == expected)
    }

    @Test(
        "exact goes before wildcard, a longer wildcard before a shorter, any host last",
        arguments: [
            ("a.b.example.com", 1), ("x.b.example.com", 2), ("y.x.b.example.com", 2), ("b.example.com", 3),
            ("x.example.com", 3), ("example.com", 4), ("other.org", 4), ("", 4), (".b.example.com", 3),
        ])
    func order(host: String, expected: Int) throws {
        let rules = [
            rule(4, "/"), rule(3, "/", hosts: ["*.example.com"]), rule(2, "/", hosts: ["*.b.example.com"]),
            rule(1, "/", hosts: ["a.b.example.com"]),
        ]
        #expect(try match(rules, host, "/") == expected)
        #expect(try match(rules.reversed(), host, "/") == expected)
    }

    @Test("goes before the length of the prefix, and falls through where no prefix fits") func beforePrefix()
        throws
    {
        let rules = [
            rule(1, "/a", hosts: ["api.example.com"]), rule(2, "/a/b"),
            rule(3, "/c", hosts: ["*.example.com"]),
            rule(4, "/c/d"),
        ]
        #expect(try match(rules, "api.example.com", "/a/b") == 1)
        #expect(try match(rules, "other.org", "/a/b") == 2)
        #expect(try match(rules, "api.example.com", "/c/d") == 3)
        #expect(try match(rules, "other.org", "/c/d") == 4)
        #expect(try match(rules, "api.example.com", "/e") == nil)
    }
}

@Suite("Listeners") struct ListenerTests {
    @Test("must hold, and what does not hold does not count") func hold() throws {
        let rules = [
            rule(1, "/", listeners: [0]), rule(2, "/", listeners: [1, 70]), rule(3, "/a/b", listeners: [1]),
            rule(4, "/a"),
        ]
        #expect(try match(rules, "h", "/", listener: 0) == 1)
        #expect(try match(rules, "h", "/", listener: 1) == 2)
        #expect(try match(rules, "h", "/", listener: 70) == 2)
        #expect(try match(rules, "h", "/", listener: 2) == nil)
        #expect(try match(rules, "h", "/a/b", listener: 1) == 3)
        #expect(try match(rules, "h", "/a/b", listener: 0) == 4)
    }

    @Test("a host whose route is on another listener falls through") func fallThrough() throws {
        let rules = [rule(1, "/", hosts: ["a.b"], listeners: [1]), rule(2, "/", hosts: ["*.b"])]
        #expect(try match(rules, "a.b", "/", listener: 0) == 2)
        #expect(try match(rules, "a.b", "/", listener: 1) == 1)
    }
}

@Suite("What is refused") struct RouteRefusalTests {
    @Test(
        "a tie, told by both numbers",
        arguments: [
            (rule(5, "/a"), rule(9, "/a")),
            (rule(5, "/a", listeners: [1]), rule(9, "/a")),
            (rule(5, "/a", listeners: [1, 2]), rule(9, "/a", listeners: [2, 3])),
            (rule(5, "/", hosts: ["x.y"]), rule(9, "/", hosts: ["a.b", "X.Y."])),
            (rule(5, "/", hosts: ["*.y"]), rule(9, "/", hosts: ["*.Y"])),
        ])
    func ties(first: RouteRule, second: RouteRule) {
        #expect(throws: RouteTableError.tie(first: 5, second: 9)) { _ = try RouteTable([first, second]) }
    }

    @Test("not what no request could share") func noTies() throws {
        _ = try RouteTable([
            rule(1, "/a"), rule(2, "/a", hosts: ["a.b"]), rule(3, "/a", hosts: ["*.b"]), rule(4, "/A"),
            rule(5, "/b", listeners: [1]), rule(6, "/b", listeners: [2, 2]),
            rule(7, "/c", hosts: ["a.b", "A.B"]),
        ])
    }

    @Test("a prefix without its slash", arguments: ["", "a", "*"]) func prefixes(prefix: String) {
        #expect(throws: RouteTableError.badPrefix(rule: 3)) { _ = try RouteTable([rule(3, prefix)]) }
    }

    @Test("a host that names nothing", arguments: ["", ".", "*", "*.", "*.*.a", "a.*", ".a", "*a"])
    func hosts(host: String) {
        #expect(throws: RouteTableError.badHost(rule: 3)) {
            _ = try RouteTable([rule(3, "/", hosts: [host])])
        }
    }
}

@Suite("Any table") struct RouteModelTests {
    /// Numbers that repeat from run to run.
    private struct Dice {
        var state: UInt64

        mutating func roll(_ bound: Int) -> Int {
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            return Int((state &>> 33) % UInt64(bound))
        }

        mutating func pick(_ texts: [String]) -> String { texts[roll(texts.count)] }
    }

    private static let segments = ["a", "b", "documents", "a-longer-segment", "x", ""]
    private static let names = ["a.b", "c.a.b", "*.b", "*.a.b", "*.c.a.b", "d", "*.d"]

    /// The rule that should win: a walk over all.
    private static func expected(_ rules: [RouteRule], _ host: String, _ path: String, _ listener: Int)
        -> Int?
    {
        var best: (score: [Int], index: Int)?
        for rule in rules where rule.listeners.isEmpty || rule.listeners.contains(listener) {
            var prefix = String(decoding: rule.prefix, as: UTF8.self)
            if prefix.hasSuffix("/") { prefix.removeLast() }
            if prefix == "/" { prefix = "" }
            guard path == prefix || path.hasPrefix(prefix + "/") else { continue }
            var hostScores = rule.hosts.isEmpty ? [0] : []
            for pattern in rule.hosts.map({ String(decoding: $0, as: UTF8.self) }) {
                if pattern == host { hostScores.append(10000) }
                if pattern.hasPrefix("*."), host.hasSuffix(pattern.dropFirst()),
                    host.count > pattern.count - 1
                {
                    hostScores.append(pattern.count)
                }
            }
            guard let hostScore = hostScores.max() else { continue }
            let score = [hostScore, prefix.utf8.count]
            if let known = best, !known.score.lexicographicallyPrecedes(score) { continue }
            best = (score, rule.index)
        }
        return best?.index
    }

    @Test("answers what a walk over all its rules answers", arguments: 1...30) func model(seed: Int) throws {
        var dice = Dice(state: UInt64(seed))
        func path() -> String {
            let depth = dice.roll(5)
            return "/" + (0..<depth).map { _ in dice.pick(Self.segments) }.joined(separator: "/")
        }
        var rules: [RouteRule] = []
        for index in 0..<60 {
            let hosts = (0..<dice.roll(3)).map { _ in dice.pick(Self.names) }
            let listeners = (0..<dice.roll(2)).map { _ in dice.roll(3) }
            let next = rule(index, path(), hosts: hosts, listeners: listeners)
            // Those that tie are left out: that they are refused is tested elsewhere.
            if (try? RouteTable(rules + [next])) != nil { rules.append(next) }
        }
        let table = try RouteTable(rules)
        for _ in 0..<200 {
            let host = dice.pick(["a.b", "c.a.b", "x.c.a.b", "z.b", "d", "y.d", "other", ""])
            let path = path()
            let listener = dice.roll(3)
            let found = table.match(
                host: Array(host.utf8).rawSpan, path: Array(path.utf8).rawSpan, listener: listener)
            #expect(found == Self.expected(rules, host, path, listener), "\(host) \(path) \(listener)")
        }
    }

    @Test("of ten thousand routes finds each", arguments: [10, 1000, 10000]) func many(count: Int) throws {
        let table = try RouteTable((0..<count).map { rule($0, "/api/v1/tenant-\($0)/documents") })
        for index in stride(from: 0, to: count, by: max(1, count / 100)) {
            let path = Array("/api/v1/tenant-\(index)/documents/17".utf8)
            let found = table.match(host: RawSpan(), path: path.rawSpan, listener: 0)
            #expect(found == index)
        }
        let other = Array("/api/v1/tenant-x/documents".utf8)
        let found = table.match(host: RawSpan(), path: other.rawSpan, listener: 0)
        #expect(found == nil && table.count == count)
    }
}
