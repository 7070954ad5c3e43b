import HTTP
import HTTP1
import Memory
import Testing

/// Heads that are good, with what they say.
private let goodHeads: [(String, ReadRequest)] = [
    (
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        ReadRequest(method: "GET", target: "/", path: "/", authority: "a", fields: ["Host: a"])
    ),
    (
        "\r\nPOST /a/b?c=d?e HTTP/1.1\r\nhost:\t a.example:8080 \t\r\nContent-Length: 12\r\nX:\r\n\r\n",
        ReadRequest(
            method: "POST", target: "/a/b?c=d?e", path: "/a/b", query: "c=d?e", authority: "a.example:8080",
            framing: .length(12), fields: ["host: a.example:8080", "Content-Length: 12", "X: "])
    ),
    (
        "BREW /? HTTP/1.1\r\nHost: [::1]:80\r\nTransfer-Encoding: CHUNKED\r\nExpect: 100-Continue\r\n\r\n",
        ReadRequest(
            method: "BREW", target: "/?", path: "/", query: "", authority: "[::1]:80", framing: .chunked,
            expectsContinue: true,
            fields: ["Host: [::1]:80", "Transfer-Encoding: CHUNKED", "Expect: 100-Continue"])
    ),
    (
        "OPTIONS * HTTP/1.1\r\nHost: a\r\nConnection: foo, Close\r\n\r\n",
        ReadRequest(
            method: "OPTIONS", target: "*", path: "*", authority: "a", isPersistent: false,
            fields: ["Host: a", "Connection: foo, Close"])
    ),
    (
        "GET http://A.example HTTP/1.1\r\nHost: a.example\r\n\r\n",
        ReadRequest(
            method: "GET", target: "http://A.example", path: "/", authority: "A.example",
            fields: ["Host: a.example"])
    ),
    (
        "GET HTTPS://a.example:1/x/y?z HTTP/1.1\r\nHost: a.example:1\r\n\r\n",
        ReadRequest(
            method: "GET", target: "HTTPS://a.example:1/x/y?z", path: "/x/y", query: "z",
            authority: "a.example:1", fields: ["Host: a.example:1"])
    ),
    (
        "GET http://a?q HTTP/1.1\r\nHost: a\r\n\r\n",
        ReadRequest(
            method: "GET", target: "http://a?q", path: "/", query: "q", authority: "a", fields: ["Host: a"])
    ),
    (
        "GET /old HTTP/1.0\r\n\r\n",
        ReadRequest(method: "GET", target: "/old", path: "/old", version: .http10, isPersistent: false)
    ),
    (
        "HEAD /old HTTP/1.0\r\nConnection: Keep-Alive\r\nExpect: 100-continue\r\nContent-Length: 0\r\n\r\n",
        ReadRequest(
            method: "HEAD", target: "/old", path: "/old", version: .http10, framing: .length(0),
            fields: ["Connection: Keep-Alive", "Content-Length: 0"])
    ),
    (
        "PUT /[a]|{b} HTTP/1.1\r\nHost: a\r\nX-Text: caf\u{e9}\tau lait \"x\"\r\n!#$%&'*+-.^_`|~9: t\r\n\r\n",
        ReadRequest(
            method: "PUT", target: "/[a]|{b}", path: "/[a]|{b}", authority: "a",
            fields: ["Host: a", "X-Text: caf\u{e9}\tau lait \"x\"", "!#$%&'*+-.^_`|~9: t"])
    ),
]

@Suite("RFC 9112 §2, §3, §5, §6: request heads") struct RequestParserTests {
    @Test("a good head is read whole, whatever follows it", arguments: goodHeads)
    func good(text: String, expected: ReadRequest) {
        var expected = expected
        expected.byteCount = text.utf8.count
        let plain = readRequest(text)
        #expect(plain == .complete(expected))
        let followed = readRequest(text + "GET / HTTP/1.1\r\n\n\0")
        #expect(followed == .complete(expected))
    }

    @Test("every prefix of a good head is incomplete", arguments: goodHeads)
    func prefixes(text: String, expected: ReadRequest) {
        let bytes = Array(text.utf8)
        for end in 0..<bytes.count {
            let step = readRequest(Array(bytes[..<end]))
            #expect(step == .incomplete, "prefix of \(end) bytes")
        }
    }

    @Test("pieces of any size give the same head", arguments: goodHeads)
    func pieces(text: String, expected: ReadRequest) {
        var expected = expected
        expected.byteCount = text.utf8.count
        for step in 1..<text.utf8.count {
            let read = readRequest(text, step: step)
            #expect(read == .complete(expected), "pieces of \(step) bytes")
        }
    }

    @Test(
        "§3: a request line of any other form is refused",
        arguments: [
            ("GET  / HTTP/1.1\r\n\r\n", RequestHeadError.badTarget),
            ("GET /  HTTP/1.1\r\n\r\n", .badRequestLine),
            (" GET / HTTP/1.1\r\n\r\n", .badMethod),
            ("GET\t/ HTTP/1.1\r\n\r\n", .badMethod),
            ("G(T / HTTP/1.1\r\n\r\n", .badMethod),
            ("G\u{e9}T / HTTP/1.1\r\n\r\n", .badMethod),
            ("GET / HTTP/1.1 \r\n\r\n", .badRequestLine),
            ("GET / HTTP/1.1\n\r\n\r\n", .bareLineEnd),
            ("GET / HTTP/1.1\r\r\n\r\n", .bareLineEnd),
            ("GET /\r\n\r\n", .badRequestLine),
            ("GET /\n\r\n", .bareLineEnd),
            ("GET\r\n\r\n", .badRequestLine),
            ("GET\n", .bareLineEnd),
            ("\n", .bareLineEnd),
            ("GET / HTTP/1.1\n", .bareLineEnd), ("GET / HTTP/\n", .bareLineEnd),
            ("GET / HTTP\n", .badRequestLine),
            ("\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", .badMethod),
            ("\r\n\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", .bareLineEnd),
            ("GET / http/1.1\r\nHost: a\r\n\r\n", .badRequestLine),
            ("GET / HTTP/1,1\r\nHost: a\r\n\r\n", .badRequestLine),
            ("GET / HTTP/11\r\nHost: a\r\n\r\n", .badRequestLine),
            ("GET / HTTP/1.2\r\nHost: a\r\n\r\n", .unsupportedVersion),
            ("GET / HTTP/2.0\r\nHost: a\r\n\r\n", .unsupportedVersion),
            ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", .unsupportedVersion),
            ("GET / HTTP/0.9\r\nHost: a\r\n\r\n", .unsupportedVersion),
            ("GET / HTTP/1.11\r\nHost: a\r\n\r\n", .badRequestLine),
        ])
    func requestLine(text: String, expected: RequestHeadError) {
        #expect(readRequest(text) == .refused(expected))
    }

    @Test(
        "§3.2: a target that is none of the four forms is refused",
        arguments: [
            ("GET /a#b", RequestHeadError.badTarget), ("GET /a\u{e9}", .badTarget),
            ("GET /a\u{7f}", .badTarget),
            ("GET /a\0b", .badTarget), ("GET /?a#b", .badTarget), ("GET a", .badTarget),
            ("GET *", .badTarget),
            ("OPTIONS **", .badTarget), ("OPTIONS *?a", .badTarget), ("GET ?a", .badTarget),
            ("GET ftp://a/", .badTarget), ("GET http:/a", .badTarget), ("GET http://", .badTarget),
            ("GET http:///x", .badTarget), ("GET http://?a/b", .badTarget), ("GET http://u@a/", .badTarget),
            ("GET https://a:99999/", .badTarget), ("OPTIONS http://a", .badTarget), ("GET a:80", .badTarget),
            ("CONNECT a:80", .connectRefused), ("CONNECT /", .connectRefused),
            ("GET http:?//a", .badTarget),
        ])
    func target(start: String, expected: RequestHeadError) {
        #expect(readRequest("\(start) HTTP/1.1\r\nHost: a\r\n\r\n") == .refused(expected))
    }

    @Test(
        "§5, §11.2: a field line that two parsers might read in two ways is refused",
        arguments: [
            ("X : a", RequestHeadError.badFieldName), ("X\t: a", .badFieldName), (": a", .badFieldName),
            ("X", .badFieldName), ("X Y: a", .badFieldName), ("X\u{e9}: a", .badFieldName),
            ("X(: a", .badFieldName), ("X\0: a", .badFieldName), ("X: a\r\n b", .obsoleteFold),
            ("X: a\r\n\tb: c", .obsoleteFold), ("X: a\nY: b", .bareLineEnd), ("X: a\rY: b", .bareLineEnd),
            ("X: a\r\n\nY: b", .bareLineEnd), ("X: a\r\n\rY: b", .bareLineEnd), ("X: a\0", .badFieldValue),
            ("X: a\u{7f}", .badFieldValue), ("X: \u{b}chunked", .badFieldValue),
            ("X: a\u{1b}[m", .badFieldValue),
            ("X:\r\r\n", .bareLineEnd),
        ])
    func fieldLine(line: String, expected: RequestHeadError) {
        #expect(readRequest("GET / HTTP/1.1\r\nHost: a\r\n\(line)\r\n\r\n") == .refused(expected))
        let first = readRequest("GET / HTTP/1.1\r\n\(line)\r\nHost: a\r\n\r\n")
        #expect(first == .refused(expected))
    }

    @Test("§2.2: whitespace before the first field line is refused")
    func leadingWhitespace() {
        #expect(readRequest("GET / HTTP/1.1\r\n Host: a\r\n\r\n") == .refused(.obsoleteFold))
    }

    @Test(
        "§3.2, RFC 9110 §7.2: Host is given once, is valid, and agrees with an absolute target",
        arguments: [
            ("GET / HTTP/1.1", RequestHeadError.missingHost),
            ("GET http://a/ HTTP/1.1", .missingHost),
            ("GET / HTTP/1.1\r\nHost: a\r\nHost: a", .repeatedHost),
            ("GET / HTTP/1.0\r\nHost: a\r\nhOST: b", .repeatedHost),
            ("GET / HTTP/1.1\r\nHost:", .badHost),
            ("GET / HTTP/1.1\r\nHost: a b", .badHost),
            ("GET / HTTP/1.1\r\nHost: a, b", .badHost),
            ("GET / HTTP/1.1\r\nHost: u@a", .badHost),
            ("GET / HTTP/1.1\r\nHost: a/b", .badHost),
            ("GET / HTTP/1.1\r\nHost: a:", .badHost),
            ("GET / HTTP/1.1\r\nHost: a:65536", .badHost),
            ("GET / HTTP/1.1\r\nHost: a:+8", .badHost),
            ("GET / HTTP/1.1\r\nHost: :80", .badHost),
            ("GET / HTTP/1.1\r\nHost: [::1", .badHost),
            ("GET / HTTP/1.1\r\nHost: [a]", .badHost),
            ("GET / HTTP/1.1\r\nHost: a%2eb", .badHost),
            ("GET / HTTP/1.0\r\nHost: a b", .badHost),
            ("GET http://a/ HTTP/1.1\r\nHost: b", .conflictingHost),
            ("GET http://a:80/ HTTP/1.1\r\nHost: a", .conflictingHost),
        ])
    func host(start: String, expected: RequestHeadError) {
        #expect(readRequest("\(start)\r\n\r\n") == .refused(expected))
    }

    @Test(
        "§6: framing that is conflicting, repeated, malformed or unknown is refused",
        arguments: [
            ("Content-Length: ", RequestHeadError.badContentLength),
            ("Content-Length: -1", .badContentLength),
            ("Content-Length: +1", .badContentLength), ("Content-Length: 1,1", .badContentLength),
            ("Content-Length: 1, 1", .badContentLength), ("Content-Length: 0x1", .badContentLength),
            ("Content-Length: 1 2", .badContentLength), ("Content-Length: 1.0", .badContentLength),
            ("Content-Length: 9223372036854775808", .badContentLength),
            ("Content-Length: 18446744073709551616", .badContentLength),
            ("Content-Length: 1\r\nContent-Length: 2", .conflictingContentLength),
            ("Content-Length: 1\r\ncontent-length: 1", .conflictingContentLength),
            ("Content-Length: x\r\nContent-Length: 1", .conflictingContentLength),
            ("Content-Length: 1\r\nTransfer-Encoding: chunked", .badTransferEncoding),
            ("Transfer-Encoding: chunked\r\nContent-Length: 0", .badTransferEncoding),
            ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", .badTransferEncoding),
            ("Transfer-Encoding: identity\r\nTransfer-Encoding: chunked", .badTransferEncoding),
            ("Transfer-Encoding: chunked, chunked", .badTransferEncoding),
            ("Transfer-Encoding: chunked,", .badTransferEncoding),
            ("Transfer-Encoding: ,chunked", .badTransferEncoding),
            ("Transfer-Encoding: chunked, gzip", .badTransferEncoding),
            ("Transfer-Encoding: chunked;q=1", .badTransferEncoding),
            ("Transfer-Encoding: \"chunked\"", .badTransferEncoding),
            ("Transfer-Encoding: xchunked", .badTransferEncoding),
            ("Transfer-Encoding: identity", .badTransferEncoding),
            ("Transfer-Encoding:", .badTransferEncoding),
            ("Transfer-Encoding: gzip, chunked", .unknownTransferCoding),
            ("Transfer-Encoding: gzip, chunked\r\nContent-Length: 1", .unknownTransferCoding),
        ])
    func framing(lines: String, expected: RequestHeadError) {
        #expect(readRequest("POST / HTTP/1.1\r\nHost: a\r\n\(lines)\r\n\r\n") == .refused(expected))
    }

    @Test("§6.1: Transfer-Encoding in HTTP/1.0 is refused", arguments: ["chunked", "gzip, chunked", "gzip"])
    func oldTransferEncoding(value: String) {
        let read = readRequest("POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: \(value)\r\n\r\n")
        #expect(read == .refused(.badTransferEncoding))
    }

    @Test("RFC 9110 §10.1.1: an expectation other than 100-continue is refused")
    func expectation() {
        let read = readRequest("GET / HTTP/1.1\r\nHost: a\r\nExpect: 200-ok\r\n\r\n")
        #expect(read == .refused(.unknownExpectation))
    }

    @Test("RFC 9110 §10.1.1: without a body nobody waits for 100 Continue")
    func idleExpectation() {
        let read = readRequest("GET / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n")
        guard case .complete(let head) = read else {
            Issue.record("not complete")
            return
        }
        #expect(!head.expectsContinue)
    }

    @Test("limits hold to the byte, at once and byte by byte", arguments: [0, 1, 7])
    func limits(step: Int) {
        let line = "GET /" + String(repeating: "a", count: 50) + " HTTP/1.1"
        let text = line + "\r\nHost: a\r\nX: b\r\n\r\n"
        let count = text.utf8.count
        func answer(_ limits: HeadLimits) -> ReadStep<ReadRequest, RequestHeadError> {
            readRequest(text, step: step, limits: limits)
        }
        let fits = answer(HeadLimits(requestLine: line.utf8.count, head: count, fields: 2))
        guard case .complete = fits else {
            Issue.record("refused: \(fits)")
            return
        }
        let longLine = answer(HeadLimits(requestLine: line.utf8.count - 1, head: count, fields: 2))
        #expect(longLine == .refused(.requestLineTooLong))
        let long = answer(HeadLimits(requestLine: 100, head: count - 1, fields: 2))
        #expect(long == .refused(.headTooLarge))
        let many = answer(HeadLimits(requestLine: 100, head: count, fields: 1))
        #expect(many == .refused(.tooManyFields))
    }

    @Test("a request line without end is refused when it passes its limit, not when it ends")
    func endlessLine() {
        let limits = HeadLimits(requestLine: 100, head: 1000, fields: 10)
        let text = "GET /" + String(repeating: "a", count: 98)
        #expect(readRequest(text, limits: limits) == .refused(.requestLineTooLong))
        #expect(readRequest(text, step: 1, limits: limits) == .refused(.requestLineTooLong))
        #expect(readRequest(String(text.dropLast(3)), limits: limits) == .incomplete)
    }

    @Test("a head without end is refused when it passes its limit, not when it ends")
    func endlessHead() {
        let limits = HeadLimits(requestLine: 100, head: 1000, fields: 10)
        let text = "GET / HTTP/1.1\r\nX: " + String(repeating: "a", count: 981)
        #expect(readRequest(text, limits: limits) == .refused(.headTooLarge))
        #expect(readRequest(text, step: 3, limits: limits) == .refused(.headTooLarge))
    }

    @Test("a head that drips in is not parsed again for each byte")
    func linear() {
        var head = RequestHead(fieldCapacity: 4)
        var scanned = 0
        let bytes = Array(("GET / HTTP/1.1\r\nX: " + String(repeating: "a", count: 20000)).utf8)
        for end in 1...bytes.count {
            let step = RequestParser.parse(
                bytes.rawSpan.extracting(0..<end), limits: testLimits, scanned: &scanned, into: &head)
            #expect(step == .incomplete && scanned == end)
        }
    }
}
