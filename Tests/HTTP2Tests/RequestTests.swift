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
        #expect(server.session.nextEvent() == .none)
        let (lines, error) = server.readHead(stream)
        #expect(error == nil)
        #expect(lines == ["GET /a/b a.example", "?c=d", "accept: text/html"])
        #expect(server.head.method == .get && server.head.version == .http2 && server.head.framing == .none)
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
        #expect(server.session.activeStreams == 0)
    }
}
