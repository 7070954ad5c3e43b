internal import Foundation
internal import GRDB
internal import ServiceKit

/// A document as core hands it over.
struct IndexedDocument: Codable, Sendable {
    var owner: String
    var title: String
    var body: String
    /// Grows with each change; an older one never replaces a newer one.
    var version: Int64
}

/// One document that answers a query.
struct Hit: Encodable, Sendable {
    let id: String
    /// Greater is better; comparable within one answer only.
    let score: Double
    let title: String
    /// HTML: the text is escaped, what matched stands in `<em>`.
    let snippet: String
}

struct SearchAnswer: Encodable, Sendable {
    /// How many match, counted up to the candidate limit.
    let total: Int
    let hits: [Hit]
}

/// The search service's own store: the documents and an FTS5 index over them.
struct SearchStore: Sendable {
    /// Ranking costs about a microsecond a matching row, so that a word in every document must not rank them all.
    static let candidateLimit = 10_000
    /// A deletion is remembered so long, lest a late hand-over brings the document back.
    static let tombstoneMilliseconds: Int64 = 24 * 3_600 * 1_000

    /// Marks around a match, from the private use area; they become tags after the text has been escaped.
    private static let opening = "\u{E000}"
    private static let closing = "\u{E001}"

    private let pool: DatabasePool

    init(directory: URL) throws {
        pool = try Store.open(directory: directory, name: "search", migrations: Self.migrations)
    }

    private static var migrations: DatabaseMigrator {
        var migrator = DatabaseMigrator()
        migrator.registerMigration("1") { db in
            try db.execute(
                sql: """
                    CREATE TABLE document (
                        number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, owner TEXT NOT NULL,
                        title TEXT NOT NULL, body TEXT NOT NULL, version INTEGER NOT NULL
                    ) STRICT;
                    CREATE TABLE tombstone (
                        id TEXT PRIMARY KEY, version INTEGER NOT NULL, deleted_at INTEGER NOT NULL
                    ) STRICT;
                    CREATE INDEX tombstone_age ON tombstone (deleted_at);
                    """)
            try db.create(virtualTable: "document_text", using: FTS5()) { table in
                table.synchronize(withTable: "document")
                table.tokenizer = .unicode61(diacritics: .remove)
                table.column("title")
                table.column("body")
            }
        }
        return migrator
    }

    /// Takes a document unless a newer version, or its deletion, came first.
    func put(id: String, _ document: IndexedDocument) async throws {
        try await pool.write { db in
            let deleted = try Int64.fetchOne(
                db, sql: "SELECT version FROM tombstone WHERE id = ?", arguments: [id])
            guard document.version > deleted ?? -1 else { return }
            try db.execute(
                sql: """
                    INSERT INTO document (id, owner, title, body, version) VALUES (?, ?, ?, ?, ?)
                    ON CONFLICT (id) DO UPDATE SET owner = excluded.owner, title = excluded.title,
                        body = excluded.body, version = excluded.version
                    WHERE excluded.version > document.version
                    """,
                arguments: [id, document.owner, document.title, document.body, document.version])
        }
    }

    /// Takes a document out, unless it has changed since that version.
    func remove(id: String, version: Int64, now: Int64) async throws {
        try await pool.write { db in
            try db.execute(
                sql: "DELETE FROM tombstone WHERE deleted_at < ?",
                arguments: [now - Self.tombstoneMilliseconds])
            try db.execute(
                sql: """
                    INSERT INTO tombstone (id, version, deleted_at) VALUES (?, ?, ?)
                    ON CONFLICT (id) DO UPDATE SET version = max(version, excluded.version),
                        deleted_at = excluded.deleted_at
                    """, arguments: [id, version, now])
            try db.execute(
                sql: "DELETE FROM document WHERE id = ? AND version <= ?", arguments: [id, version])
        }
    }

    /// The documents that hold every word of `pattern`, best first.
    /// `owner`: `nil` searches everybody's.
    func search(_ pattern: FTS5Pattern, owner: String?, limit: Int, offset: Int) async throws -> SearchAnswer
    {
        try await pool.read { db in
            // The candidates, ranked; snippets are cut for the page alone. A title's word counts four times.
            let rows = try Row.fetchAll(
                db,
                sql: """
                    WITH candidate AS MATERIALIZED (
                        SELECT document_text.rowid AS number, bm25(document_text, 4.0, 1.0) AS rank
                        FROM document_text JOIN document ON document.number = document_text.rowid
                        WHERE document_text MATCH :pattern AND (:owner IS NULL OR document.owner = :owner)
                        LIMIT :candidates)
                    SELECT number, rank, (SELECT count(*) FROM candidate) AS total FROM candidate
                    ORDER BY rank, number DESC LIMIT :limit OFFSET :offset
                    """,
                arguments: [
                    "pattern": pattern, "owner": owner, "candidates": Self.candidateLimit, "limit": limit,
                    "offset": offset,
                ])
            let hits = try rows.compactMap { row in
                try Self.hit(db, pattern, number: row["number"], rank: row["rank"])
            }
            let total: Int
            if let first = rows.first {
                total = first["total"]
            } else if offset > 0 {
                total = try Self.count(db, pattern, owner: owner)
            } else {
                total = 0
            }
            return SearchAnswer(total: total, hits: hits)
        }
    }

    /// How many documents the index holds.
    func documentCount() async throws -> Int {
        try await pool.read { db in try Int.fetchOne(db, sql: "SELECT count(*) FROM document") ?? 0 }
    }

    private static func count(_ db: Database, _ pattern: FTS5Pattern, owner: String?) throws -> Int {
        try Int.fetchOne(
            db,
            sql: """
                SELECT count(*) FROM (
                    SELECT 1 FROM document_text JOIN document ON document.number = document_text.rowid
                    WHERE document_text MATCH :pattern AND (:owner IS NULL OR document.owner = :owner)
                    LIMIT :candidates)
                """,
            arguments: ["pattern": pattern, "owner": owner, "candidates": candidateLimit]) ?? 0
    }

    private static func hit(_ db: Database, _ pattern: FTS5Pattern, number: Int64, rank: Double) throws
        -> Hit?
    {
        try Row.fetchOne(
            db,
            sql: """
                SELECT document.id, document.title,
                    snippet(document_text, -1, :opening, :closing, '…', 24) AS snippet
                FROM document_text JOIN document ON document.number = document_text.rowid
                WHERE document_text MATCH :pattern AND document_text.rowid = :number
                """,
            arguments: ["opening": opening, "closing": closing, "pattern": pattern, "number": number]
        ).map { row in
            Hit(id: row["id"], score: -rank, title: row["title"], snippet: html(row["snippet"]))
        }
    }

    /// Escapes the text first: a document must not bring tags of its own into the page that shows it.
    static func html(_ snippet: String) -> String {
        snippet
            .replacingOccurrences(of: "&", with: "&amp;")
            .replacingOccurrences(of: "<", with: "&lt;")
            .replacingOccurrences(of: ">", with: "&gt;")
            .replacingOccurrences(of: "\"", with: "&quot;")
            .replacingOccurrences(of: opening, with: "<em>")
            .replacingOccurrences(of: closing, with: "</em>")
    }
}
