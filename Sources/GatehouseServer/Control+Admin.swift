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
    var inbound = ByteQueue()
    var outbound = ByteQueue()
    var scanned = 0
    var timer = TimerID.none
    var isAnswered = false
}

// `/healthz`, `/readyz`, `/metrics`: read-only, and apart from the workers.
extension Control {
    mutating func acceptAdmin(_ loop: inout EventLoop) {
        guard let number = adminNumber else { return }
        while case .connection(let descriptor, _) = Sockets.accept(from: number) {
            guard !connections.isFull else { continue }
            let id = connections.insert(AdminConnection(descriptor: descriptor))
            let token = Token(kind: Kind.adminConnection, id: id)
            do {
                try loop.add(connections[id].descriptor.number, token, .readingAndWriting)
                connections[id].timer =
                    loop.timers.schedule(token, at: loop.now + Control.adminTimeout) ?? .none
            } catch {
                _ = connections.remove(id)
            }
        }
    }

    mutating func closeAdmin(_ id: SlabID, _ loop: inout EventLoop) {
        loop.timers.cancel(connections[id].timer)
        loop.remove(connections[id].descriptor.number)
        _ = connections.remove(id)
    }

    mutating func driveAdmin(_ id: SlabID, _ loop: inout EventLoop) {
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
        switch connections[id].flush() {
        case .bytes where connections[id].outbound.isEmpty: closeAdmin(id, &loop)
        case .bytes, .wouldBlock: return
        case .ended, .outOfBlocks, .failed: closeAdmin(id, &loop)
        }
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
                queueAnswer(id, 200, "text/plain; version=0.0.4", metrics(), allowsBody: hasBody)
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

    private func metrics() -> [UInt8] {
        let figures = ProcessFigures(
            limiterEvictions: fleet.household.limiter.evictions, generation: fleet.generation)
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
        let whole = Array(fields.utf8) + (allowsBody ? body : [])
        _ = connections[id].outbound.append(whole.rawSpan, from: blocks)
        connections[id].isAnswered = true
    }
}

extension AdminConnection {
    fileprivate mutating func receive(from pool: borrowing BlockPool) -> IOStep {
        descriptor.receive(into: &inbound, from: pool)
    }

    fileprivate mutating func flush() -> IOStep {
        while !outbound.isEmpty {
            let step = descriptor.send(from: &outbound)
            guard case .bytes = step else { return step }
        }
        return .bytes(0)
    }
}
