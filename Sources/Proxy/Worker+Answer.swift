import HTTP
import HTTP1
import HTTP2
import JWT
import LinuxIO
import Memory
import RateLimit
import Reactor
import TLS
import Telemetry
import Upstreams

// What the machine decided, done: answers of our own, broken answers, the end of an exchange.
extension Worker {
    mutating func perform(_ action: ExchangeMachine.Action, _ id: SlabID, _ loop: inout EventLoop) {
        switch action {
        case .none, .forwardHead, .openTunnel: return
        case .send: sendRequest(id, &loop)
        case .retry:
            dropUpstream(id, &loop)
            retry(id, &loop)
        case .refuse(let reason):
            dropUpstream(id, &loop)
            refuse(id, reason, &loop)
        case .finish(let isReusable): finish(id, isReusable: isReusable, &loop)
        case .cut(let reason):
            exchanges[id].facts.reason = reason
            dropUpstream(id, &loop)
            if exchanges[id].isTunnel { cutTunnel(id, &loop) } else { cut(id, &loop) }
        case .abandon:
            if exchanges[id].keyWait != .none { abandonWait(id) }
            exchanges[id].facts.reason = .clientClosed
            if !exchanges[id].hasAnswered { exchanges[id].facts.status = Refusal.clientClosed.status }
            // A tunnel that breaks on one side breaks on the other.
            if exchanges[id].isTunnel {
                pools.connections[exchanges[id].upstream].descriptor.resetOnClose()
            }
            dropUpstream(id, &loop)
            conclude(id, &loop)
        }
    }

    // MARK: The connection to the service

    /// Lets go of whatever the exchange has of the service's side; the connection cannot be used again.
    private mutating func dropUpstream(_ id: SlabID, _ loop: inout EventLoop) {
        let waiter = exchanges[id].waiter
        if !waiter.isNone {
            pools.leaveLine(waiter)
            exchanges[id].waiter = .none
        }
        let connection = exchanges[id].upstream
        guard !connection.isNone else { return }
        if exchanges[id].isToHTTP2 {
            dropStream(id, isComplete: false, &loop)
            return
        }
        exchanges[id].upstream = .none
        serveLine(pools.close(connection, &loop), &loop)
    }

    /// The service has room for one more connection: whose turn is it?
    mutating func serveLine(_ service: Int, _ loop: inout EventLoop) {
        while let next = pools.nextInLine(service) {
            guard exchanges.contains(next) else { continue }
            exchanges[next].waiter = .none
            exchanges[next].deadline = .max
            guard preferIdleEndpoint(next) else {
                perform(exchanges[next].machine.handle(.refused(.overloaded)), next, &loop)
                continue
            }
            lease(next, &loop)
            return
        }
    }

    /// Who waited takes the connection that has come free, whichever endpoint of the service it leads to.
    /// `false` when its head could not be written anew.
    private mutating func preferIdleEndpoint(_ id: SlabID) -> Bool {
        let snapshot = exchanges[id].snapshot
        guard !snapshot.isNone, exchanges[id].route >= 0 else { return true }
        let service = snapshots[snapshot].routes[exchanges[id].route].service
        let count = snapshots[snapshot].services[service].endpoints.count
        let chosen = exchanges[id].endpointChoice
        guard count > 1,
            pools.idleCount(endpoint: snapshots[snapshot].services[service].endpoints[chosen].index) == 0
        else { return true }
        for choice in 0..<count
        where pools.idleCount(endpoint: snapshots[snapshot].services[service].endpoints[choice].index) > 0 {
            guard exchanges[id].hostValue.isEmpty || rewriteHost(id, service: service, choice: choice) else {
                return false
            }
            exchanges[id].endpointChoice = choice
            return true
        }
        return true
    }

    /// The answer is over: what the machine makes of that, nearly always that all is said.
    @inline(__always) mutating func answerEnded(_ id: SlabID, _ loop: inout EventLoop) {
        let action = exchanges[id].machine.next(after: .responseEnded)
        if case .finish(let isReusable) = action {
            finish(id, isReusable: isReusable, &loop)
        } else {
            perform(action, id, &loop)
        }
    }

    private mutating func finish(_ id: SlabID, isReusable: Bool, _ loop: inout EventLoop) {
        let connection = exchanges[id].upstream
        if exchanges[id].isToHTTP2 {
            dropStream(id, isComplete: isReusable, &loop)
            conclude(id, &loop)
            return
        }
        // Bytes behind the answer belong to no request: whatever they are, the next one must not get them.
        let isClean =
            isReusable && exchanges[id].isUpstreamPersistent && pools.connections[connection].isQuiet
            && !pools.connections[connection].isEnding
            && !pools.connections[connection].mayHaveMore
        if isClean {
            exchanges[id].upstream = .none
            let service = pools.connections[connection].service
            let isWanted = pools.giveBack(
                connection, keepaliveIdle: exchanges[id].keepaliveIdle,
                keepaliveConnections: exchanges[id].keepaliveConnections, &loop)
            conclude(id, &loop)
            if isWanted { serveLine(service, &loop) }
        } else {
            dropUpstream(id, &loop)
            conclude(id, &loop)
        }
    }

    // MARK: Answers of our own

    private mutating func refuse(_ id: SlabID, _ reason: Refusal, _ loop: inout EventLoop) {
        if exchanges[id].keyWait != .none { abandonWait(id) }
        exchanges[id].facts.status = reason.status
        exchanges[id].facts.reason = reason
        exchanges[id].hasAnswered = true
        switch reason {
        case .uriTooLong: settings.meters.count(.requestLine)
        case .headTooLarge: settings.meters.count(.head)
        case .bodyTooLarge: settings.meters.count(.body)
        default: break
        }
        if exchanges[id].facts.requestID.isEmpty { makeRequestID(id, loop) }
        if reason == .redirected { lineBlock.removeAll() } else { writeProblem(id, reason) }
        exchanges[id].facts.bytesOut = exchanges[id].method == .head ? 0 : lineBlock.byteCount
        if exchanges[id].isGRPC {
            exchanges[id].facts.bytesOut = 0
            refuseCall(id, reason)
        } else if exchanges[id].stream != nil {
            refuseStream(id, reason)
        } else {
            drainBuffered(id)
            refuseHTTP1(id, reason)
        }
        conclude(id, &loop)
    }

    /// The body of the answer (RFC 9457), into the scratch block.
    private mutating func writeProblem(_ id: SlabID, _ reason: Refusal) {
        lineBlock.removeAll()
        let told = reason.told
        lineBlock.append("{\"type\":\"")
        lineBlock.append(Refusal.typePrefix)
        lineBlock.append(told.name)
        lineBlock.append("\",\"title\":\"")
        lineBlock.append(told.title)
        lineBlock.append("\",\"status\":")
        lineBlock.append(number: told.status)
        lineBlock.append(",\"reason\":\"")
        lineBlock.append(told.name)
        if let detail = exchanges[id].tokenRefusal, reason.status == 401 {
            lineBlock.append("\",\"detail\":\"")
            lineBlock.append(detail.errorDescription)
        }
        lineBlock.append("\",\"request_id\":\"")
        apart(&lineBlock, exchanges) { $0.append($1[id].note.bytes[$1[id].facts.requestID]) }
        lineBlock.append("\"}\n")
    }

    /// Blocks for notes are left when those for bodies are not, and hold an answer of ours unless it tells a target.
    private mutating func headWriter(isSmall: Bool) -> HeadWriter? {
        !mayRead && isSmall ? HeadWriter(from: notes) : HeadWriter(from: blocks)
    }

    private mutating func refuseHTTP1(_ id: SlabID, _ reason: Refusal) {
        let downstream = exchanges[id].downstream
        // A target of nearly any length goes back to its client.
        let isLarge = reason == .redirected && pathBlock.byteCount > blocks.blockCapacity &- 2048
        let isSmall = reason != .redirected
        guard var writer = isLarge ? HeadWriter(from: largeBlocks) : headWriter(isSmall: isSmall) else {
            downstreams[downstream].closesAfterAnswer = true
            return
        }
        writer.statusLine(reason.status)
        if reason == .redirected {
            writer.field("Location: ", pathBlock.bytes)
            writer.text("Content-Length: 0\r\n")
        } else {
            writer.text("Content-Type: application/problem+json\r\n")
            writer.field("Content-Length: ", number: lineBlock.byteCount)
            writer.text("Cache-Control: no-store\r\n")
        }
        if reason == .methodNotAllowed { writer.field("Allow: ", Worker.allowedMethods.utf8Span) }
        if reason.hasChallenge {
            makeChallenge(id)
            writer.field("WWW-Authenticate: ", pathBlock.bytes)
        }
        if let seconds = retryAfter(id, reason) { writer.field("Retry-After: ", number: seconds) }
        writeAnswerFields(&writer, id)
        writer.end()
        if exchanges[id].method != .head { writer.bytes(lineBlock.bytes) }
        if !writer.finish(into: &downstreams[downstream].plaintext) {
            downstreams[downstream].closesAfterAnswer = true
        }
        markDirty(downstream: downstream)
    }

    /// RFC 9110 §15.5.6: a 405 names what is allowed. Other methods than these pass too; these are known to be.
    static var allowedMethods: StaticString { "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS" }

    mutating func retryAfter(_ id: SlabID, _ reason: Refusal) -> Int? {
        if reason == .rateLimited, let answer = exchanges[id].limitAnswer { return answer.retryAfterSeconds }
        let seconds = reason.told.retryAfterSeconds
        return seconds > 0 ? seconds : nil
    }

    /// The state of the bucket that decided, or that is always told.
    mutating func writeLimitFields(_ writer: inout HeadWriter, _ id: SlabID) {
        guard appendLimitValues(id) else { return }
        let split = limitSplit
        writer.field("RateLimit-Policy: ", pathBlock.bytes.extracting(0..<split))
        writer.field("RateLimit: ", pathBlock.bytes.extracting(split..<pathBlock.byteCount))
    }

    /// Puts both values into the scratch block for paths, which nobody needs any more; `limitSplit` is where the second
    /// begins. `false` when there is nothing to tell.
    mutating func appendLimitValues(_ id: SlabID) -> Bool {
        let index = exchanges[id].limitIndex
        let snapshot = exchanges[id].snapshot
        guard index >= 0, !snapshot.isNone else { return false }
        let route = exchanges[id].route
        pathBlock.removeAll()
        guard let answer = exchanges[id].limitAnswer else { return false }
        for window in 0..<snapshots[snapshot].routes[route].limits[index].windows.count {
            let limit = snapshots[snapshot].routes[route].limits[index].windows[window].limit
            if window > 0 { pathBlock.append(", ") }
            let isWritten = apart(&pathBlock, snapshots) {
                limit.appendPolicy(
                    name: $1[snapshot].routes[route].limits[index].windows[window].name.span, to: &$0)
            }
            guard isWritten else { return false }
        }
        limitSplit = pathBlock.byteCount
        let window = exchanges[id].limitWindow
        return apart(&pathBlock, snapshots) {
            answer.appendState(
                name: $1[snapshot].routes[route].limits[index].windows[window].name.span, to: &$0)
        }
    }

    /// A body that is here already is read to its end, so that the connection can go on behind it.
    private mutating func drainBuffered(_ id: SlabID) {
        let downstream = exchanges[id].downstream
        guard !exchanges[id].requestBody.isEnded, downstreams[downstream].phase == .http1 else { return }
        var step = BodyReader.Step.limitReached
        while step == .limitReached {
            var trash = ByteQueue()
            step = exchanges[id].moveRequest(
                from: &downstreams[downstream].inbound, to: &trash, pool: blocks, limit: Worker.sinkBytes)
        }
        if step == .ended { exchanges[id].machine.noteRequestEnd() }
    }

    /// A part of the answer is out: the client must see that the rest is missing.
    private mutating func cut(_ id: SlabID, _ loop: inout EventLoop) {
        let downstream = exchanges[id].downstream
        if let stream = exchanges[id].stream {
            // A service that cancels is passed on as one, and too slow is the client's doing; any other end is our failure.
            let isCancelled =
                exchanges[id].resetCode == HTTP2ErrorCode.cancel
                || exchanges[id].facts.reason == .requestTimeout
            downstreams[downstream].session?.resetStream(
                stream, errorCode: isCancelled ? HTTP2ErrorCode.cancel : HTTP2ErrorCode.internalError)
            downstreams[downstream].session?.setToken(stream, 0)
            markDirty(downstream: downstream)
            conclude(id, &loop)
            return
        }
        let isEndMarked = exchanges[id].responseFraming != .close
        downstreams[downstream].exchange = .none
        conclude(id, &loop)
        // A missing last chunk or missing bytes show by themselves; a body that ends with its connection needs a reset.
        if isEndMarked {
            downstreams[downstream].closesAfterFlush = true
            markDirty(downstream: downstream)
        } else {
            close(downstream, &loop, reset: true)
        }
    }

    // MARK: The end

    /// Writes the access line, counts, and frees the exchange; then the connection goes on, or ends.
    mutating func conclude(_ id: SlabID, _ loop: inout EventLoop) {
        record(id, now: loop.now)
        if !exchanges[id].snapshot.isNone { unpin(id) }
        if !exchanges[id].timer.isNone { loop.timers.cancel(exchanges[id].timer) }
        let downstream = exchanges[id].downstream
        let stream = exchanges[id].stream
        let hasRequestEnded = exchanges[id].machine.hasRequestEnded
        let holdsClosedStream = exchanges[id].holdsClosedStream
        let countSlot = exchanges[id].countSlot
        if countSlot >= 0 { settings.inFlight.leave(slot: countSlot) }
        _ = exchanges.remove(id)
        guard downstreams.contains(downstream) else { return }
        if let stream {
            downstreams[downstream].openStreams &-= 1
            if downstreams[downstream].openStreams == 0, downstreams[downstream].phase == .lingering {
                // Its client is gone: it was kept for its tunnels.
                downstreams[downstream].closesAfterFlush = true
                markDirty(downstream: downstream)
            }
            if holdsClosedStream {
                downstreams[downstream].session?.release(stream)
                markDirty(downstream: downstream)
            } else if downstreams[downstream].session?.contains(stream) == true {
                downstreams[downstream].session?.setToken(stream, 0)
                if !hasRequestEnded { downstreams[downstream].session?.discardBody(stream) }
            }
            return
        }
        guard downstreams[downstream].exchange == id else { return }
        downstreams[downstream].exchange = .none
        if downstreams[downstream].closesAfterAnswer {
            // A client that did not ask for the end, but is told of it because we drain, may have its next request on the
            // way (RFC 9112 §9.6).
            let isQuiet =
                hasRequestEnded && downstreams[downstream].inbound.isEmpty
                && !downstreams[downstream].mayHaveMore && !isDraining
            if isQuiet {
                downstreams[downstream].closesAfterFlush = true
            } else {
                // Closing with unread bytes would send a reset, which can overtake the answer.
                downstreams[downstream].lingersAfterFlush = true
            }
            setDeadline(downstream, loop.now &+ snapshots[current].http.bodyIdleTimeout, &loop)
            markDirty(downstream: downstream)
        } else {
            setReadDeadline(downstream, loop.now &+ snapshots[current].http.idleTimeout, &loop)
            goOn(downstream, &loop)
        }
    }

    /// A pipelined request may stand behind the last one: it is looked at in the next turn, unless too much is owed.
    @inline(__always) private mutating func goOn(_ id: SlabID, _ loop: inout EventLoop) {
        guard !downstreams[id].inbound.isEmpty || downstreams[id].mayHaveMore || downstreams[id].hasTLS else {
            return
        }
        goOnReading(id, &loop)
    }

    @inline(never) private mutating func goOnReading(_ id: SlabID, _ loop: inout EventLoop) {
        guard !downstreams[id].isLeaving, !downstreams[id].isFull else { return }
        if !downstreams[id].inbound.isEmpty || downstreams[id].mayHaveMore
            || !downstreams[id].ciphertext.isEmpty
            || downstreams[id].tls?.hasPendingPlaintext == true
        {
            queue(downstream: id, &loop)
        }
    }

    @inline(__always) private mutating func record(_ id: SlabID, now: UInt64) {
        let duration = Int((now &- min(exchanges[id].facts.began, now)) / 1000)
        let reason = exchanges[id].facts.reason.map(\.rawValue) ?? AccessRecord.noReason
        settings.meters.countExchange(
            route: exchanges[id].facts.routeLabel, status: exchanges[id].facts.status, reason: reason,
            bytesIn: exchanges[id].facts.bytesIn, bytesOut: exchanges[id].facts.bytesOut,
            durationMicroseconds: duration)
        guard exchanges[id].facts.isLogged, settings.log.isOn else { return }
        writeRecord(id, durationMicroseconds: duration, reason: reason)
    }

    /// Writes the access line.
    private mutating func writeRecord(_ id: SlabID, durationMicroseconds duration: Int, reason: UInt8) {
        let facts = exchanges[id].facts
        let downstream = exchanges[id].downstream
        guard downstreams.contains(downstream) else { return }
        var record = AccessRecord()
        record.wallMilliseconds = facts.beganWall / 1_000_000
        record.clientPort = Int(downstreams[downstream].peer.port)
        record.route = facts.routeLabel
        record.service = facts.serviceLabel
        record.endpoint = facts.endpoint
        record.listener = Int(downstreams[downstream].listenerLabel)
        record.status = facts.status
        record.reason = reason
        switch facts.version {
        case .http10: record.httpVersion = .http10
        case .http11: record.httpVersion = .http11
        case .http2: record.httpVersion = .http2
        }
        record.tlsVersion = downstreams[downstream].tlsVersion
        record.bytesIn = facts.bytesIn
        record.bytesOut = facts.bytesOut
        record.durationMicroseconds = duration
        if facts.authNanoseconds > 0 { record.authMicroseconds = Int(facts.authNanoseconds / 1000) }
        if facts.connected >= facts.leaseBegan, facts.connected > 0 {
            record.connectMicroseconds = Int((facts.connected &- facts.leaseBegan) / 1000)
        }
        if facts.firstByte >= facts.began, facts.firstByte > 0 {
            record.firstByteMicroseconds = Int((facts.firstByte &- facts.began) / 1000)
        }
        record.generation = facts.generation
        lineBlock.removeAll()
        let client = exchanges[id].keepClient()
        let isEncoded = Worker.encode(record, facts, note: exchanges, id, client, &encoder, into: &lineBlock)
        if !isEncoded || !settings.log.ring.write(lineBlock.bytes) { settings.meters.countLogDrops(1) }
    }

    // Apart from the worker, so that the note is a look at the exchanges alone.
    private static func encode(
        _ record: AccessRecord, _ facts: ExchangeFacts, note exchanges: borrowing Slab<Exchange>,
        _ id: SlabID,
        _ client: ByteRange, _ encoder: inout AccessLineEncoder, into block: inout Block
    ) -> Bool {
        let note = exchanges[id].note.bytes
        return encoder.encode(
            record, requestID: note[facts.requestID], traceID: note[facts.traceID], client: note[client],
            method: note[facts.method],
            host: note[facts.host], path: note[facts.path], target: note[facts.target],
            subject: note[facts.subject], into: &block)
    }

    // MARK: Flush

    mutating func flushDownstream(_ id: SlabID, _ loop: inout EventLoop) {
        downstreams[id].isDirty = false
        guard !downstreams[id].isBlocked else { return }
        var written = 0
        writing: while true {
            if !downstreams[id].saysAsItIs {
                guard fillSocketQueue(id, &loop), downstreams.contains(id) else { return }
            }
            if downstreams[id].hasTLS ? downstreams[id].outbound.isEmpty : downstreams[id].plaintext.isEmpty {
                break
            }
            switch downstreams[id].send() {
            case .bytes(let count):
                written &+= count
                downstreams[id].sentBytes &+= count
                if written > 4 * Worker.turnBytes {
                    queue(downstream: id, &loop)
                    return
                }
                // Nothing is behind what such a connection has said.
                if downstreams[id].saysAsItIs, downstreams[id].plaintext.isEmpty { break writing }
            case .wouldBlock, .outOfBlocks, .ended:
                block(id, written: written, &loop)
                return
            case .failed:
                loseClient(id, &loop)
                return
            }
        }
        // Plaintext that found no block to be encrypted into is still owed; the connection is queued for it.
        guard downstreams[id].isFlushed else { return }
        flushed(id, &loop)
    }

    /// Frames and encrypts what is next. `false` when the connection is over or must wait for blocks.
    private mutating func fillSocketQueue(_ id: SlabID, _ loop: inout EventLoop) -> Bool {
        if downstreams[id].phase == .http2, downstreams[id].plaintext.byteCount < Worker.framedBytes {
            let room = Worker.framedBytes &- downstreams[id].plaintext.byteCount
            switch downstreams[id].writeFrames(limit: room, from: blocks) {
            case .done, .limitReached: break
            case .outOfBlocks: awaitBlocks(downstream: id, &loop)
            case .failed:
                close(id, &loop)
                return false
            }
            drainEvents(id, &loop)
            guard downstreams.contains(id) else { return false }
        }
        guard downstreams[id].hasTLS else { return true }
        if !downstreams[id].plaintext.isEmpty {
            switch downstreams[id].encrypt(limit: Worker.sinkBytes, from: blocks) {
            case .progress: break
            case .outOfBlocks: awaitBlocks(downstream: id, &loop)
            case .failed:
                close(id, &loop)
                return false
            }
        } else if downstreams[id].isLeaving, !downstreams[id].hasSaidGoodbye, !downstreams[id].endsByReset {
            downstreams[id].hasSaidGoodbye = true
            downstreams[id].sayGoodbye(from: blocks)
        }
        return true
    }

    /// The kernel takes no more: the poller will tell, and the client has so long to take what we hold.
    private mutating func block(_ id: SlabID, written: Int, _ loop: inout EventLoop) {
        downstreams[id].isBlocked = true
        // The half second between the two steps of a drain stands.
        let isGoingAway = downstreams[id].hasSentGoAway && !downstreams[id].hasSentLastGoAway
        if isTunnel(id) {
            // Its own clock runs, as long as nothing moves.
            let exchange = downstreams[id].exchange
            if written > 0 { noteMove(exchange, exchanges[exchange].upstream, &loop) }
        } else if !isGoingAway, written > 0 || downstreams[id].deadline == .max {
            downstreams[id].blockedMark = downstreams[id].takenBytes
            setDeadline(id, loop.now &+ snapshots[current].http.bodyIdleTimeout, &loop)
        }
        watchRate(id, &loop)
        guard !downstreams[id].watchesWriting else { return }
        downstreams[id].watchesWriting = true
        let token = Token(kind: TokenKind.downstream, id: id)
        do {
            try loop.modify(downstreams[id].descriptor.number, token, .readingAndWriting)
        } catch {
            close(id, &loop)
        }
    }

    /// The kernel has everything: sources that waited go on, and what was to end ends.
    @inline(__always) private mutating func flushed(_ id: SlabID, _ loop: inout EventLoop) {
        // What lies in the kernel alone holds nothing of ours.
        downstreams[id].takenMark = -1
        if downstreams[id].closesAfterFlush {
            if downstreams[id].endsByReset { resetOnceReceived(id, &loop) } else { close(id, &loop) }
            return
        }
        if downstreams[id].lingersAfterFlush {
            downstreams[id].lingersAfterFlush = false
            downstreams[id].phase = .lingering
            downstreams[id].descriptor.shutdownWriting()
            setDeadline(id, loop.now &+ Worker.lingerNanoseconds, &loop)
            queue(downstream: id, &loop)
            return
        }
        if downstreams[id].phase == .lingering { return }
        if downstreams[id].phase == .http2 {
            http2Flushed(id, &loop)
            return
        }
        let exchange = downstreams[id].exchange
        if exchange.isNone {
            // A write was blocked, and its deadline is not that of an idle connection.
            if downstreams[id].watchesWriting, downstreams[id].scannedBytes == 0 {
                setDeadline(id, loop.now &+ snapshots[current].http.idleTimeout, &loop)
            }
            goOn(id, &loop)
            return
        }
        if downstreams[id].endsWriting { downstreams[id].descriptor.shutdownWriting() }
        // A blocked write has set a deadline; now the client owes nothing but what is left of its request.
        if exchanges[exchange].requestBody.isEnded || exchanges[exchange].isRequestPaused {
            setDeadline(id, .max, &loop)
        }
        guard exchanges[exchange].isResponsePaused else { return }
        exchanges[exchange].isResponsePaused = false
        resumeResponse(exchange, &loop)
    }

    /// The client's side has room again.
    mutating func resumeResponse(_ id: SlabID, _ loop: inout EventLoop) {
        let connection = exchanges[id].upstream
        guard !connection.isNone else { return }
        if exchanges[id].isToHTTP2 {
            pumpStreamResponse(id, &loop)
            return
        }
        pools.setDeadline(connection, loop.now &+ exchanges[id].idleTimeout, &loop)
        queue(upstream: connection, &loop)
    }
}
