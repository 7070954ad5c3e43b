import HTTP
import HTTP2
import LinuxIO
import Memory
import Reactor
import Telemetry
import Upstreams

// What is written to a service at the end of a turn, and the deadlines of an exchange.
extension Worker {
    mutating func flushUpstream(_ id: SlabID, _ loop: inout EventLoop) {
        pools.connections[id].isDirty = false
        if pools.connections[id].isHTTP2 {
            if pools.connections[id].session != nil { flushShared(id, &loop) }
            return
        }
        guard pools.connections[id].phase == .leased, !pools.connections[id].isBlocked else { return }
        if pools.connections[id].sentBytes == 0, pools.connections[id].mayHaveMore,
            !pools.connections[id].hasTLS
        {
            // Something waits to be read before the first byte was written, and could not be read yet: an end, or bytes
            // that would be taken for the answer. Over TLS it may be no more than a session ticket.
            lostUntouched(id, &loop)
            return
        }
        while pools.connections[id].hasOutput {
            switch flushOnce(id) {
            case .bytes: continue
            case .wouldBlock:
                pools.connections[id].isBlocked = true
                return
            case .outOfBlocks where !pools.connections[id].hasTLS:
                // A part of the request is out, and there is nothing to hold the rest of it.
                settings.meters.count(.blocks)
                let exchange = pools.connections[id].holder
                perform(exchanges[exchange].machine.handle(.refused(.overloaded)), exchange, &loop)
                return
            case .outOfBlocks:
                // To encrypt into: the connection is come back to when there may be some.
                awaitBlocks(upstream: id, &loop)
                return
            case .ended:
                outboundLost(id, &loop)
                return
            case .failed(let error):
                // Where an end came before the reset, the kernel says EPIPE.
                if error.isConnectionReset { pools.connections[id].isBroken = true }
                outboundLost(id, &loop)
                return
            }
        }
        resumeRequest(of: id, &loop)
    }

    /// One write: of the request where the exchange keeps it, or of what waits.
    @inline(__always) private mutating func flushOnce(_ id: SlabID) -> IOStep {
        guard pools.connections[id].owesRequest else { return pools.connections[id].flush(from: blocks) }
        let exchange = pools.connections[id].holder
        guard exchanges.contains(exchange) else { return .ended }
        return apart(&pools, exchanges, blocks) {
            $0.connections[id].send($1[exchange].request.firstBytes, from: $2)
        }
    }

    /// The kernel takes no more of the request. What the service said before it closed may be an answer; the read side
    /// will tell.
    private mutating func outboundLost(_ id: SlabID, _ loop: inout EventLoop) {
        pools.connections[id].outboundFailed()
        pools.connections[id].mayHaveMore = true
        pools.connections[id].isEnding = true
        driveUpstream(id, &loop)
        _ = tunnelRefusesBytes(id, &loop)
    }

    /// The service's side has room again.
    private mutating func resumeRequest(of connection: SlabID, _ loop: inout EventLoop) {
        let exchange = pools.connections[connection].holder
        guard exchanges.contains(exchange) else { return }
        if exchanges[exchange].machine.phase == .tunnelling {
            tunnelFlushed(exchange, connection, &loop)
            return
        }
        guard exchanges[exchange].isRequestPaused else { return }
        exchanges[exchange].isRequestPaused = false
        if exchanges[exchange].stream != nil {
            // What waits of a stream's body is in the session, and no event tells of it again.
            pumpRequest(exchange, &loop)
        } else {
            queue(downstream: exchanges[exchange].downstream, &loop)
        }
    }

    /// What an exchange in line has waited for in vain.
    private mutating func vainWait(_ id: SlabID, _ now: UInt64) -> Refusal {
        let endpoint = exchanges[id].facts.endpoint
        guard exchanges[id].isToHTTP2, endpoint >= 0 else { return .upstreamOverloaded }
        // Whoever waits for a connection that is being made waits for its connect.
        if pools.isConnecting(endpoint: endpoint) { return .upstreamConnectTimeout }
        return pools.isPaused(endpoint: endpoint, now: now) && !pools.hasShared(endpoint: endpoint)
            ? .upstreamConnect : .upstreamOverloaded
    }

    mutating func setExchangeDeadline(_ id: SlabID, _ deadline: UInt64, _ loop: inout EventLoop) {
        exchanges[id].deadline = deadline
        armExchange(id, deadline, &loop)
    }

    /// A deadline that moves later only writes its field: the timer that stands fires early and is set again then.
    mutating func armExchange(_ id: SlabID, _ deadline: UInt64, _ loop: inout EventLoop) {
        guard deadline < exchanges[id].timerFires else { return }
        loop.timers.cancel(exchanges[id].timer)
        exchanges[id].timer =
            loop.timers.schedule(Token(kind: TokenKind.exchange, id: id), at: deadline) ?? .none
        exchanges[id].timerFires = exchanges[id].timer.isNone ? .max : deadline
    }

    mutating func exchangeTimerFired(_ id: SlabID, _ loop: inout EventLoop) {
        exchanges[id].timer = .none
        exchanges[id].timerFires = .max
        if exchanges[id].serviceDeadline <= loop.now {
            exchanges[id].serviceDeadline = .max
            perform(exchanges[id].machine.handle(.upstreamTimedOut(.upstreamTimeout)), id, &loop)
            return
        }
        guard exchanges[id].deadline <= loop.now else {
            armExchange(id, min(exchanges[id].deadline, exchanges[id].serviceDeadline), &loop)
            return
        }
        exchanges[id].deadline = .max
        if exchanges[id].keyWait != .none {
            lotTimerFired(id, &loop)
            return
        }
        if exchanges[id].serviceDeadline != .max { armExchange(id, exchanges[id].serviceDeadline, &loop) }
        if !exchanges[id].waiter.isNone {
            perform(exchanges[id].machine.handle(.upstreamTimedOut(vainWait(id, loop.now))), id, &loop)
        } else if exchanges[id].stream != nil, exchanges[id].isResponsePaused {
            if hasStreamMoved(id) {
                setExchangeDeadline(id, loop.now &+ snapshots[current].http.bodyIdleTimeout, &loop)
                return
            }
            // A stream whose client takes nothing would hold the service's connection for ever.
            settings.meters.count(.bodyIdleTimeout)
            perform(exchanges[id].machine.handle(.refused(.requestTimeout)), id, &loop)
        } else if !exchanges[id].machine.hasRequestEnded, !exchanges[id].isRequestPaused {
            settings.meters.count(.bodyIdleTimeout)
            perform(exchanges[id].machine.handle(.refused(.requestTimeout)), id, &loop)
        }
    }
}
