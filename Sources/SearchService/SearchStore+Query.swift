internal import Foundation
internal import GRDB
internal import ServiceKit

/// One document that answers a query.
struct Hit: Encodable, Sendable {
    let id: String
    let owner: String
    let type: String
    let title: String
    /// HTML: the text is escaped, what matched stands in `<em>`.
    let titleMarked: String
    /// HTML as well.
    let snippet: String
    let updatedAt: String
    /// 1 for the best hit of the search, less for the others. Not the index's own figure, which would tell how rare a word is
    /// among the documents of everybody.
    let score: Double
}

struct SearchAnswer: Encodable, Sendable {
    /// How many match.
    let total: Int
    /// Whether more match than were counted and ranked.
    let isTotalCapped: Bool
    /// Whether the index has ever been at the end of the log. Until then, after its store was lost, more may match.
    let isIndexWhole: Bool
    let hits: [Hit]
    /// `nil` on the last page.
    let nextCursor: String?
}

extension SearchStore {
    /// Ranking costs about a microsecond a matching row, so that a word in every document must not rank them all: the newest
    /// are ranked.
    static let candidateLimit = 10_000
    /// Cutting a snippet reads its document whole. Past so many characters a page's further snippets are left empty.
    static let snippetBudgetCharacters = 4 << 20

    /// Marks around a match, from the private use area; they become tags after the text has been escaped.
    private static let opening = "\u{E000}"
    private static let closing = "\u{E001}"

    /// The documents that hold every word, best first.
    /// Throws `Problem` 400 for a cursor that does not fit.
    func search(_ query: SearchQuery) async throws -> SearchAnswer {
        try await pool.read { db in
            let standing = try Self.standing(db)
            let generation = standing.serving
            let fingerprint = query.fingerprint(generation: generation)
            if let cursor = query.cursor, cursor.fingerprint != fingerprint { throw SearchCursor.refusal }
            let page = try Self.page(db, query, generation: generation)
            if query.cursor != nil, !page.isPlaceFound { throw SearchCursor.refusal }

            let shown = page.places.prefix(query.limit)
            var charactersLeft = Self.snippetBudgetCharacters
            let hits = try shown.compactMap { place in
                try Self.hit(db, query, place, best: page.best, charactersLeft: &charactersLeft)
            }
            return SearchAnswer(
                total: min(page.total, Self.candidateLimit), isTotalCapped: page.total > Self.candidateLimit,
                isIndexWhole: standing.isWhole,
                hits: hits,
                nextCursor: page.places.count > query.limit
                    ? hits.last.map { SearchCursor(after: $0.id, fingerprint: fingerprint).text } : nil)
        }
    }

    private struct Place {
        let number: Int64
        /// As bm25 gives it: negative, smaller is better.
        let rank: Double
    }

    private struct Page {
        var total = 0
        var best = -1.0
        var isPlaceFound = false
        /// One more than the page when there is a next one.
        var places: [Place] = []
    }

    /// The candidates, ranked; texts are read for the page alone. A title's word counts four times.
    ///
    /// CROSS JOIN keeps the index in front: the planner knows nothing of how many documents hold a word.
    private static func page(_ db: Database, _ query: SearchQuery, generation: Int64) throws -> Page {
        var conditions = ["document_text MATCH :match", "document.generation = :generation"]
        var arguments: [String: (any DatabaseValueConvertible)?] = [
            "match": query.match, "generation": generation, "candidates": candidateLimit + 1,
            "after": query.cursor?.document, "limit": query.limit + 1,
        ]
        if let owner = query.owner {
            // The guard between accounts. The bucket in `match` is shared by several.
            conditions.append("document.owner = :owner")
            arguments["owner"] = owner
        }
        if let type = query.type {
            conditions.append("document.type = :type")
            arguments["type"] = type
        }
        if let time = query.updatedAfter {
            conditions.append("document.updated_at > :time")
            arguments["time"] = time
        }
        let rows = try Row.fetchAll(
            db,
            sql: """
                WITH candidate AS MATERIALIZED (
                    SELECT document_text.rowid AS number, document.id AS id,
                        bm25(document_text, 0.0, 4.0, 1.0) AS rank
                    FROM document_text CROSS JOIN document ON document.number = document_text.rowid
                    WHERE \(conditions.joined(separator: " AND "))
                    ORDER BY document_text.rowid DESC LIMIT :candidates),
                place AS (SELECT rank, number FROM candidate WHERE id = :after),
                shown AS (
                    SELECT number, rank FROM candidate
                    WHERE :after IS NULL OR rank > (SELECT rank FROM place)
                        OR rank = (SELECT rank FROM place) AND number < (SELECT number FROM place)
                    ORDER BY rank, number DESC LIMIT :limit),
                whole AS (
                    SELECT count(*) AS total, min(rank) AS best, (SELECT count(*) FROM place) AS places
                    FROM candidate)
                SELECT total, best, places, shown.number, shown.rank FROM whole LEFT JOIN shown
                ORDER BY shown.rank, shown.number DESC
                """, arguments: StatementArguments(arguments))
        var page = Page()
        for row in rows {
            page.total = row["total"]
            page.best = row["best"] ?? -1
            page.isPlaceFound = row["places"] == 1
            if let number: Int64 = row["number"] {
                page.places.append(Place(number: number, rank: row["rank"]))
            }
        }
        return page
    }

    private static func hit(
        _ db: Database, _ query: SearchQuery, _ place: Place, best: Double, charactersLeft: inout Int
    ) throws -> Hit? {
        let length =
            try Int.fetchOne(
                db, sql: "SELECT length(body) FROM document WHERE number = ?", arguments: [place.number]) ?? 0
        let hasSnippet = length <= charactersLeft
        charactersLeft -= min(length, charactersLeft)
        let snippet = hasSnippet ? "snippet(document_text, 2, :opening, :closing, '…', 24)" : "''"
        return try Row.fetchOne(
            db,
            sql: """
                SELECT document.id, document.owner, document.type, document.title, document.updated_at,
                    highlight(document_text, 1, :opening, :closing) AS marked, \(snippet) AS snippet
                FROM document_text CROSS JOIN document ON document.number = document_text.rowid
                WHERE document_text MATCH :match AND document_text.rowid = :number
                """,
            arguments: [
                "opening": opening, "closing": closing, "match": query.match, "number": place.number,
            ]
        ).map { row in
            Hit(
                id: row["id"], owner: row["owner"], type: row["type"], title: row["title"],
                titleMarked: html(row["marked"]), snippet: html(row["snippet"]),
                updatedAt: Timestamp.text(row["updated_at"]),
                score: best < 0 ? (place.rank / best * 1_000).rounded() / 1_000 : 1)
        }
    }

    /// Escapes the text first: a document must not bring tags of its own into the page that shows it.
    private static func html(_ snippet: String) -> String {
        snippet
            .replacingOccurrences(of: "&", with: "&amp;")
            .replacingOccurrences(of: "<", with: "&lt;")
            .replacingOccurrences(of: ">", with: "&gt;")
            .replacingOccurrences(of: "\"", with: "&quot;")
            .replacingOccurrences(of: opening, with: "<em>")
            .replacingOccurrences(of: closing, with: "</em>")
    }
}
