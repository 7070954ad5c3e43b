import Foundation
import GRDB
import ServiceKit
import Testing

@testable import AuthService

@Suite("Attacks on auth") struct AttackTests {
    private static let address = "ada@example.com"

    @Test("A token is good for its purpose alone, and is not spent by being shown elsewhere") func confusion()
        async throws
    {
        try await withHouse { house in
            let ada = try await house.newcomer(Self.address)
            let verification = try await house.token("verification", to: Self.address)
            _ = try await house.forget(Self.address)
            let reset = try await house.token("reset", to: Self.address)
            for token in [
                reset, ada.refresh, ada.access, "", "\u{0}", verification + "=", verification + "\u{0}",
            ] {
                #expect(try await house.verify(token).text("reason") == "token_spent")
            }
            for token in [verification, ada.refresh, ada.access, "", reset.lowercased()] {
                #expect(try await house.reset(token, "another password").text("reason") == "token_spent")
            }
            for token in [verification, reset] {
                #expect(try await house.renew(token).text("error") == "invalid_grant")
                #expect(try await house.introspect(token).object["active"] as? Bool == false)
                #expect(try await house.ask("POST", "/auth/revoke", form: "token=\(token)").status == 200)
                #expect(try await house.ask("GET", "/auth/me", token: token).status == 401)
            }
            #expect(try await house.ask("GET", "/auth/me", token: ada.access).status == 200)
            #expect(try await house.verify(verification).status == 200)
            #expect(try await house.reset(reset, "another password").status == 204)
        }
    }

    @Test("Of several that spend one token at once, one does") func race() async throws {
        try await withHouse { house in
            try await house.register(Self.address)
            let verification = try await house.token("verification", to: Self.address)
            let verified = try await statuses(4) { _ in try await house.verify(verification).status }
            #expect(verified.values.filter { $0 == 200 }.count == 1)
            #expect(verified.values.filter { $0 == 400 }.count == 3)

            _ = try await house.forget(Self.address)
            let reset = try await house.token("reset", to: Self.address)
            let changed = try await statuses(4) { number in
                try await house.reset(reset, "password number \(number)").status
            }
            #expect(changed.values.filter { $0 == 204 }.count == 1)
            #expect(changed.values.filter { $0 == 400 }.count == 3)
            let winner = try #require(changed.first { $0.value == 204 }?.key)
            #expect(try await house.signIn(Self.address, password: "password number \(winner)").status == 200)
            #expect(
                try await house.signIn(Self.address, password: "password number \((winner + 1) % 4)").status
                    == 400)
        }
    }

    private func statuses(_ count: Int, _ ask: @escaping @Sendable (Int) async throws -> Int) async throws
        -> [Int: Int]
    {
        try await withThrowingTaskGroup(of: (Int, Int).self) { tasks in
            for number in 0..<count { tasks.addTask { (number, try await ask(number)) } }
            return try await tasks.reduce(into: [:]) { $0[$1.0] = $1.1 }
        }
    }

    @Test("Neither words nor work tell whether there is an account") func enumeration() async throws {
        try await withHouse { house in
            try await house.register(Self.address)
            let hashes = { house.service.hasher.gauges["hashes"] ?? 0 }
            var told: [[String]] = []
            for name in [Self.address, "nobody@example.com"] {
                let before = hashes()
                let answer = try await house.signIn(name, password: "wrong password")
                #expect(hashes() == before + 1)
                told.append(["\(answer.status)", String(decoding: answer.body, as: UTF8.self)])
            }
            #expect(told[0] == told[1])

            // The desk that looks for the account is not asked before the answer: the request is only written down.
            let store = house.service.store
            var answers: [[String]] = []
            for name in [Self.address, "nobody@example.com"] {
                let answer = try await house.forget(name)
                answers.append([
                    "\(answer.status)", String(decoding: answer.body, as: UTF8.self),
                    answer.field("Content-Length") ?? "", answer.field("Cache-Control") ?? "",
                ])
            }
            #expect(answers[0] == answers[1])
            #expect(answers[0].first == "202")
            try await house.untilToldAll()
            #expect(try await store.gauges()["reset_requests_waiting"] == 0)
        }
    }

    @Test("Who asks for a new password waits for no account, and requests are bounded") func written()
        async throws
    {
        let directory = House.directory()
        defer { try? FileManager.default.removeItem(at: directory) }
        let store = try AuthStore(directory: directory)
        let account = try #require(
            try await store.addAccount(email: Self.address, passwordHash: "x", now: 0, trace: .fresh()))
        for number in 0..<AuthStore.resetRequestLimit {
            let name = number == 0 ? Self.address : "\(number)@example.com"
            try await store.askForReset(email: name, trace: Trace(requestID: "r\(number)", traceparent: nil))
        }
        for name in [Self.address, "nobody@example.com"] {
            let refusal = await #expect(throws: Problem.self) {
                try await store.askForReset(email: name, trace: .fresh())
            }
            #expect(refusal?.reason == "too_many_resets")
        }
        let (first, outcome) = try #require(try await store.answerResetRequest(now: 0))
        #expect(first.trace.requestID == "r0")
        #expect(outcome == .sent(account: account.id))
        let (second, none) = try #require(try await store.answerResetRequest(now: 0))
        #expect(second.trace.requestID == "r1")
        #expect(none == .noAccount)
    }

    @Test(
        "What stands before the gateway's word in X-Forwarded-For changes nothing, nor does the rest of an IPv6 network"
    )
    func forwarded() async throws {
        try await withHouse { house in
            try await house.register(Self.address)
            for number in 0..<5 {
                let answer = try await house.signIn(
                    Self.address, password: "wrong", from: "203.0.113.\(number), 192.0.2.7")
                #expect(answer.status == 400)
            }
            #expect(try await house.signIn(Self.address, from: "203.0.113.77,192.0.2.7").status == 429)
            #expect(try await house.signIn(Self.address, from: "::ffff:192.0.2.7").status == 429)
            for number in 0..<5 {
                let answer = try await house.signIn(
                    Self.address, password: "wrong", from: "2001:db8:0:1::\(number)")
                #expect(answer.status == 400)
            }
            #expect(
                try await house.signIn(Self.address, from: "2001:db8:0:1:ffff:ffff:ffff:ffff").status == 429)
            #expect(try await house.signIn(Self.address, from: "2001:DB8::1:0:0:0:1").status == 429)
            #expect(try await house.signIn(Self.address, from: "2001:db8:0:2::1").status == 200)
        }
    }

    @Test("An account has one name in the throttle and in the store, however its letters are composed")
    func names()
        async throws
    {
        try await withHouse { house in
            try await house.register("re\u{301}ne\u{301}@example.com")
            let composed = try await house.tokens(
                "grant_type=password&username=R%C3%89n%C3%A9@Example.com&password=correct+horse+battery")
            #expect(composed.status == 200)
            let decomposed = try await house.tokens(
                "grant_type=password&username=re%CC%81ne%CC%81@example.com&password=correct+horse+battery")
            #expect(decomposed.status == 200)
            for number in 0..<6 {
                let name = number.isMultiple(of: 2) ? "R%C3%89n%C3%A9" : "re%CC%81ne%CC%81"
                let answer = try await house.tokens(
                    "grant_type=password&username=\(name)@example.com&password=wrong")
                #expect(answer.status == (number < 5 ? 400 : 429))
            }
        }
    }

    @Test("Huge and crooked bodies are refused with a 4xx, and the service goes on") func bodies()
        async throws
    {
        try await withHouse { house in
            let ada = try await house.newcomer(Self.address)
            let long = String(repeating: "a", count: 17_000)
            let nested = String(repeating: "[", count: 8_000)
            let nestedMember = "{\"token\":" + String(repeating: "{\"a\":", count: 2_500)
            for path in ["register", "email/verify", "password/forgot", "password/reset"] {
                for (body, statuses) in [
                    ("{\"email\":\"\(long)\",\"token\":\"\(long)\",\"password\":\"\(long)\"}", [413]),
                    (nested, [400]), (nestedMember, [400]), ("", [400]), ("null", [400]), ("{}", [400]),
                    ("{\"email\":1,\"token\":1,\"password\":1}", [400]),
                    ("{\"email\":\"\\ud800\",\"token\":\"\\ud800\",\"password\":\"\\ud800aaaaaaaa\"}", [400]),
                    ("{\"email\":null,\"token\":null,\"password\":null}", [400]),
                ] {
                    let answer = try await house.ask("POST", "/auth/\(path)", json: body)
                    #expect(statuses.contains(answer.status), "\(path) \(body.prefix(40)) \(answer.status)")
                }
                #expect(try await house.ask("POST", "/auth/\(path)", form: "token=x").status == 415)
            }
            // A letter that becomes eighteen when it is normalised (NFKC), as often as a password may have it.
            let growing = String(repeating: "\u{FDFA}", count: 341)
            let grown = try await house.ask(
                "POST", "/auth/register",
                json: "{\"email\":\"bob@example.com\",\"password\":\"\(growing)\"}")
            #expect(grown.status == 201)
            let pairs = String(repeating: "a=b&", count: 4_000)
            for path in ["token", "revoke"] {
                #expect(try await house.ask("POST", "/auth/\(path)", form: pairs).status == 400)
                #expect(try await house.ask("POST", "/auth/\(path)", form: "token=\(long)").status == 413)
            }
            #expect(try await house.ask("GET", "/auth/me", token: ada.access).status == 200)
        }
    }

    @Test("No token and no password is in the log, nor is a token in the store once it was sent")
    func secrets()
        async throws
    {
        try await withHouse { house in
            let ada = try await house.newcomer(Self.address)
            let verification = try await house.token("verification", to: Self.address)
            _ = try await house.verify(verification)
            _ = try await house.verify(verification)
            _ = try await house.forget(Self.address)
            let reset = try await house.token("reset", to: Self.address)
            _ = try await house.reset(reset, "short")
            #expect(try await house.reset(reset, "another password").status == 204)
            _ = try await house.reset(reset, "a third password")
            _ = try await house.introspect(ada.refresh)
            try await house.untilToldAll()
            let log = house.lines.all.joined()
            #expect(log.contains("password reset asked for"))
            #expect(log.contains("/auth/password/reset"))
            let secrets = [
                verification, reset, ada.access, ada.refresh, House.password, "another password",
                House.serviceSecret,
            ]
            for secret in secrets { #expect(!log.contains(secret)) }
            let kept = try await house.service.store.pool.read { db in
                try String.fetchAll(
                    db, sql: "SELECT message FROM outbox_message UNION ALL SELECT message FROM outbox_parked")
            }
            #expect(kept.isEmpty)
        }
    }
}

@Suite("Networks") struct ClientNetworkTests {
    @Test(
        "An IPv6 address stands for its 64 bits, one with an IPv4 address in it for that, and any other for itself"
    )
    func names() {
        for (address, name) in [
            ("192.0.2.7", "192.0.2.7"), ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
            ("2001:0DB8:1:2::", "2001:db8:1:2::/64"), ("::1", "0:0:0:0::/64"),
            ("::ffff:192.0.2.7", "192.0.2.7"), ("::FFFF:c000:207", "192.0.2.7"), ("unknown", "unknown"),
            ("", ""), ("1.2.3", "1.2.3"), ("fe80::1%eth0", "fe80::1%eth0"),
        ] {
            #expect(ClientNetwork.name(of: address) == name)
        }
    }
}
