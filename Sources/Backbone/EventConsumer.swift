internal import Foundation
public import GRDB
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

        public init(
            page: Int = 200, attempts: Int = 5, waitSeconds: Int = 20,
            firstPause: Duration = .milliseconds(200)
        ) {
            self.page = page
            self.attempts = attempts
            self.waitSeconds = waitSeconds
            self.firstPause = firstPause
        }
    }

    /// What an event does to the store, within the transaction that moves the position on. It may ask the store only; what
    /// goes elsewhere goes through an outbox. When it throws, all that it did is undone.
    public typealias Effect = @Sendable (Database, LoggedEvent) throws -> Void

    /// Rows kept of events whose effect failed; the oldest go first.
    public static let parkedLimit = 10_000

    /// In a stream without end the backbone is told the position so often.
    private static let tellingPause: Duration = .seconds(2)

    private let group: String
    private let types: [String]?
    private let backbone: any Backbone
    private let store: any DatabaseWriter
    private let limits: Limits
    private let log: Logger
    private let effect: Effect

    /// `types`: as in `Backbone.events`.
    public init(
        group: String, types: [String]?, backbone: any Backbone, store: any DatabaseWriter, log: Logger,
        limits: Limits = Limits(), effect: @escaping Effect
    ) {
        self.group = group
        self.types = types
        self.backbone = backbone
        self.store = store
        self.limits = limits
        self.log = log
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
    }

    /// The last offset whose effect is stored; 0 before the first.
    public static func position(_ db: Database, group: String) throws -> Int64 {
        try Int64.fetchOne(
            db, sql: "SELECT event_offset FROM consumer_position WHERE group_name = ?", arguments: [group])
            ?? 0
    }

    /// Reads the log anew from its beginning, once the transaction is committed. For who throws away what it had made of it.
    public static func reset(_ db: Database, group: String) throws {
        try move(db, group: group, to: 0, attempts: 0)
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
        while !Task.isCancelled {
            do {
                let position = try await store.read { db in try Self.position(db, group: group) }
                if told == nil {
                    try await backbone.putGroup(group, offset: position)
                    told = position
                    toldAt = .now
                }
                let page = try await backbone.events(
                    after: position, limit: limits.page, types: types,
                    // What is read but not told is told before the wait, so that retention and people know it.
                    waitSeconds: told == position ? limits.waitSeconds : 0)
                if failures > 0 { log.info("the backbone is back", metadata: ["group": .string(group)]) }
                failures = 0
                if page.next > position { try await apply(page, after: position) }
                if told != position, page.events.isEmpty || toldAt.duration(to: .now) > Self.tellingPause {
                    try await backbone.putGroup(group, offset: position)
                    told = position
                    toldAt = .now
                }
            } catch is CancellationError {
                return
            } catch {
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

    /// Has the effects of a page, up to the first that fails.
    private func apply(_ page: EventPage, after start: Int64) async throws {
        let setback = try await store.write { db -> Setback? in
            // Reset meanwhile: this page is of another reading.
            guard try Self.position(db, group: group) == start else { return nil }
            var position = start
            for event in page.events where event.offset > position {
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
                    return try setBack(db, event, position: position, error: failure)
                }
                position = event.offset
            }
            try Self.move(db, group: group, to: page.next, attempts: 0)
            return nil
        }
        guard let setback else { return }
        let isParked = setback.attempts >= limits.attempts
        log.error(
            isParked ? "event parked" : "event will be tried again",
            metadata: [
                "group": .string(group), "offset": .stringConvertible(setback.event.offset),
                "type": .string(setback.event.event.type), "event_id": .string(setback.event.event.id),
                "request_id": .string(setback.event.event.trace.requestID),
                "attempt": .stringConvertible(setback.attempts), "error": .string(setback.error),
            ])
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
            sql: "INSERT OR REPLACE INTO consumer_parked VALUES (?, ?, ?, ?, ?)",
            arguments: [
                group, event.offset, Wire.text { Wire.write(event.event, to: &$0) }, told, Timestamp.now,
            ])
        try db.execute(
            sql: """
                DELETE FROM consumer_parked WHERE group_name = :group AND event_offset <=
                    (SELECT event_offset FROM consumer_parked WHERE group_name = :group
                     ORDER BY event_offset DESC LIMIT 1 OFFSET :limit)
                """, arguments: ["group": group, "limit": Self.parkedLimit])
        try Self.move(db, group: group, to: event.offset, attempts: 0)
        return setback
    }

    private static func isOfStore(_ error: any Error) -> Bool {
        guard let error = error as? DatabaseError else { return error is CancellationError }
        switch error.resultCode {
        case .SQLITE_FULL, .SQLITE_IOERR, .SQLITE_BUSY, .SQLITE_LOCKED, .SQLITE_READONLY, .SQLITE_CORRUPT,
            .SQLITE_NOMEM, .SQLITE_CANTOPEN, .SQLITE_INTERRUPT, .SQLITE_ABORT:
            return true
        default: return false
        }
    }

    private static func move(_ db: Database, group: String, to offset: Int64, attempts: Int) throws {
        try db.execute(
            sql: """
                INSERT INTO consumer_position (group_name, event_offset, attempts) VALUES (?, ?, ?)
                ON CONFLICT (group_name) DO UPDATE SET event_offset = excluded.event_offset,
                    attempts = excluded.attempts
                """, arguments: [group, offset, attempts])
    }
}
