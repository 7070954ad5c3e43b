import HTTP
import HTTP2
import LinuxIO
import Memory
import Reactor
import Telemetry

// The rate that is asked of a client while it is the one that is waited for: it owes bytes of a body, or does not take what
// we hold for it. A client that drips makes every clock that begins anew with each byte useless; so once a window all that
// has waited for it since the window began is looked at. Whoever waits for a service meanwhile is not judged.
//
// One window a connection, which is a field of it and no timer of its own: a plain request never gets here. What begins in the
// middle of a window is judged at the end of the next.
extension Worker {
    /// The client of this connection has begun to be waited for.
    @inline(__always) mutating func watchRate(_ id: SlabID, _ loop: inout EventLoop) {
        if downstreams[id].windowEnds == .max { beginWindow(id, &loop) }
    }

    /// Notes where everything stands that waits for the client; no window where nothing does.
    @inline(never) private mutating func beginWindow(_ id: SlabID, _ loop: inout EventLoop) {
        let window = snapshots[current].http.rateWindow
        guard snapshots[current].http.bytesPerWindow > 0 else { return }
        let isBlocked = downstreams[id].isBlocked
        var waits = isBlocked
        downstreams[id].takenMark = isBlocked ? downstreams[id].takenBytes : -1
        let exchange = downstreams[id].exchange
        if !exchange.isNone, markBody(exchange) { waits = true }
        for slot in 0..<(downstreams[id].session?.slotCount ?? 0) {
            guard let stream = downstreams[id].session?.stream(inSlot: slot) else { continue }
            // A blocked connection stops all its streams, and is judged itself.
            if downstreams[id].session?.markOutbound(stream, isJudged: !isBlocked) == true { waits = true }
            if let carried = self.exchange(of: stream, on: id), markBody(carried) { waits = true }
        }
        if waits { setWindow(id, loop.now &+ window, &loop) }
    }

    /// Whether the exchange waits for its client's body; then it is noted how much has come.
    private mutating func markBody(_ id: SlabID) -> Bool {
        exchanges[id].bodyMark = -1
        guard owesBody(id) else { return false }
        exchanges[id].bodyMark = exchanges[id].requestBody.byteCount
        return true
    }

    /// gRPC, event streams and tunnels may be silent as long as they like.
    private mutating func owesBody(_ id: SlabID) -> Bool {
        !exchanges[id].machine.hasRequestEnded && !exchanges[id].isRequestPaused
            && !exchanges[id].isRateExempt
            && !exchanges[id].isTunnel && exchanges[id].machine.phase != .finished
    }

    /// The window is over: what was too slow is cut, and the next one begins if anything still waits.
    mutating func windowEnded(_ id: SlabID, _ loop: inout EventLoop) {
        downstreams[id].windowEnds = .max
        defer { if downstreams.contains(id) { downstreams[id].wasStarved = false } }
        let least = snapshots[current].http.bytesPerWindow
        let mark = downstreams[id].takenMark
        if downstreams[id].isBlocked, mark >= 0, downstreams[id].takenBytes &- mark < least {
            settings.meters.count(.minimumBodyRate)
            close(id, &loop, reset: true)
            return
        }
        let exchange = downstreams[id].exchange
        if !exchange.isNone { judgeBody(exchange, least, &loop) }
        var slot = 0
        while downstreams.contains(id), slot < downstreams[id].session?.slotCount ?? 0 {
            if let stream = downstreams[id].session?.stream(inSlot: slot) {
                judgeStream(id, stream, least, &loop)
            }
            slot &+= 1
        }
        guard downstreams.contains(id) else { return }
        beginWindow(id, &loop)
        // The window of a connection that is idle is for this alone.
        if downstreams[id].windowEnds == .max { napIfIdle(id, &loop) }
    }

    private mutating func judgeBody(_ id: SlabID, _ least: Int, _ loop: inout EventLoop) {
        let mark = exchanges[id].bodyMark
        // Whoever was paused since has had its mark taken away.
        guard mark >= 0, owesBody(id), exchanges[id].requestBody.byteCount &- mark < least,
            !downstreams[exchanges[id].downstream].wasStarved
        else { return }
        settings.meters.count(.minimumBodyRate)
        perform(exchanges[id].machine.handle(.refused(.requestTimeout)), id, &loop)
    }

    private mutating func judgeStream(
        _ id: SlabID, _ stream: StreamID, _ least: Int, _ loop: inout EventLoop
    ) {
        let isSlow = downstreams[id].session?.isOutboundSlow(stream, least: least) == true
        if let carried = exchange(of: stream, on: id) {
            if isSlow {
                settings.meters.count(.minimumBodyRate)
                perform(exchanges[carried].machine.handle(.refused(.requestTimeout)), carried, &loop)
            } else {
                judgeBody(carried, least, &loop)
            }
        } else if isSlow {
            // The exchange is over; the last of its answer is still ours to keep, and the client does not take it.
            settings.meters.count(.minimumBodyRate)
            downstreams[id].session?.resetStream(stream, errorCode: HTTP2ErrorCode.cancel)
            markDirty(downstream: id)
        }
    }
}
