import Foundation
import ServiceKit
import Testing

@testable import SearchService

@Suite("The search service over HTTP") struct SearchServiceTests {
    private static let secret = "0123456789abcdef"
    private static let first = "01234567-89ab-7000-8000-000000000001"
    private static let second = "01234567-89ab-7000-8000-000000000002"

    private func withSearch(_ body: @escaping @Sendable (Origin) async throws -> Void) async throws {
        let directory = Harness.directory()
        defer { try? FileManager.default.removeItem(at: directory) }
        let service = try SearchService(
            directory: directory, verifier: Harness.verifier(),
            serviceToken: #require(ServiceToken(Self.secret)))
        try await withRunning(service.parts, log: Harness.log, body)
    }

    private struct Handover: Encodable {
        let owner: String
        let title: String
        let body: String
        let version: Int64
    }

    private static func put(
        _ search: Origin, _ id: String, owner: String = "ada", title: String, body: String = "",
        version: Int = 1
    ) async throws {
        let document = try JSONEncoder().encode(
            Handover(owner: owner, title: title, body: body, version: Int64(version)))
        let answer = try await Harness.ask(
            search, "PUT", "/search/internal/documents/\(id)", token: secret,
            json: String(decoding: document, as: UTF8.self))
        #expect(answer.status == 204)
    }

    private static func find(
        _ search: Origin, _ query: String, as subject: String = "ada", roles: [String] = ["user"]
    )
        async throws -> OutboundClient.Answer
    {
        try await Harness.ask(
            search, "GET", "/search/documents?\(query)", token: Harness.token(subject, roles: roles))
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
            #expect(try await Harness.ask(search, "GET", "/search/documents?q=secret").status == 401)
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

            let path = "/search/internal/documents/\(Self.first)"
            let late = try await Harness.ask(search, "DELETE", path + "?version=2", token: Self.secret)
            #expect(late.status == 204)
            try await Self.put(search, Self.first, title: "newest", version: 4)
            #expect(Self.titles(try await Self.find(search, "q=newest")) == ["newest"])
            let deleted = try await Harness.ask(search, "DELETE", path + "?version=5", token: Self.secret)
            #expect(deleted.status == 204)
            try await Self.put(search, Self.first, title: "ghost", version: 4)
            #expect(Self.titles(try await Self.find(search, "q=ghost")).isEmpty)
            #expect(Self.titles(try await Self.find(search, "q=newest")).isEmpty)
        }
    }

    @Test("The internal side opens to the service token alone") func serviceToken() async throws {
        try await withSearch { search in
            let json = "{\"owner\":\"ada\",\"title\":\"x\",\"body\":\"\",\"version\":1}"
            let path = "/search/internal/documents/\(Self.first)"
            for token in [nil, "0123456789abcdeg", "", try Harness.token("root", roles: ["admin"])] {
                #expect(try await Harness.ask(search, "PUT", path, token: token, json: json).status == 401)
                #expect(
                    try await Harness.ask(search, "DELETE", path + "?version=1", token: token).status == 401)
            }
            let bad = try await Harness.ask(
                search, "PUT", "/search/internal/documents/nonsense", token: Self.secret, json: json)
            #expect(bad.status == 400)
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
                "q=same&updatedAfter=", "q=" + String(repeating: "a", count: 257),
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
