import LinuxIO
import Memory
import Reactor
import Upstreams

/// Notes which tokens the loop names.
struct Noting: EventHandler, ~Copyable {
    var ready: [(token: Token, readiness: Readiness)] = []
    var timers: [Token] = []

    mutating func ready(_ token: Token, _ readiness: Readiness, _ loop: inout EventLoop) {
        ready.append((token, readiness))
    }

    mutating func resume(_ token: Token, _ loop: inout EventLoop) {}
    mutating func timerFired(_ token: Token, _ loop: inout EventLoop) { timers.append(token) }
    mutating func mail(_ loop: inout EventLoop) {}
    mutating func turnEnded(_ loop: inout EventLoop) {}
}

struct Unexpected: Error { let text: String }

/// Pools, a loop that watches them, and endpoints on the loopback.
struct Yard: ~Copyable {
    static let kind: UInt8 = 2
    static let endpointKind: UInt8 = 7
    var loop: EventLoop
    var pools: ConnectionPools
    var noting = Noting()
    let listeners: FixedArray<Descriptor>
    let plan: ServicePlan

    init(
        endpoints: Int = 1, capacity: Int = 64, balance: Balance = .roundRobin, seed: UInt64 = 7,
        firstEndpoint: Int = 10
    ) throws {
        let made = Yard.listeners(count: endpoints)
        let ports = try Yard.ports(made)
        let turning = try EventLoop(timers: 4096, pending: 16)
        plan = Yard.plan(service: 3, ports: ports, firstEndpoint: firstEndpoint, balance: balance)
        listeners = made
        loop = turning
        pools = ConnectionPools(
            capacity: capacity, kind: Yard.kind, endpointKind: Yard.endpointKind, seed: seed)
    }

    private static func listeners(count: Int) -> FixedArray<Descriptor> {
        FixedArray(count: count) { _ in
            let any = SocketAddress(
                bytes: [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 127, 0, 0, 1], port: 0, isV6: false)
            do {
                return try Sockets.listen(at: any, sharesPort: false, backlog: 1024)
            } catch {
                preconditionFailure("no listener: \(error)")
            }
        }
    }

    private static func ports(_ listeners: borrowing FixedArray<Descriptor>) throws -> [UInt16] {
        var ports: [UInt16] = []
        for index in 0..<listeners.count { ports.append(try Sockets.localPort(of: listeners[index])) }
        return ports
    }

    static func plan(
        service: Int, ports: [UInt16], firstEndpoint: Int = 10, balance: Balance = .roundRobin
    ) -> ServicePlan {
        let endpoints = FixedArray<EndpointPlan>(count: ports.count) { index in
            let address = SocketAddress(
                bytes: [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 127, 0, 0, 1], port: ports[index],
                isV6: false)
            return EndpointPlan(index: firstEndpoint + index, address: address, authority: [])
        }
        return ServicePlan(
            index: service, endpoints: endpoints, balance: balance, connectTimeout: 1, requestTimeout: 1,
            idleTimeout: 1, keepaliveIdle: 1, keepaliveConnections: 1)
    }

    func port(_ endpoint: Int) -> UInt16 { plan.endpoints[endpoint].address.port }

    mutating func lease(choice: Int = 0, holder: UInt32 = 1, fresh: Bool = false) -> LeaseAnswer {
        pools.lease(plan, choice: choice, holder: Yard.holder(holder), isFreshOnly: fresh, &loop)
    }

    static func holder(_ number: UInt32) -> SlabID { SlabID(index: number, generation: 1) }

    /// Turns the loop until the connection can be written to, and says that it stands.
    mutating func finishConnect(_ id: SlabID) throws {
        let token = Token(kind: Yard.kind, id: id)
        for _ in 0..<100 {
            // Edges of other connections may come first; a timer keeps the loop from waiting for ever.
            _ = loop.timers.schedule(Token(kind: 9, id: .none), at: loop.now + 1_000_000_000)
            if noting.ready.contains(where: { $0.token == token && $0.readiness.isWritable }) {
                pools.connected(id)
                return
            }
            _ = loop.turn(&noting)
        }
        throw Unexpected(text: "the connect did not stand")
    }

    /// A new connection that stands.
    mutating func connection(choice: Int = 0, holder: UInt32 = 1) throws -> SlabID {
        guard case .connecting(let id) = lease(choice: choice, holder: holder, fresh: true) else {
            throw Unexpected(text: "no new connection")
        }
        try finishConnect(id)
        return id
    }

    @discardableResult
    mutating func giveBack(_ id: SlabID, keep: Int = 64, idle: UInt64 = 60_000_000_000) -> Bool {
        pools.giveBack(id, keepaliveIdle: idle, keepaliveConnections: keep, &loop)
    }

    /// Turns the loop until a timer of `id` fires.
    mutating func waitForTimer(_ id: SlabID) throws {
        for _ in 0..<1000 {
            if let index = noting.timers.firstIndex(of: Token(kind: Yard.kind, id: id)) {
                noting.timers.remove(at: index)
                return
            }
            _ = loop.turn(&noting)
        }
        throw Unexpected(text: "no timer fired")
    }
}

extension LeaseAnswer {
    var leased: SlabID? { if case .leased(let id) = self { id } else { nil } }
    var connecting: SlabID? { if case .connecting(let id) = self { id } else { nil } }
    var waiting: SlabID? { if case .waiting(let id) = self { id } else { nil } }
    var isOverloaded: Bool { if case .overloaded = self { true } else { false } }
}
