import HTTP
import JWT
import LinuxIO
import Memory
import Proxy
import RateLimit
import Reactor
import Routing
import Telemetry
import Upstreams

/// What outlives every worker, as in the real process; made once.
struct Household {
    let routes = LabelTable(capacity: 16)
    let services = LabelTable(capacity: 16)
    let endpoints = LabelTable(capacity: 16)
    let listeners = LabelTable(capacity: 16)
    let limiter = LimitTable(slots: 64, hashKey: (1, 2))
    let clients = CountTable(slots: 1024, hash: SipHash(key0: 3, key1: 4))
    let inFlight = CountTable(slots: 1024, hash: SipHash(key0: 5, key1: 6))
    let meters = WorkerMetrics(routes: 16)
    let connectionCounts = SharedCells(count: 1)
    let listenerCounts = SharedCells(count: 16)
    let generations = SharedCells(count: 1)
    let ring = ByteRing(capacity: 1 << 20)
    let eventRing = ByteRing(capacity: 1 << 20)
    let pressure = SharedCells(count: 1)
    let isSleeping = SharedCells(count: 1)

    var names: AccessNames {
        AccessNames(
            routes: routes.names, services: services.names, endpoints: endpoints.names,
            listeners: listeners.names, reasons: NameTable(Refusal.allCases.map { "\($0.name)" }))
    }
}

/// A real worker and its loop, turned by hand.
final class Gateway {
    private let household: Household
    private let mailbox: Mailbox<WorkerMessage>
    private var worker: Worker
    private var loop: EventLoop
    private var generation = 1
    let listener: Int32
    /// Descriptors that live as long as the worker.
    private(set) var ownDescriptors: Int
    /// Whether exchanges may find all connections to services taken.
    let isNarrow: Bool
    private(set) var isStopped = false
    private(set) var isListening = true

    /// `seed` decides how much room the worker has.
    init(_ household: Household, names: AccessNames, seed: UInt64) throws(SystemError) {
        var chance = Chance(seed)
        let kernel = SimulatedKernel.shared
        kernel.begin(seed: seed)
        kernel.forgetAll()
        self.household = household
        mailbox = try Mailbox(capacity: 64)
        household.connectionCounts.store(0, at: 0)
        let serviceConnections = [2, 3, 5, 64, 64][chance.below(5)]
        isNarrow = serviceConnections < 64
        let settings = WorkerSettings(
            index: 0, connections: 64, upstreamConnections: serviceConnections, blockBytes: 192 * 16384,
            limiter: household.limiter, clients: household.clients, inFlight: household.inFlight,
            meters: household.meters,
            connectionCounts: household.connectionCounts, listenerCounts: household.listenerCounts,
            generations: household.generations,
            log: AccessLogRing(
                ring: household.ring, isSleeping: household.isSleeping, wakeNumber: -1, isOn: true),
            events: AccessLogRing(
                ring: household.eventRing, isSleeping: household.isSleeping, wakeNumber: -1, isOn: false),
            tellsHandshakes: false, names: names, pressure: household.pressure, mailbox: mailbox,
            neighbours: Neighbours([mailbox]),
            keyCells: SharedCells(count: 2), keyWishes: try Mailbox(capacity: 8))
        worker = Worker(
            settings: settings, snapshot: Gateway.snapshot(household, generation: 1), seed: chance.next())
        loop = try EventLoop(timers: 8192, pending: 256)
        try loop.watch(mailbox.wakeUp)
        listener = kernel.listen()
        ownDescriptors = kernel.openCount
        send(.listen(label: household.listeners.label(for: "main"), number: listener, isShared: false))
    }

    private func send(_ message: consuming sending WorkerMessage) {
        let returned = mailbox.send(message)
        precondition(returned == nil, "the mailbox has room")
    }

    func turn() { if !isStopped { isStopped = !loop.turn(&worker) } }

    func reload() {
        generation += 1
        send(.snapshot(Gateway.snapshot(household, generation: generation)))
    }

    var hasReloaded: Bool { household.generations.load(0) == generation }

    /// Once a worker that drains has let go of its listening socket, the control side closes it.
    func closeListener() {
        guard household.generations.load(0) == .max, isListening else { return }
        isListening = false
        ownDescriptors -= 1
        SimulatedKernel.shared.closeListener(listener)
    }

    func drain(within nanoseconds: UInt64) {
        send(.drain(deadline: SimulatedKernel.shared.now + nanoseconds))
    }

    func hoard(leaving count: Int, in queue: inout ByteQueue) { worker.hoard(leaving: count, in: &queue) }

    var isEmpty: Bool {
        worker.openConnections == 0 && worker.openServiceConnections == 0 && worker.openExchanges == 0
            && worker.trimTimers == 0 && !worker.hasSurplus
    }

    /// What must be nothing when nobody is connected any more.
    var leftovers: [(String, Int)] {
        [
            ("connections", worker.openConnections),
            // A worker that has drained leaves its idle ones to its end.
            ("service connections", isStopped ? 0 : worker.openServiceConnections),
            ("exchanges", worker.openExchanges), ("snapshots", worker.heldSnapshots - 1),
            // A connection of HTTP/2 that is left to the worker's end may hold what it had not sent.
            ("blocks", isStopped && worker.openServiceConnections > 0 ? 0 : worker.heldBlocks),
            ("large blocks", worker.heldLargeBlocks),
            ("surplus of unused blocks", !isStopped && worker.hasSurplus ? 1 : 0),
            ("notes", worker.heldNotes),
            ("bytes of sessions", isStopped ? 0 : worker.heldHTTP2Bytes / (256 << 10)),
            ("timers", isStopped ? 0 : loop.timers.count),
            ("counted connections", household.connectionCounts.load(0)),
            ("counted requests under way", household.inFlight.total),
            ("connections of the listener", household.listenerCounts.load(label)),
            ("uncounted closes", household.meters.acceptedCount - household.meters.closedCount),
            ("lost log lines", household.meters.logDropCount),
        ].filter { $0.1 != 0 }
    }

    private var label: Int { household.listeners.label(for: "main") }

    var exchangeCount: Int { household.meters.exchangeCount(labels: 16) }

    /// The access lines since the last call.
    func lines() -> [ArraySlice<UInt8>] {
        var bytes: [UInt8] = []
        household.ring.drain { bytes += $0.array }
        return bytes.split(separator: 0x0a)
    }

    // MARK: Configurations

    /// Two services of HTTP/1.1 and one of HTTP/2; with each generation another choice of endpoints.
    private static func snapshot(_ household: Household, generation: Int) -> Snapshot {
        let ports: [[UInt16]] =
            generation % 2 == 1
            ? [[7001], [7002, 7003, 7004], [7011, 7012]] : [[7001, 7004], [7003, 7005], [7012]]
        let rules = ["/a", "/b", "/c"].enumerated().map { RouteRule(index: $0, prefix: Array($1.utf8)) }
        guard let table = try? RouteTable(rules) else { preconditionFailure("the rules are good") }
        let second: UInt64 = 1_000_000_000
        return Snapshot(
            generation: generation, table: table,
            routes: FixedArray(count: 3) { index in
                RoutePlan(
                    label: household.routes.label(for: ["a", "b", "c"][index]), name: [97 + UInt8(index)],
                    service: index, issuer: -1, requirement: GrantRequirement(), scopeText: [],
                    limits: FixedArray(count: 0) { _ in preconditionFailure("no limits") },
                    // Of the first route alone, so that both are met: a place in flight, and none.
                    concurrency: index == 0
                        ? ConcurrencyPlan(
                            most: 1000, key: LimitKey(.client), hash: SipHash(key0: 7, key1: 8))
                        : ConcurrencyPlan(),
                    bodyLimit: index == 0 ? 150_000 : .max, streamLimit: 100, connectTimeout: 5 * second,
                    requestTimeout: 30 * second, idleTimeout: 20 * second, strippedBytes: 0,
                    preservesHost: index == 0, isLogged: true,
                    requestEdits: FieldEdits(set: [], remove: []),
                    responseEdits: FieldEdits(set: [], remove: []))
            },
            services: FixedArray(count: 3) { service in
                ServicePlan(
                    index: household.services.label(for: ["a", "b", "c"][service]),
                    endpoints: FixedArray(count: ports[service].count) { index in
                        let port = ports[service][index]
                        return EndpointPlan(
                            index: household.endpoints.label(for: "\(port)"),
                            address: SocketAddress(high: 0, low: 0, port: port, isV6: false),
                            authority: Array("service-\(port)".utf8))
                    },
                    balance: generation % 3 == 0 ? .leastRequest : service == 0 ? .random : .roundRobin,
                    connectTimeout: 5 * second, requestTimeout: 30 * second, idleTimeout: 20 * second,
                    keepaliveIdle: 60 * second, keepaliveConnections: 2, isHTTP2: service == World.streamed)
            },
            issuers: FixedArray(count: 0) { _ in preconditionFailure("no issuers") },
            listeners: FixedArray(count: 1) { _ in
                ListenerPlan(
                    label: household.listeners.label(for: "main"), name: Array("main".utf8), tls: nil,
                    allowsHTTP1: true, allowsHTTP2: true, handshakeTimeout: second, handshakesInFlight: 8,
                    connectionsPerClient: 64, requiresPreamble: false, securePort: 0,
                    connections: 64, bindsAuthority: false, transportSecurity: [])
            },
            http: HTTPSettings(
                limits: HeadLimits(requestLine: 8192, head: 32768, fields: 100), headTimeout: 10 * second,
                bodyIdleTimeout: 15 * second, bytesPerWindow: 0, rateWindow: second,
                idleTimeout: 60 * second,
                webSocketIdleTimeout: 40 * second, streams: 32, resetsPerWindow: 100,
                resetWindow: 10 * second, mergesSlashes: true),
            trustedProxies: [], ipv6PrefixBits: 64, requestIDField: Array("X-Request-ID".utf8),
            requestIDAcceptance: .nobody, echoesRequestID: true, tracing: .propagate,
            vouchedFields: [
                "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "Forwarded", "X-Request-ID",
            ].map { Array($0.utf8) })
    }
}
