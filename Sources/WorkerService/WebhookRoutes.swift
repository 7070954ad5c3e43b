internal import Backbone
internal import GRDB
internal import HTTPTypes
internal import Hummingbird
internal import ServiceKit

/// Endpoints of webhooks, for the users who want to be told of events, and what was delivered to them.
struct WebhookRoutes: Sendable {
    private static let requestLimitBytes = 16 * 1_024
    private static let pages = 1...100
    private static let standardPage = 20

    let store: WorkerStore
    let verifier: TokenVerifier
    let addresses: AddressGuard
    var tables = WebhookTables()
    /// Unix milliseconds.
    var now: @Sendable () -> Int64 = { Timestamp.now }

    func add(to router: Router<Call>) {
        let webhooks = router.group("/worker/webhooks")
        webhooks.post { request, call in try await add(request, call) }
        webhooks.get { request, call in try await list(request, call) }
        webhooks.get(":id") { request, call in
            let (endpoint, _) = try await endpoint(request, call)
            return Reply.json(Summary(endpoint))
        }
        webhooks.patch(":id") { request, call in try await change(request, call) }
        webhooks.delete(":id") { request, call in try await remove(request, call) }
        webhooks.post(":id/test") { request, call in try await test(request, call) }
        webhooks.post(":id/rotate-secret") { request, call in try await rotate(request, call) }
        router.get("/worker/deliveries") { request, call in try await deliveries(request, call) }
    }

    // MARK: - What is asked and told

    private struct Draft: Decodable {
        let url: String
        let events: [String]
        let description: String?
    }

    private struct Change: Decodable {
        let url: String?
        let events: [String]?
        let description: String?
        let enabled: Bool?
    }

    private struct Summary: Encodable {
        let id: String
        let owner: String
        let url: String
        let events: [String]
        let description: String
        let enabled: Bool
        let disabledReason: String?
        let disabledAt: String?
        let failingSince: String?
        let restingUntil: String?
        let createdAt: String
        let updatedAt: String
        /// Told when it is made, and never again.
        let secret: String?

        init(_ endpoint: WebhookEndpoint, secret: String? = nil) {
            id = endpoint.id
            owner = endpoint.owner
            url = endpoint.url
            events = endpoint.types
            description = endpoint.description
            enabled = endpoint.isEnabled
            disabledReason = endpoint.disabled?.rawValue
            disabledAt = endpoint.disabledAt.map(Timestamp.text)
            failingSince = endpoint.failingSince.map(Timestamp.text)
            restingUntil = endpoint.restingUntil.map(Timestamp.text)
            createdAt = Timestamp.text(endpoint.createdAt)
            updatedAt = Timestamp.text(endpoint.updatedAt)
            self.secret = secret
        }
    }

    private struct Page: Encodable {
        let webhooks: [Summary]
        let nextCursor: String?
    }

    private struct NewSecret: Encodable {
        let secret: String
        /// Until then, the secret before signs as well.
        let previousSecretUntil: String
    }

    private struct TestReceipt: Encodable {
        let job: String
        /// What the message's `webhook-id` will be.
        let message: String
    }

    private struct Delivery: Encodable {
        let id: Int64
        let endpoint: String
        let url: String
        let message: String
        let event: String
        let state: String
        let attempt: Int
        let status: Int?
        let error: String?
        let durationMilliseconds: Int64
        let time: String

        init(_ delivery: WebhookDelivery, url: String) {
            id = delivery.seq
            endpoint = delivery.endpoint
            self.url = url
            message = delivery.message
            event = delivery.type
            state = delivery.error == nil ? "delivered" : "failed"
            attempt = delivery.attempt
            status = delivery.status
            error = delivery.error
            durationMilliseconds = delivery.durationMilliseconds
            time = Timestamp.text(delivery.at)
        }
    }

    private struct DeliveryPage: Encodable {
        let deliveries: [Delivery]
        let nextCursor: String?
    }

    // MARK: - Endpoints

    private func add(_ request: Request, _ call: Call) async throws -> Response {
        let caller = try await verifier.caller(request, call, knownTo: store)
        let asked = try await request.json(Draft.self, limitBytes: Self.requestLimitBytes)
        let draft = WebhookDraft(
            url: try url(asked.url), types: try types(asked.events),
            description: try description(asked.description ?? ""))
        let now = now()
        switch try await store.pool.write({ db in
            try tables.add(db, owner: caller.subject, draft, now: now)
        }) {
        case .added(let endpoint):
            return Reply.json(
                Summary(endpoint, secret: endpoint.secrets.first?.text), status: .created,
                fields: [.location: "/worker/webhooks/\(endpoint.id)"])
        case .ownerFull:
            throw Problem(
                .forbidden, "too_many_webhooks",
                "An account may have at most \(tables.limits.endpointsPerOwner) endpoints.")
        case .full:
            throw Problem.retryLater(
                .serviceUnavailable, "webhooks_full", "No more endpoints can be kept now.", afterSeconds: 60)
        }
    }

    private func list(_ request: Request, _ call: Call) async throws -> Response {
        let caller = try await verifier.caller(request, call, knownTo: store)
        let limit = try request.queryNumber("limit", in: Self.pages, fallback: Self.standardPage)
        let owner = try caller.listedOwner(request)
        let before = try request.idCursor()
        let now = now()
        let found = try await store.pool.read { db in
            try tables.list(db, owner: owner, before: before, limit: limit + 1, now: now)
        }
        return Reply.json(
            Page(
                webhooks: found.prefix(limit).map { Summary($0) },
                nextCursor: found.count > limit ? found[limit - 1].id : nil))
    }

    private func change(_ request: Request, _ call: Call) async throws -> Response {
        let (endpoint, now) = try await endpoint(request, call)
        let asked = try await request.json(Change.self, limitBytes: Self.requestLimitBytes)
        let change = WebhookChange(
            url: try asked.url.map(url), types: try asked.events.map(types),
            description: try asked.description.map(description), isEnabled: asked.enabled)
        let changed = try await store.pool.write { db in
            try tables.change(db, id: endpoint.id, change, now: now)
        }
        guard let changed else { throw Problem.notFound("webhook") }
        return Reply.json(Summary(changed))
    }

    private func remove(_ request: Request, _ call: Call) async throws -> Response {
        let (endpoint, _) = try await endpoint(request, call)
        try await store.pool.write { db in try tables.remove(db, id: endpoint.id) }
        return Reply.noContent
    }

    private func rotate(_ request: Request, _ call: Call) async throws -> Response {
        let (endpoint, now) = try await endpoint(request, call)
        let rotated = try await store.pool.write { db in try tables.rotate(db, id: endpoint.id, now: now) }
        guard let rotated, let secret = rotated.endpoint.secrets.first else {
            throw Problem.notFound("webhook")
        }
        return Reply.json(
            NewSecret(secret: secret.text, previousSecretUntil: Timestamp.text(rotated.previousUntil)))
    }

    private func test(_ request: Request, _ call: Call) async throws -> Response {
        let (endpoint, now) = try await endpoint(request, call)
        guard endpoint.isEnabled else {
            throw Problem(.conflict, "webhook_disabled", "The endpoint is disabled: enable it first.")
        }
        let message = Identifier.make(at: now)
        let body = WebhookOrder.body(
            type: WebhookOrder.testType, subject: endpoint.id, time: now,
            data: ["endpoint": .text(endpoint.id)])
        let job = try WebhookOrder.job(
            endpoint: endpoint.id, owner: endpoint.owner, message: message, type: WebhookOrder.testType,
            body: body, store: store.id, trace: call.trace)
        let isBegun = try await store.pool.write { db in
            guard try tables.beginTest(db, id: endpoint.id, now: now) else { return false }
            try store.outbox.append(db, jobs: [job])
            return true
        }
        guard isBegun else {
            throw Problem.retryLater(
                .tooManyRequests, "too_many_tests", "The endpoint was tried out just now.",
                afterSeconds: Int(tables.limits.testPauseMilliseconds / 1_000))
        }
        return Reply.json(TestReceipt(job: job.id, message: message), status: .accepted)
    }

    private func deliveries(_ request: Request, _ call: Call) async throws -> Response {
        let caller = try await verifier.caller(request, call, knownTo: store)
        let limit = try request.queryNumber("limit", in: Self.pages, fallback: Self.standardPage)
        let owner = try caller.listedOwner(request)
        let before = try request.queryText("cursor").map { text in
            guard let number = Int64(text), number > 0 else { throw Problem.badCursor }
            return number
        }
        let asked = request.queryText("endpoint")
        if let asked {
            // A stranger's endpoint and none are one answer; an administrator may name any.
            let found = try await store.pool.read { db in try tables.endpoint(db, id: asked, now: 0) }
            guard let found, caller.mayActFor(found.owner) else { throw Problem.notFound("webhook") }
        }
        let wholeOwner = asked == nil ? owner : nil
        let found = try await store.pool.read { db in
            try tables.deliveries(db, owner: wholeOwner, endpoint: asked, before: before, limit: limit + 1)
        }
        return Reply.json(
            DeliveryPage(
                deliveries: found.prefix(limit).map { Delivery($0.delivery, url: $0.url) },
                nextCursor: found.count > limit ? String(found[limit - 1].delivery.seq) : nil))
    }

    // MARK: - Judging

    /// The endpoint of the request's path, when the caller may act for its owner.
    private func endpoint(_ request: Request, _ call: Call) async throws -> (WebhookEndpoint, now: Int64) {
        let caller = try await verifier.caller(request, call, knownTo: store)
        let now = now()
        guard let id = call.parameters.get("id"), Identifier.isValid(id),
            let endpoint = try await store.pool.read({ db in try tables.endpoint(db, id: id, now: now) }),
            caller.mayActFor(endpoint.owner)
        else { throw Problem.notFound("webhook") }
        return (endpoint, now)
    }

    private func url(_ text: String) throws -> String {
        do throws(WebhookURL.Refusal) {
            return try WebhookURL(text, addresses: addresses).text
        } catch {
            throw Problem(.unprocessableContent, "invalid_url", "The URL \(error.rawValue).")
        }
    }

    /// In the order in which they came, each once.
    private func types(_ asked: [String]) throws -> [String] {
        var types: [String] = []
        for type in asked where !types.contains(type) {
            guard WebhookEndpoint.offeredTypes.contains(where: { WebhookEndpoint.matches(type, $0) }) else {
                throw Problem(
                    .unprocessableContent, "unknown_event",
                    "The events are: \(WebhookEndpoint.offeredTypes.joined(separator: ", ")), 'document.*' and '*'."
                )
            }
            types.append(type)
        }
        guard !types.isEmpty else {
            throw Problem(.unprocessableContent, "no_events", "At least one event must be named.")
        }
        return types
    }

    private func description(_ text: String) throws -> String {
        guard text.utf8.count <= tables.limits.descriptionBytes, !text.utf8.contains(0) else {
            throw Problem(
                .badRequest, "invalid_description",
                "The description may have at most \(tables.limits.descriptionBytes) bytes, without U+0000.")
        }
        return text
    }
}
