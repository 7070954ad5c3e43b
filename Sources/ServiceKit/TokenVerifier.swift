public import Foundation
internal import HTTPTypes
public import Hummingbird

/// Verifies access tokens here, without a call to the auth service: RS256 over a key set that is fetched once, kept, and
/// fetched again when it is old or a token names a key that it lacks.
public actor TokenVerifier {
    /// Bounds of the verifier.
    public struct Limits: Sendable {
        /// A set older than this is fetched again while the old one goes on serving.
        public var maximumAge: Duration
        /// After a fetch an unknown key is refused for so long without asking again: a stranger can name any key.
        public var cooldown: Duration
        /// Clocks of two machines may differ by this much, for `nbf` and `iat` only.
        public var leewaySeconds: Int64

        public init(
            maximumAge: Duration = .seconds(300), cooldown: Duration = .seconds(2), leewaySeconds: Int64 = 60
        ) {
            self.maximumAge = maximumAge
            self.cooldown = cooldown
            self.leewaySeconds = leewaySeconds
        }
    }

    /// Gives the bytes of a key set (RFC 7517 §5).
    public typealias Source = @Sendable () async throws -> Data

    private static let tokenLimitBytes = 8_192
    private static let keyLimit = 64

    private let issuer: String
    private let audience: String
    private let source: Source
    private let limits: Limits
    private var keys: [String: CheckingKey] = [:]
    private var fetchedAt: ContinuousClock.Instant?
    private var lastAttempt: ContinuousClock.Instant?
    private var hasLastAttemptFailed = false
    private var fetching: Task<Bool, Never>?

    public init(issuer: String, audience: String, limits: Limits = Limits(), source: @escaping Source) {
        self.issuer = issuer
        self.audience = audience
        self.limits = limits
        self.source = source
    }

    /// Whether a key set has been read.
    public var isReady: Bool { fetchedAt != nil }

    /// Fetches the key set if none has been read yet.
    /// Returns whether there is one now.
    public func prepare() async -> Bool {
        guard fetchedAt == nil else { return true }
        return await fetch()
    }

    /// The caller of a request that carries `Authorization: Bearer` (RFC 6750 §2.1) with the needed scope.
    /// `scope`: `nil` where any valid token will do.
    /// Throws `Problem` 401 (no or a bad token), 403 (scope), or 503 (no key set to be had).
    public func caller(_ request: Request, _ call: Call, scope: String?) async throws -> Caller {
        guard let field = request.headers[.authorization] else {
            throw Problem(
                .unauthorized, "token_missing", "This needs an access token.",
                fields: [.wwwAuthenticate: "Bearer"])
        }
        let parts = field.split(separator: " ", maxSplits: 1)
        guard parts.count == 2, parts[0].lowercased() == "bearer" else { throw Self.invalid("scheme") }
        let caller = try await verify(String(parts[1]))
        call.notes.subject = caller.subject
        if let scope { try caller.require(scope: scope) }
        return caller
    }

    /// Verifies one token.
    /// `now`: Unix seconds.
    public func verify(_ token: String, now: Int64 = Timestamp.now / 1000) async throws -> Caller {
        Caller(try await claims(token, now: now))
    }

    /// Verifies one token, and gives all that it says.
    /// `now`: Unix seconds.
    public func claims(_ token: String, now: Int64) async throws -> AccessClaims {
        guard token.utf8.count <= Self.tokenLimitBytes else { throw Self.invalid("size") }
        let parts = token.split(separator: ".", omittingEmptySubsequences: false)
        guard parts.count == 3, let head = Bytes.fromBase64url(parts[0]),
            let body = Bytes.fromBase64url(parts[1]), let signature = Bytes.fromBase64url(parts[2]),
            let header = try? JSONDecoder().decode(TokenHeader.self, from: Data(head))
        else { throw Self.invalid("form") }
        // The algorithm is ours to fix, never the token's to choose (RFC 8725 §3.1).
        guard header.alg == "RS256", header.crit == nil, header.typ?.lowercased() == "at+jwt",
            let kid = header.kid
        else { throw Self.invalid("header") }
        let key = try await key(named: kid)
        let signed = token.prefix(parts[0].utf8.count + 1 + parts[1].utf8.count)
        guard key.isSigned(signed, by: signature) else { throw Self.invalid("signature") }
        guard let claims = try? JSONDecoder().decode(AccessClaims.self, from: Data(body)) else {
            throw Self.invalid("claims")
        }
        guard claims.iss == issuer, claims.aud == audience else { throw Self.invalid("issuer or audience") }
        guard claims.exp > now else { throw Self.invalid("exp") }
        guard claims.nbf <= now &+ limits.leewaySeconds, claims.iat <= now &+ limits.leewaySeconds else {
            throw Self.invalid("nbf")
        }
        return claims
    }

    private func key(named kid: String) async throws -> CheckingKey {
        if let fetchedAt, fetchedAt.duration(to: .now) > limits.maximumAge, fetching == nil, mayAsk {
            Task { await fetch() }
        }
        if let key = keys[kid] { return key }
        // Those who come while a fetch runs wait for it, whoever started it.
        if fetching != nil || mayAsk {
            let didFetch = await fetch()
            if let key = keys[kid] { return key }
            guard didFetch else { throw Self.unavailable }
        }
        // The cooldown after a fetch that failed: whether there is such a key is not known.
        guard !hasLastAttemptFailed else { throw Self.unavailable }
        throw Self.invalid("key")
    }

    private var mayAsk: Bool {
        lastAttempt.map { $0.duration(to: .now) > limits.cooldown } ?? true
    }

    /// One fetch at a time; whoever calls meanwhile shares it.
    @discardableResult
    private func fetch() async -> Bool {
        if let fetching { return await fetching.value }
        let task = Task { await self.read() }
        fetching = task
        let isRead = await task.value
        fetching = nil
        return isRead
    }

    private func read() async -> Bool {
        let isRead = await readKeys()
        hasLastAttemptFailed = !isRead
        lastAttempt = .now
        return isRead
    }

    private func readKeys() async -> Bool {
        guard let data = try? await source(),
            let set = try? JSONDecoder().decode(PublishedKeySet.self, from: data)
        else { return false }
        var read: [String: CheckingKey] = [:]
        for published in set.keys.prefix(Self.keyLimit) {
            guard let kid = published.kid, read[kid] == nil else { continue }
            read[kid] = CheckingKey(published)
        }
        // A set without one usable key is a fault of the other side; the keys in hand are better.
        guard !read.isEmpty else { return false }
        keys = read
        fetchedAt = .now
        return true
    }

    private static var unavailable: Problem {
        .retryLater(
            .serviceUnavailable, "keys_unavailable", "The key set could not be read.", afterSeconds: 1)
    }

    private static func invalid(_ what: String) -> Problem {
        Problem(
            .unauthorized, "token_invalid", "The access token is not valid: \(what).",
            fields: [.wwwAuthenticate: "Bearer error=\"invalid_token\""])
    }
}
