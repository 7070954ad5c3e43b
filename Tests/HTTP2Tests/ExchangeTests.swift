import HTTP
import HTTP2
import Memory
import Testing

/// A server and a client of another make, and the wire between them.
private struct Pair {
    let server: Server
    let client: Client

    init(_ settings: HTTP2Settings = Server.settings(), client: Client = Client(), keptBytes: Int = 0) {
        server = Server(settings, keptBytes: keptBytes)
        self.client = client
    }

    /// Carries bytes until both are silent; what `serve` answers to events is carried too.
    func run(_ serve: (HTTP2Event) -> Void = { _ in }) {
        var isQuiet = false
        while !isQuiet {
            let up = client.written()
            if !up.isEmpty { server.receive(up) }
            // One by one: an answer to an event may take back the next.
            while true {
                let event = server.next
                if event == .none { break }
                serve(event)
            }
            let down = server.written()
            if !down.isEmpty { #expect(client.receive(down)) }
            isQuiet = up.isEmpty && down.isEmpty
        }
    }
}

private func pattern(_ count: Int, _ seed: Int) -> [UInt8] {
    (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ $0 >> 8 &+ seed) }
}

@Suite("RFC 9113 §8.1 Exchanges with a client of another make") struct ExchangeTests {
    @Test("A request with a body and trailers arrives whole; so does the answer", arguments: [0, 1 << 20])
    func wholeExchange(keptBytes: Int) {
        let pair = Pair(keptBytes: keptBytes)
        let server = pair.server
        let number = pair.client.request(
            Wire.request("POST", path: "/up", [("x-a", "1")]), body: pattern(100_000, 1),
            trailers: [("x-sum", "77")])
        var body: [UInt8] = []
        var trailers: [String] = []
        pair.run { event in
            switch event {
            case .request(let stream, let ends):
                #expect(!ends)
                let read = server.readHead(stream)
                #expect(read.error == nil && read.lines == ["POST /up a.example", "x-a: 1"])
                #expect(server.framing == .stream)
                server.session.setToken(stream, 42)
            case .data(let stream, let ends):
                #expect(!ends)
                let taken = server.takeBody(stream)
                body += taken
                server.session.returnCredit(stream, taken.count)
            case .trailers(let stream):
                #expect(server.token(stream) == 42)
                trailers = server.readTrailers(stream).lines
                server.session.beginResponse(status: 103)
                server.session.addField("link", "</a>")
                server.session.submitInterim(stream)
                server.session.beginResponse(status: 201)
                server.session.addField("X-Request-ID", "abc", isIndexed: false)
                server.session.submitResponse(stream, endsStream: false)
                #expect(server.append(stream, pattern(70_000, 2)))
                server.session.beginTrailers()
                server.session.addField("x-check", "5")
                server.session.submitTrailers(stream, fields: FieldTable(capacity: 0), bytes: RawSpan())
            case .closed(let stream): server.session.release(stream)
            case .drained: break
            default: Issue.record("unexpected \(event)")
            }
        }
        let answer = pair.client.streams[number]
        #expect(body == pattern(100_000, 1))
        #expect(trailers == ["x-sum: 77"])
        #expect(answer?.fields == [":status: 103", "link: </a>", ":status: 201", "x-request-id: abc"])
        #expect(answer?.body == pattern(70_000, 2))
        #expect(answer?.trailers == ["x-check: 5"])
        #expect(answer?.closeCode == 0)
        #expect(server.activeStreams == 0)
        #expect(server.blocksOut == 0)
    }

    @Test("§5.1.2: a hundred streams at once do not mix up their bodies")
    func interleaved() {
        let pair = Pair()
        let server = pair.server
        var numbers: [Int32] = []
        for index in 0..<100 {
            numbers.append(
                pair.client.request(
                    Wire.request("POST", path: "/\(index)"), body: pattern(3000 + index * 40, index)))
        }
        var bodies: [Int32: [UInt8]] = [:]
        pair.run { event in
            switch event {
            case .data(let stream, let ends):
                let taken = server.takeBody(stream, limit: 4000)
                bodies[server.session.number(stream), default: []] += taken
                server.session.returnCredit(stream, taken.count)
                if ends {
                    let rest = server.takeBody(stream)
                    let number = server.session.number(stream)
                    bodies[number, default: []] += rest
                    server.respond(stream)
                    #expect(server.append(stream, bodies[number] ?? []))
                    server.session.endBody(stream)
                }
            case .closed(let stream): server.session.release(stream)
            default: break
            }
        }
        for (index, number) in numbers.enumerated() {
            let expected = pattern(3000 + index * 40, index)
            #expect(bodies[number] == expected)
            #expect(pair.client.streams[number]?.body == expected)
        }
        #expect(server.activeStreams == 0 && server.blocksOut == 0)
    }

    @Test("A response table is sent without its dropped lines and those about the connection (§8.2.2)")
    func responseTable() throws {
        let pair = Pair()
        let number = pair.client.request(Wire.request())
        let text = "Server: s\nConnection: x\nX-Gone: 1\nSet-Cookie: k=v\n"
        var fields = FieldTable(capacity: 8)
        let bytes = Array(text.utf8)
        func line(_ name: Int, _ value: Range<Int>, _ count: Int, _ known: KnownField) -> FieldLine {
            FieldLine(
                name: ByteRange(start: name, end: name + count),
                value: ByteRange(start: value.lowerBound, end: value.upperBound), known: known)
        }
        _ = fields.append(line(0, 8..<9, 6, .server))
        _ = fields.append(line(10, 22..<23, 10, .connection))
        _ = fields.append(line(24, 32..<33, 6, .other))
        _ = fields.append(line(34, 46..<49, 10, .other))
        fields.drop(2)
        var isSent = false
        pair.run { event in
            guard case .request(let stream, _) = event else { return }
            pair.server.session.beginResponse(status: 204)
            pair.server.session.addField("via", "2 g")
            isSent = pair.server.session.submitResponse(
                stream, fields: fields, bytes: bytes.rawSpan, endsStream: true)
        }
        #expect(isSent)
        #expect(
            pair.client.streams[number]?.fields == [
                ":status: 204", "server: s", "set-cookie: k=v", "via: 2 g",
            ])
        #expect(pair.client.streams[number]?.hasEnded == true)
    }

    @Test("§5.2: a download stops at the client's window and goes on with its credit")
    func downloadWindow() throws {
        let pair = Pair(client: Client(automaticWindow: false, window: 1000))
        let server = pair.server
        let number = pair.client.request(Wire.request())
        var stream: StreamID?
        pair.run { event in
            if case .request(let made, _) = event {
                stream = made
                server.respond(made)
                #expect(server.append(made, pattern(60_000, 3)))
                #expect(server.isFull(made))
                server.session.endBody(made)
            }
        }
        let made = try #require(stream)
        #expect(pair.client.streams[number]?.body.count == 1000)
        #expect(server.outboundCount(made) == 59_000)
        var drained = 0
        var given = 0
        while pair.client.streams[number]?.hasEnded == false, given < 100 {
            pair.client.consume(number, 1000)
            given += 1
            pair.run { event in if event == .drained(made) { drained += 1 } }
        }
        #expect(pair.client.streams[number]?.body == pattern(60_000, 3))
        #expect(drained == 1)
    }

    @Test("§5.2: an upload stops at the stream's window until credit is returned; the connection goes on")
    func uploadWindow() throws {
        let pair = Pair()
        let server = pair.server
        let slow = pair.client.request(Wire.request("POST", path: "/slow"), body: pattern(200_000, 4))
        var stream: StreamID?
        pair.run { event in if case .request(let made, _) = event { stream = made } }
        let made = try #require(stream)
        #expect(server.bodyCount(made) == 65536)
        // 20 more uploads of 60,000 bytes pass the connection window of 1 MiB only because its credit comes back.
        var finished = 0
        for index in 0..<20 {
            pair.client.request(Wire.request("POST", path: "/\(index)"), body: pattern(60_000, index))
            pair.run { event in
                switch event {
                case .data(let other, let ends):
                    if ends, other != made {
                        #expect(server.takeBody(other) == pattern(60_000, index))
                        server.respond(other, endsStream: true)
                        finished += 1
                    }
                case .closed(let other): server.session.release(other)
                default: break
                }
            }
        }
        #expect(finished == 20)
        var body: [UInt8] = []
        var hasEnded = false
        while !hasEnded {
            let taken = server.takeBody(made)
            #expect(!taken.isEmpty)
            body += taken
            server.session.returnCredit(made, taken.count)
            // What was not received cannot be credited.
            server.session.returnCredit(made, 1 << 30)
            pair.run { event in if event == .data(made, endsStream: true) { hasEnded = true } }
            if taken.isEmpty { break }
        }
        body += server.takeBody(made)
        #expect(body == pattern(200_000, 4))
        server.respond(made, endsStream: true)
        pair.run()
        #expect(pair.client.streams[slow]?.closeCode == 0)
    }

    @Test("§8.1: an answer before the request has ended is followed, a while later, by RST_STREAM(NO_ERROR)")
    func earlyAnswer() throws {
        let pair = Pair()
        let server = pair.server
        let number = pair.client.request(Wire.request("POST"), body: pattern(2_000_000, 5))
        var isClosed = false
        pair.run { event in
            switch event {
            case .request(let stream, _):
                server.session.discardBody(stream)
                server.respond(stream, status: 413)
                #expect(server.append(stream, Array("too large".utf8)))
                server.session.endBody(stream)
            case .closed(let stream):
                isClosed = true
                #expect(server.bodyCount(stream) == 0)
                server.session.release(stream)
            default: Issue.record("unexpected \(event)")
            }
        }
        #expect(isClosed)
        #expect(pair.client.streams[number]?.fields == [":status: 413"])
        #expect(pair.client.streams[number]?.body == Array("too large".utf8))
        #expect(pair.client.streams[number]?.hasEnded == true)
        #expect(pair.client.streams[number]?.closeCode == 0)
        // The connection lives on, its window whole.
        for _ in 0..<30 {
            let next = pair.client.request(Wire.request("POST"), body: pattern(60_000, 6))
            pair.run { event in
                switch event {
                case .data(let stream, let ends): if ends { server.respond(stream, endsStream: true) }
                case .closed(let stream): server.session.release(stream)
                default: break
                }
            }
            #expect(pair.client.streams[next]?.fields == [":status: 200"])
        }
        #expect(server.blocksOut == 0)
    }

    @Test("§6.8: GOAWAY in two steps loses no request and ends the connection when the last is answered")
    func drain() throws {
        let pair = Pair()
        let server = pair.server
        let first = pair.client.request(Wire.request())
        var streams: [StreamID] = []
        pair.run { event in if case .request(let stream, _) = event { streams.append(stream) } }
        // Under way while the notice is: it is served.
        let second = pair.client.request(Wire.request())
        let underWay = pair.client.written()
        server.session.shutdownNotice()
        #expect(pair.client.receive(server.written()))
        #expect(!server.isFinished)
        server.receive(underWay)
        for event in server.events() { if case .request(let stream, _) = event { streams.append(stream) } }
        #expect(streams.count == 2)
        server.session.goAway()
        pair.run()
        #expect(pair.client.goAways == [0, 0])
        #expect(!server.isFinished)
        for stream in streams { server.respond(stream, endsStream: true) }
        pair.run()
        #expect(server.isFinished)
        #expect(pair.client.streams[first]?.closeCode == 0)
        #expect(pair.client.streams[second]?.closeCode == 0)
        #expect(!pair.client.wantsToGoOn)
    }

    @Test("§6.4: RST_STREAM of the client is told, and closes the stream")
    func resetByClient() throws {
        let pair = Pair(client: Client(automaticWindow: false))
        let number = pair.client.request(Wire.request("POST"), body: pattern(100_000, 7))
        var events: [HTTP2Event] = []
        var stream: StreamID?
        pair.run { event in
            if case .request(let made, _) = event {
                stream = made
                pair.server.respond(made)
                #expect(pair.server.append(made, pattern(300_000, 8)))
            }
        }
        let made = try #require(stream)
        #expect(pair.server.outboundCount(made) > 0)
        pair.client.reset(number, HTTP2ErrorCode.cancel)
        pair.run { events.append($0) }
        #expect(events == [.reset(made, errorCode: HTTP2ErrorCode.cancel), .closed(made)])
        #expect(pair.server.isResetByPeer(made))
        // Every call on a closed stream is harmless.
        #expect(!pair.server.append(made, [1]))
        pair.server.session.endBody(made)
        pair.server.session.resetStream(made, errorCode: 2)
        pair.server.session.returnCredit(made, 10)
        #expect(pair.server.takeBody(made).count > 0)
        pair.server.session.release(made)
        #expect(!pair.server.contains(made))
        #expect(pair.server.blocksOut == 0)
    }

    @Test("§6.4: RST_STREAM of ours closes the stream on both sides, and is not told as a reset")
    func resetByServer() throws {
        let pair = Pair()
        let number = pair.client.request(Wire.request("POST"), body: pattern(100_000, 9))
        var events: [HTTP2Event] = []
        pair.run { event in
            if case .request(let made, _) = event {
                pair.server.respond(made)
                #expect(pair.server.append(made, pattern(10, 8)))
                pair.server.session.resetStream(made, errorCode: HTTP2ErrorCode.internalError)
                pair.server.session.resetStream(made, errorCode: HTTP2ErrorCode.cancel)
                #expect(!pair.server.append(made, [1]))
            } else {
                events.append(event)
            }
        }
        #expect(events.count == 1)
        #expect(pair.client.streams[number]?.closeCode == HTTP2ErrorCode.internalError)
    }

    @Test("A small answer does not wait for the end of a large one before it")
    func turns() throws {
        let server = Server()
        server.begin(
            Wire.frame(.windowUpdate, Wire.big(1 << 24)) + Wire.headers(1, Wire.request())
                + Wire.frame(.windowUpdate, stream: 1, Wire.big(1 << 24)) + Wire.headers(3, Wire.request()))
        for event in server.events() {
            guard case .request(let stream, _) = event else { continue }
            server.respond(stream)
            #expect(server.append(stream, pattern(server.session.number(stream) == 1 ? 300_000 : 40_000, 1)))
            server.session.endBody(stream)
        }
        let order = server.frames().filter { $0.kind == .data }.map(\.stream)
        let end = try #require(order.lastIndex(of: 3))
        #expect(end < 7, "\(order)")
    }

    @Test("A field that never repeats arrives with each response, its name as an index from the fifth on")
    func uniqueField() throws {
        let pair = Pair()
        let server = pair.server
        var weights: [Int] = []
        for index in 0..<140 {
            let number = pair.client.request(Wire.request())
            server.receive(pair.client.written())
            let value = "018f9b7e-\(1000 + index)"
            for event in server.events() {
                guard case .request(let stream, _) = event else { continue }
                server.session.beginResponse(status: 200 + index * 5)
                server.session.addUniqueField("X-Request-ID", Array(value.utf8).rawSpan)
                server.session.submitResponse(stream, endsStream: true)
            }
            let bytes = server.written()
            weights.append(Wire.frames(bytes).first { $0.kind == .headers }?.payload.count ?? 0)
            #expect(pair.client.receive(bytes))
            for event in server.events() {
                if case .closed(let stream) = event { server.session.release(stream) }
            }
            let fields = pair.client.streams[number]?.fields
            #expect(fields == [":status: \(200 + index * 5)", "x-request-id: \(value)"])
        }
        // The name is nine bytes and its length. A status beyond the static table pushes others out of the peer's table.
        for index in 4..<140 { #expect(weights[index] + 7 <= weights[3] || index & 63 == 3, "\(index)") }
    }

    @Test("§8.2: names that stand in most heads arrive in lower case, like all others")
    func frequentNames() {
        let pair = Pair()
        let server = pair.server
        let number = pair.client.request(Wire.request())
        let head = Array("Content-LENGTHDateSERVERX-Other0".utf8)
        pair.run { event in
            guard case .request(let stream, _) = event else { return }
            var fields = FieldTable(capacity: 4)
            for (start, end) in [(0, 14), (14, 18), (18, 24), (24, 31)] {
                let name = ByteRange(start: start, end: end)
                let known = FieldNames.classify(name, of: head.rawSpan)
                let value = start == 0 ? ByteRange(start: 31, end: 32) : ByteRange(start: 14, end: 18)
                _ = fields.append(FieldLine(name: name, value: value, known: known))
            }
            server.session.beginResponse(status: 200)
            server.session.submitResponse(stream, fields: fields, bytes: head.rawSpan, endsStream: true)
        }
        #expect(
            pair.client.streams[number]?.fields == [
                ":status: 200", "content-length: 0", "date: Date", "server: Date", "x-other: Date",
            ])
    }

    @Test("A response head that cannot be sent resets its stream")
    func hugeResponse() throws {
        let pair = Pair()
        let server = pair.server
        let number = pair.client.request(Wire.request())
        var events: [HTTP2Event] = []
        pair.run { event in
            guard case .request(let stream, _) = event else {
                events.append(event)
                return
            }
            let value = [UInt8](repeating: 118, count: 60_000)
            server.session.beginResponse(status: 200)
            for _ in 0..<6 { server.session.addField("x-large", value.rawSpan) }
            server.session.submitResponse(stream, endsStream: true)
        }
        #expect(events.count == 2)
        #expect(pair.client.streams[number]?.closeCode == HTTP2ErrorCode.internalError)
    }
}
