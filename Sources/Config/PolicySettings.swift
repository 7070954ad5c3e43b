/// One entry of `auth`: bearer tokens of one issuer, verified here (RFC 7519).
public struct IssuerSettings: Sendable, Hashable {
    /// As `alg` of a token names them (RFC 7518 §3.1, RFC 8037 §3.1).
    public enum Algorithm: String, CaseIterable, Sendable, Hashable {
        case rs256 = "RS256"
        case rs384 = "RS384"
        case rs512 = "RS512"
        case ps256 = "PS256"
        case es256 = "ES256"
        case edDSA = "EdDSA"
    }
    public enum TokenType: Sendable, Hashable { case any, accessToken }

    public let name: Located<String>
    /// Compared with `iss`, byte for byte.
    public let issuer: String
    /// One must match `aud`. At least one.
    public let audiences: [String]
    /// At least one, none twice.
    public let algorithms: [Algorithm]
    /// For `exp`, `nbf` and `iat`.
    public let leewayNanoseconds: Int
    public let requiredClaims: [String]
    public let maxTokenBytes: Int
    /// `accessToken`: the header's `typ` must be `at+jwt` (RFC 9068 §4).
    public let tokenType: TokenType
    public let keys: KeySettings
    public let forwardedClaims: [ForwardedClaim]
    /// Whether `Authorization` goes on to the service.
    public let passesToken: Bool
    /// Verified tokens a worker remembers; 0 = none.
    public let cachedTokens: Int
    /// How long a bad token is remembered.
    public let negativeCacheNanoseconds: Int
}

/// A claim that the service sees as a request field. The client's own fields of that name never pass.
public struct ForwardedClaim: Sendable, Hashable {
    /// As the user wrote it.
    public let field: String
    public let claim: String
}

/// One entry of `limits`: a token bucket.
public struct LimitSettings: Sendable, Hashable {
    /// What a bucket belongs to: the address, the token's subject, or the subject if there is one and else the address.
    public enum Owner: Sendable, Hashable { case client, subject, consumer }
    public enum Fields: Sendable, Hashable { case refused, always }

    public let name: Located<String>
    public let rate: Rate
    /// How many may pass at once after a pause; the count of the rate if the file does not say.
    public let burst: Int
    public let owner: Owner
    /// Whether `RateLimit` fields go with refusals only or with every answer.
    public let fields: Fields
}
