public import Backbone
public import Foundation
internal import GRDB
public import ServiceKit
internal import Synchronization

/// The backbone on one SQLite file, in this process.
public struct BusStore: Sendable {
    /// Bounds of the store.
    public struct Limits: Sendable {
        /// Jobs that wait or are leased; looked at once a second, so a burst may pass it by that much.
        public var waitingJobs: Int
        /// Unfinished jobs of one owner in one queue.
        public var jobsPerOwner: Int
        /// How long jobs that ended are kept, and with them their idempotency keys.
        public var keptJobMilliseconds: Int64
        /// Events older than this may go, once every group has read them.
        public var keptEventMilliseconds: Int64
        /// Topics (the type up to its first dot) of which the latest event of each subject is kept for ever, so that an
        /// index can be built anew.
        public var compactedTopics: Set<String>
        public var groups: Int
        public var schemas: Int
        /// Waits for events, and as many for jobs, that are open at once; one more is told that the bus is unavailable.
        public var waits: Int

        public init(
            waitingJobs: Int = 1_000_000, jobsPerOwner: Int = 10_000,
            keptJobMilliseconds: Int64 = 7 * 86_400_000, keptEventMilliseconds: Int64 = 30 * 86_400_000,
            compactedTopics: Set<String> = ["document"], groups: Int = 100, schemas: Int = 1_000,
            waits: Int = 1_024
        ) {
            self.waitingJobs = waitingJobs
            self.jobsPerOwner = jobsPerOwner
            self.keptJobMilliseconds = keptJobMilliseconds
            self.keptEventMilliseconds = keptEventMilliseconds
            self.compactedTopics = compactedTopics
            self.groups = groups
            self.schemas = schemas
            self.waits = waits
        }
    }

    let pool: DatabasePool
    let commits: GroupCommit
    let limits: Limits
    let clock: @Sendable () -> Int64
    let eventChanges: Changes
    let jobChanges: Changes
    let shelf: Shelf

    /// `clock`: Unix milliseconds.
    public init(
        directory: URL, limits: Limits = Limits(), clock: @escaping @Sendable () -> Int64 = { Timestamp.now }
    ) throws {
        pool = try Store.open(directory: directory, name: "bus", migrations: Self.migrations)
        // After opening: a pool sets NORMAL whatever its configuration says, and an answer here is a promise that outlives
        // a power cut.
        let level = try pool.writeWithoutTransaction { db -> Int? in
            try db.execute(sql: "PRAGMA synchronous = FULL")
            return try Int.fetchOne(db, sql: "PRAGMA synchronous")
        }
        guard level == 2 else { throw BackboneError.storageFull("the store does not sync its commits") }
        commits = GroupCommit(pool)
        self.limits = limits
        self.clock = clock
        eventChanges = Changes(waiterLimit: limits.waits)
        jobChanges = Changes(waiterLimit: limits.waits)
        shelf = try Shelf(pool)
    }

    /// What is read for each event or job, kept in memory.
    final class Shelf: Sendable {
        struct Held: Sendable {
            var validators: [String: SchemaValidator] = [:]
            var waitingJobs = 0
            var countedAt: Int64 = .min
        }

        let held: Mutex<Held>

        init(_ pool: DatabasePool) throws {
            var found = Held()
            for row in try pool.read({ db in try Row.fetchAll(db, sql: "SELECT * FROM event_schema") }) {
                let type: String = row["type"]
                let version: Int = row["version"]
                let text: String = row["schema"]
                found.validators[Self.key(type, version)] = try SchemaValidator(JSONValue(parsing: text.utf8))
            }
            held = Mutex(found)
        }

        static func key(_ type: String, _ version: Int) -> String { "\(version) \(type)" }
    }

    private static var migrations: DatabaseMigrator {
        var migrator = DatabaseMigrator()
        migrator.registerMigration("1") { db in
            try db.execute(
                sql: """
                    CREATE TABLE job (
                        seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, queue TEXT NOT NULL,
                        kind TEXT NOT NULL, payload TEXT NOT NULL, owner TEXT, priority INTEGER NOT NULL,
                        run_at INTEGER NOT NULL, failure_limit INTEGER NOT NULL, idempotency_key TEXT,
                        correlation TEXT NOT NULL, traceparent TEXT, state INTEGER NOT NULL DEFAULT 0,
                        attempts INTEGER NOT NULL DEFAULT 0, failures INTEGER NOT NULL DEFAULT 0,
                        expiries INTEGER NOT NULL DEFAULT 0, last_error TEXT, result TEXT,
                        created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL,
                        lease_token TEXT, lease_until INTEGER, worker TEXT
                    ) STRICT;
                    CREATE INDEX job_ready ON job (queue, priority DESC, run_at, seq) WHERE state = 0;
                    CREATE INDEX job_due ON job (queue, run_at) WHERE state = 0;
                    CREATE INDEX job_leased ON job (lease_until) WHERE state = 1;
                    CREATE INDEX job_ended ON job (updated_at) WHERE state >= 2;
                    CREATE INDEX job_dead ON job (queue, id) WHERE state = 3;
                    CREATE UNIQUE INDEX job_idempotency ON job (queue, idempotency_key)
                        WHERE idempotency_key IS NOT NULL;
                    CREATE INDEX job_owner ON job (queue, owner) WHERE owner IS NOT NULL AND state <= 1;
                    CREATE TABLE event (
                        event_offset INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE,
                        type TEXT NOT NULL, version INTEGER NOT NULL, subject TEXT NOT NULL,
                        time INTEGER NOT NULL, producer TEXT NOT NULL, correlation TEXT NOT NULL,
                        traceparent TEXT, data TEXT NOT NULL, compaction_key TEXT,
                        appended_at INTEGER NOT NULL
                    ) STRICT;
                    CREATE INDEX event_compaction ON event (compaction_key, event_offset)
                        WHERE compaction_key IS NOT NULL;
                    CREATE TABLE horizon (id INTEGER PRIMARY KEY CHECK (id = 1), event_offset INTEGER NOT NULL) STRICT;
                    INSERT INTO horizon VALUES (1, 0);
                    CREATE TABLE consumer_group (
                        name TEXT PRIMARY KEY, event_offset INTEGER NOT NULL, updated_at INTEGER NOT NULL
                    ) STRICT;
                    CREATE TABLE event_schema (
                        type TEXT NOT NULL, version INTEGER NOT NULL, schema TEXT NOT NULL,
                        PRIMARY KEY (type, version)
                    ) STRICT;
                    """)
        }
        migrator.registerMigration("2") { db in
            try db.execute(sql: "CREATE TABLE room_probe (filler BLOB NOT NULL) STRICT")
        }
        migrator.registerMigration("3") { db in
            // What is due is found by job_ready, priority by priority.
            try db.execute(sql: "DROP INDEX job_due")
        }
        return migrator
    }

    /// 1 to 128 bytes that stand in a path, a log line and a metric without quoting.
    static func isName(_ text: String) -> Bool {
        (1...128).contains(text.utf8.count)
            && text.utf8.allSatisfy { byte in
                switch byte {
                case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                    UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "_"),
                    UInt8(ascii: "."):
                    true
                default: false
                }
            }
    }

    static func require(_ isRight: Bool, _ reason: String, _ detail: String) throws {
        guard isRight else { throw BackboneError.refused(Refusal(reason, detail)) }
    }
}

extension BusStore {
    /// Writes as much as a small request needs, and gives it back. Throws when the store has no room or takes no writes.
    func takeRoom() async throws {
        try await commits.write { db in
            try db.execute(sql: "INSERT INTO room_probe VALUES (zeroblob(16384))")
            try db.execute(sql: "DELETE FROM room_probe")
        }
    }
}

extension BusStore: Backbone {
    public func stats() async throws -> BackboneStats {
        try await pool.read { db in
            let queues = try Row.fetchAll(
                db,
                sql: """
                    SELECT queue, sum(state = 0) AS ready, sum(state = 1) AS leased, sum(state = 3) AS dead FROM (
                        SELECT queue, state FROM job WHERE state = 0 UNION ALL
                        SELECT queue, state FROM job WHERE state = 1 UNION ALL
                        SELECT queue, state FROM job WHERE state = 3)
                    GROUP BY queue ORDER BY queue
                    """
            ).map {
                BackboneStats.Queue(
                    name: $0["queue"], ready: $0["ready"], leased: $0["leased"], dead: $0["dead"])
            }
            let groups = try Row.fetchAll(db, sql: "SELECT * FROM consumer_group ORDER BY name").map(
                Self.group)
            return BackboneStats(
                queues: queues, groups: groups, lastOffset: try Self.lastOffset(db),
                horizon: try Self.horizon(db))
        }
    }
}
