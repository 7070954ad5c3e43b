import Foundation
import ServiceKit
import Testing

@testable import AuthService

@Suite("What auth keeps from strangers") struct GuardTests {
    @Test("RFC 9700 §4.14.2: a refresh token that is used again ends the session") func reuse() async throws {
        try await withHouse { house in
            let ada = try await house.newcomer("ada@example.com")
            let renewed = try await house.renew(ada.refresh)
            let second = try #require(renewed.text("refresh_token"))
            let access = try #require(renewed.text("access_token"))
            #expect(renewed.status == 200)
            #expect(second != ada.refresh)
            // An answer that was lost is given again.
            #expect(try await house.renew(ada.refresh).text("refresh_token") == second)
            #expect(try await house.ask("GET", "/auth/me", token: access).status == 200)

            house.clock.advance(seconds: 11)
            #expect(try await house.renew(ada.refresh).text("error") == "invalid_grant")
            #expect(try await house.renew(second).text("error") == "invalid_grant")
            #expect(try await house.ask("GET", "/auth/me", token: access).status == 401)
        }
    }

    @Test("RFC 7662 §2.1: only a service that shows the secret may introspect") func introspection()
        async throws
    {
        try await withHouse { house in
            let ada = try await house.newcomer("ada@example.com")
            for token in [ada.access, ada.refresh] {
                let told = try await house.introspect(token)
                #expect(told.status == 200)
                #expect(told.object["active"] as? Bool == true)
                #expect(told.text("sub") == ada.id)
                #expect(told.field("Cache-Control") == "no-store")
            }
            #expect(try await house.introspect("nonsense").object.count == 1)
            for secret in ["the-secret-of-the-servicez", "", ada.access, "null"] {
                let refused = try await house.introspect(ada.access, secret: secret)
                #expect(refused.status == 401)
                #expect(refused.object["active"] == nil)
            }
            #expect(try await house.ask("POST", "/auth/introspect", form: "token=x").status == 401)
            // What has ended here is not active, though it has not expired.
            #expect(try await house.ask("POST", "/auth/logout", token: ada.access).status == 204)
            for token in [ada.access, ada.refresh] {
                #expect(try await house.introspect(token).object["active"] as? Bool == false)
            }
        }
        // Without a secret of the platform nobody has it.
        try await withHouse(change: { $0.serviceToken = nil }) { house in
            let refused = try await house.introspect("x")
            #expect(refused.status == 401)
        }
    }

    @Test("A session is listed for its owner, and ended by its owner alone") func foreignSessions()
        async throws
    {
        try await withHouse { house in
            let ada = try await house.newcomer("ada@example.com")
            let bob = try await house.newcomer("bob@example.com")
            _ = try await house.signIn(
                "ada@example.com", from: "192.0.2.7", fields: [("User-Agent", "elsewhere")])
            let lines = try await house.ask("GET", "/auth/sessions", token: ada.access).list("sessions")
            #expect(lines.count == 2)
            #expect(lines.filter { $0["current"] as? Bool == true }.count == 1)
            let other = try #require(lines.first { $0["current"] as? Bool == false })
            #expect(other["address"] as? String == "192.0.2.7")
            #expect(other["agent"] as? String == "elsewhere")
            let family = try #require(other["id"] as? String)

            let foreign = try await house.ask("DELETE", "/auth/sessions/\(family)", token: bob.access)
            #expect(foreign.status == 404)
            #expect(try await house.ask("DELETE", "/auth/sessions/x", token: ada.access).status == 404)
            #expect(try await house.ask("DELETE", "/auth/sessions/\(family)").status == 401)
            let still = try await house.ask("GET", "/auth/sessions", token: ada.access).list("sessions")
            #expect(still.count == 2)
            #expect(
                try await house.ask("DELETE", "/auth/sessions/\(family)", token: ada.access).status == 204)
            #expect(
                try await house.ask("GET", "/auth/sessions", token: ada.access).list("sessions").count == 1)
        }
    }

    @Test("RFC 7009 §2.2: revoking answers 200, and ends the session of either token") func revocation()
        async throws
    {
        try await withHouse { house in
            let ada = try await house.newcomer("ada@example.com")
            #expect(try await house.ask("POST", "/auth/revoke", form: "token=nonsense").status == 200)
            #expect(try await house.ask("POST", "/auth/revoke", form: "").text("error") == "invalid_request")
            #expect(try await house.ask("POST", "/auth/revoke", form: "token=\(ada.refresh)").status == 200)
            #expect(try await house.renew(ada.refresh).text("error") == "invalid_grant")
            let again = try await house.signIn("ada@example.com")
            let access = try #require(again.text("access_token"))
            #expect(try await house.ask("POST", "/auth/revoke", form: "token=\(access)").status == 200)
            #expect(try await house.renew(again.text("refresh_token") ?? "").status == 400)
        }
    }

    @Test("RFC 6749 §5.2: a client that shows credentials is not known") func clients() async throws {
        try await withHouse { house in
            let answer = try await house.ask(
                "POST", "/auth/token", form: "grant_type=password",
                fields: [("Authorization", "Basic YTpi")])
            #expect(answer.status == 401)
            #expect(answer.text("error") == "invalid_client")
            #expect(answer.field("WWW-Authenticate")?.hasPrefix("Basic") == true)
        }
    }

    @Test("A new password needs the old one, and ends the other sessions") func password() async throws {
        try await withHouse { house in
            let ada = try await house.newcomer("ada@example.com")
            let other = try await house.signIn("ada@example.com").text("refresh_token") ?? ""
            for (body, status) in [
                ("{\"password\":\"another password\"}", 400),
                ("{\"password\":\"another password\",\"currentPassword\":\"wrong\"}", 403),
                ("{\"displayName\":\"a\\nb\"}", 400), ("[]", 400),
            ] {
                #expect(
                    try await house.ask("PATCH", "/auth/me", token: ada.access, json: body).status == status)
            }
            let changed = try await house.ask(
                "PATCH", "/auth/me", token: ada.access,
                json:
                    "{\"displayName\":\"Ada\",\"password\":\"another password\",\"currentPassword\":\"\(House.password)\"}"
            )
            #expect(changed.status == 200)
            #expect(changed.text("displayName") == "Ada")
            #expect(try await house.renew(other).status == 400)
            #expect(try await house.renew(ada.refresh).status == 200)
            #expect(try await house.signIn("ada@example.com").status == 400)
            #expect(try await house.signIn("ada@example.com", password: "another password").status == 200)
        }
    }

    @Test("Accounts are listed and changed by administrators alone; a disabled one is out") func accounts()
        async throws
    {
        try await withHouse { house in
            let ada = try await house.newcomer("ada@example.com")
            let root = try await house.administrator()
            for (method, path) in [
                ("GET", "/auth/admin/users"), ("PATCH", "/auth/admin/users/\(ada.id)"),
                ("POST", "/auth/admin/keys/rotate"),
            ] {
                #expect(try await house.ask(method, path, token: ada.access, json: "{}").status == 403)
                #expect(try await house.ask(method, path, json: "{}").status == 401)
            }
            let page = try await house.ask("GET", "/auth/admin/users?limit=1", token: root.access)
            #expect(page.list("users").first?["id"] as? String == ada.id)
            let next = try await house.ask(
                "GET", "/auth/admin/users?cursor=\(page.text("nextCursor") ?? "")", token: root.access)
            #expect(next.list("users").first?["id"] as? String == root.id)
            #expect(next.object["nextCursor"] == nil)

            let path = "/auth/admin/users/\(ada.id)"
            for (target, body, status) in [
                (path, "{\"roles\":[\"Not good\"]}", 400), ("/auth/admin/users/x", "{}", 404),
                ("/auth/admin/users/\(root.id)", "{\"disabled\":true}", 409),
                ("/auth/admin/users/\(root.id)", "{\"roles\":[]}", 409),
            ] {
                #expect(try await house.ask("PATCH", target, token: root.access, json: body).status == status)
            }
            let changed = try await house.ask(
                "PATCH", path, token: root.access, json: "{\"roles\":[\"user\",\"editor\"],\"disabled\":true}"
            )
            #expect(changed.status == 200)
            #expect(changed.object["roles"] as? [String] == ["user", "editor"])
            #expect(try await house.ask("GET", "/auth/me", token: ada.access).status == 401)
            #expect(try await house.renew(ada.refresh).status == 400)
            #expect(try await house.signIn("ada@example.com").text("error") == "invalid_grant")
        }
    }

    @Test("Keys are rotated when verifiers know the next one; older tokens go on being good") func rotation()
        async throws
    {
        try await withHouse { house in
            let root = try await house.administrator()
            let early = try await house.ask("POST", "/auth/admin/keys/rotate", token: root.access)
            #expect(early.status == 409)
            #expect(Int(early.field("Retry-After") ?? "") ?? 0 > 60)
            let before = try await house.ask("GET", "/.well-known/jwks.json").body
            house.clock.advance(seconds: 361)
            let rotated = try await house.ask("POST", "/auth/admin/keys/rotate", token: root.access)
            #expect(rotated.status == 200)
            #expect(
                Set(rotated.list("keys").compactMap { $0["state"] as? String }) == [
                    "next", "active", "retired",
                ])
            // Who fetched the set before the rotation knows the key that signs after it.
            let access = try #require(try await house.signIn("root@example.com").text("access_token"))
            let verifier = TokenVerifier(issuer: House.issuer, audience: "test") { before }
            #expect(try await verifier.verify(access, now: house.clock.now / 1_000).subject == root.id)
            #expect(try await house.ask("GET", "/auth/me", token: root.access).status == 200)
        }
    }

    @Test("RFC 8414 §2: the metadata name the issuer and its endpoints") func metadata() async throws {
        try await withHouse { house in
            let told = try await house.ask("GET", "/.well-known/oauth-authorization-server")
            #expect(told.text("issuer") == House.issuer)
            #expect(told.text("token_endpoint") == "https://auth.test/auth/token")
            #expect(told.text("jwks_uri") == "https://auth.test/.well-known/jwks.json")
            #expect(told.object["grant_types_supported"] as? [String] == ["password", "refresh_token"])
        }
    }
}
