public import Memory
public import RateLimit

/// What a request is counted by.
public enum LimitSubject: UInt8, Sendable {
    /// The client's address.
    case client
    /// The route: all that it is asked for together.
    case route
    /// The client's certificate; who has shown none is not counted.
    case certificate
    /// What a field of the request says; a request without it is not counted.
    case header
    /// The token's subject; who has none is not counted.
    case subject
    /// The subject if there is one, else the client's address.
    case consumer
    /// What a claim of the token says; a token without it is not counted.
    case claim

    /// Whether it is known before the token is verified. Those limits are judged first: what costs an attacker nothing must
    /// not cost us a signature check.
    var isKnownEarly: Bool {
        switch self {
        case .client, .route, .certificate, .header: true
        case .subject, .consumer, .claim: false
        }
    }
}

/// The same with the name that it needs.
public struct LimitKey: ~Copyable, Sendable {
    let subject: LimitSubject
    /// Of a field; else empty.
    let field: FixedArray<UInt8>
    /// Index among the values that the route's issuer keeps of a token; -1 for none.
    let claim: Int

    public init(_ subject: LimitSubject, field: [UInt8] = [], claim: Int = -1) {
        self.subject = subject
        self.field = FixedArray(field)
        self.claim = claim
    }
}

/// One window of a limit: a bucket for each key.
public struct LimitWindow: ~Copyable, Sendable {
    let limit: Limit
    /// As the header fields call it.
    let name: FixedArray<UInt8>

    public init(limit: Limit, name: [UInt8]) {
        self.limit = limit
        self.name = FixedArray(name)
    }
}

/// One limit of a route. All of its windows must have a token.
public struct LimitPlan: ~Copyable, Sendable {
    let windows: FixedArray<LimitWindow>
    let key: LimitKey
    /// Whether admitted answers carry the header fields too.
    let isAlwaysTold: Bool

    public init(windows: consuming FixedArray<LimitWindow>, key: consuming LimitKey, isAlwaysTold: Bool) {
        precondition(windows.count > 0)
        self.windows = windows
        self.key = key
        self.isAlwaysTold = isAlwaysTold
    }
}

/// How many requests of a key a route has under way at once.
public struct ConcurrencyPlan: ~Copyable, Sendable {
    /// 0 for no limit.
    let most: Int
    let key: LimitKey
    /// Keyed by the route's name.
    let hash: SipHash

    public init(most: Int, key: consuming LimitKey, hash: SipHash) {
        self.most = most
        self.key = key
        self.hash = hash
    }

    /// No limit.
    public init() { self.init(most: 0, key: LimitKey(.route), hash: SipHash(key0: 0, key1: 0)) }
}
