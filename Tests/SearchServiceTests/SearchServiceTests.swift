import Foundation
import ServiceKit
import Testing

@testable import SearchService

@Suite("The search service over HTTP") struct SearchServiceTests {
    private static let secret = "0123456789abcdef"
    private static let first = "01234567-89ab-7000-8000-000000000001"
    private static let second = "01234567-89ab-7000-8000-000000000002"

    private func withSearch(
        _ body: @escaping @Sendable (RunningSearch) async throws -> Void
    ) async throws { try await RunningSearch.with(body) }

    private static func put(
        _ search: RunningSearch, _ id: String, owner: String = "ada", title: String, body: String = "",
        version: Int64 = 1
    ) async throws {
        try await search.publish([
            Fixture.event(.stored, id, owner: owner, title: title, body: body, version: version)
        ])
    }

    private static func find(
        _ search: RunningSearch, _ query: String, as subject: String = "ada", roles: [String] = ["user"]
    )
        async throws -> OutboundClient.Answer
    {
        try await Harness.ask(
            search.origin, "GET", "/search/documents?\(query)", token: Harness.token(subject, roles: roles))
    }

    private static func titles(_ answer: OutboundClient.Answer) -> [String] {
        (answer.object["hits"] as? [[String: Any]] ?? []).compactMap { $0["title"] as? String }
    }

    @Test("All words must be there, in any case and without their accents; a title weighs more") func words()
        async throws
    {
        try await withSearch { search in
            try await Self.put(search, Self.first, title: "Night train", body: "A slow caf\u{E9} on rails")
            try await Self.put(search, Self.second, title: "Rails at night", body: "Nothing else")
            let both = try await Self.find(search, "q=RAILS+night")
            #expect(both.object["total"] as? Int == 2)
            #expect(Self.titles(both) == ["Rails at night", "Night train"])
            #expect(Self.titles(try await Self.find(search, "q=cafe")) == ["Night train"])
            #expect(Self.titles(try await Self.find(search, "q=cafe+nothing")).isEmpty)
        }
    }

    @Test("A caller finds only what is his; an administrator finds all, or one owner's") func owners()
        async throws
    {
        try await withSearch { search in
            try await Self.put(search, Self.first, owner: "ada", title: "Secret plan")
            try await Self.put(search, Self.second, owner: "bob", title: "Secret recipe")
            #expect(Self.titles(try await Self.find(search, "q=secret")) == ["Secret plan"])
            #expect(try await Self.find(search, "q=secret&owner=bob").status == 403)
            let all = try await Self.find(search, "q=secret", as: "root", roles: ["admin"])
            #expect(all.object["total"] as? Int == 2)
            let one = try await Self.find(search, "q=secret&owner=bob", as: "root", roles: ["admin"])
            #expect(Self.titles(one) == ["Secret recipe"])
            #expect(try await Harness.ask(search.origin, "GET", "/search/documents?q=secret").status == 401)
        }
    }

    @Test("A snippet is safe HTML with the match marked") func snippets() async throws {
        try await withSearch { search in
            try await Self.put(
                search, Self.first, title: "x", body: "<script>alert(\"engine\")</script> & more")
            let answer = try await Self.find(search, "q=engine")
            let hit = try #require((answer.object["hits"] as? [[String: Any]])?.first)
            #expect(
                hit["snippet"] as? String
                    == "&lt;script&gt;alert(&quot;<em>engine</em>&quot;)&lt;/script&gt; &amp; more")
            #expect(hit["id"] as? String == Self.first)
            #expect(hit["score"] as? Double ?? -1 >= 0)
        }
    }

    @Test("An older version never replaces a newer one, nor brings back what was deleted") func versions()
        async throws
    {
        try await withSearch { search in
            try await Self.put(search, Self.first, title: "newer", version: 3)
            try await Self.put(search, Self.first, title: "older", version: 2)
            #expect(Self.titles(try await Self.find(search, "q=newer")) == ["newer"])
            #expect(Self.titles(try await Self.find(search, "q=older")).isEmpty)

            try await search.publish([Fixture.event(.deleted, Self.first, version: 2)])
            try await Self.put(search, Self.first, title: "newest", version: 4)
            #expect(Self.titles(try await Self.find(search, "q=newest")) == ["newest"])
            try await search.publish([Fixture.event(.deleted, Self.first, version: 5)])
            try await Self.put(search, Self.first, title: "ghost", version: 4)
            #expect(Self.titles(try await Self.find(search, "q=ghost")).isEmpty)
            #expect(Self.titles(try await Self.find(search, "q=newest")).isEmpty)
        }
    }

    @Test(
        "Whatever a stranger asks for is an answer or a 400, never an error of ours",
        arguments: [
            "\"", "*", "a*", "a OR", "NOT", "a NEAR(b", "title:x", "^a", "(a", "a AND", "--", ";", "\u{0}",
            "''",
            "{title}:a", "a + b", "\u{E000}a\u{E001}", "💥", "%", "_",
        ])
    func hostile(text: String) async throws {
        try await withSearch { search in
            try await Self.put(search, Self.first, title: "a b", body: "title x")
            let coded = text.utf8.map { "%" + Bytes.hex([$0]) }.joined()
            let status = try await Self.find(search, "q=\(coded)").status
            #expect(status == 200 || status == 400)
        }
    }

    @Test(
        "FTS query injection: what is an operator of the index's language is a word, or nothing",
        arguments: [
            ("beta", ["alpha beta"]), ("bet*", []), ("alpha OR gamma", []), ("alpha NOT gamma", []),
            ("\"beta alpha\"", ["alpha beta"]), ("NEAR(alpha beta)", []), ("title : alpha", []),
            ("{title} : alpha", []), ("- title : zeta", []), ("alpha ) OR ( gamma", []),
            ("^beta", ["alpha beta"]),
            ("alpha + beta", ["alpha beta"]), ("\"alpha", ["alpha beta"]), ("(alpha", ["alpha beta"]),
        ])
    func queryLanguage(text: String, found: [String]) async throws {
        try await withSearch { search in
            try await Self.put(search, Self.first, title: "alpha beta")
            try await Self.put(search, Self.second, owner: "bob", title: "alpha gamma")
            let coded = text.utf8.map { "%" + Bytes.hex([$0]) }.joined()
            let answer = try await Self.find(search, "q=\(coded)")
            #expect(answer.status == 200)
            #expect(Self.titles(answer) == found)
        }
    }

    @Test("Pages have limits, and go on by a cursor") func pages() async throws {
        try await withSearch { search in
            for number in 1...3 {
                try await Self.put(
                    search, "01234567-89ab-7000-8000-00000000000\(number)", title: "same \(number)")
            }
            let page = try await Self.find(search, "q=same&limit=2")
            #expect(page.object["total"] as? Int == 3)
            #expect(Self.titles(page).count == 2)
            let cursor = try #require(page.text("nextCursor"))
            let last = try await Self.find(search, "q=same&limit=2&cursor=\(cursor)")
            #expect(Self.titles(last).count == 1)
            #expect(last.text("nextCursor") == nil)
            for query in [
                "q=same&limit=51", "q=same&limit=0", "q=", "limit=1", "q=same&cursor=x", "q=same&cursor=",
                "q=other&cursor=\(cursor)", "q=same&type=", "q=same&updatedAfter=yesterday",
                "q=same&updatedAfter=", "q=same&updatedAfter=99999999999-01-01T00:00:00Z",
                "q=" + String(repeating: "a", count: 257),
                "q=same&type=" + String(repeating: "a", count: 65),
            ] {
                #expect(try await Self.find(search, query).status == 400, "\(query)")
            }
        }
    }

    @Test("Filters come from the query") func filters() async throws {
        try await withSearch { search in
            try await Self.put(search, Self.first, title: "same")
            let all = try await Self.find(
                search, "q=same&type=document&updatedAfter=2020-01-02T03:04:05.678Z")
            #expect(Self.titles(all) == ["same"])
            #expect(Self.titles(try await Self.find(search, "q=same&type=note")).isEmpty)
            #expect(
                Self.titles(try await Self.find(search, "q=same&updatedAfter=2100-01-02T03:04:05Z")).isEmpty)
        }
    }
}
