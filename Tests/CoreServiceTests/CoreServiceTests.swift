import Foundation
import ServiceKit
import Testing

@testable import CoreService

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
            let own = try await Harness.ask(core, "GET", "/api/v1/documents", token: stranger)
            #expect((own.object["documents"] as? [Any])?.isEmpty == true)

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
}
