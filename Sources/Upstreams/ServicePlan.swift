public import LinuxIO
public import Memory
public import TLS

/// How the next endpoint of a service is chosen.
@frozen public enum Balance: UInt8, Sendable {
    case roundRobin, leastRequest, random
}

/// One address of a service, as a snapshot names it.
public struct EndpointPlan: ~Copyable, Sendable {
    /// Index in the process-wide table of endpoints; the same address keeps it across reloads.
    public let index: Int
    public let address: SocketAddress
    /// Of a socket in the file system, which has no address; empty for any other.
    let path: FixedArray<UInt8>
    /// `host:port` as the configuration has it: the Host that is sent, and what the log shows.
    public let authority: FixedArray<UInt8>
    public let security: EndpointSecurity

    public init(
        index: Int, address: SocketAddress, path: [UInt8] = [], authority: [UInt8],
        security: consuming EndpointSecurity = .none
    ) {
        self.index = index
        self.address = address
        self.path = FixedArray(path)
        self.authority = FixedArray(authority)
        self.security = security
    }

    func connect() throws(SystemError) -> Descriptor {
        path.isEmpty ? try Sockets.connect(to: address) : try Sockets.connect(toPath: path.span)
    }
}

/// Whether and for whom the connections to an endpoint are secured.
public struct EndpointSecurity: ~Copyable, Sendable {
    /// 0 for none; else a fingerprint of all that the connection's security was agreed with, so that a kept one is not
    /// used under other settings.
    public let identity: UInt64
    /// For whom the certificate must be: a DNS name, or the bytes of an address.
    let serverName: FixedArray<UInt8>
    let isAddress: Bool

    public static var none: EndpointSecurity {
        EndpointSecurity(identity: 0, serverName: [], isAddress: false)
    }

    public init(identity: UInt64, serverName: [UInt8], isAddress: Bool) {
        self.identity = identity
        self.serverName = FixedArray(serverName)
        self.isAddress = isAddress
    }

    public var isSecured: Bool { identity != 0 }
}

/// What a snapshot says of one service.
public struct ServicePlan: ~Copyable, Sendable {
    /// Index in the process-wide table of service names.
    public let index: Int
    public let endpoints: FixedArray<EndpointPlan>
    public let balance: Balance
    /// Nanoseconds.
    public let connectTimeout: UInt64
    public let requestTimeout: UInt64
    public let idleTimeout: UInt64
    /// How long an unused connection is kept, and how many of them a worker keeps.
    public let keepaliveIdle: UInt64
    public let keepaliveConnections: Int
    /// Whether its endpoints speak HTTP/2.
    public let isHTTP2: Bool
    /// `nil` when none of its endpoints is secured.
    let tls: TLSClient?

    public init(
        index: Int, endpoints: consuming FixedArray<EndpointPlan>, balance: Balance, connectTimeout: UInt64,
        requestTimeout: UInt64, idleTimeout: UInt64, keepaliveIdle: UInt64, keepaliveConnections: Int,
        isHTTP2: Bool = false, tls: consuming TLSClient? = nil
    ) {
        self.index = index
        self.endpoints = endpoints
        self.balance = balance
        self.connectTimeout = connectTimeout
        self.requestTimeout = requestTimeout
        self.idleTimeout = idleTimeout
        self.keepaliveIdle = keepaliveIdle
        self.keepaliveConnections = keepaliveConnections
        self.isHTTP2 = isHTTP2
        self.tls = tls
    }
}
