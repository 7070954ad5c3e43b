public import HTTP
import Memory

/// What a look at the bytes of a response head came to.
@frozen public enum ResponseStep: Equatable, Sendable {
    case incomplete
    case complete(byteCount: Int)
    case refused(ResponseHeadError)
}

/// Parses response heads of HTTP/1.0 and 1.1 in place, as strictly as `RequestParser` does requests: what an upstream
/// says must not be read in two ways by the clients behind us either.
public enum ResponseParser {
    /// As `RequestParser.parse`. `requestMethod` decides with the status whether there is a body (RFC 9112 §6.3). A head
    /// of 1xx is complete with framing `.none`; whether 101 was asked for is the caller's to know. Content-Length is
    /// marked as dropped where it must not stand (1xx and 204, RFC 9110 §8.6).
    public static func parse(
        _ bytes: RawSpan, limits: HeadLimits, scanned: inout Int, into head: inout ResponseHead,
        requestMethod: Method
    ) -> ResponseStep {
        if scanned > 0, !HeadEnd.isWorthParsing(bytes, from: &scanned) {
            return incomplete(bytes, limits, &scanned)
        }
        head.reset()
        var cursor = 0
        if isPlainSuccess(bytes) {
            head.status = 200
            cursor = 17
        } else {
            switch statusLine(bytes, &cursor, &head) {
            case .line: break
            case .incomplete: return incomplete(bytes, limits, &scanned)
            case .refused(let error): return .refused(error)
            }
        }
        var facts = ResponseFacts()
        while true {
            var line = FieldLine()
            switch FieldLineParser.next(bytes, &cursor, into: &line) {
            case .line:
                guard head.fields.count < limits.fields, head.fields.append(line) else {
                    return .refused(.tooManyFields)
                }
                if line.known != .other { facts.note(line, bytes) }
                continue
            case .end:
                guard cursor <= limits.head else { return .refused(.headTooLarge) }
                if let error = facts.finish(requestMethod, &head) { return .refused(error) }
                return .complete(byteCount: cursor)
            case .incomplete: return incomplete(bytes, limits, &scanned)
            case .badName: return .refused(.badFieldName)
            case .badValue: return .refused(.badFieldValue)
            case .fold: return .refused(.obsoleteFold)
            case .bareLineEnd: return .refused(.bareLineEnd)
            }
        }
    }

    private static func incomplete(_ bytes: RawSpan, _ limits: HeadLimits, _ scanned: inout Int)
        -> ResponseStep
    {
        HeadEnd.noteIncomplete(bytes, &scanned)
        return bytes.byteCount >= limits.head ? .refused(.headTooLarge) : .incomplete
    }

    /// Whether the head begins with `HTTP/1.1 200 OK CRLF`, as most do.
    @inline(__always) private static func isPlainSuccess(_ bytes: RawSpan) -> Bool {
        bytes.byteCount >= 17 && bytes.word(at: 0) == ProtocolName.http11
            && bytes.word(at: 8) == 0x0d4b_4f20_3030_3220 && bytes[16] == 0x0a
    }

    private enum StatusStep {
        case line
        case incomplete
        case refused(ResponseHeadError)
    }

    /// `HTTP-version SP status-code SP [ reason-phrase ] CRLF` (RFC 9112 §4). The second space may be missing when there
    /// is no reason: some servers leave it out, and nothing else can be meant.
    private static func statusLine(_ bytes: RawSpan, _ cursor: inout Int, _ head: inout ResponseHead)
        -> StatusStep
    {
        guard bytes.byteCount >= 14 else { return shortStatusLine(bytes) }
        let version = bytes.word(at: 0)
        if version == ProtocolName.http11 {
            head.version = .http11
        } else if version == ProtocolName.http10 {
            head.version = .http10
        } else {
            return .refused(ProtocolName.isVersion(version) ? .unsupportedVersion : .badStatusLine)
        }
        guard bytes[8] == 0x20, bytes[9].isDigit, bytes[10].isDigit, bytes[11].isDigit else {
            return .refused(.badStatusLine)
        }
        let status =
            Int(bytes[9] &- 0x30) &* 100 &+ Int(bytes[10] &- 0x30) &* 10 &+ Int(bytes[11] &- 0x30)
        // RFC 9110 §15: other numbers are no status codes.
        guard status >= 100, status <= 599 else { return .refused(.badStatusLine) }
        head.status = status
        guard bytes[12] == 0x20 || bytes[12] == 0x0d else {
            return .refused(bytes[12] == 0x0a ? .bareLineEnd : .badStatusLine)
        }
        let end = bytes.endOfFieldText(from: 12)
        guard end &+ 1 < bytes.byteCount else {
            let isBad = end < bytes.byteCount && bytes[end] != 0x0d
            return isBad ? .refused(bytes[end] == 0x0a ? .bareLineEnd : .badStatusLine) : .incomplete
        }
        guard bytes[end] == 0x0d, bytes[end &+ 1] == 0x0a else {
            let isLineEnd = bytes[end] == 0x0d || bytes[end] == 0x0a
            return .refused(isLineEnd ? .bareLineEnd : .badStatusLine)
        }
        cursor = end &+ 2
        return .line
    }

    /// The answer for fewer bytes than the shortest status line has: an upstream that does not speak HTTP/1 is found out
    /// at its first bytes.
    private static func shortStatusLine(_ bytes: RawSpan) -> StatusStep {
        let name = "HTTP/" as StaticString
        for offset in 0..<min(bytes.byteCount, 5) where bytes[offset] != name.utf8Span[offset] {
            return .refused(.badStatusLine)
        }
        return bytes.firstIndex(of: 0x0a, from: 0) < bytes.byteCount ? .refused(.badStatusLine) : .incomplete
    }
}

/// What the fields of a response say about its framing and its connection, gathered as they come.
struct ResponseFacts {
    var contentLength = ContentLength.absent
    var transferCoding = TransferCoding.absent
    var connection = ConnectionOptions()

    @inline(__always) mutating func note(_ line: FieldLine, _ bytes: RawSpan) {
        switch line.known {
        case .contentLength:
            contentLength =
                contentLength == .absent ? ContentLength(bytes[line.value]) : .repeated
        case .transferEncoding:
            transferCoding =
                transferCoding == .absent ? TransferCoding(line.value, of: bytes) : .malformed
        case .connection:
            connection.add(line.value, of: bytes)
        case .other, .authorization, .cookie, .date, .expect, .forwarded, .host, .http2Settings, .keepAlive,
            .proxyAuthenticate, .proxyAuthorization, .proxyConnection, .server, .te, .trailer, .upgrade, .via,
            .xForwardedFor, .xForwardedHost, .xForwardedProto:
            break
        }
    }

    @inline(__always) mutating func finish(
        _ method: Method, _ head: inout ResponseHead
    ) -> ResponseHeadError? {
        head.isPersistent = connection.isPersistent(version: head.version)
        switch Framing.response(
            to: method, status: head.status, contentLength: contentLength, transferCoding: transferCoding,
            version: head.version)
        {
        case .refused(let error): return error
        case .framing(let framing, let isSuspect):
            head.framing = framing
            if framing == .close || isSuspect { head.isPersistent = false }
        }
        if head.status < 200 || head.status == 204, let index = head.fields.firstIndex(of: .contentLength) {
            head.fields.drop(index)
        }
        return nil
    }
}
