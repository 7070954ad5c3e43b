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
            // Counted once a call: an owner may have thousands.
            var held: [Holder: Int] = [:]
            return try jobs.map { job -> EnqueueOutcome in
                if let refusal = Self.refusal(job) { return .refused(refusal) }
                return try Self.enqueue(db, job, perOwner: perOwner, held: &held, now: now)
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

    /// Whose unfinished jobs are counted together.
    private struct Holder: Hashable {
        let queue: String
        let owner: String
    }

    /// `held`: Unfinished jobs as far as they were counted, brought up to date here.
    private static func enqueue(
        _ db: Database, _ job: NewJob, perOwner: Int, held: inout [Holder: Int], now: Int64
    ) throws -> EnqueueOutcome {
        let holder = job.owner.map { Holder(queue: job.queue, owner: $0) }
        if let holder {
            let count = try held[holder] ?? unfinished(db, holder, upTo: perOwner)
            held[holder] = count
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
        guard db.changesCount == 1 else { return .duplicate(id: try known(db, job) ?? job.id) }
        if let holder { held[holder, default: 0] += 1 }
        return .queued
    }

    private static func unfinished(_ db: Database, _ holder: Holder, upTo limit: Int) throws -> Int {
        let statement = try db.cachedStatement(
            sql: """
                SELECT count(*) FROM (SELECT 1 FROM job WHERE queue = ? AND owner = ? AND owner IS NOT NULL
                    AND state <= 1 LIMIT ?)
                """)
        return try Int.fetchOne(statement, arguments: [holder.queue, holder.owner, limit]) ?? 0
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
            let chosen = try Self.due(db, queue: queue, limit: limit, now: now)
            let statement = try db.cachedStatement(
                sql: """
                    UPDATE job SET state = 1, attempts = attempts + 1, lease_token = ?, lease_until = ?, worker = ?,
                        updated_at = ? WHERE seq = ? RETURNING \(jobColumns)
                    """)
            return try chosen.compactMap { seq in
                // Read while the cursor is there, or it would have to be copied whole.
                let cursor = try Row.fetchCursor(statement, arguments: [token, until, worker, now, seq])
                return try withExtendedLifetime(cursor) { try cursor.next().map(Self.job) }
            }.map { LeasedJob(job: $0, lease: Lease(jobID: $0.id, token: token), until: until) }
        }
    }

    /// The jobs to be leased, one priority after the other: a walk over all of them would pass every delayed job of a
    /// great priority on its way to the due ones of a smaller.
    private static func due(_ db: Database, queue: String, limit: Int, now: Int64) throws -> [Int64] {
        let statement = try db.cachedStatement(
            sql: """
                SELECT seq, length(CAST(payload AS BLOB)) FROM job INDEXED BY job_ready
                WHERE queue = ? AND priority = ? AND state = 0 AND run_at <= ? ORDER BY run_at, seq LIMIT ?
                """)
        var chosen: [Int64] = []
        var bytes = 0
        try forEachPriority(db, queue: queue) { priority in
            let rows = try Row.fetchCursor(
                statement, arguments: [queue, priority, now, limit - chosen.count])
            while bytes < JobLimits.answerBytes, let row = try rows.next() {
                chosen.append(row[0])
                bytes += row[1]
            }
            return chosen.count < limit && bytes < JobLimits.answerBytes
        }
        return chosen
    }

    /// Calls `body` for each priority of jobs that wait, the greatest first, until it answers `false`.
    private static func forEachPriority(
        _ db: Database, queue: String, _ body: (Int) throws -> Bool
    ) throws {
        let statement = try db.cachedStatement(
            sql: """
                SELECT priority FROM job INDEXED BY job_ready WHERE queue = ? AND state = 0 AND priority < ?
                ORDER BY priority DESC LIMIT 1
                """)
        var above = JobLimits.priorities.upperBound + 1
        while let priority = try Int.fetchOne(statement, arguments: [queue, above]), try body(priority) {
            above = priority
        }
    }

    /// When the first job of the queue is due; `nil` when none waits.
    private static func firstDue(_ db: Database, queue: String) throws -> Int64? {
        let statement = try db.cachedStatement(
            sql: """
                SELECT run_at FROM job INDEXED BY job_ready WHERE queue = ? AND priority = ? AND state = 0
                ORDER BY run_at LIMIT 1
                """)
        var first: Int64?
        try forEachPriority(db, queue: queue) { priority in
            if let due = try Int64.fetchOne(statement, arguments: [queue, priority]) {
                first = min(due, first ?? due)
            }
            return true
        }
        return first
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

    /// For queues that nobody leases from, so that their counts are right and whoever waits is told.
    func expireLeases() async throws {
        let now = clock()
        let hasExpired = try await commits.write { db in
            try Self.expire(db, now: now)
            return db.changesCount > 0
        }
        if hasExpired { jobChanges.advance() }
    }

    public func waitForJobs(queue: String, waitSeconds: Int) async throws -> Bool {
        let deadline = ContinuousClock.now + .seconds(max(0, min(waitSeconds, EventLimits.waitSeconds)))
        while true {
            let generation = jobChanges.generation
            let now = clock()
            let due = try await pool.read { db -> Int64? in
                let ready = try Self.firstDue(db, queue: queue)
                // A lease of another queue that runs out costs one look too many.
                let leased = try Int64.fetchOne(
                    db.cachedStatement(sql: "SELECT min(lease_until) FROM job WHERE state = 1"))
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
        var begun = 1
        switch setback {
        case .released: break
        case .postponed(let milliseconds):
            pause = Self.bounded(milliseconds)
            begun = 0
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
            pause = Self.bounded(milliseconds)
            failures += 1
        }
        let isDead = isFatal || (told != nil && failures >= limit)
        try db.execute(
            sql: """
                UPDATE job SET state = ?, failures = ?, run_at = ?, last_error = coalesce(?, last_error),
                    attempts = attempts - 1 + ?, lease_token = NULL, lease_until = NULL, updated_at = ?
                WHERE id = ?
                """,
            arguments: [
                isDead ? 3 : 0, failures, now + pause, told.map { String($0.prefix(1_000)) }, begun, now,
                lease.jobID,
            ])
        return .done
    }

    /// A pause that a worker asked for, within a week.
    private static func bounded(_ milliseconds: Int64) -> Int64 { max(0, min(milliseconds, 7 * 86_400_000)) }

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
            try Row.fetchOne(db, sql: "SELECT \(jobColumns) FROM job WHERE id = ?", arguments: [id]).map(
                Self.job)
        }
    }

    public func deadJobs(queue: String, before: String?, limit: Int) async throws -> [Job] {
        try await pool.read { db in
            // UUIDs of version 7 sort by the time that they were made.
            let rows = try Row.fetchCursor(
                db,
                sql: """
                    SELECT \(jobColumns) FROM job WHERE queue = ? AND state = 3 AND id < ? ORDER BY id DESC LIMIT ?
                    """, arguments: [queue, before ?? "g", max(1, min(limit, JobLimits.batch))])
            var found: [Job] = []
            var bytes = 0
            while bytes < JobLimits.answerBytes, let row = try rows.next() {
                let job = Self.job(row)
                bytes += job.payload.text.utf8.count + (job.result?.text.utf8.count ?? 0)
                found.append(job)
            }
            return found
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
            id: row[0], queue: row[1], kind: row[2], payload: JSONText(checked: row[3]), owner: row[4],
            priority: row[5], runAt: row[6], failureLimit: row[7],
            trace: Trace(requestID: row[8], traceparent: row[9]), state: states[row[10]], attempts: row[11],
            failures: row[12], expiries: row[13], lastError: row[14],
            result: (row[15] as String?).map { JSONText(checked: $0) }, createdAt: row[16], updatedAt: row[17]
        )
    }
}

/// In the order in which `job` reads them: by number, since a lookup of each name takes longer than its value.
private let jobColumns = """
    id, queue, kind, payload, owner, priority, run_at, failure_limit, correlation, traceparent, state, attempts, \
    failures, expiries, last_error, result, created_at, updated_at
    """
