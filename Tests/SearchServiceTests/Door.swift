import Backbone
import BusService
import ServiceKit
import Synchronization

/// A bus behind a door that can be shut: who asks for events then is told that it is away, who waits already too.
final class Door: Backbone {
    private struct State {
        var isOpen = true
        /// The group for which alone it is shut: told from the others by its reading from the beginning.
        var shutGroup: String?
    }

    private let bus: BusStore
    private let state = Mutex(State())

    init(_ bus: BusStore) { self.bus = bus }

    var isOpen: Bool {
        get { state.withLock { $0.isOpen } }
        set { state.withLock { $0.isOpen = newValue } }
    }

    func shut(to group: String?) { state.withLock { $0.shutGroup = group } }

    private func pass(_ group: String? = nil) throws {
        let isOpen = state.withLock { $0.isOpen && (group == nil || $0.shutGroup != group) }
        guard isOpen else { throw BackboneError.unavailable("shut") }
    }

    func events(after offset: Int64, limit: Int, types: [String]?, waitSeconds: Int) async throws -> EventPage
    {
        try pass()
        let page = try await bus.events(after: offset, limit: limit, types: types, waitSeconds: waitSeconds)
        try pass()
        return page
    }
    func putGroup(_ name: String, offset: Int64) async throws {
        try pass(name)
        try await bus.putGroup(name, offset: offset)
    }
    func group(_ name: String) async throws -> ConsumerGroup? { try await bus.group(name) }
    func removeGroup(_ name: String) async throws {
        try pass(name)
        try await bus.removeGroup(name)
    }
    func stats() async throws -> BackboneStats { try await bus.stats() }
    func publish(_ events: [Event]) async throws -> [PublishOutcome] { try await bus.publish(events) }
    func register(_ schema: EventSchema) async throws { try await bus.register(schema) }
    func schemas() async throws -> [EventSchema] { try await bus.schemas() }
    func enqueue(_ jobs: [NewJob]) async throws -> [EnqueueOutcome] { try await bus.enqueue(jobs) }
    func lease(queue: String, limit: Int, seconds: Int, worker: String) async throws -> [LeasedJob] {
        try await bus.lease(queue: queue, limit: limit, seconds: seconds, worker: worker)
    }
    func waitForJobs(queue: String, waitSeconds: Int) async throws -> Bool {
        try await bus.waitForJobs(queue: queue, waitSeconds: waitSeconds)
    }
    func finish(_ jobs: [(lease: Lease, result: JSONText?)]) async throws -> [LeaseOutcome] {
        try await bus.finish(jobs)
    }
    func setBack(_ jobs: [(lease: Lease, setback: JobSetback)]) async throws -> [LeaseOutcome] {
        try await bus.setBack(jobs)
    }
    func extend(_ leases: [Lease], seconds: Int) async throws -> [LeaseOutcome] {
        try await bus.extend(leases, seconds: seconds)
    }
    func job(id: String) async throws -> Job? { try await bus.job(id: id) }
    func deadJobs(queue: String, before: String?, limit: Int) async throws -> [Job] {
        try await bus.deadJobs(queue: queue, before: before, limit: limit)
    }
    func redrive(id: String) async throws { try await bus.redrive(id: id) }
}
