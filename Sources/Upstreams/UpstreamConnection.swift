public import HTTP2
public import LinuxIO
public import Memory
internal import Reactor
public import TLS

/// Where a connection to an endpoint stands.
@frozen public enum UpstreamPhase: UInt8, Sendable {
    /// The connect is under way.
    case connecting
    /// The connection stands and TLS is being agreed on.
    case handshaking
    /// HTTP/2: the connection stands and the service's SETTINGS have not come.
    case greeting
    /// HTTP/2: it carries many exchanges, or none.
    case shared
    /// It carries the exchange of its holder.
    case leased
    /// It waits in its endpoint's pool.
    case idle
}

/// One connection to an endpoint. It owns no block while it is idle.
public struct UpstreamConnection: ~Copyable {
    public let descriptor: Descriptor
    public let endpoint: Int
    public internal(set) var service: Int
    public internal(set) var phase: UpstreamPhase
    /// The exchange that has leased it, `none` while idle.
    public internal(set) var holder: SlabID
    /// Whether an exchange before this one was carried, so that the peer may have closed it meanwhile.
    public var isReused = false

    /// What the connection's security was agreed with; 0 for none.
    public let identity: UInt64
    private var tls: TLSSession?
    /// Whether it speaks HTTP/2.
    public let isHTTP2: Bool

    /// The streams of HTTP/2.
    public var session: HTTP2Session?
    /// Exchanges that have a stream on it.
    public internal(set) var streams = 0
    /// In its endpoint's list of those that take streams.
    public internal(set) var isListed = false
    /// Its end was seen; what is left of whole answers is still handed on.
    public var isLost = false
    /// To be closed at its next flush, if it carries nothing by then.
    public var retires = false
    /// When bytes came last, monotonic nanoseconds.
    public var lastReceived: UInt64 = 0
    /// The last read brought so much that the next is a large one.
    public var readsLarge = false

    /// Read and not yet used.
    public var inbound = ByteQueue()
    /// To be written.
    public var outbound = ByteQueue()
    /// The holder's request is to be written from where the exchange keeps it, before `outbound`; nothing of it was so far. Never
    /// with TLS, which takes what it encrypts.
    public var owesRequest = false
    /// From the socket, encrypted; and for the socket. Empty on a connection without TLS.
    private var ciphertext = ByteQueue()
    private var sealed = ByteQueue()
    /// Bytes that the kernel, or TLS, took since the lease; 0 means that the request surely did not arrive.
    public var sentBytes = 0
    /// Bytes that came since the lease; 0 on a kept connection that ends means that the service had closed it before.
    public var receivedBytes = 0
    /// How far the search for the end of the response head has come.
    public var scannedBytes = 0
    /// The kernel may hold more to read.
    public var mayHaveMore = false
    /// The peer has closed, or the connection is broken: read on to the end even after a short read.
    public var isEnding = false
    /// A write has met a reset. The kernel tells of it once, and a read after that looks like a clean end.
    public var isBroken = false
    private var hasSaidGoodbye = false
    /// It carries a tunnel, and is counted as one.
    var isTunnel = false
    /// The end of the stream has been read.
    public var hasEnded = false
    /// On the list of those to be flushed at the end of the turn.
    public var isDirty = false
    /// On the ready list of the loop, for the next turn.
    public var isQueued = false
    /// Bytes read in this turn.
    public var turnBytes = 0
    /// The kernel takes no more until the poller says so.
    public var isBlocked = false

    /// When the current wait is over, monotonic nanoseconds; `.max` when nothing is waited for.
    public internal(set) var deadline = UInt64.max
    var timer = TimerID.none
    var timerFires = UInt64.max
    /// Its neighbours in the list of its endpoint that it stands in, if in any.
    var previous = SlabID.none
    var next = SlabID.none

    init(
        descriptor: consuming Descriptor, endpoint: Int, service: Int, holder: SlabID, identity: UInt64 = 0,
        tls: consuming TLSSession? = nil, isHTTP2: Bool = false
    ) {
        self.descriptor = descriptor
        self.endpoint = endpoint
        self.service = service
        self.holder = holder
        self.identity = identity
        self.tls = tls
        self.isHTTP2 = isHTTP2
        phase = .connecting
    }

    @inlinable public var hasTLS: Bool { identity != 0 }

    /// Reads once; the phase of the exchange says whether a body is expected. A connection with TLS then decrypts.
    public mutating func receive(isBody: Bool, from pool: borrowing BlockPool) -> IOStep {
        if hasTLS { return receiveSealed(isBody: isBody, from: pool) }
        return isBody
            ? descriptor.receiveBody(into: &inbound, from: pool)
            : descriptor.receive(into: &inbound, from: pool)
    }

    @inline(never) private mutating func receiveSealed(isBody: Bool, from pool: borrowing BlockPool) -> IOStep
    {
        isBody
            ? descriptor.receiveBody(into: &ciphertext, from: pool)
            : descriptor.receive(into: &ciphertext, from: pool)
    }

    /// Whether the last read has filled all the room that it had, so that the kernel may hold more.
    public var wasReadFull: Bool { (hasTLS ? ciphertext.tailRoom : inbound.tailRoom) == 0 }

    /// The kernel takes nothing any more: what waits is dropped, but if nothing was ever taken it is kept for another try.
    public mutating func outboundFailed() {
        guard sentBytes > 0 else { return }
        outbound.removeAll()
        sealed.removeAll()
    }

    /// Writes what waits, as much as the kernel takes.
    public mutating func flush(from pool: borrowing BlockPool) -> IOStep {
        if hasTLS { return flushSealed(from: pool) }
        let step = descriptor.send(from: &outbound)
        if case .bytes(let count) = step { sentBytes &+= count }
        return step
    }

    /// Writes of the request that is owed what the kernel takes at once. What it leaves goes to `outbound`, and may find no block
    /// there.
    public mutating func send(_ request: RawSpan, from pool: borrowing BlockPool) -> IOStep {
        let step = descriptor.send(request)
        guard case .bytes(let count) = step else { return step }
        owesRequest = false
        sentBytes &+= count
        guard count < request.byteCount else { return step }
        let rest = request.extracting(count..<request.byteCount)
        return outbound.append(rest, from: pool) ? step : .outOfBlocks
    }

    /// Whether anything waits to be written.
    public var hasOutput: Bool { owesRequest || !outbound.isEmpty || !sealed.isEmpty }

    /// Whether nothing is under way in either direction.
    public var isQuiet: Bool {
        mutating get {
            guard inbound.isEmpty, outbound.isEmpty, !owesRequest else { return false }
            return !hasTLS || sealed.isEmpty && !hasCiphertext
        }
    }
}

// MARK: TLS

extension UpstreamConnection {
    /// Bytes that are encrypted at once.
    private static var sealedBytes: Int { 65536 }

    @inline(never) private mutating func flushSealed(from pool: borrowing BlockPool) -> IOStep {
        if !outbound.isEmpty, sealed.byteCount < UpstreamConnection.sealedBytes {
            let before = outbound.byteCount
            let step = tls?.write(
                plaintext: &outbound, output: &sealed, pool: pool, limit: UpstreamConnection.sealedBytes)
            // What was encrypted cannot be sent again, whether the kernel took it or not.
            sentBytes &+= before &- outbound.byteCount
            switch step {
            case .progress: break
            case .outOfBlocks: if sealed.isEmpty { return .outOfBlocks }
            case .failed, nil: return .ended
            }
        }
        return descriptor.send(from: &sealed)
    }

    /// Says `close_notify`, once, where there is TLS: nothing more will be written. `false` when it has to be flushed first, or
    /// called again for want of a block.
    public mutating func sayGoodbye(from pool: borrowing BlockPool) -> Bool {
        guard hasTLS, !hasSaidGoodbye else { return !hasOutput }
        hasSaidGoodbye = tls?.shutdown(output: &sealed, pool: pool) ?? true
        return hasSaidGoodbye && !hasOutput
    }

    /// Whether it carries nothing and could: of HTTP/2 also where its end was seen.
    public var isIdle: Bool { phase == .idle || phase == .shared && streams == 0 }

    /// Says `close_notify` (RFC 8446 §6.1) on a connection that carries nothing and is closed next: one attempt, since whoever
    /// does not take it learns by the end of the connection.
    mutating func sayFarewell(from pool: borrowing BlockPool) {
        guard hasTLS, !isLost else { return }
        _ = sayGoodbye(from: pool)
        _ = descriptor.send(from: &sealed)
    }

    /// Hands to the kernel what the handshake has written.
    public mutating func flushHandshake() -> IOStep { descriptor.send(from: &sealed) }

    public mutating func handshake(from pool: borrowing BlockPool) -> TLSSession.HandshakeStep {
        tls?.handshake(ciphertext: &ciphertext, output: &sealed, pool: pool) ?? .failed(.closedEarly)
    }

    /// What ALPN chose. After the handshake.
    public var applicationProtocol: ApplicationProtocol {
        mutating get { tls?.applicationProtocol ?? .none }
    }

    /// Whether there is something to decrypt.
    public var hasCiphertext: Bool {
        mutating get {
            if !ciphertext.isEmpty { return true }
            return tls?.hasPendingPlaintext ?? false
        }
    }

    /// Decrypts at most `limit` bytes into `inbound`.
    public mutating func decrypt(limit: Int, from pool: borrowing BlockPool) -> TLSSession.ReadStep {
        tls?.read(ciphertext: &ciphertext, plaintext: &inbound, output: &sealed, pool: pool, limit: limit)
            ?? .failed(.closedEarly)
    }

    /// Whether the end of the transport came without `close_notify`: what was received may have been cut by anybody.
    public var wasCutShort: Bool {
        mutating get {
            guard hasTLS else { return false }
            return tls?.inputEnd != .clean
        }
    }
}
