import HTTP
import HTTP1
import Memory

/// What a parser accepts, written for the other side and parsed again, is the same message; written once more, the same
/// bytes. The first byte chooses a request, a response (to GET or HEAD) or a chunked body, the second the pieces of a body.
@_cdecl("LLVMFuzzerTestOneInput") public func fuzz(_ data: UnsafePointer<UInt8>, _ size: Int) -> CInt {
    guard size > 2 else { return 0 }
    let all = unsafe Array(UnsafeBufferPointer(start: data, count: size))
    let bytes = Array(all.dropFirst(2))
    switch all[0] & 3 {
    case 0: request(bytes)
    case 1: response(bytes, to: .get)
    case 2: response(bytes, to: .head)
    default: body(bytes, piece: 1 + Int(all[1]))
    }
    return 0
}

private let limits = HeadLimits(requestLine: 1024, head: 4096, fields: 32)
private let wider = HeadLimits(requestLine: 2048, head: 8192, fields: 40)

/// What goes on of a head's lines, as text.
private func lines(_ fields: borrowing FieldTable, _ bytes: RawSpan, but dropped: Set<KnownField>) -> [String]
{
    var lines: [String] = []
    for index in 0..<fields.count where !fields[index].isDropped && !dropped.contains(fields[index].known) {
        let line = fields[index]
        // Latin-1, so that no two values become one.
        let text = bytes[line.name].array + [0x3a] + bytes[line.value].array
        lines.append(String(text.map { Character(Unicode.Scalar($0)) }))
    }
    return lines
}

// MARK: Requests

private struct Request: Equatable {
    var method: [UInt8]
    /// In its normal form, or `*`.
    var path: [UInt8]
    var query: [UInt8]?
    var authority: [UInt8]
    var lines: [String]
    var framing: BodyFraming
}

private func parse(_ bytes: [UInt8], _ limits: HeadLimits, isAgain: Bool) -> Request? {
    let span = bytes.rawSpan
    var head = RequestHead(fieldCapacity: 40)
    var scanned = 0
    let step = RequestParser.parse(span, limits: limits, scanned: &scanned, into: &head)
    guard case .complete(let count) = step, HopByHop.drop(in: &head.fields, bytes: span) else { return nil }
    precondition(!isAgain || count == bytes.count, "what was one head is more than one")
    let pool = BlockPool(limit: 1)
    guard var block = pool.take() else { return nil }
    var path = span[head.path].array
    if path != [0x2a] {
        switch PathForm.normalize(span[head.path], mergeSlashes: true, into: &block) {
        case .refused: return nil
        case .unchanged: break
        case .rewritten:
            precondition(!isAgain, "a normal form has another")
            path = block.bytes.array
        }
    }
    return Request(
        method: span[head.methodBytes].array, path: path, query: head.hasQuery ? span[head.query].array : nil,
        authority: span[head.authority].array, lines: lines(head.fields, span, but: [.host, .expect]),
        framing: head.framing)
}

private func written(_ request: Request) -> [UInt8] {
    let pool = BlockPool(limit: 1)
    var queue = ByteQueue()
    guard var writer = HeadWriter(from: pool) else { return [] }
    let query = request.query ?? []
    writer.requestLine(
        method: request.method.rawSpan, path: request.path.rawSpan, query: query.rawSpan,
        hasQuery: request.query != nil)
    // A request of HTTP/1.0 may name no host; its service's own stands there then.
    let authority = request.authority.isEmpty ? Array("up.test".utf8) : request.authority
    writer.field("Host: ", authority.rawSpan)
    write(request.lines, to: &writer)
    if request.framing == .chunked { writer.text("Transfer-Encoding: chunked\r\n") }
    writer.end()
    guard writer.finish(into: &queue) else { preconditionFailure("4 KiB did not fit 16 KiB") }
    return queue.array
}

private func write(_ lines: [String], to writer: inout HeadWriter) {
    for line in lines {
        let text = line.unicodeScalars.map { UInt8($0.value) }
        let colon = text.firstIndex(of: 0x3a) ?? 0
        writer.field(text.rawSpan.extracting(0..<colon), text.rawSpan.extracting(colon + 1..<text.count))
    }
}

private func request(_ bytes: [UInt8]) {
    guard let first = parse(bytes, limits, isAgain: false) else { return }
    let text = written(first)
    guard var second = parse(text, wider, isAgain: true) else {
        preconditionFailure("what we forward is not what we accept")
    }
    precondition(written(second) == text, "a request changes each time that it is forwarded")
    if first.authority.isEmpty { second.authority = [] }
    precondition(second == first, "a request was changed")
}

// MARK: Responses

private struct Response: Equatable {
    var status: Int
    var lines: [String]
    var framing: BodyFraming
}

private func parse(_ bytes: [UInt8], _ limits: HeadLimits, to method: HTTP.Method, isAgain: Bool) -> Response?
{
    let span = bytes.rawSpan
    var head = ResponseHead(fieldCapacity: 40)
    var scanned = 0
    let step = ResponseParser.parse(
        span, limits: limits, scanned: &scanned, into: &head, requestMethod: method)
    guard case .complete(let count) = step, HopByHop.drop(in: &head.fields, bytes: span) else { return nil }
    precondition(!isAgain || count == bytes.count, "what was one head is more than one")
    return Response(status: head.status, lines: lines(head.fields, span, but: []), framing: head.framing)
}

private func written(_ response: Response) -> [UInt8] {
    let pool = BlockPool(limit: 1)
    var queue = ByteQueue()
    guard var writer = HeadWriter(from: pool) else { return [] }
    writer.statusLine(response.status)
    write(response.lines, to: &writer)
    // A body that ends with its connection goes on in chunks.
    if response.framing == .chunked || response.framing == .close {
        writer.text("Transfer-Encoding: chunked\r\n")
    }
    writer.end()
    guard writer.finish(into: &queue) else { preconditionFailure("4 KiB did not fit 16 KiB") }
    return queue.array
}

private func response(_ bytes: [UInt8], to method: HTTP.Method) {
    guard var first = parse(bytes, limits, to: method, isAgain: false) else { return }
    let text = written(first)
    guard let second = parse(text, wider, to: method, isAgain: true) else {
        preconditionFailure("what we forward is not what we accept")
    }
    precondition(written(second) == text, "a response changes each time that it is forwarded")
    if first.framing == .close { first.framing = .chunked }
    precondition(second == first, "a response was changed")
}

// MARK: Bodies

private struct Body: Equatable {
    var bytes: [UInt8]
    var trailers: [String]
}

private func decoded(_ bytes: [UInt8], piece: Int, isAgain: Bool) -> Body? {
    let pool = BlockPool(limit: 10_000)
    var decoder = ChunkedDecoder()
    var input = ByteQueue()
    var output = ByteQueue()
    var trailers = ByteQueue()
    var offset = 0
    var step = ChunkStep.needsMore
    while step == .needsMore, offset < bytes.count {
        let end = min(offset + piece, bytes.count)
        guard input.append(bytes.rawSpan.extracting(offset..<end), from: pool) else { return nil }
        offset = end
        repeat {
            step = decoder.decode(
                &input, into: &output, trailers: &trailers, pool: pool, limit: 1000)
        } while step == .limitReached
    }
    guard step == .ended else { return nil }
    precondition(!isAgain || (input.isEmpty && offset == bytes.count), "a body ends before its end")
    var fields = FieldTable(capacity: ChunkedDecoder.trailerLineLimit)
    let text = trailers.array
    precondition(Trailers.parse(text.rawSpan, into: &fields), "trailers that were accepted do not parse")
    return Body(bytes: output.array, trailers: lines(fields, text.rawSpan, but: []))
}

private func encoded(_ body: Body, piece: Int) -> [UInt8] {
    let pool = BlockPool(limit: 10_000)
    var queue = ByteQueue()
    var offset = 0
    while offset < body.bytes.count {
        let end = min(offset + piece, body.bytes.count)
        guard ChunkWriter.header(size: end - offset, into: &queue, from: pool),
            queue.append(body.bytes.rawSpan.extracting(offset..<end), from: pool),
            ChunkWriter.end(into: &queue, from: pool)
        else { preconditionFailure("no block") }
        offset = end
    }
    guard ChunkWriter.last(hasTrailers: !body.trailers.isEmpty, into: &queue, from: pool) else { return [] }
    if !body.trailers.isEmpty, var writer = HeadWriter(from: pool) {
        write(body.trailers, to: &writer)
        writer.end()
        guard writer.finish(into: &queue) else { preconditionFailure("8 KiB did not fit 16 KiB") }
    }
    return queue.array
}

private func body(_ bytes: [UInt8], piece: Int) {
    guard let first = decoded(bytes, piece: piece, isAgain: false) else { return }
    let text = encoded(first, piece: piece)
    // A colon and a space stand in place of what stood there: as many bytes more as lines, at most.
    precondition(decoded(text, piece: 1 + piece / 2, isAgain: true) == first, "a body was changed")
}
