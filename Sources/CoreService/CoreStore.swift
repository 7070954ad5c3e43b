internal import Backbone
internal import Foundation
internal import GRDB
internal import Logging
internal import ServiceKit

/// A document.
struct Document: Sendable {
    let id: String
    let owner: String
    let title: String
    let body: String
    let version: Int64
    let createdAt: Int64
    let updatedAt: Int64
}

/// When a change was asked for, and by which request.
struct ChangeOrigin: Sendable {
    /// Unix milliseconds.
    let at: Int64
    /// Whoever works on what the change causes logs it too.
    let trace: Trace
}

/// What became of a change.
enum Change: Sendable {
    case done(Document)
    /// No such document, or it belongs to another: a stranger learns not which.
    case absent
    /// The same request came before; this is what it made.
    case repeated(Document)
    /// The key came before, with something else (422).
    case keyReused
    /// `If-Match` names another version (412).
    case otherVersion
    /// The owner has as many documents as one may have.
    case tooMany
    /// As many keyed requests are remembered as may be: of this owner (429), or of everybody (503).
    case tooManyKeys(ofOwner: Bool)
}

/// Core's own store: documents, and beside each change, in the same transaction, what others are told of it.
///
/// A change throws `Problem` where the outbox is full (503) or a document has no room in an event (413).
struct CoreStore: Sendable {
    /// Seals the cursors of lists.
    let cursor: ListCursor
    let outbox: Outbox
    let pool: DatabasePool
    private let limits: CoreLimits

    init(directory: URL, limits: CoreLimits) throws {
        self.limits = limits
        outbox = Outbox(limit: limits.outbox, limitBytes: limits.outboxBytes)
        pool = try Store.open(directory: directory, name: "core", migrations: Self.migrations)
        let key = try pool.read { db in
            try Data.fetchOne(db, sql: "SELECT value FROM secret WHERE name = 'cursor'")
        }
        cursor = ListCursor(key: [UInt8](key ?? Data()))
    }

    static var migrations: DatabaseMigrator {
        var migrator = DatabaseMigrator()
        migrator.registerMigration("1") { db in
            // Core once told search alone, by an outbox of its own: one row a document.
            try db.execute(
                sql: """
                    CREATE TABLE document (
                        id TEXT PRIMARY KEY, owner TEXT NOT NULL, title TEXT NOT NULL, body TEXT NOT NULL,
                        version INTEGER NOT NULL, created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL
                    ) STRICT;
                    CREATE INDEX document_owner ON document (owner, id);
                    CREATE TABLE outbox (
                        document_id TEXT PRIMARY KEY, version INTEGER NOT NULL, is_deletion INTEGER NOT NULL,
                        queued_at INTEGER NOT NULL, request_id TEXT NOT NULL, refusal TEXT
                    ) STRICT;
                    CREATE INDEX outbox_due ON outbox (queued_at) WHERE refusal IS NULL;
                    """)
        }
        migrator.registerMigration("2") { db in
            // Counted as rows come and go: counting them anew for each request would cost more the more there are.
            try db.execute(
                sql: """
                    CREATE TABLE secret (name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT;
                    CREATE TABLE tally (name TEXT PRIMARY KEY, count INTEGER NOT NULL) STRICT, WITHOUT ROWID;
                    INSERT INTO tally SELECT 'documents:' || owner, count(*) FROM document GROUP BY owner;
                    CREATE TRIGGER document_added AFTER INSERT ON document BEGIN
                        INSERT INTO tally VALUES ('documents:' || NEW.owner, 1)
                            ON CONFLICT (name) DO UPDATE SET count = count + 1;
                    END;
                    CREATE TRIGGER document_removed AFTER DELETE ON document BEGIN
                        UPDATE tally SET count = count - 1 WHERE name = 'documents:' || OLD.owner;
                        DELETE FROM tally WHERE name = 'documents:' || OLD.owner AND count <= 0;
                    END;
                    CREATE TABLE keyed_request (
                        owner TEXT NOT NULL, key TEXT NOT NULL, digest BLOB NOT NULL, document_id TEXT NOT NULL,
                        made_at INTEGER NOT NULL, PRIMARY KEY (owner, key)
                    ) STRICT, WITHOUT ROWID;
                    CREATE INDEX keyed_request_age ON keyed_request (made_at);
                    CREATE TRIGGER keyed_request_added AFTER INSERT ON keyed_request BEGIN
                        INSERT INTO tally VALUES ('keys', 1), ('keys:' || NEW.owner, 1)
                            ON CONFLICT (name) DO UPDATE SET count = count + 1;
                    END;
                    CREATE TRIGGER keyed_request_removed AFTER DELETE ON keyed_request BEGIN
                        UPDATE tally SET count = count - 1 WHERE name IN ('keys', 'keys:' || OLD.owner);
                        DELETE FROM tally WHERE name = 'keys:' || OLD.owner AND count <= 0;
                    END;
                    """)
            try db.execute(
                sql: "INSERT INTO secret VALUES ('cursor', ?)", arguments: [Data(Bytes.random(32))])
        }
        // Nothing of the old outbox is carried over as it was. Of what it held and of every other document the log of
        // events knows nothing, and search makes its index of the log: each is told of once, as it then is. Deletions that
        // waited go, since whoever reads the log never saw those documents.
        migrator.registerMigration("3") { db in
            try db.execute(
                sql: """
                    CREATE TABLE untold (document_id TEXT PRIMARY KEY, request_id TEXT) STRICT, WITHOUT ROWID;
                    INSERT INTO untold SELECT document.id, outbox.request_id
                        FROM document LEFT JOIN outbox ON outbox.document_id = document.id;
                    DROP TABLE outbox;
                    """)
        }
        Outbox.register(in: &migrator)
        return migrator
    }

    /// `keyed`: The client's key for repeats of this request, if it gave one.
    func add(
        owner: String, title: String, body: String, keyed: KeyedRequest?, origin: ChangeOrigin
    ) async throws -> Change {
        let now = origin.at
        @Sendable func document(_ id: String, at time: Int64) -> Document {
            Document(
                id: id, owner: owner, title: title, body: body, version: 1, createdAt: time, updatedAt: time)
        }
        return try await pool.write { db -> Change in
            if let keyed {
                switch try Self.earlier(db, owner: owner, keyed, now: now) {
                // What was asked is the same, so that the first answer can be told without having been kept.
                case .same(let id, let madeAt): return .repeated(document(id, at: madeAt))
                case .other: return .keyReused
                case .none: break
                }
                let ofOwner = try Self.tally(db, "keys:" + owner)
                guard ofOwner < limits.keysPerOwner else { return .tooManyKeys(ofOwner: true) }
                guard try Self.tally(db, "keys") < limits.keys else { return .tooManyKeys(ofOwner: false) }
            }
            guard try Self.tally(db, "documents:" + owner) < limits.documentsPerOwner else { return .tooMany }
            let document = document(Identifier.make(at: now), at: now)
            try db.execute(
                sql: """
                    INSERT INTO document (id, owner, title, body, version, created_at, updated_at)
                    VALUES (?, ?, ?, ?, ?, ?, ?)
                    """, arguments: [document.id, owner, title, body, document.version, now, now])
            if let keyed {
                try db.execute(
                    sql: """
                        INSERT INTO keyed_request (owner, key, digest, document_id, made_at) VALUES (?, ?, ?, ?, ?)
                        """, arguments: [owner, keyed.key, Data(keyed.digest), document.id, now])
            }
            try tell(db, .created, document, origin)
            return .done(document)
        }
    }

    func document(id: String) async throws -> Document? {
        try await pool.read { db in try Self.document(db, id: id) }
    }

    /// Newest first.
    /// `owner`: `nil` lists everybody's.
    /// `before`: Only documents made before the one with this id.
    func list(owner: String?, before: String?, limit: Int) async throws -> [Document] {
        try await pool.read { db in
            try RowFilter.newest(db, of: "document", owner: owner, before: before, limit: limit).map(
                Self.document)
        }
    }

    func replace(
        id: String, by caller: Caller, expected: EntityTagList?, title: String, body: String,
        origin: ChangeOrigin
    ) async throws -> Change {
        try await pool.write { db -> Change in
            guard let old = try Self.document(db, id: id), caller.mayActFor(old.owner) else { return .absent }
            guard Self.isExpected(old, expected) else { return .otherVersion }
            let new = Document(
                id: id, owner: old.owner, title: title, body: body, version: old.version + 1,
                createdAt: old.createdAt, updatedAt: origin.at)
            try db.execute(
                sql: "UPDATE document SET title = ?, body = ?, version = ?, updated_at = ? WHERE id = ?",
                arguments: [title, body, new.version, origin.at, id])
            try tell(db, .updated, new, origin)
            return .done(new)
        }
    }

    func remove(
        id: String, by caller: Caller, expected: EntityTagList?, origin: ChangeOrigin
    ) async throws -> Change {
        try await pool.write { db -> Change in
            guard let old = try Self.document(db, id: id), caller.mayActFor(old.owner) else { return .absent }
            guard Self.isExpected(old, expected) else { return .otherVersion }
            try db.execute(sql: "DELETE FROM document WHERE id = ?", arguments: [id])
            let gone = Document(
                id: id, owner: old.owner, title: "", body: "", version: old.version + 1,
                createdAt: old.createdAt, updatedAt: origin.at)
            try tell(db, .deleted, gone, origin)
            return .done(old)
        }
    }

    /// Of what waits in the outbox and what is parked, for the metrics.
    func gauges() async throws -> [String: Int] {
        try await pool.read { db in try outbox.gauges(db) }
    }

    private func tell(
        _ db: Database, _ kind: DocumentNews.Kind, _ document: Document, _ origin: ChangeOrigin
    ) throws {
        let event = try DocumentNews.event(kind, document, origin)
        let job = kind == .deleted ? nil : DocumentNews.job(document, origin)
        try outbox.append(db, events: [event], jobs: job.map { [$0] } ?? [])
    }

    private enum Earlier {
        case none
        case same(documentID: String, madeAt: Int64)
        case other
    }

    /// What came under that key in its lifetime. Takes out some that are past theirs, and that one in any case.
    private static func earlier(_ db: Database, owner: String, _ keyed: KeyedRequest, now: Int64) throws
        -> Earlier
    {
        let oldest = now - IdempotencyKey.lifetimeMilliseconds
        try db.execute(
            sql: "DELETE FROM keyed_request WHERE owner = ? AND key = ? AND made_at < ?",
            arguments: [owner, keyed.key, oldest])
        // At most one comes in by a request, so that the old ones go quicker than new ones come.
        try db.execute(
            sql: """
                DELETE FROM keyed_request WHERE (owner, key) IN
                    (SELECT owner, key FROM keyed_request WHERE made_at < ? ORDER BY made_at LIMIT 16)
                """, arguments: [oldest])
        let row = try Row.fetchOne(
            db, sql: "SELECT digest, document_id, made_at FROM keyed_request WHERE owner = ? AND key = ?",
            arguments: [owner, keyed.key])
        guard let row else { return .none }
        let digest: Data = row["digest"]
        return [UInt8](digest) == keyed.digest
            ? .same(documentID: row["document_id"], madeAt: row["made_at"]) : .other
    }

    private static func tally(_ db: Database, _ name: String) throws -> Int {
        try Int.fetchOne(db, sql: "SELECT count FROM tally WHERE name = ?", arguments: [name]) ?? 0
    }

    private static func isExpected(_ document: Document, _ expected: EntityTagList?) -> Bool {
        expected?.matchesStrongly(EntityTag.text(version: document.version)) ?? true
    }

    static func document(_ db: Database, id: String) throws -> Document? {
        try Row.fetchOne(db, sql: "SELECT * FROM document WHERE id = ?", arguments: [id]).map(document)
    }

    private static func document(_ row: Row) -> Document {
        Document(
            id: row["id"], owner: row["owner"], title: row["title"], body: row["body"],
            version: row["version"], createdAt: row["created_at"], updatedAt: row["updated_at"])
    }
}
