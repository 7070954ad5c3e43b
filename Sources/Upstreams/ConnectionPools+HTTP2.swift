public import LinuxIO
public import Memory
public import Reactor

/// What came of asking for a stream.
@frozen public enum StreamAnswer: Sendable {
    /// A connection that has room for one more stream.
    case shared(SlabID)
    /// The waiter's turn comes when a connection has room. `opened` is one that was begun for it, if one was.
    case waiting(SlabID, opened: SlabID?)
    /// Neither a connection nor a place in the line.
    case overloaded
    case failed(SystemError)
}

// Connections of HTTP/2 carry many exchanges at once: an endpoint has a list of them, and a line of its own for those who
// wait for room. While one is being made all who come wait for that one, so that a burst opens one connection, not a hundred.
extension ConnectionPools {
    /// Most streams of one connection, whatever the service grants.
    public static var streamsPerConnection: Int { 100 }
    /// How long an endpoint is left alone, in nanoseconds, when a connection to it came to nothing or was granted no stream:
    /// as long as somebody waits for it, it would be connected to once a round trip.
    public static var connectPause: UInt64 { 100_000_000 }

    /// Asks for room for one stream at the endpoint `choice` of the service.
    public mutating func leaseStream(
        _ plan: borrowing ServicePlan, choice: Int, holder: SlabID, _ loop: inout EventLoop
    ) -> StreamAnswer {
        let endpoint = plan.endpoints[choice].index
        let identity = plan.endpoints[choice].security.identity
        if let id = connectionWithRoom(endpoint, identity: identity) { return .shared(id) }
        let pending = endpoints[endpoint].pending
        if !pending.isNone, connections[pending].identity == identity {
            return waitForStream(endpoint, plan.index, holder, opened: nil)
        }
        if isPaused(endpoint: endpoint, now: loop.now) || isGrantedNothing(endpoint, identity: identity) {
            let answer = waitForStream(endpoint, plan.index, holder, opened: nil)
            awaitPause(endpoint, &loop)
            return answer
        }
        guard !line.isFull else { return .overloaded }
        switch connect(plan, choice: choice, holder: .none, &loop) {
        case .made(let id):
            // Another that is being made under older settings goes on; its stream room is nobody's to wait for.
            endpoints[endpoint].pending = id
            return waitForStream(endpoint, plan.index, holder, opened: id)
        case .full:
            // Without a connection to this endpoint nobody would ever be called.
            guard !endpoints[endpoint].firstShared.isNone else { return .overloaded }
            return waitForStream(endpoint, plan.index, holder, opened: nil)
        case .overloaded: return .overloaded
        case .failed(let error): return .failed(error)
        }
    }

    /// A connection of the endpoint with room for a stream, moved to the front of its list.
    private mutating func connectionWithRoom(_ endpoint: Int, identity: UInt64) -> SlabID? {
        var id = endpoints[endpoint].firstShared
        while !id.isNone {
            if connections[id].identity == identity, connections[id].requestRoom > 0 {
                if id != endpoints[endpoint].firstShared {
                    unlinkShared(id)
                    linkShared(id)
                }
                return id
            }
            id = connections[id].next
        }
        return nil
    }

    /// Whether a connection that carries nothing has no room even so: the service grants no stream (RFC 9113 §5.1.2), and
    /// would grant none on another connection either. Its SETTINGS, or the end of that connection, are waited for.
    private mutating func isGrantedNothing(_ endpoint: Int, identity: UInt64) -> Bool {
        var id = endpoints[endpoint].firstShared
        while !id.isNone {
            if connections[id].identity == identity, connections[id].streams == 0,
                connections[id].requestRoom == 0
            {
                return true
            }
            id = connections[id].next
        }
        return false
    }

    /// Leaves the endpoint alone for a while.
    public mutating func pause(endpoint: Int, _ loop: inout EventLoop) {
        endpoints[endpoint].connectAfter = loop.now &+ ConnectionPools.connectPause
        if endpoints[endpoint].waiting.count > 0 { awaitPause(endpoint, &loop) }
    }

    /// Whether the endpoint is left alone.
    public func isPaused(endpoint: Int, now: UInt64) -> Bool { endpoints[endpoint].connectAfter > now }

    /// Somebody waits for the end of the pause, if there is one: a timer will tell.
    private mutating func awaitPause(_ endpoint: Int, _ loop: inout EventLoop) {
        let end = endpoints[endpoint].connectAfter
        guard end > loop.now, !endpoints[endpoint].isTimed else { return }
        let id = SlabID(index: UInt32(truncatingIfNeeded: endpoint), generation: 0)
        endpoints[endpoint].isTimed =
            loop.timers.schedule(Token(kind: endpointKind, id: id), at: end) != nil
    }

    /// The timer of a pause has fired. `false` when another pause has begun meanwhile, whose end will be told too.
    public mutating func hasPauseEnded(endpoint: Int, _ loop: inout EventLoop) -> Bool {
        endpoints[endpoint].isTimed = false
        if !isPaused(endpoint: endpoint, now: loop.now) { return true }
        if endpoints[endpoint].waiting.count > 0 { awaitPause(endpoint, &loop) }
        return false
    }

    /// Whether a connection to the endpoint would be begun for who waits there.
    public mutating func mayConnect(endpoint: Int, now: UInt64) -> Bool {
        endpoints[endpoint].pending.isNone && !isPaused(endpoint: endpoint, now: now)
    }

    private mutating func waitForStream(
        _ endpoint: Int, _ service: Int, _ holder: SlabID, opened: SlabID?
    ) -> StreamAnswer {
        guard !line.isFull else { return .overloaded }
        let id = line.insert(Waiter(holder: holder, service: service, endpoint: endpoint))
        endpoints[endpoint].waiting.append(id, of: &line)
        return .waiting(id, opened: opened)
    }

    /// How many wait for room at the endpoint.
    public func waiterCount(endpoint: Int) -> Int { endpoints[endpoint].waiting.count }

    /// Whether a connection to the endpoint is being made.
    public func isConnecting(endpoint: Int) -> Bool { !endpoints[endpoint].pending.isNone }

    /// Whether it is this one that those in line wait for.
    public func isPending(_ id: SlabID) -> Bool { endpoints[connections[id].endpoint].pending == id }

    /// Whether the endpoint has a connection that takes streams.
    public func hasShared(endpoint: Int) -> Bool { !endpoints[endpoint].firstShared.isNone }

    /// Whether some connection of the endpoint has room.
    public func hasRoom(endpoint: Int) -> Bool {
        var id = endpoints[endpoint].firstShared
        while !id.isNone {
            if connections[id].requestRoom > 0 { return true }
            id = connections[id].next
        }
        return false
    }

    /// The exchange that has waited longest at the endpoint; it has left the line.
    public mutating func nextWaiter(endpoint: Int) -> SlabID? {
        guard let first = endpoints[endpoint].waiting.longest else { return nil }
        let holder = line[first].holder
        leaveLine(first)
        return holder
    }

    // MARK: A connection's life

    /// The connection stands: both sides greet each other.
    public mutating func beginGreeting(_ id: SlabID) { connections[id].phase = .greeting }

    /// The service has greeted: the connection takes streams.
    public mutating func share(_ id: SlabID) {
        let endpoint = connections[id].endpoint
        if endpoints[endpoint].pending == id { endpoints[endpoint].pending = .none }
        connections[id].phase = .shared
        linkShared(id)
    }

    /// The connection takes no more streams; those that it has go on.
    public mutating func unshare(_ id: SlabID) {
        if connections[id].isListed { unlinkShared(id) }
    }

    /// One more stream on the connection.
    public mutating func attach(_ id: SlabID) {
        connections[id].streams &+= 1
        connections[id].retires = false
        endpoints[connections[id].endpoint].leased &+= 1
    }

    /// One less. `true` when the connection is to be closed: it is idle, and takes no more streams or is one too many.
    public mutating func detach(
        _ id: SlabID, keepaliveIdle: UInt64, keepaliveConnections: Int, _ loop: inout EventLoop
    ) -> Bool {
        connections[id].streams &-= 1
        endpoints[connections[id].endpoint].leased &-= 1
        guard connections[id].streams == 0 else { return false }
        guard connections[id].isListed else { return true }
        var idle = 0
        var other = endpoints[connections[id].endpoint].firstShared
        while !other.isNone {
            if connections[other].streams == 0 { idle &+= 1 }
            other = connections[other].next
        }
        if idle > keepaliveConnections { return true }
        setDeadline(id, loop.now &+ keepaliveIdle, &loop)
        return false
    }

    private mutating func linkShared(_ id: SlabID) {
        let endpoint = connections[id].endpoint
        link(id, before: endpoints[endpoint].firstShared)
        endpoints[endpoint].firstShared = id
        connections[id].isListed = true
    }

    private mutating func unlinkShared(_ id: SlabID) {
        let endpoint = connections[id].endpoint
        endpoints[endpoint].firstShared = unlink(id, first: endpoints[endpoint].firstShared)
        connections[id].isListed = false
    }

    /// Forgets a connection of HTTP/2 that is about to be closed.
    mutating func forgetShared(_ id: SlabID) {
        let endpoint = connections[id].endpoint
        if endpoints[endpoint].pending == id { endpoints[endpoint].pending = .none }
        endpoints[endpoint].leased &-= connections[id].streams
        unshare(id)
    }
}
