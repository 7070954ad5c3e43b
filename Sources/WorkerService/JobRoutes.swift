internal import Backbone
internal import HTTPTypes
internal import Hummingbird
internal import ServiceKit

/// Jobs, for the users who order them and for those whom services order them for.
struct JobRoutes: Sendable {
    private static let requestLimitBytes = 96 * 1_024

    let backbone: any Backbone
    let store: WorkerStore
    let verifier: TokenVerifier
    /// All that the worker can do, by their names.
    let kinds: [String: JobKind]

    func add(to router: Router<Call>) {
        router.post("/worker/jobs") { request, call in try await order(request, call) }
        router.get("/worker/jobs/:id") { request, call in try await read(request, call) }
        router.post("/worker/jobs/:id/redrive") { request, call in try await redrive(request, call) }
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
        let failures: Int
        let result: JSONText?
        let error: String?
        let createdAt: String
        let updatedAt: String

        init(_ job: Job) {
            id = job.id
            kind = job.kind
            state = job.state.rawValue
            attempts = job.attempts
            failures = job.failures
            result = job.result
            // Of a job that is done, why it was not sooner is no error.
            error = job.state == .done ? nil : job.lastError
            createdAt = Timestamp.text(job.createdAt)
            updatedAt = Timestamp.text(job.updatedAt)
        }
    }

    private func order(_ request: Request, _ call: Call) async throws -> Response {
        let caller = try await verifier.caller(request, call, knownTo: store)
        let order = try await request.json(Order.self, limitBytes: Self.requestLimitBytes)
        // Mails, webhooks and licences are ordered by services only.
        guard let kind = kinds[order.kind], kind.isOpen else {
            let open = kinds.values.filter(\.isOpen).map(\.name).sorted()
            throw Problem(
                .unprocessableContent, "unknown_kind", "The kinds are: \(open.joined(separator: ", ")).")
        }
        let payload = try OrderedPayload.checked(order.payload)
        let job = NewJob(
            queue: kind.queue, kind: kind.name, payload: payload, trace: call.trace, owner: caller.subject)
        let outcome = try await asked { try await backbone.enqueue([job]).first }
        switch outcome {
        case .queued, .duplicate: return Self.receipt(job.id, .ready)
        case .refused(let refusal) where refusal.reason == "too_many_jobs":
            throw Problem.retryLater(.tooManyRequests, refusal.reason, refusal.detail, afterSeconds: 5)
        case .refused(let refusal):
            throw Problem(.unprocessableContent, refusal.reason, refusal.detail)
        case nil: throw Self.busAway
        }
    }

    private func read(_ request: Request, _ call: Call) async throws -> Response {
        Reply.json(Report(try await job(request, call)))
    }

    private func redrive(_ request: Request, _ call: Call) async throws -> Response {
        let job = try await job(request, call)
        let notDead = Problem(.conflict, "not_dead", "Only a dead job can be tried anew.")
        guard job.state == .dead else { throw notDead }
        do {
            try await asked { try await backbone.redrive(id: job.id) }
        } catch BackboneError.notFound {
            throw notDead
        }
        return Self.receipt(job.id, .ready)
    }

    /// The job of the request's path, when the caller may see it.
    private func job(_ request: Request, _ call: Call) async throws -> Job {
        let caller = try await verifier.caller(request, call, knownTo: store)
        guard let id = call.parameters.get("id"), Identifier.isValid(id),
            let job = try await asked({ try await backbone.job(id: id) })
        else { throw Problem.notFound("job") }
        // A job without an owner is the platform's.
        guard caller.isAdministrator || job.owner == caller.subject else { throw Problem.notFound("job") }
        return job
    }

    private static func receipt(_ id: String, _ state: JobState) -> Response {
        Reply.json(
            Receipt(id: id, state: state.rawValue), status: .accepted,
            fields: [.location: "/worker/jobs/\(id)"])
    }

    private static var busAway: Problem {
        .retryLater(
            .serviceUnavailable, "bus_unavailable", "The job queue cannot be reached.", afterSeconds: 2)
    }

    /// What a caller can do nothing about, other than to come again, is one answer.
    private func asked<Answer>(_ question: () async throws -> Answer) async throws -> Answer {
        do {
            return try await question()
        } catch BackboneError.refused(let refusal) {
            throw Problem(.unprocessableContent, refusal.reason, refusal.detail)
        } catch let error as BackboneError where error.isPassing {
            throw Self.busAway
        }
    }
}
