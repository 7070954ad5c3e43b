import HTTP
import Memory

/// Parses `method SP request-target SP HTTP-version CRLF` (RFC 9112 §3).
enum RequestLine {
    enum Stop {
        case incomplete
        case refused(RequestHeadError)
    }

    /// Parses the line at `cursor` and moves the cursor behind it; the reason when there is none.
    @inline(__always)
    static func parse(_ bytes: RawSpan, _ cursor: inout Int, limit: Int, into head: inout RequestHead)
        -> Stop?
    {
        let start = cursor
        let methodEnd = method(bytes, start, &head)
        guard methodEnd < bytes.byteCount else { return .incomplete }
        // One space is the only separator. §3 lets a recipient be lenient about whitespace; we are not.
        guard methodEnd > start, bytes[methodEnd] == 0x20 else {
            return .refused(badMethod(bytes, methodEnd, start))
        }
        head.methodBytes = ByteRange(start: start, end: methodEnd)

        let targetStart = methodEnd &+ 1
        let pathEnd = bytes.endOfTarget(from: targetStart, stop: 0x3f)
        guard pathEnd < bytes.byteCount else { return .incomplete }
        var targetEnd = pathEnd
        if bytes[pathEnd] == 0x3f {
            targetEnd = bytes.endOfTarget(from: pathEnd &+ 1, stop: 0x20)
            guard targetEnd < bytes.byteCount else { return .incomplete }
            head.hasQuery = true
            head.query = ByteRange(start: pathEnd &+ 1, end: targetEnd)
        }
        guard bytes[targetEnd] == 0x20, targetEnd > targetStart else {
            return .refused(badTarget(bytes[targetEnd]))
        }
        head.target = ByteRange(start: targetStart, end: targetEnd)

        let lineEnd = targetEnd &+ 9
        guard lineEnd &+ 1 < bytes.byteCount else { return unfinished(bytes, targetEnd &+ 1) }
        guard lineEnd &- start <= limit else { return .refused(.requestLineTooLong) }
        let version = bytes.word(at: targetEnd &+ 1)
        if version == ProtocolName.http11 {
            head.version = .http11
        } else if version == ProtocolName.http10 {
            head.version = .http10
        } else {
            return .refused(ProtocolName.isVersion(version) ? .unsupportedVersion : .badRequestLine)
        }
        guard bytes[lineEnd] == 0x0d, bytes[lineEnd &+ 1] == 0x0a else {
            let isLineEnd = bytes[lineEnd] == 0x0d || bytes[lineEnd] == 0x0a
            return .refused(isLineEnd ? .bareLineEnd : .badRequestLine)
        }
        cursor = lineEnd &+ 2
        if head.method != .connect, bytes[targetStart] == 0x2f {
            head.path = ByteRange(start: targetStart, end: pathEnd)
            return nil
        }
        return RequestTarget.settle(bytes, pathEnd: pathEnd, &head).map { .refused($0) }
    }

    /// The end of the method at `start`, which is told apart.
    @inline(__always)
    private static func method(_ bytes: RawSpan, _ start: Int, _ head: inout RequestHead) -> Int {
        if start <= bytes.byteCount &- 8 {
            let word = bytes.word(at: start)
            if word & 0xffff_ffff == 0x2054_4547 {  // "GET "
                head.method = .get
                return start &+ 3
            }
            if word & 0xff_ffff_ffff == 0x20_5453_4f50 {  // "POST "
                head.method = .post
                return start &+ 4
            }
        }
        let end = bytes.endOfToken(from: start)
        if end < bytes.byteCount { head.method = named(bytes.extracting(start..<end)) }
        return end
    }

    /// The method of that name; names are compared with their case (RFC 9110 §9.1).
    private static func named(_ name: RawSpan) -> Method {
        switch name.byteCount {
        case 3: name.equals("GET") ? .get : name.equals("PUT") ? .put : .other
        case 4: name.equals("HEAD") ? .head : name.equals("POST") ? .post : .other
        case 5: name.equals("PATCH") ? .patch : name.equals("TRACE") ? .trace : .other
        case 6: name.equals("DELETE") ? .delete : .other
        case 7: name.equals("OPTIONS") ? .options : name.equals("CONNECT") ? .connect : .other
        default: .other
        }
    }

    private static func badMethod(_ bytes: RawSpan, _ methodEnd: Int, _ start: Int) -> RequestHeadError {
        switch bytes[methodEnd] {
        case 0x0a: .bareLineEnd
        // CRLF here is a line of one word, or a second empty line.
        case 0x0d: methodEnd > start ? .badRequestLine : .badMethod
        default: .badMethod
        }
    }

    private static func badTarget(_ byte: UInt8) -> RequestHeadError {
        switch byte {
        case 0x20: .badTarget
        // Without a version: the form of HTTP/0.9.
        case 0x0d: .badRequestLine
        case 0x0a: .bareLineEnd
        default: .badTarget
        }
    }

    /// The answer where the bytes end before the version does.
    private static func unfinished(_ bytes: RawSpan, _ start: Int) -> Stop {
        let name = "HTTP/" as StaticString
        for offset in start..<bytes.byteCount {
            let index = offset &- start
            if index < 5, bytes[offset] != name.utf8Span[index] { return .refused(.badRequestLine) }
            if index < 9, bytes[offset] == 0x0a { return .refused(.bareLineEnd) }
        }
        return .incomplete
    }
}

/// `HTTP/1.1` as little-endian words.
enum ProtocolName {
    static var http11: UInt64 { 0x312e_312f_5054_5448 }
    static var http10: UInt64 { 0x302e_312f_5054_5448 }

    /// Whether `word` is `HTTP/digit.digit`.
    static func isVersion(_ word: UInt64) -> Bool {
        let major = UInt8(truncatingIfNeeded: word &>> 40)
        let minor = UInt8(truncatingIfNeeded: word &>> 56)
        return word & 0x00ff_00ff_ffff_ffff == 0x002e_002f_5054_5448 && major.isDigit && minor.isDigit
    }
}

/// The forms of a request target other than `/path` (RFC 9112 §3.2).
enum RequestTarget {
    /// Sets path and authority of a head whose target, method and query are known.
    static func settle(_ bytes: RawSpan, pathEnd: Int, _ head: inout RequestHead) -> RequestHeadError? {
        // §3.2.3: authority-form, and a tunnel, which a gateway is not.
        if head.method == .connect { return .connectRefused }
        let target = bytes[head.target]
        if target[0] == 0x2a {
            // §3.2.4: asterisk-form is for OPTIONS only.
            guard target.byteCount == 1, head.method == .options else { return .badTarget }
            head.path = head.target
            return nil
        }
        return absolute(bytes, pathEnd: pathEnd, &head)
    }

    /// §3.2.2: `scheme "://" authority path-abempty`; `pathEnd` is where the path ends in `bytes`.
    private static func absolute(_ bytes: RawSpan, pathEnd: Int, _ head: inout RequestHead)
        -> RequestHeadError?
    {
        let start = head.target.lowerBound
        let target = bytes[head.target]
        let scheme: Int
        if target.byteCount > 7, target.extracting(0..<7).equalsIgnoringCase("http://") {
            scheme = 7
        } else if target.byteCount > 8, target.extracting(0..<8).equalsIgnoringCase("https://") {
            scheme = 8
        } else {
            return .badTarget
        }
        let authorityStart = start &+ scheme
        guard authorityStart <= pathEnd else { return .badTarget }
        let slash = min(bytes.firstIndex(of: 0x2f, from: authorityStart), pathEnd)
        head.authority = ByteRange(start: authorityStart, end: slash)
        guard Authority.isValid(bytes[head.authority]) else { return .badTarget }
        if slash < pathEnd {
            head.path = ByteRange(start: slash, end: pathEnd)
        } else {
            // An empty path means `/` (RFC 9110 §4.2.3), and the slash before the authority lends its byte. For OPTIONS it
            // means `*` (RFC 9112 §3.2.4), of which the target holds none.
            guard head.method != .options || head.hasQuery else { return .badTarget }
            head.path = ByteRange(start: authorityStart &- 1, end: authorityStart)
        }
        return nil
    }
}
