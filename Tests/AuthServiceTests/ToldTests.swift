import Backbone
import BusService
import Foundation
import ServiceKit
import Testing

@testable import AuthService

@Suite("What auth tells the others") struct ToldTests {
    @Test("A new account is told once, with its letter, under the request that made it") func created()
        async throws
    {
        try await withHouse { house in
            let traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
            let made = try await house.ask(
                "POST", "/auth/register",
                json: "{\"email\":\"Ada@example.com\",\"password\":\"\(House.password)\"}",
                fields: [("X-Request-ID", "r-1"), ("traceparent", traceparent)])
            #expect(made.status == 201)
            try await house.register("ada@example.com")
            let events = try await house.events()
            #expect(events.map(\.type) == ["user.created"])
            #expect(events.first?.subject == made.text("id"))
            #expect(events.first?.producer == "auth")
            #expect(events.first?.data == JSONText(["email": "ada@example.com"]))
            let trace = Trace(requestID: "r-1", traceparent: traceparent)
            #expect(events.first?.trace == trace)
            let letter = try await house.post.letter("verification", to: "ada@example.com")
            #expect(letter.trace == trace)
            // Who may look at a job must not see a token that proves that he can read the mail.
            #expect(letter.owner == nil)
        }
    }

    @Test(
        "That an account was disabled is told once; a refresh token that is used twice is told with its session"
    )
    func ended() async throws {
        try await withHouse { house in
            let ada = try await house.newcomer("ada@example.com")
            let root = try await house.administrator()
            let session = try await house.ask("GET", "/auth/me", token: ada.access).text("session")
            _ = try await house.renew(ada.refresh)
            house.clock.advance(seconds: 11)
            #expect(try await house.renew(ada.refresh).status == 400)
            // The session has ended, and its tokens are like any unknown one.
            #expect(try await house.renew(ada.refresh).status == 400)
            for _ in 0..<2 {
                let disabled = try await house.ask(
                    "PATCH", "/auth/admin/users/\(ada.id)", token: root.access, json: "{\"disabled\":true}")
                #expect(disabled.status == 200)
            }
            let events = try await house.events().filter { $0.type != "user.created" }
            #expect(events.map(\.type) == ["auth.refresh_reuse", "user.disabled"])
            #expect(events.map(\.subject) == [ada.id, ada.id])
            #expect(try events.first?.data.value()["session"]?.asText == #require(session))
            #expect(events.last?.data == JSONText([:] as JSONValue))
        }
    }

    @Test(
        "That an account was enabled again is told once; where it cannot be told, the account stays disabled")
    func enabled() async throws {
        try await withHouse { house in
            let ada = try await house.newcomer("ada@example.com")
            let root = try await house.administrator()
            for json in ["{\"disabled\":false}", "{\"disabled\":true}", "{\"roles\":[\"user\"]}"]
                + Array(repeating: "{\"disabled\":false}", count: 2)
            {
                let changed = try await house.ask(
                    "PATCH", "/auth/admin/users/\(ada.id)", token: root.access, json: json)
                #expect(changed.status == 200)
            }
            let events = try await house.events().filter { $0.type != "user.created" }
            #expect(events.map(\.type) == ["user.disabled", "user.enabled"])
            #expect(events.map(\.subject) == [ada.id, ada.id])
        }
    }

    @Test("With the bus away auth answers as ever, and what it has to tell is told when the bus is back")
    func away()
        async throws
    {
        try await withHouse { house in
            house.bus.isAway = true
            let ada = try await house.newcomer("ada@example.com")
            #expect(try await house.forget("ada@example.com").status == 202)
            #expect(try await house.ask("GET", "/readyz").status == 200)
            let metrics = String(decoding: try await house.ask("GET", "/metrics").body, as: UTF8.self)
            #expect(metrics.contains("gatehouse_service_outbox_waiting{service=\"auth\"}"))
            #expect(try await house.bus.store.stats().lastOffset == 0)
            house.bus.isAway = false
            #expect(try await house.verify(house.token("verification", to: "ada@example.com")).status == 200)
            #expect(
                try await house.reset(house.token("reset", to: "ada@example.com"), "another password").status
                    == 204)
            #expect(try await house.events().map(\.subject) == [ada.id])
        }
    }

    @Test("With the outbox full nobody is registered, and whoever must be out is out all the same")
    func full()
        async throws
    {
        try await withHouse(change: { $0.outboxLimit = 4 }) { house in
            house.bus.isAway = true
            let ada = try await house.newcomer("ada@example.com")
            let root = try await house.administrator()
            let bob = try await house.register("bob@example.com")
            #expect(bob.status == 503)
            #expect(bob.text("reason") == "outbox_full")
            #expect(bob.field("Retry-After") != nil)
            #expect(try await house.service.store.account(email: "bob@example.com") == nil)
            let letter = try await house.ask("POST", "/auth/email/verification", token: ada.access)
            #expect(letter.status == 503)
            // The answer is one and the same for every address; the request waits.
            #expect(try await house.forget("root@example.com").status == 202)

            let successor = try await house.renew(ada.refresh)
            house.clock.advance(seconds: 11)
            #expect(try await house.renew(ada.refresh).status == 400)
            #expect(try await house.renew(successor.text("refresh_token") ?? "").status == 400)
            let disabled = try await house.ask(
                "PATCH", "/auth/admin/users/\(ada.id)", token: root.access, json: "{\"disabled\":true}")
            #expect(disabled.status == 200)
            #expect(try await house.signIn("ada@example.com").status == 400)
            let gauges = try await house.service.store.gauges()
            // The reuse was dropped. For the disabling there is a reserve: whoever works for accounts must learn of it.
            #expect(gauges["events_dropped"] == 1)
            #expect(gauges["outbox_waiting"] == 5)

            house.bus.isAway = false
            _ = try await house.token("reset", to: "root@example.com")
            #expect(try await house.register("bob@example.com").status == 201)
            #expect(try await house.events().contains { $0.type == "user.disabled" && $0.subject == ada.id })
        }
    }
}
