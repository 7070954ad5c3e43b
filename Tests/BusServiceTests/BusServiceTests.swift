import Backbone
import Foundation
import GRDB
import HTTPTypes
import ServiceKit
import Testing

@testable import BusService

@Suite("The bus over HTTP") struct BusServiceTests {
    private static let schema = EventSchema(type: "document.created", schema: ["type": "object"])

    private static func event(_ filler: String = "") -> Event {
        Event(
            "document.created", subject: "d", data: JSONText(["f": .text(filler)]), producer: "test",
            trace: .fresh())
    }

    private static func job() -> NewJob {
        NewJob(queue: "q", kind: "k", payload: JSONText(.null), trace: .fresh())
    }

    private func withBus(
        limits: BusStore.Limits = .init(),
        _ body: @escaping @Sendable (Origin, BusClient, BusService) async throws -> Void
    ) async throws {
        try await Harness.withDirectory { directory in
            let service = try Harness.service(directory, limits: limits)
            try await Harness.withService(service) { origin in
                let client = Harness.client(origin)
                try await client.register(Self.schema)
                try await body(origin, client, service)
            }
        }
    }

    @Test("No route answers without the service token, nor with another") func tokens() async throws {
        try await withBus { origin, _, service in
            #expect(service.routes.count == 17)
            for route in service.routes {
                let path = route.path.replacing(":name", with: "g")
                    .replacing(":id", with: "i").replacing(":queue", with: "q")
                for token in [nil, "Bearer another-secret-altogether", "Bearer", Harness.token.field + "x"] {
                    let answer = try await Harness.ask(
                        origin, route.method.rawValue, path, token: token, json: "{}")
                    #expect(answer.status == 401, "\(route.method) \(path)")
                    #expect(answer.reason == "service_token_invalid")
                    #expect(answer.field("WWW-Authenticate") != nil)
                }
                let right = try await Harness.ask(origin, route.method.rawValue, path, json: "{}")
                #expect(right.status != 401, "\(route.method) \(path)")
            }
            #expect(try await Harness.ask(origin, "GET", "/healthz", token: nil).status == 200)
            #expect(try await Harness.ask(origin, "GET", "/readyz", token: nil).status == 200)
            guard let wrong = ServiceToken("another-secret-altogether") else { return }
            await #expect(throws: BackboneError.unauthorized) {
                try await Harness.client(origin, token: wrong).stats()
            }
        }
    }

    @Test("The interface's description names each route, with the statuses that all have") func description()
        async throws
    {
        try await withBus { origin, _, service in
            let answer = try await Harness.ask(origin, "GET", "/openapi.json", token: nil)
            #expect(answer.status == 200)
            let paths = answer.value["paths"]?.asObject ?? [:]
            var described: Set<String> = []
            for (path, operations) in paths {
                for (method, operation) in operations.asObject ?? [:] where operation.asObject != nil {
                    described.insert("\(method.uppercased()) \(path)")
                    let statuses = Set(operation["responses"]?.asObject?.keys.map(\.self) ?? [])
                    #expect(statuses.isSuperset(of: ["401", "503"]), "\(method) \(path)")
                }
            }
            let routes = service.routes.map { route in
                let parts = route.path.split(separator: "/").map { part in
                    part.first == ":" ? "{\(part.dropFirst())}" : String(part)
                }
                return "\(route.method.rawValue) /\(parts.joined(separator: "/"))"
            }
            #expect(described == Set(routes))
        }
    }

    private static let bad: [(path: String, body: String, status: Int, reason: String)] = [
        ("/bus/v1/events", "{", 400, "invalid_body"),
        ("/bus/v1/events", "{}", 400, "invalid_body"),
        ("/bus/v1/events", "{\"events\":{}}", 400, "invalid_body"),
        ("/bus/v1/events", "{\"events\":[{\"type\":1}]}", 400, "invalid_body"),
        ("/bus/v1/events", "{\"events\":[]} []", 400, "invalid_body"),
        ("/bus/v1/events", String(repeating: "[", count: 100_000), 400, "invalid_body"),
        (
            "/bus/v1/events",
            "{\"x\":" + String(repeating: "[", count: 70) + String(repeating: "]", count: 70)
                + ",\"events\":[]}", 400, "invalid_body"
        ),
        ("/bus/v1/jobs", "{\"jobs\":[{\"queue\":\"q\"}]}", 400, "invalid_body"),
        (
            "/bus/v1/jobs/nack", "{\"jobs\":[{\"id\":\"i\",\"token\":\"t\",\"setback\":\"x\"}]}", 400,
            "invalid_body"
        ),
        ("/bus/v1/queues/q/lease", "{\"limit\":1}", 400, "invalid_body"),
        ("/bus/v1/queues/q/lease", "{\"limit\":1,\"seconds\":0}", 422, "invalid_lease"),
        ("/bus/v1/queues/q/lease", "{\"limit\":999999999999,\"seconds\":1}", 422, "too_many"),
        (
            "/bus/v1/jobs/ack",
            "{\"jobs\":["
                + Array(repeating: "{\"id\":\"i\",\"token\":\"t\"}", count: 501).joined(separator: ",")
                + "]}", 422, "too_many"
        ),
        ("/bus/v1/schemas", "{\"type\":\"a\",\"schema\":{\"pattern\":\"x\"}}", 422, "invalid_schema"),
        ("/bus/v1/jobs/i/redrive", "{}", 404, "not_found"),
    ]

    @Test("A body that is not what was agreed is refused with its reason", arguments: bad)
    func bodies(path: String, body: String, status: Int, reason: String) async throws {
        try await withBus { origin, _, _ in
            let answer = try await Harness.ask(origin, "POST", path, json: body)
            #expect(answer.status == status)
            #expect(answer.reason == reason)
            #expect(answer.field("Content-Type") == "application/problem+json")
        }
    }

    @Test("A body past 8 MiB, of another type, or a query out of its bounds is refused") func bounds()
        async throws
    {
        try await withBus { origin, _, _ in
            let long = String(repeating: " ", count: BusService.bodyLimitBytes + 1)
            let tooLong = try await Harness.ask(origin, "POST", "/bus/v1/events", json: long)
            #expect(tooLong.status == 413)
            let typeless = try await Harness.ask(
                origin, "POST", "/bus/v1/events",
                fields: [("Content-Type", "text/plain"), ("Content-Length", "0")])
            #expect(typeless.status == 415)
            let queries = [
                "after=x", "after=99999999999999999999", "limit=0", "limit=1001", "wait=31", "wait=-1",
            ]
            for query in queries {
                let answer = try await Harness.ask(origin, "GET", "/bus/v1/events?\(query)")
                #expect(answer.status == 400, "\(query)")
            }
            let negative = try await Harness.ask(origin, "GET", "/bus/v1/events?after=-1")
            #expect(negative.reason == "invalid_offset")
        }
    }

    @Test("A stop ends every wait with 503 before its time") func stop() async throws {
        try await Harness.withDirectory { directory in
            let service = try Harness.service(directory)
            let waits = try await Harness.withService(service) { origin in
                let waits = [
                    "/bus/v1/events?wait=30", "/bus/v1/queues/q/wait?wait=30",
                ].map { path in Task { try await Harness.ask(origin, "GET", path) } }
                try await Harness.until {
                    service.store.eventChanges.waiterCount == 1 && service.store.jobChanges.waiterCount == 1
                }
                return waits
            }
            for wait in waits {
                let answer = try await wait.value
                #expect(answer.status == 503)
                // A wait that came to its end is answered with 200 and nothing.
                #expect(answer.reason == "stopping")
            }
        }
    }

    @Test("A worker that waits and dies holds no job: the next one gets it as the first") func phantom()
        async throws
    {
        try await withBus { _, client, service in
            let dead = Task { try await client.waitForJobs(queue: "q", waitSeconds: 30) }
            try await Harness.until { service.store.jobChanges.waiterCount == 1 }
            dead.cancel()
            _ = await dead.result
            _ = try await client.enqueue([Self.job()])
            // The dead one's request was woken too; whatever it did is done when it no longer waits.
            try await Harness.until { service.store.jobChanges.waiterCount == 0 }
            let leased = try await client.lease(queue: "q", limit: 10, seconds: 10, worker: "w")
            #expect(leased.map(\.job.attempts) == [1])
        }
    }

    @Test("More waits than allowed are told to come back") func waitLimit() async throws {
        try await withBus(limits: .init(waits: 1)) { origin, client, service in
            let first = Task { try await client.events(after: 0, limit: 1, types: nil, waitSeconds: 30) }
            try await Harness.until { service.store.eventChanges.waiterCount == 1 }
            let second = try await Harness.ask(origin, "GET", "/bus/v1/events?wait=30")
            #expect(second.status == 503)
            #expect(second.reason == "unavailable")
            #expect(second.field("Retry-After") == "1")
            _ = try await client.publish([Self.event()])
            #expect(try await first.value.events.count == 1)
        }
    }

    @Test(
        "A store that is full or read only: 507, nothing stored, not ready; what is there is read, and it recovers",
        arguments: [true, false])
    func storageFull(isFull: Bool) async throws {
        try await withBus { origin, client, service in
            _ = try await client.publish([Self.event()])
            let ready = try await Harness.ask(origin, "GET", "/readyz")
            #expect(ready.status == 200)
            try await service.store.pool.writeWithoutTransaction { db in
                if isFull {
                    let pages = try Int.fetchOne(db, sql: "PRAGMA page_count") ?? 0
                    try db.execute(sql: "PRAGMA max_page_count = \(pages)")
                } else {
                    try db.execute(sql: "PRAGMA query_only = 1")
                }
            }
            // Pages that are free take something first.
            var stored = 1
            do {
                while true {
                    _ = try await client.publish([Self.event(String(repeating: "x", count: 4_000))])
                    stored += 1
                }
            } catch BackboneError.storageFull {}
            let large = Self.event(String(repeating: "x", count: 100_000))
            do {
                _ = try await client.publish([large])
                Issue.record("stored")
            } catch BackboneError.storageFull {}
            do {
                _ = try await client.enqueue((0..<200).map { _ in Self.job() })
                Issue.record("stored")
            } catch BackboneError.storageFull {}
            let direct = try await Harness.ask(
                origin, "POST", "/bus/v1/events",
                json: Wire.text { writer in
                    writer.beginObject()
                    writer.name("events")
                    writer.beginList()
                    Wire.write(large, to: &writer)
                    writer.endList()
                    writer.endObject()
                })
            #expect(direct.status == 507)
            #expect(direct.reason == "storage_full")
            // The probe's answer is kept for a second.
            try await Harness.until { try await Harness.ask(origin, "GET", "/readyz").status == 503 }
            #expect(try await Harness.ask(origin, "GET", "/readyz").value["reasons"] == ["store"])
            let page = try await client.events(after: 0, limit: 100, types: nil, waitSeconds: 0)
            #expect(page.events.count == stored)
            try await service.store.pool.writeWithoutTransaction { db in
                try db.execute(sql: isFull ? "PRAGMA max_page_count = 1000000" : "PRAGMA query_only = 0")
            }
            guard case .appended = try await client.publish([large])[0] else {
                Issue.record("it was stored before")
                return
            }
            #expect(try await client.stats().queues.isEmpty)
            try await Harness.until { try await Harness.ask(origin, "GET", "/readyz").status == 200 }
        }
    }

    @Test("A restart keeps events, groups, schemas, jobs and leases") func restart() async throws {
        try await Harness.withDirectory { directory in
            let clock = HandClock()
            let leased = try await Harness.withService(try Harness.service(directory, clock: clock)) {
                origin in
                let client = Harness.client(origin)
                try await client.register(Self.schema)
                _ = try await client.publish([Self.event()])
                try await client.putGroup("g", offset: 1)
                _ = try await client.enqueue([Self.job(), Self.job()])
                return try await client.lease(queue: "q", limit: 1, seconds: 10, worker: "w")
            }
            try await Harness.withService(try Harness.service(directory, clock: clock)) { origin in
                let client = Harness.client(origin)
                let stats = try await client.stats()
                #expect(stats.queues == [.init(name: "q", ready: 1, leased: 1, dead: 0)])
                #expect(stats.groups.map(\.offset) == [1] && stats.lastOffset == 1)
                #expect(try await client.schemas() == [Self.schema])
                try await client.finish(leased[0].lease)
                #expect(try await client.publish([Self.event()]) == [.appended(offset: 2)])
            }
        }
    }

    @Test("Metrics tell of each queue and how far each group is behind") func gauges() async throws {
        try await withBus { origin, client, _ in
            _ = try await client.publish([Self.event(), Self.event()])
            try await client.putGroup("search", offset: 1)
            _ = try await client.enqueue([Self.job()])
            let answer = try await Harness.ask(origin, "GET", "/metrics", token: nil)
            let lines = String(decoding: answer.body, as: UTF8.self).split(separator: "\n")
            #expect(lines.contains("gatehouse_service_last_offset{service=\"bus\"} 2"))
            #expect(lines.contains("gatehouse_service_group_lag{service=\"bus\",group=\"search\"} 1"))
            #expect(lines.contains("gatehouse_service_jobs{service=\"bus\",queue=\"q\",state=\"ready\"} 1"))
            #expect(lines.count { $0 == "# TYPE gatehouse_service_jobs gauge" } == 1)
        }
    }

    @Test("Upkeep expires leases that nobody asks for, and removes what is old") func upkeep() async throws {
        try await Harness.withDirectory { directory in
            let clock = HandClock()
            let store = try BusStore(
                directory: directory,
                limits: .init(keptJobMilliseconds: 1_000, keptEventMilliseconds: 1_000, compactedTopics: []),
                clock: { clock.now })
            try await store.register(Self.schema)
            _ = try await store.publish([Self.event()])
            _ = try await store.enqueue([Self.job(), Self.job()])
            let leased = try await store.lease(queue: "q", limit: 2, seconds: 10, worker: "w")
            try await store.finish(leased[0].lease)
            clock.advance(milliseconds: 10_000)
            let upkeep = Upkeep(
                store: store, log: Harness.log,
                expiryPause: .milliseconds(1), removalPause: .milliseconds(1))
            let running = Task { try await upkeep.run() }
            try await Harness.until {
                let isReady =
                    try await store.stats().queues == [.init(name: "q", ready: 1, leased: 0, dead: 0)]
                let isGone = try await store.job(id: leased[0].job.id) == nil
                let page = try await store.events(after: 0, limit: 1, types: nil, waitSeconds: 0)
                return isReady && isGone && page.events.isEmpty
            }
            running.cancel()
            try await running.value
        }
    }
}
