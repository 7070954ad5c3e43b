import Foundation
import ServiceKit
import Testing

@testable import AuthService

@Suite("Letters of the auth service") struct LetterTests {
    private static let address = "ada@example.com"

    @Test("An account is verified by the letter it gets when it is made, and by that one once")
    func verification()
        async throws
    {
        try await withHouse { house in
            let ada = try await house.newcomer(Self.address)
            let token = try await house.token("verification", to: Self.address)
            #expect(Bytes.fromBase64url(token)?.count == 32)
            let before = try await house.ask("GET", "/auth/me", token: ada.access)
            #expect(before.object["email_verified"] as? Bool == false)
            #expect(try await house.introspect(ada.access).object["email_verified"] as? Bool == false)

            let verified = try await house.verify(token)
            #expect(verified.status == 200)
            #expect(verified.text("email") == Self.address)
            #expect(verified.object["email_verified"] as? Bool == true)
            let after = try await house.ask("GET", "/api/v1/auth/me", token: ada.access)
            #expect(after.object["email_verified"] as? Bool == true)
            for token in [ada.access, ada.refresh] {
                #expect(try await house.introspect(token).object["email_verified"] as? Bool == true)
            }

            let again = try await house.verify(token)
            #expect(again.status == 400)
            #expect(again.text("reason") == "token_spent")
            let needless = try await house.ask("POST", "/auth/email/verification", token: ada.access)
            #expect(needless.status == 409)
        }
    }

    @Test(
        "The letter is sent again for who is signed in, three times an hour; each is good until one is used")
    func sentAgain() async throws {
        try await withHouse { house in
            let ada = try await house.newcomer(Self.address)
            #expect(try await house.ask("POST", "/auth/email/verification").status == 401)
            for prefix in ["/auth", "/api/v1/auth"] {
                let sent = try await house.ask("POST", "\(prefix)/email/verification", token: ada.access)
                #expect(sent.status == 202)
            }
            let refused = try await house.ask("POST", "/auth/email/verification", token: ada.access)
            #expect(refused.status == 429)
            #expect((3_000...3_600).contains(Int(refused.field("Retry-After") ?? "") ?? 0))

            var tokens: [String] = []
            for _ in 0..<3 { tokens.append(try await house.token("verification", to: Self.address)) }
            #expect(Set(tokens).count == 3)
            #expect(try await house.verify(tokens[1]).status == 200)
            for token in tokens { #expect(try await house.verify(token).status == 400) }
        }
    }

    @Test("Who forgot a password sets another by a letter, and everybody who was in is out") func reset()
        async throws
    {
        try await withHouse { house in
            let ada = try await house.newcomer(Self.address)
            let verification = try await house.token("verification", to: Self.address)
            // Who forgot it has tried some.
            for _ in 0..<5 { _ = try await house.signIn(Self.address, password: "wrong") }
            #expect(try await house.signIn(Self.address).status == 429)
            #expect(try await house.forget("Ada@Example.com").status == 202)
            #expect(try await house.forget(Self.address).status == 202)
            let first = try await house.token("reset", to: Self.address)
            let second = try await house.token("reset", to: Self.address)

            // What is refused spends nothing.
            #expect(try await house.reset(first, "short").text("reason") == "invalid_password")
            #expect(try await house.reset("nonsense", "another password").text("reason") == "token_spent")
            #expect(try await house.ask("GET", "/auth/me", token: ada.access).status == 200)

            #expect(try await house.reset(first, "another password").status == 204)
            #expect(try await house.ask("GET", "/auth/me", token: ada.access).status == 401)
            #expect(try await house.renew(ada.refresh).text("error") == "invalid_grant")
            #expect(try await house.signIn(Self.address, password: "another password").status == 200)
            #expect(try await house.signIn(Self.address).status == 400)
            for token in [first, second] {
                #expect(try await house.reset(token, "a third password").text("reason") == "token_spent")
            }
            #expect(try await house.verify(verification).text("reason") == "token_spent")
            // Who read the letter reads the mail of that address.
            let account = try await house.service.store.account(email: Self.address)
            #expect(account?.isEmailVerified == true)
        }
    }

    @Test("A letter is good for an hour or a day; a new password or the end of the account spends it")
    func ends()
        async throws
    {
        try await withHouse { house in
            let ada = try await house.newcomer(Self.address)
            let verification = try await house.token("verification", to: Self.address)
            func letter() async throws -> String {
                #expect(try await house.forget(Self.address).status == 202)
                return try await house.token("reset", to: Self.address)
            }
            let replaced = try await letter()
            let changed = try await house.ask(
                "PATCH", "/auth/me", token: ada.access,
                json: "{\"password\":\"another password\",\"currentPassword\":\"\(House.password)\"}")
            #expect(changed.status == 200)
            #expect(try await house.reset(replaced, "a third password").status == 400)

            let old = try await letter()
            house.clock.advance(seconds: 3_600)
            #expect(try await house.reset(old, "a third password").status == 400)
            house.clock.advance(seconds: 23 * 3_600)
            #expect(try await house.verify(verification).status == 400)

            let orphan = try await letter()
            _ = try await house.service.store.change(
                account: ada.id, roles: nil, isDisabled: true, now: house.clock.now, trace: .fresh())
            #expect(try await house.reset(orphan, "a third password").status == 400)
            #expect(try await house.forget(Self.address).status == 202)
            try await house.untilToldAll()
            #expect(try await house.post.count(to: Self.address) == 0)
        }
    }

    @Test("Nobody's mailbox is flooded: three letters an hour, wherever they are asked for from") func flood()
        async throws
    {
        try await withHouse(change: { $0.letterRequests = AttemptRule(burst: 4, secondsEach: 30) }) { house in
            try await house.register(Self.address)
            for number in 0..<8 {
                #expect(try await house.forget(Self.address, from: "192.0.2.\(number)").status == 202)
            }
            // An address may ask for so many of all accounts.
            for number in 0..<4 {
                #expect(try await house.forget("\(number)@example.com", from: "198.51.100.1").status == 202)
            }
            let refused = try await house.forget(Self.address, from: "198.51.100.1")
            #expect(refused.status == 429)
            #expect(Int(refused.field("Retry-After") ?? "") ?? 0 > 0)
            try await house.untilToldAll()
            #expect(try await house.post.count(to: Self.address) == 4)
            house.clock.advance(seconds: 3_600)
            #expect(try await house.forget(Self.address, from: "192.0.2.1").status == 202)
            _ = try await house.token("reset", to: Self.address)
        }
    }
}
