import Foundation
import ServiceKit
import Testing

@testable import AuthService

@Suite("The auth service over HTTP") struct AuthServiceTests {
    @Test("An account is made once; its address is compared without regard to case") func registration()
        async throws
    {
        try await withHouse { house in
            let made = try await house.register("Ada@Example.com")
            #expect(made.status == 201)
            #expect(made.object["email"] as? String == "ada@example.com")
            #expect(Identifier.isValid(made.object["id"] as? String ?? ""))
            let again = try await house.register("ada@example.COM", prefix: "/api/v1/auth")
            #expect(again.status == 409)
            #expect(again.object["reason"] as? String == "email_taken")
            for email in ["", "ada", "@example.com", "a@b", "a b@example.com", "a@b@example.com", "a@.com"] {
                #expect(try await house.register(email).status == 400)
            }
            let short = try await house.ask(
                "POST", "/auth/register",
                json: "{\"email\":\"b@example.com\",\"password\":\"1234567\"}")
            #expect(short.object["reason"] as? String == "invalid_password")
        }
    }

    @Test("RFC 6749 §5.1, RFC 9068 §2: a sign-in gives tokens that the published key set verifies")
    func tokens() async throws {
        try await withHouse { house in
            let account = try await house.register("ada@example.com").object["id"] as? String
            let answer = try await house.signIn("ada@example.com")
            #expect(answer.status == 200)
            #expect(answer.field("Cache-Control") == "no-store")
            #expect(answer.field("Pragma") == "no-cache")
            #expect(answer.object["token_type"] as? String == "Bearer")
            #expect(answer.object["expires_in"] as? Int == 900)
            #expect(Bytes.fromBase64url(answer.object["refresh_token"] as? String ?? "")?.count == 32)

            let keySet = try await house.ask("GET", "/.well-known/jwks.json")
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

            let me = try await house.ask("GET", "/api/v1/auth/me", token: access)
            #expect(me.object["email"] as? String == "ada@example.com")
            #expect(try await house.ask("GET", "/auth/me").status == 401)
        }
    }

    @Test("RFC 6749 §5.2: each refusal has its name") func refusals() async throws {
        try await withHouse { house in
            _ = try await house.register("ada@example.com")
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
                let answer = try await house.tokens(form)
                #expect(answer.status == 400)
                #expect(answer.object["error"] as? String == error, "\(form)")
                #expect(answer.field("Cache-Control") == "no-store")
            }
            let json = try await house.ask("POST", "/auth/token", json: "{}")
            #expect(json.object["error"] as? String == "invalid_request")
        }
    }

    @Test("RFC 6749 §6: a renewal may narrow the scope, not widen it") func scopes() async throws {
        try await withHouse { house in
            _ = try await house.register("ada@example.com")
            let answer = try await house.tokens(
                "grant_type=password&username=ada@example.com&password=correct+horse+battery&scope=search+jobs"
            )
            #expect(answer.object["scope"] as? String == "search jobs")
            let refresh = answer.object["refresh_token"] as? String ?? ""
            let wider = try await house.tokens(
                "grant_type=refresh_token&refresh_token=\(refresh)&scope=documents")
            #expect(wider.object["error"] as? String == "invalid_scope")
            let narrower = try await house.tokens(
                "grant_type=refresh_token&refresh_token=\(refresh)&scope=jobs")
            #expect(narrower.object["scope"] as? String == "jobs")
            let access = narrower.object["access_token"] as? String ?? ""
            let me = try await house.ask("GET", "/auth/me", token: access)
            #expect(me.status == 403)
            #expect(me.object["reason"] as? String == "insufficient_scope")
        }
    }

    @Test("Signing out ends the session") func logout() async throws {
        try await withHouse { house in
            _ = try await house.register("ada@example.com")
            let answer = try await house.signIn("ada@example.com")
            let access = answer.object["access_token"] as? String ?? ""
            let refresh = answer.object["refresh_token"] as? String ?? ""
            #expect(try await house.ask("POST", "/auth/logout", token: access).status == 204)
            #expect(try await house.ask("GET", "/auth/me", token: access).status == 401)
            let renewed = try await house.tokens("grant_type=refresh_token&refresh_token=\(refresh)")
            #expect(renewed.object["error"] as? String == "invalid_grant")
        }
    }

    @Test("After five wrong passwords the pair of account and address has to wait") func throttled()
        async throws
    {
        try await withHouse { house in
            _ = try await house.register("ada@example.com")
            for _ in 0..<5 {
                let answer = try await house.tokens(
                    "grant_type=password&username=ada@example.com&password=wrong")
                #expect(answer.status == 400)
            }
            let refused = try await house.signIn("ada@example.com")
            #expect(refused.status == 429)
            #expect(Int(refused.field("Retry-After") ?? "") ?? 0 > 0)
        }
    }

    @Test("The key, the accounts and the roles survive a restart") func restart() async throws {
        let directory = House.directory()
        defer { try? FileManager.default.removeItem(at: directory) }
        let before = try await withHouse(directory: directory) { house in
            _ = try await house.register("ada@example.com")
            return try await house.ask("GET", "/.well-known/jwks.json").body
        }
        #expect(try AuthService.grant(role: "admin", email: "Ada@example.com", directory: directory))
        #expect(try !AuthService.grant(role: "admin", email: "bob@example.com", directory: directory))
        try await withHouse(directory: directory) { house in
            #expect(try await house.ask("GET", "/.well-known/jwks.json").body == before)
            let answer = try await house.signIn("ada@example.com")
            let access = try #require(answer.object["access_token"] as? String)
            let verifier = TokenVerifier(issuer: "https://auth.test", audience: "test") { before }
            #expect(try await verifier.verify(access).isAdministrator)
        }
        let file = directory.appending(path: "auth.sqlite").path(percentEncoded: false)
        let mode = try FileManager.default.attributesOfItem(atPath: file)[.posixPermissions] as? Int
        #expect(mode == 0o600)
    }
}
