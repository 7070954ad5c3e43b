public import Foundation
internal import GRDB
internal import HTTPTypes
internal import Hummingbird
public import ServiceKit

/// Full-text search over the documents that core hands over.
public struct SearchService: Sendable {
    private static let bodyLimitBytes = 4 << 20
    private static let queryLimitBytes = 256
    private static let pageLimit = 50
    private static let offsetLimit = 1_000

    private let store: SearchStore
    private let verifier: TokenVerifier
    private let serviceToken: ServiceToken

    /// `serviceToken`: The secret that core shows when it hands over documents.
    public init(directory: URL, verifier: TokenVerifier, serviceToken: ServiceToken) throws {
        store = try SearchStore(directory: directory)
        self.verifier = verifier
        self.serviceToken = serviceToken
    }

    /// What it is run from.
    public var parts: ServiceParts {
        ServiceParts(
            name: "search",
            hindrances: {
                var reasons: [String] = []
                if !(await verifier.prepare()) { reasons.append("keys") }
                if (try? await store.documentCount()) == nil { reasons.append("store") }
                return reasons
            },
            gauges: { ["documents": (try? await store.documentCount()) ?? -1] },
            addRoutes: { router in
                router.get("/search/documents") { request, call in try await search(request, call) }
                router.put("/search/internal/documents/:id") { request, call in try await put(request, call) }
                router.delete("/search/internal/documents/:id") { request, call in
                    try await remove(request, call)
                }
            })
    }

    private func search(_ request: Request, _ call: Call) async throws -> Response {
        let caller = try await verifier.caller(request, call, scope: "search")
        let limit = try request.queryNumber("limit", in: 1...Self.pageLimit, fallback: 10)
        let offset = try request.queryNumber("offset", in: 0...Self.offsetLimit, fallback: 0)
        let text = request.queryText("q") ?? ""
        guard text.utf8.count <= Self.queryLimitBytes else {
            throw Problem(
                .badRequest, "invalid_query", "q may have at most \(Self.queryLimitBytes) bytes.")
        }
        // The one way from a stranger's text to a MATCH: raw text is a query language with errors of its own.
        guard let pattern = FTS5Pattern(matchingAllTokensIn: text) else {
            throw Problem(.badRequest, "invalid_query", "q must hold at least one word.")
        }
        let owner = request.queryText("owner")
        guard caller.isAdministrator || owner == nil || owner == caller.subject else {
            throw Problem(.forbidden, "not_owner", "These are another account's documents.")
        }
        return Reply.json(
            try await store.search(
                pattern, owner: caller.isAdministrator ? owner : caller.subject, limit: limit,
                offset: offset))
    }

    private func put(_ request: Request, _ call: Call) async throws -> Response {
        try serviceToken.require(request)
        let document = try await request.json(IndexedDocument.self, limitBytes: Self.bodyLimitBytes)
        try await store.put(id: try identifier(call), document)
        return Reply.noContent
    }

    private func remove(_ request: Request, _ call: Call) async throws -> Response {
        try serviceToken.require(request)
        guard let version = request.queryText("version").flatMap({ Int64($0) }) else {
            throw Problem(.badRequest, "invalid_query", "version must be a whole number.")
        }
        try await store.remove(id: try identifier(call), version: version, now: Timestamp.now)
        return Reply.noContent
    }

    private func identifier(_ call: Call) throws -> String {
        guard let id = call.parameters.get("id"), Identifier.isValid(id) else {
            throw Problem(.badRequest, "invalid_id", "The id must be a UUID in lower case.")
        }
        return id
    }
}
