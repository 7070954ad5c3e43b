internal import Backbone
internal import GRDB
internal import ServiceKit

/// What a job of kind `licence` is to do: one licence for one payment.
struct LicenceOrder: Codable, Equatable, Sendable {
    static let kind = "licence"

    let payment: String
    let email: String
    let description: String

    func job(trace: Trace) throws -> NewJob {
        NewJob(
            queue: JobKind.workQueue, kind: Self.kind, payload: try JSONText(encoding: self), trace: trace,
            idempotencyKey: "licence/\(payment)")
    }
}

/// The licences that were given, in the worker's store.
enum Licences {
    static func register(in migrator: inout DatabaseMigrator) {
        migrator.registerMigration("worker.licences.1") { db in
            try db.execute(
                sql: """
                    CREATE TABLE licence (
                        payment TEXT PRIMARY KEY, id TEXT NOT NULL UNIQUE, email TEXT NOT NULL,
                        description TEXT NOT NULL, request_id TEXT NOT NULL, created_at INTEGER NOT NULL
                    ) STRICT;
                    """)
        }
    }

    /// Gives the licence for a payment. Returns its id, the same however often it is asked for.
    static func give(_ db: Database, _ order: LicenceOrder, requestID: String, now: Int64) throws -> String {
        try db.execute(
            sql: "INSERT INTO licence VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (payment) DO NOTHING",
            arguments: [
                order.payment, Identifier.make(at: now), order.email, order.description, requestID, now,
            ])
        guard
            let id = try String.fetchOne(
                db, sql: "SELECT id FROM licence WHERE payment = ?", arguments: [order.payment])
        else { throw DatabaseError(resultCode: .SQLITE_CORRUPT, message: "a licence vanished") }
        return id
    }
}

extension JobKind {
    /// `{"payment": ..., "email": ..., "description": ...}` to `{"licence": id}`.
    static func licence(_ store: WorkerStore) -> JobKind {
        JobKind(LicenceOrder.kind) { job in
            let order = try job.order(LicenceOrder.self)
            let id = try await store.write { db in
                try Licences.give(db, order, requestID: job.trace.requestID, now: Timestamp.now)
            }
            return JSONText(["licence": .text(id)])
        }
    }
}
