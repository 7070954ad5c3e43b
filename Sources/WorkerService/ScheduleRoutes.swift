internal import Backbone
internal import GRDB
internal import HTTPTypes
internal import Hummingbird
internal import ServiceKit

/// Schedules, for the users whose jobs are to be ordered again and again.
struct ScheduleRoutes: Sendable {
    private static let requestLimitBytes = 96 * 1_024
    private static let pages = 1...100
    private static let standardPage = 20

    let store: WorkerStore
    let verifier: TokenVerifier
    /// The kinds of job that users may order.
    let kinds: [String]
    let bell: Doorbell
    var tables = ScheduleTables()
    /// Unix milliseconds.
    var now: @Sendable () -> Int64 = { Timestamp.now }

    func add(to router: Router<Call>) {
        let schedules = router.group("/worker/schedules")
        schedules.post { request, call in try await add(request, call) }
        schedules.get { request, call in try await list(request, call) }
        schedules.get(":id") { request, call in Reply.json(Report(try await schedule(request, call))) }
        schedules.delete(":id") { request, call in
            let schedule = try await schedule(request, call)
            try await store.pool.write { db in try tables.remove(db, id: schedule.id) }
            return Reply.noContent
        }
    }

    private struct Draft: Decodable {
        let cron: String?
        let timeZone: String?
        let every: Int64?
        let kind: String
        let payload: JSONValue?
    }

    private struct Report: Encodable {
        let id: String
        let owner: String
        let cron: String?
        let timeZone: String?
        let every: Int64?
        let kind: String
        let payload: JSONText
        let nextAt: String?
        /// When the last tick was due, and the job that it made.
        let lastAt: String?
        let lastJob: String?
        let error: String?
        let createdAt: String

        init(_ schedule: Schedule) {
            id = schedule.id
            owner = schedule.owner
            switch schedule.form {
            case .cron(let text, let zone): (cron, timeZone, every) = (text, zone, nil)
            case .every(let seconds): (cron, timeZone, every) = (nil, nil, seconds)
            }
            kind = schedule.kind
            payload = schedule.payload
            nextAt = schedule.nextAt.map(Timestamp.text)
            lastAt = schedule.lastAt.map(Timestamp.text)
            lastJob = schedule.lastJob
            error = schedule.error
            createdAt = Timestamp.text(schedule.createdAt)
        }
    }

    private struct Page: Encodable {
        let schedules: [Report]
        let nextCursor: String?
    }

    private func add(_ request: Request, _ call: Call) async throws -> Response {
        let caller = try await verifier.caller(request, call, knownTo: store)
        let draft = try await request.json(Draft.self, limitBytes: Self.requestLimitBytes)
        let rule = try Self.rule(draft)
        guard kinds.contains(draft.kind) else {
            throw Problem(
                .unprocessableContent, "unknown_kind",
                "The kinds are: \(kinds.sorted().joined(separator: ", ")).")
        }
        let payload = try OrderedPayload.checked(draft.payload)
        let now = now()
        switch try await store.pool.write({ db in
            try tables.add(db, owner: caller.subject, rule, kind: draft.kind, payload: payload, now: now)
        }) {
        case .added(let schedule):
            bell.ring()
            return Reply.json(
                Report(schedule), status: .created, fields: [.location: "/worker/schedules/\(schedule.id)"])
        case .ownerFull:
            throw Problem(
                .forbidden, "too_many_schedules",
                "An account may have at most \(tables.limits.perOwner) schedules.")
        case .full:
            throw Problem.retryLater(
                .serviceUnavailable, "schedules_full", "No more schedules can be kept now.", afterSeconds: 60)
        }
    }

    private static func rule(_ draft: Draft) throws -> ScheduleRule {
        let form: ScheduleRule.Form
        switch (draft.cron, draft.every) {
        case (let cron?, nil): form = .cron(cron, zone: draft.timeZone ?? "UTC")
        case (nil, let seconds?) where draft.timeZone == nil: form = .every(seconds: seconds)
        default:
            throw Problem(
                .unprocessableContent, "invalid_schedule",
                "Either cron is needed, with or without timeZone, or every.")
        }
        do throws(ScheduleRule.Refusal) {
            return try ScheduleRule(form)
        } catch {
            throw Problem(.unprocessableContent, "invalid_schedule", "\(error.description).")
        }
    }

    private func list(_ request: Request, _ call: Call) async throws -> Response {
        let caller = try await verifier.caller(request, call, knownTo: store)
        let limit = try request.queryNumber("limit", in: Self.pages, fallback: Self.standardPage)
        let owner = try caller.listedOwner(request)
        let before = try request.idCursor()
        let found = try await store.pool.read { db in
            try tables.list(db, owner: owner, before: before, limit: limit + 1)
        }
        return Reply.json(
            Page(
                schedules: found.prefix(limit).map { Report($0) },
                nextCursor: found.count > limit ? found[limit - 1].id : nil))
    }

    /// The schedule of the request's path, when the caller may act for its owner.
    private func schedule(_ request: Request, _ call: Call) async throws -> Schedule {
        let caller = try await verifier.caller(request, call, knownTo: store)
        guard let id = call.parameters.get("id"), Identifier.isValid(id),
            let schedule = try await store.pool.read({ db in try tables.schedule(db, id: id) }),
            caller.mayActFor(schedule.owner)
        else { throw Problem.notFound("schedule") }
        return schedule
    }
}
