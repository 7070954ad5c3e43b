import Backbone
import Foundation

@testable import BusService

/// The engines that are held to what a backbone promises.
enum Engine: CaseIterable {
    /// The store in this process.
    case store
    /// The same behind its service, asked over HTTP.
    case http
    /// The same with offsets as a database of many writers has them: with gaps.
    case gaps

    func withWorld(
        limits: EngineLimits, _ body: @escaping @Sendable (World) async throws -> Void
    ) async throws {
        try await Harness.withDirectory { directory in
            let clock = HandClock()
            try await open(directory, limits, clock) { backbone, upkeep in
                try await body(
                    World(
                        engine: self, directory: directory, clock: clock, backbone: backbone, upkeep: upkeep))
            }
        }
    }

    func open<Value: Sendable>(
        _ directory: URL, _ limits: EngineLimits, _ clock: HandClock,
        _ body: @escaping @Sendable (any Backbone, EngineUpkeep) async throws -> Value
    ) async throws -> Value {
        switch self {
        case .store:
            let store = try BusStore(directory: directory, limits: limits.ofBus, clock: { clock.now })
            return try await body(store, EngineUpkeep(store))
        case .http:
            let service = try Harness.service(directory, limits: limits.ofBus, clock: clock)
            return try await Harness.withService(service) { origin in
                try await body(
                    Harness.client(origin), EngineUpkeep(service.store))
            }
        case .gaps:
            let store = try BusStore(directory: directory, limits: limits.ofBus, clock: { clock.now })
            return try await body(GappedBackbone(inner: store), EngineUpkeep(store))
        }
    }
}

/// Bounds that every engine has; `nil` where its own are right.
struct EngineLimits: Sendable {
    var waitingJobs: Int?
    var jobsPerOwner: Int?
    var keptJobMilliseconds: Int64?
    var keptEventMilliseconds: Int64?
    var compactedTopics: Set<String>?
    var groups: Int?

    fileprivate var ofBus: BusStore.Limits {
        var limits = BusStore.Limits()
        if let waitingJobs { limits.waitingJobs = waitingJobs }
        if let jobsPerOwner { limits.jobsPerOwner = jobsPerOwner }
        if let keptJobMilliseconds { limits.keptJobMilliseconds = keptJobMilliseconds }
        if let keptEventMilliseconds { limits.keptEventMilliseconds = keptEventMilliseconds }
        if let compactedTopics { limits.compactedTopics = compactedTopics }
        if let groups { limits.groups = groups }
        return limits
    }
}

/// What an engine does by itself from time to time, and here when a test says so.
struct EngineUpkeep: Sendable {
    /// Removes old events, and says how many; with `true` those too that a group has not read.
    let retain: @Sendable (_ ignoringGroups: Bool) async throws -> Int
    /// Removes jobs that ended long ago, and says how many.
    let dropEnded: @Sendable () async throws -> Int

    init(_ store: BusStore) {
        retain = { try await store.retain(ignoringGroups: $0) }
        dropEnded = { try await store.dropEnded() }
    }
}

/// An engine at work.
struct World: Sendable {
    let engine: Engine
    let directory: URL
    let clock: HandClock
    let backbone: any Backbone
    let upkeep: EngineUpkeep

    /// The same store once more, as after a restart.
    func reopened<Value: Sendable>(
        _ body: @escaping @Sendable (any Backbone) async throws -> Value
    ) async throws -> Value {
        try await engine.open(directory, .init(), clock) { backbone, _ in try await body(backbone) }
    }
}
