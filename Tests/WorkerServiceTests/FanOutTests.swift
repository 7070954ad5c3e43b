import Backbone
import BusService
import Foundation
import GRDB
import ServiceKit
import Testing

@testable import WorkerService

@Suite("What follows from events", .timeLimit(.minutes(10))) struct FanOutTests {
    private static let schemas = ["user.created", "document.created"].map {
        EventSchema(type: $0, schema: ["type": "object"])
    }

    private static func event(_ type: String, subject: String, _ data: JSONValue) -> Event {
        Event(
            type, subject: subject, data: JSONText(data), producer: "test",
            trace: Trace(requestID: "req-9", traceparent: nil))
    }

    private static func consumer(_ shop: Workshop, outbox: Outbox? = nil) -> EventConsumer {
        EventConsumer(
            group: FanOut.group, types: FanOut.types, backbone: shop.bus, store: shop.store.pool,
            log: Harness.log, limits: .init(page: 1, firstPause: .milliseconds(1)),
            effect: FanOut(
                outbox: outbox ?? shop.store.outbox, tables: shop.tables, store: shop.store.id
            ).effect)
    }

    private static let payment: JSONValue = [
        "email": "ada@example.org", "number": "R-7", "amount": "12.00", "currency": "EUR",
        "description": "One year",
    ]

    private func publish(_ shop: Workshop, _ events: [Event]) async throws {
        for schema in Self.schemas + [FanOut.paymentSchema] { try await shop.bus.register(schema) }
        _ = try await shop.bus.publish(events)
    }

    @Test(
        "An account is welcomed, a payment gives a licence and a receipt, a document goes to its owner's endpoints"
    )
    func jobs() async throws {
        let shop = try Workshop()
        try await shop.endpoint("e1", url: "https://a.example/")
        try await shop.endpoint("e2", url: "https://b.example/", types: "document.deleted")
        try await shop.endpoint("e3", url: "https://c.example/", owner: "bob")
        try await shop.endpoint("e4", url: "https://d.example/", types: "*")
        let events = [
            Self.event("user.created", subject: "u1", ["email": "ada@example.org"]),
            Self.event("document.created", subject: "d1", ["owner": "ada", "title": "T"]),
            Self.event("payment.completed", subject: "p1", Self.payment),
        ]
        try await shop.whileRunning([Self.consumer(shop)]) {
            try await publish(shop, events)
            try await until { try await shop.outbox().jobs.count >= 5 }
        }
        let jobs = try await shop.outbox().jobs
        #expect(jobs.map(\.kind) == ["email", "webhook", "webhook", "licence", "email"])
        #expect(jobs.map(\.queue) == ["mail", "webhooks", "webhooks", "work", "mail"])
        #expect(jobs.allSatisfy { $0.trace.requestID == "req-9" })
        #expect(
            try jobs[0].payload.decoded(as: MailOrder.self) == MailOrder("welcome", to: "ada@example.org"))
        let hooks = try jobs[1...2].map { try $0.payload.decoded(as: WebhookOrder.self) }
        #expect(hooks.map(\.endpoint) == ["e1", "e4"])
        #expect(hooks.allSatisfy { $0.message == events[1].id && $0.type == "document.created" })
        #expect(hooks.allSatisfy { $0.store == shop.store.id })
        #expect(Set(jobs.compactMap(\.idempotencyKey)).count == 5)
        #expect(
            try jobs[4].payload.decoded(as: MailOrder.self).values == [
                "number": "R-7", "amount": "12.00", "currency": "EUR", "description": "One year",
            ])
    }

    @Test("An event that is read again orders the same jobs under the same keys: the bus has each once")
    func again() async throws {
        let shop = try Workshop()
        try await shop.endpoint("e1", url: "https://a.example/")
        let events = [
            Self.event("user.created", subject: "u1", ["email": "ada@example.org"]),
            Self.event("document.created", subject: "d1", ["owner": "ada"]),
            Self.event("payment.completed", subject: "p1", Self.payment),
        ]
        let relay = OutboxRelay(
            shop.store.outbox, store: shop.store.pool, backbone: shop.bus, schemas: [], log: Harness.log)
        try await publish(shop, events)
        for _ in 0..<2 {
            try await shop.whileRunning([Self.consumer(shop), relay]) {
                let last = try await shop.bus.stats().lastOffset
                let isThrough: () async throws -> Bool = {
                    try await shop.store.pool.read { db in
                        let waiting = try shop.store.outbox.counts(db).waiting
                        return try EventConsumer.position(db, group: FanOut.group) == last && waiting == 0
                    }
                }
                try await until(isThrough)
            }
            try await shop.store.write { db in try EventConsumer.reset(db, group: FanOut.group) }
        }
        let ready = try await shop.bus.stats().queues.map { ($0.name, $0.ready) }
        #expect(ready.map(\.0) == ["mail", "webhooks", "work"])
        #expect(ready.map(\.1) == [2, 1, 1])
    }

    @Test("An outbox that is full holds the events up and loses none; one that says nothing is parked")
    func full() async throws {
        let shop = try Workshop()
        let outbox = Outbox(limit: 1)
        let events = (1...8).map {
            Self.event("user.created", subject: "u\($0)", $0 == 3 ? ["nothing": 1] : ["email": "a@b.example"])
        }
        try await publish(shop, events)
        var ordered: [String?] = []
        try await shop.whileRunning([Self.consumer(shop, outbox: outbox)]) {
            while ordered.count < 7 {
                let jobs = try await shop.outbox().jobs
                guard !jobs.isEmpty else {
                    try await Task.sleep(for: .milliseconds(1))
                    continue
                }
                ordered += jobs.map(\.idempotencyKey)
                try await shop.store.write { db in try db.execute(sql: "DELETE FROM outbox_message") }
            }
        }
        #expect(ordered == [1, 2, 4, 5, 6, 7, 8].map { "welcome/u\($0)" })
        #expect(
            try await shop.store.pool.read { db in
                try EventConsumer.parkedCount(db, group: FanOut.group)
            } == 1)
    }

    @Test("A licence is given once for a payment, however often it is asked for") func licence() async throws
    {
        let shop = try Workshop()
        try await shop.whileRunning([shop.executor([.licence(shop.store)])]) {
            let order = LicenceOrder(payment: "p1", email: "ada@example.org", description: "One year")
            var found: Set<String> = []
            for _ in 0..<2 {
                let payload = try JSONText(encoding: order).value()
                let job = try await shop.ended(try await shop.order("licence", payload))
                #expect(job.state == .done)
                found.insert(try #require(try job.result?.value()["licence"]?.asText))
            }
            #expect(found.count == 1)
            let rows = try await shop.store.pool.read { db in
                try Int.fetchOne(db, sql: "SELECT count(*) FROM licence")
            }
            #expect(rows == 1)
        }
    }
}

@Suite("A worker's store of an earlier version") struct FormerJobsTests {
    @Test("Jobs that had not ended go to the backbone under their ids, once") func moved() throws {
        let scratch = Scratch()
        var former = DatabaseMigrator()
        FormerJobs.register(in: &former)
        let ids = (0..<4).map { _ in Identifier.make() }
        do {
            let pool = try Store.open(directory: scratch.worker, name: "worker", migrations: former)
            try pool.write { db in
                for (id, state) in zip(ids, ["queued", "running", "done", "failed"]) {
                    try db.execute(
                        sql: """
                            INSERT INTO job (id, owner, kind, payload, state, created_at, updated_at, run_at, request_id)
                            VALUES (?, 'ada', 'echo', '[1]', ?, 0, 0, 0, 'req-1')
                            """, arguments: [id, state])
                }
            }
        }
        for _ in 0..<2 {
            let store = try WorkerStore(directory: scratch.worker)
            let messages = try store.pool.read { db in
                try String.fetchAll(db, sql: "SELECT message FROM outbox_message WHERE is_job ORDER BY seq")
            }
            let jobs = try messages.map { try Wire.job($0) }
            #expect(Set(jobs.map(\.id)) == Set(ids[..<2]))
            #expect(jobs.allSatisfy { $0.owner == "ada" && $0.kind == "echo" && $0.payload.text == "[1]" })
            #expect(try store.pool.read { db in try db.tableExists("job") } == false)
        }
    }
}
