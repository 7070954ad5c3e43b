public import Backbone
public import Foundation
internal import HTTPTypes
internal import Hummingbird
public import Logging
public import ServiceKit
internal import ServiceLifecycle

/// Documents: made, read, changed and deleted by their owner or an administrator.
public struct CoreService: Sendable {
    private static let requestLimitBytes = 1 << 20
    private static let titleLimitBytes = 1_024
    private static let bodyLimitBytes = 512 * 1_024
    private static let pageLimit = 100

    private let limits: CoreLimits
    private let now: @Sendable () -> Int64
    private let store: CoreStore
    private let verifier: TokenVerifier
    private let background: [any Service]

    /// `backbone`: Told of each change; while it is away, what it must be told waits in the store.
    /// `now`: Unix milliseconds; a day must not pass for a test to see it over.
    public init(
        directory: URL, verifier: TokenVerifier, backbone: any Backbone, log: Logger,
        limits: CoreLimits = CoreLimits(), now: @escaping @Sendable () -> Int64 = { Timestamp.now }
    ) throws {
        self.limits = limits
        self.now = now
        store = try CoreStore(directory: directory, limits: limits)
        self.verifier = verifier
        let relay = OutboxRelay(
            store.outbox, store: store.pool, backbone: backbone, schemas: DocumentNews.schemas, log: log)
        background = try store.hasUntold() ? [relay, Backfill(store: store, log: log)] : [relay]
    }

    /// What it is run from.
    public var parts: ServiceParts {
        ServiceParts(
            name: "core", openAPI: PackageResources.openapi_json, background: background,
            hindrances: {
                var reasons: [String] = []
                if !(await verifier.prepare()) { reasons.append("keys") }
                if (try? await store.gauges()) == nil { reasons.append("store") }
                return reasons
            },
            gauges: { (try? await store.gauges()) ?? [:] },
            addRoutes: { router in
                WebPage().addRoutes(router)
                let documents = router.group("/api/v1/documents")
                documents.post { request, call in try await add(request, call) }
                documents.get { request, call in try await list(request, call) }
                documents.get(":id") { request, call in try await read(request, call) }
                documents.put(":id") { request, call in try await replace(request, call) }
                documents.delete(":id") { request, call in try await remove(request, call) }
            })
    }

    private struct Draft: Decodable {
        let title: String
        let body: String
    }

    private struct Summary: Encodable {
        let id: String
        let owner: String
        let title: String
        let version: Int64
        let createdAt: String
        let updatedAt: String
        let body: String?

        init(_ document: Document, withBody: Bool) {
            id = document.id
            owner = document.owner
            title = document.title
            version = document.version
            createdAt = Timestamp.text(document.createdAt)
            updatedAt = Timestamp.text(document.updatedAt)
            body = withBody ? document.body : nil
        }
    }

    private struct Page: Encodable {
        let documents: [Summary]
        /// Give it back as `cursor` for the next page; absent on the last.
        let nextCursor: String?
    }

    private func add(_ request: Request, _ call: Call) async throws -> Response {
        let caller = try await verifier.caller(request, call, scope: "documents")
        let key = try IdempotencyKey(request)
        let draft = try await draft(request)
        let change = try await store.add(
            owner: caller.subject, title: draft.title, body: draft.body,
            keyed: key.map { KeyedRequest($0, title: draft.title, body: draft.body) }, origin: origin(call))
        let document = try accepted(change)
        var response = told(document, status: .created)
        response.headers[.location] = "/api/v1/documents/\(document.id)"
        return response
    }

    private func list(_ request: Request, _ call: Call) async throws -> Response {
        let caller = try await verifier.caller(request, call, scope: "documents")
        let limit = try request.queryNumber("limit", in: 1...Self.pageLimit, fallback: 20)
        let asked = request.queryText("owner")
        guard caller.isAdministrator || asked == nil || asked == caller.subject else {
            throw Problem(.forbidden, "not_owner", "These are another account's documents.")
        }
        // An administrator may ask for everybody's with `owner=*`.
        let owner = asked == "*" ? nil : asked ?? caller.subject
        let last = try request.queryText("cursor").map { text in
            guard let id = store.cursor.id(text, owner: owner) else {
                throw Problem(.badRequest, "invalid_query", "cursor must be one that this list gave.")
            }
            return id
        }
        let documents = try await store.list(owner: owner, before: last, limit: limit + 1)
        return Reply.json(
            Page(
                documents: documents.prefix(limit).map { Summary($0, withBody: false) },
                nextCursor: documents.count > limit
                    ? store.cursor.text(after: documents[limit - 1].id, owner: owner) : nil))
    }

    private func read(_ request: Request, _ call: Call) async throws -> Response {
        let caller = try await verifier.caller(request, call, scope: "documents")
        guard let document = try await store.document(id: try identifier(call)),
            caller.mayActFor(document.owner)
        else { throw Problem.notFound("document") }
        let tag = EntityTag.text(version: document.version)
        if EntityTagList(request.headers[.ifNoneMatch])?.matchesWeakly(tag) == true {
            return Response(status: .notModified, headers: [.eTag: tag, .cacheControl: "private, no-cache"])
        }
        return told(document, status: .ok)
    }

    private func replace(_ request: Request, _ call: Call) async throws -> Response {
        let caller = try await verifier.caller(request, call, scope: "documents")
        // RFC 6585 §3: who does not say which version was read would take back what others wrote since, unknowingly.
        // A deletion needs none: it says nothing about the text.
        guard let expected = EntityTagList(request.headers[.ifMatch]) else {
            throw Problem(
                .preconditionRequired, "if_match_missing",
                "If-Match must name the version that this replaces, or be '*' for any.")
        }
        let draft = try await draft(request)
        let change = try await store.replace(
            id: try identifier(call), by: caller, expected: expected,
            title: draft.title, body: draft.body, origin: origin(call))
        return told(try accepted(change), status: .ok)
    }

    private func remove(_ request: Request, _ call: Call) async throws -> Response {
        let caller = try await verifier.caller(request, call, scope: "documents")
        let change = try await store.remove(
            id: try identifier(call), by: caller, expected: EntityTagList(request.headers[.ifMatch]),
            origin: origin(call))
        _ = try accepted(change)
        return Reply.noContent
    }

    private func origin(_ call: Call) -> ChangeOrigin {
        ChangeOrigin(at: now(), trace: call.trace)
    }

    private func draft(_ request: Request) async throws -> Draft {
        let draft = try await request.json(Draft.self, limitBytes: Self.requestLimitBytes)
        guard (1...Self.titleLimitBytes).contains(draft.title.utf8.count) else {
            throw Problem(
                .badRequest, "invalid_title", "The title must have 1 to \(Self.titleLimitBytes) bytes.")
        }
        guard draft.body.utf8.count <= Self.bodyLimitBytes else {
            throw Problem(
                .contentTooLarge, "body_too_large",
                "The document's body may have at most \(Self.bodyLimitBytes) bytes.")
        }
        // SQLite's texts end there for most of its functions.
        guard !draft.title.utf8.contains(0), !draft.body.utf8.contains(0) else {
            throw Problem(.badRequest, "invalid_text", "Title and body may not hold the character U+0000.")
        }
        return draft
    }

    private func accepted(_ change: Change) throws -> Document {
        switch change {
        case .done(let document), .repeated(let document): return document
        case .absent: throw Problem.notFound("document")
        case .keyReused:
            throw Problem(
                .unprocessableContent, "idempotency_key_reused",
                "This Idempotency-Key came with another title or body before.")
        case .tooManyKeys(ofOwner: true):
            throw Problem.retryLater(
                .tooManyRequests, "too_many_idempotency_keys",
                "An account may use \(limits.keysPerOwner) keys in 24 hours.", afterSeconds: 3_600)
        case .tooManyKeys(ofOwner: false):
            throw Problem.retryLater(
                .serviceUnavailable, "idempotency_keys_full", "No more keys can be remembered now.",
                afterSeconds: 60)
        case .otherVersion:
            throw Problem(
                .preconditionFailed, "version_differs", "The document has changed since that version.")
        case .tooMany:
            throw Problem(
                .forbidden, "too_many_documents",
                "An account may have at most \(limits.documentsPerOwner) documents.")
        }
    }

    private func told(_ document: Document, status: HTTPResponse.Status) -> Response {
        Reply.json(
            Summary(document, withBody: true), status: status,
            fields: [
                .eTag: EntityTag.text(version: document.version), .cacheControl: "private, no-cache",
            ])
    }

    private func identifier(_ call: Call) throws -> String {
        // What is not an id of ours names nothing.
        guard let id = call.parameters.get("id"), Identifier.isValid(id) else {
            throw Problem.notFound("document")
        }
        return id
    }
}
