import Foundation
import ServiceKit
import Synchronization
import Testing

@testable import WorkerService

@Suite("The worker service over HTTP") struct WorkerServiceTests {
    private struct Broken: Error {}

    private func withWorker(
        directory: URL? = nil, kinds: [JobKind] = JobKind.standard,
        _ body: @escaping @Sendable (Origin) async throws -> Void
    ) async throws {
        let place = directory ?? Harness.directory()
        defer { if directory == nil { try? FileManager.default.removeItem(at: place) } }
        let service = try WorkerService(
            directory: place, verifier: Harness.verifier(), log: Harness.log, kinds: kinds,
            firstPause: .milliseconds(1))
        try await withRunning(service.parts, log: Harness.log, body)
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
            guard let state = answer.text("state"), ["queued", "running"].contains(state) else {
                return answer
            }
            await Task.yield()
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
        try await withWorker { worker in
            let receipt = try await Self.order(worker, order)
            #expect(receipt.status == 202)
            #expect(receipt.text("state") == "queued")
            let id = try #require(receipt.text("id"))
            let report = try await Self.ended(worker, id)
            #expect(report.text("state") == "done")
            #expect(report.object["attempts"] as? Int == 1)
            #expect(String(decoding: report.body, as: UTF8.self).contains("\"result\":\(result)"))
        }
    }

    @Test("A job that fails twice is done at the third attempt") func retried() async throws {
        let attempts = Mutex(0)
        let flaky = JobKind("flaky") { payload in
            let attempt = attempts.withLock { count in
                count += 1
                return count
            }
            if attempt < 3 { throw Broken() }
            return payload
        }
        try await withWorker(kinds: [flaky]) { worker in
            let id = try #require(try await Self.order(worker, "{\"kind\":\"flaky\"}").text("id"))
            let report = try await Self.ended(worker, id)
            #expect(report.text("state") == "done")
            #expect(report.object["attempts"] as? Int == 3)
        }
    }

    @Test("A job has failed after its fifth attempt, or at once when there is no mending it") func failed()
        async throws
    {
        let broken = JobKind("broken") { _ in throw Broken() }
        try await withWorker(kinds: [broken, .digest]) { worker in
            let id = try #require(try await Self.order(worker, "{\"kind\":\"broken\"}").text("id"))
            let report = try await Self.ended(worker, id)
            #expect(report.text("state") == "failed")
            #expect(report.object["attempts"] as? Int == 5)
            let fatal = try #require(
                try await Self.order(worker, "{\"kind\":\"digest\",\"payload\":{\"text\":1}}").text("id"))
            let fatalReport = try await Self.ended(worker, fatal)
            #expect(fatalReport.text("state") == "failed")
            #expect(fatalReport.object["attempts"] as? Int == 1)
            #expect(fatalReport.text("error")?.contains("'text'") == true)
        }
    }

    @Test(
        "A job that was running when the service died is done after the restart, and that was not its failure"
    )
    func restart() async throws {
        let directory = Harness.directory()
        defer { try? FileManager.default.removeItem(at: directory) }
        let id: String
        do {
            let store = try JobStore(directory: directory)
            let admission = try await store.add(
                owner: "ada", kind: "echo", payload: "1", requestID: "abc", now: Timestamp.now)
            guard case .queued(let job) = admission else {
                Issue.record("refused")
                return
            }
            id = job.id
            #expect(try await store.begin(now: Timestamp.now)?.id == id)
            #expect(try await store.begin(now: Timestamp.now) == nil)
        }
        try await withWorker(directory: directory) { worker in
            let report = try await Self.ended(worker, id)
            #expect(report.text("state") == "done")
            #expect(report.object["attempts"] as? Int == 2)
        }
        #expect(try await JobStore(directory: directory).job(id: id)?.failures == 0)
    }

    @Test("A job in hand when the service stops is given back") func stopped() async throws {
        let directory = Harness.directory()
        defer { try? FileManager.default.removeItem(at: directory) }
        let hasBegun = Doorbell()
        let endless = JobKind("endless") { _ in
            hasBegun.ring()
            try await Task.sleep(for: .seconds(3_600))
            return ""
        }
        let id = Mutex("")
        try await withWorker(directory: directory, kinds: [endless]) { worker in
            let made = try #require(try await Self.order(worker, "{\"kind\":\"endless\"}").text("id"))
            id.withLock { $0 = made }
            await hasBegun.wait(upTo: .seconds(60))
        }
        let job = try await JobStore(directory: directory).job(id: id.withLock { $0 })
        #expect(job?.state == .queued)
        #expect(job?.failures == 0)
    }

    @Test("A job is its owner's; what is not a job is refused") func refusals() async throws {
        try await withWorker { worker in
            let id = try #require(try await Self.order(worker, "{\"kind\":\"echo\"}").text("id"))
            let path = "/worker/jobs/\(id)"
            #expect(try await Harness.ask(worker, "GET", path, token: Harness.token("bob")).status == 404)
            #expect(
                try await Harness.ask(worker, "GET", path, token: Harness.token("root", roles: ["admin"]))
                    .status
                    == 200)
            #expect(try await Harness.ask(worker, "GET", path).status == 401)
            let unknown = try await Self.order(worker, "{\"kind\":\"magic\"}")
            #expect(unknown.status == 422)
            #expect(unknown.text("detail") == "The kinds are: digest, echo, process, word-count.")
            let long = String(repeating: "x", count: 65_536)
            #expect(try await Self.order(worker, "{\"kind\":\"echo\",\"payload\":\"\(long)\"}").status == 413)
            #expect(try await Self.order(worker, "{\"payload\":1}").status == 400)
        }
    }

    @Test("An account may have a thousand unfinished jobs") func ownerLimit() async throws {
        let directory = Harness.directory()
        defer { try? FileManager.default.removeItem(at: directory) }
        let store = try JobStore(directory: directory)
        for _ in 0..<JobStore.waitingPerOwner {
            _ = try await store.add(owner: "ada", kind: "echo", payload: "1", requestID: "", now: 0)
        }
        guard
            case .ownerFull = try await store.add(
                owner: "ada", kind: "echo", payload: "1", requestID: "", now: 0)
        else {
            Issue.record("one too many was taken")
            return
        }
        guard
            case .queued = try await store.add(
                owner: "bob", kind: "echo", payload: "1", requestID: "", now: 0)
        else {
            Issue.record("another owner was refused")
            return
        }
    }
}
