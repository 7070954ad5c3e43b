import Backbone
import BusService
import Foundation
import GRDB
import ServiceKit
import Synchronization
import Testing

@testable import WorkerService

@Suite("The worker service over HTTP", .timeLimit(.minutes(10))) struct WorkerServiceTests {
    private func withWorker(
        kinds: [JobKind]? = nil, _ body: @escaping @Sendable (Origin, TappedBus) async throws -> Void
    ) async throws {
        let scratch = Scratch()
        let bus = try TappedBus(scratch)
        let service = try WorkerService(
            Harness.settings(scratch.worker), backbone: bus, verifier: Harness.verifier(), log: Harness.log,
            kinds: kinds, limits: Workshop.limits)
        try await withRunning(service.parts, log: Harness.log) { try await body($0, bus) }
    }

    private static func order(_ worker: Origin, _ json: String, as subject: String = "ada")
        async throws -> OutboundClient.Answer
    {
        try await Harness.ask(worker, "POST", "/worker/jobs", token: Harness.token(subject), json: json)
    }

    /// Asks until the job has ended.
    private static func ended(_ worker: Origin, _ id: String) async throws -> OutboundClient.Answer {
        while true {
            let answer = try await Harness.ask(
                worker, "GET", "/worker/jobs/\(id)", token: Harness.token("ada"))
            guard let state = answer.text("state"), ["ready", "leased"].contains(state) else { return answer }
            try await Task.sleep(for: .milliseconds(1))
        }
    }

    @Test(
        "A job of each kind gives its known result",
        arguments: [
            ("{\"kind\":\"echo\",\"payload\":[1,true,null,1.5,\"x\"]}", "[1,true,null,1.5,\"x\"]"),
            (
                "{\"kind\":\"digest\",\"payload\":{\"text\":\"abc\"}}",
                "{\"sha256\":\"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\"}"
            ),
            (
                "{\"kind\":\"word-count\",\"payload\":{\"text\":\"one  two\\nthree\"}}",
                "{\"characters\":14,\"lines\":2,\"words\":3}"
            ),
        ])
    func kinds(order: String, result: String) async throws {
        try await withWorker { worker, _ in
            let receipt = try await Self.order(worker, order)
            #expect(receipt.status == 202)
            #expect(receipt.text("state") == "ready")
            let id = try #require(receipt.text("id"))
            #expect(receipt.field("location") == "/worker/jobs/\(id)")
            let report = try await Self.ended(worker, id)
            #expect(report.text("state") == "done")
            #expect(report.object["attempts"] as? Int == 1)
            #expect(String(decoding: report.body, as: UTF8.self).contains("\"result\":\(result)"))
        }
    }

    @Test("A job says which request ordered it") func trace() async throws {
        try await withWorker { worker, bus in
            let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
            let receipt = try await Harness.ask(
                worker, "POST", "/worker/jobs", token: Harness.token("ada"), json: "{\"kind\":\"echo\"}",
                fields: [("X-Request-ID", "req-7"), ("traceparent", trace)])
            let id = try #require(receipt.text("id"))
            let job = try #require(try await bus.job(id: id))
            #expect(job.trace == Trace(requestID: "req-7", traceparent: trace))
            #expect(job.owner == "ada")
        }
    }

    @Test("A dead job can be tried anew by its owner, and nothing else can") func redriven() async throws {
        let isMended = Atomic<Bool>(false)
        let broken = JobKind("broken", isOpen: true) { _ in
            guard isMended.load(ordering: .relaxed) else { throw FatalJobFailure("broken") }
            return nil
        }
        try await withWorker(kinds: [broken]) { worker, _ in
            let id = try #require(try await Self.order(worker, "{\"kind\":\"broken\"}").text("id"))
            let report = try await Self.ended(worker, id)
            #expect(report.text("state") == "dead")
            #expect(report.text("error") == "broken")
            #expect(report.object["failures"] as? Int == 1)
            isMended.store(true, ordering: .relaxed)
            let path = "/worker/jobs/\(id)/redrive"
            #expect(try await Harness.ask(worker, "POST", path, token: Harness.token("bob")).status == 404)
            let again = try await Harness.ask(worker, "POST", path, token: Harness.token("ada"))
            #expect(again.status == 202)
            #expect(again.text("state") == "ready")
            let mended = try await Self.ended(worker, id)
            #expect(mended.text("state") == "done")
            #expect(mended.object["error"] == nil)
            let late = try await Harness.ask(worker, "POST", path, token: Harness.token("ada"))
            #expect(late.status == 409)
            #expect(late.text("reason") == "not_dead")
        }
    }

    @Test("While the bus is away, orders and questions are 503 and say when to come again") func away()
        async throws
    {
        try await withWorker { worker, bus in
            let id = try #require(try await Self.order(worker, "{\"kind\":\"echo\"}").text("id"))
            bus.isAway = true
            let path = "/worker/jobs/\(id)"
            for (method, path, json) in [
                ("POST", "/worker/jobs", "{\"kind\":\"echo\"}"), ("GET", path, nil),
                ("POST", "\(path)/redrive", nil),
            ] {
                let answer = try await Harness.ask(
                    worker, method, path, token: Harness.token("ada"), json: json)
                #expect(answer.status == 503)
                #expect(answer.text("reason") == "bus_unavailable")
                #expect(answer.field("retry-after") == "2")
            }
            // The worker itself does not stop for that.
            #expect(try await Harness.ask(worker, "GET", "/healthz").status == 200)
            bus.isAway = false
            #expect(try await Self.ended(worker, id).text("state") == "done")
        }
    }

    @Test("A job is its owner's; what is not a job is refused; what services order, users cannot")
    func refusals() async throws {
        try await withWorker { worker, bus in
            let id = try #require(try await Self.order(worker, "{\"kind\":\"echo\"}").text("id"))
            let path = "/worker/jobs/\(id)"
            #expect(try await Harness.ask(worker, "GET", path, token: Harness.token("bob")).status == 404)
            #expect(
                try await Harness.ask(worker, "GET", path, token: Harness.token("root", roles: ["admin"]))
                    .status
                    == 200)
            #expect(try await Harness.ask(worker, "GET", path).status == 401)
            #expect(
                try await Harness.ask(worker, "GET", path, token: Harness.token("ada", scope: "search"))
                    .status
                    == 403)
            for kind in ["magic", "email", "webhook", "licence"] {
                let unknown = try await Self.order(worker, "{\"kind\":\"\(kind)\"}")
                #expect(unknown.status == 422)
                #expect(unknown.text("detail") == "The kinds are: digest, echo, process, word-count.")
            }
            // The platform's own jobs have no owner; their results are for administrators.
            let own = NewJob(
                queue: "work", kind: "echo", payload: JSONText(JSONValue.null), trace: .fresh())
            _ = try await bus.enqueue([own])
            #expect(
                try await Harness.ask(
                    worker, "GET", "/worker/jobs/\(own.id)", token: Harness.token("ada")
                ).status == 404)
            let long = String(repeating: "x", count: 65_536)
            #expect(try await Self.order(worker, "{\"kind\":\"echo\",\"payload\":\"\(long)\"}").status == 413)
            #expect(try await Self.order(worker, "{\"payload\":1}").status == 400)
            let deep = String(repeating: "[", count: 40) + String(repeating: "]", count: 40)
            let nested = try await Self.order(worker, "{\"kind\":\"echo\",\"payload\":\(deep)}")
            #expect(nested.status == 422)
            #expect(nested.text("reason") == "payload_too_deep")
        }
    }

    @Test("More unfinished jobs than an account may have are 429") func ownerLimit() async throws {
        let scratch = Scratch()
        let bus = try BusStore(directory: scratch.bus, limits: .init(jobsPerOwner: 2))
        let begun = Doorbell()
        let held = JobKind("held", isOpen: true) { _ in
            begun.ring()
            try await Task.sleep(for: .seconds(60))
            return nil
        }
        let service = try WorkerService(
            Harness.settings(scratch.worker), backbone: bus, verifier: Harness.verifier(), log: Harness.log,
            kinds: [held], limits: Workshop.limits)
        try await withRunning(service.parts, log: Harness.log) { (worker: Origin) async throws -> Void in
            for status in [202, 202, 429] {
                let answer = try await Self.order(worker, "{\"kind\":\"held\"}")
                #expect(answer.status == status)
            }
            let other = try await Self.order(worker, "{\"kind\":\"held\"}", as: "bob")
            #expect(other.status == 202)
        }
    }

    @Test("A service that is stopped breaks its jobs off and gives them back") func stopped()
        async throws
    {
        let scratch = Scratch()
        let bus = try TappedBus(scratch)
        let sink = try WebSink { _ in nil }
        let store = try WorkerStore(directory: scratch.worker)
        try await Workshop.add(store, "e", url: sink.url)
        // A delivery that was given up in time, before the stop, would be told of; and a lease that ran out begins anew.
        let sender = WebhookSender(
            threads: BlockingThreads(count: 1), addresses: .everything, timeout: .seconds(3_600))
        let service = try WorkerService(
            Harness.settings(scratch.worker), backbone: bus, verifier: Harness.verifier(), log: Harness.log,
            kinds: [.webhook(sender, store: store, tables: WebhookTables())],
            limits: .standard(leaseSeconds: 3_600))
        let job = try WebhookOrder.job(
            endpoint: "e", owner: "ada", message: "m", type: "document.created", body: JSONText(1),
            store: nil, trace: .fresh())
        try await withRunning(service.parts, log: Harness.log) { _ in
            _ = try await bus.enqueue([job])
            try await until { !sink.asked.isEmpty }
        }
        let left = try #require(try await bus.job(id: job.id))
        #expect((left.state, left.attempts, left.failures) == (.ready, 1, 0))
        // Broken off by us, which says nothing of the receiver.
        #expect(try await store.pool.read { db in try WebhookTables().counts(db).deliveries } == 0)
    }
}
