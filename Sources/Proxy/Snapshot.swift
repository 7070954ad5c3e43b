public import HTTP
import HTTP1
public import JWT
import LinuxIO
public import Memory
import RateLimit
public import Routing
public import TLS
public import Upstreams

/// A range of addresses: the first `bits` of 128 count. IPv4 stands in `::ffff:0:0/96`.
@frozen public struct AddressRange: Sendable {
    let high: UInt64
    let low: UInt64
    let highMask: UInt64
    let lowMask: UInt64

    /// `high` and `low` are the 16 bytes of the address as two numbers, most significant first.
    public init(high: UInt64, low: UInt64, bits: Int) {
        precondition(bits >= 0 && bits <= 128)
        highMask = AddressRange.mask(bits: min(bits, 64))
        lowMask = AddressRange.mask(bits: max(bits - 64, 0))
        self.high = high.bigEndian & highMask
        self.low = low.bigEndian & lowMask
    }

    /// The first `bits` of a word in network order, as the machine sees it.
    static func mask(bits: Int) -> UInt64 { bits == 0 ? 0 : (UInt64.max << UInt64(64 - bits)).bigEndian }

    func contains(_ address: SocketAddress) -> Bool {
        address.high & highMask == high && address.low & lowMask == low
    }
}

/// What is done with a request of one route, in a fixed order.
public struct RoutePlan: ~Copyable, Sendable {
    /// Index of the route's name in the process-wide table of labels.
    let label: Int
    let name: FixedArray<UInt8>
    /// Index in the snapshot's services.
    let service: Int
    /// Index in the snapshot's issuers; -1 for none.
    let issuer: Int
    /// Those that are judged before the token come first.
    let limits: FixedArray<LimitPlan>
    let earlyLimits: Int
    let concurrency: ConcurrencyPlan
    /// Bytes; `Int.max` for no limit.
    let bodyLimit: Int
    /// The same for a gRPC stream, which only the route's own limit binds.
    let streamLimit: Int
    /// Nanoseconds.
    let connectTimeout: UInt64
    let requestTimeout: UInt64
    let idleTimeout: UInt64
    /// Bytes of the normal path that are not forwarded.
    let strippedBytes: Int
    let preservesHost: Bool
    let isLogged: Bool
    let requestEdits: FieldEdits
    /// Of answers of the service; those of the gateway itself are not edited.
    let responseEdits: FieldEdits
    /// Whether anything is counted by who the token says is calling.
    let hasSubjectLimits: Bool
    /// What a token must grant beside being good.
    let requirement: GrantRequirement
    let requiresGrants: Bool
    /// The scopes of `requirement` as a challenge names them, parted by spaces (RFC 6750 §3).
    let scopeText: FixedArray<UInt8>

    public init(
        label: Int, name: [UInt8], service: Int, issuer: Int, requirement: GrantRequirement,
        scopeText: [UInt8], limits: consuming FixedArray<LimitPlan>,
        concurrency: consuming ConcurrencyPlan, bodyLimit: Int, streamLimit: Int, connectTimeout: UInt64,
        requestTimeout: UInt64, idleTimeout: UInt64,
        strippedBytes: Int,
        preservesHost: Bool, isLogged: Bool, requestEdits: consuming FieldEdits,
        responseEdits: consuming FieldEdits
    ) {
        self.label = label
        self.name = FixedArray(name)
        self.service = service
        self.issuer = issuer
        self.requirement = requirement
        requiresGrants = !requirement.isEmpty
        self.scopeText = FixedArray(scopeText)
        var early = 0
        while early < limits.count, limits[early].key.subject.isKnownEarly { early += 1 }
        for index in early..<limits.count {
            precondition(!limits[index].key.subject.isKnownEarly, "what is judged early comes first")
        }
        earlyLimits = early
        hasSubjectLimits =
            early < limits.count || concurrency.most > 0 && !concurrency.key.subject.isKnownEarly
        self.limits = limits
        self.concurrency = concurrency
        self.bodyLimit = bodyLimit
        self.streamLimit = streamLimit
        self.connectTimeout = connectTimeout
        self.requestTimeout = requestTimeout
        self.idleTimeout = idleTimeout
        self.strippedBytes = strippedBytes
        self.preservesHost = preservesHost
        self.isLogged = isLogged
        self.requestEdits = requestEdits
        self.responseEdits = responseEdits
    }
}

/// One issuer of tokens: its verifier, and the field names that its claims go to.
public struct IssuerPlan: ~Copyable, Sendable {
    /// Of the settings and of where the keys come from: the same ones keep their keys and caches across a reload.
    let settings: UInt64
    let source: UInt64
    /// Index of the two cells about fetches of its keys; -1 where none is fetched.
    let cell: Int
    var verifier: TokenVerifier
    /// In the order of the settings' `forward`.
    let forwardNames: FixedArray<FixedArray<UInt8>>
    let passesToken: Bool

    public init(
        settings: UInt64, source: UInt64, cell: Int, verifier: consuming TokenVerifier,
        forwardNames: [[UInt8]],
        passesToken: Bool
    ) {
        self.settings = settings
        self.source = source
        self.cell = cell
        self.verifier = verifier
        self.forwardNames = FixedArray(count: forwardNames.count) { FixedArray(forwardNames[$0]) }
        self.passesToken = passesToken
    }
}

extension IssuerPlan {
    /// Copies the subject of a token into the exchange's note.
    mutating func keepSubject(of entry: TokenEntryID, in exchange: inout Exchange) -> ByteRange {
        exchange.keep(verifier.subject(of: entry), limit: 255)
    }

    /// Writes one claim as the request field that it goes to, if the token has it.
    mutating func writeClaim(_ index: Int, of entry: TokenEntryID, to writer: inout HeadWriter) {
        apart(&verifier, forwardNames) {
            guard let value = $0.forwardedValue(index, of: entry) else { return }
            writer.bytes($1[index].span)
            writer.field(": ", value)
        }
    }
}

/// One listener as its connections need it.
public struct ListenerPlan: ~Copyable, Sendable {
    /// Index in the process-wide table of listener names; connections keep it across reloads.
    let label: Int
    let name: FixedArray<UInt8>
    /// `nil` on a plaintext listener.
    var tls: TLSServer?
    let allowsHTTP1: Bool
    /// HTTP/2 by ALPN, or with prior knowledge on a plaintext listener.
    let allowsHTTP2: Bool
    let handshakeTimeout: UInt64
    let handshakesInFlight: Int
    let connectionsPerClient: Int
    /// Whether each connection begins with what the proxy in front has to say.
    let requiresPreamble: Bool
    /// Where everything is sent under https; 0 where requests are answered.
    let securePort: Int
    /// Most connections of this listener, of all workers together.
    let connections: Int
    /// Whether a request must be for a host of the certificate that SNI chose.
    let bindsAuthority: Bool
    /// The value of `Strict-Transport-Security` (RFC 6797 §6.1); empty for none.
    let transportSecurity: FixedArray<UInt8>

    public init(
        label: Int, name: [UInt8], tls: consuming TLSServer?, allowsHTTP1: Bool, allowsHTTP2: Bool,
        handshakeTimeout: UInt64, handshakesInFlight: Int, connectionsPerClient: Int, requiresPreamble: Bool,
        securePort: Int, connections: Int, bindsAuthority: Bool, transportSecurity: [UInt8]
    ) {
        self.label = label
        self.name = FixedArray(name)
        self.tls = tls
        self.allowsHTTP1 = allowsHTTP1
        self.allowsHTTP2 = allowsHTTP2
        self.handshakeTimeout = handshakeTimeout
        self.handshakesInFlight = handshakesInFlight
        self.connectionsPerClient = connectionsPerClient
        self.requiresPreamble = requiresPreamble
        self.securePort = securePort
        self.connections = connections
        self.bindsAuthority = bindsAuthority
        self.transportSecurity = FixedArray(transportSecurity)
    }
}

/// The protocol limits of a snapshot. Nanoseconds and bytes.
public struct HTTPSettings: Sendable {
    public let limits: HeadLimits
    public let headTimeout: UInt64
    public let bodyIdleTimeout: UInt64
    /// What a client must bring or take in each window in which it is waited for; 0 = no limit.
    public let bytesPerWindow: Int
    public let rateWindow: UInt64
    public let idleTimeout: UInt64
    public let webSocketIdleTimeout: UInt64
    public let streams: Int
    public let resetsPerWindow: Int
    public let resetWindow: UInt64
    public let mergesSlashes: Bool

    public init(
        limits: HeadLimits, headTimeout: UInt64, bodyIdleTimeout: UInt64, bytesPerWindow: Int,
        rateWindow: UInt64, idleTimeout: UInt64, webSocketIdleTimeout: UInt64, streams: Int,
        resetsPerWindow: Int, resetWindow: UInt64,
        mergesSlashes: Bool
    ) {
        self.limits = limits
        self.headTimeout = headTimeout
        self.bodyIdleTimeout = bodyIdleTimeout
        self.bytesPerWindow = bytesPerWindow
        self.rateWindow = rateWindow
        self.idleTimeout = idleTimeout
        self.webSocketIdleTimeout = webSocketIdleTimeout
        self.streams = streams
        self.resetsPerWindow = resetsPerWindow
        self.resetWindow = resetWindow
        self.mergesSlashes = mergesSlashes
    }
}

/// From whom a request id is taken over.
public enum RequestIDAcceptance: UInt8, Sendable { case anyone, trustedProxies, nobody }

/// One worker's configuration, whole and unchanging. Each exchange keeps the one that it began with.
///
/// Decision of 2026-11-21: a snapshot is a noncopyable value in a slab, counted by its exchanges with a plain integer,
/// and not a class: nothing that it holds can then be retained on the request path, and the pin costs two additions.
public struct Snapshot: ~Copyable, Sendable {
    public let generation: Int
    let table: RouteTable
    let routes: FixedArray<RoutePlan>
    let services: FixedArray<ServicePlan>
    var issuers: FixedArray<IssuerPlan>
    var listeners: FixedArray<ListenerPlan>
    let http: HTTPSettings
    let trustedProxies: FixedArray<AddressRange>
    /// How many bits of an IPv6 address are one client.
    let clientBits: UInt8
    let requestIDField: FixedArray<UInt8>
    /// The same with a colon and a space behind it, as a head of HTTP/1 says it.
    let requestIDStart: FixedArray<UInt8>
    let requestIDAcceptance: RequestIDAcceptance
    let echoesRequestID: Bool
    let tracing: TraceHandling
    /// Names of the fields that only we may set: of claims, and the request id.
    let vouchedFields: FixedArray<FixedArray<UInt8>>
    /// The lengths of their names, as bits: nearly every other field is told from all of them by its length alone.
    let vouchedLengths: UInt64
    /// Whether any listener says `Strict-Transport-Security`.
    let hasTransportSecurity: Bool
    /// Exchanges that began with this snapshot and are not over.
    var pins = 0

    public init(
        generation: Int, table: consuming RouteTable, routes: consuming FixedArray<RoutePlan>,
        services: consuming FixedArray<ServicePlan>, issuers: consuming FixedArray<IssuerPlan>,
        listeners: consuming FixedArray<ListenerPlan>, http: HTTPSettings, trustedProxies: [AddressRange],
        ipv6PrefixBits: Int, requestIDField: [UInt8], requestIDAcceptance: RequestIDAcceptance,
        echoesRequestID: Bool, tracing: TraceHandling, vouchedFields: [[UInt8]]
    ) {
        self.generation = generation
        self.table = table
        self.routes = routes
        self.services = services
        self.issuers = issuers
        var hasTransportSecurity = false
        for index in 0..<listeners.count where !listeners[index].transportSecurity.isEmpty {
            hasTransportSecurity = true
        }
        self.hasTransportSecurity = hasTransportSecurity
        self.listeners = listeners
        self.http = http
        self.trustedProxies = FixedArray(trustedProxies)
        clientBits = UInt8(clamping: min(ipv6PrefixBits, 128))
        self.requestIDField = FixedArray(requestIDField)
        requestIDStart = FixedArray(requestIDField + Array(": ".utf8))
        self.requestIDAcceptance = requestIDAcceptance
        self.echoesRequestID = echoesRequestID
        self.tracing = tracing
        self.vouchedFields = FixedArray(count: vouchedFields.count) { FixedArray(vouchedFields[$0]) }
        vouchedLengths = vouchedFields.reduce(0) { $0 | Snapshot.lengthBit($1.count) }
    }

    /// Longer names than 63 bytes share a bit.
    @inline(__always) static func lengthBit(_ length: Int) -> UInt64 { 1 &<< UInt64(min(length, 63)) }

    // Inlined, as whatever is asked of a snapshot for each request: a call would copy the whole of it for the callee.
    @inline(__always) func trusts(_ address: SocketAddress) -> Bool {
        if address.isUnix { return false }
        for index in 0..<trustedProxies.count where trustedProxies[index].contains(address) { return true }
        return false
    }

    /// Whether any service has the endpoint; with `identity`, secured just so.
    func uses(endpoint: Int, identity: UInt64? = nil) -> Bool {
        for service in 0..<services.count {
            for index in 0..<services[service].endpoints.count
            where services[service].endpoints[index].index == endpoint {
                let secured = services[service].endpoints[index].security.identity
                if identity == nil || identity == secured { return true }
            }
        }
        return false
    }

    /// The index of a listener by its process-wide label, `nil` when this snapshot no longer has it.
    @inline(__always) func listener(label: Int) -> Int? {
        for index in 0..<listeners.count where listeners[index].label == label { return index }
        return nil
    }
}
