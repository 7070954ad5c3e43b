public import Foundation
internal import HTTPTypes
internal import Hummingbird
public import Logging
public import ServiceKit

/// Jobs: taken at once, done in the background, and told of when asked.
public struct WorkerService: Sendable {
    private static let requestLimitBytes = 96 * 1_024
    private static let payloadLimitBytes = 64 * 1_024

    private let store: JobStore
    private let verifier: TokenVerifier
    private let kinds: [String: JobKind]
    private let bell = Doorbell()
    private let executor: JobExecutor

    /// `kinds`: What it can do; their names must differ.
    /// `concurrency`: How many jobs run at once.
    /// `firstPause`: How long a job waits after its first failure; each further one doubles it, up to five minutes.
    public init(
        directory: URL, verifier: TokenVerifier, log: Logger, kinds: [JobKind] = JobKind.standard,
        concurrency: Int = 2, timeout: Duration = .seconds(30), firstPause: Duration = .milliseconds(500)
    ) throws {
        store = try JobStore(directory: directory)
        self.verifier = verifier
        self.kinds = Dictionary(kinds.map { ($0.name, $0) }, uniquingKeysWith: { first, _ in first })
        executor = JobExecutor(
            store: store, kinds: self.kinds, concurrency: concurrency, timeout: timeout,
            retry: .init(firstPauseMilliseconds: Double(firstPause.microseconds) / 1_000), bell: bell,
            log: log)
    }

    /// What it is run from.
    public var parts: ServiceParts {
        ServiceParts(
            name: "worker", background: [executor],
            hindrances: {
                var reasons: [String] = []
                if !(await verifier.prepare()) { reasons.append("keys") }
                if (try? await store.counts()) == nil { reasons.append("store") }
                return reasons
            },
            gauges: { (try? await store.counts()) ?? [:] },
            addRoutes: { router in
                router.post("/worker/jobs") { request, call in try await add(request, call) }
                router.get("/worker/jobs/:id") { request, call in try await read(request, call) }
            })
    }

    private struct Order: Decodable {
        let kind: String
        let payload: JSONValue?
    }

    private struct Receipt: Encodable {
        let id: String
        let state: String
    }

    private struct Report: Encodable {
        let id: String
        let kind: String
        let state: String
        let attempts: Int
        let result: JSONValue?
        let error: String?
        let createdAt: String
        let updatedAt: String
    }

    private func add(_ request: Request, _ call: Call) async throws -> Response {
        let caller = try await verifier.caller(request, call, scope: "jobs")
        let order = try await request.json(Order.self, limitBytes: Self.requestLimitBytes)
        guard kinds[order.kind] != nil else {
            throw Problem(
                .unprocessableContent, "unknown_kind",
                "The kinds are: \(kinds.keys.sorted().joined(separator: ", ")).")
        }
        let payload = (order.payload ?? .null).json
        guard payload.utf8.count <= Self.payloadLimitBytes else {
            throw Problem(
                .contentTooLarge, "body_too_large",
                "The payload may have at most \(Self.payloadLimitBytes) bytes.")
        }
        switch try await store.add(
            owner: caller.subject, kind: order.kind, payload: payload, requestID: call.requestID,
            now: Timestamp.now)
        {
        case .queued(let job):
            bell.ring()
            return Reply.json(
                Receipt(id: job.id, state: job.state.rawValue), status: .accepted,
                fields: [.location: "/worker/jobs/\(job.id)"])
        case .full:
            throw Problem.retryLater(
                .serviceUnavailable, "queue_full", "Too many jobs wait.", afterSeconds: 5)
        case .ownerFull:
            throw Problem.retryLater(
                .tooManyRequests, "too_many_jobs",
                "An account may have \(JobStore.waitingPerOwner) unfinished jobs.", afterSeconds: 5)
        }
    }

    private func read(_ request: Request, _ call: Call) async throws -> Response {
        let caller = try await verifier.caller(request, call, scope: "jobs")
        guard let id = call.parameters.get("id"), Identifier.isValid(id),
            let job = try await store.job(id: id), caller.mayActFor(job.owner)
        else { throw Problem.notFound("job") }
        return Reply.json(
            Report(
                id: job.id, kind: job.kind, state: job.state.rawValue, attempts: job.attempts,
                result: job.result.flatMap { JSONValue(text: $0) }, error: job.error,
                createdAt: Timestamp.text(job.createdAt), updatedAt: Timestamp.text(job.updatedAt)))
    }
}
