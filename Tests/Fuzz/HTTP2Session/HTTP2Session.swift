import HTTP
import HTTP1
import HTTP2
import Memory

/// Any bytes as a client's side of an HTTP/2 connection, drained as a worker does: nothing traps, memory stays within a bound
/// and all of it comes back, each stream is told and closed once, and a head that is accepted is one that HTTP/1 accepts too.
///
/// The first four bytes choose settings, pieces, answers and the turn at which the connection breaks off.
@_cdecl("LLVMFuzzerTestOneInput") public func fuzz(_ data: UnsafePointer<UInt8>, _ size: Int) -> CInt {
    guard size > 4 else { return 0 }
    let all = unsafe Array(UnsafeBufferPointer(start: data, count: size))
    let workspace = HTTP2Workspace(keptBytes: 0)
    let pool = BlockPool(limit: all[0] & 4 == 0 ? 256 : 6)
    run(Array(all.dropFirst(4)), seeds: Array(all.prefix(4)), workspace, pool)
    precondition(workspace.bytesInUse <= scratchBytes && pool.outstanding == 0, "memory is lost")
    return 0
}

/// What a workspace keeps to build heads in, once one was built.
private let scratchBytes = 512

/// Bytes that one connection may hold in its workspace: eight streams and the 64 that wait to be released, each with a head
/// and trailers of at most 4 KiB in buffers that double, the frames that nghttp2 holds, and both HPACK tables.
private let memoryBound = 3 << 20

private let headLimits = HeadLimits(requestLine: 1024, head: 4096, fields: 32)

private func run(
    _ bytes: [UInt8], seeds: [UInt8], _ workspace: borrowing HTTP2Workspace, _ pool: borrowing BlockPool
) {
    var settings = HTTP2Settings(head: headLimits)
    settings.maxConcurrentStreams = 1 + Int(seeds[0] >> 5)
    settings.streamWindow = seeds[0] & 8 == 0 ? 16384 : 100
    settings.connectionWindow = 65536
    settings.outboundBytes = 1000
    var connection = Connection(
        session: HTTP2Session(settings: settings, workspace: workspace), seed: seeds[2])
    var now: UInt64 = 1 << 40
    var input = seeds[0] & 1 == 0 ? Array(HTTP2Session.preface.utf8Span.array) : []
    if seeds[0] & 2 == 0 { input += [0, 0, 0, 4, 0, 0, 0, 0, 0] }
    input += bytes
    let piece = seeds[1] == 0 ? input.count : Int(seeds[1])
    var offset = 0
    var turns = 0
    while offset < input.count, turns < 1000 {
        let end = min(offset + piece, input.count)
        let isGood = connection.receive(input.rawSpan.extracting(offset..<end), now: now, pool)
        precondition(workspace.bytesInUse <= memoryBound, "one connection holds too much")
        guard isGood, !connection.isFinished else { break }
        offset = end
        now += UInt64(seeds[3] & 15) * 1_000_000
        turns += 1
        if turns == 1 + Int(seeds[3] >> 4) * 50 { connection.goAway() }
    }
    connection.finish(pool)
}

/// One connection as the worker keeps it: what it was told of each stream that it has not released.
private struct Connection: ~Copyable {
    struct Told {
        var isMalformed = false
        var hasEnded = false
        var isReset = false
        /// Body bytes taken, unless some were thrown away.
        var taken: Int? = 0
        var framing = BodyFraming.none
    }

    var session: HTTP2Session
    let seed: UInt8
    var streams: [StreamID: Told] = [:]
    var seen = 0
    var isOver = false
    var head = RequestHead(fieldCapacity: 40)
    var trailers = FieldTable(capacity: 40)

    init(session: consuming HTTP2Session, seed: UInt8) {
        self.session = session
        self.seed = seed
    }

    var isFinished: Bool { isOver || session.isFinished }

    mutating func goAway() {
        if seed & 1 == 0 { session.shutdownNotice() } else { session.goAway() }
    }

    /// `false` when the connection must go.
    mutating func receive(_ bytes: RawSpan, now: UInt64, _ pool: borrowing BlockPool) -> Bool {
        if case .failed = session.receive(bytes, now: now, pool: pool) {
            isOver = true
            return false
        }
        drain(pool)
        write(pool)
        return !isOver
    }

    /// What is written is whole frames of at most the size that every peer takes (RFC 9113 §4.2).
    private mutating func write(_ pool: borrowing BlockPool) {
        var output = ByteQueue()
        switch session.write(into: &output, pool: pool, limit: 1 << 20) {
        case .failed: isOver = true
        case .done, .limitReached, .outOfBlocks: break
        }
        let bytes = output.array
        var offset = 0
        while offset < bytes.count {
            precondition(offset + 9 <= bytes.count, "half a frame was written")
            let length = Int(bytes[offset]) << 16 | Int(bytes[offset + 1]) << 8 | Int(bytes[offset + 2])
            precondition(length <= 16384 && offset + 9 + length <= bytes.count, "a frame is not whole")
            offset += 9 + length
        }
        output.removeAll()
        drain(pool)
    }

    private mutating func drain(_ pool: borrowing BlockPool) {
        var steps = 0
        while true {
            steps += 1
            precondition(steps < 100_000, "events without end")
            switch session.nextEvent() {
            case .none:
                precondition(session.activeStreams == streams.count, "streams that nobody was told of")
                return
            case .goAway: break
            case .interim, .response, .settings: preconditionFailure("a server heard what only a client does")
            case .request(let id, let ends):
                precondition(streams[id] == nil, "a stream was told twice")
                streams[id] = Told(hasEnded: ends)
                begin(id, endsStream: ends, pool)
            case .malformed(let id):
                precondition(streams[id] == nil, "a stream was told twice")
                streams[id] = Told(isMalformed: true, hasEnded: true)
                _ = session.readHead(id, into: &head)
                precondition(session.isClosed(id), "a malformed stream lives")
            case .data(let id, let ends): took(id, endsStream: ends, pool)
            case .trailers(let id):
                checkTrailers(id)
                took(id, endsStream: true, pool)
            case .starved(let id):
                precondition(streams[id]?.isMalformed == false)
                streams[id]?.taken = nil
                session.resetStream(id, errorCode: HTTP2ErrorCode.internalError)
            case .drained(let id):
                precondition(streams[id]?.isMalformed == false)
                session.endBody(id)
            case .reset(let id, _):
                precondition(streams[id]?.isReset == false, "a stream was reset twice")
                streams[id]?.isReset = true
                streams[id]?.taken = nil
            case .closed(let id):
                precondition(streams.removeValue(forKey: id) != nil, "a stream was closed twice")
                precondition(session.isClosed(id))
                session.release(id)
                precondition(!session.contains(id))
            }
        }
    }

    private mutating func begin(_ id: StreamID, endsStream: Bool, _ pool: borrowing BlockPool) {
        seen += 1
        session.setToken(id, UInt64(seen))
        if session.readHead(id, into: &head) == nil {
            checkHead(head, session.headBytes(id), endsStream: endsStream)
            streams[id]?.framing = head.framing
        }
        switch (Int(seed >> 1) + seen) % 8 {
        case 0: respond(id, endsStream: true)
        case 1:
            respond(id, endsStream: false)
            let body = [UInt8](repeating: 0x62, count: 3000)
            session.appendBody(id, body.rawSpan, pool: pool)
            if !session.isFull(id) { session.endBody(id) }
        case 2:
            session.beginResponse(status: 103)
            session.submitInterim(id)
            respond(id, endsStream: false)
            let body = [UInt8](repeating: 0x62, count: 20)
            session.appendBody(id, body.rawSpan, pool: pool)
            session.beginTrailers()
            session.addField("x-sum", "1")
            session.submitTrailers(id, fields: FieldTable(capacity: 0), bytes: RawSpan())
        case 3: session.resetStream(id, errorCode: HTTP2ErrorCode.cancel)
        case 4:
            session.discardBody(id)
            streams[id]?.taken = nil
            respond(id, endsStream: true)
        case 5: session.releaseHead(id)
        case 6 where head.asksWebSocket:
            respond(id, endsStream: false)
            session.openTunnel(id)
            session.endBody(id)
        default: break
        }
    }

    private mutating func respond(_ id: StreamID, endsStream: Bool) {
        session.beginResponse(status: 200)
        session.addField("x-mark", "value")
        session.submitResponse(id, endsStream: endsStream)
    }

    private mutating func took(_ id: StreamID, endsStream: Bool, _ pool: borrowing BlockPool) {
        guard var told = streams[id] else { preconditionFailure("data of a stream that is not") }
        precondition(!told.hasEnded && !told.isMalformed, "a stream went on behind its end")
        var piece = ByteQueue()
        let waiting = session.bodyCount(id)
        let count = session.takeBody(
            id, into: &piece, limit: endsStream ? .max : max(1, waiting / 2), pool: pool)
        precondition(count == piece.byteCount && count <= waiting)
        if let taken = told.taken { told.taken = taken + count }
        session.returnCredit(id, count)
        told.hasEnded = endsStream
        // RFC 9113 §8.1.1: a body that has ended is as long as its head said.
        if endsStream, case .length(let length) = told.framing, let taken = told.taken {
            precondition(taken == length, "a body is not as long as it said")
        }
        streams[id] = told
        if endsStream, seed & 0x80 != 0 { respond(id, endsStream: true) }
    }

    private mutating func checkTrailers(_ id: StreamID) {
        guard session.readTrailers(id, into: &trailers) == nil else { return }
        let bytes = session.trailerBytes(id)
        for index in 0..<trailers.count { checkLine(trailers[index], bytes) }
    }

    /// The connection ends with whatever is under way.
    mutating func finish(_ pool: borrowing BlockPool) {
        if !isOver {
            write(pool)
            drain(pool)
        }
        var left = 0
        for slot in 0..<session.slotCount where session.stream(inSlot: slot) != nil { left += 1 }
        if !isOver { precondition(left == streams.count, "the slots hold other streams than were told") }
    }
}

private func checkLine(_ line: FieldLine, _ bytes: RawSpan) {
    let name = bytes[line.name]
    precondition(name.byteCount > 0 && name.firstIndex(notIn: .token, from: 0) == name.byteCount)
    let value = bytes[line.value]
    precondition(value.firstIndex(notIn: .fieldText, from: 0) == value.byteCount)
}

/// Written for an HTTP/1.1 service and parsed by a server's rules, the head says what it said: exactly one request.
private func checkHead(_ head: borrowing RequestHead, _ span: RawSpan, endsStream: Bool) {
    let pool = BlockPool(limit: 1)
    var written = ByteQueue()
    guard var writer = HeadWriter(from: pool) else { return }
    // A tunnel is asked for by Upgrade there (RFC 8441 §5).
    let get = StaticString("GET").utf8Span
    let method = head.asksWebSocket ? get : span[head.methodBytes]
    writer.requestLine(
        method: method, path: span[head.path], query: span[head.query],
        hasQuery: head.hasQuery)
    writer.field("host: ", span[head.authority])
    for index in 0..<head.fields.count where head.fields[index].known != .host {
        let line = head.fields[index]
        checkLine(line, span)
        writer.field(span[line.name], span[line.value])
    }
    if head.framing == .stream { writer.text("transfer-encoding: chunked\r\n") }
    if head.asksWebSocket { writer.text("connection: Upgrade\r\nupgrade: websocket\r\n") }
    writer.end()
    guard writer.finish(into: &written) else { preconditionFailure("4 KiB did not fit 16 KiB") }
    let text = written.array
    let other = text.rawSpan
    var again = RequestHead(fieldCapacity: 40)
    var scanned = 0
    let limits = HeadLimits(requestLine: 2048, head: 16384, fields: 40)
    let step = RequestParser.parse(other, limits: limits, scanned: &scanned, into: &again)
    precondition(step == .complete(byteCount: text.count), "no HTTP/1 head, or more than one")
    precondition(other[again.methodBytes].equals(method))
    precondition((head.method == .connect) == head.asksWebSocket, "a CONNECT that is none of ours")
    precondition(other[again.path].equals(span[head.path]) && again.hasQuery == head.hasQuery)
    precondition(other[again.query].equals(span[head.query]))
    precondition(other[again.authority].equals(span[head.authority]))
    switch head.framing {
    case .none: precondition(again.framing == .none && (endsStream || head.asksWebSocket))
    case .length: precondition(again.framing == head.framing)
    case .stream: precondition(again.framing == .chunked)
    case .chunked, .close: preconditionFailure("no framing of HTTP/2")
    }
    // Behind Host, the same lines in the same order.
    var position = 1
    for index in 0..<head.fields.count where head.fields[index].known != .host {
        let line = head.fields[index]
        let twin = again.fields[position]
        precondition(other[twin.name].equals(span[line.name]) && other[twin.value].equals(span[line.value]))
        precondition(twin.known == line.known && twin.known != .connection)
        position += 1
    }
    let added = head.asksWebSocket ? 2 : head.framing == .stream ? 1 : 0
    precondition(again.fields.count == position + added)
}
