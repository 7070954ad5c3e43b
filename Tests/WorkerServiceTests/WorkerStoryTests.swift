import Backbone
import BusService
import Foundation
import GRDB
import ServiceKit
import Testing

@testable import WorkerService

@Suite("The worker as a whole") struct WorkerStoryTests {
    /// A worker over a bus of this process; its webhooks may go to this machine.
    private func withWorker(
        _ body: @escaping @Sendable (Origin, BusStore, WorkerStore) async throws -> Void
    ) async throws {
        let scratch = Scratch()
        let bus = try BusStore(directory: scratch.bus)
        try await bus.register(EventSchema(type: "document.created", schema: ["type": "object"]))
        var settings = Harness.settings(scratch.worker)
        settings.webhookAddresses = AddressGuard(exceptions: [NetworkRange("127.0.0.0/8")].compactMap { $0 })
        let service = try WorkerService(
            settings, backbone: bus, verifier: Harness.verifier(), log: Harness.log)
        // The same file once more, as a second worker would have it.
        let store = try WorkerStore(directory: scratch.worker)
        try await withRunning(service.parts, log: Harness.log) { worker in try await body(worker, bus, store)
        }
        _ = scratch
    }

    private static func ask(_ worker: Origin, _ method: String, _ path: String, json: String? = nil)
        async throws -> OutboundClient.Answer
    {
        try await Harness.ask(worker, method, path, token: Harness.token("ada"), json: json)
    }

    /// Asks until the answer fits.
    private static func until(
        _ worker: Origin, _ path: String, _ fits: ([String: Any]) -> Bool
    ) async throws -> [String: Any] {
        while true {
            let answer = try await ask(worker, "GET", path).object
            if fits(answer) { return answer }
            try await Task.sleep(for: .milliseconds(5))
        }
    }

    @Test(
        "An event reaches its owner's endpoint, signed by each secret that is good, and stands in the log of deliveries",
        .timeLimit(.minutes(10)))
    func webhook() async throws {
        let sink = try WebSink()
        try await withWorker { worker, bus, _ in
            let made = try await Self.ask(
                worker, "POST", "/worker/webhooks",
                json: "{\"url\":\"\(sink.url)\",\"events\":[\"document.*\"]}")
            #expect(made.status == 201)
            let id = try #require(made.text("id"))
            let rotated = try await Self.ask(worker, "POST", "/worker/webhooks/\(id)/rotate-secret")
            let event = Event(
                "document.created", subject: "d1", data: JSONText(["owner": "ada", "title": "T"]),
                producer: "test",
                trace: Trace(requestID: "req-7", traceparent: nil))
            _ = try await bus.publish([event])
            let page = try await Self.until(worker, "/worker/deliveries?endpoint=\(id)") {
                ($0["deliveries"] as? [Any])?.isEmpty == false
            }
            let delivery = try #require((page["deliveries"] as? [[String: Any]])?.first)
            #expect(delivery["message"] as? String == event.id && delivery["state"] as? String == "delivered")
            #expect(delivery["event"] as? String == "document.created" && delivery["attempt"] as? Int == 1)

            let asked = try #require(sink.asked.first)
            #expect(asked.field("webhook-id") == event.id && asked.field("x-request-id") == "req-7")
            let time = try #require(asked.field("webhook-timestamp").flatMap { Int64($0) })
            let signatures = [rotated.text("secret"), made.text("secret")].compactMap { text in
                WebhookSecret(text ?? "")?.signature(
                    id: event.id, timestamp: time, body: Array(asked.body.utf8))
            }
            #expect(signatures.count == 2)
            #expect(asked.field("webhook-signature") == signatures.joined(separator: " "))
            #expect(try JSONValue(parsing: asked.body.utf8)["data"] == ["owner": "ada", "title": "T"])
        }
    }

    @Test("A tick's job is done like any other, and its schedule names it", .timeLimit(.minutes(10)))
    func schedule() async throws {
        try await withWorker { worker, _, store in
            let json = "{\"every\":60,\"kind\":\"digest\",\"payload\":{\"text\":\"abc\"}}"
            let id = try #require(
                try await Self.ask(worker, "POST", "/worker/schedules", json: json).text("id"))
            try await store.pool.write { db in try db.execute(sql: "UPDATE schedule SET next_at = 1") }
            // The loop looks whenever a schedule is made.
            _ = try await Self.ask(worker, "POST", "/worker/schedules", json: json)
            let schedule = try await Self.until(worker, "/worker/schedules/\(id)") { $0["lastJob"] != nil }
            let job = try #require(schedule["lastJob"] as? String)
            let done = try await Self.until(worker, "/worker/jobs/\(job)") {
                $0["state"] as? String == "done"
            }
            #expect((done["result"] as? [String: String])?["sha256"]?.hasPrefix("ba7816bf") == true)
        }
    }
}
