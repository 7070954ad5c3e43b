public import ServiceKit

/// Work to be done once, by whoever leases it first.
public struct NewJob: Equatable, Sendable {
    /// A UUID of version 7, made by the producer: a repeated enqueue is known by it.
    public let id: String
    public let queue: String
    public let kind: String
    public let payload: JSONText
    /// The account that it is done for; `nil` for the platform itself. Bounds and reading rights go by it.
    public let owner: String?
    /// Greater goes first, within `JobLimits.priorities`.
    public let priority: Int
    /// Unix milliseconds, not begun before; 0 means at once.
    public let runAt: Int64
    /// So many failures make it dead.
    public let failureLimit: Int
    /// A second job of the same queue with the same key is not stored while the first is.
    public let idempotencyKey: String?
    public let trace: Trace

    public init(
        queue: String, kind: String, payload: JSONText, trace: Trace, owner: String? = nil, priority: Int = 0,
        runAt: Int64 = 0, failureLimit: Int = JobLimits.failures, idempotencyKey: String? = nil,
        id: String = Identifier.make()
    ) {
        self.id = id
        self.queue = queue
        self.kind = kind
        self.payload = payload
        self.owner = owner
        self.priority = priority
        self.runAt = runAt
        self.failureLimit = failureLimit
        self.idempotencyKey = idempotencyKey
        self.trace = trace
    }
}

/// Bounds that every engine keeps.
public enum JobLimits {
    public static let priorities = -100...100
    /// Failures until a job is dead, unless it says otherwise.
    public static let failures = 5
    /// How many it may ask for.
    public static let failuresRange = 1...100
    /// A lease that ran out is nobody's failure, yet a job that outlives no worker must end: so many make it dead.
    public static let expiries = 10
    public static let firstPauseMilliseconds: Int64 = 500
    public static let longestPauseMilliseconds: Int64 = 300_000
    public static let payloadBytes = 256 * 1_024
    /// Jobs of one request.
    public static let batch = 500
    /// A list of jobs given ends behind the one that passes so many bytes of payload and result, before its limit.
    public static let answerBytes = 4 << 20
    public static let leaseSeconds = 1...3_600
}

/// Bounds of events that every engine keeps.
public enum EventLimits {
    public static let dataBytes = 1 << 20
    /// Events of one request.
    public static let batch = 500
    /// Events of one page.
    public static let page = 1_000
    /// A page ends behind the event that passes so many bytes of data, before its limit.
    public static let pageBytes = 4 << 20
    public static let waitSeconds = 30
}

/// Where a job is in its life.
public enum JobState: String, Sendable, CaseIterable {
    /// Waits for its time or for a worker.
    case ready
    /// A worker has it.
    case leased
    case done
    /// Failed for good; it stays until it is redriven or old.
    case dead
}

/// A job as it is kept.
public struct Job: Equatable, Sendable {
    public let id: String
    public let queue: String
    public let kind: String
    public let payload: JSONText
    public let owner: String?
    public let priority: Int
    public let runAt: Int64
    public let failureLimit: Int
    public let trace: Trace
    public let state: JobState
    /// How often it was leased.
    public let attempts: Int
    /// How often a worker said that it failed.
    public let failures: Int
    /// How often a lease ran out.
    public let expiries: Int
    public let lastError: String?
    public let result: JSONText?
    /// Unix milliseconds.
    public let createdAt: Int64
    /// Unix milliseconds.
    public let updatedAt: Int64

    public init(
        id: String, queue: String, kind: String, payload: JSONText, owner: String?, priority: Int,
        runAt: Int64, failureLimit: Int, trace: Trace, state: JobState, attempts: Int, failures: Int,
        expiries: Int, lastError: String?, result: JSONText?, createdAt: Int64, updatedAt: Int64
    ) {
        self.id = id
        self.queue = queue
        self.kind = kind
        self.payload = payload
        self.owner = owner
        self.priority = priority
        self.runAt = runAt
        self.failureLimit = failureLimit
        self.trace = trace
        self.state = state
        self.attempts = attempts
        self.failures = failures
        self.expiries = expiries
        self.lastError = lastError
        self.result = result
        self.createdAt = createdAt
        self.updatedAt = updatedAt
    }
}

/// The right to say how a job ended. The token changes with each lease: a worker that was too slow holds an old one.
public struct Lease: Equatable, Hashable, Sendable {
    public let jobID: String
    public let token: String

    public init(jobID: String, token: String) {
        self.jobID = jobID
        self.token = token
    }
}

/// A job in a worker's hands.
public struct LeasedJob: Equatable, Sendable {
    public let job: Job
    public let lease: Lease
    /// Unix milliseconds, by the backbone's clock; others may have it afterwards.
    public let until: Int64

    public init(job: Job, lease: Lease, until: Int64) {
        self.job = job
        self.lease = lease
        self.until = until
    }
}

/// How a job did not end well.
public enum JobSetback: Equatable, Sendable {
    /// Tried again after a pause that doubles, until the failures are too many.
    case failed(String)
    /// Tried again after this pause, until the failures are too many.
    case failedFor(String, pauseMilliseconds: Int64)
    /// No further attempt can mend it.
    case fatal(String)
    /// Given back unfinished, by a worker that stops: no failure, ready at once.
    case released
    /// Given back before it was begun, since its time has not come: neither a failure nor an attempt, ready after the pause.
    case postponed(pauseMilliseconds: Int64)
}

/// What became of one new job.
public enum EnqueueOutcome: Equatable, Sendable {
    case queued
    /// It, or one with its idempotency key, is there already, under that id.
    case duplicate(id: String)
    case refused(Refusal)
}

/// Whether a word about a lease was heard.
public enum LeaseOutcome: Equatable, Sendable {
    case done
    /// The lease had run out and the job is another's, or has ended.
    case lost
}
