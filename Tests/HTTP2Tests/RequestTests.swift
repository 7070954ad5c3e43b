import HTTP
import HTTP2
import Memory
import Testing

@Suite("RFC 9113 §8 Requests") struct RequestTests {
    @Test("§8.1: a request without a body is one event, and its head is what was sent")
    func plain() throws {
        let server = Server()
        server.begin(Wire.headers(1, Wire.request(path: "/a/b?c=d", [("accept", "text/html")])))
        let event = server.session.nextEvent()
        guard case .request(let stream, let ends) = event else {
            Issue.record("no request: \(event)")
            return
        }
        #expect(ends)
        #expect(server.next == .none)
        let (lines, error) = server.readHead(stream)
        #expect(error == nil)
        #expect(lines == ["GET /a/b a.example", "?c=d", "accept: text/html"])
        #expect(server.framing == .none)
        let method = server.head.method
        #expect(method == .get)
    }

    @Test("§8.1: a response of head, body and trailers is written in that order")
    func response() throws {
        let server = Server()
        server.begin(Wire.headers(1, Wire.request()))
        let stream = try #require(server.onlyRequest())
        _ = server.frames()
        server.respond(stream)
        #expect(server.append(stream, Array("hello".utf8)))
        server.session.beginTrailers()
        server.session.addField("x-sum", "5")
        let none = FieldTable(capacity: 0)
        server.session.submitTrailers(stream, fields: none, bytes: RawSpan())
        let frames = server.frames()
        #expect(frames.map(\.kind) == [.headers, .data, .headers])
        #expect(frames.map(\.endsStream) == [false, false, true])
        #expect(frames[1].payload == Array("hello".utf8))
        #expect(server.events() == [.closed(stream)])
        server.session.release(stream)
        #expect(server.activeStreams == 0)
    }
}

@Suite("RFC 9113 §8.2, §8.3 What a head may say") struct HeadTests {
    private func read(_ fields: [(String, String)], endsStream: Bool = true) throws -> (
        lines: [String], error: RequestHeadError?, server: Server
    ) {
        let server = Server()
        server.begin(Wire.headers(1, fields, endsStream: endsStream))
        let stream = try #require(server.onlyRequest())
        let (lines, error) = server.readHead(stream)
        return (lines, error, server)
    }

    @Test("§8.2.3: cookie crumbs become one line, joined by a semicolon and a space")
    func cookies() throws {
        let (lines, error, _) = try read(
            Wire.request("GET", [("cookie", "a=1"), ("x-b", "2"), ("cookie", "c=3"), ("cookie", "d=4")]))
        #expect(error == nil)
        #expect(lines == ["GET / a.example", "cookie: a=1; c=3; d=4", "x-b: 2"])
        let single = try read(Wire.request("GET", [("cookie", "a=1")]))
        #expect(single.lines == ["GET / a.example", "cookie: a=1"])
        let empty = try read(Wire.request("GET", [("cookie", ""), ("cookie", "")]))
        #expect(empty.lines == ["GET / a.example", "cookie: ; "])
    }

    @Test("§8.3.1: Host stands in for :authority, and may repeat it in another case")
    func host() throws {
        let alone = try read([
            (":method", "GET"), (":scheme", "http"), (":path", "/"), ("host", "b.example:81"),
        ])
        #expect(alone.error == nil && alone.lines[0] == "GET / b.example:81")
        let both = try read(Wire.request("GET", [("host", "A.EXAMPLE")]))
        #expect(both.error == nil && both.lines[0] == "GET / a.example")
    }

    @Test("RFC 9110 §8.6: the framing is the length if one is told, else the stream's end")
    func framing() throws {
        let length = try read(Wire.request("POST", [("content-length", "5")]), endsStream: false)
        #expect(length.server.framing == .length(5))
        let open = try read(Wire.request("POST"), endsStream: false)
        #expect(open.server.framing == .stream)
        let zero = try read(Wire.request("POST", [("content-length", "0")]))
        #expect(zero.server.framing == .length(0))
        let none = try read(Wire.request("POST"))
        #expect(none.server.framing == BodyFraming.none)
        let expects = try read(Wire.request("POST", [("expect", "100-Continue")]), endsStream: false)
        let isExpecting = expects.server.head.expectsContinue
        #expect(isExpecting)
    }

    @Test(
        "§8.2, §8.3: heads that are answered with an error of their own",
        arguments: [
            (Wire.request("GET", [("host", "b.example")]), RequestHeadError.conflictingHost),
            (Wire.request(authority: "u:p@a.example"), .badHost),
            (Wire.request(authority: "a.example:x"), .badHost),
            (Wire.request(authority: "[::1"), .badHost),
            (Wire.request(path: "/a#b"), .badTarget),
            (Wire.request(path: "/a?b#c"), .badTarget),
            ([(":method", "GET"), (":scheme", "ftp"), (":authority", "a"), (":path", "/")], .badPseudoField),
            ([(":method", "CONNECT"), (":authority", "a.example:443")], .connectRefused),
            (
                [
                    (":method", "CONNECT"), (":protocol", "connect-udp"), (":scheme", "https"),
                    (":authority", "a.example"), (":path", "/"),
                ], .connectRefused
            ),
            (
                [
                    (":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "https"),
                    (":authority", "a.example"), (":path", "/"), ("content-length", "0"),
                ], .badContentLength
            ),
            (Wire.request("GET", [("expect", "magic")]), .unknownExpectation),
            (Wire.request("GET", [("http2-settings", "AAA")]), .connectionField),
            (Wire.request("GET", [("a b", "1")]), .badFieldName),
            (Wire.request("GET", [("a:b", "1")]), .badFieldName),
            (Wire.request("GET", [("a\u{0}b", "1")]), .badFieldName),
            (Wire.request("GET", [("x", "a\u{0}b")]), .badFieldValue),
            (Wire.request("GET", [("x", "a\rb")]), .badFieldValue),
            (Wire.request("GET", [("x", "a\nb")]), .badFieldValue),
            (Wire.request("GET", [("x", " a")]), .badFieldValue),
            (Wire.request("GET", [("x", "a\t")]), .badFieldValue),
            (Wire.request("GET", [("host", "a b")]), .badFieldValue),
            (Wire.request(path: "/" + String(repeating: "p", count: 4000)), .requestLineTooLong),
            (Wire.request("GET", (0..<65).map { ("x\($0)", "1") }), .headTooLarge),
            (Wire.request("GET", [("x", String(repeating: "v", count: 12000))]), .headTooLarge),
        ] as [([(String, String)], RequestHeadError)])
    func answered(fields: [(String, String)], expected: RequestHeadError) throws {
        let (_, error, server) = try read(fields)
        #expect(error == expected)
        // The connection lives: the stream is answered, and the next one served.
        server.receive(Wire.headers(3, Wire.request(path: "/next")))
        let next = try #require(server.onlyRequest())
        let again = server.readHead(next)
        #expect(again.error == nil && again.lines == ["GET /next a.example"])
    }

    /// Values are looked at by sixteen bytes, eight, or each: `CNghttp2.c`.
    @Test(
        "§8.2.1: one byte makes a value bad wherever it stands, in a value of any length",
        arguments: [1, 2, 7, 8, 9, 15, 16, 17, 31, 32, 33, 47, 48, 49, 64, 65, 100])
    func valueBytes(length: Int) throws {
        let server = Server()
        server.begin()
        var number: UInt32 = 1
        for place in 0..<length {
            for byte in [0x00, 0x08, 0x09, 0x0A, 0x0D, 0x1F, 0x20, 0x21, 0x7E, 0x7F] as [UInt8] {
                var value = [UInt8](repeating: UInt8(ascii: "a"), count: length)
                value[place] = byte
                server.receive(
                    Wire.headers(
                        number, Wire.request("GET", [("x", String(decoding: value, as: UTF8.self))])))
                let stream = try #require(server.onlyRequest())
                let isSpace = byte == 0x20 || byte == 0x09
                let isBad =
                    byte == 0x7F || byte < 0x20 && byte != 0x09
                    || isSpace && (place == 0 || place == length - 1)
                #expect(
                    server.readHead(stream).error == (isBad ? .badFieldValue : nil), "\(byte) at \(place)")
                server.session.resetStream(stream, errorCode: HTTP2ErrorCode.cancel)
                _ = server.written()
                for event in server.events() {
                    if case .closed(let stream) = event { server.session.release(stream) }
                }
                number += 2
            }
        }
    }

    @Test("§8.2.1: bytes above ASCII are no part of what is forbidden", arguments: [1, 4, 8, 9, 40])
    func valueAboveASCII(count: Int) throws {
        let (_, error, _) = try read(Wire.request("GET", [("x", String(repeating: "\u{FC}", count: count))]))
        #expect(error == nil)
    }

    @Test(
        "§8.1.1: malformed heads end with RST_STREAM(PROTOCOL_ERROR), and are told as what they are",
        arguments: [
            [(":method", "GET"), (":scheme", "https"), (":authority", "a")],
            [(":method", "GET"), (":path", "/"), (":authority", "a")],
            [(":scheme", "https"), (":path", "/"), (":authority", "a")],
            [(":method", "GET"), (":scheme", "https"), (":path", "/")],
            [(":method", "GET"), (":scheme", "https"), (":authority", "a"), (":path", "")],
            [(":method", "GET"), (":scheme", "https"), (":authority", "a"), (":path", "x")],
            [(":method", "GET"), (":scheme", "https"), (":authority", "a"), (":path", "*")],
            [(":method", "GET"), (":scheme", "https"), (":authority", "a"), (":path", "/ x")],
            [(":method", "G T"), (":scheme", "https"), (":authority", "a"), (":path", "/")],
            Wire.request() + [(":method", "GET")],
            Wire.request() + [(":status", "200")],
            Wire.request("GET", [("x", "1"), (":path", "/")]),
            Wire.request("GET", [("Accept", "1")]),
            Wire.request("GET", [("connection", "close")]),
            Wire.request("GET", [("keep-alive", "1")]),
            Wire.request("GET", [("proxy-connection", "1")]),
            Wire.request("GET", [("transfer-encoding", "chunked")]),
            Wire.request("GET", [("upgrade", "h2c")]),
            Wire.request("GET", [("te", "gzip")]),
            Wire.request("GET", [("content-length", "1x")]),
            Wire.request("GET", [("content-length", "99999999999999999999")]),
            Wire.request("GET", [("content-length", "0"), ("content-length", "0")]),
            Wire.request("GET", [("content-length", "5")]),
            Wire.request("GET", [("host", "a.example"), ("host", "a.example")]),
            Wire.request("GET", [(":protocol", "websocket")]),
        ] as [[(String, String)]])
    func malformed(fields: [(String, String)]) throws {
        let server = Server()
        server.begin(Wire.headers(1, fields))
        #expect(server.events() == [])
        let resets = server.frames().filter { $0.kind == .reset }
        #expect(resets.map(\.errorCode) == [HTTP2ErrorCode.protocolError])
        let events = server.events()
        guard case .malformed(let stream) = events.first else {
            Issue.record("not told: \(events)")
            return
        }
        #expect(events == [.malformed(stream), .closed(stream)])
        // Nothing can be said on it any more.
        server.respond(stream, status: 400, endsStream: true)
        #expect(server.frames() == [])
        #expect(server.refusedHeads == 1 && server.activeStreams == 1)
        server.session.release(stream)
        #expect(server.activeStreams == 0)
        server.receive(Wire.headers(3, Wire.request()))
        #expect(server.onlyRequest() != nil)
    }

    @Test("§8.1.1: of a malformed head, what stood before the mistake can be read")
    func malformedHead() throws {
        let server = Server()
        server.begin(Wire.headers(1, Wire.request(path: "/seen", [("connection", "close")])))
        _ = server.frames()
        guard case .malformed(let stream) = server.next else {
            Issue.record("not told")
            return
        }
        #expect(server.readHead(stream).lines == ["GET /seen a.example"])
    }

    @Test("§8.1.1: a body that is not as long as content-length says ends the stream", arguments: [3, 7])
    func contentLength(told: Int) throws {
        let server = Server()
        server.begin(
            Wire.headers(1, Wire.request("POST", [("content-length", "\(told)")]), endsStream: false))
        let stream = try #require(server.onlyRequest())
        server.receive(Wire.data(1, "12345", endsStream: true))
        #expect(!server.events().contains(.data(stream, endsStream: true)))
        let resets = server.frames().filter { $0.kind == .reset }
        #expect(resets.map(\.errorCode) == [HTTP2ErrorCode.protocolError])
        #expect(
            server.events() == [.reset(stream, errorCode: HTTP2ErrorCode.protocolError), .closed(stream)])
        #expect(!server.isResetByPeer(stream))
    }

    @Test(
        "§8.1: trailers with pseudo-fields, connection fields or bad bytes end the stream",
        arguments: [(":path", "/"), ("connection", "x"), ("a b", "1"), ("x", "\u{0}")])
    func badTrailers(field: (String, String)) throws {
        let server = Server()
        server.begin(Wire.headers(1, Wire.request("POST"), endsStream: false))
        let stream = try #require(server.onlyRequest())
        server.receive(Wire.data(1, "x") + Wire.headers(1, [field]))
        _ = server.frames()
        let events = server.events()
        #expect(!events.contains(.trailers(stream)))
        #expect(events.last == .closed(stream))
    }

    @Test("RFC 6585 §5: trailers over the limit are told as such")
    func largeTrailers() throws {
        let server = Server()
        server.begin(Wire.headers(1, Wire.request("POST"), endsStream: false))
        let stream = try #require(server.onlyRequest())
        server.receive(Wire.headers(1, (0..<65).map { ("x\($0)", "1") }))
        #expect(server.events() == [.trailers(stream)])
        #expect(server.readTrailers(stream).error == .headTooLarge)
    }

    @Test("A released head holds no bytes, and what follows of the stream still arrives")
    func releasedHead() throws {
        let server = Server()
        server.begin(Wire.headers(1, Wire.request("POST"), endsStream: false))
        let stream = try #require(server.onlyRequest())
        server.session.releaseHead(stream)
        #expect(server.headCount(stream) == 0)
        #expect(server.readHead(stream).error == .badPseudoField)
        server.receive(Wire.data(1, "abc", endsStream: true))
        #expect(server.events() == [.data(stream, endsStream: true)])
        #expect(server.takeBody(stream) == Array("abc".utf8))
    }
}
