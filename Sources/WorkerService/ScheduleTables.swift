internal import Backbone
internal import GRDB
internal import ServiceKit

/// Schedules in the worker's store. Each function is a part of the caller's transaction.
struct ScheduleTables: Sendable {
    var limits = ScheduleLimits()

    static func register(in migrator: inout DatabaseMigrator) {
        migrator.registerMigration("worker.schedules.1") { db in
            try db.execute(
                sql: """
                    CREATE TABLE schedule (
                        id TEXT PRIMARY KEY, owner TEXT NOT NULL, cron TEXT, zone TEXT, every INTEGER,
                        kind TEXT NOT NULL, payload TEXT NOT NULL, next_at INTEGER, last_at INTEGER, last_job TEXT,
                        error TEXT, created_at INTEGER NOT NULL,
                        CHECK ((cron IS NULL) = (zone IS NULL) AND (cron IS NULL) <> (every IS NULL))
                    ) STRICT;
                    CREATE INDEX schedule_owner ON schedule (owner, id);
                    CREATE INDEX schedule_due ON schedule (next_at) WHERE next_at NOT NULL;
                    CREATE TABLE schedule_count (
                        id INTEGER PRIMARY KEY CHECK (id = 1), schedules INTEGER NOT NULL
                    ) STRICT;
                    INSERT INTO schedule_count VALUES (1, 0);
                    CREATE TRIGGER schedule_in AFTER INSERT ON schedule
                        BEGIN UPDATE schedule_count SET schedules = schedules + 1; END;
                    CREATE TRIGGER schedule_out AFTER DELETE ON schedule
                        BEGIN UPDATE schedule_count SET schedules = schedules - 1; END;
                    """)
        }
    }

    // MARK: - Ticks

    /// When the next schedule is due; `nil` when none will be.
    func nextDue(_ db: Database) throws -> Int64? {
        try Int64.fetchOne(
            db.cachedStatement(sql: "SELECT min(next_at) FROM schedule WHERE next_at NOT NULL"))
    }

    /// One schedule's turn.
    struct Tick: Sendable {
        let schedule: String
        /// When it was due, which may be long ago.
        let dueAt: Int64
        let job: NewJob
    }

    /// Moves on what is due, and puts its jobs into the outbox: in one transaction, so that however many look, each tick is
    /// one job. Ticks that went by meanwhile are made up for by one.
    func tick(_ db: Database, outbox: Outbox, now: Int64) throws -> [Tick] {
        let due = try Row.fetchAll(
            db,
            sql: "SELECT * FROM schedule WHERE next_at <= ? ORDER BY next_at, id LIMIT ?",
            arguments: [now, limits.batch]
        ).map(Self.schedule)
        var ticks: [Tick] = []
        for schedule in due {
            guard let dueAt = schedule.nextAt else { continue }
            guard try !DisabledAccounts.hold(db, schedule.owner) else {
                try end(db, schedule, error: DisabledAccounts.reason)
                continue
            }
            let next: Int64?
            do throws(ScheduleRule.Refusal) {
                next = try ScheduleRule(schedule.form).next(after: now, madeAt: schedule.createdAt)
            } catch {
                // It was good when it was made: a time zone is gone since, or the rules have changed.
                try end(db, schedule, error: error.description)
                continue
            }
            let tick = Tick(schedule: schedule.id, dueAt: dueAt, job: Self.job(schedule, dueAt: dueAt))
            try db.execute(
                sql: "UPDATE schedule SET next_at = ?, last_at = ?, last_job = ?, error = NULL WHERE id = ?",
                arguments: [next, dueAt, tick.job.id, schedule.id])
            ticks.append(tick)
        }
        try outbox.append(db, jobs: ticks.map(\.job))
        return ticks
    }

    /// The key says which tick it is: should a store ever be looked at twice (a copy that was put back), the backbone still
    /// takes one job a tick.
    private static func job(_ schedule: Schedule, dueAt: Int64) -> NewJob {
        NewJob(
            queue: JobKind.workQueue, kind: schedule.kind, payload: schedule.payload, trace: .fresh(),
            owner: schedule.owner, idempotencyKey: "schedule/\(schedule.id)/\(dueAt)")
    }

    private func end(_ db: Database, _ schedule: Schedule, error: String) throws {
        try db.execute(
            sql: "UPDATE schedule SET next_at = NULL, error = ? WHERE id = ?",
            arguments: [error, schedule.id])
    }

    /// None of the account's is due any more. Returns how many were.
    func end(_ db: Database, owner: String, error: String) throws -> Int {
        try db.execute(
            sql: "UPDATE schedule SET next_at = NULL, error = ? WHERE owner = ? AND next_at NOT NULL",
            arguments: [error, owner])
        return db.changesCount
    }

    // MARK: - Editing

    enum Admission: Sendable {
        case added(Schedule)
        /// The owner has as many as one may have.
        case ownerFull
        /// There are as many as there may be.
        case full
    }

    func add(
        _ db: Database, owner: String, _ rule: ScheduleRule, kind: String, payload: JSONText, now: Int64
    ) throws -> Admission {
        let own = try Int.fetchOne(
            db, sql: "SELECT count(*) FROM schedule WHERE owner = ?", arguments: [owner])
        guard (own ?? 0) < limits.perOwner else { return .ownerFull }
        guard try count(db) < limits.inAll else { return .full }
        let (cron, zone, every): (String?, String?, Int64?) =
            switch rule.form {
            case .cron(let text, let zone): (text, zone, nil)
            case .every(let seconds): (nil, nil, seconds)
            }
        let row = try Row.fetchOne(
            db,
            sql: """
                INSERT INTO schedule (id, owner, cron, zone, every, kind, payload, next_at, created_at)
                VALUES (:id, :owner, :cron, :zone, :every, :kind, :payload, :next, :now) RETURNING *
                """,
            arguments: [
                "id": Identifier.make(at: now), "owner": owner, "cron": cron, "zone": zone, "every": every,
                "kind": kind, "payload": payload.text, "next": rule.next(after: now, madeAt: now), "now": now,
            ])
        return row.map { .added(Self.schedule($0)) } ?? .full
    }

    func schedule(_ db: Database, id: String) throws -> Schedule? {
        try Row.fetchOne(db, sql: "SELECT * FROM schedule WHERE id = ?", arguments: [id]).map(Self.schedule)
    }

    /// The newest first.
    /// `owner`: `nil` lists everybody's.
    /// `before`: Only those made before the one with this id.
    func list(_ db: Database, owner: String?, before: String?, limit: Int) throws -> [Schedule] {
        try RowFilter.newest(db, of: "schedule", owner: owner, before: before, limit: limit).map(
            Self.schedule)
    }

    func remove(_ db: Database, id: String) throws {
        try db.execute(sql: "DELETE FROM schedule WHERE id = ?", arguments: [id])
    }

    func count(_ db: Database) throws -> Int {
        try Int.fetchOne(db.cachedStatement(sql: "SELECT schedules FROM schedule_count")) ?? 0
    }

    private static func schedule(_ row: Row) -> Schedule {
        let cron: String? = row["cron"]
        return Schedule(
            id: row["id"], owner: row["owner"],
            form: cron.map { .cron($0, zone: row["zone"]) } ?? .every(seconds: row["every"]),
            kind: row["kind"], payload: JSONText(checked: row["payload"]), nextAt: row["next_at"],
            lastAt: row["last_at"],
            lastJob: row["last_job"], error: row["error"], createdAt: row["created_at"])
    }
}
