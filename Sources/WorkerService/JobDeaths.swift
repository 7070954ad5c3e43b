internal import Backbone
internal import GRDB
internal import Logging
internal import ServiceKit
internal import ServiceLifecycle

/// Tells of each job that died, by an event `job.dead`, and misses none.
///
/// A job dies by our last word on it, or by the last lease that runs out without one. Before either, its id is noted in our
/// store; a note goes only in the transaction of its event, or once the backbone says that the job lives or is done. Looking
/// through all dead jobs instead would cost more the more of them are kept, and they are not in the order of their deaths.
struct JobDeaths: Sendable {
    static let eventType = "job.dead"
    /// Notes that are asked about in one turn.
    private static let page = 100

    let store: WorkerStore
    let backbone: any Backbone

    static func register(in migrator: inout DatabaseMigrator) {
        migrator.registerMigration("worker.deaths.1") { db in
            try db.execute(
                sql: """
                    CREATE TABLE doubtful_job (
                        job TEXT PRIMARY KEY, asked_at INTEGER NOT NULL
                    ) STRICT;
                    CREATE INDEX doubtful_job_asked ON doubtful_job (asked_at);
                    """)
        }
    }

    static let schema = EventSchema(
        type: eventType,
        schema: [
            "type": "object", "required": ["queue", "kind", "error"],
            "properties": [
                "queue": ["type": "string"], "kind": ["type": "string"], "error": ["type": "string"],
            ],
        ])

    /// It may be dead soon.
    func note(_ job: Job) async throws {
        try await store.write { db in
            try db.execute(
                sql: "INSERT INTO doubtful_job VALUES (?, ?) ON CONFLICT DO NOTHING",
                arguments: [job.id, Timestamp.now])
        }
    }

    /// It is dead. Told once, whoever finds it out first.
    func tell(_ job: Job, error: String) async throws {
        try await store.write { db in
            guard try Self.forget(db, job.id) else { return }
            try store.outbox.append(
                db,
                events: [
                    Event(
                        Self.eventType, subject: job.id,
                        data: JSONText([
                            "queue": .text(job.queue), "kind": .text(job.kind), "error": .text(error),
                        ]), producer: "worker", trace: job.trace)
                ])
        }
    }

    /// Asks the backbone about those that are noted, the longest not asked about first. Returns how many were asked about.
    @discardableResult
    func look() async throws -> Int {
        let noted = try await store.pool.read { db in
            try String.fetchAll(
                db, sql: "SELECT job FROM doubtful_job ORDER BY asked_at LIMIT ?", arguments: [Self.page])
        }
        for id in noted {
            let job = try await backbone.job(id: id)
            switch job?.state {
            case .dead: if let job { try await tell(job, error: job.lastError ?? "") }
            case .done, nil: _ = try await store.write { db in try Self.forget(db, id) }
            case .ready, .leased:
                try await store.write { db in
                    try db.execute(
                        sql: "UPDATE doubtful_job SET asked_at = ? WHERE job = ?",
                        arguments: [Timestamp.now, id])
                }
            }
        }
        return noted.count
    }

    static func count(_ db: Database) throws -> Int {
        try Int.fetchOne(db, sql: "SELECT count(*) FROM doubtful_job") ?? 0
    }

    /// Whether it was noted.
    private static func forget(_ db: Database, _ id: String) throws -> Bool {
        try db.execute(sql: "DELETE FROM doubtful_job WHERE job = ?", arguments: [id])
        return db.changesCount == 1
    }
}

/// Finds those deaths that nobody was there to tell of.
struct DeathWatch: Service {
    let deaths: JobDeaths
    var pause: Duration = .seconds(10)
    let log: Logger

    func run() async throws {
        await cancelWhenGracefulShutdown {
            repeat {
                do {
                    try await deaths.look()
                } catch {
                    // The executors have said already that the backbone is away.
                    log.debug("deaths unknown", metadata: ["error": .string(String(describing: error))])
                }
            } while (try? await Task.sleep(for: pause)) != nil
        }
    }
}
