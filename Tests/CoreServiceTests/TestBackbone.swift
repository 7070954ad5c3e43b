import Backbone
import BusService
import Foundation
import ServiceKit
import Synchronization

/// A bus in this process that can be away, and that can lose its answers.
final class TestBackbone: Backbone {
    enum Mood: Sendable {
        case here
        case away
        /// What it is told is stored, and whoever told it never hears so.
        case mute
    }

    let bus: BusStore?
    private let moodCell: Mutex<Mood>
    private let publishedCell = Mutex<[String]>([])
    private let bell = Doorbell()

    /// `bus`: `nil` for one that is away for ever.
    init(_ bus: BusStore? = nil, mood: Mood = .here) {
        self.bus = bus
        moodCell = Mutex(bus == nil ? .away : mood)
    }

    var mood: Mood {
        get { moodCell.withLock { $0 } }
        set { moodCell.withLock { $0 = newValue } }
    }

    /// The ids of all events that were sent, each as often as it was.
    var published: [String] { publishedCell.withLock { $0 } }

    /// Waits until so many events were sent.
    func wait(forPublished count: Int) async {
        while published.count < count { await bell.wait(upTo: .seconds(60)) }
    }

    private func present() throws -> BusStore {
        guard mood != .away, let bus else { throw BackboneError.unavailable("away") }
        return bus
    }

    private func answered<Answer>(_ answer: Answer) throws -> Answer {
        guard mood == .here else { throw BackboneError.unavailable("the answer is lost") }
        return answer
    }

    func publish(_ events: [Event]) async throws -> [PublishOutcome] {
        let outcomes = try await present().publish(events)
        publishedCell.withLock { $0 += events.map(\.id) }
        bell.ring()
        return try answered(outcomes)
    }

    func enqueue(_ jobs: [NewJob]) async throws -> [EnqueueOutcome] {
        try answered(try await present().enqueue(jobs))
    }

    func events(
        after offset: Int64, limit: Int, types: [String]?, waitSeconds: Int
    ) async throws -> EventPage {
        try await present().events(after: offset, limit: limit, types: types, waitSeconds: waitSeconds)
    }

    func putGroup(_ name: String, offset: Int64) async throws {
        try await present().putGroup(name, offset: offset)
    }

    func group(_ name: String) async throws -> ConsumerGroup? { try await present().group(name) }

    func removeGroup(_ name: String) async throws { try await present().removeGroup(name) }

    func register(_ schema: EventSchema) async throws { try await present().register(schema) }

    func schemas() async throws -> [EventSchema] { try await present().schemas() }

    func lease(queue: String, limit: Int, seconds: Int, worker: String) async throws -> [LeasedJob] {
        try await present().lease(queue: queue, limit: limit, seconds: seconds, worker: worker)
    }

    func waitForJobs(queue: String, waitSeconds: Int) async throws -> Bool {
        try await present().waitForJobs(queue: queue, waitSeconds: waitSeconds)
    }

    func finish(_ jobs: [(lease: Lease, result: JSONText?)]) async throws -> [LeaseOutcome] {
        try await present().finish(jobs)
    }

    func setBack(_ jobs: [(lease: Lease, setback: JobSetback)]) async throws -> [LeaseOutcome] {
        try await present().setBack(jobs)
    }

    func extend(_ leases: [Lease], seconds: Int) async throws -> [LeaseOutcome] {
        try await present().extend(leases, seconds: seconds)
    }

    func job(id: String) async throws -> Job? { try await present().job(id: id) }

    func deadJobs(queue: String, before: String?, limit: Int) async throws -> [Job] {
        try await present().deadJobs(queue: queue, before: before, limit: limit)
    }

    func redrive(id: String) async throws { try await present().redrive(id: id) }

    func stats() async throws -> BackboneStats { try await present().stats() }
}
