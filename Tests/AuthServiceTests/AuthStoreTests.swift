import Foundation
import ServiceKit
import Testing

@testable import AuthService

@Suite("The auth store") struct AuthStoreTests {
    private static let place = Whereabouts(address: "a", agent: nil)
    private static let day: Int64 = 24 * 3_600 * 1_000

    private func withStore(_ body: (AuthStore, Account) async throws -> Void) async throws {
        let directory = House.directory()
        defer { try? FileManager.default.removeItem(at: directory) }
        let store = try AuthStore(directory: directory)
        let account = try #require(
            try await store.addAccount(
                email: "ada@example.com", passwordHash: "x", now: 1, trace: .fresh()))
        try await body(store, account)
    }

    private func begin(_ store: AuthStore, _ account: Account, now: Int64) async throws -> (Session, String) {
        try #require(
            try await store.beginSession(account, scope: "search", at: Self.place, now: now))
    }

    private func redeem(_ store: AuthStore, _ token: String, from address: String = "a", now: Int64)
        async throws -> Redemption
    {
        try await store.redeem(token, scope: nil, from: address, now: now, trace: .fresh())
    }

    /// The successor, or `nil` when there was none.
    private func renewed(_ store: AuthStore, _ token: String, from address: String = "a", now: Int64)
        async throws -> String?
    {
        if case .renewed(_, let next) = try await redeem(store, token, from: address, now: now) {
            next
        } else {
            nil
        }
    }

    @Test("A refresh token lasts thirty days") func expiry() async throws {
        try await withStore { store, account in
            let (_, token) = try await begin(store, account, now: 0)
            let next = try #require(try await renewed(store, token, now: 30 * Self.day - 1))
            #expect(try await renewed(store, next, now: 60 * Self.day) == nil)
        }
    }

    @Test("The oldest session makes room for the fifty-first") func sessionLimit() async throws {
        try await withStore { store, account in
            let (first, _) = try await begin(store, account, now: 0)
            let (second, _) = try await begin(store, account, now: 1)
            for time in 2..<51 { _ = try await begin(store, account, now: Int64(time)) }
            #expect(try await store.session(id: first.id) == nil)
            #expect(try await store.session(id: second.id) != nil)
            #expect(try await store.sessions(account: account.id, now: 51).count == 50)
        }
    }

    @Test("For ten seconds the same address gets the same successor, until that is used") func grace()
        async throws
    {
        try await withStore { store, account in
            let (session, first) = try await begin(store, account, now: 0)
            let second = try await renewed(store, first, now: 1_000)
            #expect(second != nil && second != first)
            #expect(try await renewed(store, first, now: 1_001) == second)
            #expect(try await renewed(store, first, now: 11_000) == second)
            let third = try await renewed(store, try #require(second), now: 11_000)
            #expect(third != nil)
            // The one before the last is no lost answer.
            guard case .reused(session.id) = try await redeem(store, first, now: 11_000) else {
                Issue.record("its successor had been used")
                return
            }
            #expect(try await store.session(id: session.id) == nil)
        }
    }

    @Test("After ten seconds it is reuse, and the whole family is ended", arguments: ["a", "b"])
    func reuse(address: String) async throws {
        try await withStore { store, account in
            let (session, first) = try await begin(store, account, now: 0)
            let (other, _) = try await begin(store, account, now: 0)
            let second = try #require(try await renewed(store, first, now: 1_000))
            guard case .reused(session.id) = try await redeem(store, first, from: address, now: 11_001)
            else {
                Issue.record("not seen")
                return
            }
            #expect(try await renewed(store, second, now: 11_001) == nil)
            #expect(try await store.session(id: session.id) == nil)
            #expect(try await store.session(id: other.id) != nil)
        }
    }

    @Test("A client that lost an answer and changed its address goes on with a successor of its own")
    func wanderer() async throws {
        try await withStore { store, account in
            let (session, first) = try await begin(store, account, now: 0)
            let lost = try #require(try await renewed(store, first, now: 1_000))
            let second = try #require(try await renewed(store, first, from: "b", now: 2_000))
            #expect(second != lost)
            // The lost one is good for nothing, and asking again from the new address gives the same.
            #expect(try await store.known(refreshToken: lost, now: 2_000) == nil)
            #expect(try await renewed(store, first, from: "b", now: 3_000) == second)
            let third = try #require(try await renewed(store, second, from: "b", now: 4_000))
            #expect(try await renewed(store, third, from: "b", now: 100_000) != nil)
            #expect(try await store.session(id: session.id) != nil)
        }
    }

    @Test(
        "Of two that hold one token, whoever comes second with his successor ends the family",
        arguments: [true, false])
    func twoHolders(isThiefFirst: Bool) async throws {
        try await withStore { store, account in
            let (session, first) = try await begin(store, account, now: 0)
            let (one, other) = isThiefFirst ? ("thief", "owner") : ("owner", "thief")
            let replaced = try #require(try await renewed(store, first, from: one, now: 1_000))
            let held = try #require(try await renewed(store, first, from: other, now: 1_001))
            let next = try #require(try await renewed(store, held, from: other, now: 1_002))
            // However close behind: a successor that was replaced has no grace.
            guard case .reused(session.id) = try await redeem(store, replaced, from: one, now: 1_003) else {
                Issue.record("both went on")
                return
            }
            #expect(try await renewed(store, next, from: other, now: 1_004) == nil)
        }
    }

    @Test("Three addresses may ask with one token; a fourth ends the family") func successors() async throws {
        try await withStore { store, account in
            let (session, first) = try await begin(store, account, now: 0)
            for address in ["a", "b", "c"] {
                #expect(try await renewed(store, first, from: address, now: 1_000) != nil)
            }
            guard case .reused(session.id) = try await redeem(store, first, from: "d", now: 1_000) else {
                Issue.record("without end")
                return
            }
        }
    }

    @Test("A sign-in that was slow does not outlive a change of the password, or the end of the account")
    func lateSignIn() async throws {
        try await withStore { store, account in
            let (session, _) = try await begin(store, account, now: 0)
            #expect(try await store.setPassword("y", of: account, keeping: session.id))
            #expect(try await store.beginSession(account, scope: "search", at: Self.place, now: 1) == nil)
            #expect(try await !store.setPassword("z", of: account, keeping: session.id))
            #expect(try await store.session(id: session.id) != nil)
            let changed = try await store.change(
                account: account.id, roles: nil, isDisabled: true, now: 2, trace: .fresh())
            #expect(changed?.passwordHash == "y")
            #expect(try await store.beginSession(#require(changed), scope: "", at: Self.place, now: 3) == nil)
            #expect(try await store.session(id: session.id) == nil)
        }
    }

    @Test("The agent of a session is cut short") func agent() {
        #expect(Whereabouts(address: "a", agent: String(repeating: "x", count: 500)).agent.utf8.count == 200)
    }
}

@Suite("Signing keys") struct SigningKeyTests {
    @Test("A next key is published before it signs, and a retired one until its last token has expired")
    func life() async throws {
        let directory = House.directory()
        defer { try? FileManager.default.removeItem(at: directory) }
        let store = try AuthStore(directory: directory)
        let keys = try store.keys(now: 0)
        #expect(Set(keys.map(\.state)) == [.active, .next])
        let first = try #require(keys.first { $0.state == .active })
        let second = try #require(keys.first { $0.state == .next })
        let third = try TokenSigner()
        let lead = AuthStore.keyLeadMilliseconds
        #expect(lead >= 300_000)

        guard case .tooSoon(1) = try await store.rotate(successor: third, now: lead - 1) else {
            Issue.record("signed before verifiers had to know it")
            return
        }
        guard case .done(let rotated) = try await store.rotate(successor: third, now: lead) else {
            Issue.record("not rotated")
            return
        }
        #expect(rotated.first { $0.state == .active }?.published == second.published)
        #expect(rotated.first { $0.state == .next }?.published == (try third.published()))
        let retired = try #require(rotated.first { $0.state == .retired })
        #expect(retired.published == first.published)
        #expect(retired.signer == nil)

        let ring = try #require(KeyRing(rotated))
        #expect(ring.signer.kid == second.published.kid)
        let lastExpiry = lead + (900 + 60) * 1_000
        #expect(ring.published(now: lastExpiry).count == 3)
        #expect(ring.published(now: lead + AuthStore.keyTrailMilliseconds).count == 2)
        // A start long after makes no new keys, and lets the old one go.
        let later = try AuthStore(directory: directory).keys(now: lead + AuthStore.keyTrailMilliseconds)
        #expect(Set(later.map(\.published.kid)) == [second.published.kid, third.kid])
    }
}
