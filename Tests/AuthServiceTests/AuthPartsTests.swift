import Dispatch
import Foundation
import HTTPTypes
import ServiceKit
import Testing

@testable import AuthService

@Suite("Passwords") struct PasswordHasherTests {
    @Test("RFC 9106: the stored form names Argon2id and its parameters, and only the password fits it")
    func hash() async throws {
        let hasher = PasswordHasher()
        let stored = try await hasher.hash("correct horse")
        #expect(stored.hasPrefix("$argon2id$v=19$m=19456,t=2,p=1$"))
        #expect(try await hasher.verify("correct horse", against: stored))
        #expect(try await !hasher.verify("correct hors", against: stored))
        #expect(try await hasher.hash("correct horse") != stored)
        #expect(try await !hasher.verify("correct horse", against: "nonsense"))
        // One password, composed and decomposed.
        let composed = try await hasher.hash("caf\u{E9} noir")
        #expect(try await hasher.verify("cafe\u{301} noir", against: composed))
    }

    @Test("One more than the queue holds is refused with 503 and a time to come back") func overload()
        async throws
    {
        let hasher = PasswordHasher(threadCount: 1, queueLimit: 0)
        let gate = DispatchSemaphore(value: 0)
        let occupant = Task { try await hasher.computed { gate.wait() } }
        while hasher.load == 0 { await Task.yield() }
        let refusal = await #expect(throws: Problem.self) { try await hasher.hash("correct horse") }
        #expect(refusal?.status == .serviceUnavailable)
        #expect(refusal?.fields[.retryAfter] == "1")
        gate.signal()
        try await occupant.value
        #expect(hasher.load == 0)
    }
}

@Suite("Guessing") struct AttemptThrottleTests {
    private static func throttle(capacity: Int = 10_000) -> AttemptThrottle {
        let settings = AuthSettings(directory: House.directory(), issuer: "", audience: "")
        return AttemptThrottle(
            pairRule: settings.accountGuesses, addressRule: settings.addressGuesses, capacity: capacity)
    }

    @Test("A pair may fail five times, and once more every thirty seconds") func pair() {
        let throttle = Self.throttle()
        for _ in 0..<5 { #expect(throttle.begin(account: "ada", address: "a", now: 0) == nil) }
        #expect(throttle.begin(account: "ada", address: "a", now: 0) == 30)
        #expect(throttle.begin(account: "ada", address: "a", now: 29) == 1)
        #expect(throttle.begin(account: "ada", address: "a", now: 30) == nil)
        #expect(throttle.begin(account: "ada", address: "a", now: 30) == 30)
        // The owner elsewhere is not locked out.
        #expect(throttle.begin(account: "ada", address: "b", now: 30) == nil)
    }

    @Test("One address may not try thirty-one accounts") func address() {
        let throttle = Self.throttle()
        for number in 0..<30 { #expect(throttle.begin(account: "\(number)", address: "a", now: 0) == nil) }
        #expect(throttle.begin(account: "30", address: "a", now: 0) == 4)
    }

    @Test("A success forgets, and an attempt that was not judged costs nothing") func giveBack() {
        let throttle = Self.throttle()
        for _ in 0..<100 {
            #expect(throttle.begin(account: "ada", address: "a", now: 0) == nil)
            throttle.succeed(account: "ada", address: "a")
        }
        for _ in 0..<100 {
            #expect(throttle.begin(account: "ada", address: "a", now: 0) == nil)
            throttle.forget(account: "ada", address: "a")
        }
    }

    @Test("A clock that goes back gives nothing away") func clock() {
        let throttle = Self.throttle()
        for _ in 0..<5 { _ = throttle.begin(account: "ada", address: "a", now: 100) }
        #expect(throttle.begin(account: "ada", address: "a", now: 0) != nil)
    }

    @Test("A flood of addresses is let in, and memory stays bounded") func bounded() {
        let throttle = Self.throttle(capacity: 100)
        for number in 0..<1_000 {
            #expect(throttle.begin(account: "ada", address: "\(number)", now: 0) == nil)
        }
    }
}

@Suite("Addresses") struct EmailAddressTests {
    @Test("RFC 5321 §4.1.2: a dot-atom at a domain, in lower case") func taken() {
        for (text, normal) in [
            ("Ada@Example.com", "ada@example.com"), ("a.b+c@x-y.example.com", "a.b+c@x-y.example.com"),
            ("o'neil@example.com", "o'neil@example.com"),
            ("j\u{FC}rgen@m\u{FC}ller.example", "j\u{FC}rgen@m\u{FC}ller.example"),
            ("e\u{301}@example.com", "\u{E9}@example.com"),
        ] {
            #expect(EmailAddress.normal(text) == normal)
        }
    }

    @Test(
        "What could act in a letter's head, or is no address, is refused",
        arguments: [
            "", "ada", "@example.com", "a@b", "a b@example.com", "a@b@example.com", "a@.com", "a@b.",
            ".a@b.c",
            "a.@b.c", "a..b@c.d", "a@b..c", "a@-b.c", "a@b-.c", "\"a\"@b.c", "<a@b.c>", "a@[127.0.0.1]",
            "a,b@c.d",
            "a:b@c.d", "a;b@c.d", "a@b.c\r\nBcc: d@e.f", "a\u{0}@b.c", "a\u{7F}@b.c", "a\u{85}@b.c",
            "a\u{202E}@b.c",
            "a\u{2028}@b.c", "a@b_c.d", String(repeating: "a", count: 65) + "@b.c",
            "a@" + String(repeating: "b", count: 64) + ".c",
            "a@" + String(repeating: "b.", count: 127) + "c",
        ])
    func refused(text: String) {
        #expect(EmailAddress.normal(text) == nil)
    }
}
