import HTTP
import HTTP1
import JWT
import LinuxIO
import Memory
import Proxy
import RateLimit
import Reactor
import Routing
import Telemetry
import Upstreams

/// Any bytes as a client's side of an HTTP/2 connection, with the whole gateway behind it: a worker and its loop on the
/// simulated kernel, and a service of HTTP/1.1 that answers well or badly. Nothing traps, nothing spins; what comes back is
/// HTTP/2, and what goes to the service is one whole request after the other; each exchange has one line in the log; and when
/// the client is gone, so is all that it held.
///
/// The first four bytes choose how the connection begins, the pieces, the service's answers, and how and when the client
/// leaves.
@_cdecl("LLVMFuzzerTestOneInput") public func fuzz(_ data: UnsafePointer<UInt8>, _ size: Int) -> CInt {
    guard size > 4 else { return 0 }
    let all = unsafe Array(UnsafeBufferPointer(start: data, count: size))
    house.run(Array(all.dropFirst(4)), seeds: Array(all.prefix(4)))
    return 0
}

/// One worker for all inputs: that each leaves nothing behind is proven by those that follow.
private let house = House()

/// Turns in which a connection may come to its end, beside one for each byte of the input, as a client may send them one by
/// one; a worker that needs more spins or has forgotten it.
private let patience = 20_000

/// What the gateway keeps to build heads in, once some were built.
private let scratchBytes = 256 << 10

private final class House: @unchecked Sendable {
    private let ring = ByteRing(capacity: 1 << 20)
    private let meters = WorkerMetrics(routes: 4)
    private let pressure = SharedCells(count: 1)
    private let connectionCounts = SharedCells(count: 1)
    private let listenerCounts = SharedCells(count: 4)
    private var worker: Worker
    private var loop: EventLoop
    private let listener: Int32
    private let ownDescriptors: Int
    private let kernel = SimulatedKernel.shared

    init() {
        kernel.begin(seed: 1)
        kernel.forgetAll()
        let routes = LabelTable(capacity: 4)
        let services = LabelTable(capacity: 4)
        let endpoints = LabelTable(capacity: 4)
        let listeners = LabelTable(capacity: 4)
        let labels = Labels(
            route: routes.label(for: "all"), service: services.label(for: "all"),
            endpoint: endpoints.label(for: "7001"), listener: listeners.label(for: "main"))
        let names = AccessNames(
            routes: routes.names, services: services.names, endpoints: endpoints.names,
            listeners: listeners.names, reasons: NameTable(Refusal.allCases.map { "\($0.name)" }))
        do {
            let mailbox = try Mailbox<WorkerMessage>(capacity: 4)
            let isSleeping = SharedCells(count: 1)
            let settings = WorkerSettings(
                index: 0, connections: 4, upstreamConnections: 4, blockBytes: 64 * 16384,
                limiter: LimitTable(slots: 64, hashKey: (1, 2)),
                clients: CountTable(slots: 64, hash: SipHash(key0: 3, key1: 4)),
                inFlight: CountTable(slots: 64, hash: SipHash(key0: 5, key1: 6)), meters: meters,
                connectionCounts: connectionCounts, listenerCounts: listenerCounts,
                generations: SharedCells(count: 1),
                log: AccessLogRing(ring: ring, isSleeping: isSleeping, wakeNumber: -1, isOn: true),
                events: AccessLogRing(
                    ring: ByteRing(capacity: 1 << 16), isSleeping: isSleeping, wakeNumber: -1, isOn: false),
                tellsHandshakes: false, names: names, pressure: pressure, mailbox: mailbox,
                neighbours: Neighbours([mailbox]),
                keyCells: SharedCells(count: 2), keyWishes: try Mailbox(capacity: 8))
            worker = Worker(settings: settings, snapshot: makeSnapshot(labels), seed: 5)
            loop = try EventLoop(timers: 16384, pending: 64)
            try loop.watch(mailbox.wakeUp)
            listener = kernel.listen()
            ownDescriptors = kernel.openCount
            let returned = mailbox.send(.listen(label: labels.listener, number: listener, isShared: false))
            precondition(returned == nil, "the mailbox has room")
        } catch {
            preconditionFailure("no worker: \(error.text)")
        }
    }

    func run(_ bytes: [UInt8], seeds: [UInt8]) {
        kernel.begin(seed: UInt64(seeds[0]) << 8 | UInt64(seeds[1]))
        kernel.manners.blockedSends = seeds[0] & 16 == 0 ? 0 : 3
        kernel.manners.shortSends = seeds[0] & 32 == 0 ? 0 : 4
        kernel.patience = 1_000_000
        let exchangesBefore = meters.exchangeCount(labels: 4)
        let wire = kernel.connect(
            to: listener, address: SocketAddress(high: 0, low: 0xffff, port: 4000, isV6: false))
        var client = Client(wire, input(bytes, seeds), pieces: Int(seeds[1]))
        var services: [Service] = []
        let leavesAt = seeds[3] & 15 == 0 ? Int.max : 4 * Int(seeds[3] & 15)
        let last = patience + bytes.count
        var turns = 0
        while turns < last, !client.isOver || !services.isEmpty || kernel.openCount > ownDescriptors {
            client.act()
            // Who has said all, or means to leave in the middle, is gone after a while.
            if turns >= leavesAt || (client.hasSaidAll && turns > client.saidAllAt + 60) {
                client.leave(byReset: seeds[3] & 16 != 0)
                kernel.patience = .max
            }
            for connecting in kernel.connecting {
                kernel.accept(connecting)
                services.append(Service(connecting, seed: Int(seeds[2]) + services.count))
            }
            for index in services.indices { services[index].act() }
            services.removeAll { $0.isOver }
            kernel.carry()
            client.saidAll(at: turns)
            precondition(loop.turn(&worker), "the worker has stopped")
            precondition(kernel.faults.isEmpty, "a call that no kernel takes")
            precondition(kernel.idleTurns < 100, "the loop turns and nothing moves")
            turns += 1
        }
        precondition(turns < last, "a connection does not come to its end")
        judge(meters.exchangeCount(labels: 4) - exchangesBefore, client)
    }

    private func input(_ bytes: [UInt8], _ seeds: [UInt8]) -> [UInt8] {
        var input = seeds[0] & 1 == 0 ? Array("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".utf8) : []
        if seeds[0] & 2 == 0 { input += [0, 0, 0, 4, 0, 0, 0, 0, 0] }
        return input + bytes
    }

    private func judge(_ exchanges: Int, _ client: borrowing Client) {
        // The worker's last lines are published at the end of a turn.
        _ = loop.turn(&worker)
        var log: [UInt8] = []
        ring.drain { log += $0.array }
        let lines = log.split(separator: 0x0a)
        for line in lines {
            precondition(line.first == 0x7b && line.last == 0x7d, "a line of the log is none")
        }
        precondition(lines.count == exchanges, "an exchange has no line, or more than one")
        precondition(client.answered <= lines.count, "an answer has no line")
        precondition(
            worker.openConnections == 0 && worker.openServiceConnections == 0, "connections are left")
        precondition(worker.openExchanges == 0, "exchanges are left")
        precondition(worker.heldBlocks == 0 && worker.heldLargeBlocks == 0, "blocks are left")
        precondition(worker.heldNotes == 0, "notes are left")
        precondition(worker.heldSnapshots == 1, "snapshots are left")
        precondition(loop.timers.count == worker.trimTimers, "timers are left")
        precondition(worker.heldHTTP2Bytes <= scratchBytes, "sessions are left")
        precondition(connectionCounts.load(0) == 0 && meters.acceptedCount == meters.closedCount)
    }
}

private struct Labels {
    let route: Int
    let service: Int
    let endpoint: Int
    let listener: Int
}

private func makeSnapshot(_ labels: Labels) -> Snapshot {
    guard let table = try? RouteTable([RouteRule(index: 0, prefix: Array("/".utf8))]) else {
        preconditionFailure("the rule is good")
    }
    let second: UInt64 = 1_000_000_000
    return Snapshot(
        generation: 1, table: table,
        routes: FixedArray(count: 1) { _ in
            RoutePlan(
                label: labels.route, name: Array("all".utf8), service: 0, issuer: -1,
                requirement: GrantRequirement(), scopeText: [],
                limits: FixedArray(count: 0) { _ in preconditionFailure("no limits") },
                concurrency: ConcurrencyPlan(), bodyLimit: 1 << 16,
                streamLimit: 1 << 16, connectTimeout: second, requestTimeout: 2 * second,
                idleTimeout: 2 * second, strippedBytes: 0, preservesHost: true, isLogged: true,
                requestEdits: FieldEdits(set: [], remove: []), responseEdits: FieldEdits(set: [], remove: []))
        },
        services: FixedArray(count: 1) { _ in
            ServicePlan(
                index: labels.service,
                endpoints: FixedArray(count: 1) { _ in
                    EndpointPlan(
                        index: labels.endpoint,
                        address: SocketAddress(high: 0, low: 0, port: 7001, isV6: false),
                        authority: Array("service".utf8))
                },
                balance: .roundRobin, connectTimeout: second, requestTimeout: 2 * second,
                idleTimeout: 2 * second, keepaliveIdle: 3 * second, keepaliveConnections: 2)
        },
        issuers: FixedArray(count: 0) { _ in preconditionFailure("no issuers") },
        listeners: FixedArray(count: 1) { _ in
            ListenerPlan(
                label: labels.listener, name: Array("main".utf8), tls: nil, allowsHTTP1: true,
                allowsHTTP2: true, handshakeTimeout: second, handshakesInFlight: 8, connectionsPerClient: 64,
                requiresPreamble: false, securePort: 0, connections: 64, bindsAuthority: false,
                transportSecurity: [])
        },
        http: HTTPSettings(
            limits: HeadLimits(requestLine: 1024, head: 4096, fields: 32), headTimeout: 2 * second,
            bodyIdleTimeout: 2 * second, bytesPerWindow: 0, rateWindow: second, idleTimeout: 4 * second,
            webSocketIdleTimeout: 3 * second, streams: 8, resetsPerWindow: 100, resetWindow: second,
            mergesSlashes: true),
        trustedProxies: [], ipv6PrefixBits: 64, requestIDField: Array("X-Request-ID".utf8),
        requestIDAcceptance: .nobody, echoesRequestID: true, tracing: .propagate, vouchedFields: [])
}

/// Sends what it is given, and holds what comes back to RFC 9113.
private struct Client: ~Copyable {
    private let wire: Wire
    private let input: [UInt8]
    private let pieces: Int
    private var sent = 0
    private var buffer: [UInt8] = []
    private var offset = 0
    private var hasSettings = false
    private var inHead: UInt32 = 0
    private var heads: Set<UInt32> = []
    private var ended: Set<UInt32> = []
    private var isHTTP1 = false
    private var hasLeft = false
    private(set) var saidAllAt = Int.max / 2

    init(_ wire: Wire, _ input: [UInt8], pieces: Int) {
        self.wire = wire
        self.input = input
        self.pieces = pieces
    }

    var hasSaidAll: Bool { sent == input.count || !wire.isSending }
    var isOver: Bool { hasLeft || wire.end != .none }
    /// Streams that got an answer.
    var answered: Int { heads.count }

    mutating func saidAll(at turn: Int) { if hasSaidAll, saidAllAt == Int.max / 2 { saidAllAt = turn } }

    mutating func act() {
        let count = min(pieces == 0 ? input.count : pieces, input.count - sent, wire.sendRoom)
        if count > 0, wire.isSending {
            wire.send(input[sent..<sent + count])
            sent += count
        }
        wire.take(.max, into: &buffer)
        // Without the preface it is HTTP/1.1 that is answered.
        if buffer.starts(with: Array("HTTP/1.1 ".utf8)) { isHTTP1 = true }
        guard !isHTTP1 else { return }
        while buffer.count - offset >= 9 {
            let length =
                Int(buffer[offset]) << 16 | Int(buffer[offset + 1]) << 8 | Int(buffer[offset + 2])
            precondition(length <= 16384, "a frame is larger than every peer takes (§4.2)")
            guard buffer.count - offset >= 9 + length else { break }
            judge(kind: buffer[offset + 3], flags: buffer[offset + 4], stream: word(offset + 5) & 0x7fff_ffff)
            offset += 9 + length
        }
    }

    private func word(_ index: Int) -> UInt32 {
        UInt32(buffer[index]) << 24 | UInt32(buffer[index + 1]) << 16 | UInt32(buffer[index + 2]) << 8
            | UInt32(buffer[index + 3])
    }

    private mutating func judge(kind: UInt8, flags: UInt8, stream: UInt32) {
        precondition(hasSettings || kind == 4 || kind == 7, "SETTINGS come first (§3.4)")
        if kind == 4 { hasSettings = true }
        precondition(inHead == 0 || (kind == 9 && stream == inHead), "a head is interrupted (§6.10)")
        precondition(kind != 5 && (stream == 0 || stream % 2 == 1), "a stream that no client opened (§5.1.1)")
        switch kind {
        case 0, 1:
            precondition(stream > 0 && !ended.contains(stream), "a stream goes on behind its end (§5.1)")
            if kind == 1 { heads.insert(stream) } else { precondition(heads.contains(stream)) }
            if kind == 1 { inHead = flags & 4 == 0 ? stream : 0 }
            if flags & 1 != 0 { ended.insert(stream) }
        case 3: ended.insert(stream)
        case 9: if flags & 4 != 0 { inHead = 0 }
        default: break
        }
    }

    mutating func leave(byReset: Bool) {
        guard !hasLeft else { return }
        hasLeft = true
        var chance = Chance(7)
        if byReset { wire.reset(&chance) } else { wire.close() }
    }
}

/// One connection of the service: takes one whole request after the other, and answers each in one of several ways.
private struct Service {
    private let wire: Wire
    private var seed: Int
    private var buffer: [UInt8] = []
    /// Of a request whose head has come; `nil` between requests.
    private var framing: BodyFraming?
    private var output: [UInt8] = []
    private var finishes = false
    private(set) var isOver = false

    init(_ wire: Wire, seed: Int) {
        self.wire = wire
        self.seed = seed
    }

    mutating func act() {
        guard !isOver else { return }
        wire.take(.max, into: &buffer)
        if wire.end != .none {
            wire.close()
            isOver = true
            return
        }
        readHead()
        readBody()
        let count = min(output.count, wire.sendRoom)
        if count > 0 {
            wire.send(output[0..<count])
            output.removeFirst(count)
        }
        if finishes, output.isEmpty { wire.finish() }
    }

    private mutating func readHead() {
        guard framing == nil, !buffer.isEmpty else { return }
        var head = RequestHead(fieldCapacity: 64)
        var scanned = 0
        let limits = HeadLimits(requestLine: 8192, head: 32768, fields: 64)
        switch RequestParser.parse(buffer.rawSpan, limits: limits, scanned: &scanned, into: &head) {
        case .incomplete: return
        case .refused: preconditionFailure("what is sent to a service is no request")
        case .complete(let count):
            precondition(head.fields.firstIndex(of: .host) != nil, "a request without a Host")
            framing = head.framing
            buffer.removeFirst(count)
            // Some do not wait for the body.
            if seed % 16 >= 12 {
                answer(isHead: head.method == .head)
            } else {
                pending = head.method == .head
            }
        }
    }

    private var pending: Bool?

    private mutating func readBody() {
        guard let framing else { return }
        switch framing {
        case .none: break
        case .length(let length):
            guard buffer.count >= length else { return }
            buffer.removeFirst(length)
        case .chunked:
            guard let count = Service.chunkedCount(buffer) else { return }
            buffer.removeFirst(count)
        case .stream, .close: preconditionFailure("no framing of a request of HTTP/1.1")
        }
        self.framing = nil
        if let isHead = pending { answer(isHead: isHead) }
        pending = nil
    }

    /// How many bytes a chunked body takes, `nil` while it is not whole.
    private static func chunkedCount(_ bytes: [UInt8]) -> Int? {
        var offset = 0
        while let end = bytes[offset...].firstIndex(of: 0x0a) {
            precondition(end > offset && bytes[end - 1] == 0x0d, "a bare line feed in a chunked body")
            let size = Int(String(decoding: bytes[offset..<end - 1], as: UTF8.self), radix: 16)
            guard let size else { preconditionFailure("a chunk has no size") }
            if size > 0 {
                offset = end + 1 + size + 2
                guard offset <= bytes.count else { return nil }
                continue
            }
            // The trailers, up to an empty line.
            var line = end + 1
            while let last = bytes[line...].firstIndex(of: 0x0a) {
                if last == line + 1 { return last + 1 }
                line = last + 1
            }
            return nil
        }
        return nil
    }

    private mutating func answer(isHead: Bool) {
        defer { seed += 5 }
        let body = [UInt8](repeating: 0x62, count: seed % 3 == 0 ? 70_000 : 11)
        var text = "HTTP/1.1 200 OK\r\nX-Mark: \(seed)\r\n"
        switch seed % 12 {
        case 0, 1: text += "Content-Length: \(body.count)\r\n\r\n"
        case 2:
            text =
                "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + text
                + "Content-Length: \(body.count)\r\n\r\n"
        case 3: text = "HTTP/1.1 204 No Content\r\nX-Mark: \(seed)\r\n\r\n"
        case 4: text += "Transfer-Encoding: chunked\r\n\r\n"
        case 5: text += "Connection: close\r\n\r\n"
        case 6: text = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n"
        case 7: text = "nonsense\r\n\r\n"
        case 8: text += "Content-Length: \(body.count + 9)\r\n\r\n"
        case 9: text = "HTTP/1.1 304 Not Modified\r\nX-Mark: \(seed)\r\nContent-Length: 5\r\n\r\n"
        case 10: text += "Content-Length: 0\r\n\r\n"
        // Nothing at all comes; or an end in place of an answer.
        default:
            finishes = seed % 2 == 0
            return
        }
        output += Array(text.utf8)
        finishes = [5, 6, 7, 8].contains(seed % 12)
        guard !isHead, ![3, 6, 7, 9, 10].contains(seed % 12) else { return }
        if seed % 12 == 4 {
            output += Array("\(String(body.count, radix: 16))\r\n".utf8) + body
            output += Array("\r\n0\r\nX-Sum: 1\r\n\r\n".utf8)
        } else {
            output += body
        }
    }
}
