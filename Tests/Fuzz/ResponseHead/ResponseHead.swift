import HTTP
import HTTP1
import Memory

/// A response head that is accepted keeps its promises, however it arrives. The first byte chooses the method that it
/// answers.
@_cdecl("LLVMFuzzerTestOneInput") public func fuzz(_ data: UnsafePointer<UInt8>, _ size: Int) -> CInt {
    guard size > 0 else { return 0 }
    let all = unsafe Array(UnsafeBufferPointer(start: data, count: size))
    let method: HTTP.Method = all[0] & 1 == 0 ? .get : .head
    let bytes = Array(all.dropFirst())
    let span = bytes.rawSpan
    let limits = HeadLimits(requestLine: 1, head: 4096, fields: 32)
    var head = ResponseHead(fieldCapacity: 32)
    var scanned = 0
    let step = ResponseParser.parse(
        span, limits: limits, scanned: &scanned, into: &head, requestMethod: method)
    checkPieces(span, limits, method, step)
    guard case .complete(let count) = step else { return 0 }
    precondition(count <= bytes.count && count <= limits.head && head.fields.count <= limits.fields)
    precondition(head.status >= 100 && head.status <= 599)
    checkFraming(head, method)
    var end = 12
    for index in 0..<head.fields.count {
        let line = head.fields[index]
        precondition(line.name.lowerBound > end && line.value.upperBound < count && !line.name.isEmpty)
        let name = span[line.name]
        precondition(name.firstIndex(notIn: .token, from: 0) == name.byteCount)
        let value = span[line.value]
        precondition(value.firstIndex(notIn: .fieldText, from: 0) == value.byteCount)
        end = line.value.upperBound
    }
    if let line = WebSocketHandshake.acceptLine(of: head, bytes: span) {
        precondition(head.status == 101 && head.version == .http11 && line < head.fields.count)
        precondition(
            head.fields.firstIndex(of: .upgrade) != nil
                && head.fields.firstIndex(of: .transferEncoding) == nil)
    }
    return 0
}

private func checkFraming(_ head: borrowing ResponseHead, _ method: HTTP.Method) {
    switch head.framing {
    case .none: precondition(method == .head || !StatusText.mayHaveBody(head.status))
    case .length(let length): precondition(length >= 0 && StatusText.mayHaveBody(head.status))
    case .chunked: precondition(head.version == .http11 && StatusText.mayHaveBody(head.status))
    case .close: precondition(!head.isPersistent && StatusText.mayHaveBody(head.status))
    case .stream: preconditionFailure("no framing of HTTP/1")
    }
}

private func checkPieces(
    _ span: RawSpan, _ limits: HeadLimits, _ method: HTTP.Method, _ whole: ResponseStep
) {
    var head = ResponseHead(fieldCapacity: 32)
    var scanned = 0
    for end in 0...min(span.byteCount, 5000) {
        let step = ResponseParser.parse(
            span.extracting(0..<end), limits: limits, scanned: &scanned, into: &head, requestMethod: method)
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
