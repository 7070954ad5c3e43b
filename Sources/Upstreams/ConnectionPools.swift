public import LinuxIO
public import Memory
public import Reactor
internal import TLS

/// What came of asking for a connection.
@frozen public enum LeaseAnswer: Sendable {
    /// A kept connection: it can be written to at once.
    case leased(SlabID)
    /// A new one: its connect is under way.
    case connecting(SlabID)
    /// All connections of the service are taken; the waiter's turn comes when one is given back.
    case waiting(SlabID)
    /// Neither a connection nor a place in the line.
    case overloaded
    case failed(SystemError)
}

/// One in line for a connection of a service.
struct Waiter: ~Copyable {
    let holder: SlabID
    let service: Int
    /// The endpoint whose line this is, for a stream; -1 for the service's.
    let endpoint: Int
    var previous = SlabID.none
    var next = SlabID.none

    init(holder: SlabID, service: Int, endpoint: Int = -1) {
        self.holder = holder
        self.service = service
        self.endpoint = endpoint
    }
}

/// Who waits, in the order of their coming.
struct WaitingLine: ~Copyable {
    private var first = SlabID.none
    private var last = SlabID.none
    private(set) var count = 0

    mutating func append(_ id: SlabID, of waiters: inout Slab<Waiter>) {
        waiters[id].previous = last
        if last.isNone { first = id } else { waiters[last].next = id }
        last = id
        count &+= 1
    }

    /// Closes the gap that one of its waiters has left.
    mutating func close(around waiter: borrowing Waiter, of waiters: inout Slab<Waiter>) {
        if waiter.previous.isNone { first = waiter.next } else { waiters[waiter.previous].next = waiter.next }
        if waiter.next.isNone {
            last = waiter.previous
        } else {
            waiters[waiter.next].previous = waiter.previous
        }
        count &-= 1
    }

    /// Who has waited longest; `nil` when nobody waits.
    var longest: SlabID? { first.isNone ? nil : first }
}

struct EndpointState: ~Copyable {
    var firstIdle = SlabID.none
    var idleCount = 0
    var leased = 0
    // Of HTTP/2: connections that take streams, the one that is being made, and who waits for room.
    var firstShared = SlabID.none
    var pending = SlabID.none
    var waiting = WaitingLine()
    /// Before this no connection is begun, and whether a timer stands for then.
    var connectAfter: UInt64 = 0
    var isTimed = false
}

struct ServiceState: ~Copyable {
    var connections = 0
    /// Those of them that carry tunnels.
    var tunnels = 0
    var cursor = 0
    var waiting = WaitingLine()
}

/// One worker's connections to all endpoints: who has which, which are idle, who waits.
///
/// Endpoints and services are named by process-wide indices, so that a reload keeps their connections.
public struct ConnectionPools: ~Copyable {
    /// Most endpoints, and services, that one process can come to know.
    public static var tableSize: Int { 4096 }
    /// Most connections of one service in one worker; past it exchanges wait in line.
    public static var connectionsPerService: Int { 1024 }
    /// Most of them that may be tunnels, which hold theirs for as long as they like: the others are left to requests.
    public static var tunnelsPerService: Int { 768 }
    /// Most exchanges in line in one worker, of all services.
    public static var waiters: Int { 16384 }

    public var connections: Slab<UpstreamConnection>
    var line: Slab<Waiter>
    var endpoints: FixedArray<EndpointState>
    private var services: FixedArray<ServiceState>
    private let kind: UInt8
    let endpointKind: UInt8
    /// For the last words on idle connections, one at a time.
    private let farewells = BlockPool(blockBytes: 1024, limit: 1, keep: 1)
    private var randomState: UInt64

    /// `kind` is the token kind of upstream connections in the worker's loop, `endpointKind` that of the ends of pauses.
    public init(capacity: Int, kind: UInt8, endpointKind: UInt8, seed: UInt64) {
        connections = Slab(capacity: capacity)
        line = Slab(capacity: ConnectionPools.waiters)
        endpoints = FixedArray(count: ConnectionPools.tableSize) { _ in EndpointState() }
        services = FixedArray(count: ConnectionPools.tableSize) { _ in ServiceState() }
        self.kind = kind
        self.endpointKind = endpointKind
        randomState = seed | 1
    }

    /// Connections that wait idle at an endpoint.
    public func idleCount(endpoint: Int) -> Int { endpoints[endpoint].idleCount }

    /// Gives `holder` a connection to the endpoint `choice` of the service, kept or new, or a place in the line.
    ///
    /// `isFreshOnly` asks for a new connection, for the second try of a request that a kept one has lost.
    public mutating func lease(
        _ plan: borrowing ServicePlan, choice: Int, holder: SlabID, isFreshOnly: Bool, _ loop: inout EventLoop
    ) -> LeaseAnswer {
        let endpoint = plan.endpoints[choice].index
        var idle = endpoints[endpoint].firstIdle
        while !idle.isNone, connections[idle].identity != plan.endpoints[choice].security.identity {
            // Agreed on under settings that are others now.
            _ = close(idle, &loop)
            idle = endpoints[endpoint].firstIdle
        }
        if !idle.isNone, !isFreshOnly {
            unlinkIdle(idle)
            if connections[idle].service != plan.index { move(idle, to: plan.index) }
            endpoints[endpoint].leased &+= 1
            connections[idle].phase = .leased
            connections[idle].holder = holder
            connections[idle].isReused = true
            connections[idle].sentBytes = 0
            connections[idle].owesRequest = false
            connections[idle].receivedBytes = 0
            connections[idle].scannedBytes = 0
            return .leased(idle)
        }
        return open(plan, choice: choice, holder: holder, &loop)
    }

    /// An endpoint of two services: its connection counts for the one that uses it, whose line is called when it is free.
    @inline(never) private mutating func move(_ id: SlabID, to service: Int) {
        services[connections[id].service].connections &-= 1
        services[service].connections &+= 1
        connections[id].service = service
    }

    /// What came of beginning a connection.
    enum ConnectAnswer {
        case made(SlabID)
        /// The service holds as many as it may, or the worker.
        case full
        case overloaded
        case failed(SystemError)
    }

    @inline(never) private mutating func open(
        _ plan: borrowing ServicePlan, choice: Int, holder: SlabID, _ loop: inout EventLoop
    ) -> LeaseAnswer {
        switch connect(plan, choice: choice, holder: holder, &loop) {
        case .made(let id):
            endpoints[plan.endpoints[choice].index].leased &+= 1
            return .connecting(id)
        case .full:
            // In a line of a service without connections nobody would ever be called.
            return services[plan.index].connections > 0 ? wait(plan.index, holder: holder) : .overloaded
        case .overloaded: return .overloaded
        case .failed(let error): return .failed(error)
        }
    }

    @inline(never) mutating func connect(
        _ plan: borrowing ServicePlan, choice: Int, holder: SlabID, _ loop: inout EventLoop
    ) -> ConnectAnswer {
        let endpoint = plan.endpoints[choice].index
        let service = plan.index
        let isAtLimit = services[service].connections >= ConnectionPools.connectionsPerService
        if isAtLimit || connections.isFull {
            // An idle connection makes room before an exchange has to wait: one of the service where that is at its
            // limit, anybody's where the worker is.
            guard evictIdle(service: isAtLimit ? service : -1, &loop) else { return .full }
        }
        let identity = plan.endpoints[choice].security.identity
        var session: TLSSession?
        if identity != 0 {
            session = plan.tls?.makeSession(
                serverName: plan.endpoints[choice].security.serverName.span,
                isAddress: plan.endpoints[choice].security.isAddress, endpoint: choice)
            guard session != nil else { return .overloaded }
        }
        do {
            let descriptor = try plan.endpoints[choice].connect()
            let number = descriptor.number
            let id = connections.insert(
                UpstreamConnection(
                    descriptor: descriptor, endpoint: endpoint, service: service, holder: holder,
                    identity: identity, tls: session, isHTTP2: plan.isHTTP2))
            services[service].connections &+= 1
            do {
                // Watched for both from the start: the connect needs it, and a later change would cost a call.
                try loop.add(number, Token(kind: kind, id: id), .readingAndWriting)
            } catch {
                services[service].connections &-= 1
                _ = connections.remove(id)
                return .failed(error)
            }
            return .made(id)
        } catch {
            return .failed(error)
        }
    }

    /// Closes an idle connection of `service`, or of any where that is -1. `false` when there is none. One whose last stream
    /// has just ended while others wait in its endpoint's line is theirs: without it nobody would ever call them.
    private mutating func evictIdle(service: Int, _ loop: inout EventLoop) -> Bool {
        for index in 0..<connections.walkCount {
            guard let id = connections.name(at: index),
                connections[id].isIdle, service < 0 || connections[id].service == service,
                connections[id].phase == .idle || endpoints[connections[id].endpoint].waiting.count == 0
            else { continue }
            _ = close(id, &loop)
            return true
        }
        return false
    }

    private mutating func wait(_ service: Int, holder: SlabID) -> LeaseAnswer {
        guard !line.isFull else { return .overloaded }
        let id = line.insert(Waiter(holder: holder, service: service))
        services[service].waiting.append(id, of: &line)
        return .waiting(id)
    }

    /// Leaves the line. Returns without harm when the waiter's turn has come already.
    public mutating func leaveLine(_ id: SlabID) {
        guard line.contains(id) else { return }
        let waiter = line.remove(id)
        if waiter.endpoint >= 0 {
            endpoints[waiter.endpoint].waiting.close(around: waiter, of: &line)
        } else {
            services[waiter.service].waiting.close(around: waiter, of: &line)
        }
    }

    /// The exchange whose turn it is when a connection of `service` has become free; it has left the line.
    public mutating func nextInLine(_ service: Int) -> SlabID? {
        guard let first = services[service].waiting.longest else { return nil }
        let holder = line[first].holder
        leaveLine(first)
        return holder
    }

    /// Chooses an endpoint: its index in the plan. `avoiding` is the process-wide index of one that has just failed;
    /// another is preferred when there is one, and so is one that is not left alone at `now`.
    public mutating func pick(_ plan: borrowing ServicePlan, avoiding: Int, now: UInt64) -> Int {
        let count = plan.endpoints.count
        guard count > 1 else { return 0 }
        var choice = 0
        switch plan.balance {
        case .roundRobin:
            choice = services[plan.index].cursor % count
            services[plan.index].cursor = choice &+ 1
        case .random:
            choice = random(below: count)
        case .leastRequest:
            // The better of two at random: nearly as even as a look at all, and no herd on the emptiest.
            let first = random(below: count)
            let second = (first &+ 1 &+ random(below: count &- 1)) % count
            let isFirst =
                endpoints[plan.endpoints[first].index].leased
                <= endpoints[plan.endpoints[second].index].leased
            choice = isFirst ? first : second
        }
        let chosen = plan.endpoints[choice].index
        guard chosen == avoiding || isPaused(endpoint: chosen, now: now) else { return choice }
        for step in 1..<count {
            let other = (choice &+ step) % count
            let index = plan.endpoints[other].index
            if index != avoiding, !isPaused(endpoint: index, now: now) { return other }
        }
        return chosen == avoiding ? (choice &+ 1) % count : choice
    }

    private mutating func random(below bound: Int) -> Int {
        // xorshift64*: not secret, only spread.
        randomState ^= randomState &>> 12
        randomState ^= randomState &<< 25
        randomState ^= randomState &>> 27
        return Int(truncatingIfNeeded: ((randomState &* 2_685_821_657_736_338_717) &>> 33) % UInt64(bound))
    }

    /// The connect stands, and TLS is to be agreed on.
    public mutating func beginHandshake(_ id: SlabID) { connections[id].phase = .handshaking }

    /// The connection can be written to.
    public mutating func connected(_ id: SlabID) { connections[id].phase = .leased }

    /// Counts a leased connection as a tunnel for the rest of its life; `false` when its service has enough of them.
    public mutating func becomeTunnel(_ id: SlabID) -> Bool {
        let service = connections[id].service
        guard services[service].tunnels < ConnectionPools.tunnelsPerService else { return false }
        services[service].tunnels &+= 1
        connections[id].isTunnel = true
        return true
    }

    /// Puts a leased connection whose exchange is complete into its pool, or closes it when the pool is full. Says whether anybody
    /// waits in the line of its service, which is to be called.
    public mutating func giveBack(
        _ id: SlabID, keepaliveIdle: UInt64, keepaliveConnections: Int, _ loop: inout EventLoop
    ) -> Bool {
        precondition(connections[id].phase == .leased)
        let endpoint = connections[id].endpoint
        guard endpoints[endpoint].idleCount < keepaliveConnections else {
            connections[id].sayFarewell(from: farewells)
            return services[close(id, &loop)].waiting.count > 0
        }
        endpoints[endpoint].leased &-= 1
        connections[id].phase = .idle
        connections[id].holder = .none
        connections[id].inbound.removeAll()
        connections[id].outbound.removeAll()
        link(id, before: endpoints[endpoint].firstIdle)
        endpoints[endpoint].firstIdle = id
        endpoints[endpoint].idleCount &+= 1
        setDeadline(id, loop.now &+ keepaliveIdle, &loop)
        return services[connections[id].service].waiting.count > 0
    }

    @inline(__always) private mutating func unlinkIdle(_ id: SlabID) {
        let endpoint = connections[id].endpoint
        endpoints[endpoint].firstIdle = unlink(id, first: endpoints[endpoint].firstIdle)
        endpoints[endpoint].idleCount &-= 1
    }

    // An endpoint's idle connections are a list, and so are those of HTTP/2 that take streams.

    /// Puts a connection before the first of a list.
    @inline(__always) mutating func link(_ id: SlabID, before first: SlabID) {
        connections[id].next = first
        connections[id].previous = .none
        if !first.isNone { connections[first].previous = id }
    }

    /// Takes a connection out of a list; returns what is the first of it now.
    @inline(__always) mutating func unlink(_ id: SlabID, first: SlabID) -> SlabID {
        let previous = connections[id].previous
        let next = connections[id].next
        if !previous.isNone { connections[previous].next = next }
        if !next.isNone { connections[next].previous = previous }
        connections[id].previous = .none
        connections[id].next = .none
        return previous.isNone ? next : first
    }

    /// Closes a connection in whatever phase; returns its service, which has room for one more now.
    @inline(never) public mutating func close(_ id: SlabID, _ loop: inout EventLoop) -> Int {
        if connections[id].isIdle { connections[id].sayFarewell(from: farewells) }
        if connections[id].phase == .idle {
            unlinkIdle(id)
        } else if connections[id].isHTTP2 {
            forgetShared(id)
        } else {
            endpoints[connections[id].endpoint].leased &-= 1
        }
        let service = connections[id].service
        services[service].connections &-= 1
        if connections[id].isTunnel { services[service].tunnels &-= 1 }
        loop.timers.cancel(connections[id].timer)
        loop.remove(connections[id].descriptor.number)
        _ = connections.remove(id)
        return service
    }

    /// Sets when the current wait of a connection is over. A deadline that moves later only writes the field: the
    /// timer that stands fires early and is set again then.
    @inline(__always) public mutating func setDeadline(
        _ id: SlabID, _ deadline: UInt64, _ loop: inout EventLoop
    ) {
        connections[id].deadline = deadline
        if deadline < connections[id].timerFires { arm(id, &loop) }
    }

    @inline(never) private mutating func arm(_ id: SlabID, _ loop: inout EventLoop) {
        loop.timers.cancel(connections[id].timer)
        let deadline = connections[id].deadline
        connections[id].timer = loop.timers.schedule(Token(kind: kind, id: id), at: deadline) ?? .none
        connections[id].timerFires = connections[id].timer.isNone ? .max : deadline
    }

    /// The timer of a connection has fired: `true` when its deadline has passed, else it is set again.
    public mutating func isOverdue(_ id: SlabID, _ loop: inout EventLoop) -> Bool {
        connections[id].timerFires = .max
        connections[id].timer = .none
        if connections[id].deadline <= loop.now { return true }
        if connections[id].deadline != .max { arm(id, &loop) }
        return false
    }
}
