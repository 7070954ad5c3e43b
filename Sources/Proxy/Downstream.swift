import HTTP
import HTTP1
import HTTP2
import LinuxIO
import Memory
import Reactor
import TLS
import Telemetry

/// Where a client's connection stands.
enum DownstreamPhase: UInt8 {
    /// The proxy in front has not yet said for whom it speaks.
    case preamble
    /// TLS is being agreed on.
    case handshake
    /// Plaintext that may be either protocol: the first bytes will tell.
    case undecided
    case http1
    case http2
    /// The last answer is written and the writing side shut down: what comes is thrown away, for a short while, so that
    /// the client reads the answer and not a reset.
    case lingering
}

/// One client's connection. It owns no block while it is idle.
struct Downstream: ~Copyable {
    // Idle connections are counted in thousands, so the narrow fields stand together.
    let descriptor: Descriptor
    /// Index of the listener's name in the process-wide table.
    let listenerLabel: Int32
    /// Who is at the other end: of the socket, or of the proxy in front that said so before its first byte.
    private(set) var peer: SocketAddress
    /// The address of `peer`, as every request of the connection tells it to a service; `unknown` where there is none (RFC 7239
    /// §6.2).
    private(set) var peerText = ShortText()
    private(set) var hasTLS: Bool
    /// Whether the client has shown a certificate, which was verified.
    private(set) var hasIdentity = false
    /// The proxy in front named nobody: what this connection says of others is not believed, though the proxy is trusted.
    private(set) var isUnnamed = false
    /// Where it is counted among those of its client, whatever a reload makes of who is one; -1 where it is not.
    var countSlot = -1
    /// What the handshake agreed on.
    var tlsVersion = AccessRecord.TLSVersion.none
    var phase: DownstreamPhase

    /// Whether the answer under way is the last on this connection.
    var closesAfterAnswer = false
    /// The end of the connection is the end of the last answer.
    var answersUntilEnd = false
    /// All is written: close when the kernel has taken it.
    var closesAfterFlush = false
    /// After the flush, shut down writing and linger.
    var lingersAfterFlush = false
    /// After the flush, shut down writing and read on: the service has ended its side of a tunnel.
    var endsWriting = false
    var hasSentGoAway = false
    /// Whether the second step, with the last stream's id, has been taken too.
    var hasSentLastGoAway = false
    var hasSaidGoodbye = false
    var mayHaveMore = false
    /// The last read filled all it was given: much is coming.
    var wasReadFull = false
    var isEnding = false
    var hasEnded = false
    /// It met a reset. The kernel tells of that once, and a read after it looks like a clean end.
    var isBroken = false
    var isDirty = false
    var isQueued = false
    var isBlocked = false
    /// There was no block to read into, since its rate was looked at last: what it sends waits for us, and is not judged.
    var wasStarved = false
    /// Watched for writing since a write was blocked.
    var watchesWriting = false
    /// For a connection that ends by a reset: how often it is still looked whether the client has received what was sent before.
    var resetLooks: UInt8 = 0

    /// Exchanges on streams of this connection.
    var openStreams: Int32 = 0
    var scannedBytes: Int32 = 0
    var lingeredBytes: Int32 = 0
    /// Bytes read in this turn.
    var turnBytes: Int32 = 0
    /// Exchanges that this connection began.
    var exchangeCount = 0

    var tls: TLSSession?
    var session: HTTP2Session?

    /// From the socket, encrypted.
    var ciphertext = ByteQueue()
    /// From the client, in clear.
    var inbound = ByteQueue()
    /// For the client, in clear.
    var plaintext = ByteQueue()
    /// For the socket, encrypted; empty on a plaintext connection, whose `plaintext` goes out as it is.
    var outbound = ByteQueue()

    /// The exchange under way (HTTP/1: one at a time).
    var exchange = SlabID.none

    var deadline = UInt64.max
    /// When a head of HTTP/2 that has begun to arrive must be whole.
    var headEnds = UInt64.max
    /// When it is looked at whether the client keeps its rate; `max` while nothing waits for it.
    var windowEnds = UInt64.max
    /// What the client had taken when the window began; -1 when that is not looked at in this window.
    var takenMark = -1
    /// What the client had taken when it was last seen to take nothing more.
    var blockedMark = 0
    /// Bytes that the kernel has taken from us.
    var sentBytes = 0
    var timer = TimerID.none
    var timerFires = UInt64.max

    init(
        descriptor: consuming Descriptor, listenerLabel: Int, peer: SocketAddress
    ) {
        self.descriptor = descriptor
        self.listenerLabel = Int32(listenerLabel)
        self.peer = peer
        hasTLS = false
        phase = .preamble
    }

    /// The proxy in front has spoken: from here on the connection is `client`'s, if it named one.
    mutating func take(client: SocketAddress?) {
        if let client { peer = client } else { isUnnamed = true }
    }

    /// Writes down who `peer` is, by way of an empty `scratch`.
    mutating func notePeer(_ scratch: inout Block) {
        if peer.isUnix { scratch.append("unknown") } else { peer.appendText(to: &scratch) }
        // No address is longer than 45 bytes.
        peerText = ShortText(scratch.bytes) ?? ShortText()
    }

    /// Begins what the listener speaks; bytes that have come already are its own.
    mutating func begin(tls: consuming TLSSession?, phase: DownstreamPhase) {
        hasTLS = tls != nil
        self.tls = tls
        self.phase = phase
        if hasTLS { ciphertext.append(contentsOf: &inbound) }
    }

    /// The handshake is done. Whoever the client's certificate says it is, it is on every request of this connection.
    mutating func establish() {
        tlsVersion = tls?.version == .tls12 ? .tls12 : .tls13
        hasIdentity = tls?.hasClientCertificate == true
    }

    /// The client spoke HTTP in clear where TLS was due: what has come is looked at as such, to be answered in kind.
    mutating func speakClear() {
        hasTLS = false
        tls = nil
        phase = .http1
        inbound.append(contentsOf: &ciphertext)
    }

    func appendServerName(to block: inout Block) { tls?.appendServerName(to: &block) }

    /// Whether the certificate that SNI chose is for this host.
    func covers(_ host: RawSpan) -> Bool { tls?.covers(host) ?? true }

    /// Says who the client is by its certificate.
    func writeIdentity(to writer: inout HeadWriter) { tls?.writeIdentity(to: &writer) }

    /// The client by its certificate, `nil` when it has shown none.
    @inline(never) func identityHash(_ hash: SipHash) -> (UInt64, UInt64)? {
        guard hasIdentity else { return nil }
        return tls?.clientHash(hash)
    }

    /// Bytes that are on their way to the client in our hands.
    var queuedBytes: Int { plaintext.byteCount &+ outbound.byteCount }

    /// Whether so much waits for the client that no further request of it is begun. Small answers count by their blocks.
    var isFull: Bool { queuedBytes >= Worker.sinkBytes || plaintext.blockCount >= 16 }

    /// When the connection's one timer has to fire next.
    var nextDeadline: UInt64 { min(deadline, min(windowEnds, headEnds)) }

    /// What the client's kernel has acknowledged. What lies in ours is not taken: the poller tells of room there in lumps
    /// of a third of a buffer, for which a slow but honest client can need minutes.
    var takenBytes: Int { sentBytes &- descriptor.unacknowledgedBytes }

    /// Nothing more will be written behind what is queued.
    var isLeaving: Bool { closesAfterFlush || lingersAfterFlush || endsWriting }

    /// Whether the client's end of the connection was no word of its: a reset, or an end without `close_notify` where there is
    /// TLS, so that anybody may have cut what it sent (RFC 8446 §6.1).
    var wasCut: Bool {
        mutating get { isBroken || hasTLS && tls?.inputEnd != .clean }
    }

    /// Whether the connection ends by a reset.
    var endsByReset: Bool { resetLooks > 0 }

    /// What a connection of HTTP/1.1 in clear has to say is what it says.
    var saysAsItIs: Bool { !hasTLS && phase != .http2 }

    /// Whether the socket has taken all that there was.
    var isFlushed: Bool { plaintext.isEmpty && outbound.isEmpty }

    // One read of the socket: into the clear on a plaintext connection, else to be decrypted.
    mutating func receive(isBody: Bool, from pool: borrowing BlockPool) -> IOStep {
        if hasTLS {
            return isBody
                ? descriptor.receiveBody(into: &ciphertext, from: pool)
                : descriptor.receive(into: &ciphertext, from: pool)
        }
        return isBody
            ? descriptor.receiveBody(into: &inbound, from: pool)
            : descriptor.receive(into: &inbound, from: pool)
    }

    mutating func handshake(from pool: borrowing BlockPool) -> TLSSession.HandshakeStep {
        tls?.handshake(ciphertext: &ciphertext, output: &outbound, pool: pool) ?? .done
    }

    /// Decrypts at most `limit` bytes.
    mutating func decrypt(limit: Int, from pool: borrowing BlockPool) -> TLSSession.ReadStep {
        tls?.read(ciphertext: &ciphertext, plaintext: &inbound, output: &outbound, pool: pool, limit: limit)
            ?? .progress(0)
    }

    /// Encrypts what is queued, if there is anything to encrypt it for.
    mutating func encrypt(limit: Int, from pool: borrowing BlockPool) -> TLSSession.WriteStep {
        tls?.write(plaintext: &plaintext, output: &outbound, pool: pool, limit: limit) ?? .progress(0)
    }

    mutating func sayGoodbye(from pool: borrowing BlockPool) {
        _ = tls?.shutdown(output: &outbound, pool: pool)
    }

    /// Hands to the kernel what it takes.
    mutating func send() -> IOStep {
        hasTLS ? descriptor.send(from: &outbound) : descriptor.send(from: &plaintext)
    }

    /// Frames of HTTP/2 that are ready, into the clear.
    mutating func writeFrames(limit: Int, from pool: borrowing BlockPool) -> WriteStep {
        session?.write(into: &plaintext, pool: pool, limit: limit) ?? .done
    }

    /// What is said last on a connection whose HTTP/2 session has failed.
    mutating func writeLastFrame(from pool: borrowing BlockPool) -> Bool {
        session?.writeLastFrame(into: &plaintext, pool: pool) ?? false
    }

    /// Gives what has come to the HTTP/2 session.
    mutating func readFrames(now: UInt64, from pool: borrowing BlockPool) -> ReceiveStep {
        while !inbound.isEmpty {
            let count = inbound.firstBytes.byteCount
            let step = apart(&session, inbound) { $0?.receive($1.firstBytes, now: now, pool: pool) ?? .ok }
            inbound.consume(count)
            if step != .ok { return step }
        }
        return .ok
    }

    func readHead(of stream: StreamID, into head: inout RequestHead) -> RequestHeadError? {
        session?.readHead(stream, into: &head) ?? nil
    }

    /// `false` when the head does not fit the block.
    func copyHead(of stream: StreamID, into block: inout Block) -> Bool {
        session?.appendHead(of: stream, to: &block) ?? false
    }

    /// Copies the trailers of a request and describes them. `false` when there are none or they are not valid.
    func copyTrailers(of stream: StreamID, into block: inout Block, fields: inout FieldTable) -> Bool {
        session?.appendTrailers(of: stream, to: &block, fields: &fields) ?? false
    }

    mutating func takeBody(
        of stream: StreamID, into queue: inout ByteQueue, limit: Int, _ pool: borrowing BlockPool
    ) -> Int {
        session?.takeBody(stream, into: &queue, limit: limit, pool: pool) ?? 0
    }
}

extension TLSSession {
    /// The lines that `Worker.isIdentity` knows by the beginning of their names. What is longer than a field may be is not said:
    /// the fingerprint always is.
    func writeIdentity(to writer: inout HeadWriter) {
        if clientSubject.byteCount > 0 { writer.field("X-Client-Cert-Subject: ", clientSubject) }
        if clientNames.byteCount > 0 { writer.field("X-Client-Cert-SAN: ", clientNames) }
        writer.field("X-Client-Cert-Fingerprint: ", clientFingerprint)
    }

    func clientHash(_ hash: SipHash) -> (UInt64, UInt64) { hash.hash128(clientFingerprint) }
}

extension HTTP2Session {
    func appendHead(of stream: StreamID, to block: inout Block) -> Bool {
        block.append(headBytes(stream)) == headBytes(stream).byteCount
    }

    func appendTrailers(of stream: StreamID, to block: inout Block, fields: inout FieldTable) -> Bool {
        guard readTrailers(stream, into: &fields) == nil else { return false }
        return block.append(trailerBytes(stream)) == trailerBytes(stream).byteCount
    }
}
