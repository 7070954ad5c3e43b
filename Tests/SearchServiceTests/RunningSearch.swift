import Backbone
import BusService
import Foundation
import GRDB
import HTTPTypes
import Hummingbird
import ServiceKit
import Testing

@testable import SearchService

/// A search service that accepts connections, and the bus that feeds it.
struct RunningSearch: Sendable {
    let origin: Origin
    let bus: BusStore
    let store: SearchStore

    /// A bus of its own, on which `document.*` is known.
    static func withBus(_ body: (BusStore) async throws -> Void) async throws {
        let directory = Harness.directory()
        defer { try? FileManager.default.removeItem(at: directory) }
        let bus = try BusStore(directory: directory)
        for name in ["created", "updated", "deleted"] {
            try await bus.register(
                EventSchema(
                    type: "document.\(name)",
                    // Looser than core's, so that what search cannot read gets as far as search.
                    schema: ["type": "object", "properties": ["version": ["type": "integer"]]]))
        }
        try await body(bus)
    }

    /// `store`: The directory of its store.
    static func run(
        over bus: BusStore, backbone: (any Backbone)? = nil, store directory: URL,
        _ body: @escaping @Sendable (RunningSearch) async throws -> Void
    ) async throws {
        let service = try SearchService(
            directory: directory, verifier: Harness.verifier(), backbone: backbone ?? bus,
            log: Harness.log)
        try await withRunning(service.parts, log: Harness.log) { origin in
            try await body(RunningSearch(origin: origin, bus: bus, store: service.store))
        }
    }

    static func with(_ body: @escaping @Sendable (RunningSearch) async throws -> Void) async throws {
        let directory = Harness.directory()
        defer { try? FileManager.default.removeItem(at: directory) }
        try await withBus { bus in try await run(over: bus, store: directory, body) }
    }

    /// Returns when all of them have had their effect.
    func publish(_ events: [Event]) async throws {
        for outcome in try await bus.publish(events) {
            if case .refused(let refusal) = outcome { throw refusal }
        }
        try await settle()
    }

    /// Returns when search stands at the end of the log.
    func settle() async throws {
        let last = try await bus.stats().lastOffset
        try await until {
            try await store.pool.read { db in
                try EventConsumer.position(db, group: SearchStore.Group.serving)
            } >= last
        }
    }

    func until(_ isSo: () async throws -> Bool) async throws {
        while try await !isSo() { await Task.yield() }
    }

    func titles(_ words: String, as subject: String = "ada") async throws -> [String] {
        let answer = try await Harness.ask(
            origin, "GET", "/search/documents?q=\(words)", token: Harness.token(subject))
        try #require(answer.status == 200)
        return (answer.object["hits"] as? [[String: Any]] ?? []).compactMap { $0["title"] as? String }
    }

    func rebuild(as subject: String = "root", roles: [String] = ["admin"], scope: String = "search")
        async throws -> OutboundClient.Answer
    {
        try await Harness.ask(
            origin, "POST", "/search/admin/rebuild",
            token: Harness.token(subject, roles: roles, scope: scope))
    }

    /// The value of a gauge.
    func gauge(_ name: String) async throws -> Int? {
        let metrics = try await Harness.ask(origin, "GET", "/metrics")
        return String(decoding: metrics.body, as: UTF8.self).split(separator: "\n")
            .first { $0.hasPrefix("gatehouse_service_\(name){") }
            .flatMap { $0.split(separator: " ").last }.flatMap { Int($0) }
    }
}
