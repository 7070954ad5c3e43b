import HTTP2
import LinuxIO
import Memory
import Reactor
import Telemetry
import Upstreams

// What happens when connections, blocks or memory run short.
extension Worker {
    // MARK: Connections

    /// Whether all workers together hold as many connections as are allowed.
    private var isAtLimit: Bool {
        var sum = 0
        for index in 0..<settings.connectionCounts.count { sum &+= settings.connectionCounts.load(index) }
        return sum >= settings.connections
    }

    /// Whether one more connection may be taken in; what stands in its way is counted.
    var mayBegin: Bool {
        if downstreams.isFull || isAtLimit {
            settings.meters.count(.connections)
        } else if blocks.isExhausted {
            settings.meters.count(.blocks)
        } else if settings.pressure.load(0) >= MemoryPressure.refuseConnections {
            settings.meters.count(.memoryBudget)
        } else {
            return true
        }
        return false
    }

    // MARK: Blocks

    /// Whether there are blocks to read long bodies into, and to begin an exchange with.
    var mayRead: Bool { blocks.canTake(Worker.keptBlocks &+ headBlocks) }

    /// Whether there are blocks to read from this client, when there are few: from those alone that have nothing under way, and
    /// from those of HTTP/2, whose windows free blocks, and bound what they send.
    @inline(never) mutating func mayRead(from id: SlabID) -> Bool {
        guard blocks.canTake(Worker.keptBlocks) else { return false }
        return downstreams[id].phase != .http1 || downstreams[id].exchange.isNone
    }

    @inline(never) mutating func awaitTrim(_ loop: inout EventLoop) {
        let token = Token(kind: TokenKind.trim, id: .none)
        isTrimming = loop.timers.schedule(token, at: loop.now &+ Worker.trimPause) != nil
    }

    /// Gives back the blocks that were not needed in the last pause. It is asked for again, if need be, when the turn ends.
    @inline(never) mutating func trimBlocks(_ loop: inout EventLoop) {
        let isShort = settings.pressure.load(0) >= MemoryPressure.shedExchanges
        isTrimming = false
        blocks.trim(isShort: isShort)
        notes.trim(isShort: isShort)
    }

    // MARK: Memory

    /// Closes connections that are idle, a share of them each time; the walk goes on where it stopped.
    mutating func closeIdle(_ loop: inout EventLoop) {
        let count = downstreams.walkCount
        var left = Worker.closedIdle
        var step = 0
        while step < count, left > 0 {
            let index = (idleCursor &+ step) % count
            step &+= 1
            guard let id = downstreams.name(at: index), isIdle(id) else { continue }
            left &-= 1
            settings.meters.count(.memoryBudget)
            if downstreams[id].phase == .http2 {
                endIdleHTTP2(id)
            } else {
                close(id, &loop)
            }
        }
        idleCursor = count > 0 ? (idleCursor &+ step) % count : 0
    }

    private mutating func isIdle(_ id: SlabID) -> Bool {
        switch downstreams[id].phase {
        case .preamble, .handshake, .lingering: false
        case .undecided, .http1:
            downstreams[id].exchange.isNone && downstreams[id].inbound.isEmpty && downstreams[id].isFlushed
        case .http2:
            downstreams[id].openStreams == 0 && downstreams[id].session?.activeStreams == 0
                && !downstreams[id].isLeaving
        }
    }
}
