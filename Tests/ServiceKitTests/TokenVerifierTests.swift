import Foundation
import HTTPTypes
import Synchronization
import Testing

@testable import ServiceKit

@Suite("RFC 9068: access tokens") struct TokenVerifierTests {
    private static let now: Int64 = 1_800_000_000

    private func claims(_ change: (inout AccessClaims) -> Void = { _ in }) -> AccessClaims {
        var claims = AccessClaims(
            iss: Harness.issuer, aud: Harness.audience, sub: "ada", iat: Self.now, nbf: Self.now,
            exp: Self.now + 900, jti: "j", roles: ["user"], scope: "documents search", sid: "s")
        change(&claims)
        return claims
    }

    private func reason(_ token: String, now: Int64 = now) async throws -> String? {
        let verifier = try Harness.verifier()
        do {
            _ = try await verifier.verify(token, now: now)
            return nil
        } catch let problem as Problem {
            #expect(problem.status == .unauthorized)
            return problem.detail
        }
    }

    @Test("A token that was signed here names its caller") func accepted() async throws {
        let caller = try await Harness.verifier().verify(Harness.signer.token(claims()), now: Self.now)
        #expect(caller.subject == "ada")
        #expect(caller.scopes == ["documents", "search"])
        #expect(!caller.isAdministrator)
    }

    @Test("RFC 7515 §5.2: no prefix of a good token is a token") func prefixes() async throws {
        let verifier = try Harness.verifier()
        let token = try Harness.signer.token(claims())
        for length in stride(from: 0, to: token.utf8.count, by: 7) {
            await #expect(throws: Problem.self) {
                try await verifier.verify(String(token.prefix(length)), now: Self.now)
            }
        }
    }

    @Test("RFC 8725 §3.1: the header does not choose the algorithm, and asks for no extension")
    func headers() async throws {
        let kid = Harness.signer.kid
        for header in [
            TokenHeader(alg: "none", kid: kid, typ: "at+jwt", crit: nil),
            TokenHeader(alg: "HS256", kid: kid, typ: "at+jwt", crit: nil),
            TokenHeader(alg: "rs256", kid: kid, typ: "at+jwt", crit: nil),
            TokenHeader(alg: "RS256", kid: kid, typ: "JWT", crit: nil),
            TokenHeader(alg: "RS256", kid: nil, typ: "at+jwt", crit: nil),
            TokenHeader(alg: "RS256", kid: kid, typ: "at+jwt", crit: ["exp"]),
        ] {
            let token = try Harness.signer.token(claims(), header: header)
            #expect(try await reason(token)?.hasSuffix("header.") == true)
        }
    }

    @Test("RFC 7519 §4.1: issuer, audience and times are held to") func claimChecks() async throws {
        func told(_ change: (inout AccessClaims) -> Void) async throws -> String? {
            try await reason(Harness.signer.token(claims(change)))
        }
        #expect(try await told { $0.iss = "https://other" }?.hasSuffix("issuer or audience.") == true)
        #expect(try await told { $0.aud = "other" }?.hasSuffix("issuer or audience.") == true)
        #expect(try await told { $0.exp = Self.now }?.hasSuffix("exp.") == true)
        #expect(try await told { $0.nbf = Self.now + 61 }?.hasSuffix("nbf.") == true)
        #expect(try await told { $0.iat = Self.now + 61 }?.hasSuffix("nbf.") == true)
        #expect(try await told { $0.nbf = Self.now + 60 } == nil)
        #expect(try await told { $0.nbf = .max }?.hasSuffix("nbf.") == true)
        #expect(try await told { $0.exp = .min }?.hasSuffix("exp.") == true)
    }

    @Test("RFC 7515 §5.2: a changed payload does not fit the signature") func tampered() async throws {
        let parts = try Harness.signer.token(claims()).split(separator: ".").map(String.init)
        let other = try Harness.signer.token(claims { $0.roles = ["admin"] }).split(separator: ".").map(
            String.init)
        #expect(
            try await reason([parts[0], other[1], parts[2]].joined(separator: "."))?.hasSuffix("signature.")
                == true)
    }

    @Test("An unknown key costs one fetch, however many ask, and then none until the cooldown is over")
    func unknownKey() async throws {
        let fetches = Mutex(0)
        let keys = try JSONEncoder().encode(PublishedKeySet(keys: [Harness.signer.published()]))
        let verifier = TokenVerifier(
            issuer: Harness.issuer, audience: Harness.audience, limits: .init(cooldown: .seconds(3_600))
        ) {
            fetches.withLock { $0 += 1 }
            return keys
        }
        let header = TokenHeader(alg: "RS256", kid: "unknown", typ: "at+jwt", crit: nil)
        let token = try Harness.signer.token(claims(), header: header)
        let statuses = await withTaskGroup(of: Int.self) { group in
            for _ in 0..<50 {
                group.addTask { await Self.status(verifier, token) }
            }
            return await group.reduce(into: Set<Int>()) { $0.insert($1) }
        }
        #expect(statuses == [401])
        #expect(fetches.withLock { $0 } == 1)
    }

    @Test("A hundred who come with the key of a rotation wait for the one fetch, and none is turned away")
    func waiters() async throws {
        let next = try TokenSigner()
        let old = try JSONEncoder().encode(PublishedKeySet(keys: [Harness.signer.published()]))
        let both = try JSONEncoder().encode(
            PublishedKeySet(keys: [Harness.signer.published(), next.published()]))
        let fetches = Mutex(0)
        let come = Tally()
        let verifier = TokenVerifier(
            issuer: Harness.issuer, audience: Harness.audience, limits: .init(cooldown: .zero)
        ) {
            let number = fetches.withLock { fetches in
                fetches += 1
                return fetches
            }
            guard number > 1 else { return old }
            // Answered when all are there.
            while come.count < 100 { await Task.yield() }
            return both
        }
        #expect(await verifier.prepare())
        let token = try next.token(claims())
        let statuses = await withTaskGroup(of: Int.self) { group in
            for _ in 0..<100 {
                group.addTask {
                    come.add()
                    return await Self.status(verifier, token)
                }
            }
            return await group.reduce(into: Set<Int>()) { $0.insert($1) }
        }
        #expect(statuses == [200])
        #expect(fetches.withLock { $0 } == 2)
    }

    @Test(
        "In the cooldown after a fetch that failed an unknown key means 503: nobody knows whether it is bad")
    func failedFetch() async throws {
        let keys = try JSONEncoder().encode(PublishedKeySet(keys: [Harness.signer.published()]))
        let fetches = Mutex(0)
        let verifier = TokenVerifier(
            issuer: Harness.issuer, audience: Harness.audience, limits: .init(cooldown: .milliseconds(1))
        ) {
            guard
                fetches.withLock({ fetches in
                    fetches += 1
                    return fetches == 1
                })
            else { throw OutboundClient.Failure.timedOut }
            return keys
        }
        let long = TokenVerifier(
            issuer: Harness.issuer, audience: Harness.audience, limits: .init(cooldown: .seconds(3_600))
        ) { throw OutboundClient.Failure.timedOut }
        let other = try TokenSigner().token(claims())
        let known = try Harness.signer.token(claims())
        #expect(await verifier.prepare())
        while fetches.withLock({ $0 }) < 2 {
            #expect([401, 503].contains(await Self.status(verifier, other)))
        }
        #expect(await Self.status(verifier, other) == 503)
        #expect(await Self.status(verifier, known) == 200)
        for _ in 0..<2 { #expect(await Self.status(long, other) == 503) }
    }

    private final class Tally: Sendable {
        private let cell = Mutex(0)

        var count: Int { cell.withLock { $0 } }
        func add() { cell.withLock { $0 += 1 } }
    }

    private static func status(_ verifier: TokenVerifier, _ token: String) async -> Int {
        do {
            _ = try await verifier.verify(token, now: now)
            return 200
        } catch { return (error as? Problem)?.status.code ?? 0 }
    }

    @Test(
        "A new key is found without a restart; a set that cannot be read means 503, and is no loss to known keys"
    )
    func rotation() async throws {
        let answer = Mutex<Data?>(nil)
        let verifier = TokenVerifier(
            issuer: Harness.issuer, audience: Harness.audience, limits: .init(cooldown: .zero)
        ) {
            guard let data = answer.withLock({ $0 }) else { throw OutboundClient.Failure.timedOut }
            return data
        }
        let token = try Harness.signer.token(claims())
        let failure = await #expect(throws: Problem.self) { try await verifier.verify(token, now: Self.now) }
        #expect(failure?.status == .serviceUnavailable)
        #expect(failure?.fields[.retryAfter] == "1")
        #expect(await verifier.isReady == false)

        let keys = try JSONEncoder().encode(PublishedKeySet(keys: [Harness.signer.published()]))
        answer.withLock { $0 = keys }
        #expect(try await verifier.verify(token, now: Self.now).subject == "ada")

        let next = try TokenSigner()
        let nextToken = try next.token(claims())
        answer.withLock { $0 = Data("{\"keys\":[]}".utf8) }
        await #expect(throws: Problem.self) { try await verifier.verify(nextToken, now: Self.now) }
        #expect(try await verifier.verify(token, now: Self.now).subject == "ada")

        let both = try JSONEncoder().encode(
            PublishedKeySet(keys: [Harness.signer.published(), next.published()]))
        answer.withLock { $0 = both }
        #expect(try await verifier.verify(nextToken, now: Self.now).subject == "ada")
    }

    @Test(
        "RFC 7517 §5: keys for other uses, and broken ones, are passed over",
        arguments: [
            PublishedKey(kty: "EC", kid: "a", use: "sig", alg: "RS256", n: "AQAB", e: "AQAB"),
            PublishedKey(kty: "RSA", kid: "a", use: "enc", alg: "RS256", n: "AQAB", e: "AQAB"),
            PublishedKey(kty: "RSA", kid: "a", use: "sig", alg: "RS512", n: "AQAB", e: "AQAB"),
            PublishedKey(kty: "RSA", kid: "a", use: "sig", alg: "RS256", n: nil, e: "AQAB"),
            PublishedKey(kty: "RSA", kid: "a", use: "sig", alg: "RS256", n: "AQAB", e: "AQAB"),
        ])
    func otherKeys(key: PublishedKey) {
        #expect(CheckingKey(key) == nil)
    }
}
