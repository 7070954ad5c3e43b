public import Backbone
internal import Foundation
internal import GRDB
internal import ServiceKit
internal import Synchronization

extension BusStore {
    /// Offsets that one read looks at, however few of them are of the types asked for.
    static let scanLimit: Int64 = 50_000
    /// Memory taken for a page before it is read.
    private static let usualPageBytes = 512 << 10
    /// Events that one transaction of the retention removes.
    private static let retentionBatch = 2_000

    public func publish(_ events: [Event]) async throws -> [PublishOutcome] {
        try Self.require(
            events.count <= EventLimits.batch, "too_many", "At most \(EventLimits.batch) at once.")
        let refusals = events.map(refusal)
        guard refusals.contains(where: { $0 == nil }) else {
            return refusals.map { .refused($0 ?? Refusal("invalid_event", "")) }
        }
        let now = clock()
        let compacted = limits.compactedTopics
        let outcomes = try await commits.write { db in
            try zip(events, refusals).map { event, refusal -> PublishOutcome in
                if let refusal { return .refused(refusal) }
                return try Self.append(db, event, compacted: compacted, now: now)
            }
        }
        eventChanges.advance()
        return outcomes
    }

    private static func append(
        _ db: Database, _ event: Event, compacted: Set<String>, now: Int64
    ) throws -> PublishOutcome {
        let topic = String(event.type.prefix { $0 != "." })
        let insertion = try db.cachedStatement(
            sql: """
                INSERT INTO event (id, type, version, subject, time, producer, correlation, traceparent, data,
                    compaction_key, appended_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
                ON CONFLICT (id) DO NOTHING
                """)
        try insertion.execute(arguments: [
            event.id, event.type, event.schemaVersion, event.subject, event.time, event.producer,
            event.trace.requestID, event.trace.traceparent, event.data.text,
            compacted.contains(topic) ? "\(topic)/\(event.subject)" : nil, now,
        ])
        if db.changesCount == 1 { return .appended(offset: db.lastInsertedRowID) }
        let offset = try Int64.fetchOne(
            db.cachedStatement(sql: "SELECT event_offset FROM event WHERE id = ?"), arguments: [event.id])
        return .duplicate(offset: offset ?? 0)
    }

    /// Why an event is not taken, whatever else is in the log.
    private func refusal(_ event: Event) -> Refusal? {
        guard Identifier.isValid(event.id) else { return Refusal("invalid_event", "id must be a UUID.") }
        guard Self.isName(event.type), (1...256).contains(event.subject.utf8.count),
            event.producer.utf8.count <= 128, event.trace.requestID.utf8.count <= 128
        else { return Refusal("invalid_event", "type, subject, producer or correlationId has a wrong form.") }
        guard event.data.text.utf8.count <= EventLimits.dataBytes else {
            return Refusal("event_too_large", "data may have at most \(EventLimits.dataBytes) bytes.")
        }
        let key = Shelf.key(event.type, event.schemaVersion)
        guard let validator = shelf.held.withLock({ $0.validators[key] }) else {
            return Refusal(
                "unknown_type", "There is no schema of \(event.type) version \(event.schemaVersion).")
        }
        guard let data = try? event.data.value() else { return Refusal("invalid_event", "data is no JSON.") }
        return validator.fault(data).map { Refusal("schema_violation", $0) }
    }

    public func events(
        after offset: Int64, limit: Int, types: [String]?, waitSeconds: Int
    ) async throws -> EventPage {
        let read = try await read(
            after: offset, limit: limit, types: types, waitSeconds: waitSeconds, into: { [LoggedEvent]() }
        ) { events, row, _ in
            events.append(Self.event(row))
            return events[events.count - 1].event.data.text.utf8.count
        }
        return EventPage(
            events: read.kept, next: read.stretch.next, last: read.stretch.last,
            horizon: read.stretch.horizon)
    }

    /// The same page as its JSON text. What lies in the store is copied into it, and no event is made of it on the way: that
    /// was most of what a page took.
    func eventPageText(
        after offset: Int64, limit: Int, types: [String]?, waitSeconds: Int
    ) async throws -> [UInt8] {
        let read = try await read(
            after: offset, limit: limit, types: types, waitSeconds: waitSeconds,
            into: {
                // A wait with nothing to tell needs no room.
                var writer = JSONWriter(capacityBytes: waitSeconds > 0 ? 0 : Self.usualPageBytes)
                Wire.beginEventPage(&writer)
                return writer
            }
        ) { writer, _, statement in
            Self.write(StoredColumns(statement), to: &writer)
        }
        var writer = read.kept
        let stretch = read.stretch
        Wire.endEventPage(&writer, next: stretch.next, last: stretch.last, horizon: stretch.horizon)
        return writer.bytes
    }

    /// What a read has seen of the log, beside the events.
    private struct Stretch: Sendable {
        var count = 0
        let next: Int64
        let last: Int64
        let horizon: Int64
    }

    /// Keeps one row; the number of bytes of its data.
    private typealias Keep<Kept> = @Sendable (inout Kept, Row, Statement) throws -> Int

    private func read<Kept: Sendable>(
        after offset: Int64, limit: Int, types: [String]?, waitSeconds: Int,
        into empty: @escaping @Sendable () -> Kept,
        _ keep: @escaping Keep<Kept>
    ) async throws -> (kept: Kept, stretch: Stretch) {
        try Self.require(offset >= 0, "invalid_offset", "The offset must not be negative.")
        try Self.require(types?.count ?? 0 <= 64, "too_many", "At most 64 types.")
        let deadline = ContinuousClock.now + .seconds(max(0, min(waitSeconds, EventLimits.waitSeconds)))
        var start = offset
        while true {
            let generation = eventChanges.generation
            let read = try await read(after: start, limit: limit, types: types, into: empty, keep)
            let left = ContinuousClock.now.duration(to: deadline)
            guard read.stretch.count == 0, read.stretch.next >= read.stretch.last, left > .zero else {
                return read
            }
            start = max(start, read.stretch.next)
            try await eventChanges.wait(after: generation, upTo: left)
            try Task.checkCancellation()
        }
    }

    private func read<Kept: Sendable>(
        after start: Int64, limit: Int, types: [String]?, into empty: @escaping @Sendable () -> Kept,
        _ keep: @escaping Keep<Kept>
    ) async throws -> (kept: Kept, stretch: Stretch) {
        let limit = max(1, min(limit, EventLimits.page))
        let filter = types.map { types in
            types.isEmpty
                ? "AND 0" : "AND (" + types.map { _ in "type GLOB ?" }.joined(separator: " OR ") + ")"
        }
        // What has a meaning in GLOB is put in brackets; only our own `.*` at the end is a pattern.
        let patterns = (types ?? []).map { type in
            type.hasSuffix(".*") ? Self.quoted(String(type.dropLast())) + "*" : Self.quoted(type)
        }
        return try await pool.read { db in
            let last = try Self.lastOffset(db)
            let end = min(last, start.addingReportingOverflow(Self.scanLimit).partialValue)
            var arguments: [any DatabaseValueConvertible] = [start, end]
            arguments += patterns
            arguments.append(limit)
            let statement = try db.cachedStatement(
                sql: """
                    SELECT event_offset, id, type, version, subject, time, producer, correlation, traceparent, data
                    FROM event WHERE event_offset > ? AND event_offset <= ? \(filter ?? "")
                    ORDER BY event_offset LIMIT ?
                    """)
            let events = try Row.fetchCursor(statement, arguments: StatementArguments(arguments))
            var kept = empty()
            var count = 0
            var bytes = 0
            var lastKept = start
            while bytes < EventLimits.pageBytes, let row = try events.next() {
                bytes += try keep(&kept, row, statement)
                lastKept = row[0]
                count += 1
            }
            let isCut = count == limit || bytes >= EventLimits.pageBytes
            let stretch = Stretch(
                count: count, next: isCut ? lastKept : max(start, end), last: last,
                horizon: try Self.horizon(db))
            return (kept, stretch)
        }
    }

    private static func quoted(_ text: String) -> String {
        text.map { "*?[".contains($0) ? "[\($0)]" : String($0) }.joined()
    }

    private static func event(_ row: Row) -> LoggedEvent {
        LoggedEvent(
            offset: row[0],
            event: Event(
                row[2], schemaVersion: row[3], subject: row[4], data: JSONText(checked: row[9]),
                producer: row[6], trace: Trace(requestID: row[7], traceparent: row[8]), id: row[1],
                time: row[5]))
    }

    /// One row of the page as `Wire` writes an event; the number of bytes of its data.
    private static func write(_ row: StoredColumns, to writer: inout JSONWriter) -> Int {
        writer.beginObject()
        writer.member("offset", row.integer(0))
        writer.member("id", utf8: row.text(1))
        writer.member("type", utf8: row.text(2))
        writer.member("schemaVersion", row.integer(3))
        writer.member("subject", utf8: row.text(4))
        writer.member("time", row.integer(5))
        writer.member("producer", utf8: row.text(6))
        writer.member("correlationId", utf8: row.text(7))
        if !row.isNull(8) { writer.member("traceparent", utf8: row.text(8)) }
        let data = row.text(9)
        writer.member("data", rawUTF8: data)
        writer.endObject()
        return data.count
    }

    static func lastOffset(_ db: Database) throws -> Int64 {
        try Int64.fetchOne(db.cachedStatement(sql: "SELECT seq FROM sqlite_sequence WHERE name = 'event'"))
            ?? 0
    }

    static func horizon(_ db: Database) throws -> Int64 {
        try Int64.fetchOne(db.cachedStatement(sql: "SELECT event_offset FROM horizon")) ?? 0
    }

    static func group(_ row: Row) -> ConsumerGroup {
        ConsumerGroup(name: row["name"], offset: row["event_offset"], updatedAt: row["updated_at"])
    }

    public func putGroup(_ name: String, offset: Int64) async throws {
        try Self.require(
            Self.isName(name), "invalid_name", "A group's name is 1 to 128 letters, digits and -_.")
        try Self.require(offset >= 0, "invalid_offset", "The offset must not be negative.")
        let now = clock()
        let limit = limits.groups
        try await commits.write { db in
            try db.execute(
                sql: """
                    INSERT INTO consumer_group (name, event_offset, updated_at) VALUES (?, ?, ?)
                    ON CONFLICT (name) DO UPDATE SET event_offset = excluded.event_offset,
                        updated_at = excluded.updated_at
                    """, arguments: [name, offset, now])
            let count = try Int.fetchOne(db, sql: "SELECT count(*) FROM consumer_group") ?? 0
            try Self.require(count <= limit, "too_many", "There may be \(limit) groups.")
        }
    }

    public func group(_ name: String) async throws -> ConsumerGroup? {
        try await pool.read { db in
            try Row.fetchOne(db, sql: "SELECT * FROM consumer_group WHERE name = ?", arguments: [name])
                .map(Self.group)
        }
    }

    public func removeGroup(_ name: String) async throws {
        try await commits.write { db in
            try db.execute(sql: "DELETE FROM consumer_group WHERE name = ?", arguments: [name])
        }
    }

    public func register(_ schema: EventSchema) async throws {
        try Self.require(
            Self.isName(schema.type), "invalid_name", "A type is 1 to 128 letters, digits and -_.")
        try Self.require(
            (1...1_000).contains(schema.version), "invalid_version", "A version is from 1 to 1000.")
        let validator: SchemaValidator
        do {
            validator = try SchemaValidator(schema.schema)
        } catch let fault as SchemaValidator.Fault {
            throw BackboneError.refused(Refusal("invalid_schema", fault.description))
        }
        let limit = limits.schemas
        try await commits.write { db in
            let known = try String.fetchOne(
                db, sql: "SELECT schema FROM event_schema WHERE type = ? AND version = ?",
                arguments: [schema.type, schema.version])
            if let known {
                try Self.require(
                    known == schema.schema.json, "schema_exists", "That version is another schema already.")
                return
            }
            if schema.version > 1 {
                let before = try String.fetchOne(
                    db, sql: "SELECT schema FROM event_schema WHERE type = ? AND version = ?",
                    arguments: [schema.type, schema.version - 1])
                guard let before else {
                    throw BackboneError.refused(Refusal("version_gap", "The version before is not known."))
                }
                let older = try SchemaValidator(JSONValue(parsing: before.utf8))
                if let fault = validator.incompatibility(with: older) {
                    throw BackboneError.refused(Refusal("incompatible", fault))
                }
            }
            try db.execute(
                sql: "INSERT INTO event_schema (type, version, schema) VALUES (?, ?, ?)",
                arguments: [schema.type, schema.version, schema.schema.json])
            let count = try Int.fetchOne(db, sql: "SELECT count(*) FROM event_schema") ?? 0
            try Self.require(count <= limit, "too_many", "There may be \(limit) schemas.")
        }
        shelf.held.withLock { $0.validators[Shelf.key(schema.type, schema.version)] = validator }
    }

    public func schemas() async throws -> [EventSchema] {
        try await pool.read { db in
            try Row.fetchAll(db, sql: "SELECT * FROM event_schema ORDER BY type, version").map { row in
                let text: String = row["schema"]
                return EventSchema(
                    type: row["type"], version: row["version"], schema: try JSONValue(parsing: text.utf8))
            }
        }
    }

    /// Removes events that are old and that every group has read, but for the latest of each subject of a compacted topic.
    /// `ignoringGroups`: An explicit word of people: groups that are behind lose what they have not read.
    /// Returns how many went.
    @discardableResult
    public func retain(ignoringGroups: Bool = false) async throws -> Int {
        let before = clock() - limits.keptEventMilliseconds
        var removed = 0
        while true {
            let step = try await commits.write { db -> (removed: Int, isDone: Bool) in
                let start = try Self.horizon(db)
                // Offsets grow with the time of appending, so the first that is young ends the old ones.
                let old = try Row.fetchAll(
                    db,
                    sql: """
                        SELECT event_offset, appended_at FROM event WHERE event_offset > ?
                        ORDER BY event_offset LIMIT ?
                        """, arguments: [start, Self.retentionBatch]
                ).prefix { ($0["appended_at"] as Int64) < before }
                var cut = old.last.map { $0["event_offset"] as Int64 } ?? start
                if !ignoringGroups,
                    let slowest = try Int64.fetchOne(db, sql: "SELECT min(event_offset) FROM consumer_group")
                {
                    cut = min(cut, slowest)
                }
                guard cut > start else { return (0, true) }
                try db.execute(
                    sql: """
                        DELETE FROM event WHERE event_offset > ? AND event_offset <= ?
                            AND compaction_key IS NULL
                        """, arguments: [start, cut])
                var count = db.changesCount
                // A kept one goes when a later one of its subject takes its place, also from behind the horizon.
                try db.execute(
                    sql: """
                        DELETE FROM event WHERE event_offset IN (
                            SELECT older.event_offset FROM event AS later JOIN event AS older
                                ON older.compaction_key = later.compaction_key
                                AND older.event_offset < later.event_offset AND older.event_offset <= :cut
                            WHERE later.event_offset > :start AND later.event_offset <= :cut)
                        """, arguments: ["start": start, "cut": cut])
                count += db.changesCount
                try db.execute(sql: "UPDATE horizon SET event_offset = ?", arguments: [cut])
                return (count, false)
            }
            removed += step.removed
            if step.isDone { return removed }
        }
    }
}
