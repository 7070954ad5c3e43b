import HTTP
import HTTP1
import HTTP2
import LinuxIO
import Memory
import Reactor
import Telemetry
import Upstreams

// An exchange on a stream of HTTP/2 to its service: the request out, the answer in.
extension Worker {
    /// Asks for room on a connection of the service.
    mutating func leaseStream(_ id: SlabID, _ loop: inout EventLoop) {
        let (snapshot, service, choice) = connectionPlan(id)
        let answer = apart(&pools, snapshots) {
            $0.leaseStream($1[snapshot].services[service], choice: choice, holder: id, &loop)
        }
        exchanges[id].facts.endpoint = snapshots[snapshot].services[service].endpoints[choice].index
        switch answer {
        case .shared(let connection):
            exchanges[id].upstream = connection
            exchanges[id].facts.connected = loop.now
            exchanges[id].isStreamReused = pools.connections[connection].isReused
            pools.connections[connection].isReused = true
            if pools.connections[connection].streams == 0 {
                // It may have been idle for long; now its health matters.
                pools.connections[connection].lastReceived = loop.now
                pools.setDeadline(connection, loop.now &+ Worker.silence, &loop)
            }
            pools.attach(connection)
            perform(exchanges[id].machine.handle(.connected), id, &loop)
        case .waiting(let waiter, let opened):
            exchanges[id].waiter = waiter
            let timeout = connectTimeout(id)
            if let opened { pools.setDeadline(opened, loop.now &+ timeout, &loop) }
            // The first wait's deadline holds, however often the exchange comes back to the line.
            setExchangeDeadline(id, exchanges[id].facts.leaseBegan &+ timeout, &loop)
        case .overloaded:
            perform(exchanges[id].machine.handle(.connectFailed(.upstreamOverloaded)), id, &loop)
        case .failed:
            exchanges[id].failedEndpoint = exchanges[id].facts.endpoint
            perform(exchanges[id].machine.handle(.connectFailed(.upstreamConnect)), id, &loop)
        }
    }

    /// Opens the stream with the request's head, and hands over what has come of the body.
    mutating func sendStreamRequest(_ id: SlabID, _ loop: inout EventLoop) {
        let connection = exchanges[id].upstream
        let isWhole = exchanges[id].machine.hasRequestEnded
        let endsStream = isWhole && exchanges[id].keptBody.isEmpty && exchanges[id].requestTrailers.isEmpty
        var head = ByteQueue()
        swap(&head, &exchanges[id].request)
        let stream =
            head.makeContiguous(in: largeBlocks) ? submit(head.firstBytes, on: connection, endsStream) : nil
        swap(&head, &exchanges[id].request)
        guard let stream else {
            perform(exchanges[id].machine.handle(.refused(.overloaded)), id, &loop)
            return
        }
        exchanges[id].upstreamStream = stream
        pools.connections[connection].session?.setToken(stream, Token(kind: 0, id: id).word &+ 1)
        markDirty(upstream: connection)
        var isCopied = true
        var kept = ByteQueue()
        swap(&kept, &exchanges[id].keptBody)
        kept.forEachBlock { span in
            isCopied = pools.connections[connection].session?.appendBody(stream, span, pool: blocks) ?? false
            return isCopied
        }
        swap(&kept, &exchanges[id].keptBody)
        guard isCopied else {
            perform(exchanges[id].machine.handle(.refused(.overloaded)), id, &loop)
            return
        }
        if isWhole, !endsStream { endStreamRequest(id, stream, connection) }
        setServiceDeadline(id, loop.now &+ responsePatience(id), &loop)
        if !exchanges[id].requestBody.isEnded { pumpRequest(id, &loop) }
    }

    /// Reads the head that was written for the service, and submits it. It is kept as text, the one form that every step
    /// before this one writes; see the decisions.
    private mutating func submit(_ head: RawSpan, on connection: SlabID, _ endsStream: Bool) -> StreamID? {
        guard let written = WrittenHead.read(head, into: &serviceFields) else { return nil }
        let isSecure = pools.connections[connection].hasTLS
        return Worker.submit(
            &pools, connection, method: head[written.method], isSecure: isSecure,
            authority: head[written.host],
            path: head[written.target], fields: serviceFields, bytes: head, endsStream)
    }

    // Apart from the worker, so that the table is a look at itself alone.
    private static func submit(
        _ pools: inout ConnectionPools, _ connection: SlabID, method: RawSpan, isSecure: Bool,
        authority: RawSpan,
        path: RawSpan, fields: borrowing FieldTable, bytes: RawSpan, _ endsStream: Bool
    ) -> StreamID? {
        pools.connections[connection].session?.submitRequest(
            method: method, isSecure: isSecure, authority: authority, path: path, fields: fields,
            bytes: bytes,
            endsStream: endsStream) ?? nil
    }

    // MARK: The request's body

    /// Gives one piece of the body, which needs no framing, to the stream, or to what waits for one.
    mutating func takeStreamPiece(
        _ id: SlabID, _ piece: inout ByteQueue, isLast: Bool, _ loop: inout EventLoop
    ) -> Bool {
        if isLast { perform(exchanges[id].machine.handle(.requestEnded), id, &loop) }
        let connection = exchanges[id].upstream
        guard let stream = exchanges[id].upstreamStream, !connection.isNone else {
            exchanges[id].keptBody.append(contentsOf: &piece)
            return true
        }
        keepStreamBody(id, piece)
        if !piece.isEmpty { _ = pools.connections[connection].session?.appendBody(stream, from: &piece) }
        if isLast { endStreamRequest(id, stream, connection) }
        markDirty(upstream: connection)
        if exchanges[id].machine.phase == .waiting {
            setServiceDeadline(id, loop.now &+ responsePatience(id), &loop)
        } else if exchanges[id].isGRPC, !exchanges[id].isResponsePaused {
            // A call is alive as long as either side says something.
            setServiceDeadline(id, loop.now &+ exchanges[id].idleTimeout, &loop)
        }
        return true
    }

    /// How long the service may take to answer. A call whose client has not ended may be answered only when it has.
    private mutating func responsePatience(_ id: SlabID) -> UInt64 {
        exchanges[id].isGRPC && !exchanges[id].machine.hasRequestEnded
            ? max(exchanges[id].idleTimeout, exchanges[id].requestTimeout) : exchanges[id].requestTimeout
    }

    /// A copy for another try: a stream that was refused surely did nothing, whatever its method (RFC 9113 §8.7).
    private mutating func keepStreamBody(_ id: SlabID, _ piece: borrowing ByteQueue) {
        guard exchanges[id].machine.isKept, exchanges[id].machine.phase == .waiting else { return }
        var isKept = exchanges[id].keptBody.byteCount &+ piece.byteCount <= Worker.keptRequestBytes
        if isKept {
            piece.forEachBlock { span in
                isKept = exchanges[id].keptBody.append(span, from: blocks)
                return isKept
            }
        }
        if !isKept {
            exchanges[id].machine.forgetRequest()
            exchanges[id].keptBody.removeAll()
        }
    }

    /// The request is whole: its stream ends, behind those trailer fields that may be forwarded.
    private mutating func endStreamRequest(_ id: SlabID, _ stream: StreamID, _ connection: SlabID) {
        var trailers = ByteQueue()
        swap(&trailers, &exchanges[id].requestTrailers)
        if !trailers.isEmpty, trailers.makeContiguous(in: largeBlocks),
            Trailers.parse(trailers.firstBytes, into: &trailerFields)
        {
            dropVouchedTrailers(trailers.firstBytes)
            if exchanges[id].editsRequest { dropEdited(of: trailers.firstBytes, by: id) }
            pools.connections[connection].session?.beginTrailers()
            Worker.submitTrailers(&pools, connection, stream, trailerFields, trailers.firstBytes)
        } else {
            pools.connections[connection].session?.endBody(stream)
        }
        // Another try needs them again.
        swap(&trailers, &exchanges[id].requestTrailers)
    }

    private static func submitTrailers(
        _ pools: inout ConnectionPools, _ connection: SlabID, _ stream: StreamID,
        _ fields: borrowing FieldTable,
        _ bytes: RawSpan
    ) {
        pools.connections[connection].session?.submitTrailers(stream, fields: fields, bytes: bytes)
    }

    /// The stream to the service has room again.
    mutating func resumeStreamRequest(_ exchange: SlabID, _ loop: inout EventLoop) {
        guard exchanges[exchange].isRequestPaused else { return }
        exchanges[exchange].isRequestPaused = false
        if exchanges[exchange].stream != nil {
            pumpRequest(exchange, &loop)
        } else {
            queue(downstream: exchanges[exchange].downstream, &loop)
        }
    }

    // MARK: The answer

    mutating func forwardInterims(
        _ exchange: SlabID, _ stream: StreamID, _ connection: SlabID, _ loop: inout EventLoop
    ) {
        while var bytes = largeBlocks.take(),
            Worker.takeInterim(&pools, connection, stream, &responseHead, &bytes)
        {
            guard HopByHop.drop(in: &responseHead.fields, bytes: bytes.bytes) else { continue }
            forwardInterim(exchange, bytes.bytes, &loop)
        }
    }

    private static func takeInterim(
        _ pools: inout ConnectionPools, _ connection: SlabID, _ stream: StreamID, _ head: inout ResponseHead,
        _ bytes: inout Block
    ) -> Bool {
        pools.connections[connection].session?.takeInterim(stream, into: &head, bytes: &bytes) ?? false
    }

    mutating func readStreamHead(
        _ exchange: SlabID, _ stream: StreamID, _ connection: SlabID, _ loop: inout EventLoop
    ) {
        let method = exchanges[exchange].method
        let error = apart(&responseHead, pools) {
            $1.connections[connection].readResponse(stream, requestMethod: method, into: &$0)
        }
        // The head is copied out of the session, so that both can be worked on.
        guard error == nil, var head = largeBlocks.take(),
            pools.connections[connection].copyHead(of: stream, into: &head),
            HopByHop.drop(in: &responseHead.fields, bytes: head.bytes)
        else {
            let reason: Refusal = error == nil ? .overloaded : .upstreamInvalid
            perform(exchanges[exchange].machine.handle(.responseBroken(reason)), exchange, &loop)
            return
        }
        pools.connections[connection].session?.releaseHead(stream)
        exchanges[exchange].facts.firstByte = loop.now
        guard exchanges[exchange].machine.handle(.responseHead) == .forwardHead else { return }
        exchanges[exchange].request.removeAll()
        exchanges[exchange].keptBody.removeAll()
        guard forwardHead(exchange, head.bytes) else {
            perform(exchanges[exchange].machine.handle(.refused(.overloaded)), exchange, &loop)
            return
        }
        unpin(exchange)
        pumpStreamResponse(exchange, &loop)
    }

    /// Moves the answer's body on, as far as it has come and the client's side has room.
    mutating func pumpStreamResponse(_ id: SlabID, _ loop: inout EventLoop) {
        guard exchanges[id].machine.phase == .streaming, let stream = exchanges[id].upstreamStream else {
            return
        }
        let connection = exchanges[id].upstream
        if exchanges[id].responseBody.isEnded {
            endResponse(id, &loop)
            return
        }
        setServiceDeadline(id, loop.now &+ exchanges[id].idleTimeout, &loop)
        while true {
            let waiting = pools.connections[connection].session?.bodyCount(stream) ?? 0
            let room = responseRoom(id)
            if waiting > 0, room <= 0 {
                pauseStreamResponse(id, &loop)
                return
            }
            var piece = ByteQueue()
            let taken = pools.connections[connection].takeBody(
                of: stream, into: &piece, limit: min(waiting, room), blocks)
            let isLast =
                taken == waiting && pools.connections[connection].session?.hasRequestEnded(stream) == true
            guard !isLast || collectResponseTrailers(id, stream, connection) else {
                perform(exchanges[id].machine.handle(.responseBroken(.upstreamInvalid)), id, &loop)
                return
            }
            exchanges[id].responseBody.took(taken, isLast: isLast)
            exchanges[id].facts.bytesOut = exchanges[id].responseBody.byteCount
            guard taken == 0 || handStreamPiece(id, &piece) else {
                perform(exchanges[id].machine.handle(.refused(.overloaded)), id, &loop)
                return
            }
            if taken > 0 {
                // Credit goes back as bytes find room on the client's side: a client that stalls stalls its stream.
                pools.connections[connection].session?.returnCredit(stream, taken)
                markDirty(upstream: connection)
            }
            if isLast {
                endResponse(id, &loop)
                return
            }
            if taken == 0 {
                // The pool had no block for a piece, and nothing would tell when it has.
                if waiting > 0 { perform(exchanges[id].machine.handle(.refused(.overloaded)), id, &loop) }
                return
            }
        }
    }

    /// Now the client is the one that is waited for.
    private mutating func pauseStreamResponse(_ id: SlabID, _ loop: inout EventLoop) {
        exchanges[id].isResponsePaused = true
        exchanges[id].serviceDeadline = .max
        guard let client = exchanges[id].stream else { return }
        let downstream = exchanges[id].downstream
        exchanges[id].pausedBytes = downstreams[downstream].session?.outboundCount(client) ?? 0
        setExchangeDeadline(id, loop.now &+ snapshots[current].http.bodyIdleTimeout, &loop)
    }

    private mutating func handStreamPiece(_ id: SlabID, _ piece: inout ByteQueue) -> Bool {
        switch exchanges[id].responseFraming {
        case .chunked, .frames: return handPiece(id, &piece)
        case .plain, .close:
            let downstream = exchanges[id].downstream
            downstreams[downstream].plaintext.append(contentsOf: &piece)
            markDirty(downstream: downstream)
            return true
        case .none: return true
        }
    }

    /// The trailers of an answer, into the form of HTTP/1. `false` when there are some that cannot be handed on whole.
    private mutating func collectResponseTrailers(_ id: SlabID, _ stream: StreamID, _ connection: SlabID)
        -> Bool
    {
        guard pools.connections[connection].session?.hasTrailers(stream) == true else { return true }
        guard var bytes = largeBlocks.take(), var writer = HeadWriter(from: largeBlocks) else { return false }
        let isCopied = apart(&trailerFields, pools) {
            $1.connections[connection].copyTrailers(of: stream, into: &bytes, fields: &$0)
        }
        guard isCopied else { return false }
        writer.fields(trailerFields, of: bytes.bytes, isText: false)
        return writer.finish(into: &exchanges[id].responseTrailers)
    }

    /// The stream ended before its time.
    mutating func streamReset(
        _ id: SlabID, _ stream: StreamID, _ connection: SlabID, _ code: UInt32, _ loop: inout EventLoop
    ) {
        // The answer is whole: that the service wants no more of the request is its right (RFC 9113 §8.1).
        if pools.connections[connection].session?.hasRequestEnded(stream) == true,
            exchanges[id].machine.phase == .streaming
        {
            // What is left of it has nowhere to go: its client is read on, so that it comes to read its answer.
            resumeStreamRequest(id, &loop)
            return
        }
        exchanges[id].resetCode = code
        exchanges[id].failedEndpoint = pools.connections[connection].endpoint
        let isByPeer = pools.connections[connection].session?.wasResetByPeer(stream) ?? true
        let event: ExchangeMachine.Event
        if code == HTTP2ErrorCode.refusedStream {
            // RFC 9113 §8.7: nothing was done with it, so that any request may be sent again, if it is still at hand.
            event = .upstreamLost(isUntouched: exchanges[id].machine.isKept, isStale: false)
        } else if isByPeer {
            event = .upstreamLost(isUntouched: false, isStale: false)
        } else {
            event = .responseBroken(
                exchanges[id].machine.phase == .streaming ? .upstreamTruncated : .upstreamInvalid)
        }
        perform(exchanges[id].machine.handle(event), id, &loop)
    }

    // MARK: Letting go

    /// Lets go of the stream; with `isComplete` both sides have said all. Otherwise it is cancelled (RFC 9113 §8.1).
    mutating func dropStream(_ id: SlabID, isComplete: Bool, _ loop: inout EventLoop) {
        let connection = exchanges[id].upstream
        exchanges[id].upstream = .none
        exchanges[id].serviceDeadline = .max
        guard pools.connections.contains(connection) else { return }
        if let stream = exchanges[id].upstreamStream {
            exchanges[id].upstreamStream = nil
            pools.connections[connection].session?.setToken(stream, 0)
            if pools.connections[connection].session?.isClosed(stream) == true {
                // `closed` was told, or will be, and then finds nobody.
                if pools.connections[connection].session?.wasToldClosed(stream) == true {
                    pools.connections[connection].session?.release(stream)
                }
            } else {
                // A request whose tail waits for credit, or an answer that said no end, would hold its place for ever.
                let isSaid =
                    isComplete && pools.connections[connection].session?.outboundCount(stream) == 0
                    && pools.connections[connection].session?.hasRequestEnded(stream) == true
                pools.connections[connection].session?.discardBody(stream)
                if !isSaid {
                    pools.connections[connection].session?.resetStream(
                        stream, errorCode: HTTP2ErrorCode.cancel)
                }
            }
        }
        let (idle, count) = (exchanges[id].keepaliveIdle, exchanges[id].keepaliveConnections)
        if pools.detach(connection, keepaliveIdle: idle, keepaliveConnections: count, &loop) {
            pools.connections[connection].retires = true
        }
        // At the flush the connection is closed if it is to be, and whoever waits for room gets it.
        markDirty(upstream: connection)
    }

    /// Sets when the service's current wait is over, whichever way it is spoken to.
    mutating func setServiceDeadline(_ id: SlabID, _ deadline: UInt64, _ loop: inout EventLoop) {
        guard exchanges[id].isToHTTP2 else {
            pools.setDeadline(exchanges[id].upstream, deadline, &loop)
            return
        }
        exchanges[id].serviceDeadline = deadline
        armExchange(id, deadline, &loop)
    }
}
