public import Memory

/// The numbers of an exchange that its log line tells; texts are given beside it. Times are microseconds. -1 is
/// "not there", and leaves the field out of the line.
@frozen public struct AccessRecord: Sendable {
    @frozen public enum HTTPVersion: UInt8, Sendable { case http10, http11, http2 }
    @frozen public enum TLSVersion: UInt8, Sendable { case none, tls12, tls13 }

    /// The value of `reason` that means none.
    @inlinable public static var noReason: UInt8 { .max }

    /// Unix time of the request's first byte, in milliseconds.
    public var wallMilliseconds: UInt64 = 0
    /// 0 = not there.
    public var clientPort = 0
    /// Labels.
    public var route = -1
    public var service = -1
    public var endpoint = -1
    public var listener = -1
    public var status = 0
    /// Index into the table of reasons; only where the gateway made the answer or the exchange failed.
    public var reason = AccessRecord.noReason
    public var httpVersion = HTTPVersion.http11
    public var tlsVersion = TLSVersion.none
    /// Of the request, from the client: head and body.
    public var bytesIn = 0
    /// Of the response, to the client: head and body.
    public var bytesOut = 0
    public var durationMicroseconds = 0
    public var authMicroseconds = -1
    public var connectMicroseconds = -1
    public var firstByteMicroseconds = -1
    /// Of the snapshot that the exchange ran under.
    public var generation = 0

    @inlinable public init() {}
}

/// Where the names behind the numbers are.
public struct AccessNames: Sendable {
    public var routes: NameTable
    public var services: NameTable
    public var endpoints: NameTable
    public var listeners: NameTable
    public var reasons: NameTable

    public init(
        routes: NameTable, services: NameTable, endpoints: NameTable, listeners: NameTable, reasons: NameTable
    ) {
        self.routes = routes
        self.services = services
        self.endpoints = endpoints
        self.listeners = listeners
        self.reasons = reasons
    }
}

/// How many bytes of each text a line holds, escapes counted; what is longer is cut and ends in an ellipsis.
public enum AccessLimits {
    public static let requestID = 128
    public static let traceID = 32
    public static let client = 64
    public static let method = 32
    public static let host = 256
    public static let path = 2048
    public static let target = 2048
    public static let subject = 256
    /// Names of routes, services, endpoints, listeners, reasons.
    public static let name = 128
}
