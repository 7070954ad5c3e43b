import HTTP
import HTTP1
import HTTP2
import LinuxIO
import Memory
import Reactor
import Telemetry
import Upstreams

// The service's side: its connection's events, its answer's head and body.
extension Worker {
    mutating func upstreamReady(_ id: SlabID, _ readiness: Readiness, _ loop: inout EventLoop) {
        if !pools.connections[id].isQueued { pools.connections[id].turnBytes = 0 }
        switch pools.connections[id].phase {
        case .connecting:
            guard readiness.isWritable || readiness.isEnding else { return }
            finishConnect(id, readiness, &loop)
        case .handshaking:
            if readiness.isReadable || readiness.isEnding { pools.connections[id].mayHaveMore = true }
            if readiness.isEnding { pools.connections[id].isEnding = true }
            driveHandshake(id, &loop)
        case .greeting, .shared: sharedReady(id, readiness, &loop)
        case .idle:
            // Nothing is due on an idle connection: an end, or bytes that answer no request. Both make it useless.
            guard readiness.isReadable || readiness.isEnding else { return }
            if readiness.isEnding || !isOnlySecurity(id) { _ = pools.close(id, &loop) }
        case .leased:
            if readiness.isWritable, pools.connections[id].isBlocked {
                pools.connections[id].isBlocked = false
                markDirty(upstream: id)
            }
            if readiness.isReadable || readiness.isEnding {
                pools.connections[id].mayHaveMore = true
                if readiness.isEnding { pools.connections[id].isEnding = true }
                driveAnswer(id, &loop)
            }
        }
    }

    private mutating func finishConnect(_ id: SlabID, _ readiness: Readiness, _ loop: inout EventLoop) {
        if pools.connections[id].descriptor.connectError() != nil {
            connectFailed(id, .upstreamConnect, &loop)
            return
        }
        if readiness.isReadable || readiness.isEnding { pools.connections[id].mayHaveMore = true }
        if readiness.isEnding { pools.connections[id].isEnding = true }
        if pools.connections[id].hasTLS {
            pools.beginHandshake(id)
            driveHandshake(id, &loop)
            return
        }
        beginExchange(on: id, &loop)
    }

    /// The connection stands: what it was made for goes out.
    mutating func beginExchange(on id: SlabID, _ loop: inout EventLoop) {
        if pools.connections[id].isHTTP2 {
            greet(id, &loop)
            return
        }
        let exchange = pools.connections[id].holder
        pools.connected(id)
        guard exchanges.contains(exchange) else {
            _ = pools.close(id, &loop)
            return
        }
        exchanges[exchange].facts.connected = loop.now
        perform(exchanges[exchange].machine.handle(.connected), exchange, &loop)
    }

    mutating func connectFailed(_ id: SlabID, _ reason: Refusal, _ loop: inout EventLoop) {
        let exchange = pools.connections[id].holder
        let endpoint = pools.connections[id].endpoint
        if pools.connections[id].isHTTP2 {
            // Those in line may wait for another, which is made under newer settings.
            let isAwaited = pools.isPending(id)
            _ = pools.close(id, &loop)
            pools.pause(endpoint: endpoint, &loop)
            if isAwaited { failWaiters(endpoint, reason, &loop) } else { serveWaiters(endpoint, &loop) }
            return
        }
        let service = pools.close(id, &loop)
        guard exchanges.contains(exchange) else { return }
        exchanges[exchange].upstream = .none
        failConnect(of: exchange, at: endpoint, reason, &loop)
        serveLine(service, &loop)
    }

    /// No connection came of it. Another try may be made; but what one endpoint was found to be in a handshake it will be again.
    mutating func failConnect(
        of id: SlabID, at endpoint: Int, _ reason: Refusal, _ loop: inout EventLoop
    ) {
        exchanges[id].failedEndpoint = endpoint
        if reason == .upstreamTLS {
            exchanges[id].handshakesFailed &+= 1
            let snapshot = exchanges[id].snapshot
            let service = snapshots[snapshot].routes[exchanges[id].route].service
            if exchanges[id].handshakesFailed >= snapshots[snapshot].services[service].endpoints.count {
                perform(exchanges[id].machine.handle(.refused(reason)), id, &loop)
                return
            }
        }
        perform(exchanges[id].machine.handle(.connectFailed(reason)), id, &loop)
    }

    mutating func upstreamOverdue(_ id: SlabID, _ loop: inout EventLoop) {
        switch pools.connections[id].phase {
        case .idle: _ = pools.close(id, &loop)
        case .connecting, .handshaking, .greeting: connectFailed(id, .upstreamConnectTimeout, &loop)
        case .shared: sharedOverdue(id, &loop)
        case .leased:
            let exchange = pools.connections[id].holder
            guard exchanges.contains(exchange) else {
                _ = pools.close(id, &loop)
                return
            }
            let reason = exchanges[exchange].isTunnel ? Refusal.webSocketIdle : .upstreamTimeout
            perform(exchanges[exchange].machine.handle(.upstreamTimedOut(reason)), exchange, &loop)
        }
    }

    /// Goes on with an answer as far as its bytes, its sink and its share of the turn allow.
    mutating func driveUpstream(_ id: SlabID, _ loop: inout EventLoop) {
        if pools.connections[id].phase == .handshaking {
            driveHandshake(id, &loop)
            return
        }
        if pools.connections[id].isHTTP2 {
            if pools.connections[id].phase != .connecting { driveShared(id, &loop) }
            return
        }
        driveAnswer(id, &loop)
    }

    /// The same on a connection of HTTP/1 that stands: one exchange has it to itself.
    private mutating func driveAnswer(_ id: SlabID, _ loop: inout EventLoop) {
        while pools.connections.contains(id), pools.connections[id].phase == .leased {
            let exchange = pools.connections[id].holder
            guard exchanges.contains(exchange), exchanges[exchange].upstream == id else {
                _ = pools.close(id, &loop)
                return
            }
            if exchanges[exchange].machine.phase == .waiting, pools.connections[id].inbound.isEmpty {
                // Nearly always the head is what has come.
                guard readUpstream(id, exchange, &loop) else { return }
                if pools.connections[id].inbound.isEmpty { continue }
            }
            switch exchanges[exchange].machine.phase {
            case .waiting:
                if pools.connections[id].sentBytes == 0 {
                    // An answer to nothing: it was on its way before our request was, and is not the client's.
                    pools.connections[id].inbound.removeAll()
                    upstreamEnded(id, exchange, isClean: false, &loop)
                    return
                }
                readResponseHead(exchange, id, &loop)
            case .streaming: pumpResponse(exchange, id, &loop)
            case .tunnelling: pumpTunnelDown(exchange, id, &loop)
            case .leasing, .finished: break
            }
            guard pools.connections.contains(id), pools.connections[id].phase == .leased,
                pools.connections[id].holder == exchange, exchanges.contains(exchange)
            else { return }
            if exchanges[exchange].isResponsePaused { return }
            guard readUpstream(id, exchange, &loop) else { return }
        }
    }

    /// One read. `true` when it brought something, or when the end of the stream has to be looked at.
    @inline(__always) private mutating func readUpstream(
        _ id: SlabID, _ exchange: SlabID, _ loop: inout EventLoop
    ) -> Bool {
        if pools.connections[id].hasEnded {
            let isCut = pools.connections[id].isBroken || pools.connections[id].wasCutShort
            upstreamEnded(id, exchange, isClean: !isCut, &loop)
            return false
        }
        let isBody =
            exchanges[exchange].machine.phase == .streaming
            && (exchanges[exchange].responseBody.remainingLength ?? 65536) > 16384
        let isLong = isBody || exchanges[exchange].isTunnel
        switch readService(id, isBody: isBody, isLong: isLong, &loop) {
        case .bytes:
            if exchanges[exchange].machine.phase == .streaming {
                pools.setDeadline(id, loop.now &+ exchanges[exchange].idleTimeout, &loop)
            }
            return true
        case .ended: return true
        case .paused: return false
        case .broken:
            upstreamEnded(id, exchange, isClean: false, &loop)
            return false
        }
    }

    /// A connection that cannot be used, and of whose request nothing was written.
    @inline(never) mutating func lostUntouched(_ id: SlabID, _ loop: inout EventLoop) {
        let exchange = pools.connections[id].holder
        guard exchanges.contains(exchange), exchanges[exchange].upstream == id else {
            _ = pools.close(id, &loop)
            return
        }
        upstreamEnded(id, exchange, isClean: false, &loop)
    }

    /// The service sends no more, and what it sent has been used.
    mutating func upstreamEnded(
        _ id: SlabID, _ exchange: SlabID, isClean: Bool, _ loop: inout EventLoop
    ) {
        if exchanges[exchange].isTunnel {
            // Without close_notify too: a WebSocket tells its end itself (RFC 6455 §7.1.4), and its last bytes count.
            tunnelEnded(exchange, isClean: isClean || pools.connections[id].hasEnded, &loop)
            return
        }
        if exchanges[exchange].machine.phase == .streaming, isClean,
            exchanges[exchange].responseBody.sourceEnded()
        {
            exchanges[exchange].isUpstreamPersistent = false
            endResponse(exchange, &loop)
            return
        }
        let isUntouched = pools.connections[id].sentBytes == 0
        let isStale = pools.connections[id].isReused && pools.connections[id].receivedBytes == 0
        if isUntouched, !pools.connections[id].owesRequest {
            // What the kernel never took is the whole request: it goes back to the exchange for another try, if it has left it.
            var unsent = ByteQueue()
            unsent.append(contentsOf: &pools.connections[id].outbound)
            swap(&unsent, &exchanges[exchange].request)
        }
        exchanges[exchange].failedEndpoint = pools.connections[id].endpoint
        perform(
            exchanges[exchange].machine.handle(.upstreamLost(isUntouched: isUntouched, isStale: isStale)),
            exchange,
            &loop)
    }

    // MARK: The head

    private mutating func readResponseHead(_ exchange: SlabID, _ id: SlabID, _ loop: inout EventLoop) {
        var inbound = ByteQueue()
        swap(&inbound, &pools.connections[id].inbound)
        var scanned = pools.connections[id].scannedBytes
        while !inbound.isEmpty {
            if !inbound.isContiguous, !inbound.makeContiguous(in: largeBlocks) {
                perform(
                    exchanges[exchange].machine.handle(.responseBroken(.upstreamInvalid)), exchange, &loop)
                return
            }
            let limits = HeadLimits(
                requestLine: 16384, head: Worker.responseHeadBytes, fields: Worker.responseFields)
            let step = ResponseParser.parse(
                inbound.firstBytes, limits: limits, scanned: &scanned, into: &responseHead,
                requestMethod: exchanges[exchange].method)
            switch step {
            case .incomplete:
                pools.connections[id].scannedBytes = scanned
                swap(&inbound, &pools.connections[id].inbound)
                return
            case .refused:
                perform(
                    exchanges[exchange].machine.handle(.responseBroken(.upstreamInvalid)), exchange, &loop)
                return
            case .complete(let count):
                scanned = 0
                if responseHead.status == 101 {
                    openTunnel(exchange, id, &inbound, headCount: count, &loop)
                    return
                }
                // What is wrong with a head is found before the client is told anything of it.
                let isBad =
                    responseHead.isInterim && isInterimTooMany(exchange)
                    || isMistakable(exchange, status: responseHead.status)
                    || !HopByHop.drop(in: &responseHead.fields, bytes: inbound.firstBytes)
                if isBad {
                    perform(
                        exchanges[exchange].machine.handle(.responseBroken(.upstreamInvalid)), exchange, &loop
                    )
                    return
                }
                if responseHead.isInterim {
                    forwardInterim(exchange, inbound.firstBytes, &loop)
                    inbound.consume(count)
                    continue
                }
                exchanges[exchange].facts.firstByte = loop.now
                guard hasRoomForHead(exchange) else {
                    // Nothing of it is out yet, so the client can be told.
                    settings.meters.count(.blocks)
                    perform(exchanges[exchange].machine.handle(.refused(.overloaded)), exchange, &loop)
                    return
                }
                let action = exchanges[exchange].machine.next(after: .responseHead)
                if case .forwardHead = action {
                    exchanges[exchange].request.removeAll()
                    let bodyBytes = inbound.byteCount &- count
                    let isWhole = isWholeAnswer(exchange, bodyBytes: bodyBytes, of: inbound.byteCount)
                    let isForwarded = forwardHead(
                        exchange, inbound.firstBytes.extracting(0..<count), isWhole: isWhole,
                        body: inbound.firstBytes.extracting(count..<(isWhole ? inbound.byteCount : count)))
                    guard isForwarded else {
                        perform(exchanges[exchange].machine.handle(.refused(.overloaded)), exchange, &loop)
                        return
                    }
                    if isWhole {
                        inbound.removeAll()
                        exchanges[exchange].facts.bytesOut = bodyBytes
                        answerEnded(exchange, &loop)
                        return
                    }
                    unpin(exchange)
                    inbound.consume(count)
                    swap(&inbound, &pools.connections[id].inbound)
                    pools.setDeadline(id, loop.now &+ exchanges[exchange].idleTimeout, &loop)
                    pumpResponse(exchange, id, &loop)
                }
                return
            }
        }
        pools.connections[id].scannedBytes = 0
    }

    /// Whether an answer, of whose body so much has come with the head, is whole and so short that it goes on at one blow: most
    /// answers are. `byteCount` is of head and body.
    @inline(__always) private mutating func isWholeAnswer(
        _ id: SlabID, bodyBytes: Int, of byteCount: Int
    ) -> Bool {
        guard exchanges[id].stream == nil, byteCount <= Worker.wholeAnswerBytes else { return false }
        switch responseHead.framing {
        case .none: return bodyBytes == 0
        case .length(let length):
            return bodyBytes == length
                && downstreams[exchanges[id].downstream].queuedBytes < Worker.sinkBytes
        case .chunked, .stream, .close: return false
        }
    }

    /// Whether there is a block for the head as it goes to the client, of whichever size it takes. A stream's needs none.
    @inline(__always) private mutating func hasRoomForHead(_ id: SlabID) -> Bool {
        exchanges[id].stream != nil || blocks.canTake(1) && largeBlocks.canTake(1)
    }

    /// Hands a final head to the client's side. `isWhole`: with it `body`, and the answer ends there. `false` when there is no
    /// room for it.
    mutating func forwardHead(
        _ id: SlabID, _ bytes: RawSpan, isWhole: Bool = false, body: RawSpan = RawSpan()
    ) -> Bool {
        let downstream = exchanges[id].downstream
        dropVouchedResponse(id, bytes)
        if !exchanges[id].machine.hasRequestEnded,
            responseHead.fields.hasContentType("text/event-stream", in: bytes)
        {
            // It may be silent for as long as the service likes.
            exchanges[id].isRateExempt = true
        }
        if !isWhole {
            exchanges[id].responseBody = BodyReader(
                responseHead.framing, isOfStream: responseHead.version == .http2)
        }
        exchanges[id].isUpstreamPersistent = responseHead.isPersistent
        if responseHead.framing == .chunked {
            exchanges[id].dropsResponseTrailers = HopByHop.listsFields(in: responseHead.fields, bytes: bytes)
        }
        exchanges[id].facts.status = responseHead.status
        exchanges[id].hasAnswered = true
        let snapshot = exchanges[id].snapshot
        let route = exchanges[id].route
        let isEdited = !snapshots[snapshot].routes[route].responseEdits.isEmpty
        if isEdited {
            apart(&responseHead, snapshots) {
                $1[snapshot].routes[route].responseEdits.apply(to: &$0.fields, of: bytes)
            }
        }
        if exchanges[id].stream != nil { return forwardStreamHead(id, bytes) }

        let added = 2048 &+ (isEdited ? snapshots[snapshot].routes[route].responseEdits.byteCount : 0)
        let isLarge = bytes.byteCount &+ body.byteCount > blocks.blockCapacity &- added
        guard var writer = isLarge ? HeadWriter(from: largeBlocks) : HeadWriter(from: blocks) else {
            return false
        }
        writer.statusLine(responseHead.status)
        writer.fields(responseHead.fields, of: bytes, isText: responseHead.version != .http2)
        if isEdited { snapshots[snapshot].routes[route].responseEdits.write(to: &writer) }
        switch responseHead.framing {
        case .none:
            exchanges[id].responseFraming = .none
            if needsLength(id) { writer.text("Content-Length: 0\r\n") }
        case .length: exchanges[id].responseFraming = .plain
        case .chunked, .stream, .close:
            if requestVersion(id) == .http10 {
                exchanges[id].responseFraming = .close
                downstreams[downstream].closesAfterAnswer = true
                downstreams[downstream].answersUntilEnd = true
            } else {
                exchanges[id].responseFraming = .chunked
                writer.text("Transfer-Encoding: chunked\r\n")
            }
        }
        writeAnswerFields(&writer, id)
        writer.end()
        if isWhole { writer.bytes(body) }
        guard writer.finish(into: &downstreams[downstream].plaintext) else { return false }
        markDirty(downstream: downstream)
        return true
    }

    /// Whether an answer without a body must say so: HTTP/2 does by a flag, HTTP/1 by a length (RFC 9112 §6.3).
    private mutating func needsLength(_ id: SlabID) -> Bool {
        responseHead.version == .http2 && exchanges[id].method != .head
            && StatusText.mayHaveBody(responseHead.status)
            && responseHead.fields.firstIndex(of: .contentLength) == nil
    }

    mutating func requestVersion(_ id: SlabID) -> Version { exchanges[id].facts.version }

    /// Our own fields of an answer over HTTP/1: the id, and whether the connection stays.
    @inline(__always) mutating func writeAnswerFields(_ writer: inout HeadWriter, _ id: SlabID) {
        writeOwnFields(&writer, id)
        let downstream = exchanges[id].downstream
        // A request whose body is still due cannot be followed by another on this connection.
        if !exchanges[id].machine.hasRequestEnded || isDraining {
            downstreams[downstream].closesAfterAnswer = true
        }
        if downstreams[downstream].closesAfterAnswer {
            writer.text("Connection: close\r\n")
        } else if requestVersion(id) == .http10 {
            writer.text("Connection: keep-alive\r\n")
        }
    }

    @inline(__always) mutating func writeOwnFields(_ writer: inout HeadWriter, _ id: SlabID) {
        if exchanges[id].echoesRequestID {
            // The answer's head is written while the snapshot is pinned.
            writer.field(
                snapshots[exchanges[id].snapshot].requestIDField.span,
                exchanges[id].note.bytes[exchanges[id].facts.requestID])
        }
        if exchanges[id].limitIndex >= 0 { writeLimitFields(&writer, id) }
        if snapshots[current].hasTransportSecurity { writeTransportSecurity(&writer, id) }
    }

    /// The id of an answer is ours to say, and what we promise of TLS.
    @inline(__always) mutating func dropVouchedResponse(_ id: SlabID, _ bytes: RawSpan) {
        if snapshots[current].hasTransportSecurity { dropTransportSecurity(id, bytes) }
        guard exchanges[id].echoesRequestID else { return }
        let name = exchanges[id].snapshot
        let length = snapshots[name].requestIDField.count
        for index in 0..<responseHead.fields.count where responseHead.fields[index].name.count == length {
            let field = bytes[responseHead.fields[index].name]
            if field.equalsIgnoringCase(snapshots[name].requestIDField.span) {
                responseHead.fields.drop(index)
            }
        }
    }

    /// Counts one more head of 1xx.
    private mutating func isInterimTooMany(_ id: SlabID) -> Bool {
        exchanges[id].interimAnswers &+= 1
        return exchanges[id].interimAnswers > Worker.interimAnswers
    }

    mutating func forwardInterim(_ id: SlabID, _ bytes: RawSpan, _ loop: inout EventLoop) {
        // 100 is the answer to an expectation that we did not pass on; HTTP/1.0 knows no interim answers.
        guard responseHead.status != 100, requestVersion(id) != .http10 else { return }
        let downstream = exchanges[id].downstream
        if exchanges[id].stream != nil {
            forwardStreamInterim(id, bytes)
            return
        }
        guard var writer = HeadWriter(from: largeBlocks) else { return }
        writer.statusLine(responseHead.status)
        writer.fields(responseHead.fields, of: bytes, isText: responseHead.version != .http2)
        writer.end()
        if writer.finish(into: &downstreams[downstream].plaintext) { markDirty(downstream: downstream) }
    }

    /// The configuration is needed no longer: what the exchange still needs of it was copied.
    @inline(__always) mutating func unpin(_ id: SlabID) {
        let snapshot = exchanges[id].snapshot
        guard !snapshot.isNone else { return }
        exchanges[id].snapshot = .none
        snapshots[snapshot].pins &-= 1
        if snapshots[snapshot].pins == 0, snapshot != current { drop(snapshot) }
    }

    @inline(never) private mutating func drop(_ snapshot: SlabID) { _ = snapshots.remove(snapshot) }

    // MARK: The body

    /// Moves the answer's body on, as far as it has come and the client's side has room.
    mutating func pumpResponse(_ id: SlabID, _ connection: SlabID, _ loop: inout EventLoop) {
        let downstream = exchanges[id].downstream
        var room = responseRoom(id)
        while true {
            if room <= 0 {
                exchanges[id].isResponsePaused = !exchanges[id].responseBody.isEnded
                // Now the client is the one that is waited for.
                if exchanges[id].isResponsePaused {
                    pools.setDeadline(connection, .max, &loop)
                    if let stream = exchanges[id].stream {
                        exchanges[id].pausedBytes =
                            downstreams[downstream].session?.outboundCount(stream) ?? 0
                        setExchangeDeadline(id, loop.now &+ snapshots[current].http.bodyIdleTimeout, &loop)
                    }
                    return
                }
            }
            let before = exchanges[id].responseBody.byteCount
            let step: BodyReader.Step
            if exchanges[id].responseFraming == .plain || exchanges[id].responseFraming == .close {
                step = exchanges[id].moveResponse(
                    from: &pools.connections[connection].inbound, to: &downstreams[downstream].plaintext,
                    pool: blocks, limit: max(room, 1))
                if exchanges[id].responseBody.byteCount != before { markDirty(downstream: downstream) }
            } else {
                var piece = ByteQueue()
                step = exchanges[id].moveResponse(
                    from: &pools.connections[connection].inbound, to: &piece, pool: blocks,
                    limit: max(room, 1))
                guard handPiece(id, &piece) else {
                    perform(exchanges[id].machine.handle(.refused(.overloaded)), id, &loop)
                    return
                }
            }
            exchanges[id].facts.bytesOut = exchanges[id].responseBody.byteCount
            switch step {
            case .needsMore: return
            case .limitReached: room = responseRoom(id)
            case .ended:
                endResponse(id, &loop)
                return
            case .refused:
                perform(exchanges[id].machine.handle(.responseBroken(.upstreamTruncated)), id, &loop)
                return
            case .outOfBlocks:
                perform(exchanges[id].machine.handle(.refused(.overloaded)), id, &loop)
                return
            }
        }
    }

    /// How many body bytes the client's side may still take.
    mutating func responseRoom(_ id: SlabID) -> Int {
        let downstream = exchanges[id].downstream
        guard let stream = exchanges[id].stream else {
            return Worker.sinkBytes &- downstreams[downstream].queuedBytes
        }
        return Worker.sinkBytes &- (downstreams[downstream].session?.outboundCount(stream) ?? 0)
    }

    /// Gives one piece of the body to a client that wants it framed: chunks, or DATA.
    mutating func handPiece(_ id: SlabID, _ piece: inout ByteQueue) -> Bool {
        guard !piece.isEmpty else { return true }
        let downstream = exchanges[id].downstream
        if let stream = exchanges[id].stream {
            _ = downstreams[downstream].session?.appendBody(stream, from: &piece)
            markDirty(downstream: downstream)
            return true
        }
        let count = piece.byteCount
        guard exchanges[id].responseFraming == .chunked else { return true }
        guard ChunkWriter.header(size: count, into: &downstreams[downstream].plaintext, from: blocks),
            downstreams[downstream].plaintext.append(first: count, of: &piece, from: blocks),
            ChunkWriter.end(into: &downstreams[downstream].plaintext, from: blocks)
        else { return false }
        markDirty(downstream: downstream)
        return true
    }

    /// The answer is whole: says so to the client, and finishes.
    mutating func endResponse(_ id: SlabID, _ loop: inout EventLoop) {
        let downstream = exchanges[id].downstream
        exchanges[id].facts.bytesOut = exchanges[id].responseBody.byteCount
        if exchanges[id].stream != nil {
            endStreamResponse(id)
        } else if exchanges[id].responseFraming == .chunked {
            var trailers = ByteQueue()
            swap(&trailers, &exchanges[id].responseTrailers)
            var last = ByteQueue()
            guard writeTrailers(&trailers, into: &last),
                downstreams[downstream].plaintext.append(first: last.byteCount, of: &last, from: blocks)
            else {
                perform(exchanges[id].machine.handle(.refused(.overloaded)), id, &loop)
                return
            }
            markDirty(downstream: downstream)
        }
        answerEnded(id, &loop)
    }
}
