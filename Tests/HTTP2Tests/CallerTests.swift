import HTTP
import HTTP2
import Memory
import Testing

/// A client's session of ours, with the pool and the clock of its worker; the service is written by hand.
final class Caller {
    let workspace = HTTP2Workspace(keptBytes: 0)
    let pool = BlockPool(limit: 1000)
    var session: HTTP2Session
    var head = ResponseHead(fieldCapacity: 64)
    var now: UInt64 = 1_000_000_000

    init(_ change: (inout HTTP2Settings) -> Void = { _ in }) {
        session = HTTP2Session(client: Server.settings(change), workspace: workspace)
    }

    @discardableResult func receive(_ bytes: [UInt8]) -> ReceiveStep {
        session.receive(bytes.rawSpan, now: now, pool: pool)
    }

    /// The service's SETTINGS, with a bound on streams where one is given.
    func greet(streams: UInt32? = nil, window: UInt32? = nil) {
        var payload: [UInt8] = []
        if let streams { payload += [0, 3] + Wire.big(streams) }
        if let window { payload += [0, 4] + Wire.big(window) }
        receive(Wire.frame(.settings, payload))
    }

    func events() -> [HTTP2Event] {
        var all: [HTTP2Event] = []
        while true {
            let event = session.nextEvent()
            if event == .none { return all }
            all.append(event)
        }
    }

    func written() -> [UInt8] {
        var output = ByteQueue()
        _ = session.write(into: &output, pool: pool, limit: 1 << 20)
        return output.array
    }

    /// Frames behind the preface, if that was not written before.
    func frames() -> [Wire.Frame] {
        let bytes = written()
        let preface = HTTP2Session.preface.utf8Span.array
        return Wire.frames(bytes.starts(with: preface) ? Array(bytes.dropFirst(preface.count)) : bytes)
    }

    func ask(_ method: String = "GET", _ fields: [(String, String)] = [], endsStream: Bool = true)
        -> StreamID?
    {
        var table = FieldTable(capacity: 32)
        var bytes: [UInt8] = []
        for (name, value) in fields {
            let start = bytes.count
            bytes += Array(name.utf8) + Array(value.utf8)
            let middle = start + name.utf8.count
            let line = FieldLine(
                name: ByteRange(start: start, end: middle), value: ByteRange(start: middle, end: bytes.count),
                known: FieldNames.classify(ByteRange(start: start, end: middle), of: bytes.rawSpan))
            _ = table.append(line)
        }
        return session.submitRequest(
            method: Array(method.utf8).rawSpan, isSecure: false, authority: Array("a.example".utf8).rawSpan,
            path: Array("/p?q".utf8).rawSpan, fields: table, bytes: bytes.rawSpan, endsStream: endsStream)
    }

    func read(_ stream: StreamID, _ method: Method = .get) -> ResponseHeadError? {
        session.readResponse(stream, requestMethod: method, into: &head)
    }

    func takeBody(_ stream: StreamID) -> [UInt8] {
        var queue = ByteQueue()
        _ = session.takeBody(stream, into: &queue, limit: .max, pool: pool)
        return queue.array
    }

    func interim(_ stream: StreamID) -> Int? {
        guard var block = pool.take() else { return nil }
        return session.takeInterim(stream, into: &head, bytes: &block) ? head.status : nil
    }

    var room: Int { session.requestRoom }
    var isClosing: Bool { session.isClosing }
    var isFinished: Bool { session.isFinished }
    var isPingWaiting: Bool { session.isPingWaiting }
    func wasWritten(_ stream: StreamID) -> Bool { session.wasWritten(stream) }
    func wasResetByPeer(_ stream: StreamID) -> Bool { session.wasResetByPeer(stream) }
    func hasEnded(_ stream: StreamID) -> Bool { session.hasRequestEnded(stream) }
}

private let ok = [(":status", "200")]

@Suite("A client's session of HTTP/2") struct CallerTests {
    @Test("§3.4: the preface comes first, and no request before the service's SETTINGS")
    func preface() throws {
        let caller = Caller()
        let none = caller.ask()
        #expect(none == nil && caller.room == 0)
        let bytes = caller.written()
        #expect(bytes.starts(with: HTTP2Session.preface.utf8Span.array))
        #expect(Wire.frames(Array(bytes.dropFirst(24))).first?.kind == .settings)
        caller.greet()
        #expect(caller.events() == [.settings])
        #expect(caller.room == 100)
    }

    @Test("Many sessions of one workspace each write their own preface, whoever writes first")
    func prefaces() {
        let workspace = HTTP2Workspace()
        let pool = BlockPool(limit: 100)
        var first = HTTP2Session(client: Server.settings(), workspace: workspace)
        var second = HTTP2Session(client: Server.settings(), workspace: workspace)
        var output = ByteQueue()
        _ = second.write(into: &output, pool: pool, limit: 1 << 20)
        output.removeAll()
        _ = first.write(into: &output, pool: pool, limit: 1 << 20)
        let bytes = output.array
        #expect(bytes.starts(with: HTTP2Session.preface.utf8Span.array))
    }

    @Test("§8.1: a request goes out with its body and trailers, and the answer comes back with its own")
    func exchange() throws {
        let caller = Caller()
        let server = Server()
        caller.receive(server.written())
        let stream = try #require(
            caller.ask(
                "POST", [("X-Upper", "Kept"), ("Connection", "x"), ("TE", "trailers")], endsStream: false))
        _ = caller.session.appendBody(stream, Array("body".utf8).rawSpan, pool: caller.pool)
        caller.session.beginTrailers()
        caller.session.addField("x-sum", "1")
        let noFields = FieldTable(capacity: 0)
        caller.session.submitTrailers(stream, fields: noFields, bytes: RawSpan())
        #expect(!caller.wasWritten(stream))
        server.receive(caller.written())
        #expect(caller.wasWritten(stream))
        let request = try #require(server.onlyRequest())
        let head = server.readHead(request)
        #expect(head.error == nil)
        #expect(head.lines == ["POST /p a.example", "?q", "x-upper: Kept", "te: trailers"])
        #expect(server.takeBody(request) == Array("body".utf8))
        #expect(server.readTrailers(request).lines == ["x-sum: 1"])
        server.respond(request)
        _ = server.append(request, Array("answer".utf8))
        server.session.endBody(request)
        caller.receive(server.written())
        let events = caller.events()
        #expect(events.first == .settings)
        #expect(events.contains(.response(stream, endsStream: false)))
        #expect(events.contains(.data(stream, endsStream: true)) && events.last == .closed(stream))
        let error = caller.read(stream)
        #expect(error == nil && caller.head.status == 200 && caller.head.framing == .stream)
        #expect(caller.takeBody(stream) == Array("answer".utf8))
        caller.session.release(stream)
        #expect(caller.room == 100)
    }

    @Test("An answer fed byte for byte says the same as one fed at once")
    func splits() throws {
        let bytes =
            Wire.headers(1, [(":status", "103"), ("link", "a")], endsStream: false)
            + Wire.headers(1, [(":status", "103"), ("link", "b")], endsStream: false)
            + Wire.headers(1, ok + [("content-length", "5")], endsStream: false) + Wire.data(1, "he")
            + Wire.data(1, "llo") + Wire.headers(1, [("x-sum", "9")])
        for step in [1, 2, 7, bytes.count] {
            let caller = Caller()
            caller.greet()
            let stream = try #require(caller.ask())
            _ = caller.written()
            var interims: [Int] = []
            for start in stride(from: 0, to: bytes.count, by: step) {
                caller.receive(Array(bytes[start..<min(start + step, bytes.count)]))
                for event in caller.events() where event == .interim(stream) {
                    while let status = caller.interim(stream) { interims.append(status) }
                }
            }
            let error = caller.read(stream)
            #expect(interims == [103, 103])
            #expect(error == nil && caller.head.framing == .length(5))
            #expect(caller.takeBody(stream) == Array("hello".utf8))
            var trailers = FieldTable(capacity: 8)
            let refusal = caller.session.readTrailers(stream, into: &trailers)
            #expect(refusal == nil && trailers.count == 1)
            #expect(caller.hasEnded(stream))
        }
    }

    @Test("§5.1.2: the service's bound on streams is kept, and moves with its SETTINGS")
    func bound() throws {
        let caller = Caller()
        caller.greet(streams: 2)
        let first = try #require(caller.ask())
        _ = caller.ask()
        let third = caller.ask()
        #expect(third == nil && caller.room == 0)
        _ = caller.written()
        caller.greet(streams: 3)
        #expect(caller.room == 1)
        caller.greet(streams: 0)
        #expect(caller.room == 0)
        caller.greet(streams: 2)
        caller.receive(Wire.headers(1, ok))
        #expect(caller.events().contains(.closed(first)))
        #expect(caller.room == 1)
    }

    @Test("§6.8: GOAWAY refuses what is above its last stream, and only that")
    func goAway() throws {
        let caller = Caller()
        caller.greet()
        let low = try #require(caller.ask())
        let high = try #require(caller.ask())
        _ = caller.written()
        _ = caller.events()
        caller.receive(Wire.frame(.goAway, Wire.big(1) + Wire.big(0)))
        let events = caller.events()
        #expect(
            events == [
                .goAway(errorCode: 0), .reset(high, errorCode: HTTP2ErrorCode.refusedStream), .closed(high),
            ])
        #expect(!caller.wasResetByPeer(high) && caller.isClosing && caller.room == 0)
        caller.receive(Wire.headers(1, ok))
        #expect(caller.events() == [.response(low, endsStream: true), .closed(low)])
        _ = caller.written()
        #expect(caller.isFinished)
    }

    @Test("§8.7: a stream that the service refuses is told with its code")
    func refusedStream() throws {
        let caller = Caller()
        caller.greet()
        let stream = try #require(caller.ask())
        _ = caller.written()
        _ = caller.events()
        caller.receive(Wire.reset(1, HTTP2ErrorCode.refusedStream))
        #expect(
            caller.events() == [
                .reset(stream, errorCode: HTTP2ErrorCode.refusedStream), .closed(stream),
            ])
        #expect(caller.wasResetByPeer(stream))
    }

    @Test("§5.2: a body waits for the service's window, and goes on with its credit")
    func window() throws {
        let caller = Caller()
        caller.greet(window: 10)
        let stream = try #require(caller.ask("POST", endsStream: false))
        _ = caller.session.appendBody(stream, [UInt8](repeating: 7, count: 25).rawSpan, pool: caller.pool)
        caller.session.endBody(stream)
        func bytes() -> Int {
            caller.frames().filter { $0.kind == .data }.reduce(0) { $0 + $1.payload.count }
        }
        #expect(bytes() == 10)
        #expect(bytes() == 0)
        caller.receive(Wire.frame(.windowUpdate, stream: 1, Wire.big(10)))
        #expect(bytes() == 10)
        caller.receive(Wire.frame(.windowUpdate, stream: 1, Wire.big(100)))
        #expect(bytes() == 5)
    }

    @Test("§5.2: the service's credit comes back as its bytes are taken, not before")
    func credit() throws {
        let caller = Caller()
        caller.greet()
        let stream = try #require(caller.ask())
        _ = caller.written()
        caller.receive(Wire.headers(1, ok, endsStream: false))
        // The window is 65,535 until our SETTINGS have been acknowledged.
        for count in [16384, 16384, 16384, 16383] {
            caller.receive(Wire.data(1, String(repeating: "d", count: count)))
        }
        func updates() -> [UInt32] {
            caller.frames().filter { $0.kind == .windowUpdate && $0.stream == 1 }.map(\.number)
        }
        #expect(updates().isEmpty)
        let taken = caller.takeBody(stream)
        #expect(taken.count == 65535)
        caller.session.returnCredit(stream, taken.count)
        #expect(updates() == [65535])
    }

    @Test(
        "§8.1.1, §8.2, §8.3: a malformed answer resets its stream, and nothing of it is handed on",
        arguments: [
            Wire.headers(1, [("x-a", "1")]), Wire.headers(1, [(":status", "200"), ("connection", "close")]),
            Wire.headers(1, [(":status", "200"), ("transfer-encoding", "chunked")]),
            Wire.headers(1, [(":status", "200"), (":status", "200")]),
            Wire.headers(1, [(":status", "200"), ("X-Upper", "1")]),
            Wire.headers(1, [(":status", "200"), ("content-length", "5")]),
            Wire.headers(1, [(":status", "200"), ("content-length", "1")], endsStream: false)
                + Wire.data(1, "four", endsStream: true),
            Wire.headers(1, [(":status", "103")]),
            Wire.data(1, "no head", endsStream: true),
        ])
    func malformed(bytes: [UInt8]) throws {
        let caller = Caller()
        caller.greet()
        let stream = try #require(caller.ask())
        _ = caller.written()
        caller.receive(bytes)
        let isReset = caller.frames().contains { $0.kind == .reset || $0.kind == .goAway }
        #expect(isReset)
        let events = caller.events()
        let isTold = events.contains { if case .reset(stream, _) = $0 { true } else { false } }
        #expect(isTold || caller.isFinished)
        #expect(!events.contains(.data(stream, endsStream: true)))
    }

    @Test(
        "What nghttp2 lets pass is refused when the head is read",
        arguments: [
            ([(":status", "600")], ResponseHeadError.badStatusLine), ([(":status", "099")], .badStatusLine),
            ([(":status", "200"), ("x-a", "a\u{1}")], .badFieldValue),
        ] as [([(String, String)], ResponseHeadError)])
    func strict(fields: [(String, String)], expected: ResponseHeadError) throws {
        let caller = Caller()
        caller.greet()
        let stream = try #require(caller.ask())
        _ = caller.written()
        caller.receive(Wire.headers(1, fields))
        guard caller.events().contains(.response(stream, endsStream: true)) else {
            // Refused by nghttp2 after all, which is as good.
            #expect(caller.frames().contains { $0.kind == .reset })
            return
        }
        let error = caller.read(stream)
        #expect(error == expected)
    }

    @Test("§15.2 of RFC 9110 sets no bound on interim answers; we do")
    func interimFlood() throws {
        let caller = Caller()
        caller.greet()
        let stream = try #require(caller.ask())
        _ = caller.written()
        for _ in 0..<100 { caller.receive(Wire.headers(1, [(":status", "103")], endsStream: false)) }
        let resets = caller.frames().filter { $0.kind == .reset }
        #expect(resets.map(\.errorCode) == [HTTP2ErrorCode.enhanceYourCalm])
        let isTold = caller.events().contains(.reset(stream, errorCode: HTTP2ErrorCode.enhanceYourCalm))
        #expect(isTold)
    }

    @Test("§6.7: a PING is waited for until it is answered; a flood of them ends the connection")
    func pings() {
        let caller = Caller()
        caller.greet()
        caller.session.sendPing()
        let ping = caller.frames().first { $0.kind == .ping }
        #expect(ping != nil && caller.isPingWaiting)
        caller.receive(Wire.frame(.ping, flags: Wire.ack, ping?.payload ?? []))
        #expect(!caller.isPingWaiting)
        for _ in 0..<20 {
            for _ in 0..<100 { caller.receive(Wire.frame(.ping, [UInt8](repeating: 0, count: 8))) }
            _ = caller.written()
        }
        #expect(caller.isFinished)
    }

    @Test("§8.4: a promise of the service breaks the connection, since push is off")
    func push() throws {
        let caller = Caller()
        caller.greet()
        _ = caller.ask()
        _ = caller.written()
        caller.receive(
            Wire.frame(
                .pushPromise, flags: Wire.endHeaders, stream: 1, Wire.big(2) + Wire.block(Wire.request())))
        #expect(caller.frames().contains { $0.kind == .goAway })
        #expect(caller.isFinished)
    }

    @Test("A stream that is cancelled before it was written leaves nothing behind")
    func cancelled() throws {
        let caller = Caller()
        caller.greet()
        _ = caller.written()
        _ = caller.events()
        let stream = try #require(caller.ask("POST", endsStream: false))
        caller.session.resetStream(stream, errorCode: HTTP2ErrorCode.cancel)
        let kinds = caller.frames().map(\.kind)
        #expect(!kinds.contains(.headers) || kinds.contains(.reset))
        #expect(caller.events() == [.closed(stream)])
        caller.session.release(stream)
        #expect(caller.room == 100)
    }
}
