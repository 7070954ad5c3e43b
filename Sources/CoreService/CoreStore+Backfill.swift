internal import Backbone
internal import GRDB
internal import HTTPTypes
internal import Logging
internal import ServiceKit

extension CoreStore {
    /// Documents of one transaction.
    private static let backfillBatch = 20
    /// So much may wait in the outbox and more is still put in: the room is for those who write now.
    private static let backfillRoom = (rows: 1_000, bytes: 16 << 20)

    enum BackfillStep: Sendable {
        case told(Int)
        /// The backbone is away, or slower than this.
        case noRoom
        case nothingLeft
    }

    /// Whether documents are there that were stored before core published events.
    func hasUntold() throws -> Bool {
        try pool.read { db in try Bool.fetchOne(db, sql: "SELECT EXISTS (SELECT 1 FROM untold)") ?? false }
    }

    /// Puts some of them into the outbox as they are now.
    func tellUntold(log: Logger) async throws -> BackfillStep {
        try await pool.write { db -> BackfillStep in
            let held = try outbox.gauges(db)
            guard held["outbox_waiting", default: 0] < Self.backfillRoom.rows,
                held["outbox_waiting_bytes", default: 0] < Self.backfillRoom.bytes
            else { return .noRoom }
            let rows = try Row.fetchAll(
                db, sql: "SELECT * FROM untold ORDER BY document_id LIMIT \(Self.backfillBatch)")
            guard !rows.isEmpty else { return .nothingLeft }
            for row in rows {
                let id: String = row["document_id"]
                let requestID: String? = row["request_id"]
                try db.execute(sql: "DELETE FROM untold WHERE document_id = ?", arguments: [id])
                // Deleted since: that was told.
                guard let document = try Self.document(db, id: id) else { continue }
                let trace = requestID.map { Trace(requestID: $0, traceparent: nil).begun } ?? .fresh()
                do {
                    let event = try DocumentNews.event(
                        document.version == 1 ? .created : .updated, document,
                        ChangeOrigin(at: document.updatedAt, trace: trace))
                    try outbox.append(db, events: [event])
                } catch let problem as Problem where problem.status == .contentTooLarge {
                    // Taken when there was no such limit. It stays readable, and is told of when it is made shorter.
                    log.error(
                        "a document is too large to be told of",
                        metadata: ["document": .string(id), "reason": .string(problem.detail)])
                }
            }
            return .told(rows.count)
        }
    }
}
