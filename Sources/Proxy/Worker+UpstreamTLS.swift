import LinuxIO
import Memory
import Reactor
import TLS
import Telemetry
import Upstreams

// TLS to services: the handshake, which is a part of the connect, and what has come encrypted.
extension Worker {
    /// Warnings about services that one worker may write in a second; as many in one burst.
    static var warningsPerSecond: UInt64 { 10 }

    /// Goes on with the handshake of a connection that was just made.
    mutating func driveHandshake(_ id: SlabID, _ loop: inout EventLoop) {
        while true {
            let step = pools.connections[id].handshake(from: blocks)
            if pools.connections[id].hasOutput, case .failed = pools.connections[id].flushHandshake() {
                handshakeFailed(id, .closedEarly, &loop)
                return
            }
            switch step {
            case .done:
                loop.readClocks()
                finishHandshake(id, &loop)
                return
            case .failed(let failure):
                handshakeFailed(id, failure, &loop)
                return
            case .outOfBlocks:
                awaitBlocks(upstream: id, &loop)
                return
            case .wantsRead: break
            }
            switch receiveFromService(id, isBody: false, isLong: false, &loop) {
            case .bytes: continue
            case .paused: return
            case .ended, .broken:
                handshakeFailed(id, .closedEarly, &loop)
                return
            }
        }
    }

    private mutating func finishHandshake(_ id: SlabID, _ loop: inout EventLoop) {
        // A service of HTTP/1 need not know ALPN; one of HTTP/2 must have chosen it (RFC 9113 §3.2).
        let chosen = pools.connections[id].applicationProtocol
        guard pools.connections[id].isHTTP2 ? chosen == .h2 : chosen != .h2 else {
            handshakeFailed(id, .noSharedProtocol, &loop)
            return
        }
        beginExchange(on: id, &loop)
    }

    /// No byte of a request was written: another try may be made.
    @inline(never) private mutating func handshakeFailed(
        _ id: SlabID, _ failure: TLSFailure, _ loop: inout EventLoop
    ) {
        warn(about: id, failure, loop)
        connectFailed(id, .upstreamTLS, &loop)
    }

    /// Leaves a line for the error log; what is too much, or finds no room, is left out.
    private mutating func warn(about id: SlabID, _ failure: TLSFailure, _ loop: borrowing EventLoop) {
        let interval = 1_000_000_000 / Worker.warningsPerSecond
        let start = max(warningTime, loop.now)
        guard settings.events.isOn, start &- loop.now < 1_000_000_000 else { return }
        warningTime = start &+ interval
        pathBlock.removeAll()
        failure.appendText(to: &pathBlock)
        lineBlock.removeAll()
        let service = pools.connections[id].service
        let endpoint = pools.connections[id].endpoint
        let milliseconds = loop.wall / 1_000_000
        let isWritten = Worker.encode(
            &events, wallMilliseconds: milliseconds, service: service, endpoint: endpoint, reason: pathBlock,
            into: &lineBlock)
        if isWritten { _ = settings.events.ring.write(lineBlock.bytes) }
    }

    // Apart from the worker, so that the text is a look at one block alone.
    private static func encode(
        _ encoder: inout EventLineEncoder, wallMilliseconds: UInt64, service: Int, endpoint: Int,
        reason: borrowing Block, into block: inout Block
    ) -> Bool {
        encoder.encode(
            warning: "upstream_tls_failed", wallMilliseconds: wallMilliseconds, service: service,
            endpoint: endpoint, reason: reason.bytes, into: &block)
    }

    // MARK: Afterwards

    /// Whether what has come on an idle connection is only TLS's own: session tickets come when the service likes
    /// (RFC 8446 §4.6.1).
    @inline(never) mutating func isOnlySecurity(_ id: SlabID) -> Bool {
        guard pools.connections[id].hasTLS else { return false }
        while true {
            switch pools.connections[id].receive(isBody: false, from: blocks) {
            case .wouldBlock: return true
            case .bytes: break
            case .ended, .outOfBlocks, .failed: return false
            }
            guard case .progress(0) = pools.connections[id].decrypt(limit: 1, from: blocks) else {
                return false
            }
            // An answer to a key update would have to be flushed; an idle connection is not worth it.
            guard !pools.connections[id].hasOutput else { return false }
            if pools.connections[id].isQuiet, !pools.connections[id].wasReadFull { return true }
        }
    }
}
