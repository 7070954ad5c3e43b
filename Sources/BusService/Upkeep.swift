internal import Backbone
internal import Foundation
internal import GRDB
internal import Logging
internal import ServiceLifecycle
internal import Synchronization

/// What the store needs from time to time, whether anybody asks or not.
struct Upkeep: Service {
    let store: BusStore
    let log: Logger
    /// How often leases that ran out are looked for. Whoever leases looks too; this is for queues that nobody leases.
    var expiryPause: Duration = .seconds(5)
    /// How often old events and ended jobs are removed.
    var removalPause: Duration = .seconds(60)

    func run() async throws {
        await cancelWhenGracefulShutdown {
            var removedAt = ContinuousClock.now
            var isTroubled = false
            while (try? await Task.sleep(for: expiryPause)) != nil {
                do {
                    try await store.expireLeases()
                    if removedAt.duration(to: .now) >= removalPause {
                        removedAt = .now
                        try await remove()
                    }
                    isTroubled = false
                } catch {
                    // Once is enough: a disk that is full for an hour must not fill the log.
                    if !isTroubled {
                        log.error("upkeep failed", metadata: ["error": .string(String(describing: error))])
                    }
                    isTroubled = true
                }
            }
        }
    }

    private func remove() async throws {
        let events = try await store.retain()
        var jobs = 0
        while case let some = try await store.dropEnded(), some > 0 { jobs += some }
        if events + jobs > 0 {
            log.info(
                "old entries removed",
                metadata: ["events": .stringConvertible(events), "jobs": .stringConvertible(jobs)])
        }
    }
}

/// Whether the store takes a write that needs room, asked at most once a second.
final class RoomProbe: Sendable {
    private static let keptFor: Duration = .seconds(1)

    private struct Seen: Sendable {
        let isWritable: Bool
        let at: ContinuousClock.Instant
    }

    private let store: BusStore
    private let seen = Mutex<Seen?>(nil)

    init(_ store: BusStore) { self.store = store }

    func isWritable() async -> Bool {
        if let seen = seen.withLock({ $0 }), seen.at.duration(to: .now) < Self.keptFor {
            return seen.isWritable
        }
        let isWritable = (try? await store.takeRoom()) != nil
        seen.withLock { $0 = Seen(isWritable: isWritable, at: .now) }
        return isWritable
    }
}
