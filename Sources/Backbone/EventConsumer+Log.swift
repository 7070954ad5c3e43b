internal import GRDB
internal import Logging
internal import ServiceKit

/// Whether the log is still the one that was read: a backup may have been put back, and may have grown past the position since.
extension EventConsumer {
    /// An event that was had, by which the log is known again.
    struct Witness: Sendable {
        let offset: Int64
        let id: String
        /// Unix milliseconds.
        let time: Int64
    }

    /// How far the group is in its store.
    struct Place: Sendable {
        var position: Int64 = 0
        /// `nil` before the first event, and in a store from before there were witnesses.
        var witness: Witness?
        /// Unix milliseconds; what is older has no effect.
        var passBefore: Int64 = .min
    }

    static func place(_ db: Database, group: String) throws -> Place {
        let row = try Row.fetchOne(
            db.cachedStatement(sql: "SELECT * FROM consumer_position WHERE group_name = ?"),
            arguments: [group])
        guard let row else { return Place() }
        var place = Place(position: row["event_offset"])
        if let offset: Int64 = row["witness_offset"], let id: String = row["witness_id"],
            let time: Int64 = row["witness_time"]
        {
            place.witness = Witness(offset: offset, id: id, time: time)
        }
        if let time: Int64 = row["pass_before"] { place.passBefore = time }
        return place
    }

    /// The group has had that event. After its position was stored.
    func remember(_ db: Database, _ event: LoggedEvent) throws {
        try db.execute(
            sql: """
                UPDATE consumer_position SET witness_offset = ?, witness_id = ?, witness_time = ?
                WHERE group_name = ?
                """, arguments: [event.offset, event.event.id, event.event.time, group])
    }

    /// Whether another event is in the witness's place, or none although none has gone from there.
    func isMissing(_ witness: Witness) async throws -> Bool {
        let page = try await backbone.events(
            after: witness.offset - 1, limit: 1, types: nil, waitSeconds: 0)
        guard page.last >= witness.offset else { return true }
        if let event = page.events.first, event.offset == witness.offset {
            return event.event.id != witness.id
        }
        return page.horizon < witness.offset
    }

    /// The log is another one, or an older state of it.
    func readAnew(_ place: Place) async throws {
        var passBefore: Int64?
        if case .readRecent(let margin) = otherLog {
            passBefore = max(place.passBefore, (place.witness?.time ?? Timestamp.now) - margin)
        }
        log.error(
            "the log is another one, or an older state of it, and is read anew",
            metadata: [
                "group": .string(group), "position": .stringConvertible(place.position),
                "passed_over_before": .string(passBefore.map(Timestamp.text) ?? "nothing"),
            ])
        try await store.write { [passBefore] db in
            // Two workers over one store may both have seen it: what the first has begun is not begun again.
            guard try Self.place(db, group: group).position == place.position else { return }
            try Self.reset(db, group: group)
            try db.execute(
                sql: "UPDATE consumer_position SET pass_before = ? WHERE group_name = ?",
                arguments: [passBefore, group])
        }
    }

    /// Of a store that has no position: the one that the log knows of its group, if it does.
    func takeFormerPosition() async throws {
        guard try await store.read({ db in try !Self.hasPosition(db, group: group) }),
            let former = try await backbone.group(group), former.offset > 0
        else { return }
        let isTaken = try await store.write { db -> Bool in
            guard try !Self.hasPosition(db, group: group) else { return false }
            try Self.move(db, group: group, to: former.offset, attempts: 0)
            return true
        }
        guard isTaken else { return }
        log.error(
            "the store is new, and its group is not: it goes on where the group stood",
            metadata: ["group": .string(group), "position": .stringConvertible(former.offset)])
    }

    private static func hasPosition(_ db: Database, group: String) throws -> Bool {
        try Bool.fetchOne(
            db, sql: "SELECT EXISTS (SELECT 1 FROM consumer_position WHERE group_name = ?)",
            arguments: [group])
            ?? false
    }
}
