import Cryptography
import HTTP
import HTTP2
public import JWT
public import LinuxIO
public import Memory
public import RateLimit
public import Reactor
public import TLS
public import Telemetry
import Upstreams

/// What the control side tells a worker.
public enum WorkerMessage: ~Copyable, Sendable {
    /// A new configuration, whole.
    case snapshot(Snapshot)
    /// The files of a listener's TLS have changed: handshakes from here on are made with this.
    case security(label: Int, TLSServer)
    /// Accept from this listening socket, which the control side owns.
    case listen(label: Int, number: Int32, isShared: Bool)
    /// Accept no longer from it.
    case unlisten(number: Int32)
    /// A connection that another worker has accepted.
    case connection(Descriptor, label: Int, peer: SocketAddress)
    /// The keys of an issuer, from now on; none takes them away.
    case keys(KeySet, source: UInt64)
    /// A fetch of an issuer's keys is over; what it brought has been sent before.
    case keysSettled(source: UInt64, isFetched: Bool, told: KeyFetchState.Told?)
    /// Memory is nearly used up: close some connections that are idle.
    case relieve
    /// Finish what is under way, until `deadline` (monotonic nanoseconds), then stop.
    case drain(deadline: UInt64)
}

/// What tells one worker's descriptors apart in its loop.
enum TokenKind {
    static let listener: UInt8 = 0
    static let downstream: UInt8 = 1
    static let upstream: UInt8 = 2
    static let exchange: UInt8 = 3
    static let drain: UInt8 = 4
    /// The pause of those that found no block.
    static let starved: UInt8 = 9
    /// The pause of an endpoint that is not connected to for a while.
    static let endpoint: UInt8 = 10
    /// Until blocks that were not needed are given back.
    static let trim: UInt8 = 11
}

/// How near the process is to its memory budget: what the control side has found, in a cell that workers read.
public enum MemoryPressure {
    public static let none = 0
    /// New exchanges get 503.
    public static let shedExchanges = 1
    /// Besides, idle connections are closed.
    public static let closeIdle = 2
    /// Besides, new connections are refused.
    public static let refuseConnections = 3
}

/// What a worker is made with, for life.
public struct WorkerSettings: Sendable {
    public let index: Int
    /// Most client connections of all workers together.
    public let connections: Int
    /// Most connections to services of this worker.
    public let upstreamConnections: Int
    /// Most bytes in blocks of this worker.
    public let blockBytes: Int
    public let limiter: LimitTable
    /// Open connections of each client.
    public let clients: CountTable
    /// Requests that each key has under way, of routes that limit it.
    public let inFlight: CountTable
    public let meters: WorkerMetrics
    /// Open client connections of each worker, one cell a worker.
    public let connectionCounts: SharedCells
    /// Open client connections of each listener, one cell a label, of all workers together.
    public let listenerCounts: SharedCells
    /// The generation of the snapshot that each worker runs, one cell a worker.
    public let generations: SharedCells
    public let log: AccessLogRing
    /// Warnings for the error log.
    public let events: AccessLogRing
    /// Whether handshakes of clients that fail are told there.
    public let tellsHandshakes: Bool
    public let names: AccessNames
    /// One cell: a level of `MemoryPressure`.
    public let pressure: SharedCells
    public let mailbox: Mailbox<WorkerMessage>
    public let neighbours: Neighbours
    /// Of each issuer whose keys are fetched, two cells: until when (monotonic nanoseconds) no unknown key begins a fetch, and a
    /// `KeyFetchState`.
    public let keyCells: SharedCells
    /// Sources of keys that a worker wants fetched.
    public let keyWishes: Mailbox<UInt64>

    public init(
        index: Int, connections: Int, upstreamConnections: Int, blockBytes: Int, limiter: LimitTable,
        clients: CountTable, inFlight: CountTable,
        meters: WorkerMetrics, connectionCounts: SharedCells, listenerCounts: SharedCells,
        generations: SharedCells, log: AccessLogRing, events: AccessLogRing, tellsHandshakes: Bool,
        names: AccessNames, pressure: SharedCells, mailbox: Mailbox<WorkerMessage>, neighbours: Neighbours,
        keyCells: SharedCells, keyWishes: Mailbox<UInt64>
    ) {
        self.index = index
        self.connections = connections
        self.upstreamConnections = upstreamConnections
        self.blockBytes = blockBytes
        self.limiter = limiter
        self.clients = clients
        self.inFlight = inFlight
        self.meters = meters
        self.connectionCounts = connectionCounts
        self.listenerCounts = listenerCounts
        self.generations = generations
        self.log = log
        self.events = events
        self.tellsHandshakes = tellsHandshakes
        self.names = names
        self.pressure = pressure
        self.mailbox = mailbox
        self.neighbours = neighbours
        self.keyCells = keyCells
        self.keyWishes = keyWishes
    }
}

/// The mailboxes of all workers, by their index.
public final class Neighbours: Sendable {
    private let mailboxes: [Mailbox<WorkerMessage>]

    public init(_ mailboxes: [Mailbox<WorkerMessage>]) { self.mailboxes = mailboxes }

    /// Hands the message back when the worker's mailbox is full.
    func send(_ message: consuming sending WorkerMessage, to worker: Int) -> WorkerMessage? {
        mailboxes[worker].send(message)
    }
}

/// One thread's share of the gateway: its connections, its exchanges, its pools. Nothing in it is touched by another thread.
public struct Worker: ~Copyable {
    let settings: WorkerSettings
    let blocks: BlockPool
    let headBlocks: Int
    /// For heads that do not fit a block of the usual size.
    let largeBlocks: BlockPool
    /// For the texts that the access log wants.
    let notes: BlockPool
    let http2Workspace: HTTP2Workspace

    var listeners: Slab<ListenerSocket>
    var downstreams: Slab<Downstream>
    var exchanges: Slab<Exchange>
    var pools: ConnectionPools
    var snapshots: Slab<Snapshot>
    var current: SlabID

    // Scratch: what they hold is true until the next head.
    var requestHead: RequestHead
    var responseHead: ResponseHead
    var trailerFields: FieldTable
    /// The fields of a request to a service of HTTP/2.
    var serviceFields: FieldTable
    var pathBlock: Block
    var lineBlock: Block

    var dirtyDownstreams: FixedQueue<SlabID>
    var dirtyUpstreams: FixedQueue<SlabID>
    /// Connections that found no block. To look again at once would be to spin: nothing may come back for minutes.
    var starved: FixedQueue<Token>
    var isStarving = false
    /// Whether it is looked soon which blocks were not needed.
    var isTrimming = false
    var identities = CorrelationIDMaker()
    var encoder: AccessLineEncoder
    var events: EventLineEncoder
    /// When the next warning may be written.
    var warningTime: UInt64 = 0
    /// The same for handshakes of clients: whoever fails at them must not silence the rest.
    var handshakeTime: UInt64 = 0
    /// Made from the seed; the ids' random part comes from it.
    let identityHash: SipHash
    /// Of clients' addresses, under the keys of limits.
    var clientHashes = RecentHashes()
    var identityCount: UInt64 = 0
    var webSocketHash = SHA1()
    /// For the keys of WebSockets.
    var random = Random()
    /// Where the second of two values begins in the path's scratch block.
    var limitSplit = 0
    var handshakesInFlight = 0
    /// Handshake steps and signature checks that this turn may still do: what is left waits for the next, so that who is
    /// served already is not kept waiting by those who come.
    var handshakesLeft = Worker.handshakesPerTurn
    var checksLeft = Worker.checksPerTurn
    /// Exchanges that wait for a key.
    var lot: FixedArray<SlabID>
    var lotCount = 0
    /// Of each issuer, how many fetches of its keys had ended by what this worker was told.
    let toldFetches: CounterBlock
    /// Where the walk over idle connections goes on.
    var idleCursor = 0
    var isDraining = false
    var drainDeadline = UInt64.max

    /// Bytes that a sink may hold before its source is no longer read.
    static var sinkBytes: Int { 65536 }
    /// Bytes of frames that are written before they are encrypted and sent: with less than one frame over, four full ones.
    static var framedBytes: Int { 60 << 10 }
    /// Most bytes of an answer, head and body, that are copied to the client's side together.
    static var wholeAnswerBytes: Int { 4096 }
    /// Bytes that one connection may bring in one turn.
    static var turnBytes: Int { 65536 }
    /// How long a connection of HTTP/2 is idle before most of its memory is given back, in nanoseconds.
    static var napDelay: UInt64 { 1_000_000_000 }
    static var acceptsPerTurn: Int { 64 }
    static var handshakesPerTurn: Int { 8 }
    static var checksPerTurn: Int { 16 }
    /// Blocks that nothing is read into: what has been read can then always be encrypted, framed and sent.
    static var keptBlocks: Int { 16 }
    /// Blocks besides, but no more than an eighth of all, that no long body is read into: a client that comes when those hold all
    /// others is heard, and told so, and what was begun before gets its answer.
    static var headBlocks: Int { 32 }
    /// Exchanges that wait for a key at once, and for how long, in nanoseconds.
    static var lotPlaces: Int { 256 }
    static var lotPatience: UInt64 { 1_000_000_000 }
    /// Idle connections that a worker closes each time it is told that memory is short.
    static var closedIdle: Int { 256 }
    /// How long no connection is accepted when descriptors have run out, in nanoseconds.
    static var acceptPause: UInt64 { 100_000_000 }
    /// How long who found no block waits before the next look, in nanoseconds.
    static var blockPause: UInt64 { 10_000_000 }
    /// How long blocks stay unneeded before they are given back, in nanoseconds: up to twice that, and again for each
    /// `BlockPool.trimmedAtOnce` of them.
    static var trimPause: UInt64 { 500_000_000 }
    /// Bytes of a request that are kept for a second try.
    static var keptRequestBytes: Int { 65536 }
    /// What is thrown away of a body whose answer is written, and for how long.
    static var lingerBytes: Int { 1 << 20 }
    static var lingerNanoseconds: UInt64 { 2_000_000_000 }
    /// How long a client that is to be reset has before it is looked again whether it has received all, in nanoseconds.
    static var receiptPause: UInt64 { 20_000_000 }
    /// How often that is looked at: two seconds in all.
    static var receiptLooks: UInt8 { 100 }
    /// Fields of a response head, and its bytes.
    static var responseFields: Int { 256 }
    static var responseHeadBytes: Int { 61440 }
    /// Heads of 1xx before the final one: each is passed on at once, whether the client reads or not.
    static var interimAnswers: Int { 32 }

    public init(settings: WorkerSettings, snapshot: consuming Snapshot, seed: UInt64) {
        self.settings = settings
        let blockLimit = max(settings.blockBytes / 16384, 64)
        headBlocks = min(Worker.headBlocks, blockLimit / 8)
        // What is kept unused counts as used: with a small budget it must be little, or a shortage would never end. What a
        // busy worker gives back it takes again in the same second: to go to the allocator for it was a tenth of the
        // instructions of HTTP/2 with 512 streams.
        let kept = min(256, blockLimit / 16)
        let mostKept = min(4096, blockLimit / 8)
        blocks = BlockPool(limit: blockLimit, keep: kept, most: mostKept)
        largeBlocks = BlockPool(
            blockBytes: 65536, limit: max(blockLimit / 16, 16), keep: min(8, blockLimit / 64))
        notes = BlockPool(
            blockBytes: 2048, limit: max(blockLimit, 4096), keep: kept, most: mostKept)
        http2Workspace = HTTP2Workspace(sessions: settings.connections)
        listeners = Slab(capacity: Worker.listenerCapacity)
        downstreams = Slab(capacity: settings.connections)
        exchanges = Slab(capacity: Worker.exchangeCapacity(settings))
        pools = ConnectionPools(
            capacity: settings.upstreamConnections, kind: TokenKind.upstream,
            endpointKind: TokenKind.endpoint, seed: seed)
        snapshots = Slab(capacity: 4096)
        requestHead = RequestHead(fieldCapacity: 256)
        responseHead = ResponseHead(fieldCapacity: Worker.responseFields)
        trailerFields = FieldTable(capacity: 64)
        serviceFields = FieldTable(capacity: 512)
        guard let path = largeBlocks.take(), let line = largeBlocks.take() else {
            preconditionFailure("a fresh pool has at least sixteen blocks")
        }
        pathBlock = path
        lineBlock = line
        // Twice the slabs: names of what was closed meanwhile stay until they are popped.
        dirtyDownstreams = FixedQueue(capacity: settings.connections * 2)
        dirtyUpstreams = FixedQueue(capacity: settings.upstreamConnections * 2)
        lot = FixedArray(count: Worker.lotPlaces) { _ in .none }
        toldFetches = CounterBlock(count: settings.keyCells.count / 2)
        starved = FixedQueue(capacity: (settings.connections + settings.upstreamConnections) * 2)
        encoder = AccessLineEncoder(names: settings.names)
        events = EventLineEncoder(names: settings.names)
        identityHash = SipHash(key0: seed, key1: ~seed &* 0x9e37_79b9_7f4a_7c15)
        let generation = snapshot.generation
        current = snapshots.insert(snapshot)
        settings.generations.store(generation, at: settings.index)
    }

    /// Serves until a drain has ended. On the worker's own thread; the first message of its mailbox must be a snapshot,
    /// and be there.
    public static func serve(_ settings: WorkerSettings, seed: UInt64) throws(SystemError) {
        guard let message = settings.mailbox.receive(), case .snapshot(let snapshot) = consume message else {
            preconditionFailure("a worker begins with a snapshot")
        }
        let timers =
            settings.connections * 2 + settings.upstreamConnections + exchangeCapacity(settings)
            + listenerCapacity + ConnectionPools.tableSize + 8
        // Before the worker, which says by its first snapshot's generation that all tables stand.
        var loop = try EventLoop(
            timers: timers, pending: (settings.connections + settings.upstreamConnections) * 2)
        try loop.watch(settings.mailbox.wakeUp)
        var worker = Worker(settings: settings, snapshot: snapshot, seed: seed)
        worker.mail(&loop)
        loop.run(&worker)
    }

    private static var listenerCapacity: Int { 64 }

    private static func exchangeCapacity(_ settings: borrowing WorkerSettings) -> Int {
        max(settings.connections * 2, 4096)
    }
}

/// A listening socket that the control side owns.
struct ListenerSocket: ~Copyable {
    let number: Int32
    let label: Int
    /// All workers watch this one descriptor: the kernel wakes one of them for each connection.
    let isShared: Bool

    var interest: Interest { isShared ? .levelExclusive : .level }
}

extension Worker: EventHandler {
    public mutating func ready(_ token: Token, _ readiness: Readiness, _ loop: inout EventLoop) {
        let id = token.id
        switch token.kind {
        case TokenKind.downstream:
            guard downstreams.contains(id) else { return }
            if !downstreams[id].isQueued { downstreams[id].turnBytes = 0 }
            if readiness.isWritable, downstreams[id].isBlocked {
                downstreams[id].isBlocked = false
                markDirty(downstream: id)
            }
            if readiness.isReadable || readiness.isEnding {
                downstreams[id].mayHaveMore = true
                if readiness.isEnding { downstreams[id].isEnding = true }
                drive(id, &loop)
            }
        case TokenKind.upstream:
            guard pools.connections.contains(id) else { return }
            upstreamReady(id, readiness, &loop)
        case TokenKind.listener:
            accept(id, &loop)
        default:
            return
        }
    }

    public mutating func resume(_ token: Token, _ loop: inout EventLoop) {
        let id = token.id
        switch token.kind {
        case TokenKind.downstream:
            guard downstreams.contains(id) else { return }
            downstreams[id].isQueued = false
            downstreams[id].turnBytes = 0
            if !downstreams[id].isFlushed || downstreams[id].phase == .http2 { markDirty(downstream: id) }
            drive(id, &loop)
        case TokenKind.upstream:
            guard pools.connections.contains(id) else { return }
            pools.connections[id].isQueued = false
            pools.connections[id].turnBytes = 0
            // It may have waited for a block to encrypt into.
            if pools.connections[id].hasOutput || pools.connections[id].isHTTP2 { markDirty(upstream: id) }
            driveUpstream(id, &loop)
        case TokenKind.exchange:
            if exchanges.contains(id) { leaveLot(id, &loop) }
        default:
            return
        }
    }

    public mutating func timerFired(_ token: Token, _ loop: inout EventLoop) {
        let id = token.id
        switch token.kind {
        case TokenKind.downstream:
            if downstreams.contains(id) { downstreamTimerFired(id, &loop) }
        case TokenKind.upstream:
            if pools.connections.contains(id), pools.isOverdue(id, &loop) { upstreamOverdue(id, &loop) }
        case TokenKind.exchange:
            if exchanges.contains(id) { exchangeTimerFired(id, &loop) }
        case TokenKind.listener: resumeAccepting(id, &loop)
        case TokenKind.drain:
            endDrain(&loop)
        case TokenKind.endpoint:
            let endpoint = Int(id.index)
            if pools.hasPauseEnded(endpoint: endpoint, &loop) { serveWaiters(endpoint, &loop) }
        case TokenKind.trim: trimBlocks(&loop)
        case TokenKind.starved:
            isStarving = false
            // Only those that wait now: who finds nothing again waits for the next time.
            var left = starved.count
            while left > 0, let token = starved.pop() {
                resume(token, &loop)
                left &-= 1
            }
        default:
            return
        }
    }

    public mutating func turnEnded(_ loop: inout EventLoop) {
        // Requests first: the services can work while the answers go out.
        while true {
            if let id = dirtyUpstreams.pop() {
                if pools.connections.contains(id) { flushUpstream(id, &loop) }
            } else if let id = dirtyDownstreams.pop() {
                if downstreams.contains(id) { flushDownstream(id, &loop) }
            } else {
                break
            }
        }
        handshakesLeft = Worker.handshakesPerTurn
        checksLeft = Worker.checksPerTurn
        settings.log.publish()
        settings.events.publish()
        if !isTrimming, blocks.hasSurplus || notes.hasSurplus { awaitTrim(&loop) }
        if isDraining, downstreams.count == 0 { loop.stop() }
    }
}
