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
