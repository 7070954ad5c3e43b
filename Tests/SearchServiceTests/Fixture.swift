import Backbone
import Foundation
import GRDB
import ServiceKit
import Testing

@testable import SearchService

/// A store of its own, and documents as values.
struct Fixture {
    let directory: URL
    let store: SearchStore

    init() throws {
        directory = Harness.directory()
        store = try SearchStore(directory: directory)
    }

    /// Runs `body` over a fresh store, and removes it.
    static func with<Outcome>(_ body: (Fixture) async throws -> Outcome) async throws -> Outcome {
        let fixture = try Fixture()
        defer { try? FileManager.default.removeItem(at: fixture.directory) }
        return try await body(fixture)
    }

    /// The store of a search that was handed its documents and knew nothing of events.
    static func storeWithoutEvents(_ directory: URL) throws -> DatabasePool {
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        let pool = try DatabasePool(
            path: directory.appending(path: "search.sqlite").path(percentEncoded: false))
        try SearchStore.migrations.migrate(pool, upTo: "generations")
        return pool
    }

    static func id(_ number: Int) -> String {
        let digits = String(number)
        return "01234567-89ab-7000-8000-" + String(repeating: "0", count: 12 - digits.count) + digits
    }

    static func document(
        _ title: String, body: String = "", owner: String = "ada", type: String = "document",
        version: Int64 = 1,
        updatedAt: Int64 = 1_000
    ) -> DocumentChange {
        .stored(
            IndexedDocument(
                owner: owner, type: type, title: title, body: body, version: version, updatedAt: updatedAt))
    }

    enum Told: String {
        case stored = "document.updated"
        case deleted = "document.deleted"
    }

    /// As core tells it.
    static func event(
        _ told: Told, _ id: String, owner: String = "ada", title: String = "", body: String = "",
        version: Int64 = 1, updatedAt: Int64 = Timestamp.now
    ) -> Event {
        let data: JSONValue =
            told == .deleted
            ? ["owner": .text(owner), "version": .integer(version)]
            : [
                "owner": .text(owner), "title": .text(title), "body": .text(body),
                "version": .integer(version), "createdAt": .text(Timestamp.text(updatedAt)),
                "updatedAt": .text(Timestamp.text(updatedAt)),
            ]
        return Event(
            told.rawValue, subject: id, data: JSONText(data), producer: "test", trace: .fresh(),
            time: updatedAt)
    }

    func titles(
        _ text: String, owner: String? = "ada", type: String? = nil, updatedAfter: Int64? = nil
    ) async throws -> [String] {
        let words = try #require(FTS5Pattern(matchingAllTokensIn: text))
        return try await store.search(
            SearchQuery(words: words, owner: owner, type: type, updatedAfter: updatedAfter, limit: 50)
        ).hits.map(\.title)
    }

    func answer(_ text: String, owner: String? = "ada", limit: Int, cursor: String? = nil) async throws
        -> SearchAnswer
    {
        let words = try #require(FTS5Pattern(matchingAllTokensIn: text))
        return try await store.search(
            SearchQuery(
                words: words, owner: owner, limit: limit,
                cursor: try cursor.map { try #require(SearchCursor(text: $0)) })
        )
    }
}

extension SearchStore {
    func apply(id: String, _ change: DocumentChange) async throws {
        try await pool.write { db in
            try Self.apply(db, id: id, change, generation: Self.standing(db).serving)
        }
    }
}
