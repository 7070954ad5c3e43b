internal import Backbone
internal import Foundation
internal import GRDB
internal import ServiceKit

/// The search service's own store: the documents, an FTS5 index over them, and where the index stands.
///
/// Every row belongs to a generation. One generation is searched, and changed by each event. A rebuild fills another from the
/// beginning of the log beside it, which takes its place when it is as far, so that a rebuild is never seen half done and the
/// index goes on following the log meanwhile.
struct SearchStore: Sendable {
    /// The groups of consumers as the log knows them.
    enum Group {
        static let serving = "search"
        /// Only while there is a rebuild, so that nothing goes from the log that it has yet to read.
        static let rebuild = "search-rebuild"
    }

    /// A deletion is remembered so long, lest a late event brings the document back.
    static let tombstoneMilliseconds: Int64 = 24 * 3_600 * 1_000
    /// Rows of a generation that is no longer searched go in pieces, so that no change waits for all of them.
    static let sweepRows = 500

    let pool: DatabasePool

    init(directory: URL) throws {
        pool = try Store.open(directory: directory, name: "search", migrations: Self.migrations)
    }

    static var migrations: DatabaseMigrator {
        var migrator = DatabaseMigrator()
        // Search once kept documents without generations. They are not carried over: the event log brings them back.
        migrator.registerMigration("generations") { db in
            try db.execute(
                sql: """
                    DROP TABLE IF EXISTS document_text;
                    DROP TABLE IF EXISTS document;
                    DROP TABLE IF EXISTS tombstone;
                    CREATE TABLE document (
                        number INTEGER PRIMARY KEY, generation INTEGER NOT NULL, id TEXT NOT NULL,
                        owner TEXT NOT NULL, bucket TEXT NOT NULL, type TEXT NOT NULL, title TEXT NOT NULL,
                        body TEXT NOT NULL, version INTEGER NOT NULL, updated_at INTEGER NOT NULL,
                        UNIQUE (generation, id)
                    ) STRICT;
                    CREATE TABLE tombstone (
                        generation INTEGER NOT NULL, id TEXT NOT NULL, version INTEGER NOT NULL,
                        deleted_at INTEGER NOT NULL, PRIMARY KEY (generation, id)
                    ) STRICT, WITHOUT ROWID;
                    CREATE INDEX tombstone_age ON tombstone (deleted_at);
                    CREATE TABLE standing (
                        serving INTEGER NOT NULL, building INTEGER NOT NULL, is_whole INTEGER NOT NULL
                    ) STRICT;
                    INSERT INTO standing VALUES (1, 1, 0);
                    """)
            try db.create(virtualTable: "document_text", using: FTS5()) { table in
                table.synchronize(withTable: "document")
                table.tokenizer = .unicode61(diacritics: .remove)
                table.column("bucket")
                table.column("title")
                table.column("body")
            }
        }
        // A store that knew no events begins at the first: what it holds stays, and versions tell which is newer.
        EventConsumer.register(in: &migrator)
        return migrator
    }

    /// A word in the index that stands for the owner, so that a search for a common word reads the owner's documents and not
    /// everybody's. Several owners share one: it makes searches cheap, and the owner's own column keeps them apart.
    static func bucket(owner: String) -> String {
        "o" + Bytes.hex(Bytes.sha256(owner.utf8).prefix(2))
    }

    // MARK: - Changes

    /// Takes a change into a generation, unless a newer one came first.
    static func apply(_ db: Database, id: String, _ change: DocumentChange, generation: Int64) throws {
        switch change {
        case .stored(let document): try store(db, id: id, document, generation: generation)
        case .removed(let version, let at):
            try remove(db, id: id, version: version, at: at, generation: generation)
        }
    }

    private static func store(
        _ db: Database, id: String, _ document: IndexedDocument, generation: Int64
    ) throws {
        let deleted = try Int64.fetchOne(
            db, sql: "SELECT version FROM tombstone WHERE generation = ? AND id = ?",
            arguments: [generation, id])
        if let deleted, document.version <= deleted { return }
        try db.execute(
            sql: """
                INSERT INTO document (generation, id, owner, bucket, type, title, body, version, updated_at)
                VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
                ON CONFLICT (generation, id) DO UPDATE SET owner = excluded.owner, bucket = excluded.bucket,
                    type = excluded.type, title = excluded.title, body = excluded.body,
                    version = excluded.version, updated_at = excluded.updated_at
                WHERE excluded.version > document.version
                """,
            arguments: [
                generation, id, document.owner, bucket(owner: document.owner), document.type, document.title,
                document.body, document.version, document.updatedAt,
            ])
    }

    private static func remove(
        _ db: Database, id: String, version: Int64, at time: Int64, generation: Int64
    ) throws {
        // Of this generation: what is long ago for one is not yet for another that reads the log from its beginning.
        try db.execute(
            sql: "DELETE FROM tombstone WHERE generation = ? AND deleted_at < ?",
            arguments: [generation, time - tombstoneMilliseconds])
        try db.execute(
            sql: """
                INSERT INTO tombstone (generation, id, version, deleted_at) VALUES (?, ?, ?, ?)
                ON CONFLICT (generation, id) DO UPDATE SET version = max(version, excluded.version),
                    deleted_at = max(deleted_at, excluded.deleted_at)
                """, arguments: [generation, id, version, time])
        try db.execute(
            sql: "DELETE FROM document WHERE generation = ? AND id = ? AND version <= ?",
            arguments: [generation, id, version])
    }

    // MARK: - Generations

    /// Where the index stands.
    struct Standing: Equatable, Sendable {
        /// The generation that is searched.
        let serving: Int64
        /// The one that a rebuild fills; the same as `serving` while there is none.
        let building: Int64
        /// Whether `serving` has ever seen the end of the log.
        let isWhole: Bool

        var isRebuilding: Bool { building != serving }
    }

    static func standing(_ db: Database) throws -> Standing {
        guard let row = try Row.fetchOne(db.cachedStatement(sql: "SELECT * FROM standing")) else {
            throw DatabaseError(message: "the store does not say where the index stands")
        }
        return Standing(serving: row["serving"], building: row["building"], isWhole: row["is_whole"])
    }

    func standing() async throws -> Standing {
        try await pool.read { db in try Self.standing(db) }
    }

    /// The generation that is searched has seen the end of the log.
    static func markWhole(_ db: Database) throws {
        try db.execute(sql: "UPDATE standing SET is_whole = 1 WHERE NOT is_whole")
    }

    /// Begins a generation from the beginning of the log. Returns `false` when there is one under way: one at a time.
    static func beginRebuild(_ db: Database) throws -> Bool {
        guard !(try standing(db)).isRebuilding else { return false }
        try db.execute(sql: "UPDATE standing SET building = serving + 1")
        try EventConsumer.reset(db, group: Group.rebuild)
        return true
    }

    /// What was built is what is searched from here on, once it is as far as what it replaces: changes that are seen do not
    /// vanish again.
    static func finishRebuild(_ db: Database) throws {
        guard try standing(db).isRebuilding,
            try EventConsumer.position(db, group: Group.rebuild)
                >= EventConsumer.position(db, group: Group.serving)
        else { return }
        try db.execute(sql: "UPDATE standing SET serving = building, is_whole = 1")
        try EventConsumer.replace(db, group: Group.serving, by: Group.rebuild)
    }

    /// Removes what belongs to a generation that is neither searched nor built, a piece at a time.
    func sweep() async throws {
        let old = "generation < (SELECT serving FROM standing)"
        for key in [
            "document WHERE number IN (SELECT number FROM document",
            "tombstone WHERE (generation, id) IN (SELECT generation, id FROM tombstone",
        ] {
            var removed = Self.sweepRows
            while removed == Self.sweepRows {
                removed = try await pool.write { db in
                    try db.execute(
                        sql: "DELETE FROM \(key) WHERE \(old) LIMIT ?)", arguments: [Self.sweepRows])
                    return db.changesCount
                }
            }
        }
    }

    /// How many documents are searched.
    func documentCount() async throws -> Int {
        try await pool.read { db in
            try Int.fetchOne(
                db,
                sql: "SELECT count(*) FROM document WHERE generation = (SELECT serving FROM standing)") ?? 0
        }
    }
}
