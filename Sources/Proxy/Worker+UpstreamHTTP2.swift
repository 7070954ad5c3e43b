import HTTP
import HTTP2
import LinuxIO
import Memory
import Reactor
import TLS
import Telemetry
import Upstreams

// Connections of HTTP/2 to services: how they begin and end, what they bring, and their health. What an exchange does with
// its stream is in Worker+UpstreamStreams.
extension Worker {
    /// How long a connection that carries exchanges may be silent before it is asked for a sign of life, and how long that
    /// may take. Nanoseconds.
    static var silence: UInt64 { 10_000_000_000 }
    static var pingPatience: UInt64 { 5_000_000_000 }
    /// Bytes of one read past which the next one is made large.
    static var largeRead: Int { 8192 }

    /// The connection stands: the preface goes out. The service's SETTINGS are waited for, since they tell how many
    /// streams it takes, and that it speaks HTTP/2 at all: what it refused before them need not be tried again.
    mutating func greet(_ id: SlabID, _ loop: inout EventLoop) {
        var settings = HTTP2Settings(
            head: HeadLimits(
                requestLine: 16384, head: Worker.responseHeadBytes, fields: Worker.responseFields &- 4))
        settings.maxConcurrentStreams = ConnectionPools.streamsPerConnection
        settings.resetsPerSecond = 1000
        // Credit for the requests of all clients comes over this one connection.
        settings.controlFramesPerSecond = 20_000
        settings.outboundBytes = Worker.sinkBytes
        pools.connections[id].beginHTTP2(settings, workspace: http2Workspace)
        pools.beginGreeting(id)
        pools.connections[id].lastReceived = loop.now
        markDirty(upstream: id)
        driveShared(id, &loop)
    }

    mutating func sharedReady(_ id: SlabID, _ readiness: Readiness, _ loop: inout EventLoop) {
        if readiness.isWritable, pools.connections[id].isBlocked {
            pools.connections[id].isBlocked = false
            markDirty(upstream: id)
        }
        if readiness.isReadable || readiness.isEnding {
            pools.connections[id].mayHaveMore = true
            if readiness.isEnding { pools.connections[id].isEnding = true }
            driveShared(id, &loop)
        }
    }

    /// Takes what has come, as far as the connection's share of the turn allows. What a stream cannot hand on is held
    /// back by its own window, so that it never stops the others.
    mutating func driveShared(_ id: SlabID, _ loop: inout EventLoop) {
        while pools.connections.contains(id), !pools.connections[id].isLost {
            if !pools.connections[id].inbound.isEmpty {
                if case .failed = pools.connections[id].readFrames(now: loop.now, from: blocks) {
                    // What came whole before the failure is told first.
                    drainShared(id, &loop)
                    if pools.connections.contains(id), !pools.connections[id].isLost { loseShared(id, &loop) }
                    return
                }
                markDirty(upstream: id)
            }
            drainShared(id, &loop)
            guard pools.connections.contains(id), !pools.connections[id].isLost else { return }
            if pools.connections[id].hasEnded {
                loseShared(id, &loop)
                return
            }
            guard readShared(id, &loop) else { return }
        }
    }

    /// One step. `true` when there is something to look at.
    private mutating func readShared(_ id: SlabID, _ loop: inout EventLoop) -> Bool {
        let isBody = pools.connections[id].readsLarge
        // Its windows free blocks, and its sign of life keeps all of its streams.
        let isLong = isBody && !mayRead && !isSpokenTo(id)
        switch readService(id, isBody: isBody, isLong: isLong, &loop) {
        case .bytes(let count):
            pools.connections[id].lastReceived = loop.now
            pools.connections[id].readsLarge = count >= Worker.largeRead
            return true
        case .ended: return true
        case .paused: return false
        case .broken:
            loseShared(id, &loop)
            return false
        }
    }

    private mutating func isSpokenTo(_ id: SlabID) -> Bool {
        pools.connections[id].session?.holdsOutbound == true
            || pools.connections[id].session?.isPingWaiting == true
    }

    // MARK: What it told

    /// The exchange that a stream carries, `nil` when it carries none.
    mutating func carried(by stream: StreamID, on connection: SlabID) -> SlabID? {
        let word = pools.connections[connection].session?.token(stream) ?? 0
        guard word != 0 else { return nil }
        let id = Token(word: word &- 1).id
        return exchanges.contains(id) ? id : nil
    }

    /// Handles all that the session has to tell. Nothing here writes frames: that is the flush's alone.
    mutating func drainShared(_ id: SlabID, _ loop: inout EventLoop) {
        while pools.connections.contains(id), let event = pools.connections[id].session?.nextEvent() {
            switch event {
            case .none: return
            case .settings:
                if pools.connections[id].phase == .greeting {
                    pools.share(id)
                    pools.setDeadline(id, loop.now &+ Worker.silence, &loop)
                    if pools.connections[id].requestRoom == 0 {
                        pools.pause(endpoint: pools.connections[id].endpoint, &loop)
                    }
                }
                serveWaiters(pools.connections[id].endpoint, &loop)
            case .interim(let stream):
                if let exchange = carried(by: stream, on: id) { forwardInterims(exchange, stream, id, &loop) }
            case .response(let stream, _):
                if let exchange = carried(by: stream, on: id) { readStreamHead(exchange, stream, id, &loop) }
            case .data(let stream, _), .trailers(let stream):
                if let exchange = carried(by: stream, on: id) { pumpStreamResponse(exchange, &loop) }
            case .starved(let stream):
                if let exchange = carried(by: stream, on: id) {
                    perform(exchanges[exchange].machine.handle(.responseBroken(.overloaded)), exchange, &loop)
                }
            case .drained(let stream):
                if let exchange = carried(by: stream, on: id) { resumeStreamRequest(exchange, &loop) }
            case .reset(let stream, let code):
                if let exchange = carried(by: stream, on: id) {
                    streamReset(exchange, stream, id, code, &loop)
                }
            case .closed(let stream):
                // A whole answer that its client has not taken yet stays until it has.
                if carried(by: stream, on: id) == nil { pools.connections[id].session?.release(stream) }
            case .goAway:
                pools.unshare(id)
                if pools.connections[id].streams == 0 {
                    loseShared(id, &loop)
                    return
                }
            case .request, .malformed: continue
            }
        }
    }

    /// Exchanges in the endpoint's line, as far as there is room or a connection may be made.
    mutating func serveWaiters(_ endpoint: Int, _ loop: inout EventLoop) {
        // Whoever cannot be served comes back to the line: only those that are in it now.
        var count = pools.waiterCount(endpoint: endpoint)
        while count > 0 {
            count &-= 1
            let hasRoom = pools.hasRoom(endpoint: endpoint)
            // One connection is made at a time; the others wait for it.
            guard hasRoom || pools.mayConnect(endpoint: endpoint, now: loop.now) else { return }
            guard let next = pools.nextWaiter(endpoint: endpoint) else { return }
            guard exchanges.contains(next) else { continue }
            exchanges[next].waiter = .none
            exchanges[next].deadline = .max
            lease(next, &loop)
            if !hasRoom { return }
        }
    }

    // MARK: Its end

    /// The connection is of no use any more. Whole answers that wait for their clients are still handed on.
    @inline(never) mutating func loseShared(_ id: SlabID, _ loop: inout EventLoop) {
        guard pools.connections.contains(id), !pools.connections[id].isLost else { return }
        if pools.connections[id].phase == .greeting {
            // What it sent is no HTTP/2, or it closed at once.
            connectFailed(id, .upstreamInvalid, &loop)
            return
        }
        let endpoint = pools.connections[id].endpoint
        pools.connections[id].isLost = true
        pools.connections[id].mayHaveMore = false
        pools.unshare(id)
        for slot in 0..<(pools.connections[id].session?.slotCount ?? 0) {
            guard pools.connections.contains(id),
                let stream = pools.connections[id].session?.stream(inSlot: slot),
                let exchange = carried(by: stream, on: id)
            else { continue }
            let isWhole = pools.connections[id].session?.hasRequestEnded(stream) == true
            if isWhole, exchanges[exchange].machine.phase == .streaming {
                // What is left of its request has nowhere to go: its client is read on, so that it comes to read its answer.
                pools.connections[id].session?.dropOutbound(stream)
                resumeStreamRequest(exchange, &loop)
                continue
            }
            // A head that is whole may still be looked at, where nobody has come to it.
            let wasWritten = pools.connections[id].session?.wasWritten(stream) ?? true
            // Credit, and what came on other streams, says nothing about this one.
            let isStale =
                exchanges[exchange].isStreamReused
                && pools.connections[id].session?.hasAnswered(stream) == false
            exchanges[exchange].failedEndpoint = endpoint
            let isUntouched = !wasWritten && exchanges[exchange].machine.isKept
            perform(
                exchanges[exchange].machine.handle(
                    .upstreamLost(isUntouched: isUntouched, isStale: isStale)), exchange, &loop)
        }
        if pools.connections.contains(id), pools.connections[id].streams == 0 { _ = pools.close(id, &loop) }
        serveWaiters(endpoint, &loop)
    }

    /// Says goodbye on a connection without streams, and closes it.
    mutating func retireShared(_ id: SlabID, _ loop: inout EventLoop) {
        let endpoint = pools.connections[id].endpoint
        if !pools.connections[id].isLost {
            pools.connections[id].session?.terminate(errorCode: HTTP2ErrorCode.noError)
            // One attempt: whoever does not take it learns by the end of the connection.
            _ = pools.connections[id].writeFrames(limit: Worker.sinkBytes, from: blocks)
            if !pools.connections[id].isBlocked { _ = pools.connections[id].flush(from: blocks) }
        }
        _ = pools.close(id, &loop)
        serveWaiters(endpoint, &loop)
    }

    /// The connect, the handshake or the greeting came to nothing: so did the wait of those in line, unless another
    /// connection can take them.
    mutating func failWaiters(_ endpoint: Int, _ reason: Refusal, _ loop: inout EventLoop) {
        if pools.hasShared(endpoint: endpoint) {
            serveWaiters(endpoint, &loop)
            return
        }
        // Each may try again and come back to the line: only those that are in it now.
        var count = pools.waiterCount(endpoint: endpoint)
        while count > 0, let next = pools.nextWaiter(endpoint: endpoint) {
            count &-= 1
            guard exchanges.contains(next) else { continue }
            exchanges[next].waiter = .none
            exchanges[next].deadline = .max
            failConnect(of: next, at: endpoint, reason, &loop)
        }
    }

    /// A connection of HTTP/2 was silent for long enough to be looked at.
    mutating func sharedOverdue(_ id: SlabID, _ loop: inout EventLoop) {
        if pools.connections[id].isLost { return }
        if pools.connections[id].streams == 0 {
            retireShared(id, &loop)
            return
        }
        let heard = pools.connections[id].lastReceived
        if loop.now &- min(heard, loop.now) < Worker.silence {
            pools.setDeadline(id, heard &+ Worker.silence, &loop)
        } else if pools.connections[id].session?.isPingWaiting == true {
            // Nothing came, not even the answer to a PING: the path to the service is dead.
            loseShared(id, &loop)
        } else {
            pools.connections[id].session?.sendPing()
            markDirty(upstream: id)
            pools.setDeadline(id, loop.now &+ Worker.pingPatience, &loop)
        }
    }

    // MARK: Flush

    mutating func flushShared(_ id: SlabID, _ loop: inout EventLoop) {
        if pools.connections[id].retires, pools.connections[id].streams == 0 {
            retireShared(id, &loop)
            return
        }
        offerRoom(of: id, &loop)
        while pools.connections.contains(id), !pools.connections[id].isLost, !pools.connections[id].isBlocked
        {
            let room = Worker.sinkBytes &- pools.connections[id].outbound.byteCount
            if room > 0 {
                switch pools.connections[id].writeFrames(limit: room, from: blocks) {
                case .done, .limitReached: break
                case .outOfBlocks: awaitBlocks(upstream: id, &loop)
                case .failed:
                    loseShared(id, &loop)
                    return
                }
                drainShared(id, &loop)
                guard pools.connections.contains(id), !pools.connections[id].isLost else { return }
            }
            guard pools.connections[id].hasOutput else { break }
            switch pools.connections[id].flush(from: blocks) {
            case .bytes: continue
            case .wouldBlock: pools.connections[id].isBlocked = true
            case .outOfBlocks:
                awaitBlocks(upstream: id, &loop)
                return
            case .failed, .ended:
                // What the service said before it closed may hold answers; the read side will tell.
                pools.connections[id].outbound.removeAll()
                pools.connections[id].isBlocked = true
                pools.connections[id].mayHaveMore = true
                pools.connections[id].isEnding = true
                driveShared(id, &loop)
                return
            }
        }
        guard pools.connections.contains(id), !pools.connections[id].isLost else { return }
        if pools.connections[id].session?.isFinished == true {
            loseShared(id, &loop)
            return
        }
        // A stream that was reset is gone once RST_STREAM is written, and no event tells of its place. Whoever gets it leaves the
        // line and has the connection flushed once more, so that this ends with the line.
        offerRoom(of: id, &loop)
    }

    /// Serves those in line, where the connection may have room for them.
    private mutating func offerRoom(of id: SlabID, _ loop: inout EventLoop) {
        let endpoint = pools.connections[id].endpoint
        guard pools.waiterCount(endpoint: endpoint) > 0, pools.connections[id].phase == .shared else {
            return
        }
        serveWaiters(endpoint, &loop)
    }
}
