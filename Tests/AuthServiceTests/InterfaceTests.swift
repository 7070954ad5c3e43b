import Foundation
import ServiceKit
import Testing

@testable import AuthService

/// What the interface's description says.
enum Interface {
    struct Operation: Sendable {
        let method: String
        let path: String
        let statuses: Set<Int>
        let isOpen: Bool
    }

    static let operations: [Operation] = {
        let whole = try? JSONValue(parsing: PackageResources.openapi_json)
        return (whole?["paths"]?.asObject ?? [:]).flatMap { path, members in
            (members.asObject ?? [:]).map { method, operation in
                Operation(
                    method: method.uppercased(), path: path,
                    statuses: Set((operation["responses"]?.asObject ?? [:]).keys.compactMap { Int($0) }),
                    isOpen: operation["security"]?.asList?.isEmpty == true)
            }
        }
    }()

    /// The statuses that a request may be answered with; `nil` for what is not described.
    static func statuses(_ method: String, _ target: String) -> Set<Int>? {
        let path = target.prefix { $0 != "?" }
        let name = path.hasPrefix("/api/v1/auth/") ? path.dropFirst("/api/v1".count) : path
        let asked = name.split(separator: "/")
        return operations.first { operation in
            let parts = operation.path.split(separator: "/")
            return operation.method == method && parts.count == asked.count
                && zip(parts, asked).allSatisfy { $0.hasPrefix("{") || $0 == $1 }
        }?.statuses
    }
}

@Suite("The interface's description") struct InterfaceTests {
    @Test("It is served, and has every route; those that need a token answer 401 without one") func served()
        async throws
    {
        #expect(
            Set(Interface.operations.map { "\($0.method) \($0.path)" }) == [
                "POST /auth/register", "POST /auth/token", "POST /auth/revoke", "POST /auth/introspect",
                "GET /auth/me", "PATCH /auth/me", "POST /auth/logout", "GET /auth/sessions",
                "DELETE /auth/sessions/{family}", "POST /auth/email/verification",
                "POST /auth/email/verify", "POST /auth/password/forgot", "POST /auth/password/reset",
                "GET /auth/admin/users", "PATCH /auth/admin/users/{id}", "POST /auth/admin/keys/rotate",
                "GET /.well-known/jwks.json", "GET /.well-known/oauth-authorization-server",
            ])
        try await withHouse { house in
            let answer = try await house.ask("GET", "/auth/openapi.json", from: "192.0.2.1")
            #expect(answer.status == 200)
            #expect([UInt8](answer.body) == PackageResources.openapi_json)
            for operation in Interface.operations {
                let path = operation.path.replacing("{id}", with: Identifier.make()).replacing(
                    "{family}", with: Identifier.make())
                let isForm = ["/auth/token", "/auth/revoke", "/auth/introspect"].contains(operation.path)
                for path in [path, "/api/v1\(path)"] where path.contains("/auth/") || path == operation.path {
                    let answer = try await house.ask(
                        operation.method, path,
                        json: operation.method != "GET" && !isForm ? "{}" : nil, form: isForm ? "" : nil)
                    #expect((answer.status == 401) == !operation.isOpen, "\(operation.method) \(path)")
                    #expect(answer.status != 404, "\(operation.method) \(path)")
                }
            }
        }
    }
}
