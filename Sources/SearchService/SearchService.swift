public import Backbone
public import Foundation
internal import GRDB
internal import HTTPTypes
internal import Hummingbird
public import Logging
public import ServiceKit

/// Full-text search over the documents that the event log tells of.
public struct SearchService: Sendable {
    private static let scope = "search"

    let store: SearchStore
    private let verifier: TokenVerifier
    private let consumer: EventConsumer
    private let rebuild: Rebuild

    public init(directory: URL, verifier: TokenVerifier, backbone: any Backbone, log: Logger) throws {
        let store = try SearchStore(directory: directory)
        self.store = store
        self.verifier = verifier
        consumer = EventConsumer(
            group: SearchStore.Group.serving, types: DocumentChange.types, backbone: backbone,
            store: store.pool, log: log,
            // Versions make it harmless, and what a new log tells must be found.
            otherLog: .readWhole, caughtUp: { db in try SearchStore.markWhole(db) }
        ) { db, event in
            guard let change = try DocumentChange(event.event) else { return }
            try SearchStore.apply(
                db, id: event.event.subject, change, generation: SearchStore.standing(db).serving)
        }
        rebuild = Rebuild(store: store, backbone: backbone, log: log)
    }

    /// What it is run from.
    public var parts: ServiceParts {
        ServiceParts(
            name: "search", openAPI: PackageResources.openapi_json, background: [consumer, rebuild],
            // An index that is behind is no hindrance: it answers, and says so.
            hindrances: {
                var reasons: [String] = []
                if !(await verifier.prepare()) { reasons.append("keys") }
                if (try? await store.standing()) == nil { reasons.append("store") }
                return reasons
            },
            gauges: { await gauges() },
            addRoutes: { router in
                router.get("/search/documents") { request, call in try await search(request, call) }
                router.post("/search/admin/rebuild") { request, call in try await beginRebuild(request, call)
                }
            })
    }

    private func gauges() async -> [String: Int] {
        guard let standing = try? await store.standing(), let documents = try? await store.documentCount(),
            let parked = try? await store.pool.read({ db in
                try EventConsumer.parkedCount(db, group: SearchStore.Group.serving)
            })
        else { return [:] }
        return [
            "documents": documents, "index_whole": standing.isWhole ? 1 : 0,
            "index_rebuilding": standing.isRebuilding ? 1 : 0,
            "rebuild_events_behind": standing.isRebuilding ? Int(rebuild.progress.behind) : 0,
            "events_behind": Int(consumer.progress.behind), "events_parked": parked,
            "event_log_reachable": consumer.progress.isReachable ? 1 : 0,
        ]
    }

    private func search(_ request: Request, _ call: Call) async throws -> Response {
        let caller = try await verifier.caller(request, call, scope: Self.scope)
        return Reply.json(try await store.search(SearchQuery(request, by: caller)))
    }

    private struct Begun: Encodable {
        let state = "rebuilding"
    }

    private func beginRebuild(_ request: Request, _ call: Call) async throws -> Response {
        let caller = try await verifier.caller(request, call, scope: Self.scope)
        guard caller.isAdministrator else {
            throw Problem(.forbidden, "role_missing", "This is for administrators.")
        }
        guard try await rebuild.begin() else {
            throw Problem(.conflict, "rebuild_under_way", "The index is being rebuilt already.")
        }
        return Reply.json(Begun(), status: .accepted)
    }
}
