import HTTP
import HTTP1
import Memory
import Reactor

// The answers, by path. `/bytes/N`: N bytes with a Content-Length. `/chunked/N`: N bytes in chunks. `/delay/MS`: an empty
// answer after MS milliseconds. `/status/N`: an empty answer with that status; of 100 to 199, an interim one before a
// 200. `/close`: an answer, then the end of the connection. `/drop`: the end without an answer. Any other: an echo as
// JSON. All of them come when the request's body has come whole.
extension Order {
    init(path: RawSpan) {
        if let number = Order.number(path, behind: "/bytes/") {
            self = .bytes(number)
        } else if let number = Order.number(path, behind: "/chunked/") {
            self = .chunked(number)
        } else if let number = Order.number(path, behind: "/delay/"), number <= 3_600_000 {
            self = .delay(number)
        } else if let number = Order.number(path, behind: "/status/"), (100...599).contains(number),
            number != 101
        {
            self = .status(number)
        } else if path.equals("/close") {
            self = .close
        } else if path.equals("/drop") {
            self = .drop
        } else {
            self = .echo
        }
    }

    /// The number that is all of `path` behind `prefix`.
    private static func number(_ path: RawSpan, behind prefix: StaticString) -> Int? {
        let start = prefix.utf8CodeUnitCount
        guard path.byteCount > start, path.byteCount <= start &+ 15, path.starts(with: prefix.utf8Span) else {
            return nil
        }
        var number = 0
        for offset in start..<path.byteCount {
            guard path[offset].isDigit else { return nil }
            number = number &* 10 &+ Int(path[offset] &- 0x30)
        }
        return number
    }
}

extension Responder {
    /// The request has come whole: answers it.
    mutating func carryOut(_ id: SlabID, _ loop: inout EventLoop) {
        connections[id].phase = .head
        switch connections[id].order {
        case .echo: sendEcho(id)
        case .bytes(let count):
            answer(id, status: 200, contentLength: count)
            beginStream(id, count, isChunked: false)
        case .chunked(let count):
            answer(id, status: 200, contentLength: nil)
            beginStream(id, count, isChunked: true)
        case .delay(let milliseconds):
            connections[id].phase = .delaying
            let deadline = loop.now &+ UInt64(milliseconds) &* 1_000_000
            // There is room for as many timers as connections.
            _ = loop.timers.schedule(Token(kind: Kind.delay, id: id), at: deadline)
        case .status(let status):
            if status < 200 {
                answer(id, status: status, contentLength: nil)
                answer(id, status: 200, contentLength: 0)
            } else {
                answer(id, status: status, contentLength: StatusText.mayHaveBody(status) ? 0 : nil)
            }
        case .close:
            connections[id].isLast = true
            answer(id, status: 200, contentLength: 0)
        case .drop:
            connections[id].isLast = true
        }
    }

    /// What cannot be read ends the connection.
    mutating func refuse(_ id: SlabID, status: Int) {
        connections[id].phase = .head
        connections[id].isLast = true
        connections[id].order = .status(status)
        answer(id, status: status, contentLength: 0)
    }

    /// The head of an answer. Without a length it is chunked, where its status allows a body.
    mutating func answer(_ id: SlabID, status: Int, contentLength: Int?) {
        guard var writer = HeadWriter(from: blocks) else {
            connections[id].isLast = true
            return
        }
        writer.statusLine(status)
        if status >= 200 {
            if let contentLength {
                writer.field("Content-Length: ", number: contentLength)
            } else if StatusText.mayHaveBody(status) {
                writer.text("Transfer-Encoding: chunked\r\n")
            }
            if case .echo = connections[id].order { writer.text("Content-Type: application/json\r\n") }
            if connections[id].isLast { writer.text("Connection: close\r\n") }
        }
        writer.end()
        _ = writer.finish(into: &connections[id].outbound)
    }

    private mutating func sendEcho(_ id: SlabID) {
        var text = ByteQueue()
        swap(&text, &connections[id].echo)
        var trailers = ByteQueue()
        swap(&trailers, &connections[id].trailers)
        Echo.end(
            bodyCount: connections[id].bodyCount, sum: connections[id].bodySum, trailers: trailers,
            into: &text,
            from: blocks)
        answer(id, status: 200, contentLength: text.byteCount)
        if !connections[id].isHeadOnly { connections[id].outbound.append(contentsOf: &text) }
    }

    private mutating func beginStream(_ id: SlabID, _ count: Int, isChunked: Bool) {
        guard !connections[id].isHeadOnly else { return }
        connections[id].streamLeft = count
        connections[id].isStreamChunked = isChunked
        connections[id].phase = .streaming
    }

    /// Makes the next piece of an answer. `false` when there is no block for it.
    mutating func stream(_ id: SlabID) -> Bool {
        let left = connections[id].streamLeft
        let isChunked = connections[id].isStreamChunked
        if left == 0 {
            if isChunked {
                _ = ChunkWriter.last(hasTrailers: false, into: &connections[id].outbound, from: blocks)
            }
            connections[id].phase = .head
            return true
        }
        // A multiple of the pattern's period, which so begins anew with each piece.
        let count = min(left, blocks.blockCapacity)
        guard blocks.canTake(3) else { return false }
        var outbound = ByteQueue()
        swap(&outbound, &connections[id].outbound)
        if isChunked { _ = ChunkWriter.header(size: count, into: &outbound, from: blocks) }
        _ = outbound.append(pattern.rawSpan.extracting(0..<count), from: blocks)
        if isChunked { _ = ChunkWriter.end(into: &outbound, from: blocks) }
        swap(&outbound, &connections[id].outbound)
        connections[id].streamLeft = left &- count
        return true
    }
}
