import Backbone
import BusService
import Foundation
import GRDB
import ServiceKit
import Testing

@testable import WorkerService

@Suite("What becomes of a disabled account's things", .timeLimit(.minutes(10))) struct DisabledAccountTests {
    private static let start: Int64 = 1_774_656_000_000

    private static func event(_ type: String, _ subject: String, _ data: JSONValue = [:]) -> LoggedEvent {
        LoggedEvent(
            offset: 1,
            event: Event(
                type, subject: subject, data: JSONText(data), producer: "test",
                trace: Trace(requestID: "req-5", traceparent: nil)))
    }

    private static func take(_ shop: Workshop, _ event: LoggedEvent) async throws {
        let fanOut = FanOut(outbox: shop.store.outbox, tables: shop.tables, store: shop.store.id)
        try await shop.store.write { db in try fanOut.effect(db, event) }
    }

    private static func addSchedule(_ shop: Workshop, owner: String) async throws -> Schedule {
        let rule = try ScheduleRule(.every(seconds: 60))
        let admission = try await shop.store.write { db in
            try ScheduleTables().add(
                db, owner: owner, rule, kind: "echo", payload: JSONText(1), now: start)
        }
        guard case .added(let schedule) = admission else { throw CancellationError() }
        return schedule
    }

    @Test("Its endpoints are disabled with the reason, each is told of, and its schedules end; others' go on")
    func event() async throws {
        let shop = try Workshop()
        for (id, owner) in [("e1", "ada"), ("e2", "ada"), ("e3", "bob")] {
            try await shop.endpoint(id, url: "https://\(id).example/", owner: owner)
        }
        try await shop.store.write { db in _ = try shop.tables.disable(db, id: "e2", .owner, now: 5) }
        let ended = try await Self.addSchedule(shop, owner: "ada")
        let goes = try await Self.addSchedule(shop, owner: "bob")
        // Twice: an event may be read again.
        for _ in 0..<2 { try await Self.take(shop, Self.event("user.disabled", "ada")) }
        let events = try await shop.outbox().events
        #expect(events.map(\.type) == ["webhook.disabled"] && events.first?.subject == "e1")
        #expect(try events.first?.data.value()["reason"] == "account")
        #expect(events.first?.trace.requestID == "req-5")
        let (endpoints, schedules) = try await shop.store.pool.read { db in
            (
                try ["e1", "e2", "e3"].map { try shop.tables.endpoint(db, id: $0, now: 0)?.disabled },
                try [ended, goes].map { try ScheduleTables().schedule(db, id: $0.id) }
            )
        }
        #expect(endpoints == [.account, .owner, nil])
        #expect(schedules[0]?.nextAt == nil && schedules[0]?.error == DisabledAccounts.reason)
        #expect(schedules[1] == goes)

        try await Self.take(shop, Self.event("document.created", "d1", ["owner": "ada"]))
        #expect(try await shop.outbox().jobs.isEmpty)
        try await Self.take(shop, Self.event("document.created", "d2", ["owner": "bob"]))
        #expect(try await shop.outbox().jobs.count == 1)
    }

    @Test("What was made in the moment between the disabling and its event is not used either")
    func between() async throws {
        let shop = try Workshop()
        try await Self.take(shop, Self.event("user.disabled", "ada"))
        try await shop.endpoint("e1", url: "https://e1.example/")
        let schedule = try await Self.addSchedule(shop, owner: "ada")
        try await Self.take(shop, Self.event("document.created", "d1", ["owner": "ada"]))
        let ticks = try await shop.store.write { db in
            try ScheduleTables().tick(db, outbox: shop.store.outbox, now: Self.start + 60_000)
        }
        #expect(ticks.isEmpty)
        #expect(try await shop.outbox().jobs.isEmpty)
        let after = try await shop.store.pool.read { db in try ScheduleTables().schedule(db, id: schedule.id)
        }
        #expect(after?.nextAt == nil && after?.error == DisabledAccounts.reason)
    }

    @Test(
        "No job of it is begun, whatever was ordered before; once it is enabled, a dead one can be tried anew"
    )
    func jobs() async throws {
        let shop = try Workshop()
        let ids = [try await shop.order("echo", 1), try await shop.order("echo", 2)]
        let platform = NewJob(queue: "work", kind: "echo", payload: JSONText(3), trace: .fresh())
        _ = try await shop.order(platform)
        try await Self.take(shop, Self.event("user.disabled", "ada"))
        try await shop.whileRunning([shop.executor([.echo])]) {
            for id in ids {
                let job = try await shop.ended(id)
                #expect((job.state, job.attempts, job.lastError) == (.dead, 1, DisabledAccounts.reason))
            }
            // Without an owner it is the platform's.
            #expect(try await shop.ended(platform.id).state == .done)
            try await Self.take(shop, Self.event("user.enabled", "ada"))
            try await shop.bus.redrive(id: ids[0])
            #expect(try await shop.job(ids[0]) { $0.state == .done }.result?.text == "1")
            #expect(try await shop.ended(try await shop.order("echo", 4)).state == .done)
        }
    }

    @Test(
        "Its token is refused by each route with 403; enabled again, its owner switches on what is to go on")
    func routes() async throws {
        let scratch = Scratch()
        let bus = try BusStore(directory: scratch.bus)
        for schema in ["user.disabled", "user.enabled"] {
            try await bus.register(EventSchema(type: schema, schema: ["type": "object"]))
        }
        let service = try WorkerService(
            Harness.settings(scratch.worker), backbone: bus, verifier: Harness.verifier(), log: Harness.log)
        try await withRunning(service.parts, log: Harness.log) { worker in
            @Sendable func ask(_ method: String, _ path: String, _ json: String? = nil) async throws
                -> OutboundClient.Answer
            {
                try await Harness.ask(worker, method, path, token: Harness.token("ada"), json: json)
            }
            let hook = try await ask(
                "POST", "/worker/webhooks", "{\"url\":\"https://a.example/\",\"events\":[\"*\"]}")
            let id = try #require(hook.text("id"))
            _ = try await bus.publish([Self.event("user.disabled", "ada").event])
            try await until { try await ask("GET", "/worker/webhooks").status == 403 }
            for (method, path) in [
                ("POST", "/worker/jobs"), ("GET", "/worker/jobs/\(id)"),
                ("POST", "/worker/jobs/\(id)/redrive"),
                ("POST", "/worker/schedules"), ("GET", "/worker/schedules"),
                ("GET", "/worker/schedules/\(id)"),
                ("POST", "/worker/webhooks"), ("PATCH", "/worker/webhooks/\(id)"),
                ("POST", "/worker/webhooks/\(id)/test"), ("GET", "/worker/deliveries"),
            ] {
                let refused = try await ask(method, path, method == "GET" ? nil : "{}")
                #expect(refused.status == 403 && refused.text("reason") == "account_disabled")
            }
            let other = try await Harness.ask(
                worker, "GET", "/worker/webhooks", token: Harness.token("bob"))
            #expect(other.status == 200)

            _ = try await bus.publish([Self.event("user.enabled", "ada").event])
            try await until { try await ask("GET", "/worker/webhooks").status == 200 }
            let off = try await ask("GET", "/worker/webhooks/\(id)")
            #expect(off.object["enabled"] as? Bool == false && off.text("disabledReason") == "account")
            let on = try await ask("PATCH", "/worker/webhooks/\(id)", "{\"enabled\":true}")
            #expect(on.object["enabled"] as? Bool == true)
        }
    }
}
