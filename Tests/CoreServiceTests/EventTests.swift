import Backbone
import BusService
import Foundation
import GRDB
import HTTPTypes
import ServiceKit
import Testing

@testable import CoreService

@Suite("What core tells the backbone") struct EventTests {
    private struct World: Sendable {
        let directory: URL
        let bus: BusStore
        let backbone: TestBackbone

        /// The service itself, as after a start.
        func core(limits: CoreLimits = CoreLimits()) throws -> ServiceParts {
            try Harness.core(directory, backbone: backbone, limits: limits)
        }

        /// The log from its beginning, once it has so many events.
        func events(_ count: Int) async throws -> [LoggedEvent] {
            while true {
                let page = try await bus.events(after: 0, limit: 1_000, types: nil, waitSeconds: 0)
                if page.events.count >= count { return page.events }
                _ = try await bus.events(after: page.last, limit: 1, types: nil, waitSeconds: 20)
            }
        }
    }

    private func withWorld(
        mood: TestBackbone.Mood = .here, _ body: (World) async throws -> Void
    ) async throws {
        let directory = Harness.directory()
        defer { try? FileManager.default.removeItem(at: directory) }
        let bus = try BusStore(directory: directory.appending(path: "bus"))
        try await body(
            World(
                directory: directory.appending(path: "core"), bus: bus,
                backbone: TestBackbone(bus, mood: mood)))
    }

    private static func post(_ core: Origin, title: String = "One", body: String = "text") async throws
        -> OutboundClient.Answer
    {
        try await Harness.ask(
            core, "POST", "/api/v1/documents", token: Harness.token("ada"),
            json: JSONValue.object(["title": .text(title), "body": .text(body)]).json)
    }

    private static func gauge(_ core: Origin, _ name: String) async throws -> Int? {
        let text = String(
            decoding: try await Harness.ask(core, "GET", "/metrics").body, as: UTF8.self)
        let line = text.split(separator: "\n").first { $0.hasPrefix("gatehouse_service_\(name){") }
        return line?.split(separator: " ").last.flatMap { Int($0) }
    }

    private static func untilDrained(_ core: Origin) async throws {
        while try await gauge(core, "outbox_waiting") != 0 { await Task.yield() }
    }

    @Test("Each change is an event with the whole document, its version, and the trace of its request")
    func changes() async throws {
        try await withWorld { world in
            try await withRunning(world.core(), log: Harness.log) { core in
                let token = try Harness.token("ada")
                let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
                let made = try await Harness.ask(
                    core, "POST", "/api/v1/documents", token: token, json: #"{"title":"One","body":"a\nb"}"#,
                    fields: [("X-Request-ID", "abc-1"), ("traceparent", trace)])
                let id = try #require(made.text("id"))
                let changed = try await Harness.ask(
                    core, "PUT", "/api/v1/documents/\(id)", token: token, json: #"{"title":"Two","body":""}"#,
                    fields: [("If-Match", "*"), ("X-Request-ID", "abc-2")])
                #expect(changed.status == 200)
                let removed = try await Harness.ask(
                    core, "DELETE", "/api/v1/documents/\(id)", token: token,
                    fields: [("X-Request-ID", "abc-3")])
                #expect(removed.status == 204)

                let events = try await world.events(3).map(\.event)
                #expect(events.map(\.type) == ["document.created", "document.updated", "document.deleted"])
                #expect(events.map(\.trace.requestID) == ["abc-1", "abc-2", "abc-3"])
                #expect(events[0].trace.traceparent == trace)
                #expect(events[1].trace.traceID != nil && events[1].trace.traceID != events[0].trace.traceID)
                #expect(events.allSatisfy { $0.subject == id && $0.producer == "core" })
                let createdAt = try #require(made.text("createdAt"))
                #expect(
                    try events[0].data.value() == [
                        "owner": "ada", "title": "One", "body": "a\nb", "version": 1,
                        "createdAt": .text(createdAt), "updatedAt": .text(createdAt),
                    ])
                let second = try events[1].data.value()
                #expect(second["title"] == "Two" && second["version"] == 2)
                #expect(second["updatedAt"]?.asText == changed.text("updatedAt"))
                #expect(try events[2].data.value() == ["owner": "ada", "version": 3])
            }
        }
    }

    @Test("Each text is a job for the worker, once a version; a text that no job holds is none") func jobs()
        async throws
    {
        try await withWorld { world in
            try await withRunning(world.core(), log: Harness.log) { core in
                let made = try await Self.post(core, body: "some words")
                let id = try #require(made.text("id"))
                #expect(
                    try await Self.post(core, body: String(repeating: "x", count: JobLimits.payloadBytes))
                        .status == 201)
                try await Self.untilDrained(core)
                let jobs = try await world.bus.lease(queue: "work", limit: 10, seconds: 9, worker: "w")
                let job = try #require(jobs.first?.job)
                #expect(jobs.count == 1 && job.kind == "process" && job.owner == "ada")
                #expect(try job.payload.value() == ["document": .text(id), "text": "some words"])
                #expect(job.trace.requestID == made.field("X-Request-ID"))
                let again = NewJob(
                    queue: "work", kind: "process", payload: JSONText(.null), trace: .fresh(), owner: "ada",
                    idempotencyKey: "process/\(id)/1")
                #expect(try await world.bus.enqueue([again]) == [.duplicate(id: job.id)])
                #expect(try await Self.gauge(core, "outbox_parked") == 0)
            }
        }
    }

    @Test("While the bus is away a document is still 201; what waited is published when it is back, once")
    func away() async throws {
        try await withWorld(mood: .away) { world in
            try await withRunning(world.core(), log: Harness.log) { core in
                let ids = [
                    try await Self.post(core).text("id"), try await Self.post(core, title: "Two").text("id"),
                ]
                #expect(try await Self.gauge(core, "outbox_waiting") == 4)
                #expect(try #require(try await Self.gauge(core, "outbox_waiting_bytes")) > 400)
                world.backbone.mood = .here
                #expect(try await world.events(2).map(\.event.subject) == ids)
                try await Self.untilDrained(core)
            }
        }
    }

    @Test("Core that ends between a commit and the relay publishes after its next start, once")
    func restart() async throws {
        try await withWorld(mood: .away) { world in
            let id = try await withRunning(world.core(), log: Harness.log) { core in
                try await Self.post(core).text("id")
            }
            world.backbone.mood = .here
            for _ in 0..<2 {
                try await withRunning(world.core(), log: Harness.log) { core in
                    try await Self.untilDrained(core)
                }
            }
            #expect(try await world.events(1).map(\.event.subject) == [id])
            #expect(world.backbone.published.count == 1)
        }
    }

    @Test("An event whose answer was lost is sent again under its id, and has one offset") func repeated()
        async throws
    {
        try await withWorld(mood: .mute) { world in
            try await withRunning(world.core(), log: Harness.log) { core in
                _ = try await Self.post(core)
                await world.backbone.wait(forPublished: 2)
                world.backbone.mood = .here
                try await Self.untilDrained(core)
            }
            #expect(Set(world.backbone.published).count == 1)
            #expect(try await world.events(1).count == 1)
            #expect(try await world.bus.lease(queue: "work", limit: 10, seconds: 9, worker: "w").count == 1)
        }
    }

    @Test("A repeated keyed request makes no second event") func keyed() async throws {
        try await withWorld { world in
            try await withRunning(world.core(), log: Harness.log) { core in
                for _ in 0..<2 {
                    let answer = try await Harness.ask(
                        core, "POST", "/api/v1/documents", token: Harness.token("ada"),
                        json: #"{"title":"One","body":""}"#, fields: [("Idempotency-Key", "k")])
                    #expect(answer.status == 201)
                }
                try await Self.untilDrained(core)
            }
            #expect(try await world.events(1).count == 1)
        }
    }

    @Test(
        "A full outbox, of rows or of bytes, refuses changes with 503, and nothing of them is stored",
        arguments: [CoreLimits(outbox: 2), CoreLimits(outboxBytes: 1_000)])
    func full(limits: CoreLimits) async throws {
        try await withWorld(mood: .away) { world in
            try await withRunning(world.core(limits: limits), log: Harness.log) { core in
                let first = try await Self.post(core)
                #expect(first.status == 201)
                let path = try #require(first.field("Location"))
                let token = try Harness.token("ada")
                let refused = try await Self.post(core)
                #expect(refused.status == 503)
                #expect(refused.text("reason") == "outbox_full")
                #expect(refused.field("Retry-After") != nil)
                let changed = try await Harness.ask(
                    core, "PUT", path, token: token, json: #"{"title":"Two","body":""}"#,
                    fields: [("If-Match", "*")])
                #expect(changed.status == 503)
                #expect(try await Harness.ask(core, "GET", path, token: token).field("ETag") == "\"v1\"")
                let list = try await Harness.ask(core, "GET", "/api/v1/documents", token: token)
                #expect((list.object["documents"] as? [Any])?.count == 1)
                world.backbone.mood = .here
                try await Self.untilDrained(core)
                #expect(try await Self.post(core).status == 201)
            }
        }
    }

    /// The length of a document's event with so many control characters, each of which is six bytes there.
    private static func eventBytes(_ count: Int) throws -> Int {
        let document = Document(
            id: Identifier.make(), owner: "ada", title: "One", body: String(repeating: "\u{8}", count: count),
            version: 1, createdAt: 0, updatedAt: 0)
        return try DocumentNews.event(.created, document, ChangeOrigin(at: 0, trace: .fresh())).data.text.utf8
            .count
    }

    @Test("A document that no event holds is refused with 413; the largest that is taken is published")
    func size() async throws {
        try await withWorld { world in
            try await withRunning(world.core(), log: Harness.log) { core in
                // In the request `\b` has two bytes, in the event `\u0008` six.
                let count = (EventLimits.dataBytes - (try Self.eventBytes(0))) / 6
                #expect(try Self.eventBytes(count) > EventLimits.dataBytes - 6)
                func post(_ count: Int) async throws -> OutboundClient.Answer {
                    let body = String(repeating: "\\b", count: count)
                    return try await Harness.ask(
                        core, "POST", "/api/v1/documents", token: Harness.token("ada"),
                        json: "{\"title\":\"One\",\"body\":\"\(body)\"}")
                }
                for tooMany in [count + 1, 500_000] {
                    let refused = try await post(tooMany)
                    #expect(refused.status == 413)
                    #expect(refused.text("reason") == "document_too_large")
                    #expect(refused.text("detail")?.contains("1048576") == true)
                }
                let taken = try await post(count)
                #expect(taken.status == 201)
                #expect(try await world.events(1).map(\.event.subject) == [taken.text("id")])
                try await Self.untilDrained(core)
                #expect(try await Self.gauge(core, "outbox_parked") == 0)

                // A change is judged as it will be told, too.
                let path = try #require(taken.field("Location"))
                let changed = try await Harness.ask(
                    core, "PUT", path, token: Harness.token("ada"),
                    json: JSONValue.object([
                        "title": "One and more", "body": .text(String(repeating: "\u{8}", count: count)),
                    ]).json.replacing("\\u0008", with: "\\b"), fields: [("If-Match", "*")])
                #expect(changed.status == 413)
            }
        }
    }

    @Test("Documents of a store that knew no events are told of once, with what waited; deletions go")
    func upgrade() async throws {
        try await withWorld { world in
            let ids = try Self.makeOldStore(world.directory)
            for _ in 0..<2 {
                try await withRunning(world.core(), log: Harness.log) { core in
                    let read = try await Harness.ask(
                        core, "GET", "/api/v1/documents/\(ids[0])", token: Harness.token("ada"))
                    #expect(read.text("title") == "Number 0")
                    _ = try await world.events(ids.count)
                    try await Self.untilDrained(core)
                    #expect(try await Self.gauge(core, "outbox_parked") == 0)
                }
            }
            let events = try await world.events(ids.count).map(\.event)
            #expect(events.map(\.subject) == ids)
            #expect(events[0].type == "document.created" && events[1].type == "document.updated")
            #expect(events[0].trace.requestID == "old-request")
            #expect(try events[1].data.value()["version"] == 2)
            #expect(world.backbone.published.count == ids.count)
        }
    }

    /// A core.sqlite as the version before events left it: documents, one that waits to be told to search, a deletion that
    /// waits too, and one document that no event can hold.
    private static func makeOldStore(_ directory: URL) throws -> [String] {
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        let store = try DatabaseQueue(path: directory.appending(path: "core.sqlite").path())
        try CoreStore.migrations.migrate(store, upTo: "2")
        let ids = (0..<45).map { Identifier.make(at: 1_700_000_000_000 + $0) }
        try store.write { db in
            for (number, id) in ids.enumerated() {
                try db.execute(
                    sql: "INSERT INTO document VALUES (?, 'ada', ?, 'text', ?, 1700000000000, 1700000000000)",
                    arguments: [id, "Number \(number)", number == 1 ? 2 : 1])
            }
            try db.execute(
                sql: "INSERT INTO document VALUES (?, 'ada', 'Large', ?, 1, 0, 0)",
                arguments: [
                    Identifier.make(at: 1_600_000_000_000), String(repeating: "\n", count: 512 * 1_024),
                ])
            try db.execute(
                sql: "INSERT INTO outbox VALUES (?, 1, 0, 0, 'old-request', NULL), (?, 3, 1, 0, 'r', NULL)",
                arguments: [ids[0], Identifier.make()])
        }
        try store.close()
        return ids
    }
}
