import LinuxIO
import Memory

/// One schedule: a worker, some clients, some services, and chance.
struct Schedule: ~Copyable {
    /// Turns in which things are made to happen; then all that is left has so many to come to an end.
    private static let lively = 400
    private static let settling = 6000
    /// Turns without a wait in which nothing moved. A worker that needs more is spinning.
    private static let idle = 40

    private let world: World
    private let gateway: Gateway
    private var clients: [any Caller] = []
    private let services: Services
    private var hoard = ByteQueue()
    private let hoardsAt: Int
    private let reloadsAt: Int
    private let drainsAt: Int
    private let exchangesBefore: Int
    /// What was logged before the clients left.
    private var earlyLines: [ArraySlice<UInt8>] = []

    init(_ world: World, _ gateway: Gateway) {
        self.world = world
        self.gateway = gateway
        let kernel = world.kernel
        kernel.begin(seed: world.seed)
        kernel.isTracing = world.isTracing
        kernel.patience = 300_000
        kernel.manners.blockedSends = [0, 3, 12][world.chance.below(3)]
        kernel.manners.shortSends = [0, 2, 8][world.chance.below(3)]
        kernel.manners.movesDuringCalls = [0, 4, 16][world.chance.below(3)]
        kernel.manners.heldUp = [0, 2, 5][world.chance.below(3)]
        let isRough = world.mood == .rough
        if isRough, world.chance.oneIn(8) { kernel.manners.failedAccepts = 3 }
        if isRough, world.chance.oneIn(8) { kernel.manners.failedConnects = 4 }
        if isRough, world.chance.oneIn(16) { kernel.manners.failedWatches = 6 }
        hoardsAt = isRough && world.chance.oneIn(6) ? world.chance.below(60) : .max
        reloadsAt = world.chance.oneIn(4) ? world.chance.below(60) : .max
        exchangesBefore = gateway.exchangeCount
        services = Services(world)
        let count = 1 + world.chance.below(world.chance.oneIn(6) ? 10 : 4)
        clients = (0..<count).map { number -> any Caller in
            world.chance.oneIn(3)
                ? StreamClient(world, address: number) : Client(world, address: number)
        }
        // Tunnels live until the deadline.
        let hasTunnels = world.askings.contains { $0.isTunnel }
        drainsAt = world.chance.oneIn(hasTunnels ? 8 : 24) ? world.chance.below(80) : .max
        world.trace("mood \(world.mood), \(count) clients, \(world.askings.count) requests")
    }

    /// Runs it to its end.
    consuming func run() {
        live()
        settle()
        judge()
    }

    // MARK: Turns

    private mutating func live() {
        let freezesAt = world.mood == .rough && world.chance.oneIn(8) ? world.chance.below(100) : .max
        var quiet = 0
        for turn in 0..<Schedule.lively {
            if turn == reloadsAt { gateway.reload() }
            if turn == drainsAt { beginDrain() }
            if turn == hoardsAt { takeBlocks() }
            if turn == freezesAt {
                world.trace("nobody does anything any more")
                freeze()
                return
            }
            if world.mood == .rough, world.chance.oneIn(100) { jump() }
            actAll()
            step()
            if !hoard.isEmpty, world.chance.oneIn(20) { hoard.removeAll() }
            if clients.allSatisfy({ $0.isIdle }) { quiet += 1 }
            if quiet > 3 || gateway.isStopped { return }
        }
    }

    private func actAll() {
        for client in clients { client.act(listener: gateway.isListening ? gateway.listener : nil) }
        services.act()
        world.kernel.carry()
    }

    private func step() {
        gateway.turn()
        if world.isDraining { gateway.closeListener() }
        if world.kernel.idleTurns > Schedule.idle {
            world.violate("the loop turned \(Schedule.idle) times and nothing moved")
        }
        for fault in world.kernel.faults { world.violate(fault) }
        world.kernel.faults.removeAll()
    }

    private func beginDrain() {
        world.trace("the gateway is told to drain")
        world.isDraining = true
        gateway.drain(within: world.chance.oneIn(2) ? 20_000_000_000 : 600_000_000_000)
    }

    private mutating func takeBlocks() {
        let left = world.chance.below(6)
        world.trace("all blocks but \(left) are taken away")
        gateway.hoard(leaving: left, in: &hoard)
    }

    private func jump() {
        let milliseconds = [10, 600, 2500, 6000, 16_000, 31_000, 70_000][world.chance.below(7)]
        world.trace("the clock jumps by \(milliseconds) ms")
        world.kernel.now += UInt64(milliseconds) * 1_000_000
        if world.chance.oneIn(2) { world.kernel.wallOffset -= UInt64(world.chance.below(1_000_000_000)) }
    }

    /// Nobody acts any more, and only the gateway's own timers can end what is open.
    private mutating func freeze() {
        hoard.removeAll()
        world.kernel.patience = .max
        for _ in 0..<Schedule.settling {
            if isOver { return }
            world.kernel.carry(isAll: true)
            step()
        }
        if !isOver { world.violate("peers that do nothing hold the gateway for ever") }
    }

    private var isOver: Bool {
        gateway.isStopped
            || (gateway.isEmpty && world.kernel.openCount == gateway.ownDescriptors && world.kernel.isIdle
                && world.kernel.unaccepted == 0)
    }

    /// Everybody comes to an end: first what was asked for, without losing time, then the connections.
    private mutating func settle() {
        hoard.removeAll()
        let manners = world.kernel.manners
        world.kernel.manners = KernelManners()
        world.kernel.manners.heldUp = manners.heldUp
        var turns = 0
        while !gateway.isStopped, clients.contains(where: { !$0.isIdle }), turns < Schedule.settling {
            actAll()
            step()
            turns += 1
            // Who has waited so long waits for a timer. In a fair schedule nobody may.
            if turns == 1000, world.mood == .rough { world.kernel.patience = .max }
            if turns > 2000, world.mood != .rough { break }
        }
        let stuck = clients.reduce(0) { $0 + $1.unanswered }
        if stuck > 0, !gateway.isStopped { world.violate("\(stuck) requests hang, and nobody works on them") }
        judgeStreams()
        judgeFairness()
        earlyLines = gateway.lines()
        world.trace("the clients leave")
        let isPolite = world.chance.oneIn(2)
        if !isPolite { for client in clients { client.leave() } }
        world.kernel.patience = .max
        turns = 0
        while !isOver, turns < Schedule.settling {
            actAll()
            step()
            turns += 1
        }
        if !isOver { world.violate("the gateway does not come to rest: \(gateway.leftovers)") }
        world.kernel.carry(isAll: true)
        for client in clients { client.leave() }
        for _ in 0..<4 { services.act() }
    }

    // MARK: Judgement

    /// Where nothing went wrong, nothing may have failed.
    private func judgeFairness() {
        guard world.mood != .rough else { return }
        for client in clients { client.judge(isNarrow: gateway.isNarrow) }
    }

    /// Where all exchanges are over, no stream may be left: it would hold its place for ever.
    private func judgeStreams() {
        guard world.mood != .rough, !gateway.isStopped else { return }
        var turns = 0
        while services.open > 0, turns < 1000 {
            actAll()
            step()
            turns += 1
        }
        if services.open > 0 { world.violate("\(services.open) streams and tunnels of services are left") }
    }

    private func judge() {
        // A pause of the listener may still be running.
        world.kernel.patience = 60_000_000
        for _ in 0..<4 { step() }
        for left in gateway.leftovers { world.violate("\(left.1) \(left.0) left") }
        if world.kernel.openCount != gateway.ownDescriptors, !gateway.isStopped {
            world.violate("\(world.kernel.openCount - gateway.ownDescriptors) descriptors left")
        }
        let lines = earlyLines + gateway.lines()
        let counted = gateway.exchangeCount - exchangesBefore
        if counted != lines.count { world.violate("\(counted) exchanges counted, \(lines.count) logged") }
        var nameless = 0
        for (index, line) in lines.enumerated() {
            if !world.note(AccessLine(line), isEarly: index < earlyLines.count) { nameless += 1 }
        }
        let begun = world.askings.filter(\.hasBegun)
        // One head a connection that came in part, and those that are none.
        if nameless > clients.count + begun.count(where: \.isMalformed) {
            world.violate("\(nameless) lines of nobody")
        }
        for asking in begun { judge(asking) }
    }

    private func judge(_ asking: Asking) {
        if asking.lines > 1 { world.violate("request \(asking.id) has \(asking.lines) lines in the log") }
        if asking.isMalformed { return }
        if asking.deliveries > 0, asking.lines != 1 {
            world.violate("request \(asking.id) came to a service and has \(asking.lines) lines")
        }
        guard asking.seenStatus > 0, asking.lines == 1 else {
            if asking.seenStatus > 0, asking.seenStatus != 408, asking.seenStatus != 503 {
                world.violate("request \(asking.id) was answered \(asking.seenStatus) and has no line")
            }
            return
        }
        if asking.seenStatus != asking.loggedStatus {
            world.violate("request \(asking.id): \(asking.seenStatus) seen, \(asking.loggedStatus) logged")
        }
        guard case .answered = asking.outcome else { return }
        // Something may still break behind what the client takes for the whole: the other way of a tunnel, or the end of
        // a service's stream behind the last byte of a length. Where nothing breaks, the client may still not wait for it.
        let isBehindStream = asking.service == World.streamed && !asking.isStream
        let mayBreak = world.mood == .rough && (asking.isTunnel || isBehindStream)
        // And once all have left, time runs ahead of what is still on the wire: the end of the stream may be given up.
        let isGivenUp = asking.loggedReason == "upstream_truncated" && !asking.wasLoggedEarly
        let mayLeave = isBehindStream && (asking.loggedReason == "client_closed" || isGivenUp)
        if !asking.loggedReason.isEmpty, !mayBreak, !mayLeave {
            world.violate("request \(asking.id) was answered whole and logged as \(asking.loggedReason)")
        }
        if asking.loggedBytesOut != asking.receivedBytes {
            world.violate(
                "request \(asking.id): \(asking.receivedBytes) bytes seen, \(asking.loggedBytesOut) logged")
        }
    }
}
