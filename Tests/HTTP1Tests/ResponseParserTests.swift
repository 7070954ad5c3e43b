import HTTP
import HTTP1
import Memory
import Testing

private let goodHeads: [(String, HTTP.Method, ReadResponse)] = [
    (
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", .get,
        ReadResponse(framing: .length(5), fields: ["Content-Length: 5"])
    ),
    (
        "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", .get,
        ReadResponse(framing: .length(0), fields: ["Content-Length: 0"])
    ),
    ("HTTP/1.1 404 \r\n\r\n", .get, ReadResponse(status: 404, framing: .close, isPersistent: false)),
    (
        "HTTP/1.1 200 Tr\u{e8}s bien\t!\r\nTransfer-Encoding: Chunked\r\nConnection: close\r\n\r\n", .post,
        ReadResponse(
            framing: .chunked, isPersistent: false,
            fields: ["Transfer-Encoding: Chunked", "Connection: close"])
    ),
    (
        "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\n", .get,
        ReadResponse(
            version: .http10, framing: .length(5), isPersistent: false, fields: ["Content-Length: 5"])
    ),
    (
        "HTTP/1.0 200 OK\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\n", .get,
        ReadResponse(
            version: .http10, framing: .length(5), fields: ["Content-Length: 5", "Connection: keep-alive"])
    ),
    ("HTTP/1.1 100 Continue\r\n\r\n", .post, ReadResponse(status: 100)),
    (
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n", .get,
        ReadResponse(status: 101, fields: ["Upgrade: websocket", "Connection: Upgrade"])
    ),
    (
        "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\nA: b\r\n\r\n", .get,
        ReadResponse(status: 204, fields: ["A: b"])
    ),
    (
        "HTTP/1.1 204 No Content\r\nContent-Length: 7\r\n\r\n", .get,
        ReadResponse(status: 204, isPersistent: false)
    ),
    (
        "HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n", .get,
        ReadResponse(status: 304, fields: ["Content-Length: 7"])
    ),
    ("HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n", .head, ReadResponse(fields: ["Content-Length: 7"])),
    ("HTTP/1.1 200 OK\r\n\r\n", .head, ReadResponse()),
]

@Suite("RFC 9112 §4, §6.3, §9.3: response heads") struct ResponseParserTests {
    @Test("a good head is read whole, in pieces of any size", arguments: goodHeads)
    func good(text: String, method: HTTP.Method, expected: ReadResponse) {
        var expected = expected
        expected.byteCount = text.utf8.count
        for step in 0..<text.utf8.count {
            let read = readResponse(text, to: method, step: step)
            #expect(read == .complete(expected), "pieces of \(step) bytes")
        }
        let followed = readResponse(text + "body\0", to: method)
        #expect(followed == .complete(expected))
    }

    @Test("every prefix of a good head is incomplete", arguments: goodHeads)
    func prefixes(text: String, method: HTTP.Method, expected: ReadResponse) {
        var prefix = ""
        for scalar in text.unicodeScalars {
            #expect(readResponse(prefix, to: method) == .incomplete, "prefix \(prefix)")
            prefix.unicodeScalars.append(scalar)
        }
    }

    @Test(
        "a head that may be read in two ways is refused",
        arguments: [
            ("HTTP/1.1  200 OK\r\n", ResponseHeadError.badStatusLine),
            ("HTTP/1.1 20 OK\r\nA: b\r\n", .badStatusLine),
            ("HTTP/1.1 2000 OK\r\n", .badStatusLine), ("HTTP/1.1 099 OK\r\n", .badStatusLine),
            ("HTTP/1.1 600 OK\r\n", .badStatusLine), ("HTTP/1.1 +20 OK\r\n", .badStatusLine),
            ("HTTP/1.1\t200 OK\r\n", .badStatusLine), ("http/1.1 200 OK\r\n", .badStatusLine),
            ("HTTP/1.2 200 OK\r\n", .unsupportedVersion), ("HTTP/2.0 200 OK\r\n", .unsupportedVersion),
            ("HTTP/11 200 OKAY\r\n", .badStatusLine), ("ICY 200 OK\r\n", .badStatusLine),
            ("\r\n", .badStatusLine),
            ("HTTP/1.1 200 O\0K\r\n", .badStatusLine), ("HTTP/1.1 200 OK\n\r\n", .bareLineEnd),
            ("HTTP/1.1 200\nX: y\r\n", .bareLineEnd), ("HTTP/1.1 200 OK\r\r\n", .bareLineEnd),
            ("HTTP/1.1 200 OK\r\n A: b\r\n", .obsoleteFold),
            ("HTTP/1.1 200 OK\r\nA: b\r\n c\r\n", .obsoleteFold),
            ("HTTP/1.1 200 OK\r\nA : b\r\n", .badFieldName), ("HTTP/1.1 200 OK\r\nAb\r\n", .badFieldName),
            ("HTTP/1.1 200 OK\r\nA: \u{1}\r\n", .badFieldValue),
            ("HTTP/1.1 200 OK\r\nA: b\nB: c\r\n", .bareLineEnd),
            ("HTTP/1.1 200 OK\r\nContent-Length: a\r\n", .badContentLength),
            ("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n", .conflictingContentLength),
            ("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n", .badTransferEncoding),
            ("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n", .badTransferEncoding),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n", .badTransferEncoding),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n", .unknownTransferCoding),
            ("HTTP/1.1 304 OK\r\nTransfer-Encoding: gzip\r\n", .badTransferEncoding),
        ])
    func refused(text: String, expected: ResponseHeadError) {
        #expect(readResponse(text + "\r\n") == .refused(expected))
    }

    @Test("limits hold to the byte") func limits() {
        let text = "HTTP/1.1 200 OK\r\nA: b\r\nC: d\r\n\r\n"
        let count = text.utf8.count
        func answer(_ head: Int, _ fields: Int) -> ReadStep<ReadResponse, ResponseHeadError> {
            readResponse(text, step: 3, limits: HeadLimits(requestLine: 5, head: head, fields: fields))
        }
        guard case .complete = answer(count, 2) else {
            Issue.record("refused")
            return
        }
        #expect(answer(count - 1, 2) == .refused(.headTooLarge))
        #expect(answer(count, 1) == .refused(.tooManyFields))
    }
}
