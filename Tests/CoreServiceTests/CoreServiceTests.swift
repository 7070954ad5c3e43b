import Foundation
import HTTPTypes
import Hummingbird
import ServiceKit
import Synchronization
import Testing

@testable import CoreService

/// What a search service was told, standing in for one.
private final class HearingSearch: Sendable {
    struct Told: Equatable, Sendable {
        let id: String
        /// `nil` for a deletion.
        let title: String?
        let requestID: String?
        let authorization: String?
    }

    private struct Content: Decodable {
        let title: String
    }

    let told = Mutex<[Told]>([])
    let bell = Doorbell()
    private let status: HTTPResponse.Status

    init(status: HTTPResponse.Status = .noContent) {
        self.status = status
    }

    var parts: ServiceParts {
        ServiceParts(name: "search") { router in
            router.put("/search/internal/documents/:id") { request, call in
                let content = try await request.json(Content.self, limitBytes: 1 << 20)
                return self.hear(request, call, title: content.title)
            }
            router.delete("/search/internal/documents/:id") { request, call in
                self.hear(request, call, title: nil)
            }
        }
    }

    private func hear(_ request: Request, _ call: Call, title: String?) -> Response {
        told.withLock {
            $0.append(
                Told(
                    id: call.parameters.get("id") ?? "", title: title, requestID: call.requestID,
                    authorization: request.headers[.authorization]))
        }
        bell.ring()
        return Response(status: status)
    }

    /// Waits until so many hand-overs have come.
    func wait(for count: Int) async -> [Told] {
        while told.withLock({ $0.count }) < count { await bell.wait(upTo: .seconds(60)) }
        return told.withLock { $0 }
    }
}

@Suite("The core service over HTTP") struct CoreServiceTests {
    @Test("A document is made, read, changed and deleted") func life() async throws {
        try await Harness.withCore { core in
            let token = try Harness.token("ada")
            let made = try await Harness.ask(
                core, "POST", "/api/v1/documents", token: token, json: "{\"title\":\"One\",\"body\":\"text\"}"
            )
            let id = try #require(made.text("id"))
            #expect(made.field("Location") == "/api/v1/documents/\(id)")
            #expect(made.field("ETag") == "\"v1\"")
            let path = "/api/v1/documents/\(id)"

            let read = try await Harness.ask(core, "GET", path, token: token)
            #expect(read.text("title") == "One")
            #expect(read.text("owner") == "ada")
            let unchanged = try await Harness.ask(
                core, "GET", path, token: token, fields: [("If-None-Match", "W/\"v1\"")])
            #expect(unchanged.status == 304)

            let changed = try await Harness.ask(
                core, "PUT", path, token: token, json: "{\"title\":\"Two\",\"body\":\"\"}",
                fields: [("If-Match", "\"v0\", \"v1\"")])
            #expect(changed.status == 200)
            #expect(changed.field("ETag") == "\"v2\"")

            #expect(try await Harness.ask(core, "DELETE", path, token: token).status == 204)
            #expect(try await Harness.ask(core, "GET", path, token: token).status == 404)
            #expect(try await Harness.ask(core, "DELETE", path, token: token).status == 404)
        }
    }

    @Test("RFC 9110 §13.1.1: a change to another version than the named one is refused with 412")
    func preconditions() async throws {
        try await Harness.withCore { core in
            let token = try Harness.token("ada")
            let path = "/api/v1/documents/\(try await Harness.add(core, token, title: "One"))"
            for tag in ["\"v2\"", "W/\"v1\"", "v1", "\"\"", ""] {
                let put = try await Harness.ask(
                    core, "PUT", path, token: token, json: "{\"title\":\"Two\",\"body\":\"\"}",
                    fields: [("If-Match", tag)])
                #expect(put.status == 412, "\(tag)")
                let delete = try await Harness.ask(
                    core, "DELETE", path, token: token, fields: [("If-Match", tag)])
                #expect(delete.status == 412, "\(tag)")
            }
            let without = try await Harness.ask(
                core, "PUT", path, token: token, json: "{\"title\":\"Two\",\"body\":\"\"}")
            #expect(without.status == 428)
            #expect(without.text("reason") == "if_match_missing")
            let any = try await Harness.ask(core, "DELETE", path, token: token, fields: [("If-Match", "*")])
            #expect(any.status == 204)
        }
    }

    @Test("A stranger cannot tell another's document from none; an administrator sees it") func owners()
        async throws
    {
        try await Harness.withCore { core in
            let path = "/api/v1/documents/\(try await Harness.add(core, Harness.token("ada"), title: "One"))"
            let stranger = try Harness.token("bob")
            for method in ["GET", "DELETE"] {
                #expect(try await Harness.ask(core, method, path, token: stranger).status == 404)
            }
            let put = try await Harness.ask(
                core, "PUT", path, token: stranger, json: "{\"title\":\"Two\",\"body\":\"\"}",
                fields: [("If-Match", "*")])
            #expect(put.status == 404)
            #expect(
                try await Harness.ask(core, "GET", path, token: Harness.token("ada")).text("title") == "One")
            let other = try await Harness.ask(core, "GET", "/api/v1/documents?owner=ada", token: stranger)
            #expect(other.status == 403)

            let administrator = try Harness.token("root", roles: ["admin"])
            #expect(try await Harness.ask(core, "GET", path, token: administrator).status == 200)
            let all = try await Harness.ask(core, "GET", "/api/v1/documents?owner=*", token: administrator)
            #expect((all.object["documents"] as? [Any])?.count == 1)

            #expect(try await Harness.ask(core, "GET", path).status == 401)
            let narrow = try Harness.token("ada", scope: "search")
            #expect(try await Harness.ask(core, "GET", path, token: narrow).status == 403)
        }
    }

    @Test("Titles and bodies have limits") func limits() async throws {
        try await Harness.withCore { core in
            let token = try Harness.token("ada")
            for (title, bodyLength, status) in [
                ("", 0, 400), (String(repeating: "x", count: 1_025), 0, 400), ("x", 524_289, 413),
                ("x", 1_100_000, 413), ("x", 524_288, 201),
            ] {
                let json =
                    "{\"title\":\"\(title)\",\"body\":\"\(String(repeating: "y", count: bodyLength))\"}"
                let answer = try await Harness.ask(
                    core, "POST", "/api/v1/documents", token: token, json: json)
                #expect(answer.status == status)
            }
        }
    }

    @Test("The character U+0000, at which SQLite would cut a text, is refused") func zero() async throws {
        try await Harness.withCore { core in
            let token = try Harness.token("ada")
            for json in [#"{"title":"a\u0000b","body":""}"#, #"{"title":"a","body":"b\u0000"}"#] {
                let answer = try await Harness.ask(
                    core, "POST", "/api/v1/documents", token: token, json: json)
                #expect(answer.status == 400)
                #expect(answer.text("reason") == "invalid_text")
            }
        }
    }

    @Test("An account has a limit of documents, and one more when one was deleted") func documentLimit()
        async throws
    {
        try await Harness.withCore(limits: CoreLimits(documentsPerOwner: 2)) { core in
            let token = try Harness.token("ada")
            let first = try await Harness.add(core, token, title: "One")
            _ = try await Harness.add(core, token, title: "Two")
            func third() async throws -> OutboundClient.Answer {
                try await Harness.ask(
                    core, "POST", "/api/v1/documents", token: token, json: #"{"title":"Three","body":""}"#)
            }
            #expect(try await third().text("reason") == "too_many_documents")
            _ = try await Harness.add(core, Harness.token("bob"), title: "Another's")
            _ = try await Harness.ask(core, "DELETE", "/api/v1/documents/\(first)", token: token)
            #expect(try await third().status == 201)
            #expect(try await third().status == 403)
        }
    }

    @Test("Search is told of each change, with the request's id and the service token") func handover()
        async throws
    {
        let search = HearingSearch()
        try await withRunning(search.parts, log: Harness.log) { searchOrigin in
            try await Harness.withCore(search: searchOrigin) { core in
                let token = try Harness.token("ada")
                let made = try await Harness.ask(
                    core, "POST", "/api/v1/documents", token: token,
                    json: "{\"title\":\"One\",\"body\":\"\"}",
                    fields: [("X-Request-ID", "abc-1")])
                let id = try #require(made.text("id"))
                let first = await search.wait(for: 1)
                #expect(
                    first == [
                        .init(
                            id: id, title: "One", requestID: "abc-1",
                            authorization: "Bearer \(Harness.secret)")
                    ])
                _ = try await Harness.ask(core, "DELETE", "/api/v1/documents/\(id)", token: token)
                let second = await search.wait(for: 2)
                #expect(second.last?.title == nil)
            }
        }
    }

    @Test(
        "What changed while search was away is handed over when it comes back, and after a restart, once a document"
    )
    func searchAway() async throws {
        let directory = Harness.directory()
        defer { try? FileManager.default.removeItem(at: directory) }
        let token = try Harness.token("ada")
        let id = try await withRunning(Harness.core(directory), log: Harness.log) { core in
            let id = try await Harness.add(core, token, title: "One")
            for title in ["Two", "Three"] {
                let changed = try await Harness.ask(
                    core, "PUT", "/api/v1/documents/\(id)", token: token,
                    json: "{\"title\":\"\(title)\",\"body\":\"\"}", fields: [("If-Match", "*")])
                #expect(changed.status == 200)
            }
            return id
        }
        let search = HearingSearch()
        try await withRunning(search.parts, log: Harness.log) { searchOrigin in
            let later = Origin(nil)
            try await withRunning(Harness.core(directory, search: later), log: Harness.log) { core in
                let metrics = try await Harness.ask(core, "GET", "/metrics")
                #expect(
                    String(decoding: metrics.body, as: UTF8.self)
                        .contains("gatehouse_service_outbox_waiting{service=\"core\"} 1\n"))
                later.target = searchOrigin.target
                let told = await search.wait(for: 1)
                #expect(told.map(\.id) == [id])
                #expect(told.map(\.title) == ["Three"])
            }
        }
    }

    @Test("A document that search refuses holds up no other") func refusedDocument() async throws {
        let search = HearingSearch(status: .unprocessableContent)
        try await withRunning(search.parts, log: Harness.log) { searchOrigin in
            try await Harness.withCore(search: searchOrigin) { core in
                let token = try Harness.token("ada")
                let ids = [
                    try await Harness.add(core, token, title: "One"),
                    try await Harness.add(core, token, title: "Two"),
                ]
                #expect(await search.wait(for: 2).map(\.id) == ids)
            }
        }
    }

    @Test("A full outbox refuses changes with 503") func outboxFull() async throws {
        try await Harness.withCore(limits: CoreLimits(outbox: 1)) { core in
            let token = try Harness.token("ada")
            _ = try await Harness.add(core, token, title: "One")
            let refused = try await Harness.ask(
                core, "POST", "/api/v1/documents", token: token, json: "{\"title\":\"Two\",\"body\":\"\"}")
            #expect(refused.status == 503)
            #expect(refused.text("reason") == "outbox_full")
        }
    }
}
