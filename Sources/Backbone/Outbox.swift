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
    /// Rows kept of those that the backbone refused; the oldest go first.
    public static let parkedLimit = 10_000

    private let limit: Int
    let bell = Doorbell()

    public init(limit: Int = Outbox.standardLimit) {
        self.limit = limit
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
    }

    /// Within the caller's transaction, which must be thrown away when this throws.
    /// Throws `Problem` 503 `outbox_full`.
    public func append(_ db: Database, events: [Event] = [], jobs: [NewJob] = []) throws {
        guard !events.isEmpty || !jobs.isEmpty else { return }
        guard try waiting(db) + events.count + jobs.count <= limit else {
            throw Problem.retryLater(
                .serviceUnavailable, "outbox_full", "The backbone has been away too long.", afterSeconds: 5)
        }
        let insertion = try db.cachedStatement(
            sql: "INSERT INTO outbox_message (is_job, message) VALUES (?, ?)")
        for event in events {
            try insertion.execute(arguments: [false, Wire.text { Wire.write(event, to: &$0) }])
        }
        for job in jobs { try insertion.execute(arguments: [true, Wire.text { Wire.write(job, to: &$0) }]) }
        db.afterNextTransaction { [bell] _ in bell.ring() }
    }

    /// How many rows wait, and how many were refused.
    public func counts(_ db: Database) throws -> (waiting: Int, parked: Int) {
        (try waiting(db), try Int.fetchOne(db, sql: "SELECT count(*) FROM outbox_parked") ?? 0)
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

    /// Counted by triggers: counting rows at each write would cost more the more of them wait.
    private func waiting(_ db: Database) throws -> Int {
        try Int.fetchOne(db.cachedStatement(sql: "SELECT waiting FROM outbox_count")) ?? 0
    }

    /// The longest-waiting rows.
    func due(_ db: Database, limit: Int) throws -> [Row] {
        try GRDB.Row.fetchAll(
            db, sql: "SELECT seq, is_job, message FROM outbox_message ORDER BY seq LIMIT ?",
            arguments: [limit]
        ).map { Row(seq: $0["seq"], isJob: $0["is_job"], message: $0["message"]) }
    }

    /// The backbone has them.
    func remove(_ db: Database, _ seqs: [Int64]) throws {
        let deletion = try db.cachedStatement(sql: "DELETE FROM outbox_message WHERE seq = ?")
        for seq in seqs { try deletion.execute(arguments: [seq]) }
    }

    /// The backbone will never take it as it is: set aside, so that it holds up no other.
    func park(_ db: Database, _ row: Row, error: String, now: Int64) throws {
        try db.execute(
            sql:
                "INSERT OR REPLACE INTO outbox_parked (seq, is_job, message, error, parked_at) VALUES (?, ?, ?, ?, ?)",
            arguments: [row.seq, row.isJob, row.message, error, now])
        try db.execute(
            sql: """
                DELETE FROM outbox_parked WHERE seq <=
                    (SELECT seq FROM outbox_parked ORDER BY seq DESC LIMIT 1 OFFSET \(Self.parkedLimit))
                """)
        try remove(db, [row.seq])
    }

    /// One event or job that waits.
    struct Row: Sendable {
        let seq: Int64
        let isJob: Bool
        let message: String
    }
}
