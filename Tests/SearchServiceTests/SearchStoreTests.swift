import Foundation
import GRDB
import ServiceKit
import Testing

@testable import SearchService

@Suite("The index") struct SearchStoreTests {
    @Test("Whatever the order and however often changes come, the newest state is what is found")
    func order() async throws {
        let id = Fixture.id(1)
        let history: [DocumentChange] = [
            Fixture.document("first draft", version: 1), Fixture.document("second draft", version: 2),
            Fixture.document("third draft", version: 3),
        ]
        let gone = history + [.removed(version: 4, at: 2_000)]
        for (changes, wanted) in [(history, ["third draft"]), (gone, [])] {
            for order in Self.orders(of: changes) {
                let found = try await Fixture.with { fixture in
                    for change in order + order.reversed() { try await fixture.store.apply(id: id, change) }
                    return try await fixture.titles("draft")
                }
                #expect(found == wanted, "\(order)")
            }
        }
    }

    private static func orders<Element>(of elements: [Element]) -> [[Element]] {
        guard elements.count > 1 else { return [elements] }
        return elements.indices.flatMap { index in
            var rest = elements
            let first = rest.remove(at: index)
            return orders(of: rest).map { [first] + $0 }
        }
    }

    @Test("A document that is made anew after its deletion is found") func madeAnew() async throws {
        try await Fixture.with { fixture in
            try await fixture.store.apply(id: Fixture.id(1), .removed(version: 2, at: 2_000))
            try await fixture.store.apply(id: Fixture.id(1), Fixture.document("back", version: 3))
            #expect(try await fixture.titles("back") == ["back"])
        }
    }

    @Test("A deletion is forgotten after a day, by the time of the events") func tombstones() async throws {
        try await Fixture.with { fixture in
            try await fixture.store.apply(id: Fixture.id(1), .removed(version: 2, at: 1_000))
            let late = 1_001 + SearchStore.tombstoneMilliseconds
            try await fixture.store.apply(id: Fixture.id(2), .removed(version: 2, at: late))
            let kept = try await fixture.store.pool.read { db in
                try String.fetchAll(db, sql: "SELECT id FROM tombstone")
            }
            #expect(kept == [Fixture.id(2)])
        }
    }

    /// Two accounts whose documents stand in one bucket of the index.
    private static func twoOfOneBucket() throws -> (String, String) {
        var seen: [String: String] = [:]
        for number in 0..<10_000 {
            let owner = "account-\(number)"
            if let other = seen.updateValue(owner, forKey: SearchStore.bucket(owner: owner)) {
                return (other, owner)
            }
        }
        throw CancellationError()
    }

    @Test("One account never finds another's document, not even one of the same bucket") func isolation()
        async throws
    {
        let (ada, bob) = try Self.twoOfOneBucket()
        try await Fixture.with { fixture in
            try await fixture.store.apply(id: Fixture.id(1), Fixture.document("secret plan", owner: ada))
            try await fixture.store.apply(id: Fixture.id(2), Fixture.document("secret recipe", owner: bob))
            #expect(try await fixture.titles("secret", owner: ada) == ["secret plan"])
            #expect(try await fixture.titles("secret", owner: bob) == ["secret recipe"])
            #expect(try await fixture.titles("secret", owner: nil).count == 2)
            // The total tells nothing of the other's either.
            #expect(try await fixture.answer("secret", owner: ada, limit: 1).total == 1)
            #expect(try await fixture.answer("secret", owner: ada, limit: 1).nextCursor == nil)
        }
    }

    @Test("A score tells nothing of how often others use a word") func scores() async throws {
        try await Fixture.with { fixture in
            try await fixture.store.apply(id: Fixture.id(1), Fixture.document("merger", body: "merger soon"))
            try await fixture.store.apply(id: Fixture.id(2), Fixture.document("notes", body: "merger soon"))
            let before = try await fixture.answer("merger", limit: 10).hits.map(\.score)
            for number in 3..<40 {
                try await fixture.store.apply(
                    id: Fixture.id(number), Fixture.document("notes", body: "merger soon", owner: "bob"))
            }
            let after = try await fixture.answer("merger", limit: 10).hits.map(\.score)
            #expect(before.first == 1 && before.count == 2 && before[1] < 1)
            #expect(after.first == 1)
        }
    }

    @Test("A document that changes hands is found by the new owner alone") func newOwner() async throws {
        try await Fixture.with { fixture in
            try await fixture.store.apply(id: Fixture.id(1), Fixture.document("plan", owner: "ada"))
            try await fixture.store.apply(
                id: Fixture.id(1), Fixture.document("plan", owner: "bob", version: 2))
            #expect(try await fixture.titles("plan", owner: "ada").isEmpty)
            #expect(try await fixture.titles("plan", owner: "bob") == ["plan"])
        }
    }

    @Test("Nobody can name the owner's bucket, or a column, by a word") func columns() async throws {
        try await Fixture.with { fixture in
            try await fixture.store.apply(id: Fixture.id(1), Fixture.document("plan"))
            #expect(try await fixture.titles(SearchStore.bucket(owner: "ada")).isEmpty)
            #expect(try await fixture.titles("bucket : plan").isEmpty)
            #expect(try await fixture.titles("title : plan").isEmpty)
        }
    }

    @Test("Type and time narrow what is found") func filters() async throws {
        try await Fixture.with { fixture in
            try await fixture.store.apply(
                id: Fixture.id(1), Fixture.document("old note", type: "note", updatedAt: 10))
            try await fixture.store.apply(
                id: Fixture.id(2), Fixture.document("new note", type: "note", updatedAt: 20))
            try await fixture.store.apply(id: Fixture.id(3), Fixture.document("a note", updatedAt: 30))
            #expect(try await fixture.titles("note", type: "note").sorted() == ["new note", "old note"])
            #expect(try await fixture.titles("note", type: "note", updatedAfter: 10) == ["new note"])
            #expect(try await fixture.titles("note", updatedAfter: 30).isEmpty)
        }
    }

    @Test("Pages go through all that is found once, best first, and end") func pages() async throws {
        try await Fixture.with { fixture in
            for number in 0..<25 {
                // Many of one rank, so that the order within a rank counts too.
                let change = Fixture.document("same", body: String(repeating: "same ", count: number % 3))
                try await fixture.store.apply(id: Fixture.id(number), change)
            }
            let whole = try await fixture.answer("same", limit: 50).hits
            var found: [String] = []
            var cursor: String?
            for _ in 0..<20 {
                let page = try await fixture.answer("same", limit: 4, cursor: cursor)
                #expect(page.total == 25)
                found += page.hits.map(\.id)
                cursor = page.nextCursor
                if cursor == nil { break }
            }
            #expect(cursor == nil)
            #expect(found == whole.map(\.id))
            #expect(zip(whole, whole.dropFirst()).allSatisfy { $0.score >= $1.score })
        }
    }

    @Test("A cursor of another search, of another's document or of one that is gone is refused")
    func cursors()
        async throws
    {
        try await Fixture.with { fixture in
            for number in 1...3 {
                try await fixture.store.apply(
                    id: Fixture.id(number), Fixture.document("same words \(number)"))
            }
            try await fixture.store.apply(id: Fixture.id(9), Fixture.document("same words", owner: "bob"))
            let page = try await fixture.answer("same", limit: 1)
            let cursor = try #require(page.nextCursor)
            #expect(try await fixture.answer("same", limit: 2, cursor: cursor).hits.count == 2)
            await #expect(throws: Problem.self) {
                _ = try await fixture.answer("words", limit: 1, cursor: cursor)
            }
            await #expect(throws: Problem.self) {
                _ = try await fixture.answer("same", owner: "bob", limit: 1, cursor: cursor)
            }
            let fingerprint = try #require(SearchCursor(text: cursor)).fingerprint
            let forged = SearchCursor(after: Fixture.id(9), fingerprint: fingerprint).text
            await #expect(throws: Problem.self) {
                _ = try await fixture.answer("same", limit: 1, cursor: forged)
            }
            try await fixture.store.apply(id: page.hits[0].id, .removed(version: 2, at: 1))
            await #expect(throws: Problem.self) {
                _ = try await fixture.answer("same", limit: 1, cursor: cursor)
            }
        }
    }

    @Test("A word in more documents than are ranked: the newest are, and the answer says so")
    func candidates()
        async throws
    {
        try await Fixture.with { fixture in
            let many = SearchStore.candidateLimit + 10
            try await fixture.store.pool.write { db in
                for number in 0..<many {
                    try SearchStore.apply(
                        db, id: Fixture.id(number), Fixture.document("common \(number)"), generation: 1)
                }
            }
            let answer = try await fixture.answer("common", limit: 1)
            #expect(answer.total == SearchStore.candidateLimit)
            #expect(answer.isTotalCapped)
            #expect(try await fixture.titles("common \(many - 1)") == ["common \(many - 1)"])
        }
    }

    @Test("Snippets of a page are cut until so many characters have been read") func snippetBudget()
        async throws
    {
        try await Fixture.with { fixture in
            let body = String(repeating: "lorem ipsum ", count: 100_000) + "needle"
            for number in 0..<5 {
                try await fixture.store.apply(
                    id: Fixture.id(number), Fixture.document("\(number)", body: body))
            }
            let snippets = try await fixture.answer("needle", limit: 5).hits.map(\.snippet)
            #expect(snippets.filter { $0.contains("<em>needle</em>") }.count == 3)
            #expect(snippets.filter(\.isEmpty).count == 2)
        }
    }
}
