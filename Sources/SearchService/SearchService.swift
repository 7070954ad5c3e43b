public import Foundation
internal import HTTPTypes
internal import Hummingbird
public import ServiceKit

/// Full-text search over the documents that core hands over.
public struct SearchService: Sendable {
    private static let bodyLimitBytes = 4 << 20

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
        return Reply.json(try await store.search(SearchQuery(request, by: caller)))
    }

    private struct Handover: Decodable {
        let owner: String
        let title: String
        let body: String
        let version: Int64
    }

    private func put(_ request: Request, _ call: Call) async throws -> Response {
        try serviceToken.require(request)
        let told = try await request.json(Handover.self, limitBytes: Self.bodyLimitBytes)
        try await store.apply(
            id: try identifier(call),
            .stored(
                IndexedDocument(
                    owner: told.owner, type: "document", title: told.title, body: told.body,
                    version: told.version, updatedAt: Timestamp.now)))
        return Reply.noContent
    }

    private func remove(_ request: Request, _ call: Call) async throws -> Response {
        try serviceToken.require(request)
        guard let version = request.queryText("version").flatMap({ Int64($0) }) else {
            throw Problem(.badRequest, "invalid_query", "version must be a whole number.")
        }
        try await store.apply(id: try identifier(call), .removed(version: version, at: Timestamp.now))
        return Reply.noContent
    }

    private func identifier(_ call: Call) throws -> String {
        guard let id = call.parameters.get("id"), Identifier.isValid(id) else {
            throw Problem(.badRequest, "invalid_id", "The id must be a UUID in lower case.")
        }
        return id
    }
}
