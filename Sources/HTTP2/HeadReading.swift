internal import HTTP
internal import Memory

/// From the lines that nghttp2 handed over to the head that every protocol shares.
enum HeadReading {
    static func read(_ stream: StreamPointer, limits: HeadLimits, into head: inout RequestHead)
        -> RequestHeadError?
    {
        head.reset()
        head.version = .http2
        guard let base = unsafe stream.pointee.head.base else { return .badPseudoField }
        let bytes = unsafe RawSpan(
            _unsafeStart: UnsafeRawPointer(base), byteCount: stream.pointee.head.byteCount)
        var special = SpecialFields()
        var error: RequestHeadError?
        var offset = 0
        for _ in 0..<(unsafe stream.pointee.head.count) {
            let line = unsafe stream.pointee.head.line(at: offset)
            offset = line.next
            if !line.name.isEmpty, bytes[line.name.lowerBound] == UInt8(ascii: ":") {
                special.notePseudo(bytes[line.name], line.value, &head)
                continue
            }
            let known = FieldNames.classify(line.name, of: bytes)
            var value = line.value
            if known == .cookie {
                special.cookies &+= 1
                if special.cookies > 1 { continue }
                if unsafe stream.pointee.cookieCount > 1 { value = unsafe stream.pointee.joinedCookie }
            }
            if let found = special.note(known, value, bytes) { error = error ?? found }
            if !head.fields.append(FieldLine(name: line.name, value: value, known: known)) {
                error = error ?? .tooManyFields
            }
        }
        // First, so that a log has the path of what is refused.
        let targetError = special.finishTarget(bytes, limits, &head)
        let marks = unsafe stream.pointee.marks
        if marks.contains(.headTooLarge) { return .headTooLarge }
        if marks.contains(.badName) { return .badFieldName }
        if marks.contains(.badValue) { return .badFieldValue }
        if let error { return error }
        if let targetError { return targetError }
        if let error = special.finishAuthority(bytes, &head) { return error }
        head.expectsContinue = special.expectsContinue
        let endsHere = marks.contains(.inboundEnded) && marks.isDisjoint(with: [.hasData, .hasTrailers])
        if head.asksWebSocket {
            // A CONNECT has no content (RFC 9110 §9.3.6): the DATA that follows is the tunnel's.
            if special.contentLength != nil { return .badContentLength }
            head.framing = .none
        } else if let length = special.contentLength {
            head.framing = .length(length)
        } else {
            head.framing = endsHere ? .none : .stream
        }
        return nil
    }

    static func readTrailers(_ stream: StreamPointer, into fields: inout FieldTable) -> RequestHeadError? {
        fields.removeAll()
        if unsafe stream.pointee.has(.trailersTooLarge) { return .headTooLarge }
        guard let base = unsafe stream.pointee.trailers.base else { return nil }
        let bytes = unsafe RawSpan(
            _unsafeStart: UnsafeRawPointer(base), byteCount: stream.pointee.trailers.byteCount)
        var offset = 0
        for _ in 0..<(unsafe stream.pointee.trailers.count) {
            let line = unsafe stream.pointee.trailers.line(at: offset)
            offset = line.next
            let known = FieldNames.classify(line.name, of: bytes)
            guard fields.append(FieldLine(name: line.name, value: line.value, known: known)) else {
                return .tooManyFields
            }
        }
        return nil
    }
}

/// The fields of a head that decide something, gathered on the way through its lines.
private struct SpecialFields {
    var scheme = ByteRange.empty
    var protocolName = ByteRange.empty
    var host = ByteRange.empty
    var hasHost = false
    var cookies = 0
    var contentLength: Int?
    var expectsContinue = false

    /// nghttp2 lets each of the five through once, and no others (RFC 9113 §8.3); `:protocol` with CONNECT and all of the
    /// others only (RFC 8441 §4).
    mutating func notePseudo(_ name: RawSpan, _ value: ByteRange, _ head: inout RequestHead) {
        switch name.byteCount {
        case 5: if name.equals(":path") { head.target = value }
        case 7:
            if name.equals(":method") {
                head.methodBytes = value
            } else if name.equals(":scheme") {
                scheme = value
            }
        case 9: if name.equals(":protocol") { protocolName = value }
        case 10: if name.equals(":authority") { head.authority = value }
        default: break
        }
    }

    mutating func note(_ known: KnownField, _ value: ByteRange, _ bytes: RawSpan) -> RequestHeadError? {
        switch known {
        case .host:
            if hasHost { return .repeatedHost }
            hasHost = true
            host = value
        case .contentLength:
            guard contentLength == nil else { return .conflictingContentLength }
            guard case .bytes(let length) = ContentLength(bytes[value]) else { return .badContentLength }
            contentLength = length
        case .expect:
            guard bytes[value].equalsIgnoringCase("100-continue") else { return .unknownExpectation }
            expectsContinue = true
        case .connection, .keepAlive, .proxyConnection, .transferEncoding, .upgrade, .http2Settings:
            return .connectionField
        case .te:
            return bytes[value].equalsIgnoringCase("trailers") ? nil : .connectionField
        default: break
        }
        return nil
    }

    func finishTarget(_ bytes: RawSpan, _ limits: HeadLimits, _ head: inout RequestHead) -> RequestHeadError?
    {
        if head.methodBytes.isEmpty { return .badPseudoField }
        head.method = method(bytes[head.methodBytes])
        if head.method == .connect {
            guard bytes[protocolName].equalsIgnoringCase("websocket") else { return .connectRefused }
            head.asksWebSocket = true
            head.webSocketKey = .empty
        }
        let target = bytes[head.target]
        if target.byteCount &+ Int(head.methodBytes.count) > limits.requestLine { return .requestLineTooLong }
        // No control byte, no space, no fragment. What a path means is looked at when it is normalised.
        let mark = target.endOfTarget(from: 0, stop: UInt8(ascii: "?"))
        let start = head.target.lowerBound
        head.path = ByteRange(start: start, end: start &+ mark)
        if mark < target.byteCount {
            guard target[mark] == UInt8(ascii: "?"),
                // A query may hold further question marks; `#` is refused in any case.
                target.endOfTarget(from: mark &+ 1, stop: UInt8(ascii: "#")) == target.byteCount
            else { return .badTarget }
            head.hasQuery = true
            head.query = ByteRange(start: start &+ mark &+ 1, end: head.target.upperBound)
        }
        if target.isEmpty { return .badPseudoField }
        if target[0] != UInt8(ascii: "/") {
            // RFC 9113 §8.3.1: `*` is for OPTIONS alone.
            guard target.equals("*"), head.method == .options else { return .badTarget }
        }
        let name = bytes[scheme]
        guard name.equalsIgnoringCase("https") || name.equalsIgnoringCase("http") else {
            return .badPseudoField
        }
        return nil
    }

    func finishAuthority(_ bytes: RawSpan, _ head: inout RequestHead) -> RequestHeadError? {
        if hasHost {
            if head.authority.isEmpty {
                head.authority = host
            } else if !bytes[host].equalsIgnoringCase(bytes[head.authority]) {
                // RFC 9113 §8.3.1: they must not differ, or two recipients see two hosts.
                return .conflictingHost
            }
        }
        if head.authority.isEmpty { return .missingHost }
        return Authority.isValid(head.authority, of: bytes) ? nil : .badHost
    }
}

private func method(_ name: RawSpan) -> Method {
    switch name.byteCount {
    case 3:
        if name.equals("GET") { return .get }
        if name.equals("PUT") { return .put }
    case 4:
        if name.equals("POST") { return .post }
        if name.equals("HEAD") { return .head }
    case 5:
        if name.equals("PATCH") { return .patch }
        if name.equals("TRACE") { return .trace }
    case 6: if name.equals("DELETE") { return .delete }
    case 7:
        if name.equals("OPTIONS") { return .options }
        if name.equals("CONNECT") { return .connect }
    default: break
    }
    return .other
}
