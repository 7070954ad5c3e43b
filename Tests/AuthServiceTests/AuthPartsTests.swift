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

@Suite("Guessing") struct LoginThrottleTests {
    @Test("A pair may fail five times, and once more every thirty seconds") func pair() {
        let throttle = LoginThrottle()
        for _ in 0..<5 { #expect(throttle.begin(account: "ada", address: "a", now: 0) == nil) }
        #expect(throttle.begin(account: "ada", address: "a", now: 0) == 30)
        #expect(throttle.begin(account: "ada", address: "a", now: 29) == 1)
        #expect(throttle.begin(account: "ada", address: "a", now: 30) == nil)
        #expect(throttle.begin(account: "ada", address: "a", now: 30) == 30)
        // The owner elsewhere is not locked out.
        #expect(throttle.begin(account: "ada", address: "b", now: 30) == nil)
    }

    @Test("One address may not try thirty-one accounts") func address() {
        let throttle = LoginThrottle()
        for number in 0..<30 { #expect(throttle.begin(account: "\(number)", address: "a", now: 0) == nil) }
        #expect(throttle.begin(account: "30", address: "a", now: 0) == 4)
    }

    @Test("A success forgets, and an attempt that was not judged costs nothing") func giveBack() {
        let throttle = LoginThrottle()
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
        let throttle = LoginThrottle()
        for _ in 0..<5 { _ = throttle.begin(account: "ada", address: "a", now: 100) }
        #expect(throttle.begin(account: "ada", address: "a", now: 0) != nil)
    }

    @Test("A flood of addresses is let in, and memory stays bounded") func bounded() {
        let throttle = LoginThrottle(capacity: 100)
        for number in 0..<1_000 {
            #expect(throttle.begin(account: "ada", address: "\(number)", now: 0) == nil)
        }
    }
}

@Suite("The auth store") struct AuthStoreTests {
    private func withStore(_ body: (AuthStore, Account) async throws -> Void) async throws {
        let directory = FileManager.default.temporaryDirectory.appending(
            path: "gatehouse-\(Identifier.make())")
        defer { try? FileManager.default.removeItem(at: directory) }
        let store = try AuthStore(directory: directory)
        let account = try #require(
            try await store.addAccount(email: "ada@example.com", passwordHash: "x", now: 1))
        try await body(store, account)
    }

    @Test("A refresh token lasts thirty days") func expiry() async throws {
        try await withStore { store, account in
            let day: Int64 = 24 * 3_600 * 1_000
            let (_, token) = try await store.beginSession(account, scope: "search", now: 0)
            guard case .renewed(_, let next) = try await store.redeem(token, scope: nil, now: 30 * day - 1)
            else {
                Issue.record("refused a moment too early")
                return
            }
            guard case .refused = try await store.redeem(next, scope: nil, now: 60 * day) else {
                Issue.record("renewed after its end")
                return
            }
        }
    }

    @Test("The oldest session makes room for the fifty-first") func sessionLimit() async throws {
        try await withStore { store, account in
            let (first, _) = try await store.beginSession(account, scope: "search", now: 0)
            let (second, _) = try await store.beginSession(account, scope: "search", now: 1)
            for time in 2..<51 {
                _ = try await store.beginSession(account, scope: "search", now: Int64(time))
            }
            #expect(try await store.session(id: first.id) == nil)
            #expect(try await store.session(id: second.id) != nil)
        }
    }
}
