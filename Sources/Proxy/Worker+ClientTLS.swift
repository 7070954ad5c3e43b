import HTTP
import HTTP1
import HTTP2
import LinuxIO
import Memory
import Reactor
import TLS
import Telemetry

// TLS of clients beyond the bytes: handshakes that fail, who a certificate says the client is, and what is told on every answer.
extension Worker {
    /// Failed handshakes that one worker may tell of in a second; as many in one burst.
    static var handshakesToldPerSecond: UInt64 { 10 }

    // MARK: Handshakes that fail

    /// Counts and tells why.
    @inline(never) mutating func handshakeFailed(
        _ id: SlabID, _ failure: TLSFailure, _ loop: borrowing EventLoop
    ) {
        settings.meters.count(Worker.kind(of: failure))
        pathBlock.removeAll()
        failure.appendText(to: &pathBlock)
        tellHandshake(id, loop)
    }

    /// The client did not come to an end in time.
    @inline(never) mutating func handshakeOverdue(_ id: SlabID, _ loop: borrowing EventLoop) {
        settings.meters.count(HandshakeFailure.timedOut)
        settings.meters.count(ReachedLimit.handshakeTimeout)
        pathBlock.removeAll()
        pathBlock.append("timed_out")
        tellHandshake(id, loop)
    }

    static func kind(of failure: TLSFailure) -> HandshakeFailure {
        switch failure {
        case .noSharedCipher: .noSharedCipher
        case .unsupportedVersion: .unsupportedVersion
        case .plainHTTP: .plainHTTP
        case .badRecord: .badRecord
        case .closedEarly: .closedEarly
        case .alertReceived: .alertReceived
        case .noSharedProtocol: .noSharedProtocol
        case .untrusted: .untrusted
        case .unknownServerName: .unknownServerName
        case .certificateMissing: .certificateMissing
        case .other: .other
        }
    }

    /// Leaves a line for the error log, with the reason in the scratch block; what is too much, or finds no room, is left out. A
    /// connection that never said a byte is a look at whether the port is open, and not worth one.
    private mutating func tellHandshake(_ id: SlabID, _ loop: borrowing EventLoop) {
        guard settings.tellsHandshakes, downstreams[id].tls?.hasHeard == true else { return }
        let interval = 1_000_000_000 / Worker.handshakesToldPerSecond
        let start = max(handshakeTime, loop.now)
        guard start &- loop.now < 1_000_000_000 else { return }
        handshakeTime = start &+ interval
        let reasonEnd = pathBlock.byteCount
        let peer = downstreams[id].peer
        if peer.isUnix { pathBlock.append("unix") } else { peer.appendText(to: &pathBlock) }
        let clientEnd = pathBlock.byteCount
        apart(&pathBlock, downstreams) { $1[id].appendServerName(to: &$0) }
        lineBlock.removeAll()
        let isWritten = Worker.encode(
            &events, wallMilliseconds: loop.wall / 1_000_000, listener: Int(downstreams[id].listenerLabel),
            texts: pathBlock, reasonEnd: reasonEnd, clientEnd: clientEnd, into: &lineBlock)
        if isWritten { _ = settings.events.ring.write(lineBlock.bytes) }
    }

    // Apart from the worker, so that the texts are a look at one block alone.
    private static func encode(
        _ encoder: inout EventLineEncoder, wallMilliseconds: UInt64, listener: Int, texts: borrowing Block,
        reasonEnd: Int, clientEnd: Int, into block: inout Block
    ) -> Bool {
        let bytes = texts.bytes
        return encoder.encode(
            handshakeAt: wallMilliseconds, listener: listener,
            client: bytes.extracting(reasonEnd..<clientEnd),
            serverName: bytes.extracting(clientEnd..<bytes.byteCount),
            reason: bytes.extracting(0..<reasonEnd), into: &block)
    }

    /// A request in clear on a TLS port is answered in kind, as by nginx: its client would see nothing but a reset.
    @inline(never) mutating func answerInClear(_ id: SlabID, _ loop: inout EventLoop) {
        downstreams[id].speakClear()
        requestHead.reset()
        guard let exchange = open(on: id, stream: nil, framing: .close, &loop) else {
            close(id, &loop)
            return
        }
        downstreams[id].exchange = exchange
        downstreams[id].closesAfterAnswer = true
        var inbound = ByteQueue()
        swap(&inbound, &downstreams[id].inbound)
        noteRefusedHead(exchange, inbound.firstBytes, &loop)
        swap(&inbound, &downstreams[id].inbound)
        perform(exchanges[exchange].machine.handle(.refused(.plainHTTP)), exchange, &loop)
    }

    // MARK: Requests

    /// Whether the request may come on this connection (RFC 9110 §7.4, §15.5.20): what was shown and asked for was so for the
    /// hosts of one certificate.
    @inline(never) mutating func coversAuthority(_ id: SlabID, _ bytes: RawSpan) -> Bool {
        guard !requestHead.authority.isEmpty else { return true }
        let authority = bytes[requestHead.authority]
        guard let host = Authority.split(authority)?.host else { return false }
        return downstreams[exchanges[id].downstream].covers(authority[host])
    }

    /// Whether a field's name is one of those that tell of a client's certificate, which only we may say: any that begins
    /// with `X-Client-Cert-`, whatever its case, `_` for `-` too.
    @inline(__always) static func isIdentity(_ name: RawSpan) -> Bool {
        name.byteCount > 14 && name[0] | 0x20 == 0x78 && hasIdentityPrefix(name)
    }

    @inline(never) private static func hasIdentityPrefix(_ name: RawSpan) -> Bool {
        let prefix: StaticString = "X-Client-Cert-"
        return FieldNames.equalsIgnoringCaseAndUnderscore(name.extracting(0..<14), known: prefix.utf8Span)
    }

    // MARK: Answers

    /// The listener whose `Strict-Transport-Security` goes on an answer, `nil` for none. It is never said in clear, where
    /// anybody could have said it (RFC 6797 §7.2).
    @inline(never) mutating func transportSecurityListener(_ id: SlabID) -> Int? {
        let downstream = exchanges[id].downstream
        guard downstreams[downstream].hasTLS,
            let listener = snapshots[current].listener(label: Int(downstreams[downstream].listenerLabel)),
            !snapshots[current].listeners[listener].transportSecurity.isEmpty
        else { return nil }
        return listener
    }

    @inline(never) mutating func writeTransportSecurity(_ writer: inout HeadWriter, _ id: SlabID) {
        guard let listener = transportSecurityListener(id) else { return }
        writer.field(
            "Strict-Transport-Security: ", snapshots[current].listeners[listener].transportSecurity.span)
    }

    @inline(never) mutating func addTransportSecurity(_ id: SlabID) {
        guard let listener = transportSecurityListener(id) else { return }
        let (downstream, snapshot) = (exchanges[id].downstream, current)
        apart(&downstreams, snapshots) {
            $0[downstream].session?.addField(
                "strict-transport-security", $1[snapshot].listeners[listener].transportSecurity.span)
        }
    }

    /// A client heeds the first of several lines alone (RFC 6797 §8.1), so that a service's own would stand before ours.
    @inline(never) mutating func dropTransportSecurity(_ id: SlabID, _ bytes: RawSpan) {
        guard transportSecurityListener(id) != nil else { return }
        for index in 0..<responseHead.fields.count
        where bytes[responseHead.fields[index].name].equalsIgnoringCase("strict-transport-security") {
            responseHead.fields.drop(index)
        }
    }
}
