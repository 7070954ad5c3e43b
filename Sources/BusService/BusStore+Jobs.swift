public import Backbone
internal import Foundation
internal import GRDB
public import ServiceKit
internal import Synchronization

extension BusStore {
    public func enqueue(_ jobs: [NewJob]) async throws -> [EnqueueOutcome] {
        try Self.require(jobs.count <= JobLimits.batch, "too_many", "At most \(JobLimits.batch) at once.")
        let now = clock()
        try await checkRoom(jobs.count, now: now)
        let perOwner = limits.jobsPerOwner
        let outcomes = try await commits.write { db in
            try jobs.map { job -> EnqueueOutcome in
                if let refusal = Self.refusal(job) { return .refused(refusal) }
                return try Self.enqueue(db, job, perOwner: perOwner, now: now)
            }
        }
        jobChanges.advance()
        return outcomes
    }

    /// Throws `.unavailable` while too many wait.
    private func checkRoom(_ count: Int, now: Int64) async throws {
        let isFresh = shelf.held.withLock { held in
            // A clock that was set back makes the count old too.
            (held.countedAt...(held.countedAt &+ 1_000)).contains(now)
        }
        if !isFresh {
            let waiting = try await pool.read { db in
                try Int.fetchOne(
                    db,
                    sql: """
                        SELECT (SELECT count(*) FROM job WHERE state = 0) + (SELECT count(*) FROM job WHERE state = 1)
                        """) ?? 0
            }
            shelf.held.withLock { held in
                held.waitingJobs = waiting
                held.countedAt = now
            }
        }
        let hasRoom = shelf.held.withLock { held in
            guard held.waitingJobs + count <= limits.waitingJobs else { return false }
            held.waitingJobs += count
            return true
        }
        guard hasRoom else { throw BackboneError.unavailable("too many jobs wait") }
    }

    private static func refusal(_ job: NewJob) -> Refusal? {
        guard Identifier.isValid(job.id) else { return Refusal("invalid_job", "id must be a UUID.") }
        guard isName(job.queue), isName(job.kind), job.owner?.utf8.count ?? 0 <= 128,
            job.idempotencyKey?.utf8.count ?? 0 <= 256, job.trace.requestID.utf8.count <= 128
        else { return Refusal("invalid_job", "queue, kind, owner, key or correlationId has a wrong form.") }
        guard JobLimits.priorities.contains(job.priority), JobLimits.failuresRange.contains(job.failureLimit),
            job.runAt >= 0
        else { return Refusal("invalid_job", "priority, failureLimit or runAt is out of its range.") }
        guard job.payload.text.utf8.count <= JobLimits.payloadBytes else {
            return Refusal("job_too_large", "The payload may have at most \(JobLimits.payloadBytes) bytes.")
        }
        return nil
    }

    private static func enqueue(
        _ db: Database, _ job: NewJob, perOwner: Int, now: Int64
    ) throws -> EnqueueOutcome {
        if let owner = job.owner {
            let statement = try db.cachedStatement(
                sql: """
                    SELECT count(*) FROM (SELECT 1 FROM job WHERE queue = ? AND owner = ? AND owner IS NOT NULL
                        AND state <= 1 LIMIT ?)
                    """)
            let count = try Int.fetchOne(statement, arguments: [job.queue, owner, perOwner]) ?? 0
            // One that is there already is not one more.
            if count >= perOwner, try known(db, job) == nil {
                return .refused(Refusal("too_many_jobs", "An account may have \(perOwner) unfinished jobs."))
            }
        }
        let insertion = try db.cachedStatement(
            sql: """
                INSERT INTO job (id, queue, kind, payload, owner, priority, run_at, failure_limit, idempotency_key,
                    correlation, traceparent, created_at, updated_at)
                VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING
                """)
        try insertion.execute(arguments: [
            job.id, job.queue, job.kind, job.payload.text, job.owner, job.priority, max(job.runAt, now),
            job.failureLimit, job.idempotencyKey, job.trace.requestID, job.trace.traceparent, now, now,
        ])
        if db.changesCount == 1 { return .queued }
        return .duplicate(id: try known(db, job) ?? job.id)
    }

    private static func known(_ db: Database, _ job: NewJob) throws -> String? {
        try String.fetchOne(
            db,
            sql: "SELECT id FROM job WHERE id = :id OR (queue = :queue AND idempotency_key = :key) LIMIT 1",
            arguments: ["id": job.id, "queue": job.queue, "key": job.idempotencyKey])
    }

    public func lease(queue: String, limit: Int, seconds: Int, worker: String) async throws -> [LeasedJob] {
        try Self.require(
            JobLimits.leaseSeconds.contains(seconds), "invalid_lease", "A lease is 1 to 3600 seconds.")
        try Self.require(
            (1...JobLimits.batch).contains(limit), "too_many", "1 to \(JobLimits.batch) at once.")
        try Self.require(worker.utf8.count <= 128, "invalid_name", "A worker's name has at most 128 bytes.")
        let now = clock()
        let until = now + Int64(seconds) * 1_000
        let token = Bytes.hex(Bytes.random(16))
        return try await commits.write { db -> [LeasedJob] in
            try Self.expire(db, now: now)
            let statement = try db.cachedStatement(
                sql: """
                    UPDATE job SET state = 1, attempts = attempts + 1, lease_token = ?, lease_until = ?, worker = ?,
                        updated_at = ?
                    WHERE seq IN (SELECT seq FROM job WHERE queue = ? AND state = 0 AND run_at <= ?
                        ORDER BY priority DESC, run_at, seq LIMIT ?)
                    RETURNING *
                    """)
            let rows = try Row.fetchAll(statement, arguments: [token, until, worker, now, queue, now, limit])
            // RETURNING has no order of its own; ids made in one millisecond have none either.
            let key: (Row) -> (Int64, Int64, Int64) = { (-$0["priority"], $0["run_at"], $0["seq"]) }
            return rows.sorted { key($0) < key($1) }.map(Self.job).map {
                LeasedJob(job: $0, lease: Lease(jobID: $0.id, token: token), until: until)
            }
        }
    }

    /// Leases that ran out: nobody's failure, but counted, since a job that ends its workers must end too.
    private static func expire(_ db: Database, now: Int64) throws {
        let statement = try db.cachedStatement(
            sql: """
                UPDATE job SET expiries = expiries + 1, state = iif(expiries + 1 >= \(JobLimits.expiries), 3, 0),
                    last_error = iif(expiries + 1 >= \(JobLimits.expiries), 'its lease ran out too often', last_error),
                    run_at = ?1, lease_token = NULL, lease_until = NULL, updated_at = ?1
                WHERE state = 1 AND lease_until <= ?1
                """)
        try statement.execute(arguments: [now])
    }

    public func waitForJobs(queue: String, waitSeconds: Int) async throws -> Bool {
        let deadline = ContinuousClock.now + .seconds(max(0, min(waitSeconds, EventLimits.waitSeconds)))
        while true {
            let generation = jobChanges.generation
            let now = clock()
            let due = try await pool.read { db -> Int64? in
                let ready = try Int64.fetchOne(
                    db, sql: "SELECT min(run_at) FROM job WHERE queue = ? AND state = 0", arguments: [queue])
                // A lease of another queue that runs out costs one look too many.
                let leased = try Int64.fetchOne(db, sql: "SELECT min(lease_until) FROM job WHERE state = 1")
                return [ready, leased].compactMap(\.self).min()
            }
            if let due, due <= now { return true }
            let left = ContinuousClock.now.duration(to: deadline)
            guard left > .zero else { return false }
            let untilDue = due.map { Duration.milliseconds($0 - now) } ?? left
            try await jobChanges.wait(after: generation, upTo: min(left, untilDue))
            try Task.checkCancellation()
        }
    }

    public func finish(_ jobs: [(lease: Lease, result: JSONText?)]) async throws -> [LeaseOutcome] {
        try Self.require(jobs.count <= JobLimits.batch, "too_many", "At most \(JobLimits.batch) at once.")
        for job in jobs {
            try Self.require(
                job.result?.text.utf8.count ?? 0 <= JobLimits.payloadBytes, "result_too_large",
                "A result may have at most \(JobLimits.payloadBytes) bytes.")
        }
        let now = clock()
        return try await commits.write { db in
            let statement = try db.cachedStatement(
                sql: """
                    UPDATE job SET state = 2, result = ?, lease_token = NULL, lease_until = NULL, updated_at = ?
                    WHERE id = ? AND state = 1 AND lease_token = ? AND lease_until > ?
                    """)
            return try jobs.map { job in
                try statement.execute(arguments: [
                    job.result?.text, now, job.lease.jobID, job.lease.token, now,
                ])
                return db.changesCount == 1 ? .done : .lost
            }
        }
    }

    public func setBack(_ jobs: [(lease: Lease, setback: JobSetback)]) async throws -> [LeaseOutcome] {
        try Self.require(jobs.count <= JobLimits.batch, "too_many", "At most \(JobLimits.batch) at once.")
        let now = clock()
        let outcomes = try await commits.write { db in
            try jobs.map { try Self.setBack(db, $0.lease, $0.setback, now: now) }
        }
        jobChanges.advance()
        return outcomes
    }

    private static func setBack(
        _ db: Database, _ lease: Lease, _ setback: JobSetback, now: Int64
    ) throws -> LeaseOutcome {
        let row = try Row.fetchOne(
            db.cachedStatement(
                sql: """
                    SELECT failures, failure_limit FROM job
                    WHERE id = ? AND state = 1 AND lease_token = ? AND lease_until > ?
                    """), arguments: [lease.jobID, lease.token, now])
        guard let row else { return .lost }
        var failures: Int = row["failures"]
        let limit: Int = row["failure_limit"]
        var pause: Int64 = 0
        var told: String?
        var isFatal = false
        switch setback {
        case .released: break
        case .fatal(let error):
            failures += 1
            told = error
            isFatal = true
        case .failed(let error):
            told = error
            pause = Self.pause(failures: failures)
            failures += 1
        case .failedFor(let error, let milliseconds):
            told = error
            pause = max(0, min(milliseconds, 7 * 86_400_000))
            failures += 1
        }
        let isDead = isFatal || (told != nil && failures >= limit)
        try db.execute(
            sql: """
                UPDATE job SET state = ?, failures = ?, run_at = ?, last_error = coalesce(?, last_error),
                    lease_token = NULL, lease_until = NULL, updated_at = ? WHERE id = ?
                """,
            arguments: [
                isDead ? 3 : 0, failures, now + pause, told.map { String($0.prefix(1_000)) }, now,
                lease.jobID,
            ])
        return .done
    }

    /// Doubles from half a second to five minutes, less up to half by chance, so that what failed together does not come
    /// back together.
    static func pause(failures: Int) -> Int64 {
        let full = min(
            JobLimits.longestPauseMilliseconds, JobLimits.firstPauseMilliseconds << Int64(min(failures, 20)))
        return Int64.random(in: full / 2...full)
    }

    public func extend(_ leases: [Lease], seconds: Int) async throws -> [LeaseOutcome] {
        try Self.require(
            JobLimits.leaseSeconds.contains(seconds), "invalid_lease", "A lease is 1 to 3600 seconds.")
        try Self.require(leases.count <= JobLimits.batch, "too_many", "At most \(JobLimits.batch) at once.")
        let now = clock()
        return try await commits.write { db in
            let statement = try db.cachedStatement(
                sql: """
                    UPDATE job SET lease_until = ?, updated_at = ?
                    WHERE id = ? AND state = 1 AND lease_token = ? AND lease_until > ?
                    """)
            return try leases.map { lease in
                try statement.execute(arguments: [
                    now + Int64(seconds) * 1_000, now, lease.jobID, lease.token, now,
                ])
                return db.changesCount == 1 ? .done : .lost
            }
        }
    }

    public func job(id: String) async throws -> Job? {
        try await pool.read { db in
            try Row.fetchOne(db, sql: "SELECT * FROM job WHERE id = ?", arguments: [id]).map(Self.job)
        }
    }

    public func deadJobs(queue: String, before: String?, limit: Int) async throws -> [Job] {
        try await pool.read { db in
            // UUIDs of version 7 sort by the time that they were made.
            try Row.fetchAll(
                db,
                sql: "SELECT * FROM job WHERE queue = ? AND state = 3 AND id < ? ORDER BY id DESC LIMIT ?",
                arguments: [queue, before ?? "g", max(1, min(limit, JobLimits.batch))]
            ).map(Self.job)
        }
    }

    public func redrive(id: String) async throws {
        let now = clock()
        try await commits.write { db in
            try db.execute(
                sql:
                    "UPDATE job SET state = 0, failures = 0, expiries = 0, run_at = ?, updated_at = ? WHERE id = ? AND state = 3",
                arguments: [now, now, id])
            guard db.changesCount == 1 else { throw BackboneError.notFound }
        }
        jobChanges.advance()
    }

    /// Drops jobs that ended long ago. Returns how many went.
    @discardableResult
    public func dropEnded() async throws -> Int {
        let before = clock() - limits.keptJobMilliseconds
        return try await commits.write { db in
            try db.execute(
                sql: """
                    DELETE FROM job WHERE seq IN (SELECT seq FROM job WHERE state >= 2 AND updated_at < ? LIMIT 5000)
                    """, arguments: [before])
            return db.changesCount
        }
    }

    private static let states: [JobState] = [.ready, .leased, .done, .dead]

    private static func job(_ row: Row) -> Job {
        Job(
            id: row["id"], queue: row["queue"], kind: row["kind"], payload: JSONText(checked: row["payload"]),
            owner: row["owner"], priority: row["priority"], runAt: row["run_at"],
            failureLimit: row["failure_limit"],
            trace: Trace(requestID: row["correlation"], traceparent: row["traceparent"]),
            state: states[row["state"]], attempts: row["attempts"], failures: row["failures"],
            expiries: row["expiries"], lastError: row["last_error"],
            result: (row["result"] as String?).map { JSONText(checked: $0) }, createdAt: row["created_at"],
            updatedAt: row["updated_at"])
    }
}
