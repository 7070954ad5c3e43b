import Backbone
import Foundation
import GRDB
import Logging
import ServiceKit
import ServiceLifecycle
import Testing

@testable import WorkerService

/// Folders of a worker and of a bus, which go with it.
final class Scratch: Sendable {
    let worker = Harness.directory()
    let bus = Harness.directory()

    deinit {
        for folder in [worker, bus] { try? FileManager.default.removeItem(at: folder) }
    }
}

/// A worker's store over a bus of this process, and what runs jobs between them.
struct Workshop: Sendable {
    let scratch = Scratch()
    let bus: TappedBus
    let store: WorkerStore
    let tables = WebhookTables()

    init() throws {
        bus = try TappedBus(scratch)
        store = try WorkerStore(directory: scratch.worker)
    }

    var deaths: JobDeaths { JobDeaths(store: store, backbone: bus) }

    /// Words of an executor come quickly here: tests wait for them.
    static let limits = JobExecutor.Limits(
        leaseSeconds: 30, heartbeat: .milliseconds(3), nextHeartbeat: .milliseconds(3), waitSeconds: 1,
        wordPause: .milliseconds(3))

    func executor(_ kinds: [JobKind], places: Int = 2) -> JobExecutor {
        executor(JobKind.workQueue, kinds, places: places)
    }

    func executor(_ queue: String, _ kinds: [JobKind], places: Int = 2) -> JobExecutor {
        JobExecutor(
            queue: queue, kinds: Dictionary(kinds.map { ($0.name, $0) }, uniquingKeysWith: { $1 }),
            places: Places(places), backbone: bus, deaths: deaths, worker: "test", limits: Self.limits,
            log: Harness.log)
    }

    /// Runs a loop until the body is through.
    func whileRunning(_ loops: [any Service], _ body: () async throws -> Void) async throws {
        let tasks = loops.map { loop in Task { try await loop.run() } }
        let outcome: Result<Void, any Error>
        do {
            try await body()
            outcome = .success(())
        } catch {
            outcome = .failure(error)
        }
        for task in tasks { task.cancel() }
        for task in tasks { _ = await task.result }
        try outcome.get()
    }

    /// Orders a job and returns its id.
    func order(
        _ kind: String, _ payload: JSONValue = .null, queue: String = "work", failureLimit: Int = 5
    ) async throws -> String {
        let job = NewJob(
            queue: queue, kind: kind, payload: JSONText(payload), trace: .fresh(), owner: "ada",
            failureLimit: failureLimit)
        return try await order(job)
    }

    func order(_ job: NewJob) async throws -> String {
        #expect(try await bus.enqueue([job]) == [.queued])
        return job.id
    }

    /// The job, once it fits.
    func job(_ id: String, when fits: (Job) -> Bool) async throws -> Job {
        while true {
            if let job = try await bus.job(id: id), fits(job) { return job }
            try await Task.sleep(for: .milliseconds(1))
        }
    }

    func ended(_ id: String) async throws -> Job {
        try await job(id) { $0.state == .done || $0.state == .dead }
    }

    /// What waits in the outbox.
    func outbox() async throws -> (events: [Event], jobs: [NewJob]) {
        let rows = try await store.pool.read { db in
            try Row.fetchAll(db, sql: "SELECT is_job, message FROM outbox_message ORDER BY seq").map {
                (isJob: $0["is_job"] as Bool, message: $0["message"] as String)
            }
        }
        return (
            try rows.filter { !$0.isJob }.map { try Wire.event($0.message) },
            try rows.filter(\.isJob).map { try Wire.job($0.message) }
        )
    }

    /// Makes an endpoint; its secret is returned.
    @discardableResult
    func endpoint(
        _ id: String, url: String, owner: String = "ada", types: String = "document.*"
    ) async throws -> WebhookSecret {
        try await Self.add(store, id, url: url, owner: owner, types: types)
    }

    @discardableResult
    static func add(
        _ store: WorkerStore, _ id: String, url: String, owner: String = "ada", types: String = "document.*"
    ) async throws -> WebhookSecret {
        let secret = WebhookSecret.random()
        try await store.write { db in
            try db.execute(
                sql: """
                    INSERT INTO webhook_endpoint (id, owner, url, description, types, secret, created_at, updated_at)
                    VALUES (?, ?, ?, '', ?, ?, 0, 0)
                    """, arguments: [id, owner, url, types, secret.text])
        }
        return secret
    }
}

/// Asks until it is so. It leaves the processor to what it waits for, and ends with the test's time limit.
func until(_ isSo: () async throws -> Bool) async throws {
    while try await !isSo() { try await Task.sleep(for: .milliseconds(1)) }
}
