import Backbone
import BusService
import ServiceKit
import Synchronization

/// A bus that can be away, and whose clock is set by hand.
final class TappedBus: Backbone {
    private let inner: BusStore
    private let clock: Clock
    private let away = Atomic<Bool>(false)
    private let extensionCount = Atomic<Int>(0)
    private let wolf = Atomic<Bool>(false)
    private let leaseCount = Atomic<Int>(0)
    private let missedCount = Atomic<Int>(0)

    private final class Clock: Sendable {
        let ahead = Mutex<Int64>(0)
    }

    init(_ world: Scratch) throws {
        let clock = Clock()
        self.clock = clock
        inner = try BusStore(directory: world.bus) { Timestamp.now + clock.ahead.withLock { $0 } }
    }

    /// Whether each call fails.
    var isAway: Bool {
        get { away.load(ordering: .relaxed) }
        set { away.store(newValue, ordering: .relaxed) }
    }

    /// Whether it says at once that jobs are due, whatever is so.
    var isCryingWolf: Bool {
        get { wolf.load(ordering: .relaxed) }
        set { wolf.store(newValue, ordering: .relaxed) }
    }

    /// How often it was asked for jobs.
    var leases: Int { leaseCount.load(ordering: .relaxed) }

    /// How often leases were asked to be extended.
    var extensions: Int { extensionCount.load(ordering: .relaxed) }

    /// How often it did not hear that a job was done.
    var missedWords: Int { missedCount.load(ordering: .relaxed) }

    /// Sets its clock forward.
    func advance(seconds: Int64) { clock.ahead.withLock { $0 += seconds * 1_000 } }

    private var bus: BusStore {
        get throws {
            guard !isAway else { throw BackboneError.unavailable("away") }
            return inner
        }
    }

    func publish(_ events: [Event]) async throws -> [PublishOutcome] { try await bus.publish(events) }
    func events(
        after offset: Int64, limit: Int, types: [String]?, waitSeconds: Int
    ) async throws -> EventPage {
        try await bus.events(after: offset, limit: limit, types: types, waitSeconds: waitSeconds)
    }
    func putGroup(_ name: String, offset: Int64) async throws {
        try await bus.putGroup(name, offset: offset)
    }
    func group(_ name: String) async throws -> ConsumerGroup? { try await bus.group(name) }
    func removeGroup(_ name: String) async throws { try await bus.removeGroup(name) }
    func register(_ schema: EventSchema) async throws { try await bus.register(schema) }
    func schemas() async throws -> [EventSchema] { try await bus.schemas() }
    func enqueue(_ jobs: [NewJob]) async throws -> [EnqueueOutcome] { try await bus.enqueue(jobs) }
    func lease(queue: String, limit: Int, seconds: Int, worker: String) async throws -> [LeasedJob] {
        leaseCount.add(1, ordering: .relaxed)
        return try await bus.lease(queue: queue, limit: limit, seconds: seconds, worker: worker)
    }
    func waitForJobs(queue: String, waitSeconds: Int) async throws -> Bool {
        if isCryingWolf { return true }
        return try await bus.waitForJobs(queue: queue, waitSeconds: waitSeconds)
    }
    func finish(_ jobs: [(lease: Lease, result: JSONText?)]) async throws -> [LeaseOutcome] {
        if isAway { missedCount.add(1, ordering: .relaxed) }
        return try await bus.finish(jobs)
    }
    func setBack(_ jobs: [(lease: Lease, setback: JobSetback)]) async throws -> [LeaseOutcome] {
        try await bus.setBack(jobs)
    }
    func extend(_ leases: [Lease], seconds: Int) async throws -> [LeaseOutcome] {
        extensionCount.add(1, ordering: .relaxed)
        return try await bus.extend(leases, seconds: seconds)
    }
    func job(id: String) async throws -> Job? { try await bus.job(id: id) }
    func deadJobs(queue: String, before: String?, limit: Int) async throws -> [Job] {
        try await bus.deadJobs(queue: queue, before: before, limit: limit)
    }
    func redrive(id: String) async throws { try await bus.redrive(id: id) }
    func stats() async throws -> BackboneStats { try await bus.stats() }
}
