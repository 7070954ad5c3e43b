import Foundation
import Logging
import ServiceKit
import Testing

@testable import AuthService

@Suite("The auth service over HTTP") struct AuthServiceTests {
    private static let password = "correct horse battery"

    private func withAuth<Outcome: Sendable>(
        directory: URL? = nil, _ body: @escaping @Sendable (Origin) async throws -> Outcome
    ) async throws -> Outcome {
        let log = ServiceLog.logger(service: "auth", level: .critical)
        let place = directory ?? Self.directory()
        defer { if directory == nil { try? FileManager.default.removeItem(at: place) } }
        let service = try await AuthService(
            AuthSettings(directory: place, issuer: "https://auth.test", audience: "test"), log: log)
        return try await withRunning(service.parts, log: log, body)
    }

    private static func directory() -> URL {
        FileManager.default.temporaryDirectory.appending(path: "gatehouse-\(Identifier.make())")
    }

    private static func send(
        _ origin: Origin, _ method: String, _ path: String, body: String? = nil, type: String? = nil,
        token: String? = nil
    ) async throws -> OutboundClient.Answer {
        var fields: [(String, String)] = []
        if let type { fields.append(("Content-Type", type)) }
        if let token { fields.append(("Authorization", "Bearer \(token)")) }
        return try await OutboundClient(timeout: .seconds(60)).send(
            method, origin, path, fields: fields, body: body.map { Data($0.utf8) })
    }

    private static func register(_ origin: Origin, _ email: String, prefix: String = "/auth")
        async throws -> OutboundClient.Answer
    {
        try await send(
            origin, "POST", "\(prefix)/register",
            body: "{\"email\":\"\(email)\",\"password\":\"\(password)\"}",
            type: "application/json")
    }

    private static func token(_ origin: Origin, _ form: String) async throws -> OutboundClient.Answer {
        try await send(
            origin, "POST", "/auth/token", body: form, type: "application/x-www-form-urlencoded")
    }

    private static func signIn(_ origin: Origin, _ email: String) async throws -> OutboundClient.Answer {
        try await token(origin, "grant_type=password&username=\(email)&password=correct+horse+battery")
    }

    @Test("An account is made once; its address is compared without regard to case") func registration()
        async throws
    {
        try await withAuth { origin in
            let made = try await Self.register(origin, "Ada@Example.com")
            #expect(made.status == 201)
            #expect(made.object["email"] as? String == "ada@example.com")
            #expect(Identifier.isValid(made.object["id"] as? String ?? ""))
            let again = try await Self.register(origin, "ada@example.COM", prefix: "/api/v1/auth")
            #expect(again.status == 409)
            #expect(again.object["reason"] as? String == "email_taken")
            for email in ["", "ada", "@example.com", "a@b", "a b@example.com", "a@b@example.com", "a@.com"] {
                #expect(try await Self.register(origin, email).status == 400)
            }
            let short = try await Self.send(
                origin, "POST", "/auth/register",
                body: "{\"email\":\"b@example.com\",\"password\":\"1234567\"}",
                type: "application/json")
            #expect(short.object["reason"] as? String == "invalid_password")
        }
    }

    @Test("RFC 6749 §5.1, RFC 9068 §2: a sign-in gives tokens that the published key set verifies")
    func tokens() async throws {
        try await withAuth { origin in
            let account = try await Self.register(origin, "ada@example.com").object["id"] as? String
            let answer = try await Self.signIn(origin, "ada@example.com")
            #expect(answer.status == 200)
            #expect(answer.field("Cache-Control") == "no-store")
            #expect(answer.field("Pragma") == "no-cache")
            #expect(answer.object["token_type"] as? String == "Bearer")
            #expect(answer.object["expires_in"] as? Int == 900)
            #expect(Bytes.fromBase64url(answer.object["refresh_token"] as? String ?? "")?.count == 32)

            let keySet = try await Self.send(origin, "GET", "/.well-known/jwks.json")
            #expect(keySet.field("Cache-Control") == "public, max-age=300")
            let keys = keySet.body
            let verifier = TokenVerifier(issuer: "https://auth.test", audience: "test") { keys }
            let access = try #require(answer.object["access_token"] as? String)
            let caller = try await verifier.verify(access)
            #expect(caller.subject == account)
            #expect(caller.roles == ["user"])
            let soon = Timestamp.now / 1_000 + 899
            #expect(try await verifier.verify(access, now: soon - 60).subject == account)
            await #expect(throws: Problem.self) { try await verifier.verify(access, now: soon + 60) }

            let me = try await Self.send(origin, "GET", "/api/v1/auth/me", token: access)
            #expect(me.object["email"] as? String == "ada@example.com")
            #expect(try await Self.send(origin, "GET", "/auth/me").status == 401)
        }
    }

    @Test("RFC 6749 §5.2: each refusal has its name") func refusals() async throws {
        try await withAuth { origin in
            _ = try await Self.register(origin, "ada@example.com")
            for (form, error) in [
                ("", "invalid_request"), ("grant_type=magic", "unsupported_grant_type"),
                ("grant_type=password", "invalid_request"),
                ("grant_type=password&grant_type=password", "invalid_request"),
                ("grant_type=%ZZ", "invalid_request"),
                ("grant_type=password&username=ada@example.com&password=wrong", "invalid_grant"),
                ("grant_type=password&username=nobody@example.com&password=wrong", "invalid_grant"),
                ("grant_type=password&username=a&password=b&scope=everything", "invalid_scope"),
                ("grant_type=refresh_token", "invalid_request"),
                ("grant_type=refresh_token&refresh_token=nonsense", "invalid_grant"),
            ] {
                let answer = try await Self.token(origin, form)
                #expect(answer.status == 400)
                #expect(answer.object["error"] as? String == error, "\(form)")
                #expect(answer.field("Cache-Control") == "no-store")
            }
            let json = try await Self.send(
                origin, "POST", "/auth/token", body: "{}", type: "application/json")
            #expect(json.object["error"] as? String == "invalid_request")
        }
    }

    @Test("RFC 9700 §4.14.2: a refresh token is good once; using it again ends the session") func rotation()
        async throws
    {
        try await withAuth { origin in
            _ = try await Self.register(origin, "ada@example.com")
            let first =
                try await Self.signIn(origin, "ada@example.com").object["refresh_token"] as? String ?? ""
            let renewed = try await Self.token(origin, "grant_type=refresh_token&refresh_token=\(first)")
            let second = renewed.object["refresh_token"] as? String ?? ""
            let access = renewed.object["access_token"] as? String ?? ""
            #expect(renewed.status == 200)
            #expect(second != first)
            #expect(try await Self.send(origin, "GET", "/auth/me", token: access).status == 200)

            let stolen = try await Self.token(origin, "grant_type=refresh_token&refresh_token=\(first)")
            #expect(stolen.object["error"] as? String == "invalid_grant")
            let after = try await Self.token(origin, "grant_type=refresh_token&refresh_token=\(second)")
            #expect(after.object["error"] as? String == "invalid_grant")
            #expect(try await Self.send(origin, "GET", "/auth/me", token: access).status == 401)
        }
    }

    @Test("RFC 6749 §6: a renewal may narrow the scope, not widen it") func scopes() async throws {
        try await withAuth { origin in
            _ = try await Self.register(origin, "ada@example.com")
            let answer = try await Self.token(
                origin,
                "grant_type=password&username=ada@example.com&password=correct+horse+battery&scope=search+jobs"
            )
            #expect(answer.object["scope"] as? String == "search jobs")
            let refresh = answer.object["refresh_token"] as? String ?? ""
            let wider = try await Self.token(
                origin, "grant_type=refresh_token&refresh_token=\(refresh)&scope=documents")
            #expect(wider.object["error"] as? String == "invalid_scope")
            let narrower = try await Self.token(
                origin, "grant_type=refresh_token&refresh_token=\(refresh)&scope=jobs")
            #expect(narrower.object["scope"] as? String == "jobs")
            let access = narrower.object["access_token"] as? String ?? ""
            let me = try await Self.send(origin, "GET", "/auth/me", token: access)
            #expect(me.status == 403)
            #expect(me.object["reason"] as? String == "insufficient_scope")
        }
    }

    @Test("Signing out ends the session") func logout() async throws {
        try await withAuth { origin in
            _ = try await Self.register(origin, "ada@example.com")
            let answer = try await Self.signIn(origin, "ada@example.com")
            let access = answer.object["access_token"] as? String ?? ""
            let refresh = answer.object["refresh_token"] as? String ?? ""
            #expect(try await Self.send(origin, "POST", "/auth/logout", token: access).status == 204)
            #expect(try await Self.send(origin, "GET", "/auth/me", token: access).status == 401)
            let renewed = try await Self.token(origin, "grant_type=refresh_token&refresh_token=\(refresh)")
            #expect(renewed.object["error"] as? String == "invalid_grant")
        }
    }

    @Test("After five wrong passwords the pair of account and address has to wait") func throttled()
        async throws
    {
        try await withAuth { origin in
            _ = try await Self.register(origin, "ada@example.com")
            for _ in 0..<5 {
                let answer = try await Self.token(
                    origin, "grant_type=password&username=ada@example.com&password=wrong")
                #expect(answer.status == 400)
            }
            let refused = try await Self.signIn(origin, "ada@example.com")
            #expect(refused.status == 429)
            #expect(Int(refused.field("Retry-After") ?? "") ?? 0 > 0)
        }
    }

    @Test("The key, the accounts and the roles survive a restart") func restart() async throws {
        let directory = Self.directory()
        defer { try? FileManager.default.removeItem(at: directory) }
        let before = try await withAuth(directory: directory) { origin in
            _ = try await Self.register(origin, "ada@example.com")
            return try await Self.send(origin, "GET", "/.well-known/jwks.json").body
        }
        #expect(try AuthService.grant(role: "admin", email: "Ada@example.com", directory: directory))
        #expect(try !AuthService.grant(role: "admin", email: "bob@example.com", directory: directory))
        try await withAuth(directory: directory) { origin in
            #expect(try await Self.send(origin, "GET", "/.well-known/jwks.json").body == before)
            let answer = try await Self.signIn(origin, "ada@example.com")
            let access = try #require(answer.object["access_token"] as? String)
            let verifier = TokenVerifier(issuer: "https://auth.test", audience: "test") { before }
            #expect(try await verifier.verify(access).isAdministrator)
        }
        let file = directory.appending(path: "auth.sqlite").path(percentEncoded: false)
        let mode = try FileManager.default.attributesOfItem(atPath: file)[.posixPermissions] as? Int
        #expect(mode == 0o600)
    }
}

extension OutboundClient.Answer {
    fileprivate var object: [String: Any] {
        (try? JSONSerialization.jsonObject(with: body)) as? [String: Any] ?? [:]
    }
}
