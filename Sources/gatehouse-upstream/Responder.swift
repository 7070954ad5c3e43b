import HTTP
import HTTP1
import LinuxIO
import Memory
import Reactor

/// One thread's connections and their answers.
struct Responder: ~Copyable {
    enum Kind {
        static let listener: UInt8 = 0
        static let connection: UInt8 = 1
        static let delay: UInt8 = 2
    }

    static var connectionLimit: Int { 65536 }
    /// Heads are held to what fits one block; two of them, and a body's last read, fit a large one.
    static var limits: HeadLimits { HeadLimits(requestLine: 8192, head: 16000, fields: 256) }
    /// What may be owed to a client before its next request is looked at.
    static var owedBytes: Int { 131_072 }

    let listener: Int32
    let blocks = BlockPool(limit: 65536)
    let largeBlocks = BlockPool(blockBytes: 98304, limit: 4096, keep: 8)
    let checksum = Checksum()
    /// What bodies are made of: byte n of a body is character n modulo 64 of this.
    let pattern: FixedArray<UInt8>
    var connections = Slab<Connection>(capacity: Responder.connectionLimit)
    var head = RequestHead(fieldCapacity: 256)

    init(listener: Int32) {
        self.listener = listener
        let letters = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_".utf8)
        pattern = FixedArray(count: 16384) { letters[$0 % 64] }
    }

    mutating func run() throws(SystemError) {
        var loop = try EventLoop(timers: Responder.connectionLimit, pending: Responder.connectionLimit)
        try loop.add(listener, Token(kind: Kind.listener, id: .none), .level)
        loop.run(&self)
    }
}

extension Responder: EventHandler {
    mutating func ready(_ token: Token, _ readiness: Readiness, _ loop: inout EventLoop) {
        guard token.kind == Kind.connection else { return accept(&loop) }
        let id = token.id
        guard connections.contains(id) else { return }
        if readiness.isWritable { connections[id].isBlocked = false }
        if readiness.isReadable || readiness.isEnding { connections[id].mayHaveMore = true }
        if readiness.isEnding { connections[id].isEnding = true }
        drive(id, &loop)
    }

    mutating func resume(_ token: Token, _ loop: inout EventLoop) {
        if connections.contains(token.id) { drive(token.id, &loop) }
    }

    mutating func timerFired(_ token: Token, _ loop: inout EventLoop) {
        let id = token.id
        guard connections.contains(id) else { return }
        connections[id].phase = .head
        answer(id, status: 200, contentLength: 0)
        drive(id, &loop)
    }

    mutating func mail(_ loop: inout EventLoop) {}

    mutating func turnEnded(_ loop: inout EventLoop) {}

    private mutating func accept(_ loop: inout EventLoop) {
        for _ in 0..<64 {
            switch Sockets.accept(from: listener) {
            case .connection(let descriptor, _):
                // Without room the descriptor ends here, and the client sees its connection closed.
                guard !connections.isFull else { continue }
                let number = descriptor.number
                let id = connections.insert(Connection(descriptor))
                do {
                    try loop.add(number, Token(kind: Kind.connection, id: id), .readingAndWriting)
                } catch {
                    _ = connections.remove(id)
                }
            case .none: return
            case .failed: return
            }
        }
    }

    mutating func close(_ id: SlabID, _ loop: inout EventLoop) {
        // A descriptor that is closed leaves its poller by itself, and a timer that still stands finds a stale name.
        _ = connections.remove(id)
    }
}

// From bytes to answers.
extension Responder {
    /// Goes on with a connection as far as its bytes and its client allow: one read, one write a request.
    private mutating func drive(_ id: SlabID, _ loop: inout EventLoop) {
        // So many steps a turn, that no client keeps the others waiting.
        for _ in 0..<64 {
            advance(id, &loop)
            guard flush(id, &loop) else { return }
            switch connections[id].phase {
            case .streaming: continue
            case .delaying: return
            case .head, .body:
                guard connections[id].mayHaveMore, receive(id, &loop) else { return }
            }
        }
        _ = loop.resumeLater(Token(kind: Kind.connection, id: id))
    }

    /// Goes through what has come, until more is needed or enough is owed.
    private mutating func advance(_ id: SlabID, _ loop: inout EventLoop) {
        while connections[id].outbound.byteCount < Responder.owedBytes,
            !connections[id].isLast
                || connections[id].phase != .head
        {
            switch connections[id].phase {
            case .head:
                guard takeHead(id) else { return }
            case .body:
                guard takeBody(id) else { return }
                carryOut(id, &loop)
            case .streaming:
                guard stream(id) else { return }
            case .delaying: return
            }
        }
    }

    /// `true` when all is sent and the connection is still there.
    private mutating func flush(_ id: SlabID, _ loop: inout EventLoop) -> Bool {
        while !connections[id].outbound.isEmpty {
            guard !connections[id].isBlocked else { return false }
            switch connections[id].flush() {
            case .bytes: continue
            case .wouldBlock:
                connections[id].isBlocked = true
                return false
            case .ended, .outOfBlocks, .failed:
                close(id, &loop)
                return false
            }
        }
        if connections[id].isLast, connections[id].phase == .head {
            close(id, &loop)
            return false
        }
        return true
    }

    /// One read. `true` when it brought something.
    private mutating func receive(_ id: SlabID, _ loop: inout EventLoop) -> Bool {
        switch connections[id].receive(from: blocks) {
        case .bytes:
            // Edge-triggered: a short read has emptied the socket, unless the end of the stream stands behind it.
            if connections[id].inbound.tailRoom > 0, !connections[id].isEnding {
                connections[id].mayHaveMore = false
            }
            return true
        case .wouldBlock:
            connections[id].mayHaveMore = false
            return false
        case .ended, .failed:
            close(id, &loop)
            return false
        case .outOfBlocks:
            _ = loop.resumeLater(Token(kind: Kind.connection, id: id))
            return false
        }
    }

    /// `true` when a head was taken.
    private mutating func takeHead(_ id: SlabID) -> Bool {
        guard !connections[id].inbound.isEmpty else { return false }
        var inbound = ByteQueue()
        swap(&inbound, &connections[id].inbound)
        guard inbound.isContiguous || inbound.makeContiguous(in: largeBlocks) else {
            refuse(id, status: 431)
            return false
        }
        var scanned = connections[id].scannedBytes
        let step = RequestParser.parse(
            inbound.firstBytes, limits: Responder.limits, scanned: &scanned, into: &head)
        connections[id].scannedBytes = scanned
        switch step {
        case .incomplete:
            swap(&inbound, &connections[id].inbound)
            return false
        case .refused(let error):
            refuse(id, status: error == .headTooLarge || error == .tooManyFields ? 431 : 400)
            return false
        case .complete(let count):
            begin(id, inbound.firstBytes)
            inbound.consume(count)
            connections[id].scannedBytes = 0
            connections[id].phase = .body
            if head.expectsContinue, inbound.isEmpty {
                _ = connections[id].outbound.append("HTTP/1.1 100 Continue\r\n\r\n", from: blocks)
            }
            swap(&inbound, &connections[id].inbound)
            return true
        }
    }

    /// What the head at hand asks for, kept until its body has come.
    private mutating func begin(_ id: SlabID, _ bytes: RawSpan) {
        let order = Order(path: bytes[head.path])
        connections[id].order = order
        connections[id].isHeadOnly = head.method == .head
        connections[id].isLast = !head.isPersistent
        connections[id].bodyCount = 0
        connections[id].bodySum = Checksum.empty
        connections[id].decoder = ChunkedDecoder()
        switch head.framing {
        case .chunked: connections[id].bodyLeft = nil
        case .length(let length): connections[id].bodyLeft = length
        case .none, .stream, .close: connections[id].bodyLeft = 0
        }
        if case .echo = order {
            var text = ByteQueue()
            Echo.begin(head, of: bytes, into: &text, from: blocks)
            connections[id].echo.append(contentsOf: &text)
        }
    }

    /// `true` when the body has come whole.
    private mutating func takeBody(_ id: SlabID) -> Bool {
        guard connections[id].bodyLeft == nil else { return takeCounted(id) }
        var body = ByteQueue()
        var trailers = ByteQueue()
        swap(&trailers, &connections[id].trailers)
        let step = connections[id].takeChunks(into: &body, &trailers, from: blocks)
        swap(&trailers, &connections[id].trailers)
        while !body.isEmpty {
            let count = body.firstBytes.byteCount
            note(id, body.firstBytes)
            body.consume(count)
        }
        switch step {
        case .ended: return true
        case .needsMore: return false
        case .limitReached, .refused, .outOfBlocks:
            refuse(id, status: 400)
            return false
        }
    }

    private mutating func takeCounted(_ id: SlabID) -> Bool {
        var inbound = ByteQueue()
        swap(&inbound, &connections[id].inbound)
        var left = connections[id].bodyLeft ?? 0
        while left > 0, !inbound.isEmpty {
            let count = min(left, inbound.firstBytes.byteCount)
            note(id, inbound.firstBytes.extracting(0..<count))
            inbound.consume(count)
            left &-= count
        }
        swap(&inbound, &connections[id].inbound)
        connections[id].bodyLeft = left
        return left == 0
    }

    private mutating func note(_ id: SlabID, _ bytes: RawSpan) {
        connections[id].bodyCount &+= bytes.byteCount
        guard case .echo = connections[id].order else { return }
        connections[id].bodySum = checksum.adding(bytes, to: connections[id].bodySum)
    }
}

extension Connection {
    mutating func takeChunks(
        into body: inout ByteQueue, _ trailers: inout ByteQueue, from pool: borrowing BlockPool
    ) -> ChunkStep {
        decoder.decode(&inbound, into: &body, trailers: &trailers, pool: pool, limit: Int.max)
    }
}
