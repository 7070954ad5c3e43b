import HTTP
import HTTP1
import HTTP2
import JWT
import LinuxIO
import Memory
import Reactor
import Telemetry

// Streams of HTTP/2: each carries an exchange, and the rest of the proxy does not know.
extension Worker {
    mutating func beginHTTP2(_ id: SlabID, _ loop: inout EventLoop) {
        makeHTTP2(id)
        if isDraining { beginGoAway(id, &loop) }
    }

    mutating func makeHTTP2(_ id: SlabID) {
        let http = snapshots[current].http
        var settings = HTTP2Settings(head: http.limits)
        settings.maxConcurrentStreams = http.streams
        let perSecond = UInt64(http.resetsPerWindow) &* 1_000_000_000 / max(http.resetWindow, 1)
        settings.resetsPerSecond = max(Int(perSecond), 1)
        settings.outboundBytes = Worker.sinkBytes
        downstreams[id].session = HTTP2Session(settings: settings, workspace: http2Workspace)
        downstreams[id].phase = .http2
        markDirty(downstream: id)
    }

    /// Gives what has come to the session, and handles what that tells.
    mutating func processHTTP2(_ id: SlabID, _ loop: inout EventLoop) {
        if !downstreams[id].inbound.isEmpty {
            if case .failed = downstreams[id].readFrames(now: loop.now, from: blocks) {
                failHTTP2(id, &loop)
                return
            }
            markDirty(downstream: id)
            // The clock of a head runs from its first byte, in however many frames it drips.
            if downstreams[id].session?.isInHead == true {
                if downstreams[id].headEnds == .max {
                    setHeadDeadline(id, loop.now &+ snapshots[current].http.headTimeout, &loop)
                }
            } else {
                downstreams[id].headEnds = .max
            }
        }
        drainEvents(id, &loop)
    }

    /// Handles all that the session has to tell. Nothing here writes frames: that is the flush's alone.
    mutating func drainEvents(_ id: SlabID, _ loop: inout EventLoop) {
        while downstreams.contains(id) {
            if checksLeft <= 0 {
                queue(downstream: id, &loop)
                return
            }
            guard let event = downstreams[id].session?.nextEvent() else { return }
            switch event {
            case .none:
                return
            case .request(let stream, _):
                beginStream(id, stream, &loop)
            case .malformed(let stream):
                noteMalformed(id, stream, &loop)
            case .trailers(let stream):
                guard let exchange = exchange(of: stream, on: id) else { continue }
                if exchanges[exchange].isTunnel {
                    // Behind a CONNECT only DATA may come (RFC 9113 §8.5).
                    downstreams[id].session?.resetStream(stream, errorCode: HTTP2ErrorCode.protocolError)
                    perform(exchanges[exchange].machine.handle(.clientLost), exchange, &loop)
                } else {
                    pumpRequest(exchange, &loop)
                }
            case .data(let stream, _):
                if let exchange = exchange(of: stream, on: id) { pumpRequest(exchange, &loop) }
            case .starved(let stream):
                if let exchange = exchange(of: stream, on: id) {
                    perform(exchanges[exchange].machine.handle(.refused(.overloaded)), exchange, &loop)
                }
            case .drained(let stream):
                if let exchange = exchange(of: stream, on: id), exchanges[exchange].isResponsePaused {
                    exchanges[exchange].isResponsePaused = false
                    // The request's body, if more of it is due, has a deadline again.
                    exchanges[exchange].deadline = .max
                    if !exchanges[exchange].requestBody.isEnded, !exchanges[exchange].isRequestPaused {
                        expectStreamBody(exchange, &loop)
                    }
                    resumeResponse(exchange, &loop)
                }
            case .reset(let stream, let code):
                if let exchange = exchange(of: stream, on: id) {
                    // Trailers that are malformed, or a body that is not as long as it said (RFC 9113 §8.1.1), are no
                    // change of the client's mind, and the log is not to say so.
                    let isMistake =
                        downstreams[id].session?.isResetByPeer(stream) == false
                        && code != HTTP2ErrorCode.internalError
                    let event: ExchangeMachine.Event = isMistake ? .refused(.badRequest) : .clientLost
                    perform(exchanges[exchange].machine.handle(event), exchange, &loop)
                }
            case .closed(let stream):
                if let exchange = exchange(of: stream, on: id) {
                    if holdClosedStream(exchange, stream, &loop) { continue }
                    perform(exchanges[exchange].machine.handle(.clientLost), exchange, &loop)
                }
                guard downstreams.contains(id) else { return }
                downstreams[id].session?.release(stream)
            case .goAway:
                continue
            case .interim, .response, .settings:
                // Of clients' sessions alone.
                continue
            }
        }
    }

    private mutating func beginStream(_ id: SlabID, _ stream: StreamID, _ loop: inout EventLoop) {
        requestHead.reset()
        let error = apart(&requestHead, downstreams) { $1[id].readHead(of: stream, into: &$0) }
        // The head is copied out of the session, so that both can be worked on.
        guard var head = largeBlocks.take(),
            let exchange = open(on: id, stream: stream, framing: requestHead.framing, &loop)
        else {
            downstreams[id].session?.resetStream(stream, errorCode: HTTP2ErrorCode.refusedStream)
            markDirty(downstream: id)
            return
        }
        downstreams[id].openStreams &+= 1
        let isWhole = downstreams[id].copyHead(of: stream, into: &head)
        if !downstreams[id].hasSentGoAway { setReadDeadline(id, .max, &loop) }
        // Cookies that were joined lie in the head twice, so that one within its limit may still not fit a block.
        if let error = isWhole ? error : .headTooLarge {
            downstreams[id].session?.releaseHead(stream)
            makeRequestID(exchange, loop)
            if isWhole, !requestHead.path.isEmpty {
                exchanges[exchange].facts.path = exchanges[exchange].keep(
                    head.bytes[requestHead.path], limit: 512)
            }
            perform(exchanges[exchange].machine.handle(.refused(Refusal(error))), exchange, &loop)
            return
        }
        let refusal = admit(exchange, head.bytes, &loop)
        // Who waits for a key is judged anew, by the head that the session still holds.
        if exchanges[exchange].keyWait != .none { return }
        downstreams[id].session?.releaseHead(stream)
        beginStreamExchange(exchange, refusal, &loop)
    }

    /// Goes on with a stream's exchange after the decision.
    mutating func beginStreamExchange(_ exchange: SlabID, _ refusal: Refusal?, _ loop: inout EventLoop) {
        let id = exchanges[exchange].downstream
        if refusal == nil, !exchanges[exchange].requestBody.isEnded {
            expectStreamBody(exchange, &loop)
            watchRate(id, &loop)
        }
        if refusal == nil, exchanges[exchange].owesContinue, let stream = exchanges[exchange].stream {
            exchanges[exchange].owesContinue = false
            downstreams[id].session?.beginResponse(status: 100)
            trailerFields.removeAll()
            downstreams[id].session?.submitInterim(stream, fields: trailerFields, bytes: RawSpan())
            markDirty(downstream: id)
        }
        proceed(exchange, refusal, &loop)
    }

    /// A head that the session refused by itself: its stream was reset, so there is nothing to answer, but the log is to have
    /// it like every other request.
    private mutating func noteMalformed(_ id: SlabID, _ stream: StreamID, _ loop: inout EventLoop) {
        requestHead.reset()
        let error = apart(&requestHead, downstreams) { $1[id].readHead(of: stream, into: &$0) }
        guard var head = largeBlocks.take(),
            let exchange = open(on: id, stream: stream, framing: .none, &loop)
        else { return }
        downstreams[id].openStreams &+= 1
        makeRequestID(exchange, loop)
        if downstreams[id].copyHead(of: stream, into: &head) {
            noteHead(exchange, head.bytes)
            exchanges[exchange].facts.path = exchanges[exchange].facts.target
        }
        let reason = error.map(Refusal.init) ?? .badRequest
        exchanges[exchange].facts.status = reason.status
        exchanges[exchange].facts.reason = reason
        _ = exchanges[exchange].machine.handle(.refused(reason))
        conclude(exchange, &loop)
    }

    /// Whether an HTTP/2 request has a body end that was not handed on yet.
    mutating func hasStreamEnd(_ id: SlabID) -> Bool {
        exchanges[id].stream != nil && !exchanges[id].machine.hasRequestEnded
    }

    /// Moves the body of an HTTP/2 request on.
    mutating func pumpStreamRequest(_ id: SlabID, _ loop: inout EventLoop) {
        let downstream = exchanges[id].downstream
        guard let stream = exchanges[id].stream, !exchanges[id].machine.hasRequestEnded else { return }
        while true {
            let room = requestRoom(id)
            let waiting = downstreams[downstream].session?.bodyCount(stream) ?? 0
            if waiting > 0, room <= 0 {
                exchanges[id].isRequestPaused = true
                exchanges[id].bodyMark = -1
                if exchanges[id].waiter.isNone, !exchanges[id].isResponsePaused {
                    exchanges[id].deadline = .max
                }
                return
            }
            exchanges[id].isRequestPaused = false
            var piece = ByteQueue()
            let taken = downstreams[downstream].takeBody(
                of: stream, into: &piece, limit: min(room, waiting), blocks)
            exchanges[id].owedCredit &+= taken
            let isLast =
                taken == waiting && downstreams[downstream].session?.hasRequestEnded(stream) == true
            if isLast { collectTrailers(id, stream) }
            let step: BodyReader.Step = isLast ? .ended : .needsMore
            exchanges[id].requestBody.took(taken, isLast: isLast)
            guard takePiece(id, &piece, step, &loop) else { return }
            returnCredit(id)
            if isLast { break }
            if taken == 0 {
                // The pool had no block for a piece, and nothing would tell when it has.
                if waiting > 0 { perform(exchanges[id].machine.handle(.refused(.overloaded)), id, &loop) }
                break
            }
        }
        guard exchanges.contains(id) else { return }
        if !exchanges[id].machine.hasRequestEnded { watchRate(downstream, &loop) }
        // A place in the line has a deadline of its own, which comes first.
        guard exchanges[id].waiter.isNone, !exchanges[id].isResponsePaused else { return }
        if exchanges[id].machine.hasRequestEnded {
            exchanges[id].deadline = .max
        } else {
            expectStreamBody(id, &loop)
        }
    }

    /// The stream's credit goes back as bytes find room on the service's side: a service that stalls stalls its stream.
    mutating func returnCredit(_ id: SlabID) {
        guard let stream = exchanges[id].stream, exchanges[id].owedCredit > 0 else { return }
        let downstream = exchanges[id].downstream
        let credit = exchanges[id].owedCredit
        downstreams[downstream].session?.returnCredit(stream, credit)
        exchanges[id].owedCredit = 0
        markDirty(downstream: downstream)
    }

    /// Trailers of an HTTP/2 request, into the form of HTTP/1.
    private mutating func collectTrailers(_ id: SlabID, _ stream: StreamID) {
        let downstream = exchanges[id].downstream
        guard exchanges[id].sendsChunked || exchanges[id].isToHTTP2, var bytes = blocks.take() else { return }
        let isCopied = apart(&trailerFields, downstreams) {
            $1[downstream].copyTrailers(of: stream, into: &bytes, fields: &$0)
        }
        guard isCopied,
            trailerFields.count > 0, var writer = HeadWriter(from: blocks)
        else { return }
        writer.fields(trailerFields, of: bytes.bytes, isText: false)
        _ = writer.finish(into: &exchanges[id].requestTrailers)
    }

    // MARK: Answers

    /// Sends the head that `responseHead` describes, with ranges into `bytes`.
    mutating func forwardStreamHead(_ id: SlabID, _ bytes: RawSpan) -> Bool {
        let downstream = exchanges[id].downstream
        guard let stream = exchanges[id].stream else { return false }
        let endsStream = exchanges[id].responseBody.isEnded
        exchanges[id].responseFraming = endsStream ? .none : .frames
        downstreams[downstream].session?.beginResponse(status: responseHead.status)
        let snapshot = exchanges[id].snapshot
        let route = exchanges[id].route
        if !snapshots[snapshot].routes[route].responseEdits.isEmpty {
            apart(&downstreams, snapshots) {
                $1[snapshot].routes[route].responseEdits.add(to: &$0[downstream])
            }
        }
        addStreamFields(id)
        downstreams[downstream].session?.submitResponse(
            stream, fields: responseHead.fields, bytes: bytes, endsStream: endsStream)
        markDirty(downstream: downstream)
        return true
    }

    mutating func addStreamFields(_ id: SlabID) {
        let downstream = exchanges[id].downstream
        if exchanges[id].echoesRequestID {
            let snapshot = exchanges[id].snapshot
            apart(&downstreams, exchanges, snapshots) {
                $0[downstream].session?.addUniqueField(
                    $2[snapshot].requestIDField.span, $1[id].note.bytes[$1[id].facts.requestID])
            }
        }
        if snapshots[current].hasTransportSecurity { addTransportSecurity(id) }
        if appendLimitValues(id) {
            let split = limitSplit
            apart(&downstreams, pathBlock) {
                $0[downstream].session?.addField("ratelimit-policy", $1.bytes.extracting(0..<split))
                $0[downstream].session?.addUniqueField(
                    "ratelimit", $1.bytes.extracting(split..<$1.byteCount))
            }
        }
    }

    mutating func forwardStreamInterim(_ id: SlabID, _ bytes: RawSpan) {
        guard let stream = exchanges[id].stream else { return }
        let downstream = exchanges[id].downstream
        downstreams[downstream].session?.beginResponse(status: responseHead.status)
        downstreams[downstream].session?.submitInterim(stream, fields: responseHead.fields, bytes: bytes)
        markDirty(downstream: downstream)
    }

    mutating func endStreamResponse(_ id: SlabID) {
        let downstream = exchanges[id].downstream
        guard let stream = exchanges[id].stream, exchanges[id].responseFraming == .frames else { return }
        markDirty(downstream: downstream)
        var trailers = ByteQueue()
        swap(&trailers, &exchanges[id].responseTrailers)
        guard !trailers.isEmpty, trailers.makeContiguous(in: largeBlocks),
            Trailers.parse(trailers.firstBytes, into: &trailerFields)
        else {
            downstreams[downstream].session?.endBody(stream)
            return
        }
        dropVouchedTrailers(trailers.firstBytes)
        downstreams[downstream].session?.beginTrailers()
        downstreams[downstream].session?.submitTrailers(
            stream, fields: trailerFields, bytes: trailers.firstBytes)
    }

    /// Our own answer on a stream; its body is in the scratch block.
    mutating func refuseStream(_ id: SlabID, _ reason: Refusal) {
        let downstream = exchanges[id].downstream
        guard let stream = exchanges[id].stream, downstreams[downstream].session?.contains(stream) == true
        else { return }
        // The session has reset it: nothing can be said on it any more.
        if downstreams[downstream].session?.isClosed(stream) == true {
            exchanges[id].facts.bytesOut = 0
            return
        }
        let hasBody = exchanges[id].method != .head && lineBlock.byteCount > 0
        var length = NumberText(lineBlock.byteCount)
        downstreams[downstream].session?.beginResponse(status: reason.status)
        if reason == .redirected {
            apart(&downstreams, pathBlock) {
                $0[downstream].session?.addField("location", $1.bytes, isIndexed: false)
            }
        } else {
            downstreams[downstream].session?.addField("content-type", "application/problem+json")
        }
        length.withBytes { downstreams[downstream].session?.addField("content-length", $0) }
        if reason != .redirected { downstreams[downstream].session?.addField("cache-control", "no-store") }
        if reason == .methodNotAllowed {
            downstreams[downstream].session?.addField("allow", Worker.allowedMethods)
        }
        if reason.hasChallenge {
            makeChallenge(id)
            apart(&downstreams, pathBlock) {
                $0[downstream].session?.addField("www-authenticate", $1.bytes)
            }
        }
        if let seconds = retryAfter(id, reason) {
            var text = NumberText(seconds)
            text.withBytes { downstreams[downstream].session?.addField("retry-after", $0) }
        }
        addStreamFields(id)
        trailerFields.removeAll()
        downstreams[downstream].session?.submitResponse(
            stream, fields: trailerFields, bytes: RawSpan(), endsStream: !hasBody)
        if hasBody {
            // Blocks for notes are left when those for bodies are not; a head without the body that it announces would be a lie.
            let isWhole =
                mayRead
                ? Worker.append(lineBlock, to: &downstreams, downstream, stream, from: blocks)
                : Worker.append(lineBlock, to: &downstreams, downstream, stream, from: notes)
            guard isWhole else {
                downstreams[downstream].session?.resetStream(stream, errorCode: HTTP2ErrorCode.internalError)
                markDirty(downstream: downstream)
                return
            }
            downstreams[downstream].session?.endBody(stream)
        }
        markDirty(downstream: downstream)
    }

    private static func append(
        _ body: borrowing Block, to downstreams: inout Slab<Downstream>, _ id: SlabID, _ stream: StreamID,
        from pool: borrowing BlockPool
    ) -> Bool {
        downstreams[id].session?.appendBody(stream, body.bytes, pool: pool) ?? false
    }

    // MARK: Connections

    /// All frames are with the kernel: bodies that waited go on, and a connection that is done ends.
    mutating func http2Flushed(_ id: SlabID, _ loop: inout EventLoop) {
        drainEvents(id, &loop)
        guard downstreams.contains(id) else { return }
        if downstreams[id].session?.isFinished == true {
            if downstreams[id].hasSentGoAway, !downstreams[id].mayHaveMore {
                close(id, &loop)
            } else {
                lingerHTTP2(id, &loop)
            }
            return
        }
        if downstreams[id].session?.wantsWrite == true, downstreams[id].session?.activeStreams ?? 0 > 0 {
            // Data that waits for the peer's window shows as a wish to write too: only a full sink is gone on with.
            if downstreams[id].plaintext.byteCount >= Worker.sinkBytes { queue(downstream: id, &loop) }
        }
        // All that may be sent is sent: what is left waits for the client's windows.
        if downstreams[id].session?.holdsOutbound == true { watchRate(id, &loop) }
        // Streams whose exchange is over may still owe their client bytes that it does not take.
        // A PING is no sign that it takes them: only the first flush after the last exchange sets the clock.
        let owesNothing = downstreams[id].session?.activeStreams == 0
        if downstreams[id].openStreams == 0, !downstreams[id].hasSentGoAway,
            owesNothing || downstreams[id].deadline == .max
        {
            setDeadline(id, loop.now &+ snapshots[current].http.idleTimeout, &loop)
            if downstreams[id].windowEnds == .max { setWindow(id, loop.now &+ Worker.napDelay, &loop) }
        }
    }

    /// Lets a session nap whose connection has been idle for a while, or looks again.
    mutating func napIfIdle(_ id: SlabID, _ loop: inout EventLoop) {
        guard downstreams[id].phase == .http2, downstreams[id].openStreams == 0,
            downstreams[id].session?.activeStreams == 0, downstreams[id].isFlushed
        else { return }
        // Its deadline was set when it fell idle.
        let idleTimeout = snapshots[current].http.idleTimeout
        let since = downstreams[id].deadline &- min(idleTimeout, downstreams[id].deadline)
        if loop.now &- min(since, loop.now) >= Worker.napDelay {
            downstreams[id].session?.nap()
        } else if downstreams[id].deadline != .max {
            setWindow(id, loop.now &+ Worker.napDelay, &loop)
        }
    }

    /// nghttp2 gave up: its peer is told why, and all is over.
    private mutating func failHTTP2(_ id: SlabID, _ loop: inout EventLoop) {
        abandonExchanges(of: id, &loop)
        guard downstreams.contains(id) else { return }
        guard downstreams[id].writeLastFrame(from: blocks) else {
            close(id, &loop)
            return
        }
        lingerHTTP2(id, &loop)
    }

    /// A peer that broke the rules is told so by GOAWAY, and is busy sending: to close now would send a reset, which overtakes
    /// what it was told.
    private mutating func lingerHTTP2(_ id: SlabID, _ loop: inout EventLoop) {
        abandonExchanges(of: id, &loop)
        guard downstreams.contains(id) else { return }
        downstreams[id].phase = .lingering
        downstreams[id].lingersAfterFlush = true
        downstreams[id].inbound.removeAll()
        setDeadline(id, loop.now &+ Worker.lingerNanoseconds, &loop)
        markDirty(downstream: id)
    }

    mutating func http2HeadOverdue(_ id: SlabID) {
        downstreams[id].headEnds = .max
        guard downstreams[id].phase == .http2, !downstreams[id].hasSentGoAway else { return }
        settings.meters.count(.headTimeout)
        downstreams[id].session?.terminate(errorCode: HTTP2ErrorCode.enhanceYourCalm)
        markDirty(downstream: id)
    }

    mutating func http2Overdue(_ id: SlabID, _ loop: inout EventLoop) {
        let bodyIdle = snapshots[current].http.bodyIdleTimeout
        if downstreams[id].hasSentGoAway, !downstreams[id].hasSentLastGoAway {
            // The notice was sent a while ago: whoever saw it sends nothing new any more. The connection ends when its
            // last stream has.
            downstreams[id].hasSentLastGoAway = true
            downstreams[id].session?.goAway()
            setDeadline(id, loop.now &+ bodyIdle, &loop)
            markDirty(downstream: id)
            return
        }
        if downstreams[id].isBlocked {
            blockedOverdue(id, &loop)
            return
        }
        guard downstreams[id].openStreams == 0 else { return }
        endIdleHTTP2(id)
    }

    /// Says that this connection is over, and leaves.
    mutating func endIdleHTTP2(_ id: SlabID) {
        if !downstreams[id].hasSentGoAway {
            downstreams[id].session?.goAway()
            downstreams[id].hasSentGoAway = true
            downstreams[id].hasSentLastGoAway = true
        }
        downstreams[id].closesAfterFlush = true
        markDirty(downstream: id)
    }

    /// Whether a paused stream's client has taken anything since the last look, or its whole connection is blocked, which
    /// has a clock of its own.
    mutating func hasStreamMoved(_ id: SlabID) -> Bool {
        guard let stream = exchanges[id].stream else { return false }
        let downstream = exchanges[id].downstream
        let left = downstreams[downstream].session?.outboundCount(stream) ?? 0
        let hasMoved = left < exchanges[id].pausedBytes || downstreams[downstream].isBlocked
        exchanges[id].pausedBytes = left
        return hasMoved
    }

    /// The first step of two (RFC 9113 §6.8): no more streams please; the second, with the last id, follows when what the
    /// client sent before it knew has had time to arrive.
    mutating func beginGoAway(_ id: SlabID, _ loop: inout EventLoop) {
        guard !downstreams[id].hasSentGoAway else { return }
        downstreams[id].hasSentGoAway = true
        downstreams[id].session?.shutdownNotice()
        setDeadline(id, loop.now &+ 500_000_000, &loop)
        markDirty(downstream: id)
    }
}
