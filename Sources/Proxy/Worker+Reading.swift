import HTTP
import HTTP1
import HTTP2
import LinuxIO
import Memory
import Reactor
import TLS
import Telemetry

// From the socket to a request: reads, decrypts, and finds heads.
extension Worker {
    /// Goes on with a connection as far as its bytes, its sinks and its share of the turn allow.
    mutating func drive(_ id: SlabID, _ loop: inout EventLoop) {
        while downstreams.contains(id) {
            switch downstreams[id].phase {
            case .preamble:
                readPreamble(id, &loop)
                // What stands behind it is the client's to be looked at.
                guard downstreams.contains(id) else { return }
                if downstreams[id].phase != .preamble { continue }
            case .handshake:
                guard beginStep(id, &loop) else { return }
                handshake(id, &loop)
            case .undecided:
                decideProtocol(id, &loop)
                // What has come is the new protocol's to look at.
                if downstreams[id].phase != .undecided { continue }
            case .http1: processHTTP1(id, &loop)
            case .http2: processHTTP2(id, &loop)
            case .lingering: discardLingering(id)
            }
            guard downstreams.contains(id), wantsInput(id) else { return }
            if downstreams[id].hasTLS, decrypted(id, &loop) { continue }
            guard downstreams.contains(id), readOnce(id, &loop) else { return }
        }
    }

    /// Whether more bytes from the client could be used now.
    @inline(__always) private mutating func wantsInput(_ id: SlabID) -> Bool {
        switch downstreams[id].phase {
        case .preamble, .handshake, .undecided: return true
        case .lingering: return !downstreams[id].hasEnded
        case .http2:
            // A client that takes no answers gets no more requests in.
            return downstreams[id].queuedBytes < 4 * Worker.sinkBytes && !downstreams[id].closesAfterFlush
        case .http1:
            if downstreams[id].closesAfterFlush || downstreams[id].lingersAfterFlush { return false }
            let exchange = downstreams[id].exchange
            if exchange.isNone { return !downstreams[id].isFull }
            if exchanges[exchange].isTunnel {
                return !downstreams[id].hasEnded && !exchanges[exchange].isRequestPaused
            }
            if !exchanges[exchange].requestBody.isEnded, exchanges[exchange].keyWait == .none {
                return !exchanges[exchange].isRequestPaused
            }
            // The request is whole, or waits for a key. Read on only to learn whether the client is still there.
            return downstreams[id].isEnding && downstreams[id].inbound.byteCount < Worker.sinkBytes
        }
    }

    /// Decrypts what is at hand on a connection with TLS. `true` when there is something new to look at.
    private mutating func decrypted(_ id: SlabID, _ loop: inout EventLoop) -> Bool {
        guard downstreams[id].phase != .handshake else { return false }
        guard !downstreams[id].ciphertext.isEmpty || downstreams[id].tls?.hasPendingPlaintext == true else {
            return false
        }
        guard downstreams[id].turnBytes < Worker.turnBytes else {
            queue(downstream: id, &loop)
            return false
        }
        let step = downstreams[id].decrypt(limit: Worker.turnBytes, from: blocks)
        // A key update or an alert may have to be answered.
        if !downstreams[id].outbound.isEmpty { markDirty(downstream: id) }
        switch step {
        case .progress(let count): return count > 0
        case .closed:
            downstreams[id].hasEnded = true
            downstreams[id].mayHaveMore = false
            clientEnded(id, &loop)
            return false
        case .outOfBlocks:
            awaitBlocks(downstream: id, &loop)
            return false
        case .failed:
            close(id, &loop)
            return false
        }
    }

    /// One read of the socket. `true` when it brought something.
    @inline(__always) private mutating func readOnce(_ id: SlabID, _ loop: inout EventLoop) -> Bool {
        guard downstreams[id].mayHaveMore else { return false }
        guard downstreams[id].turnBytes < Worker.turnBytes else {
            queue(downstream: id, &loop)
            return false
        }
        guard mayRead || mayRead(from: id) else {
            downstreams[id].wasStarved = true
            awaitBlocks(downstream: id, &loop)
            return false
        }
        let exchange = downstreams[id].exchange
        // Over HTTP/2 nobody knows what comes next, but that as much came just before. Read a block at a time, an upload costs a
        // call, a turn through nghttp2 and a window update for each record of its TLS.
        let isBody =
            exchange.isNone
            ? downstreams[id].phase == .http2 && downstreams[id].wasReadFull
            : (exchanges[exchange].requestBody.remainingLength ?? 0) > 16384
        switch downstreams[id].receive(isBody: isBody, from: blocks) {
        case .bytes(let count):
            downstreams[id].turnBytes &+= Int32(count)
            let room =
                downstreams[id].hasTLS
                ? downstreams[id].ciphertext.tailRoom : downstreams[id].inbound.tailRoom
            downstreams[id].wasReadFull = room == 0 || count > 16384
            // Edge-triggered: a short read has emptied the socket, unless the end of the stream stands behind it.
            if room > 0, !downstreams[id].isEnding { downstreams[id].mayHaveMore = false }
            return true
        case .wouldBlock:
            downstreams[id].mayHaveMore = false
            return false
        case .ended:
            downstreams[id].mayHaveMore = false
            downstreams[id].hasEnded = true
            clientEnded(id, &loop)
            return false
        case .outOfBlocks:
            awaitBlocks(downstream: id, &loop)
            return false
        case .failed:
            downstreams[id].mayHaveMore = false
            downstreams[id].hasEnded = true
            downstreams[id].isBroken = true
            if downstreams[id].phase == .http2, outlivesClient(id, &loop) { return false }
            close(id, &loop)
            return false
        }
    }

    /// The client sends no more. What it asked for whole is still answered only if nothing is under way: like nginx,
    /// we take the end of its stream during an exchange for its going away.
    private mutating func clientEnded(_ id: SlabID, _ loop: inout EventLoop) {
        switch downstreams[id].phase {
        case .preamble:
            // A connection without a byte is a look at whether the port is open: no mistake of anybody's.
            if downstreams[id].inbound.isEmpty { close(id, &loop) } else { refusePreamble(id, &loop) }
        case .handshake:
            handshakeFailed(id, .closedEarly, loop)
            close(id, &loop)
        case .http1 where isTunnel(id):
            // An end passes through a tunnel, behind the bytes before it.
            pumpTunnelUp(downstreams[id].exchange, &loop)
        case .http1 where !downstreams[id].isFlushed && downstreams[id].exchange.isNone:
            // The last answer is still on its way.
            downstreams[id].closesAfterFlush = true
        case .http2 where outlivesClient(id, &loop): return
        case .undecided, .http1, .http2, .lingering:
            close(id, &loop)
        }
    }

    /// Whether this turn may still do a step of a handshake that has something to work on: a signature takes as long as fifty
    /// requests. If not, the connection waits for the next.
    private mutating func beginStep(_ id: SlabID, _ loop: inout EventLoop) -> Bool {
        guard !downstreams[id].ciphertext.isEmpty else { return true }
        guard handshakesLeft > 0 else {
            queue(downstream: id, &loop)
            return false
        }
        handshakesLeft &-= 1
        return true
    }

    private mutating func handshake(_ id: SlabID, _ loop: inout EventLoop) {
        let step = downstreams[id].handshake(from: blocks)
        if !downstreams[id].outbound.isEmpty { markDirty(downstream: id) }
        switch step {
        case .wantsRead: return
        case .outOfBlocks: awaitBlocks(downstream: id, &loop)
        case .failed(let failure):
            handshakeFailed(id, failure, loop)
            handshakesInFlight &-= 1
            if failure == .plainHTTP {
                answerInClear(id, &loop)
                return
            }
            // The alert is sent, then all is over; `lingering` reads nothing more into it.
            downstreams[id].phase = .lingering
            downstreams[id].closesAfterFlush = true
            downstreams[id].mayHaveMore = false
            downstreams[id].hasEnded = true
            downstreams[id].ciphertext.removeAll()
            markDirty(downstream: id)
        case .done:
            settings.meters.countHandshake()
            handshakesInFlight &-= 1
            // A handshake step takes as long as fifty requests.
            loop.readClocks()
            setDeadline(id, loop.now &+ snapshots[current].http.idleTimeout, &loop)
            downstreams[id].establish()
            if downstreams[id].tls?.applicationProtocol == .h2 {
                beginHTTP2(id, &loop)
            } else {
                downstreams[id].phase = .http1
            }
        }
    }

    /// HTTP/2 with prior knowledge begins with a preface that no request of HTTP/1.1 begins with (RFC 9113 §3.4).
    private mutating func decideProtocol(_ id: SlabID, _ loop: inout EventLoop) {
        let preface = HTTP2Session.preface.utf8Span
        var inbound = ByteQueue()
        swap(&inbound, &downstreams[id].inbound)
        let count = min(inbound.firstBytes.byteCount, preface.byteCount)
        let isSame = inbound.firstBytes.extracting(0..<count).equals(preface.extracting(0..<count))
        swap(&inbound, &downstreams[id].inbound)
        if !isSame {
            downstreams[id].phase = .http1
        } else if count >= 4 {
            // Four bytes of it are enough to know: no method is "PRI ".
            beginHTTP2(id, &loop)
        }
    }

    private mutating func discardLingering(_ id: SlabID) {
        let count = downstreams[id].inbound.byteCount
        downstreams[id].inbound.removeAll()
        downstreams[id].lingeredBytes &+= Int32(count)
        // Enough is read. But to close now would send a reset, which can overtake the answer in a client that is still
        // busy sending: it gets what is left of the time.
        if downstreams[id].lingeredBytes > Worker.lingerBytes { downstreams[id].hasEnded = true }
    }

    // MARK: HTTP/1

    private mutating func processHTTP1(_ id: SlabID, _ loop: inout EventLoop) {
        while downstreams.contains(id), downstreams[id].phase == .http1 {
            let exchange = downstreams[id].exchange
            if !exchange.isNone {
                pumpRequest(exchange, &loop)
                return
            }
            if downstreams[id].closesAfterFlush || downstreams[id].lingersAfterFlush { return }
            guard !downstreams[id].inbound.isEmpty, !downstreams[id].isFull else { return }
            if checksLeft <= 0 {
                queue(downstream: id, &loop)
                return
            }
            guard readHead(id, &loop) else { return }
        }
    }

    /// Looks for a head in what has come. `true` when an exchange has begun.
    private mutating func readHead(_ id: SlabID, _ loop: inout EventLoop) -> Bool {
        var inbound = ByteQueue()
        swap(&inbound, &downstreams[id].inbound)
        var scanned = Int(downstreams[id].scannedBytes)
        // A first look does it anyhow.
        if scanned > 0 { requestHead.reset() }
        let limits = snapshots[current].http.limits
        var step = RequestParser.parse(
            inbound.firstBytes, limits: limits, scanned: &scanned, into: &requestHead)
        if case .incomplete = step, !inbound.isContiguous {
            // The head straddles blocks. What stands behind it may be more than any block holds.
            let isGathered = inbound.gatherFirst(in: largeBlocks)
            if isGathered {
                step = RequestParser.parse(
                    inbound.firstBytes, limits: limits, scanned: &scanned, into: &requestHead)
            }
            if case .incomplete = step, !isGathered || !inbound.isContiguous {
                // More than a large block holds is over every limit of a head.
                swap(&inbound, &downstreams[id].inbound)
                refuseHead(isGathered ? .headTooLarge : .overloaded, on: id, &loop)
                return false
            }
        }
        switch step {
        case .incomplete:
            if downstreams[id].scannedBytes == 0 {
                // The clock of a head runs from its first byte, however it drips.
                setReadDeadline(id, loop.now &+ snapshots[current].http.headTimeout, &loop)
            }
            downstreams[id].scannedBytes = Int32(max(scanned, 1))
            swap(&inbound, &downstreams[id].inbound)
            return false
        case .refused(let error):
            downstreams[id].scannedBytes = 0
            // Where the refused message ends nobody knows, so that it has not ended: the rest of it is thrown away while
            // the client reads the answer, which a reset would take from it (RFC 9112 §9.6).
            let exchange = open(on: id, stream: nil, framing: .close, &loop)
            if let exchange {
                downstreams[id].exchange = exchange
                downstreams[id].closesAfterAnswer = true
                noteRefusedHead(exchange, inbound.firstBytes, &loop)
                perform(exchanges[exchange].machine.handle(.refused(Refusal(error))), exchange, &loop)
            } else {
                close(id, &loop)
            }
            return false
        case .complete(let count):
            downstreams[id].scannedBytes = 0
            guard let exchange = open(on: id, stream: nil, framing: requestHead.framing, &loop) else {
                close(id, &loop)
                return false
            }
            downstreams[id].exchange = exchange
            downstreams[id].exchangeCount &+= 1
            downstreams[id].closesAfterAnswer = !requestHead.isPersistent || isDraining
            if exchanges[exchange].requestBody.isEnded {
                setReadDeadline(id, .max, &loop)
            } else {
                setReadDeadline(id, loop.now &+ snapshots[current].http.bodyIdleTimeout, &loop)
            }
            let refusal = admit(exchange, inbound.firstBytes.extracting(0..<count), &loop)
            if exchanges[exchange].keyWait != .none {
                // It is judged anew by its head, which stays where it is; we are the ones who are waited for.
                exchanges[exchange].waitingHeadBytes = count
                swap(&inbound, &downstreams[id].inbound)
                setReadDeadline(id, .max, &loop)
                return true
            }
            // The head is used up: what follows it is the body, and belongs to the connection again.
            inbound.consume(count)
            swap(&inbound, &downstreams[id].inbound)
            proceed(exchange, refusal, &loop)
            return true
        }
    }

    /// Refuses what never became a head; the bytes that came of it are in `inbound`.
    mutating func refuseHead(_ reason: Refusal, on id: SlabID, _ loop: inout EventLoop) {
        guard let exchange = open(on: id, stream: nil, framing: .close, &loop) else {
            close(id, &loop)
            return
        }
        downstreams[id].exchange = exchange
        downstreams[id].closesAfterAnswer = true
        perform(exchanges[exchange].machine.handle(.refused(reason)), exchange, &loop)
    }
}
