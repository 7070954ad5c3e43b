import HTTP
import HTTP1
import LinuxIO
import Memory
import RateLimit
import Reactor
import Synchronization
import Telemetry

/// One request to the admin server; the connection ends with its answer.
struct AdminConnection: ~Copyable {
    let descriptor: Descriptor
    /// When it is closed at the latest, on the monotonic clock in nanoseconds.
    let end: UInt64
    var inbound = ByteQueue()
    /// Whole, and no chain of blocks: the metrics of ten thousand routes are 20 MB, more than the blocks of the control side.
    var answer: [UInt8] = []
    var sentBytes = 0
    var scanned = 0
    var timer = TimerID.none

    var isAnswered: Bool { !answer.isEmpty }
}

// `/healthz`, `/readyz`, `/metrics`: read-only, and apart from the workers.
extension Control {
    mutating func acceptAdmin(_ loop: inout EventLoop) {
        guard let number = adminNumber else { return }
        // Whoever is left in the queue is told of again: signals and key sets come between.
        for _ in 0..<Control.adminConnections {
            switch Sockets.accept(from: number) {
            case .connection(let descriptor, _): beginAdmin(descriptor, &loop)
            case .none: return
            case .failed(let error):
                guard error.isOutOfDescriptors else { return }
                // Without descriptors the socket would stay readable and the loop spin: look again in a while.
                loop.remove(number)
                _ = loop.timers.schedule(
                    Token(kind: Kind.adminListener, id: .none), at: loop.now + Control.acceptPause)
                return
            }
        }
    }

    /// Accepts again, after a pause for want of descriptors.
    mutating func watchAdmin(_ loop: inout EventLoop) {
        guard let number = adminNumber else { return }
        let token = Token(kind: Kind.adminListener, id: .none)
        do {
            try loop.add(number, token, .level)
        } catch {
            _ = loop.timers.schedule(token, at: loop.now + Control.acceptPause)
        }
    }

    @inline(never) private mutating func beginAdmin(
        _ descriptor: consuming Descriptor, _ loop: inout EventLoop
    ) {
        guard !connections.isFull else { return }
        let id = connections.insert(
            AdminConnection(descriptor: descriptor, end: loop.now + Control.adminLongest))
        let token = Token(kind: Kind.adminConnection, id: id)
        do {
            try loop.add(connections[id].descriptor.number, token, .readingAndWriting)
            connections[id].timer =
                loop.timers.schedule(token, at: loop.now + Control.adminTimeout) ?? .none
        } catch {
            _ = connections.remove(id)
        }
    }

    // Apart, or the end of its answer would be reference counting in the turn of the loop.
    @inline(never) mutating func closeAdmin(_ id: SlabID, _ loop: inout EventLoop) {
        loop.timers.cancel(connections[id].timer)
        loop.remove(connections[id].descriptor.number)
        answerBytes -= connections[id].answer.count
        _ = connections.remove(id)
    }

    @inline(never) mutating func driveAdmin(_ id: SlabID, _ loop: inout EventLoop) {
        if !connections[id].isAnswered {
            switch connections[id].receive(from: blocks) {
            case .bytes: break
            case .wouldBlock: return
            case .ended, .outOfBlocks, .failed:
                closeAdmin(id, &loop)
                return
            }
            guard answerAdmin(id) else { return }
        }
        let before = connections[id].sentBytes
        switch connections[id].flush() {
        case .bytes: closeAdmin(id, &loop)
        case .wouldBlock: if connections[id].sentBytes > before { goOnAdmin(id, &loop) }
        case .ended, .outOfBlocks, .failed: closeAdmin(id, &loop)
        }
    }

    /// Begins the wait anew for who reads on, up to the end of all patience. The loop's `now` is from before the answer was
    /// made, which takes a while for 20 MB.
    @inline(never) private mutating func goOnAdmin(_ id: SlabID, _ loop: inout EventLoop) {
        loop.timers.cancel(connections[id].timer)
        let token = Token(kind: Kind.adminConnection, id: id)
        let end = min(Clock.monotonic() + Control.adminTimeout, connections[id].end)
        connections[id].timer = loop.timers.schedule(token, at: end) ?? .none
    }

    /// `true` when an answer has been queued.
    private mutating func answerAdmin(_ id: SlabID) -> Bool {
        var inbound = ByteQueue()
        swap(&inbound, &connections[id].inbound)
        guard inbound.isContiguous else {
            queueAnswer(id, 431, "text/plain", Array("the request is too large\n".utf8), allowsBody: true)
            return true
        }
        var scanned = connections[id].scanned
        head.reset()
        let limits = HeadLimits(requestLine: 4096, head: 16000, fields: 64)
        switch RequestParser.parse(inbound.firstBytes, limits: limits, scanned: &scanned, into: &head) {
        case .incomplete:
            connections[id].scanned = scanned
            swap(&inbound, &connections[id].inbound)
            return false
        case .refused:
            queueAnswer(id, 400, "text/plain", Array("the request is not valid\n".utf8), allowsBody: true)
            return true
        case .complete:
            let path = inbound.firstBytes[head.path]
            let hasBody = head.method != .head
            guard head.method == .get || head.method == .head else {
                queueAnswer(id, 405, "text/plain", Array("only GET\n".utf8), allowsBody: true)
                return true
            }
            if path.equals("/healthz") {
                queueAnswer(id, 200, "text/plain", Array("ok\n".utf8), allowsBody: hasBody)
            } else if path.equals("/readyz") {
                answerReadiness(id, allowsBody: hasBody)
            } else if path.equals("/metrics") {
                answerMetrics(id, allowsBody: hasBody)
            } else {
                queueAnswer(id, 404, "text/plain", Array("not found\n".utf8), allowsBody: hasBody)
            }
            return true
        }
    }

    private mutating func answerReadiness(_ id: SlabID, allowsBody: Bool) {
        var reasons: [String] = []
        if isDraining { reasons.append("draining") }
        if liveWorkers < fleet.workers, !isDraining { reasons.append("worker_lost") }
        let missing = fleet.household.keys.missing
        if !missing.isEmpty { reasons.append("keys_unavailable") }
        let list = reasons.map(EventLog.quoted).joined(separator: ",")
        let issuers = missing.map {
            "{\"issuer\":\(EventLog.quoted($0.issuer)),\"why\":\(EventLog.quoted($0.failure))}"
        }
        let about = issuers.isEmpty ? "" : ",\"without_keys\":[\(issuers.joined(separator: ","))]"
        let text =
            "{\"ready\":\(reasons.isEmpty),\"reasons\":[\(list)],\"generation\":\(fleet.generation)\(about)}\n"
        queueAnswer(
            id, reasons.isEmpty ? 200 : 503, "application/json", Array(text.utf8), allowsBody: allowsBody)
    }

    private mutating func answerMetrics(_ id: SlabID, allowsBody: Bool) {
        let text = metrics()
        guard answerBytes + text.count <= Control.mostAnswerBytes else {
            queueAnswer(
                id, 503, "text/plain", Array("other answers are still being read\n".utf8), allowsBody: true)
            return
        }
        queueAnswer(id, 200, "text/plain; version=0.0.4", text, allowsBody: allowsBody)
    }

    private func metrics() -> [UInt8] {
        let figures = ProcessFigures(
            limiterEvictions: fleet.household.limiter.evictions, logDrops: fleet.lostLogLines,
            generation: fleet.generation)
        let text = PrometheusText.bytes(
            workers: fleet.metrics, routes: fleet.household.routes.names, reasons: fleet.household.reasons,
            figures: figures)
        let memory =
            "# HELP gatehouse_memory_allocated_bytes Allocated and not freed, by the allocator's own account.\n"
            + "# TYPE gatehouse_memory_allocated_bytes gauge\n"
            + "gatehouse_memory_allocated_bytes \(fleet.options.heapBytes)\n"
        let ends = fleet.certificateEnds.withLock { $0.metrics(wallSeconds: Fleet.wallSeconds) }
        return text + Array((memory + ends + fleet.household.keys.metrics(wall: Clock.wall())).utf8)
    }

    private mutating func queueAnswer(
        _ id: SlabID, _ status: Int, _ type: String, _ body: [UInt8], allowsBody: Bool
    ) {
        let fields =
            "HTTP/1.1 \(status) \(StatusText.reason(status))\r\nContent-Type: \(type)\r\n"
            + "Content-Length: \(body.count)\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n"
        connections[id].answer = Array(fields.utf8) + (allowsBody ? body : [])
        answerBytes += connections[id].answer.count
    }
}

extension AdminConnection {
    fileprivate mutating func receive(from pool: borrowing BlockPool) -> IOStep {
        descriptor.receive(into: &inbound, from: pool)
    }

    /// Sends on; `.bytes` once all is with the kernel.
    fileprivate mutating func flush() -> IOStep {
        while sentBytes < answer.count {
            let step = descriptor.send(answer.rawSpan.extracting(sentBytes..<answer.count))
            guard case .bytes(let count) = step else { return step }
            sentBytes += count
        }
        return .bytes(sentBytes)
    }
}
