import Backbone
import ServiceKit

/// A backbone whose offsets have gaps: only each seventh is an event's. Nothing else of it is its own.
struct GappedBackbone: Backbone {
    private static let step: Int64 = 7

    let inner: any Backbone

    private static func outside(_ offset: Int64) -> Int64 { offset * step }
    /// The last event that is not behind `offset`.
    private static func inside(_ offset: Int64) -> Int64 { offset < 0 ? offset : offset / step }

    func publish(_ events: [Event]) async throws -> [PublishOutcome] {
        try await inner.publish(events).map { outcome in
            switch outcome {
            case .appended(let offset): .appended(offset: Self.outside(offset))
            case .duplicate(let offset): .duplicate(offset: Self.outside(offset))
            case .refused: outcome
            }
        }
    }

    func events(after offset: Int64, limit: Int, types: [String]?, waitSeconds: Int) async throws -> EventPage
    {
        let page = try await inner.events(
            after: Self.inside(offset), limit: limit, types: types, waitSeconds: waitSeconds)
        return EventPage(
            events: page.events.map { LoggedEvent(offset: Self.outside($0.offset), event: $0.event) },
            next: Self.outside(page.next), last: Self.outside(page.last), horizon: Self.outside(page.horizon))
    }

    func putGroup(_ name: String, offset: Int64) async throws {
        try await inner.putGroup(name, offset: Self.inside(offset))
    }

    func group(_ name: String) async throws -> ConsumerGroup? {
        try await inner.group(name).map(Self.outside)
    }

    private static func outside(_ group: ConsumerGroup) -> ConsumerGroup {
        ConsumerGroup(name: group.name, offset: outside(group.offset), updatedAt: group.updatedAt)
    }

    func stats() async throws -> BackboneStats {
        let stats = try await inner.stats()
        return BackboneStats(
            queues: stats.queues, groups: stats.groups.map(Self.outside),
            lastOffset: Self.outside(stats.lastOffset), horizon: Self.outside(stats.horizon))
    }

    // MARK: What has no offsets

    func removeGroup(_ name: String) async throws { try await inner.removeGroup(name) }
    func register(_ schema: EventSchema) async throws { try await inner.register(schema) }
    func schemas() async throws -> [EventSchema] { try await inner.schemas() }
    func enqueue(_ jobs: [NewJob]) async throws -> [EnqueueOutcome] { try await inner.enqueue(jobs) }

    func lease(queue: String, limit: Int, seconds: Int, worker: String) async throws -> [LeasedJob] {
        try await inner.lease(queue: queue, limit: limit, seconds: seconds, worker: worker)
    }

    func waitForJobs(queue: String, waitSeconds: Int) async throws -> Bool {
        try await inner.waitForJobs(queue: queue, waitSeconds: waitSeconds)
    }

    func finish(_ jobs: [(lease: Lease, result: JSONText?)]) async throws -> [LeaseOutcome] {
        try await inner.finish(jobs)
    }

    func setBack(_ jobs: [(lease: Lease, setback: JobSetback)]) async throws -> [LeaseOutcome] {
        try await inner.setBack(jobs)
    }

    func extend(_ leases: [Lease], seconds: Int) async throws -> [LeaseOutcome] {
        try await inner.extend(leases, seconds: seconds)
    }

    func job(id: String) async throws -> Job? { try await inner.job(id: id) }

    func deadJobs(queue: String, before: String?, limit: Int) async throws -> [Job] {
        try await inner.deadJobs(queue: queue, before: before, limit: limit)
    }

    func redrive(id: String) async throws { try await inner.redrive(id: id) }
}
