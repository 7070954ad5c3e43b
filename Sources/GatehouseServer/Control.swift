import Config
import HTTP
import HTTP1
import LinuxIO
import Memory
import Reactor
import TLS
import Telemetry

/// The control loop: signals, messages of other threads, and the read-only admin server.
struct Control: ~Copyable {
    enum Kind {
        static let signals: UInt8 = 0
        static let adminListener: UInt8 = 1
        static let adminConnection: UInt8 = 2
        static let security: UInt8 = 3
        static let retired: UInt8 = 4
        static let memory: UInt8 = 5
        static let keyTick: UInt8 = 6
        static let keyFetch: UInt8 = 7
    }

    /// Connections of the admin server at once; one more is closed at once.
    static let adminConnections = 64
    /// How long the admin server waits for the request, and then for its client to read on.
    static let adminTimeout: UInt64 = 5_000_000_000
    /// How long one connection of it lasts at the most.
    static let adminLongest: UInt64 = 60_000_000_000
    /// Of all answers of the admin server that are not yet with their clients: the metrics of ten thousand routes with long names,
    /// twice. What comes on top gets 503.
    static let mostAnswerBytes = 128 << 20
    /// How long the admin server accepts nothing when descriptors have run out.
    static let acceptPause: UInt64 = 100_000_000
    /// How often it is looked at how much memory is used, once half of the budget is; before that, ten times more seldom: the
    /// allocator adds its figures up anew each time, which is some 80,000 instructions.
    static let memoryPause: UInt64 = 100_000_000
    /// How often it is looked whether files of certificates and keys have changed, and whether ticket keys are due.
    static let securityPause: UInt64 = 1_000_000_000

    let fleet: Fleet
    let signals: SignalSource
    let log: EventLog
    let drainTimeout: UInt64
    let blocks = BlockPool(limit: 1024, keep: 4)
    /// Whether the first look at memory has been.
    private var hasSettled = false
    var connections = Slab<AdminConnection>(capacity: Control.adminConnections)
    var answerBytes = 0
    var head = RequestHead(fieldCapacity: 64)
    var isReloading = false
    var wantsReload = false
    var isDraining = false
    var liveWorkers: Int
    var adminSocket: Descriptor?
    var adminNumber: Int32?
    var keyDuties: [KeyDuty] = []
    var fetches = Slab<KeyFetch>(capacity: ConfigurationBounds.issuers)
    var isTickingKeys = false

    static func run(
        _ fleet: Fleet, signals: consuming SignalSource, options: ServerOptions, log: EventLog
    ) throws(SystemError) {
        var loop = try EventLoop(timers: 256, pending: 256)
        var control = Control(
            fleet: fleet, signals: signals, log: log, drainTimeout: options.drainTimeout,
            liveWorkers: fleet.workers)
        try loop.add(control.signals.number, Token(kind: Kind.signals, id: .none), .level)
        try loop.watch(fleet.mail.wakeUp)
        try loop.watch(fleet.keyWishes.wakeUp)
        _ = loop.timers.schedule(Token(kind: Kind.security, id: .none), at: loop.now + securityPause)
        _ = loop.timers.schedule(Token(kind: Kind.memory, id: .none), at: loop.now + memoryPause)
        try control.openAdmin(&loop)
        control.syncKeys(&loop)
        fleet.awaitWorkers()
        Machine.dropStartPages()
        fleet.budget.begin(allocatedBytes: options.heapBytes)
        Machine.notify("READY=1")
        log.tell(
            .info, "ready",
            [
                ("version", options.version), ("workers", "\(fleet.workers)"),
                ("process", "\(Machine.processNumber)"),
            ])
        loop.run(&control)
    }

    private init(
        fleet: Fleet, signals: consuming SignalSource, log: EventLog, drainTimeout: UInt64, liveWorkers: Int
    ) {
        self.fleet = fleet
        self.signals = signals
        self.log = log
        self.drainTimeout = drainTimeout
        self.liveWorkers = liveWorkers
    }

    private mutating func openAdmin(_ loop: inout EventLoop) throws(SystemError) {
        guard let place = fleet.adminAddress?.value else { return }
        var address = SocketAddress(
            bytes: place.host.mappedBytes, port: place.port, isV6: !place.host.isIPv4)
        let socket = try Sockets.listen(at: address, sharesPort: false, backlog: 64)
        address.port = try Sockets.localPort(of: socket)
        let number = socket.number
        adminSocket = consume socket
        adminNumber = number
        try loop.add(number, Token(kind: Kind.adminListener, id: .none), .level)
        log.tell(.info, "listening", [("listener", "admin"), ("address", address.text)])
    }
}

extension Control: EventHandler {
    mutating func ready(_ token: Token, _ readiness: Readiness, _ loop: inout EventLoop) {
        switch token.kind {
        case Kind.signals: takeSignals(&loop)
        case Kind.adminListener: acceptAdmin(&loop)
        case Kind.adminConnection:
            if connections.contains(token.id) { driveAdmin(token.id, &loop) }
        case Kind.keyFetch:
            if fetches.contains(token.id) { driveFetch(token.id, &loop) }
        default: return
        }
    }

    mutating func resume(_ token: Token, _ loop: inout EventLoop) {}

    mutating func timerFired(_ token: Token, _ loop: inout EventLoop) {
        switch token.kind {
        case Kind.adminListener: watchAdmin(&loop)
        case Kind.adminConnection:
            if connections.contains(token.id) { closeAdmin(token.id, &loop) }
        case Kind.retired: isDraining ? watchDrain(&loop) : watchRetired(&loop)
        case Kind.memory:
            if !hasSettled {
                // Workers and the log have begun meanwhile, and with their first steps brought pages of the start back.
                hasSettled = true
                Machine.dropStartPages()
            }
            let pause = fleet.watchMemory() ? Control.memoryPause : 10 * Control.memoryPause
            _ = loop.timers.schedule(Token(kind: Kind.memory, id: .none), at: loop.now + pause)
        case Kind.keyTick: tickKeys(&loop)
        case Kind.keyFetch:
            if fetches.contains(token.id) { fetchOverdue(token.id, &loop) }
        case Kind.security:
            watchSecurity(now: loop.now)
            _ = loop.timers.schedule(
                Token(kind: Kind.security, id: .none), at: loop.now + Control.securityPause)
        default: return
        }
    }

    mutating func mail(_ loop: inout EventLoop) {
        fleet.mail.wakeUp.clear()
        while let message = fleet.mail.receive() {
            switch consume message {
            case .workerEnded:
                liveWorkers -= 1
                if !isDraining {
                    // A worker ends by itself only when its loop could not be made: nothing can be served right.
                    log.tell(.error, "worker_lost")
                    beginDrain(&loop)
                }
                if liveWorkers == 0 { loop.stop() }
            case .reloadEnded:
                isReloading = false
                syncKeys(&loop)
                watchRetired(&loop)
                if wantsReload {
                    wantsReload = false
                    reload()
                }
            case .doorOpened(let source, let addresses, let client):
                doorOpened(source, addresses, client, &loop)
            case .doorFailed(let source, let failure): doorFailed(source, failure, &loop)
            case .keysTaken(let source, let taking, let origin): keysTaken(source, taking, origin, &loop)
            }
        }
        takeWishes(&loop)
    }

    mutating func turnEnded(_ loop: inout EventLoop) {}

    private mutating func takeSignals(_ loop: inout EventLoop) {
        while let name = signals.take() {
            switch name {
            case .hangUp: reload()
            case .user1: fleet.reopenLogs()
            case .terminate, .interrupt:
                if isDraining {
                    // Asked twice: now.
                    fleet.beginDrain(until: loop.now)
                } else {
                    beginDrain(&loop)
                }
            case .other: continue
            }
        }
    }

    private mutating func reload() {
        guard !isDraining else { return }
        // One at a time; however many were asked for meanwhile, one more sees the newest file.
        if isReloading {
            wantsReload = true
            return
        }
        isReloading = true
        Machine.notify("RELOADING=1")
        fleet.beginReload()
        Machine.notify("READY=1")
    }

    private mutating func watchSecurity(now: UInt64) {
        // What reads the files anyway needs no second reader.
        guard !isDraining, !isReloading, fleet.watchSecurity(now: now) else { return }
        isReloading = true
        fleet.beginRefresh()
    }

    /// Closes listening sockets as soon as all workers have let go of them; until then looks again every 10 ms.
    private mutating func watchRetired(_ loop: inout EventLoop) {
        guard !fleet.closeRetired(), !isDraining else { return }
        _ = loop.timers.schedule(Token(kind: Kind.retired, id: .none), at: loop.now + 10_000_000)
    }

    private mutating func beginDrain(_ loop: inout EventLoop) {
        isDraining = true
        Machine.notify("STOPPING=1")
        log.tell(.info, "draining", [("timeout_ms", "\(drainTimeout / 1_000_000)")])
        fleet.beginDrain(until: loop.now + drainTimeout)
        watchDrain(&loop)
    }

    /// New connections are refused as soon as the workers have taken out what was waiting; looks again every 5 ms.
    private mutating func watchDrain(_ loop: inout EventLoop) {
        guard !fleet.closeListeners() else { return }
        _ = loop.timers.schedule(Token(kind: Kind.retired, id: .none), at: loop.now + 5_000_000)
    }
}
