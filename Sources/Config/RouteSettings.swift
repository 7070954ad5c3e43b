/// One entry of `services`.
public struct ServiceSettings: Sendable, Hashable {
    public enum Balance: Sendable, Hashable { case roundRobin, leastRequest, random }

    public let name: Located<String>
    /// At least one; no two the same; all of HTTP/1 or all of HTTP/2.
    public let endpoints: [Located<EndpointAddress>]
    /// `nil` also where an endpoint has TLS: the system's authorities, its own name, no certificate.
    public let tls: ServiceTLSSettings?
    public let balance: Balance
    public let keepaliveIdleNanoseconds: Int
    /// Idle connections kept a worker.
    public let keepaliveConnections: Int
    /// Those of its `resilience` profile, or the defaults.
    public let timeouts: TimeoutSettings

    public var isHTTP2: Bool { endpoints.first?.value.scheme.isHTTP2 ?? false }
}

/// How the connections to a service are secured.
public struct ServiceTLSSettings: Sendable, Hashable {
    /// A PEM file with the authorities to trust; `nil` for the system's.
    public let authorityFile: Located<String>?
    /// What the gateway shows to a service that asks for it.
    public let certificate: CertificateSettings?
    /// For whom the service's certificate must be; `nil` for the host of each address.
    public let serverName: EndpointAddress.Host?
}

/// How long a service may take.
public struct TimeoutSettings: Sendable, Hashable {
    public let connectNanoseconds: Int
    /// Until the response head.
    public let requestNanoseconds: Int
    /// Between body bytes.
    public let idleNanoseconds: Int
}

/// One entry of `routes`, with every default filled in.
public struct RouteSettings: Sendable, Hashable {
    /// Which listeners a route is on.
    public enum Listeners: Sendable, Hashable {
        case all
        /// Indices into `Configuration.listeners`.
        case only([Int])
    }

    /// Who may pass.
    public enum Authentication: Sendable, Hashable {
        case none
        /// Index into `Configuration.issuers`.
        case issuer(Int)
    }

    public let name: Located<String>
    /// In normal form; begins with `/`, does not end with `/` unless it is `/`. Matches whole segments.
    public let prefix: Located<String>
    /// Empty = any host.
    public let hosts: [HostPattern]
    public let listeners: Listeners
    /// Index into `Configuration.services`.
    public let service: Int
    public let authentication: Authentication
    /// What a token must grant beside being good; empty where nobody is asked for one.
    public let requirement: RequirementSettings
    /// Indices into `Configuration.limits`, in the order of the file, none twice.
    public let limits: [Int]
    /// `nil` = as many as come.
    public let concurrency: ConcurrencySettings?
    /// `Int.max` = no limit.
    public let bodyMaxBytes: Int
    /// Whether the route itself says so; only then is a gRPC stream held to it.
    public let limitsBodyItself: Bool
    /// The route's own, else the service's.
    public let timeouts: TimeoutSettings
    public let stripsPrefix: Bool
    public let preservesHost: Bool
    /// `false` = no access line; counters go on.
    public let isLogged: Bool
    public let requestFields: FieldEditSettings
    /// Of answers that come from the service.
    public let responseFields: FieldEditSettings
}

/// One of the scopes, if any are named, and one of the roles, if any are named.
public struct RequirementSettings: Sendable, Hashable {
    /// Each of the characters that a scope may have (RFC 6749 §3.3); none twice.
    public let scopes: [String]
    public let roles: [String]
}

/// What a route changes of the fields that pass it, in one direction. Names compare without case, `_` counts as `-`; none
/// stands twice, and none frames a message, belongs to one connection or is the gateway's own to write.
public struct FieldEditSettings: Sendable, Hashable {
    public struct Field: Sendable, Hashable {
        public let name: String
        /// Printable ASCII without space around it; not empty.
        public let value: String
    }

    public let set: [Field]
    public let removed: [String]
}

/// A host name that a route is for, in lower case.
public struct HostPattern: Sendable, Hashable {
    /// Without the `*.` of a wildcard.
    public let name: String
    /// Whether it stands for every name that ends in `.name`.
    public let isWildcard: Bool
}
