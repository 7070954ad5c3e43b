import HTTP
import HTTP2
import Memory
import Testing

@Suite("RFC 8441 Bootstrapping WebSockets with HTTP/2") struct ConnectTests {
    static let head = [
        (":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "https"), (":authority", "a.example"),
        (":path", "/chat?room=1"), ("sec-websocket-version", "13"),
    ]

    static func without(_ name: String) -> [(String, String)] { head.filter { $0.0 != name } }
    static func with(_ name: String, _ value: String) -> [(String, String)] { head + [(name, value)] }

    static let malformedHeads: [[(String, String)]] = [
        without(":scheme"), without(":path"), without(":authority"),
        [(":method", "GET")] + without(":method"),
        with(":protocol", "websocket"), with("upgrade", "websocket"), with("connection", "upgrade"),
    ]

    @Test("§3: SETTINGS_ENABLE_CONNECT_PROTOCOL is announced with the first SETTINGS") func setting() throws {
        let server = Server()
        server.begin()
        let first = try #require(server.frames().first)
        #expect(first.kind == .settings && first.flags == 0)
        var values: [Int: UInt32] = [:]
        for offset in stride(from: 0, to: first.payload.count, by: 6) {
            values[Int(first.payload[offset]) << 8 | Int(first.payload[offset + 1])] = Wire.word(
                first.payload, offset + 2)
        }
        #expect(values[8] == 1)
    }

    @Test("§4: an Extended CONNECT for a WebSocket is a request without a body") func connect() throws {
        let server = Server()
        server.begin(Wire.headers(1, ConnectTests.head, endsStream: false))
        let stream = try #require(server.onlyRequest())
        let read = server.readHead(stream)
        #expect(read.error == nil)
        #expect(
            read.lines == ["CONNECT /chat a.example", "?room=1", "sec-websocket-version: 13"])
        #expect(server.head.asksWebSocket && server.head.method == .connect)
        #expect(server.head.framing == .none && server.head.webSocketKey.isEmpty)
    }

    @Test("§4: any other request asks for none") func others() throws {
        let server = Server()
        server.begin(Wire.headers(1, ConnectTests.head, endsStream: false))
        let first = try #require(server.onlyRequest())
        _ = server.readHead(first)
        server.receive(Wire.headers(3, Wire.request("GET", [("sec-websocket-version", "13")])))
        let second = try #require(server.onlyRequest())
        let read = server.readHead(second)
        #expect(read.error == nil && !server.head.asksWebSocket)
    }

    @Test(
        "§4: a head that lacks a pseudo-field, repeats :protocol or has it without CONNECT is a stream error",
        arguments: ConnectTests.malformedHeads)
    func malformed(fields: [(String, String)]) {
        let server = Server()
        server.begin(Wire.headers(1, fields, endsStream: false))
        #expect(server.events() == [])
        let resets = server.frames().filter { $0.kind == .reset }
        #expect(resets.map(\.errorCode) == [HTTP2ErrorCode.protocolError])
    }

    @Test("§5: in a tunnel the end of our bytes leaves the client's coming; without one they are thrown away")
    func halfClosed() throws {
        for isTunnel in [true, false] {
            let server = Server()
            server.begin(Wire.headers(1, ConnectTests.head, endsStream: false))
            let stream = try #require(server.onlyRequest())
            _ = server.frames()
            server.session.beginResponse(status: 200)
            server.session.submitResponse(stream, endsStream: false)
            if isTunnel { server.session.openTunnel(stream) }
            server.session.endBody(stream)
            let ends = server.frames().filter { $0.endsStream && $0.stream == 1 }
            #expect(ends.count == 1)
            server.receive(Wire.data(1, "more", endsStream: false))
            let waiting = server.session.bodyCount(stream)
            #expect(waiting == (isTunnel ? 4 : 0))
            server.receive(Wire.data(1, "", endsStream: true))
            let hasEnded = server.session.hasRequestEnded(stream)
            #expect(hasEnded)
            #expect(server.events().last == .closed(stream))
            // What has come can still be taken until the stream is let go of.
            var taken = ByteQueue()
            let count = server.session.takeBody(stream, into: &taken, limit: 100, pool: server.pool)
            #expect(count == (isTunnel ? 4 : 0))
            taken.removeAll()
            server.session.release(stream)
        }
    }
}
