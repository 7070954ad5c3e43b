import Backbone
import BusService
import Foundation
import GRDB
import HTTPTypes
import Logging
import ServiceKit
import Testing

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

    private func withWorld(outboxLimit: Int = 100, _ body: (World) async throws -> Void) async throws {
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
            World(bus: BusStore(directory: directory), store: store, outbox: Outbox(limit: outboxLimit)))
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
}
