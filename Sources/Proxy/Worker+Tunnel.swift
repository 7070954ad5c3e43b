import Cryptography
import HTTP
import HTTP1
import HTTP2
import LinuxIO
import Memory
import Reactor
import Upstreams

// WebSockets: from a handshake over HTTP/1.1 (RFC 6455) or over HTTP/2 (RFC 8441) to a service that speaks HTTP/1.1,
// and from its 101 on, bytes both ways.
extension Worker {
    // MARK: The handshake

    /// Takes down what the answer must prove. The fields that end here have been dropped. `nil` when the request may go on.
    mutating func prepareTunnel(_ id: SlabID, _ bytes: RawSpan) -> Refusal? {
        // Tunnels lead to services of HTTP/1.1 alone.
        if exchanges[id].isToHTTP2 { return .notImplemented }
        let isStream = exchanges[id].stream != nil
        for index in 0..<requestHead.fields.count {
            guard requestHead.fields[index].known == .other else { continue }
            let name = bytes[requestHead.fields[index].name]
            guard WebSocketHandshake.isOfHandshake(name) else { continue }
            // A handshake whose Connection takes its own fields away would reach the service as another one.
            if requestHead.fields[index].isDropped { return .badRequest }
            // RFC 8441 §5: over HTTP/2 there is no key; the one for the service is ours.
            if isStream, name.equalsIgnoringCase("sec-websocket-key") { requestHead.fields.drop(index) }
        }
        if isStream {
            let start = exchanges[id].note.byteCount
            guard WebSocketKey.append(to: &exchanges[id].note, from: &random) else { return .overloaded }
            exchanges[id].webSocketKey = ByteRange(start: start, end: exchanges[id].note.byteCount)
        } else {
            exchanges[id].webSocketKey = exchanges[id].keep(
                bytes[requestHead.webSocketKey], limit: WebSocketKey.keyCount)
        }
        exchanges[id].asksWebSocket = true
        return nil
    }

    /// The fields of the handshake that are ours to say to the service (RFC 9110 §7.8).
    mutating func writeUpgrade(_ writer: inout HeadWriter, _ id: SlabID) {
        writer.text("Connection: Upgrade\r\nUpgrade: websocket\r\n")
        guard exchanges[id].stream != nil else { return }
        writer.field("Sec-WebSocket-Key: ", exchanges[id].note.bytes[exchanges[id].webSocketKey])
    }

    /// Whether a final head that is no 101 would be taken for another one by the client: to an Extended CONNECT, any 2xx
    /// says that the tunnel stands (RFC 8441 §4), and a service that answers a handshake with 200 has opened none.
    @inline(__always) mutating func isMistakable(_ id: SlabID, status: Int) -> Bool {
        exchanges[id].asksWebSocket && exchanges[id].stream != nil && status >= 200 && status < 300
    }

    /// A 101 has come, of `headCount` bytes at the beginning of `inbound`, which is the connection's: hands it to the client's
    /// side and opens the tunnel, if it was asked for and is valid.
    mutating func openTunnel(
        _ id: SlabID, _ connection: SlabID, _ inbound: inout ByteQueue, headCount: Int,
        _ loop: inout EventLoop
    ) {
        guard let line = acceptedLine(id, inbound.firstBytes.extracting(0..<headCount)) else {
            perform(exchanges[id].machine.handle(.responseBroken(.upstreamInvalid)), id, &loop)
            return
        }
        guard pools.becomeTunnel(connection) else {
            perform(exchanges[id].machine.handle(.refused(.upstreamOverloaded)), id, &loop)
            return
        }
        let downstream = exchanges[id].downstream
        let isStream = exchanges[id].stream != nil
        exchanges[id].facts.firstByte = loop.now
        dropVouchedResponse(id, inbound.firstBytes)
        let isForwarded =
            isStream
            ? forwardTunnelStreamHead(id, inbound.firstBytes, acceptLine: line)
            : forwardTunnelHead(id, inbound.firstBytes)
        guard isForwarded else {
            perform(exchanges[id].machine.handle(.refused(.overloaded)), id, &loop)
            return
        }
        guard exchanges[id].machine.handle(.tunnelOpened) == .openTunnel else { return }
        exchanges[id].isTunnel = true
        exchanges[id].hasAnswered = true
        exchanges[id].facts.status = 101
        exchanges[id].request.removeAll()
        exchanges[id].deadline = .max
        exchanges[id].idleTimeout = snapshots[exchanges[id].snapshot].http.webSocketIdleTimeout
        unpin(id)
        inbound.consume(headCount)
        swap(&inbound, &pools.connections[connection].inbound)
        pools.connections[connection].scannedBytes = 0
        noteMove(id, connection, &loop)
        pumpTunnelDown(id, connection, &loop)
        if isStream {
            pumpTunnelUp(id, &loop)
        } else {
            downstreams[downstream].closesAfterAnswer = true
            setDeadline(downstream, .max, &loop)
            // What the client has sent since its handshake has waited, here or in the kernel.
            queue(downstream: downstream, &loop)
        }
    }

    /// The line of a valid Accept in `responseHead`, whose fields that end here are dropped; `nil` when no tunnel may be opened.
    private mutating func acceptedLine(_ id: SlabID, _ bytes: RawSpan) -> Int? {
        guard exchanges[id].asksWebSocket,
            let line = WebSocketHandshake.acceptLine(of: responseHead, bytes: bytes),
            HopByHop.drop(in: &responseHead.fields, bytes: bytes), !responseHead.fields[line].isDropped
        else { return nil }
        // A length, be it 0, has no place in a 101, and none in the 200 that a CONNECT gets (RFC 9110 §8.6, §9.3.6).
        if let length = responseHead.fields.firstIndex(of: .contentLength) {
            responseHead.fields.drop(length)
        }
        let value = bytes[responseHead.fields[line].value]
        let isAccepted = apart(&webSocketHash, exchanges) {
            WebSocketKey.isAccepted($1[id].note.bytes[$1[id].webSocketKey], by: value, &$0)
        }
        return isAccepted ? line : nil
    }

    private mutating func forwardTunnelHead(_ id: SlabID, _ bytes: RawSpan) -> Bool {
        let downstream = exchanges[id].downstream
        guard var writer = HeadWriter(from: largeBlocks) else { return false }
        writer.statusLine(101)
        writer.fields(responseHead.fields, of: bytes, isText: true)
        writer.text("Connection: Upgrade\r\nUpgrade: websocket\r\n")
        writeOwnFields(&writer, id)
        writer.end()
        guard writer.finish(into: &downstreams[downstream].plaintext) else { return false }
        markDirty(downstream: downstream)
        return true
    }

    /// RFC 8441 §5: 101 becomes 200, and Sec-WebSocket-Accept, which answers no key of the client's, is left out.
    private mutating func forwardTunnelStreamHead(_ id: SlabID, _ bytes: RawSpan, acceptLine: Int) -> Bool {
        let downstream = exchanges[id].downstream
        guard let stream = exchanges[id].stream else { return false }
        responseHead.fields.drop(acceptLine)
        exchanges[id].responseFraming = .frames
        downstreams[downstream].session?.beginResponse(status: 200)
        addStreamFields(id)
        downstreams[downstream].session?.submitResponse(
            stream, fields: responseHead.fields, bytes: bytes, endsStream: false)
        downstreams[downstream].session?.openTunnel(stream)
        markDirty(downstream: downstream)
        return true
    }

    // MARK: Bytes

    /// From the client to the service, as far as there is room.
    mutating func pumpTunnelUp(_ id: SlabID, _ loop: inout EventLoop) {
        guard !exchanges[id].machine.hasRequestEnded else { return }
        let downstream = exchanges[id].downstream
        let connection = exchanges[id].upstream
        let before = pools.connections[connection].outbound.byteCount
        let room = max(Worker.sinkBytes &- before, 0)
        let isMoreLeft: Bool
        let hasEnded: Bool
        if let stream = exchanges[id].stream {
            let waiting = downstreams[downstream].session?.bodyCount(stream) ?? 0
            let taken = downstreams[downstream].takeBody(
                of: stream, into: &pools.connections[connection].outbound, limit: min(room, waiting), blocks)
            exchanges[id].owedCredit &+= taken
            returnCredit(id)
            isMoreLeft = taken < waiting
            hasEnded =
                downstreams[downstream].session?.hasRequestEnded(stream) == true
                || downstreams[downstream].hasEnded
        } else {
            let count = min(room, downstreams[downstream].inbound.byteCount)
            // Without a block for the last piece of it, that waits for the flush of what is there.
            _ = pools.connections[connection].outbound.append(
                first: count, of: &downstreams[downstream].inbound, from: blocks)
            isMoreLeft = !downstreams[downstream].inbound.isEmpty
            hasEnded = downstreams[downstream].hasEnded
        }
        let moved = pools.connections[connection].outbound.byteCount &- before
        if moved > 0 {
            exchanges[id].facts.bytesIn &+= moved
            markDirty(upstream: connection)
            noteMove(id, connection, &loop)
        }
        exchanges[id].isRequestPaused = isMoreLeft
        guard hasEnded, !isMoreLeft else { return }
        _ = exchanges[id].machine.handle(.requestEnded)
        // The flush passes the end on, behind the last byte.
        markDirty(upstream: connection)
    }

    /// From the service to the client, as far as there is room.
    mutating func pumpTunnelDown(_ id: SlabID, _ connection: SlabID, _ loop: inout EventLoop) {
        let downstream = exchanges[id].downstream
        exchanges[id].isResponsePaused = false
        if downstreams[downstream].phase == .lingering {
            // The client is gone; all that its service still says is nobody's.
            pools.connections[connection].inbound.removeAll()
            return
        }
        let held = pools.connections[connection].inbound.byteCount
        guard held > 0 else { return }
        let room = responseRoom(id)
        guard room > 0 else {
            exchanges[id].isResponsePaused = true
            return
        }
        let count = min(room, held)
        var isMoved = true
        if let stream = exchanges[id].stream {
            var piece = ByteQueue()
            isMoved = piece.append(first: count, of: &pools.connections[connection].inbound, from: blocks)
            _ = downstreams[downstream].session?.appendBody(stream, from: &piece)
        } else {
            isMoved = downstreams[downstream].plaintext.append(
                first: count, of: &pools.connections[connection].inbound, from: blocks)
        }
        let left = pools.connections[connection].inbound.byteCount
        if left < held {
            exchanges[id].facts.bytesOut &+= held &- left
            markDirty(downstream: downstream)
            noteMove(id, connection, &loop)
        }
        exchanges[id].isResponsePaused = left > 0
        // The pool had no block for the last piece: nothing tells when it has.
        if !isMoved { awaitBlocks(upstream: connection, &loop) }
    }

    /// Something moved: the time in which nothing may is counted anew.
    mutating func noteMove(_ id: SlabID, _ connection: SlabID, _ loop: inout EventLoop) {
        pools.setDeadline(connection, loop.now &+ exchanges[id].idleTimeout, &loop)
    }

    /// Whether the connection of a client has changed to a tunnel (HTTP/1).
    mutating func isTunnel(_ downstream: SlabID) -> Bool {
        let exchange = downstreams[downstream].exchange
        return !exchange.isNone && exchanges[exchange].machine.phase == .tunnelling
    }

    // MARK: Ends

    /// The service's side has taken all there was: more may come, and an end of the client is passed on.
    mutating func tunnelFlushed(_ id: SlabID, _ connection: SlabID, _ loop: inout EventLoop) {
        if exchanges[id].isRequestPaused {
            exchanges[id].isRequestPaused = false
            pumpTunnelUp(id, &loop)
            // The client's connection was not read meanwhile.
            if exchanges[id].stream == nil { queue(downstream: exchanges[id].downstream, &loop) }
        }
        guard exchanges[id].machine.hasRequestEnded, !pools.connections[connection].hasOutput else { return }
        if wasCut(id) {
            // What came before is delivered, and its end was nobody's word.
            perform(exchanges[id].machine.handle(.clientLost), id, &loop)
            return
        }
        guard pools.connections[connection].sayGoodbye(from: blocks) else {
            // Flushed in its turn; without a block for it, looked at again in the next.
            if pools.connections[connection].hasOutput {
                markDirty(upstream: connection)
            } else {
                queue(upstream: connection, &loop)
            }
            return
        }
        pools.connections[connection].descriptor.shutdownWriting()
        endTunnelIfDone(id, &loop)
    }

    /// Whether the client's side of a tunnel was cut. The END_STREAM of a stream is an end, whatever became of its connection.
    private mutating func wasCut(_ id: SlabID) -> Bool {
        let downstream = exchanges[id].downstream
        guard downstreams[downstream].hasEnded else { return false }
        if let stream = exchanges[id].stream,
            downstreams[downstream].session?.hasRequestEnded(stream) == true
        {
            return false
        }
        return downstreams[downstream].wasCut
    }

    /// The whole connection of a client of HTTP/2 has ended. `true` when it carries tunnels: their services are to have what
    /// came before the end, and the end. For so long, and no longer than others linger, the connection is kept, of which
    /// nothing is read and on which nothing is written; whatever else it carries is given up.
    mutating func outlivesClient(_ id: SlabID, _ loop: inout EventLoop) -> Bool {
        guard carriesTunnels(id) else { return false }
        let slots = downstreams[id].session?.slotCount ?? 0
        downstreams[id].phase = .lingering
        downstreams[id].plaintext.removeAll()
        downstreams[id].outbound.removeAll()
        downstreams[id].windowEnds = .max
        downstreams[id].headEnds = .max
        setDeadline(id, loop.now &+ Worker.lingerNanoseconds, &loop)
        for slot in 0..<slots {
            guard downstreams.contains(id), let exchange = exchange(inSlot: slot, of: id) else { continue }
            if exchanges[exchange].isTunnel {
                pumpTunnelUp(exchange, &loop)
            } else {
                perform(exchanges[exchange].machine.handle(.clientLost), exchange, &loop)
            }
        }
        return true
    }

    /// Nothing can be written to the client any more. What it sent before may be for tunnels: the read side will tell.
    mutating func loseClient(_ id: SlabID, _ loop: inout EventLoop) {
        guard downstreams[id].phase == .http2, carriesTunnels(id) else {
            close(id, &loop)
            return
        }
        downstreams[id].isBroken = true
        downstreams[id].isBlocked = true
        downstreams[id].isEnding = true
        downstreams[id].mayHaveMore = true
        queue(downstream: id, &loop)
    }

    private mutating func carriesTunnels(_ id: SlabID) -> Bool {
        for slot in 0..<(downstreams[id].session?.slotCount ?? 0) {
            if let exchange = exchange(inSlot: slot, of: id), exchanges[exchange].isTunnel { return true }
        }
        return false
    }

    private mutating func exchange(inSlot slot: Int, of id: SlabID) -> SlabID? {
        guard let stream = downstreams[id].session?.stream(inSlot: slot) else { return nil }
        return exchange(of: stream, on: id)
    }

    /// The service has closed its side, or (`isClean` false) the connection broke.
    mutating func tunnelEnded(_ id: SlabID, isClean: Bool, _ loop: inout EventLoop) {
        guard isClean else {
            perform(
                exchanges[id].machine.handle(.upstreamLost(isUntouched: false, isStale: false)), id, &loop)
            return
        }
        guard !exchanges[id].hasServiceEnded else { return }
        exchanges[id].hasServiceEnded = true
        let downstream = exchanges[id].downstream
        if let stream = exchanges[id].stream {
            // RFC 8441 §5: an orderly end of either side is END_STREAM.
            downstreams[downstream].session?.endBody(stream)
        } else {
            downstreams[downstream].endsWriting = true
        }
        markDirty(downstream: downstream)
        endTunnelIfDone(id, &loop)
    }

    /// Both sides of a stream have ended in order. `true` when the service has not got all of it yet: until then the stream is
    /// kept, and its connection finds the exchange by it.
    mutating func holdClosedStream(_ id: SlabID, _ stream: StreamID, _ loop: inout EventLoop) -> Bool {
        guard exchanges[id].isTunnel, exchanges[id].hasServiceEnded,
            downstreams[exchanges[id].downstream].session?.hasRequestEnded(stream) == true
        else { return false }
        exchanges[id].holdsClosedStream = true
        pumpTunnelUp(id, &loop)
        return true
    }

    /// Bytes for the service that it does not take any more. `true` when that was the end of a tunnel.
    mutating func tunnelRefusesBytes(_ connection: SlabID, _ loop: inout EventLoop) -> Bool {
        guard pools.connections.contains(connection) else { return false }
        let id = pools.connections[connection].holder
        guard exchanges.contains(id), exchanges[id].machine.phase == .tunnelling else { return false }
        tunnelEnded(id, isClean: false, &loop)
        return true
    }

    private mutating func endTunnelIfDone(_ id: SlabID, _ loop: inout EventLoop) {
        guard exchanges[id].machine.hasRequestEnded, exchanges[id].hasServiceEnded,
            !pools.connections[exchanges[id].upstream].hasOutput
        else { return }
        perform(exchanges[id].machine.handle(.responseEnded), id, &loop)
    }

    /// Ends the client's side of a tunnel that broke or was idle for too long; the service's is gone.
    mutating func cutTunnel(_ id: SlabID, _ loop: inout EventLoop) {
        let downstream = exchanges[id].downstream
        if let stream = exchanges[id].stream {
            // RFC 8441 §5: what would be a reset of TCP is RST_STREAM with CANCEL.
            downstreams[downstream].session?.resetStream(stream, errorCode: HTTP2ErrorCode.cancel)
            downstreams[downstream].session?.setToken(stream, 0)
            markDirty(downstream: downstream)
            conclude(id, &loop)
            return
        }
        let isBroken = exchanges[id].facts.reason == .upstreamTruncated
        downstreams[downstream].exchange = .none
        conclude(id, &loop)
        if downstreams[downstream].isBlocked {
            close(downstream, &loop, reset: true)
            return
        }
        // What the service sent before is still delivered. An end that it made by a reset is passed on as one.
        if isBroken {
            downstreams[downstream].closesAfterFlush = true
            downstreams[downstream].resetLooks = Worker.receiptLooks
        } else {
            downstreams[downstream].lingersAfterFlush = true
        }
        setDeadline(downstream, loop.now &+ Worker.lingerNanoseconds, &loop)
        markDirty(downstream: downstream)
    }

    /// Resets a connection that was flushed: at once, or when the client's kernel has acknowledged all. A reset takes from the
    /// client what was not sent yet.
    mutating func resetOnceReceived(_ id: SlabID, _ loop: inout EventLoop) {
        guard downstreams[id].descriptor.unacknowledgedBytes > 0, downstreams[id].resetLooks > 1 else {
            close(id, &loop, reset: true)
            return
        }
        downstreams[id].resetLooks &-= 1
        downstreams[id].phase = .lingering
        downstreams[id].hasEnded = true
        setDeadline(id, loop.now &+ Worker.receiptPause, &loop)
    }
}
