internal import Backbone
internal import Foundation
internal import GRDB
internal import ServiceKit

/// The worker's own store, `worker.sqlite`: endpoints of webhooks, deliveries, schedules, licences, how far the log was
/// read, and what is still to be brought to the backbone. Several workers may have it open at once; several stores over one
/// backbone are not supported, since an endpoint is in one of them alone.
///
/// Each part registers its own tables here, and works on a `Database` that its caller's transaction is open on.
struct WorkerStore: Sendable {
    let pool: DatabasePool
    let outbox: Outbox
    /// Its own name, made with it: a webhook of an endpoint that is in another store is known by it.
    let id: String

    init(directory: URL, outbox: Outbox = Outbox()) throws {
        pool = try Store.open(directory: directory, name: "worker", migrations: Self.migrations(outbox))
        self.outbox = outbox
        id = try pool.read { db in try String.fetchOne(db, sql: "SELECT id FROM worker_store") ?? "" }
    }

    /// One transaction. It is not cut short when the task is cancelled: what happened outside is recorded, stop or not.
    func write<Value: Sendable>(_ body: @escaping @Sendable (Database) throws -> Value) async throws -> Value
    {
        try await Task { [pool] in try await pool.write(body) }.value
    }

    private static func registerIdentity(in migrator: inout DatabaseMigrator) {
        migrator.registerMigration("worker.store.1") { db in
            try db.execute(sql: "CREATE TABLE worker_store (id TEXT NOT NULL) STRICT")
            try db.execute(sql: "INSERT INTO worker_store VALUES (?)", arguments: [Identifier.make()])
        }
    }

    private static func migrations(_ outbox: Outbox) -> DatabaseMigrator {
        var migrator = DatabaseMigrator()
        FormerJobs.register(in: &migrator)
        Outbox.register(in: &migrator)
        EventConsumer.register(in: &migrator)
        FormerJobs.registerMove(in: &migrator, outbox)
        JobDeaths.register(in: &migrator)
        WebhookTables.register(in: &migrator)
        Licences.register(in: &migrator)
        ScheduleTables.register(in: &migrator)
        DisabledAccounts.register(in: &migrator)
        registerIdentity(in: &migrator)
        return migrator
    }
}
