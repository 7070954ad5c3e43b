internal import Foundation
internal import GRDB
internal import ServiceKit

/// Where a job is in its life.
enum JobState: String, Sendable, CaseIterable {
    case queued, running, done, failed
}

/// A job.
struct Job: Sendable {
    let id: String
    let owner: String
    let kind: String
    let payload: String
    /// The correlation id of the request that ordered it.
    let requestID: String
    let state: JobState
    /// How often it was begun.
    let attempts: Int
    /// How often it failed by itself; a restart in its midst is not its failure.
    let failures: Int
    let result: String?
    let error: String?
    let createdAt: Int64
    let updatedAt: Int64
    let runAt: Int64
}

/// What became of a new job.
enum JobAdmission: Sendable {
    case queued(Job)
    /// As many wait as the store will hold.
    case full
    /// As many of this owner wait as one may have.
    case ownerFull
}

/// The worker's own store.
struct JobStore: Sendable {
    static let waitingLimit = 10_000
    static let waitingPerOwner = 1_000
    static let failureLimit = 5
    /// A job that was running at so many restarts is the likely cause of them.
    static let interruptionLimit = 10
    static let keptMilliseconds: Int64 = 7 * 24 * 3_600 * 1_000

    private let pool: DatabasePool

    init(directory: URL) throws {
        pool = try Store.open(directory: directory, name: "worker", migrations: Self.migrations)
    }

    private static var migrations: DatabaseMigrator {
        var migrator = DatabaseMigrator()
        migrator.registerMigration("1") { db in
            try db.execute(
                sql: """
                    CREATE TABLE job (
                        id TEXT PRIMARY KEY, owner TEXT NOT NULL, kind TEXT NOT NULL, payload TEXT NOT NULL,
                        state TEXT NOT NULL, attempts INTEGER NOT NULL DEFAULT 0,
                        failures INTEGER NOT NULL DEFAULT 0, interruptions INTEGER NOT NULL DEFAULT 0,
                        result TEXT, error TEXT, created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL,
                        run_at INTEGER NOT NULL, request_id TEXT NOT NULL
                    ) STRICT;
                    CREATE INDEX job_due ON job (run_at, id) WHERE state = 'queued';
                    CREATE INDEX job_running ON job (id) WHERE state = 'running';
                    CREATE INDEX job_waiting_owner ON job (owner) WHERE state IN ('queued', 'running');
                    CREATE INDEX job_ended ON job (updated_at) WHERE state IN ('done', 'failed');
                    """)
        }
        return migrator
    }

    /// Puts back what was running when the service stopped or died, and drops what ended long ago.
    func recover(now: Int64) async throws {
        try await pool.write { db in
            try db.execute(
                sql: """
                    UPDATE job SET interruptions = interruptions + 1, updated_at = :now,
                        state = iif(interruptions + 1 >= :limit, 'failed', 'queued'),
                        error = iif(interruptions + 1 >= :limit, 'the service stopped in its midst too often', error)
                    WHERE state = 'running'
                    """, arguments: ["now": now, "limit": Self.interruptionLimit])
            try Self.prune(db, now: now)
        }
    }

    func add(
        owner: String, kind: String, payload: String, requestID: String, now: Int64
    ) async throws -> JobAdmission {
        let id = Identifier.make(at: now)
        return try await pool.write { db -> JobAdmission in
            let waiting = try Self.count(db, "state = 'queued'", [])
            guard waiting < Self.waitingLimit else { return .full }
            let own = try Self.count(db, "owner = ? AND state IN ('queued', 'running')", [owner])
            guard own < Self.waitingPerOwner else { return .ownerFull }
            try db.execute(
                sql: """
                    INSERT INTO job (id, owner, kind, payload, request_id, state, created_at, updated_at, run_at)
                    VALUES (?, ?, ?, ?, ?, 'queued', ?, ?, ?)
                    """, arguments: [id, owner, kind, payload, requestID, now, now, now])
            return .queued(
                Job(
                    id: id, owner: owner, kind: kind, payload: payload, requestID: requestID, state: .queued,
                    attempts: 0, failures: 0, result: nil, error: nil, createdAt: now, updatedAt: now,
                    runAt: now))
        }
    }

    func job(id: String) async throws -> Job? {
        try await pool.read { db in
            try Row.fetchOne(db, sql: "SELECT * FROM job WHERE id = ?", arguments: [id]).map(Self.job)
        }
    }

    /// The job that has been due longest, now running; `nil` when none is due.
    func begin(now: Int64) async throws -> Job? {
        try await pool.write { db in
            try Row.fetchOne(
                db,
                sql: """
                    UPDATE job SET state = 'running', attempts = attempts + 1, updated_at = :now
                    WHERE id = (SELECT id FROM job WHERE state = 'queued' AND run_at <= :now
                        ORDER BY run_at, id LIMIT 1)
                    RETURNING *
                    """, arguments: ["now": now]
            ).map(Self.job)
        }
    }

    /// When the next waiting job is due, in Unix milliseconds; `nil` when none waits.
    func nextDue() async throws -> Int64? {
        try await pool.read { db in
            try Int64.fetchOne(db, sql: "SELECT min(run_at) FROM job WHERE state = 'queued'")
        }
    }

    func succeed(_ job: Job, result: String, now: Int64) async throws {
        try await pool.write { db in
            try db.execute(
                sql: "UPDATE job SET state = 'done', result = ?, error = NULL, updated_at = ? WHERE id = ?",
                arguments: [result, now, job.id])
            try Self.prune(db, now: now)
        }
    }

    /// `retryAt`: `nil` ends the job as failed.
    func fail(_ job: Job, error: String, retryAt: Int64?, now: Int64) async throws {
        try await pool.write { db in
            try db.execute(
                sql: """
                    UPDATE job SET state = ?, failures = failures + 1, error = ?, run_at = ?, updated_at = ?
                    WHERE id = ?
                    """,
                arguments: [
                    (retryAt == nil ? JobState.failed : .queued).rawValue, error, retryAt ?? job.runAt, now,
                    job.id,
                ])
        }
    }

    /// Gives back a job that was not finished because the service stops.
    func release(_ job: Job, now: Int64) async throws {
        try await pool.write { db in
            try db.execute(
                sql: "UPDATE job SET state = 'queued', updated_at = ? WHERE id = ? AND state = 'running'",
                arguments: [now, job.id])
        }
    }

    /// How many jobs are in each state.
    func counts() async throws -> [String: Int] {
        try await pool.read { db in
            var counts: [String: Int] = [:]
            for state in JobState.allCases {
                counts["jobs_\(state.rawValue)"] = try Self.count(db, "state = ?", [state.rawValue])
            }
            return counts
        }
    }

    private static func count(_ db: Database, _ condition: String, _ arguments: StatementArguments) throws
        -> Int
    {
        try Int.fetchOne(db, sql: "SELECT count(*) FROM job WHERE \(condition)", arguments: arguments) ?? 0
    }

    private static func prune(_ db: Database, now: Int64) throws {
        try db.execute(
            sql: """
                DELETE FROM job WHERE id IN (SELECT id FROM job
                    WHERE state IN ('done', 'failed') AND updated_at < ? LIMIT 100)
                """, arguments: [now - keptMilliseconds])
    }

    private static func job(_ row: Row) -> Job {
        let state: String = row["state"]
        return Job(
            id: row["id"], owner: row["owner"], kind: row["kind"], payload: row["payload"],
            requestID: row["request_id"],
            state: JobState(rawValue: state) ?? .failed, attempts: row["attempts"],
            failures: row["failures"], result: row["result"], error: row["error"],
            createdAt: row["created_at"], updatedAt: row["updated_at"], runAt: row["run_at"])
    }
}
