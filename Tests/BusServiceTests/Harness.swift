import Backbone
import Foundation
import Logging
import ServiceKit
import Synchronization

@testable import BusService

/// A time that moves when a test says so.
final class HandClock: Sendable {
    private let cell = Mutex<Int64>(1_800_000_000_000)
    var now: Int64 { cell.withLock { $0 } }
    func advance(milliseconds: Int64) { cell.withLock { $0 += milliseconds } }
}

enum Harness {
    static let token: ServiceToken = {
        guard let token = ServiceToken("the-secret-of-the-tests") else { fatalError("a good secret") }
        return token
    }()

    static var log: Logger { ServiceLog.logger(service: "bus", level: .critical) }

    static func service(
        _ directory: URL, limits: BusStore.Limits = .init(), clock: HandClock = HandClock()
    ) throws -> BusService {
        try BusService(
            directory: directory, serviceToken: token, limits: limits,
            log: log, clock: { clock.now })
    }

    /// A directory that is gone after `body`.
    static func withDirectory<Value>(_ body: (URL) async throws -> Value) async throws -> Value {
        let directory = FileManager.default.temporaryDirectory.appending(
            path: "gatehouse-\(Identifier.make())")
        defer { try? FileManager.default.removeItem(at: directory) }
        return try await body(directory)
    }

    /// Runs a bus over HTTP.
    static func withService<Value: Sendable>(
        _ service: BusService, _ body: @escaping @Sendable (Origin) async throws -> Value
    ) async throws -> Value {
        try await withRunning(
            service.parts, log: log, body)
    }

    /// The bus as its clients see it, among a thousand tests on two processors: a turn may be long in coming.
    static func client(_ origin: Origin, token: ServiceToken = token) -> BusClient {
        BusClient(origin: origin, token: token, timeout: .seconds(600), connectTimeout: .seconds(600))
    }

    static func ask(
        _ origin: Origin, _ method: String, _ path: String, token: String? = Harness.token.field,
        json: String? = nil, fields: [(String, String)] = []
    ) async throws -> OutboundClient.Answer {
        var fields = fields
        if let token { fields.append(("Authorization", token)) }
        if json != nil { fields.append(("Content-Type", "application/json")) }
        return try await OutboundClient(timeout: .seconds(600), connectTimeout: .seconds(600)).send(
            method, origin, path, fields: fields, body: json.map { Data($0.utf8) })
    }

    /// Returns once `judge` is true; a test that waits for ever is ended by its limit.
    static func until(_ judge: @Sendable () async throws -> Bool) async throws {
        while try await !judge() { try await Task.sleep(for: .milliseconds(1)) }
    }
}

extension OutboundClient.Answer {
    /// The body as JSON.
    var value: JSONValue { (try? JSONValue(parsing: body)) ?? .null }
    var reason: String? { value["reason"]?.asText }
}
