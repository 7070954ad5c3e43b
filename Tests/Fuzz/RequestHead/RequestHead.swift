import HTTP
import HTTP1
import Memory

/// A request head that is accepted keeps its promises, however it arrives, and says the same when it is written for an
/// upstream and parsed again.
@_cdecl("LLVMFuzzerTestOneInput") public func fuzz(_ data: UnsafePointer<UInt8>, _ size: Int) -> CInt {
    let bytes = unsafe Array(UnsafeBufferPointer(start: data, count: size))
    let span = bytes.rawSpan
    let limits = HeadLimits(requestLine: 1024, head: 4096, fields: 32)
    var head = RequestHead(fieldCapacity: 32)
    var scanned = 0
    let step = RequestParser.parse(span, limits: limits, scanned: &scanned, into: &head)
    checkPieces(span, limits, step)
    guard case .complete(let count) = step else { return 0 }
    precondition(count <= size && count <= limits.head && head.fields.count <= limits.fields)
    precondition(span[count - 1] == 0x0a && span[count - 2] == 0x0d)
    check(head, span, count)
    checkForwarded(&head, span)
    return 0
}

private func check(_ head: borrowing RequestHead, _ span: RawSpan, _ count: Int) {
    precondition(head.methodBytes.upperBound < head.target.lowerBound && head.target.upperBound < count)
    precondition(!head.methodBytes.isEmpty && isToken(span[head.methodBytes]))
    let path = span[head.path]
    precondition(path[0] == 0x2f || (path.byteCount == 1 && path[0] == 0x2a))
    precondition(head.query.isEmpty || head.hasQuery)
    if head.version == .http11 { precondition(Authority.isValid(span[head.authority])) }
    var end = head.target.upperBound
    for index in 0..<head.fields.count {
        let line = head.fields[index]
        precondition(line.name.lowerBound > end && line.name.upperBound < line.value.lowerBound + 1)
        precondition(line.value.upperBound < count && !line.name.isEmpty && isToken(span[line.name]))
        let value = span[line.value]
        precondition(value.firstIndex(notIn: .fieldText, from: 0) == value.byteCount)
        if value.byteCount > 0 {
            let edges = [value[0], value[value.byteCount - 1]]
            precondition(!edges.contains(0x20) && !edges.contains(0x09))
        }
        precondition(FieldNames.classify(span[line.name]) == line.known)
        end = line.value.upperBound
    }
    switch head.framing {
    case .length(let length): precondition(length >= 0)
    case .chunked: precondition(head.version == .http11)
    case .none: precondition(!head.expectsContinue)
    case .stream, .close: preconditionFailure("no framing of HTTP/1 requests")
    }
    if head.asksWebSocket {
        // RFC 6455 §4.2.1: nothing less asks for a tunnel.
        precondition(
            head.method == .get && head.version == .http11 && head.fields.firstIndex(of: .upgrade) != nil)
        precondition(head.framing == .none || head.framing == .length(0))
        precondition(head.webSocketKey.count == 24 && head.webSocketKey.upperBound < count)
    }
}

private func isToken(_ name: RawSpan) -> Bool {
    name.firstIndex(notIn: .token, from: 0) == name.byteCount
}

/// Byte by byte, an accepted head is accepted at its last byte and not before; a refused one is never accepted.
private func checkPieces(_ span: RawSpan, _ limits: HeadLimits, _ whole: HeadStep) {
    var head = RequestHead(fieldCapacity: 32)
    var scanned = 0
    for end in 0...min(span.byteCount, 5000) {
        let step = RequestParser.parse(
            span.extracting(0..<end), limits: limits, scanned: &scanned, into: &head)
        switch step {
        case .incomplete: continue
        case .complete(let count): precondition(step == whole && count == end)
        case .refused:
            if case .refused = whole { return }
            preconditionFailure("refused in pieces, accepted at once")
        }
        return
    }
    // In pieces, a head that does not end may be refused later than at once.
    if case .complete = whole { preconditionFailure("accepted at once, not in pieces") }
}

/// What goes to the upstream means the same to our own parser, and nothing that ends at a hop is in it.
private func checkForwarded(_ head: inout RequestHead, _ span: RawSpan) {
    guard HopByHop.drop(in: &head.fields, bytes: span) else { return }
    let pool = BlockPool(limit: 2)
    var written = ByteQueue()
    guard var writer = HeadWriter(from: pool) else { return }
    writer.requestLine(
        method: span[head.methodBytes], path: span[head.path], query: span[head.query],
        hasQuery: head.hasQuery)
    writer.fields(head.fields, of: span, isText: true)
    if head.fields.firstIndex(of: .host) == nil { writer.field("Host: ", "none".utf8Bytes.rawSpan) }
    writer.end()
    guard writer.finish(into: &written) else { preconditionFailure("4 KiB did not fit 16 KiB") }
    var again = RequestHead(fieldCapacity: 40)
    var scanned = 0
    let limits = HeadLimits(requestLine: 2048, head: 8192, fields: 40)
    let text = written.array
    let other = text.rawSpan
    let step = RequestParser.parse(other, limits: limits, scanned: &scanned, into: &again)
    precondition(step == .complete(byteCount: text.count))
    precondition(again.method == head.method && other[again.path].equals(span[head.path]))
    precondition(other[again.query].equals(span[head.query]) && again.hasQuery == head.hasQuery)
    if case .length = head.framing { precondition(again.framing == head.framing) }
    var position = 0
    for index in 0..<head.fields.count where !head.fields[index].isDropped {
        let line = head.fields[index]
        let twin = again.fields[position]
        precondition(other[twin.name].equals(span[line.name]) && other[twin.value].equals(span[line.value]))
        precondition(twin.known != .connection && twin.known != .transferEncoding && twin.known != .te)
        position += 1
    }
}

extension String {
    fileprivate var utf8Bytes: [UInt8] { Array(utf8) }
}
