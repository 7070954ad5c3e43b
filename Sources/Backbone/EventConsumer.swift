internal import Foundation
public import GRDB
internal import HTTPTypes
public import Logging
internal import ServiceKit
public import ServiceLifecycle

/// Reads the log for one group, and has the effect of each event in the consumer's own store, once: the position is
/// stored in the transaction of the effect.
public struct EventConsumer: Service {
    /// Bounds of a consumer.
    public struct Limits: Sendable {
        /// Events of one page and one transaction.
        public var page: Int
        /// How often the effect of one event may fail before it is parked.
        public var attempts: Int
        public var waitSeconds: Int
        /// Before an event whose effect failed is tried again; doubles each time.
        public var firstPause: Duration
        /// Bytes kept of events whose effect failed; the oldest go first.
        public var parkedBytes: Int

        public init(
            page: Int = 200, attempts: Int = 5, waitSeconds: Int = 20,
            firstPause: Duration = .milliseconds(200), parkedBytes: Int = EventConsumer.parkedLimitBytes
        ) {
            self.page = page
            self.attempts = attempts
            self.waitSeconds = waitSeconds
            self.firstPause = firstPause
            self.parkedBytes = parkedBytes
        }
    }

    /// What an event does to the store, within the transaction that moves the position on. It may ask the store only; what
    /// goes elsewhere goes through an outbox. When it throws, all that it did is undone.
    public typealias Effect = @Sendable (Database, LoggedEvent) throws -> Void

    /// What is done when the end of the log was reached, within the transaction that moves the position there. Called each time,
    /// so that it must be quick where it has nothing to do.
    public typealias CaughtUp = @Sendable (Database) throws -> Void

    /// What is done when the log is another one than the group has read, or an older state of it that was put back. It is known by
    /// the last event that was had: it must be in its place, or may have gone by age.
    public enum OtherLog: Sendable {
        /// It is read from its beginning: for effects that may be had twice.
        case readWhole
        /// The same, but what is older than the last event that was had, less so many milliseconds, is passed over: for effects that
        /// others know by a key for at least so long, such as mails.
        case readRecent(marginMilliseconds: Int64)
    }

    /// Rows kept of events whose effect failed; the oldest go first.
    public static let parkedLimit = 10_000
    /// Bytes of them: one may hold a document of a megabyte.
    public static let parkedLimitBytes = 64 << 20

    /// In a stream without end the backbone is told the position so often.
    private static let tellingPause: Duration = .seconds(2)
    /// An event that is older has been logged when it came by first: a log that is read anew must not fill this one.
    private static let loggedMilliseconds: Int64 = 3_600_000

    /// How far it is, for gauges.
    public let progress: ConsumerProgress

    let group: String
    private let types: [String]?
    let backbone: any Backbone
    let store: any DatabaseWriter
    private let limits: Limits
    let log: Logger
    private let endsWhenCaughtUp: Bool
    let otherLog: OtherLog
    private let startsWhereGroupStood: Bool
    private let caughtUp: CaughtUp
    let effect: Effect

    /// `types`: as in `Backbone.events`.
    /// `endsWhenCaughtUp`: `run` returns after `caughtUp` has been committed once.
    /// `startsWhereGroupStood`: A store that is new begins where the log says that the group was, if it knows it: that store was
    /// lost, and its effects must not be had again. Otherwise it begins with the first event.
    /// `progress`: One that outlives this consumer, where several follow each other.
    public init(
        group: String, types: [String]?, backbone: any Backbone, store: any DatabaseWriter, log: Logger,
        limits: Limits = Limits(), progress: ConsumerProgress = ConsumerProgress(),
        endsWhenCaughtUp: Bool = false, otherLog: OtherLog = .readWhole, startsWhereGroupStood: Bool = false,
        caughtUp: @escaping CaughtUp = { _ in }, effect: @escaping Effect
    ) {
        self.group = group
        self.types = types
        self.backbone = backbone
        self.store = store
        self.limits = limits
        self.log = log
        self.progress = progress
        self.endsWhenCaughtUp = endsWhenCaughtUp
        self.otherLog = otherLog
        self.startsWhereGroupStood = startsWhereGroupStood
        self.caughtUp = caughtUp
        self.effect = effect
    }

    /// Adds the tables to a service's migrations.
    public static func register(in migrator: inout DatabaseMigrator) {
        migrator.registerMigration("backbone.consumer.1") { db in
            try db.execute(
                sql: """
                    CREATE TABLE consumer_position (
                        group_name TEXT PRIMARY KEY, event_offset INTEGER NOT NULL,
                        attempts INTEGER NOT NULL DEFAULT 0
                    ) STRICT;
                    CREATE TABLE consumer_parked (
                        group_name TEXT NOT NULL, event_offset INTEGER NOT NULL, event TEXT NOT NULL,
                        error TEXT NOT NULL, parked_at INTEGER NOT NULL,
                        PRIMARY KEY (group_name, event_offset)
                    ) STRICT;
                    """)
        }
        // The last event that was had, and the time before which none is had any more.
        migrator.registerMigration("backbone.consumer.2") { db in
            try db.execute(
                sql: """
                    ALTER TABLE consumer_position ADD COLUMN witness_offset INTEGER;
                    ALTER TABLE consumer_position ADD COLUMN witness_id TEXT;
                    ALTER TABLE consumer_position ADD COLUMN witness_time INTEGER;
                    ALTER TABLE consumer_position ADD COLUMN pass_before INTEGER;
                    """)
        }
        // What people have put back, to be tried once more.
        migrator.registerMigration("backbone.consumer.3") { db in
            try db.execute(
                sql: """
                    ALTER TABLE consumer_parked ADD COLUMN is_due INTEGER NOT NULL DEFAULT 0;
                    CREATE INDEX consumer_parked_due ON consumer_parked (group_name, event_offset) WHERE is_due = 1;
                    """)
        }
    }

    /// The last offset whose effect is stored; 0 before the first.
    public static func position(_ db: Database, group: String) throws -> Int64 {
        try Int64.fetchOne(
            db, sql: "SELECT event_offset FROM consumer_position WHERE group_name = ?", arguments: [group])
            ?? 0
    }

    /// Reads the log anew from its beginning, once the transaction is committed. For who throws away what it had made of it.
    /// What was parked comes by again, and is no longer.
    public static func reset(_ db: Database, group: String) throws {
        for table in ["consumer_position", "consumer_parked"] {
            try db.execute(sql: "DELETE FROM \(table) WHERE group_name = ?", arguments: [group])
        }
        try move(db, group: group, to: 0, attempts: 0)
    }

    /// The group goes on where the other stands, which is no more: what that one has made takes the place of what this one had.
    public static func replace(_ db: Database, group: String, by other: String) throws {
        for table in ["consumer_position", "consumer_parked"] {
            try db.execute(sql: "DELETE FROM \(table) WHERE group_name = ?", arguments: [group])
            try db.execute(
                sql: "UPDATE \(table) SET group_name = ? WHERE group_name = ?", arguments: [group, other])
        }
    }

    /// How many events the group has parked.
    public static func parkedCount(_ db: Database, group: String) throws -> Int {
        try Int.fetchOne(
            db, sql: "SELECT count(*) FROM consumer_parked WHERE group_name = ?", arguments: [group]) ?? 0
    }

    public func run() async throws {
        // An effect is a transaction: it is had whole or not at all, wherever the stop comes.
        await cancelWhenGracefulShutdown { await consume() }
    }

    private func consume() async {
        var failures = 0
        /// The position that the backbone was told last; `nil` makes the group known before anything is read.
        var told: Int64?
        var toldAt = ContinuousClock.now
        /// Where the end of the log was, when it was reached last: only there is it worth waiting for more.
        var end: Int64?
        /// Since the backbone was away last, the log was seen to be the one that was read.
        var isSameLog = false
        while !Task.isCancelled {
            do {
                if told == nil, startsWhereGroupStood { try await takeFormerPosition() }
                let place = try await store.read { db in try Self.place(db, group: group) }
                let position = place.position
                progress.isAt(position)
                try await takeReturned()
                if !isSameLog {
                    if let witness = place.witness, try await isMissing(witness) {
                        try await readAnew(place)
                        continue
                    }
                    isSameLog = true
                }
                if told == nil {
                    try await backbone.putGroup(group, offset: position)
                    told = position
                    toldAt = .now
                }
                let page = try await backbone.events(
                    after: position, limit: limits.page, types: types,
                    // What is read but not told is told before the wait, so that retention and people know it.
                    waitSeconds: told == position && end == position ? limits.waitSeconds : 0)
                if failures > 0 { log.info("the backbone is back", metadata: ["group": .string(group)]) }
                failures = 0
                progress.hasRead(toLast: page.last)
                if page.last < position {
                    try await readAnew(place)
                    continue
                }
                if page.next > position || page.next >= page.last {
                    let isWhole = try await apply(page, after: position)
                    if isWhole, page.next >= page.last {
                        end = page.next
                        if endsWhenCaughtUp { return }
                    }
                }
                if told != position, page.events.isEmpty || toldAt.duration(to: .now) > Self.tellingPause {
                    try await backbone.putGroup(group, offset: position)
                    told = position
                    toldAt = .now
                }
            } catch is CancellationError {
                return
            } catch {
                progress.cannotRead()
                isSameLog = false
                failures += 1
                if failures == 1 {
                    log.warning(
                        "events cannot be read",
                        metadata: ["group": .string(group), "error": .string(String(describing: error))])
                }
                try? await Task.sleep(for: OutboxRelay.pause(failures: failures))
            }
        }
    }

    /// One event whose effect failed, and how often it has by now.
    private struct Setback: Sendable {
        let event: LoggedEvent
        let attempts: Int
        let error: String
    }

    private enum Applied: Sendable {
        case whole
        /// Reset meanwhile: the page is of another reading.
        case outdated
        case partly(Setback)
    }

    /// Has the effects of a page, up to the first that fails. Returns whether all of them are had.
    private func apply(_ page: EventPage, after start: Int64) async throws -> Bool {
        let applied = try await store.write { db -> Applied in
            let place = try Self.place(db, group: group)
            guard place.position == start else { return .outdated }
            var position = start
            var last: LoggedEvent?
            for event in page.events where event.offset > position {
                guard event.event.time >= place.passBefore else {
                    position = event.offset
                    last = event
                    continue
                }
                var failure: (any Error)?
                try db.inSavepoint {
                    do {
                        try effect(db, event)
                        return .commit
                    } catch {
                        failure = error
                        return .rollback
                    }
                }
                if let failure {
                    // The store's own trouble is not the event's: nothing is counted, all is tried again.
                    if Self.isOfStore(failure) { throw failure }
                    let setback = try setBack(db, event, position: position, error: failure)
                    if let last { try remember(db, last) }
                    return .partly(setback)
                }
                position = event.offset
                last = event
            }
            if page.next > start { try Self.move(db, group: group, to: page.next, attempts: 0) }
            if let last { try remember(db, last) }
            if page.next >= page.last { try caughtUp(db) }
            return .whole
        }
        switch applied {
        case .outdated: return false
        case .whole:
            progress.isAt(page.next)
            tell(page.events)
            return true
        case .partly(let setback):
            tell(page.events.filter { $0.offset < setback.event.offset })
            try await tell(setback)
            return false
        }
    }

    /// One line an event, so that a request can be followed to here.
    private func tell(_ events: [LoggedEvent]) {
        let logged = Timestamp.now - Self.loggedMilliseconds
        for event in events {
            log.log(
                level: event.event.time > logged ? .info : .debug, "event taken", metadata: metadata(event))
        }
    }

    func metadata(_ event: LoggedEvent) -> Logger.Metadata {
        var metadata: Logger.Metadata = [
            "group": .string(group), "offset": .stringConvertible(event.offset),
            "type": .string(event.event.type), "event_id": .string(event.event.id),
            "request_id": .string(event.event.trace.requestID),
        ]
        if let trace = event.event.trace.traceID { metadata["trace_id"] = .string(trace) }
        return metadata
    }

    private func tell(_ setback: Setback) async throws {
        let isParked = setback.attempts >= limits.attempts
        log.error(
            isParked ? "event parked" : "event will be tried again",
            metadata: metadata(setback.event).merging(
                ["attempt": .stringConvertible(setback.attempts), "error": .string(setback.error)]
            ) { $1 })
        if !isParked { try await Task.sleep(for: limits.firstPause * (1 << min(setback.attempts - 1, 8))) }
    }

    /// Counts one more failure; at the limit the event is set aside, so that it never holds up the group.
    private func setBack(
        _ db: Database, _ event: LoggedEvent, position: Int64, error: any Error
    ) throws -> Setback {
        // Failures are counted for the event right after the position, so the position moves first.
        let before =
            try Int.fetchOne(
                db, sql: "SELECT attempts FROM consumer_position WHERE group_name = ? AND event_offset = ?",
                arguments: [group, position]) ?? 0
        let told = String(String(describing: error).prefix(500))
        let setback = Setback(event: event, attempts: before + 1, error: told)
        guard setback.attempts >= limits.attempts else {
            try Self.move(db, group: group, to: position, attempts: setback.attempts)
            return setback
        }
        try db.execute(
            sql: """
                INSERT OR REPLACE INTO consumer_parked (group_name, event_offset, event, error, parked_at)
                VALUES (?, ?, ?, ?, ?)
                """,
            arguments: [
                group, event.offset, Wire.text { Wire.write(event.event, to: &$0) }, told, Timestamp.now,
            ])
        try db.execute(
            sql: """
                DELETE FROM consumer_parked WHERE group_name = :group AND event_offset <=
                    (SELECT event_offset FROM consumer_parked WHERE group_name = :group
                     ORDER BY event_offset DESC LIMIT 1 OFFSET :limit)
                """, arguments: ["group": group, "limit": Self.parkedLimit])
        // Seldom enough that all of them may be measured.
        try db.execute(
            sql: """
                DELETE FROM consumer_parked WHERE group_name = :group AND event_offset IN (
                    SELECT event_offset FROM (
                        SELECT event_offset, sum(length(CAST(event AS BLOB))) OVER
                            (ORDER BY event_offset DESC) AS bytes
                        FROM consumer_parked WHERE group_name = :group)
                    WHERE bytes > :limit)
                """, arguments: ["group": group, "limit": limits.parkedBytes])
        try Self.move(db, group: group, to: event.offset, attempts: 0)
        return setback
    }

    static func isOfStore(_ error: any Error) -> Bool {
        // An outbox that is full: the event waits until it is not.
        if let problem = error as? Problem { return problem.status == .serviceUnavailable }
        guard let error = error as? DatabaseError else { return error is CancellationError }
        switch error.resultCode {
        case .SQLITE_FULL, .SQLITE_IOERR, .SQLITE_BUSY, .SQLITE_LOCKED, .SQLITE_READONLY, .SQLITE_CORRUPT,
            .SQLITE_NOMEM, .SQLITE_CANTOPEN, .SQLITE_INTERRUPT, .SQLITE_ABORT:
            return true
        default: return false
        }
    }

    static func move(_ db: Database, group: String, to offset: Int64, attempts: Int) throws {
        try db.execute(
            sql: """
                INSERT INTO consumer_position (group_name, event_offset, attempts) VALUES (?, ?, ?)
                ON CONFLICT (group_name) DO UPDATE SET event_offset = excluded.event_offset,
                    attempts = excluded.attempts
                """, arguments: [group, offset, attempts])
    }
}
