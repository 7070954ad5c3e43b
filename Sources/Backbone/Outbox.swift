public import GRDB
internal import HTTPTypes
internal import Hummingbird
internal import ServiceKit

/// Events and jobs of a service, kept in its own store and in the transaction of their cause until the backbone has them.
///
/// So a change and its event are stored both or neither, and the service works while the backbone is away.
public struct Outbox: Sendable {
    /// Rows that may wait; above it writers are refused, since a backbone that is away for days must not fill the disk.
    public static let standardLimit = 100_000
    /// Bytes of them. Rows alone are no bound: one may hold a document of a megabyte.
    public static let standardLimitBytes = 256 << 20
    /// Rows kept of those that the backbone refused; the oldest go first.
    public static let parkedLimit = 10_000
    /// Bytes of them.
    public static let parkedLimitBytes = 64 << 20

    private let limit: Int
    private let limitBytes: Int
    let bell = Doorbell()

    public init(limit: Int = Outbox.standardLimit, limitBytes: Int = Outbox.standardLimitBytes) {
        self.limit = limit
        self.limitBytes = limitBytes
    }

    /// Adds the tables to a service's migrations.
    public static func register(in migrator: inout DatabaseMigrator) {
        migrator.registerMigration("backbone.outbox.1") { db in
            try db.execute(
                sql: """
                    CREATE TABLE outbox_message (
                        seq INTEGER PRIMARY KEY AUTOINCREMENT, is_job INTEGER NOT NULL, message TEXT NOT NULL
                    ) STRICT;
                    CREATE TABLE outbox_parked (
                        seq INTEGER PRIMARY KEY, is_job INTEGER NOT NULL, message TEXT NOT NULL,
                        error TEXT NOT NULL, parked_at INTEGER NOT NULL
                    ) STRICT;
                    CREATE TABLE outbox_count (
                        id INTEGER PRIMARY KEY CHECK (id = 1), waiting INTEGER NOT NULL
                    ) STRICT;
                    INSERT INTO outbox_count VALUES (1, 0);
                    CREATE TRIGGER outbox_message_in AFTER INSERT ON outbox_message
                        BEGIN UPDATE outbox_count SET waiting = waiting + 1; END;
                    CREATE TRIGGER outbox_message_out AFTER DELETE ON outbox_message
                        BEGIN UPDATE outbox_count SET waiting = waiting - 1; END;
                    """)
        }
        // Bytes are counted as rows are, by triggers. A cast, since the length of a text is told in characters.
        migrator.registerMigration("backbone.outbox.2") { db in
            try db.execute(
                sql: """
                    ALTER TABLE outbox_count ADD COLUMN waiting_bytes INTEGER NOT NULL DEFAULT 0;
                    ALTER TABLE outbox_count ADD COLUMN parked INTEGER NOT NULL DEFAULT 0;
                    ALTER TABLE outbox_count ADD COLUMN parked_bytes INTEGER NOT NULL DEFAULT 0;
                    UPDATE outbox_count SET
                        waiting_bytes =
                            (SELECT coalesce(sum(length(CAST(message AS BLOB))), 0) FROM outbox_message),
                        parked = (SELECT count(*) FROM outbox_parked),
                        parked_bytes =
                            (SELECT coalesce(sum(length(CAST(message AS BLOB))), 0) FROM outbox_parked);
                    DROP TRIGGER outbox_message_in;
                    DROP TRIGGER outbox_message_out;
                    CREATE TRIGGER outbox_message_in AFTER INSERT ON outbox_message
                        BEGIN UPDATE outbox_count SET waiting = waiting + 1,
                            waiting_bytes = waiting_bytes + length(CAST(NEW.message AS BLOB)); END;
                    CREATE TRIGGER outbox_message_out AFTER DELETE ON outbox_message
                        BEGIN UPDATE outbox_count SET waiting = waiting - 1,
                            waiting_bytes = waiting_bytes - length(CAST(OLD.message AS BLOB)); END;
                    CREATE TRIGGER outbox_parked_in AFTER INSERT ON outbox_parked
                        BEGIN UPDATE outbox_count SET parked = parked + 1,
                            parked_bytes = parked_bytes + length(CAST(NEW.message AS BLOB)); END;
                    CREATE TRIGGER outbox_parked_out AFTER DELETE ON outbox_parked
                        BEGIN UPDATE outbox_count SET parked = parked - 1,
                            parked_bytes = parked_bytes - length(CAST(OLD.message AS BLOB)); END;
                    """)
        }
    }

    /// Within the caller's transaction, which must be thrown away when this throws.
    /// Throws `Problem` 503 `outbox_full`.
    public func append(_ db: Database, events: [Event] = [], jobs: [NewJob] = []) throws {
        guard try appendIfRoom(db, events: events, jobs: jobs) else {
            throw Problem.retryLater(
                .serviceUnavailable, "outbox_full", "The backbone has been away too long.", afterSeconds: 5)
        }
    }

    /// As `append`, for a cause that must not be undone because it cannot be told, such as a revocation.
    /// `reserve`: So many rows more than the limit may wait for this one, each of a kilobyte: for what is rare, and what others must
    ///   learn in the end.
    /// Returns `false`, with nothing written, when the outbox is full.
    public func appendIfRoom(
        _ db: Database, events: [Event] = [], jobs: [NewJob] = [], reserve: Int = 0
    ) throws -> Bool {
        guard !events.isEmpty || !jobs.isEmpty else { return true }
        let messages =
            events.map { event in (false, Wire.text { Wire.write(event, to: &$0) }) }
            + jobs.map { job in (true, Wire.text { Wire.write(job, to: &$0) }) }
        let held = try held(db)
        let bytes = messages.reduce(held.waitingBytes) { $0 + $1.1.utf8.count }
        guard held.waiting + messages.count <= limit + reserve, bytes <= limitBytes + reserve << 10 else {
            return false
        }
        let insertion = try db.cachedStatement(
            sql: "INSERT INTO outbox_message (is_job, message) VALUES (?, ?)")
        for (isJob, message) in messages { try insertion.execute(arguments: [isJob, message]) }
        db.afterNextTransaction { [bell] _ in bell.ring() }
        return true
    }

    /// How many rows wait, and how many were refused.
    public func counts(_ db: Database) throws -> (waiting: Int, parked: Int) {
        let held = try held(db)
        return (held.waiting, held.parked)
    }

    /// The same and their bytes, under the names that the services' metrics have.
    public func gauges(_ db: Database) throws -> [String: Int] {
        let held = try held(db)
        return [
            "outbox_waiting": held.waiting, "outbox_waiting_bytes": held.waitingBytes,
            "outbox_parked": held.parked, "outbox_parked_bytes": held.parkedBytes,
        ]
    }

    /// Puts what the backbone refused back in line, for when its cause is mended. Returns how many.
    @discardableResult
    public func unpark(_ db: Database) throws -> Int {
        try db.execute(
            sql:
                "INSERT INTO outbox_message (is_job, message) SELECT is_job, message FROM outbox_parked ORDER BY seq"
        )
        try db.execute(sql: "DELETE FROM outbox_parked")
        let count = db.changesCount
        db.afterNextTransaction { [bell] _ in bell.ring() }
        return count
    }

    private struct Held {
        var waiting = 0
        var waitingBytes = 0
        var parked = 0
        var parkedBytes = 0
    }

    /// Counted by triggers: counting rows at each write would cost more the more of them wait.
    private func held(_ db: Database) throws -> Held {
        let statement = try db.cachedStatement(
            sql: "SELECT waiting, waiting_bytes, parked, parked_bytes FROM outbox_count")
        guard let row = try GRDB.Row.fetchOne(statement) else { return Held() }
        return Held(
            waiting: row["waiting"], waitingBytes: row["waiting_bytes"], parked: row["parked"],
            parkedBytes: row["parked_bytes"])
    }

    /// The longest-waiting rows, at most so many; none after the one with which they have `limitBytes`.
    func due(_ db: Database, limit: Int, limitBytes: Int) throws -> [Row] {
        let statement = try db.cachedStatement(
            sql: "SELECT seq, is_job, message FROM outbox_message ORDER BY seq LIMIT ?")
        let cursor = try GRDB.Row.fetchCursor(statement, arguments: [limit])
        var rows: [Row] = []
        var bytes = 0
        while bytes < limitBytes, let row = try cursor.next() {
            rows.append(Row(seq: row["seq"], isJob: row["is_job"], message: row["message"]))
            bytes += rows[rows.count - 1].message.utf8.count
        }
        return rows
    }

    /// The backbone has them.
    func remove(_ db: Database, _ seqs: [Int64]) throws {
        let deletion = try db.cachedStatement(sql: "DELETE FROM outbox_message WHERE seq = ?")
        for seq in seqs { try deletion.execute(arguments: [seq]) }
    }

    /// The backbone will never take it as it is: set aside, so that it holds up no other.
    func park(_ db: Database, _ row: Row, error: String, now: Int64) throws {
        try db.execute(
            sql: "INSERT INTO outbox_parked (seq, is_job, message, error, parked_at) VALUES (?, ?, ?, ?, ?)",
            arguments: [row.seq, row.isJob, row.message, error, now])
        var held = try held(db)
        while held.parked > Self.parkedLimit || held.parkedBytes > Self.parkedLimitBytes {
            try db.execute(sql: "DELETE FROM outbox_parked WHERE seq = (SELECT min(seq) FROM outbox_parked)")
            held = try self.held(db)
        }
        try remove(db, [row.seq])
    }

    /// One event or job that waits.
    struct Row: Sendable {
        let seq: Int64
        let isJob: Bool
        let message: String
    }
}
