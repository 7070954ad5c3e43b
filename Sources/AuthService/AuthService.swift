public import Backbone
public import Foundation
public import Logging
public import ServiceKit

/// Accounts, sessions and tokens. It depends on no other service: what it has to tell waits in its outbox until the bus is
/// there.
public struct AuthService: Sendable {
    static let accessLifetimeSeconds: Int64 = 900
    /// What any account may ask for.
    static let scopes = ["documents", "jobs", "profile", "search"]
    /// What an administrator may ask for besides: to see and change accounts, and to rotate keys.
    static let administratorScope = "accounts"

    let settings: AuthSettings
    let store: AuthStore
    let keys: KeyRing
    let hasher: PasswordHasher
    let signIns: AttemptThrottle
    let registrations: AttemptThrottle
    let letterRequests: AttemptThrottle
    let redemptions: AttemptThrottle
    let verifier: TokenVerifier
    /// Hashed for accounts that do not exist, so that the time of an answer tells nothing.
    let decoyHash: String
    let log: Logger
    private let backbone: any Backbone

    /// Opens the store; makes the signing keys at the first start.
    public init(_ settings: AuthSettings, backbone: any Backbone, log: Logger) async throws {
        self.settings = settings
        self.backbone = backbone
        self.log = log
        let clock = settings.clock
        store = try AuthStore(
            directory: settings.directory, outbox: Outbox(limit: settings.outboxLimit))
        guard let keys = KeyRing(try store.keys(now: clock())) else { throw KeysMissing() }
        self.keys = keys
        hasher = PasswordHasher(
            threadCount: settings.hashingThreads, queueLimit: settings.hashingQueueLimit)
        decoyHash = try await hasher.hash(Bytes.base64url(Bytes.random(16)))
        signIns = AttemptThrottle(pairRule: settings.accountGuesses, addressRule: settings.addressGuesses)
        registrations = AttemptThrottle(addressRule: settings.registrations)
        letterRequests = AttemptThrottle(addressRule: settings.letterRequests)
        redemptions = AttemptThrottle(addressRule: settings.redemptions)
        verifier = TokenVerifier(issuer: settings.issuer, audience: settings.audience) {
            try keys.keySet(now: clock())
        }
    }

    /// Gives an account of this store one more role, such as `admin`. For whoever may read the store's file.
    /// Returns `false` when there is no such account. Throws `FileFailure`, also where there is no store: one made here would
    /// be empty, and the account is in another.
    public static func grant(role: String, email: String, directory: URL) throws -> Bool {
        let file = directory.appending(path: "auth.sqlite", directoryHint: .notDirectory)
        guard FileManager.default.fileExists(atPath: file.path(percentEncoded: false)) else {
            throw FileFailure(file, "No such file")
        }
        return try AuthStore(directory: directory).addRole(
            role, email: EmailAddress.normal(email) ?? email.lowercased())
    }

    /// What it is run from.
    public var parts: ServiceParts {
        ServiceParts(
            name: "auth", openAPI: PackageResources.openapi_json,
            background: [
                hasher, ResetDesk(store: store, clock: settings.clock, log: log),
                OutboxRelay(
                    store.outbox, store: store.pool, backbone: backbone, schemas: Told.schemas, log: log),
            ],
            hindrances: {
                do {
                    try await store.probe()
                    return []
                } catch { return ["store"] }
            },
            gauges: {
                // A store that cannot be read shows in readiness.
                let ofStore = (try? await store.gauges()) ?? [:]
                return hasher.gauges.merging(ofStore) { $1 }
            },
            addRoutes: { router in
                for prefix in ["/auth", "/api/v1/auth"] {
                    addTokenRoutes(router, prefix: prefix)
                    addAccountRoutes(router, prefix: prefix)
                    addLetterRoutes(router, prefix: prefix)
                    addAdministratorRoutes(router, prefix: prefix)
                }
                addDiscovery(router)
            })
    }

    /// The wall clock, Unix time in milliseconds.
    var now: Int64 { settings.clock() }

    /// An access token for a session, good for 15 minutes.
    func accessToken(_ session: Session, now: Int64) throws -> String {
        let seconds = now / 1_000
        return try keys.signer.token(
            AccessClaims(
                iss: settings.issuer, aud: settings.audience, sub: session.account.id, iat: seconds,
                nbf: seconds, exp: seconds + Self.accessLifetimeSeconds, jti: Identifier.make(at: now),
                roles: session.account.roles, scope: session.scope, sid: session.id))
    }
}

/// The store has keys, but none of them may sign.
private struct KeysMissing: Error {}
