internal import GRDB
internal import Logging
internal import ServiceKit

/// Parked events that people have put back, for when what was wrong with them or with their effect is mended.
extension EventConsumer {
    private struct Returned: Sendable {
        let offset: Int64
        let event: String
    }

    private enum Retaken: Sendable {
        case taken(LoggedEvent)
        /// Reset meanwhile, or another process of the service was quicker.
        case gone
        case parked(error: String)
    }

    /// Has the effect of each, once. One whose effect fails again is parked as before. The position stays where it is: others
    /// have gone by long ago.
    func takeReturned() async throws {
        while let returned = try await store.read({ db in try Self.returned(db, group: group) }) {
            switch try await store.write({ db in try retake(db, returned) }) {
            case .taken(let event): log.info("parked event taken", metadata: metadata(event))
            case .gone: break
            case .parked(let error):
                log.error(
                    "event parked again",
                    metadata: [
                        "group": .string(group), "offset": .stringConvertible(returned.offset),
                        "error": .string(error),
                    ])
            }
        }
    }

    private static func returned(_ db: Database, group: String) throws -> Returned? {
        let statement = try db.cachedStatement(
            sql: """
                SELECT event_offset, event FROM consumer_parked WHERE group_name = ? AND is_due = 1
                ORDER BY event_offset LIMIT 1
                """)
        return try Row.fetchOne(statement, arguments: [group]).map { Returned(offset: $0[0], event: $0[1]) }
    }

    private func retake(_ db: Database, _ returned: Returned) throws -> Retaken {
        try db.execute(
            sql:
                "UPDATE consumer_parked SET is_due = 0 WHERE group_name = ? AND event_offset = ? AND is_due = 1",
            arguments: [group, returned.offset])
        guard db.changesCount == 1 else { return .gone }
        var event: LoggedEvent?
        var failure: (any Error)?
        try db.inSavepoint {
            do {
                let logged = LoggedEvent(offset: returned.offset, event: try Wire.event(returned.event))
                try effect(db, logged)
                event = logged
                return .commit
            } catch {
                failure = error
                return .rollback
            }
        }
        if let failure, Self.isOfStore(failure) { throw failure }
        guard let event else {
            let told = String(failure.map(String.init(describing:))?.prefix(500) ?? "")
            try db.execute(
                sql: "UPDATE consumer_parked SET error = ? WHERE group_name = ? AND event_offset = ?",
                arguments: [told, group, returned.offset])
            return .parked(error: told)
        }
        try db.execute(
            sql: "DELETE FROM consumer_parked WHERE group_name = ? AND event_offset = ?",
            arguments: [group, returned.offset])
        return .taken(event)
    }
}
