public import LinuxIO
public import Memory

/// How the next endpoint of a service is chosen.
@frozen public enum Balance: UInt8, Sendable {
    case roundRobin, leastRequest, random
}

/// One address of a service, as a snapshot names it.
public struct EndpointPlan: ~Copyable, Sendable {
    /// Index in the process-wide table of endpoints; the same address keeps it across reloads.
    public let index: Int
    public let address: SocketAddress
    /// `host:port` as the configuration has it: the Host that is sent, and what the log shows.
    public let authority: FixedArray<UInt8>

    public init(index: Int, address: SocketAddress, authority: [UInt8]) {
        self.index = index
        self.address = address
        self.authority = FixedArray(authority)
    }
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

    public init(
        index: Int, endpoints: consuming FixedArray<EndpointPlan>, balance: Balance, connectTimeout: UInt64,
        requestTimeout: UInt64, idleTimeout: UInt64, keepaliveIdle: UInt64, keepaliveConnections: Int
    ) {
        self.index = index
        self.endpoints = endpoints
        self.balance = balance
        self.connectTimeout = connectTimeout
        self.requestTimeout = requestTimeout
        self.idleTimeout = idleTimeout
        self.keepaliveIdle = keepaliveIdle
        self.keepaliveConnections = keepaliveConnections
    }
}
