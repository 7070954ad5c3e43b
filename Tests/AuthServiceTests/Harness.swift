import Foundation
import Logging
import ServiceKit
import Synchronization
import Testing

@testable import AuthService

/// A clock that the test moves on.
final class Clock: Sendable {
    private let ahead = Mutex<Int64>(0)

    var now: Int64 { Timestamp.now + ahead.withLock { $0 } }

    func advance(seconds: Int64) { ahead.withLock { $0 += seconds * 1_000 } }
}

/// The auth service, running, with its store and its clock.
struct House: Sendable {
    static let password = "correct horse battery"
    static let issuer = "https://auth.test"
    static let serviceSecret = "the-secret-of-the-services"

    let origin: Origin
    let directory: URL
    let clock: Clock

    static func directory() -> URL {
        FileManager.default.temporaryDirectory.appending(path: "gatehouse-\(Identifier.make())")
    }

    func ask(
        _ method: String, _ path: String, token: String? = nil, json: String? = nil, form: String? = nil,
        from address: String? = nil, fields: [(String, String)] = []
    ) async throws -> OutboundClient.Answer {
        var fields = fields
        if let token { fields.append(("Authorization", "Bearer \(token)")) }
        if json != nil { fields.append(("Content-Type", "application/json")) }
        if form != nil { fields.append(("Content-Type", "application/x-www-form-urlencoded")) }
        if let address { fields.append(("X-Forwarded-For", address)) }
        return try await OutboundClient(timeout: .seconds(60)).send(
            method, origin, path, fields: fields, body: (json ?? form).map { Data($0.utf8) })
    }

    @discardableResult
    func register(_ email: String, prefix: String = "/auth") async throws -> OutboundClient.Answer {
        try await ask(
            "POST", "\(prefix)/register", json: "{\"email\":\"\(email)\",\"password\":\"\(Self.password)\"}")
    }

    func tokens(_ form: String, from address: String? = nil) async throws -> OutboundClient.Answer {
        try await ask("POST", "/auth/token", form: form, from: address)
    }

    func signIn(
        _ email: String, password: String = House.password, from address: String? = nil,
        fields: [(String, String)] = []
    ) async throws -> OutboundClient.Answer {
        let form =
            "grant_type=password&username=\(email)&password=\(password.replacingOccurrences(of: " ", with: "+"))"
        return try await ask("POST", "/auth/token", form: form, from: address, fields: fields)
    }

    func renew(_ refreshToken: String, from address: String? = nil) async throws -> OutboundClient.Answer {
        try await tokens("grant_type=refresh_token&refresh_token=\(refreshToken)", from: address)
    }

    /// A new account, signed in.
    func newcomer(_ email: String) async throws -> (id: String, access: String, refresh: String) {
        let id = try await register(email).text("id")
        let answer = try await signIn(email)
        return (
            try #require(id), try #require(answer.text("access_token")),
            try #require(answer.text("refresh_token"))
        )
    }

    /// A new account with the role `admin`, signed in.
    func administrator() async throws -> (id: String, access: String) {
        let id = try await register("root@example.com").text("id")
        #expect(try AuthService.grant(role: "admin", email: "root@example.com", directory: directory))
        return (
            try #require(id), try #require(try await signIn("root@example.com").text("access_token"))
        )
    }

    func introspect(_ token: String, secret: String = House.serviceSecret) async throws
        -> OutboundClient.Answer
    {
        try await ask("POST", "/auth/introspect", token: secret, form: "token=\(token)")
    }
}

func withHouse<Outcome: Sendable>(
    directory: URL? = nil, change: (inout AuthSettings) -> Void = { _ in },
    _ body: @escaping @Sendable (House) async throws -> Outcome
) async throws -> Outcome {
    let log = ServiceLog.logger(service: "auth", level: .critical)
    let place = directory ?? House.directory()
    defer { if directory == nil { try? FileManager.default.removeItem(at: place) } }
    let clock = Clock()
    var settings = AuthSettings(
        directory: place, issuer: House.issuer, audience: "test",
        serviceToken: ServiceToken(House.serviceSecret), clock: { clock.now })
    change(&settings)
    let service = try await AuthService(settings, log: log)
    return try await withRunning(service.parts, log: log) { origin in
        try await body(House(origin: origin, directory: place, clock: clock))
    }
}

extension OutboundClient.Answer {
    /// The body as a JSON object; empty when it is none.
    var object: [String: Any] {
        (try? JSONSerialization.jsonObject(with: body)) as? [String: Any] ?? [:]
    }

    func text(_ name: String) -> String? { object[name] as? String }
    func list(_ name: String) -> [[String: Any]] { object[name] as? [[String: Any]] ?? [] }
}
