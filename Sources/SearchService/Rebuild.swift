internal import Backbone
internal import Foundation
internal import GRDB
internal import Logging
internal import ServiceKit
internal import ServiceLifecycle

/// Builds the index anew from the beginning of the log when it was asked for, also over restarts, and clears away what it
/// replaces.
struct Rebuild: Service {
    private static let pauseAfterFailure: Duration = .seconds(2)

    let store: SearchStore
    let backbone: any Backbone
    let log: Logger
    let progress = ConsumerProgress()
    private let bell = Doorbell()

    init(store: SearchStore, backbone: any Backbone, log: Logger) {
        self.store = store
        self.backbone = backbone
        self.log = log
    }

    /// Begins one. Returns `false` when there is one under way.
    func begin() async throws -> Bool {
        let hasBegun = try await store.pool.write { db in try SearchStore.beginRebuild(db) }
        if hasBegun { bell.ring() }
        return hasBegun
    }

    func run() async throws {
        await cancelWhenGracefulShutdown { await loop() }
    }

    private func loop() async {
        while !Task.isCancelled {
            do {
                try await build()
                try await clear()
                await bell.wait(upTo: .seconds(3_600))
            } catch {
                log.debug("rebuild waits", metadata: ["error": .string(String(describing: error))])
                try? await Task.sleep(for: Self.pauseAfterFailure)
            }
        }
    }

    private func build() async throws {
        guard try await store.standing().isRebuilding else { return }
        log.info("index is rebuilt")
        // Each event has been logged, or will be, where the index that is searched took it.
        var quiet = log
        quiet.logLevel = max(log.logLevel, .notice)
        let consumer = EventConsumer(
            group: SearchStore.Group.rebuild, types: DocumentChange.types, backbone: backbone,
            store: store.pool, log: quiet, progress: progress, endsWhenCaughtUp: true,
            caughtUp: { db in try SearchStore.finishRebuild(db) }
        ) { db, event in
            guard let change = try DocumentChange(event.event) else { return }
            try SearchStore.apply(
                db, id: event.event.subject, change, generation: SearchStore.standing(db).building)
        }
        // It ends at each end of the log, which is the last one once the index that is searched is no further.
        while try await store.standing().isRebuilding {
            try Task.checkCancellation()
            try await consumer.run()
        }
        log.info("index was rebuilt")
    }

    private func clear() async throws {
        try await store.sweep()
        // Also after a start: it may have been killed between the rebuild's end and here. A group that is forgotten on the bus
        // would keep its events for ever.
        try await backbone.removeGroup(SearchStore.Group.rebuild)
    }
}
