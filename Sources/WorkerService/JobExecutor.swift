internal import Foundation
internal import Logging
internal import ServiceKit
internal import ServiceLifecycle

/// Runs the jobs that wait, a few at a time.
struct JobExecutor: Service {
    /// How a failed job is tried again.
    struct Retry: Sendable {
        var firstPauseMilliseconds = 500.0
        var longestPauseMilliseconds = 300_000.0
    }

    let store: JobStore
    let kinds: [String: JobKind]
    let concurrency: Int
    let timeout: Duration
    let retry: Retry
    let bell: Doorbell
    let log: Logger

    private struct TimedOut: Error, CustomStringConvertible {
        let description = "the job took too long"
    }

    func run() async throws {
        try await store.recover(now: Timestamp.now)
        // No job is begun after the stop; those in hand are cancelled and given back, to be begun anew at the next start.
        await cancelWhenGracefulShutdown { await execute() }
    }

    private func execute() async {
        await withTaskGroup(of: Void.self) { group in
            var inHand = 0
            while !Task.isCancelled {
                if inHand == concurrency {
                    await group.next()
                    inHand -= 1
                    continue
                }
                do {
                    if let job = try await store.begin(now: Timestamp.now) {
                        inHand += 1
                        group.addTask { await attempt(job) }
                    } else {
                        await bell.wait(upTo: try await untilNextDue())
                    }
                } catch is CancellationError {
                    break
                } catch {
                    log.error("jobs unreadable", metadata: ["error": .string(String(describing: error))])
                    try? await Task.sleep(for: .seconds(1))
                }
            }
        }
    }

    private func untilNextDue() async throws -> Duration {
        guard let due = try await store.nextDue() else { return .seconds(60) }
        return .milliseconds(max(1, min(60_000, due - Timestamp.now)))
    }

    private func attempt(_ job: Job) async {
        var metadata: Logger.Metadata = [
            "job": .string(job.id), "kind": .string(job.kind), "attempt": .stringConvertible(job.attempts),
            "request_id": .string(job.requestID),
        ]
        do {
            do {
                let result = try await result(job)
                try await store.succeed(job, result: result, now: Timestamp.now)
                log.info("job done", metadata: metadata)
            } catch {
                if Task.isCancelled {
                    try await released(job)
                    return
                }
                let retryAt = retryAt(job, error)
                metadata["error"] = .string(String(describing: error))
                log.warning(retryAt == nil ? "job failed" : "job will be tried again", metadata: metadata)
                try await store.fail(
                    job, error: String(String(describing: error).prefix(500)), retryAt: retryAt,
                    now: Timestamp.now)
                // The loop may be waiting for a later job than this one has become.
                bell.ring()
            }
        } catch {
            // The job stays marked as running, and is taken up again at the next start.
            metadata["error"] = .string(String(describing: error))
            log.error("job not recorded", metadata: metadata)
        }
    }

    /// Out of the cancelled task, whose own writes would be cancelled too.
    private func released(_ job: Job) async throws {
        let store = store
        try await Task.detached { try await store.release(job, now: Timestamp.now) }.value
    }

    private func result(_ job: Job) async throws -> String {
        guard let kind = kinds[job.kind] else { throw FatalJobFailure("unknown kind '\(job.kind)'") }
        return try await withThrowingTaskGroup(of: String.self) { group in
            group.addTask { try await kind.work(job.payload) }
            group.addTask {
                try await Task.sleep(for: timeout)
                throw TimedOut()
            }
            defer { group.cancelAll() }
            guard let result = try await group.next() else { throw TimedOut() }
            return result
        }
    }

    private func retryAt(_ job: Job, _ error: any Error) -> Int64? {
        guard !(error is FatalJobFailure), job.failures + 1 < JobStore.failureLimit else { return nil }
        let full = min(
            retry.longestPauseMilliseconds, retry.firstPauseMilliseconds * Double(1 << min(job.failures, 20)))
        return Timestamp.now + Int64(full * Double.random(in: 0.5...1))
    }
}
