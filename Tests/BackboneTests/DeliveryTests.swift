import Foundation
import GRDB
import HTTPTypes
import Logging
import ServiceKit
import Synchronization
import Testing

@testable import Backbone
@testable import BusService

@Suite("Outbox and consumer, over a real bus") struct DeliveryTests {
    private struct World: Sendable {
        let bus: BusStore
        let store: DatabaseQueue
        let outbox: Outbox
    }

    private struct Undone: Error {}

    private static let schemas = [
        EventSchema(
            type: "document.created",
            schema: ["required": ["n"], "properties": ["n": ["type": "integer"]]])
    ]

    private static var log: Logger { ServiceLog.logger(service: "test", level: .critical) }

    private func withWorld(
        outboxLimit: Int = 100, limitBytes: Int = 1 << 20, _ body: (World) async throws -> Void
    ) async throws {
        let directory = FileManager.default.temporaryDirectory.appending(
            path: "gatehouse-\(Identifier.make())")
        defer { try? FileManager.default.removeItem(at: directory) }
        let store = try DatabaseQueue()
        var migrator = DatabaseMigrator()
        Outbox.register(in: &migrator)
        EventConsumer.register(in: &migrator)
        migrator.registerMigration("effects") { db in
            try db.execute(sql: "CREATE TABLE effect (n INTEGER)")
        }
        try migrator.migrate(store)
        try await body(
            World(
                bus: BusStore(directory: directory), store: store,
                outbox: Outbox(limit: outboxLimit, limitBytes: limitBytes)))
    }

    private static func event(_ number: JSONValue) -> Event {
        Event(
            "document.created", subject: "d", data: JSONText(["n": number]), producer: "test", trace: .fresh()
        )
    }

    /// Runs a loop until something is so.
    private func whileRunning(
        _ run: @escaping @Sendable () async throws -> Void, until isSo: () async throws -> Bool
    ) async throws {
        let loop = Task { try await run() }
        while try await !isSo() { await Task.yield() }
        loop.cancel()
        _ = await loop.result
    }

    private func relay(_ world: World) -> OutboxRelay {
        OutboxRelay(
            world.outbox, store: world.store, backbone: world.bus, schemas: Self.schemas, log: Self.log)
    }

    @Test("What was committed is brought to the bus in order, and what was undone is not") func relayed()
        async throws
    {
        try await withWorld { world in
            let job = NewJob(
                queue: "q", kind: "k", payload: JSONText(JSONValue.null), trace: .fresh(), priority: 3,
                idempotencyKey: "i")
            let events = [Self.event(1), Self.event(2), Self.event(3)]
            await #expect(throws: Undone.self) {
                try await world.store.write { db in
                    try world.outbox.append(db, events: [Self.event(9)])
                    throw Undone()
                }
            }
            try await world.store.write { db in
                try world.outbox.append(db, events: Array(events[..<2]), jobs: [job])
                try world.outbox.append(db, events: Array(events[2...]))
            }
            try await whileRunning({ try await relay(world).run() }) {
                try await world.store.read { db in try world.outbox.counts(db).waiting == 0 }
            }
            let page = try await world.bus.events(after: 0, limit: 10, types: nil, waitSeconds: 0)
            #expect(page.events.map(\.event) == events)
            let leased = try await world.bus.lease(queue: "q", limit: 10, seconds: 10, worker: "w")
            #expect(leased.map(\.job.id) == [job.id])
            #expect(leased.first?.job.trace == job.trace)
        }
    }

    @Test("A bus whose store was lost while the relay ran on is told the schemas anew, and nothing is parked")
    func schemasLost() async throws {
        try await withWorld { world in
            let publishing = Task { try await relay(world).run() }
            func put(_ number: Int64) async throws {
                try await world.store.write { db in
                    try world.outbox.append(db, events: [Self.event(.integer(number))])
                }
                while try await world.store.read({ db in try world.outbox.counts(db).waiting }) > 0 {
                    await Task.yield()
                }
            }
            try await put(1)
            // As in a new file under a process that was started anew.
            try await world.bus.commits.write { db in try db.execute(sql: "DELETE FROM event_schema") }
            world.bus.shelf.held.withLock { $0.validators = [:] }
            try await put(2)
            publishing.cancel()
            _ = await publishing.result
            let parked = try await world.store.read { db in try world.outbox.counts(db).parked }
            #expect(parked == 0)
            #expect(try await world.bus.stats().lastOffset == 2)
        }
    }

    @Test("What the bus refuses is parked with its error, the others flow, and it can be put back")
    func parked() async throws {
        try await withWorld { world in
            try await world.store.write { db in
                try world.outbox.append(db, events: [Self.event(1), Self.event("two"), Self.event(3)])
            }
            try await whileRunning({ try await relay(world).run() }) {
                try await world.store.read { db in try world.outbox.counts(db).waiting == 0 }
            }
            let page = try await world.bus.events(after: 0, limit: 10, types: nil, waitSeconds: 0)
            #expect(page.events.count == 2)
            let (counts, error) = try await world.store.read { db in
                (
                    try world.outbox.counts(db),
                    try String.fetchOne(db, sql: "SELECT error FROM outbox_parked")
                )
            }
            #expect(counts.parked == 1)
            #expect(error?.hasPrefix("schema_violation") == true)
            let back = try await world.store.write { db in try world.outbox.unpark(db) }
            #expect(back == 1)
            let waiting = try await world.store.read { db in try world.outbox.counts(db).waiting }
            #expect(waiting == 1)
        }
    }

    @Test("A full outbox refuses the writer with 503") func full() async throws {
        try await withWorld(outboxLimit: 2) { world in
            try await world.store.write { db in
                try world.outbox.append(db, events: [Self.event(1), Self.event(2)])
            }
            do {
                try await world.store.write { db in try world.outbox.append(db, events: [Self.event(3)]) }
                Issue.record("taken")
            } catch let problem as Problem {
                #expect(problem.reason == "outbox_full")
                #expect(problem.status.code == 503)
            }
        }
    }

    /// An event whose message has about so many bytes.
    private static func large(_ bytes: Int) -> Event {
        Event(
            "document.created", subject: "d",
            data: JSONText(["n": 1, "pad": .text(String(repeating: "\u{E9}", count: bytes / 2))]),
            producer: "test", trace: .fresh())
    }

    private static func gauges(_ world: World) async throws -> [String: Int] {
        try await world.store.read { db in try world.outbox.gauges(db) }
    }

    @Test("An outbox is full of bytes too, counted in UTF-8, and has room again when they are gone")
    func fullOfBytes() async throws {
        try await withWorld(limitBytes: 25_000) { world in
            func append(_ events: [Event]) async throws {
                try await world.store.write { db in try world.outbox.append(db, events: events) }
            }
            try await append([Self.large(10_000), Self.large(10_000)])
            #expect(try #require(await Self.gauges(world)["outbox_waiting_bytes"]) > 20_000)
            await #expect(throws: Problem.self) { try await append([Self.large(5_000)]) }
            #expect(try await Self.gauges(world)["outbox_waiting"] == 2)
            try await whileRunning({ try await relay(world).run() }) {
                try await Self.gauges(world)["outbox_waiting"] == 0
            }
            #expect(try await Self.gauges(world)["outbox_waiting_bytes"] == 0)
            try await append([Self.large(5_000)])
        }
    }

    @Test("A row that cannot be read is parked, and its neighbours flow") func unreadable() async throws {
        try await withWorld { world in
            try await world.store.write { db in
                try world.outbox.append(db, events: [Self.event(1)])
                try db.execute(
                    sql: "INSERT INTO outbox_message (is_job, message) VALUES (0, '{}'), (1, 'no JSON')")
                try world.outbox.append(db, events: [Self.event(2)])
            }
            try await whileRunning({ try await relay(world).run() }) {
                try await Self.gauges(world)["outbox_waiting"] == 0
            }
            let page = try await world.bus.events(after: 0, limit: 10, types: nil, waitSeconds: 0)
            #expect(page.events.count == 2)
            let gauges = try await Self.gauges(world)
            #expect(gauges["outbox_parked"] == 2)
            #expect(gauges["outbox_parked_bytes"] == 9)
        }
    }

    @Test("An outbox of before bytes were counted counts them when it is opened") func upgraded() throws {
        let store = try DatabaseQueue()
        var migrator = DatabaseMigrator()
        Outbox.register(in: &migrator)
        try migrator.migrate(store, upTo: "backbone.outbox.1")
        try store.write { db in
            try db.execute(
                sql: """
                    INSERT INTO outbox_message (is_job, message) VALUES (0, '\u{E9}\u{E9}'), (1, 'abc');
                    INSERT INTO outbox_parked VALUES (7, 0, 'abcde', 'e', 0);
                    """)
        }
        try migrator.migrate(store)
        let gauges = try store.read { db in try Outbox().gauges(db) }
        #expect(
            gauges == [
                "outbox_waiting": 2, "outbox_waiting_bytes": 7, "outbox_parked": 1, "outbox_parked_bytes": 5,
            ])
    }

    @Test("What is parked is bounded in bytes: the oldest goes first") func parkedBytes() async throws {
        try await withWorld { world in
            let message = String(repeating: "x", count: 1 << 20)
            let count = Outbox.parkedLimitBytes / message.utf8.count + 2
            try await world.store.write { db in
                for seq in 1...count {
                    try world.outbox.park(
                        db, .init(seq: Int64(seq), isJob: false, message: message), error: "e", now: 0)
                }
            }
            let (least, gauges) = try await world.store.read { db in
                (try Int.fetchOne(db, sql: "SELECT min(seq) FROM outbox_parked"), try world.outbox.gauges(db))
            }
            #expect(least == 3)
            #expect(gauges["outbox_parked_bytes"] == Outbox.parkedLimitBytes)
        }
    }

    private func consumer(_ world: World, poison: Int64? = nil) -> EventConsumer {
        EventConsumer(
            group: "g", types: ["document.*"], backbone: world.bus, store: world.store, log: Self.log,
            limits: .init(page: 2, attempts: 3, firstPause: .milliseconds(1))
        ) { db, logged in
            let number = try logged.event.data.value()["n"]?.asInteger ?? -1
            try db.execute(sql: "INSERT INTO effect VALUES (?)", arguments: [number])
            if number == poison { throw Undone() }
        }
    }

    private static func effects(_ world: World) async throws -> [Int64] {
        try await world.store.read { db in try Int64.fetchAll(db, sql: "SELECT n FROM effect ORDER BY rowid")
        }
    }

    @Test("Each event has its effect once, over restarts, and again from the beginning after a reset")
    func consumed() async throws {
        try await withWorld { world in
            try await world.bus.register(Self.schemas[0])
            _ = try await world.bus.publish((1...5).map { Self.event(.integer($0)) })
            try await whileRunning({ try await consumer(world).run() }) {
                try await Self.effects(world).count == 5
            }
            _ = try await world.bus.publish([Self.event(6)])
            try await whileRunning({ try await consumer(world).run() }) {
                try await world.bus.group("g")?.offset == 6
            }
            #expect(try await Self.effects(world) == [1, 2, 3, 4, 5, 6])
            try await world.store.write { db in try EventConsumer.reset(db, group: "g") }
            try await whileRunning({ try await consumer(world).run() }) {
                try await Self.effects(world).count == 12
            }
            #expect(try await Self.effects(world).suffix(6) == [1, 2, 3, 4, 5, 6])
        }
    }

    @Test("A poison event is undone, parked after its attempts, and holds up no other") func poison()
        async throws
    {
        try await withWorld { world in
            try await world.bus.register(Self.schemas[0])
            _ = try await world.bus.publish((1...4).map { Self.event(.integer($0)) })
            try await whileRunning({ try await consumer(world, poison: 2).run() }) {
                try await Self.effects(world).count == 3
            }
            #expect(try await Self.effects(world) == [1, 3, 4])
            let parked = try await world.store.read { db in try EventConsumer.parkedCount(db, group: "g") }
            #expect(parked == 1)
        }
    }

    @Test(
        "A parked event that people put back has its effect once when that is mended, and is parked again before"
    )
    func putBack() async throws {
        try await withWorld { world in
            try await world.bus.register(Self.schemas[0])
            _ = try await world.bus.publish((1...4).map { Self.event(.integer($0)) })
            try await whileRunning({ try await consumer(world, poison: 2).run() }) {
                try await Self.effects(world).count == 3
            }
            func parked() async throws -> (count: Int, due: Int) {
                try await world.store.read { db in
                    (
                        try EventConsumer.parkedCount(db, group: "g"),
                        try Int.fetchOne(db, sql: "SELECT count(*) FROM consumer_parked WHERE is_due = 1")
                            ?? 0
                    )
                }
            }
            func putBack() async throws {
                try await world.store.write { db in
                    try db.execute(sql: "UPDATE consumer_parked SET is_due = 1, error = ''")
                }
            }
            try await putBack()
            try await whileRunning({ try await consumer(world, poison: 2).run() }) {
                try await parked() == (1, 0)
            }
            #expect(try await Self.effects(world) == [1, 3, 4])
            let error = try await world.store.read { db in
                try String.fetchOne(db, sql: "SELECT error FROM consumer_parked")
            }
            #expect(error?.hasPrefix("Undone") == true)
            try await putBack()
            try await whileRunning({ try await consumer(world).run() }) { try await parked() == (0, 0) }
            #expect(try await Self.effects(world) == [1, 3, 4, 2])
        }
    }
}
