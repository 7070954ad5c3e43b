public import HTTP
import Memory

/// What a look at the bytes of a request head came to.
@frozen public enum HeadStep: Equatable, Sendable {
    /// The head has not ended; call again when there are more bytes.
    case incomplete
    /// The head is that many bytes from the start, the empty line before it and the one behind it included.
    case complete(byteCount: Int)
    case refused(RequestHeadError)
}

/// Parses request heads of HTTP/1.0 and 1.1 in place (RFC 9112), and refuses whatever two parsers might read in two ways:
/// a gateway that is lenient disagrees with the service behind it, which is how requests are smuggled (§11.2).
public enum RequestParser {
    /// `bytes` begins where the head does, and must be the same bytes with more behind them when a head that was
    /// `.incomplete` is tried again. `scanned` is 0 at first and kept by the caller between calls: how much has been
    /// searched, so that a head that drips in costs linear work. What `head` holds is offsets into `bytes`, and means
    /// something only after `.complete`.
    public static func parse(
        _ bytes: RawSpan, limits: HeadLimits, scanned: inout Int, into head: inout RequestHead
    ) -> HeadStep {
        if scanned > 0, !HeadEnd.isWorthParsing(bytes, from: &scanned) {
            return tooLong(bytes, limits) ?? .incomplete
        }
        head.reset()
        var cursor = 0
        // §2.2: one empty line before a request line is passed over.
        if bytes.byteCount > 0, bytes[0] == 0x0d {
            guard bytes.byteCount >= 2 else { return stopped(.incomplete, bytes, limits, &scanned) }
            guard bytes[1] == 0x0a else { return .refused(.bareLineEnd) }
            cursor = 2
        }
        if let error = RequestLine.parse(bytes, &cursor, limit: limits.requestLine, into: &head) {
            return stopped(error, bytes, limits, &scanned)
        }
        return fields(bytes, cursor, limits, &scanned, into: &head)
    }

    /// Parses what follows the request line, from `start` on. On its own, so that the compiler puts the parser of lines into the loop.
    private static func fields(
        _ bytes: RawSpan, _ start: Int, _ limits: HeadLimits, _ scanned: inout Int,
        into head: inout RequestHead
    ) -> HeadStep {
        var cursor = start
        var facts = RequestFacts()
        while true {
            var line = FieldLine()
            switch FieldLineParser.next(bytes, &cursor, into: &line) {
            case .line:
                guard head.fields.count < limits.fields, head.fields.append(line) else {
                    return .refused(.tooManyFields)
                }
                if line.known != .other, let error = facts.note(line, bytes, &head) {
                    return .refused(error)
                }
                continue
            case .end:
                guard cursor <= limits.head else { return .refused(.headTooLarge) }
                if let error = facts.finish(bytes, &head) { return .refused(error) }
                return .complete(byteCount: cursor)
            case .incomplete: return stopped(.incomplete, bytes, limits, &scanned)
            case .badName: return .refused(.badFieldName)
            case .badValue: return .refused(.badFieldValue)
            case .fold: return .refused(.obsoleteFold)
            case .bareLineEnd: return .refused(.bareLineEnd)
            }
        }
    }

    private static func stopped(
        _ stop: RequestLine.Stop, _ bytes: RawSpan, _ limits: HeadLimits, _ scanned: inout Int
    ) -> HeadStep {
        switch stop {
        case .refused(let error): return .refused(error)
        case .incomplete:
            HeadEnd.noteIncomplete(bytes, &scanned)
            return tooLong(bytes, limits) ?? .incomplete
        }
    }

    /// The refusal of a head that has not ended and already is too long; `nil` while it may go on.
    private static func tooLong(_ bytes: RawSpan, _ limits: HeadLimits) -> HeadStep? {
        if bytes.byteCount > limits.requestLine &+ 2 {
            // Two bytes more than the limit hold the line's end, or the empty line before it.
            let start = bytes[0] == 0x0d ? 2 : 0
            let end = bytes.firstIndex(of: 0x0a, from: start)
            if end &- start > limits.requestLine &+ 1 { return .refused(.requestLineTooLong) }
        }
        return bytes.byteCount >= limits.head ? .refused(.headTooLarge) : nil
    }
}

/// What the fields of a request say about its framing and its connection, gathered as they come.
struct RequestFacts {
    var host = ByteRange.empty
    var hasHost = false
    var contentLength = ContentLength.absent
    var transferCoding = TransferCoding.absent
    var connection = ConnectionOptions()
    var expects = false

    /// Takes note of the last field of the table, whose meaning is known; the error if it alone makes the head bad.
    mutating func note(_ line: FieldLine, _ bytes: RawSpan, _ head: inout RequestHead) -> RequestHeadError? {
        switch line.known {
        case .host:
            guard !hasHost else { return .repeatedHost }
            hasHost = true
            host = line.value
            guard Authority.isValid(line.value, of: bytes) else { return .badHost }
        case .contentLength:
            contentLength =
                contentLength == .absent ? ContentLength(bytes[line.value]) : .repeated
        case .transferEncoding:
            transferCoding =
                transferCoding == .absent ? TransferCoding(line.value, of: bytes) : .malformed
        case .connection:
            connection.add(line.value, of: bytes)
        case .expect:
            // RFC 9110 §10.1.1: an expectation in a request of 1.0 is ignored; forwarded in 1.1, it would not be.
            guard head.version != .http10 else {
                head.fields.drop(head.fields.count &- 1)
                return nil
            }
            guard bytes[line.value].equalsIgnoringCase("100-continue") else { return .unknownExpectation }
            expects = true
        case .other, .authorization, .cookie, .date, .forwarded, .http2Settings, .keepAlive,
            .proxyAuthenticate, .proxyAuthorization, .proxyConnection, .server, .te, .trailer, .upgrade, .via,
            .xForwardedFor, .xForwardedHost, .xForwardedProto:
            break
        }
        return nil
    }

    /// Settles the head when all its fields have been seen.
    mutating func finish(_ bytes: RawSpan, _ head: inout RequestHead) -> RequestHeadError? {
        if !hasHost {
            // RFC 9112 §3.2: 1.0 knew no Host; 1.1 requires it, with an absolute target too.
            guard head.version == .http10 else { return .missingHost }
        } else if head.authority.isEmpty {
            head.authority = host
        } else if !bytes[head.authority].equalsIgnoringCase(bytes[host]) {
            // §3.2.2 has a proxy ignore Host here. Whoever sends two different ones wants two parsers to differ.
            return .conflictingHost
        }
        head.isPersistent = connection.isPersistent(version: head.version)
        switch Framing.request(
            contentLength: contentLength, transferCoding: transferCoding, version: head.version)
        {
        case .framing(let framing): head.framing = framing
        case .refused(let error): return error
        }
        // A request without a body waits for nothing.
        head.expectsContinue = expects && head.framing != .none && head.framing != .length(0)
        if connection.isUpgrade, let key = WebSocketHandshake.requestKey(of: head, bytes: bytes) {
            head.asksWebSocket = true
            head.webSocketKey = key
        }
        return nil
    }
}
