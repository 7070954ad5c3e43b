internal import Backbone
internal import Logging
internal import ServiceKit
internal import ServiceLifecycle
internal import Synchronization

/// Runs the jobs of one queue, a few at a time.
struct JobExecutor: Service {
    /// Bounds of an executor.
    struct Limits: Sendable {
        /// How long a job is ours without a word. A worker that dies leaves its jobs to others after so long.
        var leaseSeconds = 30
        /// How often that word is given.
        var heartbeat: Duration = .seconds(10)
        /// After a heartbeat that the backbone did not hear.
        var nextHeartbeat: Duration = .seconds(1)
        /// How long the backbone is asked to wait for a job.
        var waitSeconds = 20
        /// How often the word on how a job ended is given to a backbone that is away, within the lease.
        var wordPause: Duration = .milliseconds(200)
        /// Empty hands after so many calls in a row are followed by a pause, whatever the backbone says is due.
        var emptyCalls = 3

        /// A word each third of the lease: one that is lost is made good by the next.
        static func standard(leaseSeconds: Int) -> Limits {
            let third = Duration.seconds(leaseSeconds) / 3
            return Limits(
                leaseSeconds: leaseSeconds, heartbeat: third, nextHeartbeat: min(.seconds(1), third / 2))
        }
    }

    let queue: String
    let kinds: [String: JobKind]
    let places: Places
    let backbone: any Backbone
    let deaths: JobDeaths
    /// For people who ask the backbone who has a job.
    let worker: String
    var limits = Limits()
    let log: Logger

    private struct TimedOut: Error, CustomStringConvertible {
        let description = "the job took too long"
    }

    private struct LeaseLost: Error {}

    /// How a job left our hands.
    private enum Ending {
        case done(JSONText?)
        case setBack(JobSetback)
        /// It is another's: nobody listens to us any more.
        case lost
    }

    private enum Step {
        case worked(JSONText?)
        case other
    }

    func run() async throws {
        // No job is begun after the stop; those in hand are cancelled and given back, to be begun anew by whoever is next.
        await cancelWhenGracefulShutdown { await execute() }
    }

    private func execute() async {
        await withDiscardingTaskGroup { group in
            var failures = 0
            var emptyCalls = 0
            while !Task.isCancelled {
                let free = places.free
                guard free > 0 else {
                    await places.bell.wait(upTo: .seconds(60))
                    continue
                }
                do {
                    let asked = ContinuousClock.now
                    let leased = try await lease(free)
                    if failures > 0 { log.info("the backbone is back", metadata: ["queue": .string(queue)]) }
                    failures = 0
                    emptyCalls = leased.isEmpty ? emptyCalls + 1 : 0
                    for job in leased {
                        places.take()
                        group.addTask {
                            await attempt(job, since: asked)
                            places.give()
                        }
                    }
                    // A wait leases nothing: what is leased for a worker that dies while it waits is nobody's.
                    guard leased.count < free else { continue }
                    let isDue = try await backbone.waitForJobs(queue: queue, waitSeconds: limits.waitSeconds)
                    // Others may be quicker each time, and a clock may differ: never a loop without a wait.
                    if isDue, emptyCalls > limits.emptyCalls {
                        try await Task.sleep(for: Self.pause(emptyCalls - limits.emptyCalls))
                    }
                } catch is CancellationError {
                    return
                } catch {
                    failures += 1
                    if failures == 1, !Task.isCancelled {
                        log.warning(
                            "jobs cannot be leased",
                            metadata: [
                                "queue": .string(queue), "error": .string(String(describing: error)),
                            ])
                    }
                    try? await Task.sleep(for: Self.pause(failures))
                }
            }
        }
    }

    /// Doubles up to three seconds.
    private static func pause(_ times: Int) -> Duration { .milliseconds(50 << min(times, 6)) }

    /// Not cut short by a stop: jobs that were leased but not told of would be nobody's until their lease ran out.
    private func lease(_ count: Int) async throws -> [LeasedJob] {
        try await Task { [backbone, queue, limits, worker] in
            try await backbone.lease(
                queue: queue, limit: min(count, JobLimits.batch), seconds: limits.leaseSeconds, worker: worker
            )
        }.value
    }

    /// `since`: The lease began at that moment or later.
    private func attempt(_ leased: LeasedJob, since: ContinuousClock.Instant) async {
        let job = leased.job
        let log = log(of: job)
        let hold = Hold(until: since + .seconds(limits.leaseSeconds))
        let ending: Ending
        do {
            ending = .done(try await result(leased, hold))
        } catch is LeaseLost {
            ending = .lost
        } catch {
            ending = Task.isCancelled ? .setBack(.released) : .setBack(Self.setback(error))
        }
        // Outside of the cancelled task, whose own words would be cancelled too.
        let stop = StopFlag()
        await withTaskCancellationHandler {
            await Task { await tell(leased, ending, hold, stop, log) }.value
        } onCancel: {
            stop.set()
        }
    }

    private func log(of job: Job) -> Logger {
        var log = log
        log[metadataKey: "job"] = .string(job.id)
        log[metadataKey: "kind"] = .string(job.kind)
        log[metadataKey: "attempt"] = .stringConvertible(job.attempts)
        log[metadataKey: "request_id"] = .string(job.trace.requestID)
        if let traceID = job.trace.traceID { log[metadataKey: "trace_id"] = .string(traceID) }
        return log
    }

    private static func setback(_ error: any Error) -> JobSetback {
        let told = String(String(describing: error).prefix(500))
        switch error {
        case is FatalJobFailure: return .fatal(told)
        case let error as PostponedJob:
            return .postponed(pauseMilliseconds: error.pause.microseconds / 1_000)
        case let error as PassingJobFailure:
            return .failedFor(told, pauseMilliseconds: error.pause.microseconds / 1_000)
        default: return .failed(told)
        }
    }

    /// Works, says meanwhile that it does, and stops when nobody believes it any more.
    private func result(_ leased: LeasedJob, _ hold: Hold) async throws -> JSONText? {
        try Task.checkCancellation()
        guard let kind = kinds[leased.job.kind] else {
            throw FatalJobFailure("unknown kind '\(leased.job.kind)'")
        }
        if let owner = leased.job.owner, try await deaths.store.isDisabled(account: owner) {
            throw FatalJobFailure(DisabledAccounts.reason)
        }
        // If the lease of this attempt runs out, nobody says a word, and the job is dead.
        if leased.job.expiries + 1 >= JobLimits.expiries { try await deaths.note(leased.job) }
        return try await withThrowingTaskGroup(of: Step.self) { group in
            group.addTask { .worked(try await kind.work(leased.job)) }
            group.addTask {
                guard (try? await Task.sleep(for: kind.timeout)) != nil else { return .other }
                throw TimedOut()
            }
            group.addTask {
                try await keep(leased.lease, hold)
                return .other
            }
            defer { group.cancelAll() }
            // What was done is done, even when the stop came meanwhile.
            for try await step in group { if case .worked(let result) = step { return result } }
            throw CancellationError()
        }
    }

    /// Extends the lease until the task is cancelled. Throws `LeaseLost`.
    private func keep(_ lease: Lease, _ hold: Hold) async throws {
        var pause = limits.heartbeat
        while (try? await Task.sleep(for: pause)) != nil {
            let asked = ContinuousClock.now
            do {
                try await backbone.extend(lease, seconds: limits.leaseSeconds)
                hold.until = asked + .seconds(limits.leaseSeconds)
                pause = limits.heartbeat
            } catch BackboneError.leaseLost {
                throw LeaseLost()
            } catch {
                if Task.isCancelled { return }
                // Silence is not leave to go on: by now another may have the job.
                guard hold.isOurs else { throw LeaseLost() }
                pause = min(limits.nextHeartbeat, limits.heartbeat)
            }
        }
    }

    /// Tells the backbone, again and again while the lease lasts: what is not told is done twice.
    /// `stop`: Once set there is no time for that.
    private func tell(
        _ leased: LeasedJob, _ ending: Ending, _ hold: Hold, _ stop: StopFlag, _ log: Logger
    ) async {
        var ending = ending
        while true {
            do {
                try await tell(leased, ending, log)
                return
            } catch BackboneError.leaseLost {
                log.warning("lease lost")
                return
            } catch BackboneError.refused(let refusal) {
                // Such as a result that is too large. A setback holds nothing that could be refused.
                guard case .done = ending else {
                    log.error("job not recorded", metadata: ["error": .string(refusal.description)])
                    return
                }
                ending = .setBack(.fatal(refusal.description))
            } catch {
                guard hold.isOurs, !stop.isSet else {
                    log.error(
                        "job not recorded", metadata: ["error": .string(String(describing: error))])
                    return
                }
                try? await Task.sleep(for: limits.wordPause)
            }
        }
    }

    private func tell(_ leased: LeasedJob, _ ending: Ending, _ log: Logger) async throws {
        let job = leased.job
        switch ending {
        case .lost: throw BackboneError.leaseLost
        case .done(let result):
            try await backbone.finish(leased.lease, result: result)
            log.info("job done")
        case .setBack(.released):
            try await backbone.setBack(leased.lease, .released)
            log.info("job given back")
        case .setBack(.postponed(let pause)):
            try await backbone.setBack(leased.lease, .postponed(pauseMilliseconds: pause))
            log.info("job postponed", metadata: ["pause_ms": .stringConvertible(pause)])
        case .setBack(let setback):
            let (error, isLast) = Self.told(setback, job)
            // Noted before and told after: wherever the process ends between, the note is there to ask by.
            if isLast { try await deaths.note(job) }
            try await backbone.setBack(leased.lease, setback)
            if isLast { try await deaths.tell(job, error: error) }
            log.warning(isLast ? "job dead" : "job will be tried again", metadata: ["error": .string(error)])
        }
    }

    /// The error, and whether the backbone holds the job dead after this word.
    private static func told(_ setback: JobSetback, _ job: Job) -> (error: String, isLast: Bool) {
        switch setback {
        case .released, .postponed: ("", false)
        case .fatal(let error): (error, true)
        case .failed(let error), .failedFor(let error, _): (error, job.failures + 1 >= job.failureLimit)
        }
    }

    /// Until when a job is ours for certain, by a clock that is not set.
    private final class Hold: Sendable {
        private let cell: Mutex<ContinuousClock.Instant>

        init(until: ContinuousClock.Instant) {
            cell = Mutex(until)
        }

        var until: ContinuousClock.Instant {
            get { cell.withLock { $0 } }
            set { cell.withLock { $0 = newValue } }
        }

        var isOurs: Bool { ContinuousClock.now < until }
    }
}

/// How many jobs of a queue run at once.
final class Places: Sendable {
    let count: Int
    /// Rings when a place becomes free.
    let bell = Doorbell()
    private let taken = Mutex(0)

    init(_ count: Int) {
        self.count = count
    }

    var inHand: Int { taken.withLock { $0 } }
    var free: Int { max(0, count - inHand) }

    func take() { taken.withLock { $0 += 1 } }

    func give() {
        taken.withLock { $0 -= 1 }
        bell.ring()
    }
}
