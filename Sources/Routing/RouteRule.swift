/// What a request must be for a route to take it. Cold: read once, when a table is compiled.
public struct RouteRule: Sendable, Hashable {
    /// What `match` answers; the caller's own number.
    public var index: Int
    /// Path prefix in normal form, beginning with `/`. It matches whole segments: `/auth` takes `/auth`, `/auth/` and
    /// `/auth/x`, not `/authors`. One slash at its end has no meaning: `/auth/` is `/auth`. (nginx's `location /auth/`
    /// and Envoy's `prefix: /auth/` do not take `/auth`, and their `/auth` takes `/authors`: both surprise.)
    public var prefix: [UInt8]
    /// Names, or `*.` and a name for all that end in a dot and that name; compared without regard to case. Empty: any
    /// host.
    public var hosts: [[UInt8]]
    /// Numbers of listeners; empty: all.
    public var listeners: [Int]

    public init(index: Int, prefix: [UInt8], hosts: [[UInt8]] = [], listeners: [Int] = []) {
        self.index = index
        self.prefix = prefix
        self.hosts = hosts
        self.listeners = listeners
    }
}

/// Why rules do not make a table. The numbers are the `index` of the rules.
public enum RouteTableError: Error, Equatable {
    /// Some request would belong to both: they share a host, a prefix and a listener.
    case tie(first: Int, second: Int)
    /// A prefix that does not begin with `/`.
    case badPrefix(rule: Int)
    /// A host that is empty, longer than 255 bytes, or has a star elsewhere than in a leading `*.`.
    case badHost(rule: Int)
}
