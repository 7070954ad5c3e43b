import Backbone
import BusService
import Foundation
import GRDB
import Logging
import ServiceKit
import Synchronization
import Testing

@Suite("A consumer at the end of the log") struct CatchingUpTests {
    private struct World: Sendable {
        let bus: BusStore
        /// Another log, in which nothing is yet.
        let otherBus: BusStore
        let store: DatabaseQueue
    }

    private static var log: Logger { ServiceLog.logger(service: "test", level: .critical) }

    private static let schema = EventSchema(type: "document.created", schema: ["type": "object"])

    private func withWorld(_ body: (World) async throws -> Void) async throws {
        let directories = (0..<2).map { _ in
            FileManager.default.temporaryDirectory.appending(path: "gatehouse-\(Identifier.make())")
        }
        defer { for directory in directories { try? FileManager.default.removeItem(at: directory) } }
        let store = try DatabaseQueue()
        var migrator = DatabaseMigrator()
        EventConsumer.register(in: &migrator)
        migrator.registerMigration("effects") { db in
            // `at_end`: the position at which the end was told, `NULL` for an event.
            try db.execute(sql: "CREATE TABLE effect (n INTEGER, group_name TEXT, at_end INTEGER)")
        }
        try migrator.migrate(store)
        let world = try World(
            bus: BusStore(directory: directories[0]), otherBus: BusStore(directory: directories[1]),
            store: store)
        for bus in [world.bus, world.otherBus] { try await bus.register(Self.schema) }
        try await body(world)
    }

    private func publish(
        _ bus: BusStore, _ numbers: ClosedRange<Int64>, at time: Int64 = Timestamp.now
    ) async throws {
        _ = try await bus.publish(
            numbers.map {
                Event(
                    "document.created", subject: "d", data: JSONText(["n": .integer($0)]), producer: "test",
                    trace: .fresh(), time: time)
            })
    }

    private func consumer(
        _ world: World, of bus: BusStore? = nil, group: String = "g", ends: Bool = true,
        otherLog: EventConsumer.OtherLog = .readWhole, isNewOfKnownGroup: Bool = false,
        parkedBytes: Int = EventConsumer.parkedLimitBytes
    ) -> EventConsumer {
        EventConsumer(
            group: group, types: ["document.*"], backbone: bus ?? world.bus, store: world.store,
            log: Self.log,
            limits: .init(page: 2, attempts: 1, waitSeconds: 20, parkedBytes: parkedBytes),
            endsWhenCaughtUp: ends,
            otherLog: otherLog, startsWhereGroupStood: isNewOfKnownGroup,
            caughtUp: { db in
                try db.execute(
                    sql: "INSERT INTO effect VALUES (NULL, ?, ?)",
                    arguments: [group, try EventConsumer.position(db, group: group)])
            }
        ) { db, logged in
            guard let number = try logged.event.data.value()["n"]?.asInteger, number < 100 else {
                throw CocoaError(.coderInvalidValue)
            }
            try db.execute(sql: "INSERT INTO effect VALUES (?, ?, NULL)", arguments: [number, group])
        }
    }

    /// What was had in order; the end of the log is told as `-position`.
    private static func effects(_ world: World, group: String = "g") async throws -> [Int64] {
        try await world.store.read { db in
            try Int64.fetchAll(
                db, sql: "SELECT coalesce(n, -at_end) FROM effect WHERE group_name = ? ORDER BY rowid",
                arguments: [group])
        }
    }

    @Test("The end is told in the transaction of the last effect, once all events before it have had theirs")
    func end() async throws {
        try await withWorld { world in
            try await publish(world.bus, 1...5)
            let consumer = consumer(world)
            try await consumer.run()
            #expect(try await Self.effects(world) == [1, 2, 3, 4, 5, -5])
            #expect(consumer.progress.behind == 0 && consumer.progress.isReachable)
        }
    }

    @Test("An empty log is at its end at once, and so is one that was read before") func nothingNew()
        async throws
    {
        try await withWorld { world in
            try await consumer(world).run()
            #expect(try await Self.effects(world) == [0])
            try await publish(world.bus, 1...1)
            try await consumer(world).run()
            try await consumer(world).run()
            #expect(try await Self.effects(world) == [0, 1, -1, -1])
        }
    }

    @Test("The end is not told before a failing event is parked") func poison() async throws {
        try await withWorld { world in
            try await publish(world.bus, 99...101)
            try await consumer(world).run()
            #expect(try await Self.effects(world) == [99, -3])
            let parked = try await world.store.read { db in try EventConsumer.parkedCount(db, group: "g") }
            #expect(parked == 2)
            try await world.store.write { db in try EventConsumer.reset(db, group: "g") }
            let left = try await world.store.read { db in try EventConsumer.parkedCount(db, group: "g") }
            #expect(left == 0)
        }
    }

    @Test("What is parked is bounded in bytes: the oldest goes first, and the last stays") func parkedBytes()
        async throws
    {
        try await withWorld { world in
            try await publish(world.bus, 101...106)
            try await consumer(world).run()
            func parked() async throws -> [Int64] {
                try await world.store.read { db in
                    try Int64.fetchAll(db, sql: "SELECT event_offset FROM consumer_parked ORDER BY 1")
                }
            }
            let one = try await world.store.read { db in
                try Int.fetchOne(db, sql: "SELECT length(event) FROM consumer_parked LIMIT 1")
            }
            #expect(try await parked() == [1, 2, 3, 4, 5, 6])
            try await publish(world.bus, 107...107)
            try await consumer(world, parkedBytes: 3 * (one ?? 0)).run()
            #expect(try await parked() == [5, 6, 7])
        }
    }

    @Test("A group takes another's place with its position and its parked events, and goes on from there")
    func replaced() async throws {
        try await withWorld { world in
            try await publish(world.bus, 1...2)
            try await consumer(world).run()
            try await publish(world.bus, 100...100)
            try await consumer(world, group: "h").run()
            try await world.store.write { db in try EventConsumer.replace(db, group: "g", by: "h") }
            let (position, other, parked) = try await world.store.read { db in
                (
                    try EventConsumer.position(db, group: "g"), try EventConsumer.position(db, group: "h"),
                    try EventConsumer.parkedCount(db, group: "g")
                )
            }
            #expect(position == 3 && other == 0 && parked == 1)
            try await publish(world.bus, 4...4)
            try await consumer(world).run()
            #expect(try await Self.effects(world) == [1, 2, -2, 4, -4])
        }
    }

    @Test("A log that ends before the position is another one, and is read anew") func shorter() async throws
    {
        try await withWorld { world in
            try await publish(world.bus, 1...3)
            try await consumer(world).run()
            try await publish(world.otherBus, 11...12)
            try await consumer(world, of: world.otherBus).run()
            #expect(try await Self.effects(world) == [1, 2, 3, -3, 11, 12, -2])
        }
    }

    @Test("A log that has grown past the position since is known by the event that is not in its place")
    func regrown() async throws {
        try await withWorld { world in
            try await publish(world.bus, 1...2)
            try await consumer(world).run()
            try await publish(world.otherBus, 11...15)
            for _ in 0..<2 { try await consumer(world, of: world.otherBus).run() }
            #expect(try await Self.effects(world) == [1, 2, -2, 11, 12, 13, 14, 15, -5, -5])
        }
    }

    @Test("A store from before there were witnesses goes on, and has one from its next event")
    func noWitness() async throws {
        try await withWorld { world in
            try await publish(world.bus, 1...2)
            try await consumer(world).run()
            try await world.store.write { db in
                try db.execute(sql: "UPDATE consumer_position SET witness_id = NULL, witness_offset = NULL")
            }
            try await publish(world.bus, 3...3)
            try await consumer(world).run()
            #expect(try await Self.effects(world) == [1, 2, -2, 3, -3])
            try await publish(world.otherBus, 11...15)
            try await consumer(world, of: world.otherBus).run()
            #expect(try await Self.effects(world).suffix(6) == [11, 12, 13, 14, 15, -5])
        }
    }

    @Test("An event that has gone by its age is no sign of another log") func retained() async throws {
        try await withWorld { world in
            let later = FileManager.default.temporaryDirectory.appending(
                path: "gatehouse-\(Identifier.make())")
            defer { try? FileManager.default.removeItem(at: later) }
            // A clock that is far ahead: all is old.
            let ahead = Mutex<Int64>(0)
            let bus = try BusStore(directory: later, limits: .init(compactedTopics: [])) {
                Timestamp.now + ahead.withLock { $0 }
            }
            try await bus.register(Self.schema)
            try await publish(bus, 1...3)
            try await consumer(world, of: bus).run()
            ahead.withLock { $0 = 40 * 86_400_000 }
            #expect(try await bus.retain(ignoringGroups: true) == 3)
            try await publish(bus, 4...4)
            try await consumer(world, of: bus).run()
            #expect(try await Self.effects(world) == [1, 2, 3, -3, 4, -4])
        }
    }

    @Test("Where effects must not be had again, what another log has of long ago is passed over")
    func recent() async throws {
        try await withWorld { world in
            let day: Int64 = 86_400_000
            let now = Timestamp.now
            try await publish(world.bus, 1...3, at: now)
            try await consumer(world).run()
            try await publish(world.otherBus, 11...12, at: now - 3 * day)
            try await publish(world.otherBus, 13...14, at: now - day / 2)
            let other = EventConsumer.OtherLog.readRecent(marginMilliseconds: day)
            try await consumer(world, of: world.otherBus, otherLog: other).run()
            #expect(try await Self.effects(world) == [1, 2, 3, -3, 13, 14, -4])
            // It stays so over a restart, and what is new has its effect.
            try await publish(world.otherBus, 15...15, at: now - 3 * day)
            try await publish(world.otherBus, 16...16, at: now)
            try await consumer(world, of: world.otherBus, otherLog: other).run()
            #expect(try await Self.effects(world) == [1, 2, 3, -3, 13, 14, -4, 16, -6])
        }
    }

    @Test("A new store of a known group goes on where the group stood, if it was asked for") func newStore()
        async throws
    {
        try await withWorld { world in
            try await consumer(world, isNewOfKnownGroup: true).run()
            try await publish(world.bus, 1...3)
            try await world.bus.putGroup("g", offset: 2)
            try await world.store.write { db in try db.execute(sql: "DELETE FROM consumer_position") }
            try await consumer(world, isNewOfKnownGroup: true).run()
            #expect(try await Self.effects(world) == [0, 3, -3])
            // Only while it is new: from then on its own word counts.
            try await world.bus.putGroup("g", offset: 0)
            try await publish(world.bus, 4...4)
            try await consumer(world, isNewOfKnownGroup: true).run()
            #expect(try await Self.effects(world) == [0, 3, -3, 4, -4])
            try await world.store.write { db in try db.execute(sql: "DELETE FROM consumer_position") }
            try await consumer(world).run()
            #expect(try await Self.effects(world).suffix(5) == [1, 2, 3, 4, -4])
        }
    }
}
