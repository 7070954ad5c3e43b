public import Cryptography
import Memory

/// Why settings cannot be used; the text says what is allowed.
public struct IssuerSettingsError: Error, Equatable, CustomStringConvertible, Sendable {
    public let description: String
}

/// What is asked of the tokens of one issuer, and what is made of them.
public struct IssuerSettings: Sendable, Hashable {
    /// Named limits. They bound what one token can cost, and let a verifier keep its state in place.
    public static let mostForwards = 16
    public static let mostRequiredClaims = 16
    public static let mostAudiences = 64
    public static let mostTokenBytes = 65536
    public static let mostCacheEntries = 1_000_000

    public enum TokenType: Sendable, Hashable {
        case any
        /// The header's `typ` must be `at+jwt` or `application/at+jwt` (RFC 9068 §4).
        case accessToken
    }

    /// A claim whose value becomes a request field.
    public struct Forward: Sendable, Hashable {
        public let fieldName: String
        public let claimName: String

        public init(fieldName: String, claimName: String) {
            self.fieldName = fieldName
            self.claimName = claimName
        }
    }

    /// Compared with `iss` byte for byte (RFC 7519 §4.1.1).
    public let issuer: String
    /// One of these must be in `aud` (RFC 7519 §4.1.3).
    public let audiences: [String]
    /// Those that a token may be signed with.
    public let algorithms: SignatureAlgorithms
    /// For `exp`, `nbf` and `iat`.
    public let leewaySeconds: Int
    /// Claims that must be there and not null; `exp`, `iss` and `aud` always are.
    public let requiredClaims: [String]
    public let maxTokenBytes: Int
    public let tokenType: TokenType
    public let forwards: [Forward]
    /// Accepted tokens that are remembered; 0 = none.
    public let cacheEntries: Int
    /// How long a refused token is remembered; 0 = not at all.
    public let negativeSeconds: Int

    public init(
        issuer: String, audiences: [String], algorithms: SignatureAlgorithms = .rs256,
        leewaySeconds: Int = 30, requiredClaims: [String] = ["sub"],
        maxTokenBytes: Int = 8192, tokenType: TokenType = .any, forwards: [Forward] = [],
        cacheEntries: Int = 10_000, negativeSeconds: Int = 10
    ) throws(IssuerSettingsError) {
        func need(_ isMet: Bool, _ text: String) throws(IssuerSettingsError) {
            if !isMet { throw IssuerSettingsError(description: text) }
        }
        try need(!issuer.isEmpty && issuer.utf8.count <= 1024, "issuer must have 1 to 1024 bytes")
        try need(
            !audiences.isEmpty && audiences.count <= Self.mostAudiences
                && audiences.allSatisfy { !$0.isEmpty && $0.utf8.count <= 1024 },
            "audience must name 1 to \(Self.mostAudiences), each of 1 to 1024 bytes")
        try need(!algorithms.isEmpty, "algorithms must name at least one")
        try need((0...86_400).contains(leewaySeconds), "leeway must be from 0s to 24h")
        try need(
            requiredClaims.count <= Self.mostRequiredClaims
                && requiredClaims.allSatisfy { !$0.isEmpty && $0.utf8.count <= 256 },
            "require_claims may name at most \(Self.mostRequiredClaims), each of 1 to 256 bytes")
        try need(
            (256...Self.mostTokenBytes).contains(maxTokenBytes),
            "max_token must be from 256 to \(Self.mostTokenBytes) bytes")
        try need(
            forwards.count <= Self.mostForwards
                && forwards.allSatisfy { !$0.claimName.isEmpty && $0.claimName.utf8.count <= 256 },
            "forward may name at most \(Self.mostForwards) fields")
        try need(
            (0...Self.mostCacheEntries).contains(cacheEntries),
            "cache.tokens must be from 0 to \(Self.mostCacheEntries)")
        try need((0...3600).contains(negativeSeconds), "cache.negative must be from 0s to 1h")
        self.issuer = issuer
        self.audiences = audiences
        self.algorithms = algorithms
        self.leewaySeconds = leewaySeconds
        self.requiredClaims = requiredClaims
        self.maxTokenBytes = maxTokenBytes
        self.tokenType = tokenType
        self.forwards = forwards
        self.cacheEntries = cacheEntries
        self.negativeSeconds = negativeSeconds
    }

    /// A number that differs when any setting does (but for one chance in 2^64), so that a reload that does not
    /// touch an issuer can keep its verifier. Settings come from the operator, so its key need not be secret.
    public var fingerprint: UInt64 {
        var bytes: [UInt8] = []
        func add(_ number: Int) {
            for shift in 0..<8 { bytes.append(UInt8(truncatingIfNeeded: number >> (shift * 8))) }
        }
        func add(_ text: String) {
            add(text.utf8.count)
            bytes += Array(text.utf8)
        }
        add(issuer)
        add(audiences.count)
        for audience in audiences { add(audience) }
        add(Int(algorithms.rawValue))
        add(leewaySeconds)
        add(requiredClaims.count)
        for claim in requiredClaims { add(claim) }
        add(maxTokenBytes)
        add(tokenType == .any ? 0 : 1)
        add(forwards.count)
        for forward in forwards {
            add(forward.fieldName)
            add(forward.claimName)
        }
        add(cacheEntries)
        add(negativeSeconds)
        return SipHash(key0: 0x6761_7465, key1: 0x686f_7573).hash64(bytes.rawSpan)
    }
}
