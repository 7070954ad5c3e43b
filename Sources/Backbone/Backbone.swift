public import ServiceKit

/// Where events and jobs go, and where they come from: one engine behind it, in this process or another.
///
/// It is cut by what services need and not by what one engine does best, so that PostgreSQL can stand behind it. What every
/// engine must keep:
/// - What a call answered is stored: it outlives the process, and a power cut.
/// - An event or a job that is sent again under its id is stored once.
/// - Events are read in the order of their offsets, and none appears behind an offset that was read before.
/// - A job is in at most one worker's hands whose word counts: a word with an old lease is `lost`.
/// - A wait leases nothing: who is woken asks again.
///
/// Every call may throw `BackboneError`.
public protocol Backbone: Sendable {
    /// Appends events in their order, each judged by itself. At most `EventLimits.batch`.
    func publish(_ events: [Event]) async throws -> [PublishOutcome]

    /// Events after an offset, in order; waits up to `waitSeconds` for the first.
    /// `types`: `nil` gives all. An entry that ends in `.*` stands for all types that begin so.
    func events(
        after offset: Int64, limit: Int, types: [String]?, waitSeconds: Int
    ) async throws -> EventPage

    /// Tells how far a group is, and makes it known: from then on what it has not read is kept.
    func putGroup(_ name: String, offset: Int64) async throws
    /// `nil` when it is not known.
    func group(_ name: String) async throws -> ConsumerGroup?
    /// Nothing is kept for it any more.
    func removeGroup(_ name: String) async throws

    /// Makes a schema known; the same again is no change. Throws `.refused` when the version before could not be read by it.
    func register(_ schema: EventSchema) async throws
    func schemas() async throws -> [EventSchema]

    /// Stores jobs, each judged by itself. At most `JobLimits.batch`.
    func enqueue(_ jobs: [NewJob]) async throws -> [EnqueueOutcome]

    /// Takes jobs that are due, the greatest priority first, then the longest due. Never waits.
    /// `worker`: Who takes them, for people.
    func lease(queue: String, limit: Int, seconds: Int, worker: String) async throws -> [LeasedJob]

    /// Returns when a job of the queue may be due, and after `waitSeconds` at the latest; whether one may be. Leases nothing.
    func waitForJobs(queue: String, waitSeconds: Int) async throws -> Bool

    /// The jobs are done.
    func finish(_ jobs: [(lease: Lease, result: JSONText?)]) async throws -> [LeaseOutcome]
    /// The jobs did not end well.
    func setBack(_ jobs: [(lease: Lease, setback: JobSetback)]) async throws -> [LeaseOutcome]
    /// The leases run so long from now on.
    func extend(_ leases: [Lease], seconds: Int) async throws -> [LeaseOutcome]

    /// `nil` when there is none.
    func job(id: String) async throws -> Job?
    /// Dead jobs, the newest first, ended before that one.
    func deadJobs(queue: String, before: String?, limit: Int) async throws -> [Job]
    /// Makes a dead job ready again, as if it had never failed. Throws `.notFound` when it is not dead.
    func redrive(id: String) async throws

    func stats() async throws -> BackboneStats
}

/// Why a call was not answered with a result.
public enum BackboneError: Error, Equatable, Sendable {
    /// Away, overloaded or stopping: worth another attempt. Whether it was stored is not known.
    case unavailable(String)
    /// It cannot store anything now: disk full or read only. Nothing was stored.
    case storageFull(String)
    /// As it is, the call will never be answered otherwise.
    case refused(Refusal)
    /// The credential is not the platform's.
    case unauthorized
    case notFound
    /// The lease had run out.
    case leaseLost

    /// Whether the same call may be answered another time.
    public var isPassing: Bool {
        switch self {
        case .unavailable, .storageFull, .unauthorized: true
        case .refused, .notFound, .leaseLost: false
        }
    }
}

/// Counts of this moment.
public struct BackboneStats: Equatable, Sendable {
    public struct Queue: Equatable, Sendable {
        public let name: String
        /// Due or delayed.
        public let ready: Int
        public let leased: Int
        public let dead: Int

        public init(name: String, ready: Int, leased: Int, dead: Int) {
            self.name = name
            self.ready = ready
            self.leased = leased
            self.dead = dead
        }
    }

    public let queues: [Queue]
    public let groups: [ConsumerGroup]
    /// The last offset of the log; 0 before the first event.
    public let lastOffset: Int64
    /// Events up to here may be gone.
    public let horizon: Int64

    public init(queues: [Queue], groups: [ConsumerGroup], lastOffset: Int64, horizon: Int64) {
        self.queues = queues
        self.groups = groups
        self.lastOffset = lastOffset
        self.horizon = horizon
    }
}

extension Backbone {
    /// One job is done. Throws `.leaseLost`.
    public func finish(_ lease: Lease, result: JSONText? = nil) async throws {
        guard try await finish([(lease, result)]) == [.done] else { throw BackboneError.leaseLost }
    }

    /// One job did not end well. Throws `.leaseLost`.
    public func setBack(_ lease: Lease, _ setback: JobSetback) async throws {
        guard try await setBack([(lease, setback)]) == [.done] else { throw BackboneError.leaseLost }
    }

    /// One lease goes on. Throws `.leaseLost`.
    public func extend(_ lease: Lease, seconds: Int) async throws {
        guard try await extend([lease], seconds: seconds) == [.done] else { throw BackboneError.leaseLost }
    }
}
