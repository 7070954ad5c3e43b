import Foundation
import ServiceKit
import Testing

@testable import CoreService

@Suite("Lists of documents") struct ListTests {
    @Test("A list goes through all documents once, newest first, whatever is added or deleted meanwhile")
    func pages() async throws {
        try await Harness.withCore { core in
            let token = try Harness.token("ada")
            var made: [String] = []
            for number in 0..<5 { made.append(try await Harness.add(core, token, title: "\(number)")) }
            var found: [String] = []
            var path = "/api/v1/documents?limit=2"
            while found.count < 100 {
                let page = try await Harness.ask(core, "GET", path, token: token)
                let documents = page.object["documents"] as? [[String: Any]] ?? []
                found += documents.compactMap { $0["id"] as? String }
                #expect(documents.allSatisfy { $0["body"] == nil })
                guard let cursor = page.text("nextCursor") else { break }
                // What the cursor names may be gone by then.
                if found.count == 2 {
                    _ = try await Harness.ask(core, "DELETE", "/api/v1/documents/\(found[1])", token: token)
                    _ = try await Harness.add(core, token, title: "late")
                }
                path = "/api/v1/documents?limit=2&cursor=\(cursor)"
            }
            #expect(found.count == 5)
            #expect(found == found.sorted().reversed())
            #expect(Set(found) == Set(made))
        }
    }

    @Test("limit is 1 to 100; a cursor that no list gave is refused") func refused() async throws {
        try await Harness.withCore { core in
            let token = try Harness.token("ada")
            let id = try await Harness.add(core, token, title: "One")
            for query in [
                "limit=0", "limit=101", "limit=x", "limit=", "cursor=nonsense", "cursor=", "cursor=\(id)",
                "cursor=\(Bytes.base64url(Array(id.utf8) + [UInt8](repeating: 0, count: 16)))",
            ] {
                let answer = try await Harness.ask(core, "GET", "/api/v1/documents?\(query)", token: token)
                #expect(answer.status == 400, "\(query)")
            }
            #expect(
                try await Harness.ask(core, "GET", "/api/v1/documents?limit=100", token: token).status == 200)
        }
    }

    @Test("A cursor goes on with the list that gave it, and with no other account's") func scope()
        async throws
    {
        try await Harness.withCore { core in
            for subject in ["ada", "bob"] {
                for title in ["One", "Two"] {
                    _ = try await Harness.add(core, Harness.token(subject), title: title)
                }
            }
            func list(_ query: String, _ token: String) async throws -> OutboundClient.Answer {
                try await Harness.ask(core, "GET", "/api/v1/documents?limit=1\(query)", token: token)
            }
            let ada = try Harness.token("ada")
            let root = try Harness.token("root", roles: ["admin"])
            let ofAda = try #require(try await list("", ada).text("nextCursor"))
            let ofAll = try #require(try await list("&owner=*", root).text("nextCursor"))

            #expect(try await list("&cursor=\(ofAda)", ada).status == 200)
            #expect(try await list("&cursor=\(ofAda)", Harness.token("bob")).status == 400)
            #expect(try await list("&cursor=\(ofAll)", ada).status == 400)
            #expect(try await list("&owner=*&cursor=\(ofAll)", root).status == 200)
            #expect(try await list("&owner=*&cursor=\(ofAda)", root).status == 400)
            // An administrator reads the account's own list.
            #expect(try await list("&owner=ada&cursor=\(ofAda)", root).status == 200)
        }
    }

    @Test("A cursor tells nothing of a changed byte") func seal() {
        let cursor = ListCursor(key: [UInt8](repeating: 7, count: 32))
        let id = Identifier.make()
        let text = cursor.text(after: id, owner: "ada")
        #expect(cursor.id(text, owner: "ada") == id)
        for owner in ["", "ad", "adaa", nil] { #expect(cursor.id(text, owner: owner) == nil) }
        #expect(ListCursor(key: [UInt8](repeating: 8, count: 32)).id(text, owner: "ada") == nil)
        let bytes = Bytes.fromBase64url(text) ?? []
        for index in bytes.indices {
            var other = bytes
            other[index] ^= 1
            #expect(cursor.id(Bytes.base64url(other), owner: "ada") == nil)
        }
        for length in bytes.indices {
            #expect(cursor.id(Bytes.base64url(bytes.prefix(length)), owner: "ada") == nil)
        }
    }
}
