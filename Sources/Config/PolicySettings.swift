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

/// Whom requests are counted for.
public enum LimitOwner: Sendable, Hashable {
    /// The address.
    case client
    /// The token's subject.
    case subject
    /// The subject if there is one, else the address.
    case consumer
    /// All requests of a route together.
    case route
    /// The client's certificate.
    case certificate
    /// The value of a request field, by its name.
    case header(String)
    /// The value of a claim, by its name.
    case claim(String)

    /// As the file says it.
    var text: String {
        switch self {
        case .client: "client"
        case .subject: "subject"
        case .consumer: "consumer"
        case .route: "route"
        case .certificate: "certificate"
        case .header(let name): "header:\(name)"
        case .claim(let name): "claim:\(name)"
        }
    }

    /// Whether there is nobody to count without a token.
    var needsToken: Bool {
        switch self {
        case .subject, .claim: true
        case .client, .consumer, .route, .certificate, .header: false
        }
    }
}

/// One entry of `limits`: a token bucket for each owner and window.
public struct LimitSettings: Sendable, Hashable {
    public enum Fields: Sendable, Hashable { case refused, always }

    /// So many in a time, and so many at once after a pause.
    public struct Window: Sendable, Hashable {
        public let rate: Rate
        /// The count of the rate if the file does not say.
        public let burst: Int
    }

    public let name: Located<String>
    /// At least one, the shortest first, no two of one length. All must allow.
    public let windows: [Window]
    public let owner: LimitOwner
    /// Whether `RateLimit` fields go with refusals only or with every answer.
    public let fields: Fields

    public var rate: Rate { windows[0].rate }
    public var burst: Int { windows[0].burst }
}

/// `concurrency` of a route: how many requests one owner has under way at once.
public struct ConcurrencySettings: Sendable, Hashable {
    public let max: Int
    public let owner: LimitOwner
}
