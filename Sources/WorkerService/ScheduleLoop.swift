internal import Backbone
internal import Foundation
internal import GRDB
internal import Logging
internal import ServiceKit
internal import ServiceLifecycle

/// Orders the jobs of schedules when they are due. Several may run, in one process or in many, over one store.
struct ScheduleLoop: Service {
    let store: WorkerStore
    /// Rung when a schedule is made, which may be due before all others.
    let bell: Doorbell
    let log: Logger
    var tables = ScheduleTables()
    /// Unix milliseconds.
    var now: @Sendable () -> Int64 = { Timestamp.now }

    func run() async throws {
        // A tick is one transaction: it is had whole or not at all, wherever the stop comes.
        await cancelWhenGracefulShutdown { await loop() }
    }

    private func loop() async {
        var failures = 0
        while !Task.isCancelled {
            do {
                try await orderWhatIsDue()
                failures = 0
                let next = try await store.pool.read { db in try tables.nextDue(db) }
                await bell.wait(upTo: wait(until: next))
            } catch is CancellationError {
                return
            } catch {
                failures += 1
                // Once is enough: an outbox that is full for an hour must not fill the log.
                if failures == 1 {
                    log.error(
                        "schedules not moved on", metadata: ["error": .string(String(describing: error))])
                }
                await bell.wait(upTo: tables.limits.pause)
            }
        }
    }

    /// All ticks that are due now.
    func orderWhatIsDue() async throws {
        while true {
            let now = now()
            let ticks = try await store.pool.write { db in
                try tables.tick(db, outbox: store.outbox, now: now)
            }
            for tick in ticks {
                var metadata: Logger.Metadata = [
                    "schedule": .string(tick.schedule), "job": .string(tick.job.id),
                    "kind": .string(tick.job.kind), "due": .string(Timestamp.text(tick.dueAt)),
                    "request_id": .string(tick.job.trace.requestID),
                ]
                if let traceID = tick.job.trace.traceID { metadata["trace_id"] = .string(traceID) }
                log.info("schedule is due", metadata: metadata)
            }
            if ticks.isEmpty { return }
        }
    }

    private func wait(until next: Int64?) -> Duration {
        guard let next else { return tables.limits.longestWait }
        return min(tables.limits.longestWait, max(.zero, .milliseconds(next - now())))
    }
}
