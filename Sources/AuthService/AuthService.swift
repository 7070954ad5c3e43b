public import Foundation
public import Logging
public import ServiceKit

/// Settings of the auth service.
public struct AuthSettings: Sendable {
    public var directory: URL
    /// The `iss` of its tokens.
    public var issuer: String
    /// The `aud` of its tokens.
    public var audience: String
    /// How many passwords are hashed at once, and how many wait.
    public var hashingThreads: Int
    public var hashingQueueLimit: Int

    public init(
        directory: URL, issuer: String, audience: String, hashingThreads: Int = 2, hashingQueueLimit: Int = 64
    ) {
        self.directory = directory
        self.issuer = issuer
        self.audience = audience
        self.hashingThreads = hashingThreads
        self.hashingQueueLimit = hashingQueueLimit
    }
}

/// Accounts, sessions and tokens. It depends on no other service.
public struct AuthService: Sendable {
    static let accessLifetimeSeconds: Int64 = 900
    static let scopes = ["documents", "jobs", "profile", "search"]

    let settings: AuthSettings
    let store: AuthStore
    let signer: TokenSigner
    let hasher: PasswordHasher
    let throttle = LoginThrottle()
    let verifier: TokenVerifier
    let keySet: Data
    /// Hashed for accounts that do not exist, so that the time of an answer tells nothing.
    let decoyHash: String
    let log: Logger

    /// Opens the store; makes the signing key at the first start.
    public init(_ settings: AuthSettings, log: Logger) async throws {
        self.settings = settings
        self.log = log
        store = try AuthStore(directory: settings.directory)
        signer = try store.activeSigner()
        hasher = PasswordHasher(
            threadCount: settings.hashingThreads, queueLimit: settings.hashingQueueLimit)
        decoyHash = try await hasher.hash(Bytes.base64url(Bytes.random(16)))
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys]
        let keySet = try encoder.encode(PublishedKeySet(keys: [signer.published()]))
        self.keySet = keySet
        verifier = TokenVerifier(issuer: settings.issuer, audience: settings.audience) { keySet }
    }

    /// Gives an account of this store one more role, such as `admin`. For whoever may read the store's file.
    /// Returns `false` when there is no such account.
    public static func grant(role: String, email: String, directory: URL) throws -> Bool {
        try AuthStore(directory: directory).addRole(role, email: email.lowercased())
    }

    /// What it is run from.
    public var parts: ServiceParts {
        ServiceParts(
            name: "auth", background: [hasher],
            hindrances: {
                do {
                    try await store.probe()
                    return []
                } catch { return ["store"] }
            },
            gauges: { ["hashing_in_hand": hasher.load] },
            addRoutes: { router in
                for prefix in ["/auth", "/api/v1/auth"] { addRoutes(router, prefix: prefix) }
                addKeySet(router)
            })
    }

    /// An access token for a session, good for 15 minutes.
    func accessToken(_ session: Session, now: Int64) throws -> String {
        let seconds = now / 1_000
        return try signer.token(
            AccessClaims(
                iss: settings.issuer, aud: settings.audience, sub: session.account.id, iat: seconds,
                nbf: seconds, exp: seconds + Self.accessLifetimeSeconds, jti: Identifier.make(at: now),
                roles: session.account.roles, scope: session.scope, sid: session.id))
    }
}
