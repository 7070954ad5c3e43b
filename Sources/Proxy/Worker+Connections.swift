import HTTP
import HTTP2
import JWT
import LinuxIO
import Memory
import RateLimit
public import Reactor
import TLS
import Telemetry
import Upstreams

// Clients' connections: how they begin and end, and what is said between the threads.
extension Worker {
    mutating func accept(_ listener: SlabID, _ loop: inout EventLoop) {
        guard listeners.contains(listener) else { return }
        let number = listeners[listener].number
        let label = listeners[listener].label
        for _ in 0..<Worker.acceptsPerTurn {
            switch Sockets.accept(from: number) {
            case .connection(let descriptor, let peer):
                if !isDraining, let other = quieterWorker() {
                    handOver(descriptor, label: label, peer: peer, to: other)
                } else {
                    begin(descriptor, label: label, peer: peer, &loop)
                }
            case .none: return
            case .failed(let error):
                settings.meters.countConnectionRefused()
                // Without descriptors the socket would stay readable and the loop spin: look again in a while.
                if error.isOutOfDescriptors {
                    settings.meters.count(.descriptors)
                    loop.remove(number)
                    let token = Token(kind: TokenKind.listener, id: listener)
                    _ = loop.timers.schedule(token, at: loop.now &+ Worker.acceptPause)
                    return
                }
            }
        }
    }

    /// Accepts again, after a pause for want of descriptors.
    mutating func resumeAccepting(_ listener: SlabID, _ loop: inout EventLoop) {
        guard listeners.contains(listener) else { return }
        let token = Token(kind: TokenKind.listener, id: listener)
        do {
            try loop.add(listeners[listener].number, token, listeners[listener].interest)
        } catch {
            _ = loop.timers.schedule(token, at: loop.now &+ Worker.acceptPause)
        }
    }

    /// The worker that has so much fewer connections that a fresh one should be its: hashing can put 14 of 16 long
    /// connections on one worker. Of few connections each one weighs, of many the hash makes the shares alike by itself: of 16
    /// on two workers none gets more than 9, of 1,000 none more than 530.
    private mutating func quieterWorker() -> Int? {
        let counts = settings.connectionCounts
        let own = counts.load(settings.index)
        var least = own
        var choice = settings.index
        for index in 0..<counts.count where counts.load(index) < least {
            least = counts.load(index)
            choice = index
        }
        return own - least > 1 + least / 8 ? choice : nil
    }

    @inline(never) private mutating func handOver(
        _ descriptor: consuming Descriptor, label: Int, peer: SocketAddress, to worker: Int
    ) {
        // It counts as the other's from here on: of a crowd that comes at once not all that is too much must go.
        settings.connectionCounts.add(1, at: worker)
        let letter = WorkerMessage.connection(descriptor, label: label, peer: peer)
        if settings.neighbours.send(letter, to: worker) == nil { return }
        // A full mailbox hands the message back, and with it the connection is closed.
        settings.connectionCounts.add(-1, at: worker)
        settings.meters.countConnectionRefused()
    }

    mutating func begin(
        _ descriptor: consuming Descriptor, label: Int, peer: SocketAddress, _ loop: inout EventLoop
    ) {
        guard let listener = snapshots[current].listener(label: label), mayBegin else {
            settings.meters.countConnectionRefused()
            return
        }
        // Added before it is looked at: workers that accept at one moment must not all take the last place.
        guard settings.listenerCounts.add(1, at: label) <= snapshots[current].listeners[listener].connections
        else {
            settings.listenerCounts.add(-1, at: label)
            settings.meters.countConnectionRefused()
            settings.meters.count(.connections)
            return
        }
        if !start(descriptor, label: label, listener: listener, peer: peer, &loop) {
            settings.listenerCounts.add(-1, at: label)
        }
    }

    /// `false` when the connection could not be taken.
    private mutating func start(
        _ descriptor: consuming Descriptor, label: Int, listener: Int, peer: SocketAddress,
        _ loop: inout EventLoop
    ) -> Bool {
        let needsPreamble = snapshots[current].listeners[listener].requiresPreamble
        // Only a proxy that we trust may say who its client is, and it alone is expected here.
        guard !needsPreamble || snapshots[current].trusts(peer) else {
            settings.meters.countConnectionRefused()
            settings.meters.countPreambleRefused()
            return false
        }
        let number = descriptor.number
        let id = downstreams.insert(Downstream(descriptor: descriptor, listenerLabel: label, peer: peer))
        guard needsPreamble || welcome(id, listener: listener, &loop) else {
            _ = downstreams.remove(id)
            return false
        }
        do {
            try loop.add(number, Token(kind: TokenKind.downstream, id: id), .reading)
        } catch {
            if downstreams[id].phase == .handshake { handshakesInFlight &-= 1 }
            uncount(id)
            loop.timers.cancel(downstreams[id].timer)
            _ = downstreams.remove(id)
            return false
        }
        settings.connectionCounts.add(1, at: settings.index)
        settings.meters.countConnectionAccepted()
        if needsPreamble { setDeadline(id, loop.now &+ snapshots[current].http.headTimeout, &loop) }
        // What the client sent with its last handshake packet may be there already; the poller tells.
        return true
    }

    /// Counts the connection of a client who is known now, and begins what its listener speaks. `false`, with nothing
    /// counted, when it may not stay.
    private mutating func welcome(_ id: SlabID, listener: Int, _ loop: inout EventLoop) -> Bool {
        lineBlock.removeAll()
        downstreams[id].notePeer(&lineBlock)
        let peer = downstreams[id].peer
        // Behind a trusted proxy many clients share its connections; who has no address cannot be told from another.
        if !peer.isUnix, !snapshots[current].trusts(peer) {
            let most = snapshots[current].listeners[listener].connectionsPerClient
            let key = peer.client(bits: snapshots[current].clientBits)
            switch key.withAddressBytes({ settings.clients.enter($0, limit: most) }) {
            case .counted(let slot): downstreams[id].countSlot = slot
            case .uncounted: break
            case .refused:
                settings.meters.countConnectionRefused()
                settings.meters.count(.connectionsPerClient)
                return false
            }
        }
        guard snapshots[current].listeners[listener].tls != nil else {
            let allowsHTTP2 = snapshots[current].listeners[listener].allowsHTTP2
            downstreams[id].begin(tls: nil, phase: allowsHTTP2 ? .undecided : .http1)
            setDeadline(id, loop.now &+ snapshots[current].http.idleTimeout, &loop)
            return true
        }
        guard handshakesInFlight < snapshots[current].listeners[listener].handshakesInFlight else {
            settings.meters.countConnectionRefused()
            settings.meters.count(.handshakesInFlight)
            uncount(id)
            return false
        }
        guard let session = snapshots[current].listeners[listener].tls?.makeSession() else {
            uncount(id)
            return false
        }
        downstreams[id].begin(tls: session, phase: .handshake)
        handshakesInFlight &+= 1
        setDeadline(id, loop.now &+ snapshots[current].listeners[listener].handshakeTimeout, &loop)
        return true
    }

    private mutating func uncount(_ id: SlabID) {
        guard downstreams[id].countSlot >= 0 else { return }
        settings.clients.leave(slot: downstreams[id].countSlot)
        downstreams[id].countSlot = -1
    }

    /// Looks for what the proxy in front has to say; once it has, the connection goes on as its client's.
    mutating func readPreamble(_ id: SlabID, _ loop: inout EventLoop) {
        guard !downstreams[id].inbound.isEmpty else { return }
        var inbound = ByteQueue()
        swap(&inbound, &downstreams[id].inbound)
        guard inbound.isContiguous || inbound.makeContiguous(in: largeBlocks) else {
            refusePreamble(id, &loop)
            return
        }
        let step = ProxyPreamble.parse(inbound.firstBytes)
        if case .complete(let consumed, _) = step { inbound.consume(consumed) }
        swap(&inbound, &downstreams[id].inbound)
        switch step {
        case .incomplete: return
        case .refused: refusePreamble(id, &loop)
        case .complete(_, let ends):
            downstreams[id].take(client: ends?.source)
            // The listener may be gone since: then nothing says what is spoken here.
            guard let listener = snapshots[current].listener(label: Int(downstreams[id].listenerLabel)),
                welcome(id, listener: listener, &loop)
            else {
                close(id, &loop)
                return
            }
        }
    }

    /// Whoever should have said for whom it speaks did not, or not so that it can be believed: nothing is answered.
    mutating func refusePreamble(_ id: SlabID, _ loop: inout EventLoop) {
        settings.meters.countPreambleRefused()
        close(id, &loop)
    }

    /// Closes a connection, and gives up what it carried.
    mutating func close(_ id: SlabID, _ loop: inout EventLoop, reset: Bool = false) {
        // An answer that ends with its connection must not look whole when it is not (RFC 9112 §8).
        let isCut =
            downstreams[id].answersUntilEnd
            && (!downstreams[id].exchange.isNone || !downstreams[id].isFlushed)
        abandonExchanges(of: id, &loop)
        guard downstreams.contains(id) else { return }
        if downstreams[id].phase == .handshake { handshakesInFlight &-= 1 }
        switch downstreams[id].session?.flood ?? .none {
        case .none: break
        case .resets: settings.meters.count(.resets)
        case .controlFrames: settings.meters.count(.controlFrames)
        }
        loop.timers.cancel(downstreams[id].timer)
        loop.remove(downstreams[id].descriptor.number)
        if reset || isCut { downstreams[id].descriptor.resetOnClose() }
        uncount(id)
        settings.listenerCounts.add(-1, at: Int(downstreams[id].listenerLabel))
        _ = downstreams.remove(id)
        settings.connectionCounts.add(-1, at: settings.index)
        settings.meters.countConnectionClosed()
    }

    /// Tells every exchange of a connection that its client is gone.
    mutating func abandonExchanges(of id: SlabID, _ loop: inout EventLoop) {
        let exchange = downstreams[id].exchange
        if !exchange.isNone { abandon(exchange, &loop) }
        guard downstreams.contains(id), let slots = downstreams[id].session?.slotCount else { return }
        for slot in 0..<slots {
            guard downstreams.contains(id), let stream = downstreams[id].session?.stream(inSlot: slot) else {
                continue
            }
            if let carried = self.exchange(of: stream, on: id) {
                abandon(carried, &loop)
            }
        }
    }

    /// A tunnel that the deadline of a drain cuts was not left by its client.
    private mutating func abandon(_ id: SlabID, _ loop: inout EventLoop) {
        let isCut = exchanges[id].isTunnel && loop.now >= drainDeadline
        perform(exchanges[id].machine.handle(isCut ? .refused(.draining) : .clientLost), id, &loop)
    }

    /// Sets when the current wait of a connection is over. A deadline that moves later only writes the field.
    mutating func setDeadline(_ id: SlabID, _ deadline: UInt64, _ loop: inout EventLoop) {
        downstreams[id].deadline = deadline
        if deadline < downstreams[id].timerFires { armDownstream(id, &loop) }
    }

    /// The same for what is waited for from the client. While a write to it is blocked, that write's deadline stands: a
    /// client that sends and does not read would hold its place for ever.
    mutating func setReadDeadline(_ id: SlabID, _ deadline: UInt64, _ loop: inout EventLoop) {
        guard !downstreams[id].isBlocked else { return }
        setDeadline(id, deadline, &loop)
    }

    /// Sets when a head of HTTP/2 must be whole.
    mutating func setHeadDeadline(_ id: SlabID, _ end: UInt64, _ loop: inout EventLoop) {
        downstreams[id].headEnds = end
        if end < downstreams[id].timerFires { armDownstream(id, &loop) }
    }

    /// Sets when the client's rate is looked at. It shares the connection's timer.
    mutating func setWindow(_ id: SlabID, _ end: UInt64, _ loop: inout EventLoop) {
        downstreams[id].windowEnds = end
        if end < downstreams[id].timerFires { armDownstream(id, &loop) }
    }

    @inline(never) private mutating func armDownstream(_ id: SlabID, _ loop: inout EventLoop) {
        loop.timers.cancel(downstreams[id].timer)
        let deadline = downstreams[id].nextDeadline
        let token = Token(kind: TokenKind.downstream, id: id)
        downstreams[id].timer = loop.timers.schedule(token, at: deadline) ?? .none
        downstreams[id].timerFires = downstreams[id].timer.isNone ? .max : deadline
    }

    mutating func downstreamTimerFired(_ id: SlabID, _ loop: inout EventLoop) {
        downstreams[id].timer = .none
        downstreams[id].timerFires = .max
        if downstreams[id].headEnds <= loop.now { http2HeadOverdue(id) }
        if downstreams[id].windowEnds <= loop.now {
            windowEnded(id, &loop)
            guard downstreams.contains(id) else { return }
        }
        guard downstreams[id].deadline <= loop.now else {
            let next = downstreams[id].nextDeadline
            if next < downstreams[id].timerFires { armDownstream(id, &loop) }
            return
        }
        downstreams[id].deadline = .max
        switch downstreams[id].phase {
        case .preamble: refusePreamble(id, &loop)
        case .handshake:
            handshakeOverdue(id, loop)
            close(id, &loop)
        case .lingering where downstreams[id].endsByReset: resetOnceReceived(id, &loop)
        case .undecided, .lingering:
            close(id, &loop)
        case .http1: http1Overdue(id, &loop)
        case .http2: http2Overdue(id, &loop)
        }
    }

    private mutating func http1Overdue(_ id: SlabID, _ loop: inout EventLoop) {
        let exchange = downstreams[id].exchange
        if !exchange.isNone {
            if downstreams[id].isBlocked {
                blockedOverdue(id, &loop)
            } else if downstreams[id].wasStarved {
                // It may have sent all the time.
                downstreams[id].wasStarved = false
                setDeadline(id, loop.now &+ snapshots[current].http.bodyIdleTimeout, &loop)
            } else {
                settings.meters.count(.bodyIdleTimeout)
                perform(exchanges[exchange].machine.handle(.refused(.requestTimeout)), exchange, &loop)
            }
        } else if !downstreams[id].isFlushed {
            blockedOverdue(id, &loop)
        } else if downstreams[id].inbound.isEmpty {
            close(id, &loop)
        } else {
            settings.meters.count(.headTimeout)
            // What was parsed last may be of another connection: a HEAD there would take this answer's body.
            requestHead.reset()
            refuseHead(.requestTimeout, on: id, &loop)
        }
    }

    /// The kernel takes nothing more for this client. If the client has taken anything of what lies there, the clock begins
    /// anew; where a rate is asked, that is looked at besides.
    mutating func blockedOverdue(_ id: SlabID, _ loop: inout EventLoop) {
        let taken = downstreams[id].takenBytes
        if downstreams[id].isBlocked, taken > downstreams[id].blockedMark {
            downstreams[id].blockedMark = taken
            setDeadline(id, loop.now &+ snapshots[current].http.bodyIdleTimeout, &loop)
            return
        }
        settings.meters.count(.bodyIdleTimeout)
        close(id, &loop, reset: true)
    }

    // MARK: Lists

    mutating func markDirty(downstream id: SlabID) {
        guard !downstreams[id].isDirty else { return }
        downstreams[id].isDirty = true
        // The queue has room for every connection, once; what is closed meanwhile leaves a stale name behind.
        if dirtyDownstreams.push(id) != nil { downstreams[id].isDirty = false }
    }

    mutating func markDirty(upstream id: SlabID) {
        guard !pools.connections[id].isDirty else { return }
        pools.connections[id].isDirty = true
        if dirtyUpstreams.push(id) != nil { pools.connections[id].isDirty = false }
    }

    /// Goes on with a connection in the next turn.
    mutating func queue(downstream id: SlabID, _ loop: inout EventLoop) {
        guard !downstreams[id].isQueued else { return }
        downstreams[id].isQueued = loop.resumeLater(Token(kind: TokenKind.downstream, id: id))
    }

    mutating func queue(upstream id: SlabID, _ loop: inout EventLoop) {
        guard !pools.connections[id].isQueued else { return }
        pools.connections[id].isQueued = loop.resumeLater(Token(kind: TokenKind.upstream, id: id))
    }

    /// Goes on with a connection when the pool may have blocks again.
    @inline(never) mutating func awaitBlocks(downstream id: SlabID, _ loop: inout EventLoop) {
        guard !downstreams[id].isQueued else { return }
        downstreams[id].isQueued = awaitBlocks(Token(kind: TokenKind.downstream, id: id), &loop)
    }

    @inline(never) mutating func awaitBlocks(upstream id: SlabID, _ loop: inout EventLoop) {
        guard !pools.connections[id].isQueued else { return }
        pools.connections[id].isQueued = awaitBlocks(Token(kind: TokenKind.upstream, id: id), &loop)
    }

    private mutating func awaitBlocks(_ token: Token, _ loop: inout EventLoop) -> Bool {
        settings.meters.count(.blocks)
        guard starved.push(token) == nil else { return false }
        if !isStarving {
            let pause = Token(kind: TokenKind.starved, id: .none)
            isStarving = loop.timers.schedule(pause, at: loop.now &+ Worker.blockPause) != nil
        }
        return true
    }

    // MARK: Mail

    /// Takes what the control side and the other workers have sent.
    @inline(never) public mutating func mail(_ loop: inout EventLoop) {
        settings.mailbox.wakeUp.clear()
        while let message = settings.mailbox.receive() {
            switch consume message {
            case .snapshot(let snapshot): install(snapshot, &loop)
            case .security(let label, let server): renew(server, label: label)
            case .listen(let label, let number, let isShared):
                listen(label: label, number: number, isShared: isShared, &loop)
            case .unlisten(let number): unlisten(number, &loop)
            case .connection(let descriptor, let label, let peer):
                // Counted again when it has begun.
                settings.connectionCounts.add(-1, at: settings.index)
                begin(descriptor, label: label, peer: peer, &loop)
            case .keys(let keys, let source): replaceKeys(keys, of: source)
            case .keysSettled(let source, let isFetched, let told):
                settleLot(source, isFetched: isFetched, told, &loop)
            case .relieve: closeIdle(&loop)
            case .drain(let deadline): beginDrain(until: deadline, &loop)
            }
        }
    }

    private mutating func listen(
        label: Int, number: Int32, isShared: Bool, _ loop: inout EventLoop
    ) {
        guard !listeners.isFull, !isDraining else { return }
        let id = listeners.insert(ListenerSocket(number: number, label: label, isShared: isShared))
        do {
            try loop.add(number, Token(kind: TokenKind.listener, id: id), listeners[id].interest)
        } catch {
            _ = listeners.remove(id)
        }
    }

    /// `number` -1 means every listening socket.
    private mutating func unlisten(_ number: Int32, _ loop: inout EventLoop) {
        for index in 0..<listeners.walkCount {
            guard let id = listeners.name(at: index), number < 0 || listeners[id].number == number else {
                continue
            }
            // What waits in the queue was promised to its clients by the kernel.
            accept(id, &loop)
            loop.remove(listeners[id].number)
            _ = listeners.remove(id)
        }
    }

    /// Connections that are open keep what they were agreed on with.
    private mutating func renew(_ server: consuming TLSServer, label: Int) {
        guard let listener = snapshots[current].listener(label: label),
            snapshots[current].listeners[listener].tls != nil
        else { return }
        snapshots[current].listeners[listener].tls = consume server
    }

    /// Makes `snapshot` the one that new exchanges begin with.
    private mutating func install(_ snapshot: consuming Snapshot, _ loop: inout EventLoop) {
        // A worker that drains begins nothing new, and has said so in its cell.
        guard !snapshots.isFull, !isDraining else { return }
        let generation = snapshot.generation
        let old = current
        current = snapshots.insert(snapshot)
        keepVerifiers(of: old)
        if snapshots[old].pins == 0 { _ = snapshots.remove(old) }
        closeUnusedPools(&loop)
        settings.generations.store(generation, at: settings.index)
    }

    /// An issuer whose settings and keys have not changed keeps its verifier, and with it what it has verified. Keys that have
    /// changed come with the new snapshot.
    private mutating func keepVerifiers(of old: SlabID) {
        for index in 0..<snapshots[current].issuers.count {
            for other in 0..<snapshots[old].issuers.count
            where snapshots[old].issuers[other].settings == snapshots[current].issuers[index].settings
                && snapshots[old].issuers[other].source == snapshots[current].issuers[index].source
            {
                var new = snapshots.remove(current)
                swap(&new.issuers[index].verifier, &snapshots[old].issuers[other].verifier)
                new.issuers[index].verifier.exchangeGrantNames(
                    with: &snapshots[old].issuers[other].verifier)
                new.issuers[index].verifier.exchangeKeySet(with: &snapshots[old].issuers[other].verifier)
                current = snapshots.insert(new)
            }
        }
    }

    /// Idle connections to endpoints that the configuration no longer names, or secures otherwise, have no use. One of HTTP/2
    /// that is secured otherwise now takes no more streams, and one that is being made is made anew for those who wait.
    private mutating func closeUnusedPools(_ loop: inout EventLoop) {
        for index in 0..<pools.connections.walkCount {
            guard let id = pools.connections.name(at: index) else { continue }
            let (endpoint, identity) = (pools.connections[id].endpoint, pools.connections[id].identity)
            guard !snapshots[current].uses(endpoint: endpoint, identity: identity) else { continue }
            if pools.connections[id].isIdle {
                _ = pools.close(id, &loop)
            } else if pools.connections[id].isHTTP2, snapshots[current].uses(endpoint: endpoint) {
                if pools.connections[id].phase == .shared {
                    pools.unshare(id)
                } else {
                    _ = pools.close(id, &loop)
                }
            } else {
                continue
            }
            serveWaiters(endpoint, &loop)
        }
    }

    // MARK: Drain

    private mutating func beginDrain(until deadline: UInt64, _ loop: inout EventLoop) {
        if isDraining {
            // Asked again, with less patience.
            guard deadline < drainDeadline else { return }
            drainDeadline = deadline
            if deadline <= loop.now {
                endDrain(&loop)
            } else {
                _ = loop.timers.schedule(Token(kind: TokenKind.drain, id: .none), at: deadline)
            }
            return
        }
        isDraining = true
        unlisten(-1, &loop)
        // Tells the control side that this worker has let go of every listening socket.
        settings.generations.store(Int.max, at: settings.index)
        drainDeadline = deadline
        _ = loop.timers.schedule(Token(kind: TokenKind.drain, id: .none), at: deadline)
        for index in 0..<downstreams.walkCount {
            guard let id = downstreams.name(at: index) else { continue }
            if downstreams[id].phase == .http2 { beginGoAway(id, &loop) }
        }
    }

    mutating func endDrain(_ loop: inout EventLoop) {
        for index in 0..<downstreams.walkCount {
            if let id = downstreams.name(at: index) { close(id, &loop) }
        }
        loop.stop()
    }
}
