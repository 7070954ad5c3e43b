import HTTP
import HTTP2
import Memory
import Testing

@Suite("RFC 9113 §10.5 What a hostile client may cost") struct BoundsTests {
    private func goAwayCode(_ server: Server) -> UInt32? {
        server.frames().last { $0.kind == .goAway }?.errorCode
    }

    @Test(
        "CVE-2023-44487: streams made and reset at once end in ENHANCE_YOUR_CALM, and none becomes an exchange"
    )
    func rapidReset() {
        let server = Server(Server.settings { $0.resetsPerSecond = 20 })
        server.begin()
        var code: UInt32?
        var sent = 0
        while code == nil, sent < 100 {
            let number = UInt32(sent * 2 + 1)
            server.receive(Wire.headers(number, Wire.request()) + Wire.reset(number))
            sent += 1
            #expect(server.events() == [])
            code = goAwayCode(server)
        }
        #expect(code == HTTP2ErrorCode.enhanceYourCalm)
        #expect(sent == 21)
        #expect(server.isFinished)
        #expect(server.activeStreams == 0)
    }

    @Test("Resets spread over time are borne")
    func slowResets() {
        let server = Server(Server.settings { $0.resetsPerSecond = 20 })
        server.begin()
        for index in 0..<200 {
            let number = UInt32(index * 2 + 1)
            server.now += 50_000_001
            server.receive(Wire.headers(number, Wire.request()) + Wire.reset(number))
            #expect(server.events() == [])
            #expect(goAwayCode(server) == nil)
        }
        #expect(!server.isFinished)
    }

    @Test("CVE-2025-8671: resets that the client's mistakes draw from us count like its own")
    func drawnResets() {
        let server = Server(Server.settings { $0.resetsPerSecond = 20 })
        server.begin()
        var code: UInt32?
        var sent = 0
        while code == nil, sent < 100 {
            let number = UInt32(sent * 2 + 1)
            // A window past 2^31-1 is an error of the stream (§6.9.1).
            server.receive(
                Wire.headers(number, Wire.request("POST"), endsStream: false)
                    + Wire.frame(.windowUpdate, stream: number, Wire.big(0x7FFF_FFFF)))
            sent += 1
            code = goAwayCode(server)
            for event in server.events() {
                if case .closed(let stream) = event { server.session.release(stream) }
            }
        }
        #expect(code == HTTP2ErrorCode.enhanceYourCalm)
        #expect(sent <= 22)
    }

    @Test(
        "Frames that do nothing are counted",
        arguments: [
            Wire.frame(.ping, [0, 1, 2, 3, 4, 5, 6, 7]), Wire.frame(.settings),
            Wire.frame(.priority, stream: 5, [0, 0, 0, 0, 7]), Wire.frame(.data, stream: 1),
            // Nothing but padding; a byte of window; a type that nobody knows.
            Wire.frame(.data, flags: 8, stream: 1, [0]), Wire.frame(.windowUpdate, Wire.big(1)),
            [0, 0, 3, 0xfa, 0, 0, 0, 0, 0, 1, 2, 3],
        ])
    func idleFrames(frame: [UInt8]) {
        let server = Server(Server.settings { $0.controlFramesPerSecond = 50 })
        server.begin(Wire.headers(1, Wire.request("POST"), endsStream: false))
        var code: UInt32?
        var sent = 0
        while code == nil, sent < 200 {
            server.receive(frame)
            sent += 1
            code = goAwayCode(server)
        }
        #expect(code == HTTP2ErrorCode.enhanceYourCalm)
        #expect(sent >= 49 && sent <= 51)
    }

    @Test("CVE-2019-9512: acknowledgements that are not read do not pile up")
    func pingFlood() {
        let server = Server(Server.settings { $0.maxWaitingAcknowledgements = 10 })
        server.begin()
        let ping = Wire.frame(.ping, [0, 1, 2, 3, 4, 5, 6, 7])
        let step = server.receive((0..<40).flatMap { _ in ping })
        #expect(step == .failed(.flooded))
    }

    @Test("CVE-2024-27316: CONTINUATION frames without end are not read for ever")
    func continuationFlood() {
        let server = Server()
        server.begin(Wire.frame(.headers, flags: 0, stream: 1, Wire.block(Wire.request())))
        var step = ReceiveStep.ok
        var sent = 0
        while step == .ok, !server.isFinished, sent < 100 {
            step = server.receive(Wire.frame(.continuation, stream: 1, Wire.block([("x\(sent)", "1")])))
            sent += 1
            _ = server.frames()
        }
        #expect(sent <= 9)
        #expect(server.events() == [])
    }

    @Test("§10.5.1: a head over the limit is answered, one far over it loses its stream")
    func largeHeads() throws {
        let server = Server()
        let large = (0..<3).map { ("x\($0)", String(repeating: "v", count: 5000)) }
        server.begin(
            Wire.frame(.headers, flags: Wire.endStream, stream: 1, Wire.block(Wire.request() + large))
                + Wire.frame(.continuation, flags: Wire.endHeaders, stream: 1, Wire.block(large)))
        let stream = try #require(server.onlyRequest())
        let read = server.readHead(stream)
        #expect(read.error == .headTooLarge)
        #expect(read.lines[0] == "GET / a.example")
        server.respond(stream, status: 431, endsStream: true)
        #expect(server.frames().contains { $0.kind == .headers && $0.endsStream })

        // An entry of 4,000 bytes in the table, named ten thousand times: 10 KB that mean 40 MB (RFC 7541 §7.3).
        let entry: [UInt8] =
            [0x40, 1, UInt8(ascii: "y")] + Wire.number(4000) + [UInt8](repeating: 118, count: 4000)
        let bomb = Wire.block(Wire.request()) + entry + [UInt8](repeating: 0xBE, count: 10_000)
        server.receive(Wire.frame(.headers, flags: Wire.endStream | Wire.endHeaders, stream: 3, bomb))
        #expect(server.frames().contains { $0.kind == .reset && $0.stream == 3 })
        #expect(!server.events().contains { if case .request = $0 { true } else { false } })
        server.receive(Wire.headers(5, Wire.request()))
        #expect(server.onlyRequest() != nil)
    }

    @Test("§5.1.2: streams beyond the limit are refused, and may be tried again")
    func tooManyStreams() {
        let server = Server(Server.settings { $0.maxConcurrentStreams = 2 })
        server.begin(
            Wire.headers(1, Wire.request()) + Wire.headers(3, Wire.request())
                + Wire.headers(5, Wire.request()))
        #expect(server.events().count == 2)
        let resets = server.frames().filter { $0.kind == .reset }
        #expect(resets.map(\.stream) == [5] && resets.map(\.errorCode) == [HTTP2ErrorCode.refusedStream])
    }

    @Test("Streams that are closed but not released take slots, and no more than there are")
    func unreleased() {
        let server = Server(Server.settings { $0.maxConcurrentStreams = 2 })
        server.begin()
        var refused = 0
        var closed: [StreamID] = []
        for index in 0..<100 {
            server.now += 1_000_000_000
            server.receive(Wire.headers(UInt32(index * 2 + 1), Wire.request()))
            for event in server.events() {
                if case .request(let stream, _) = event { server.respond(stream, endsStream: true) }
            }
            refused += server.frames().filter { $0.errorCodeIfReset == HTTP2ErrorCode.refusedStream }.count
            for event in server.events() { if case .closed(let stream) = event { closed.append(stream) } }
        }
        #expect(closed.count == 66 && refused == 34)
        for stream in closed { server.session.release(stream) }
        #expect(server.activeStreams == 0)
        server.receive(Wire.headers(1001, Wire.request()))
        #expect(server.onlyRequest() != nil)
    }

    @Test("§6.9: a body past the stream's window is a flow-control error")
    func windowOverrun() throws {
        let server = Server(Server.settings { $0.streamWindow = 1000 })
        server.begin(Wire.headers(1, Wire.request("POST"), endsStream: false))
        // The window of SETTINGS holds once they are acknowledged.
        server.receive(Wire.frame(.settings, flags: Wire.ack))
        let chunk = String(repeating: "b", count: 900)
        server.receive(Wire.data(1, chunk) + Wire.data(1, chunk))
        let frames = server.frames()
        #expect(
            frames.contains {
                ($0.kind == .reset || $0.kind == .goAway) && $0.errorCode == HTTP2ErrorCode.flowControlError
            })
    }

    @Test("A pool without blocks starves the stream, and not the connection")
    func starved() throws {
        let server = Server(blocks: 1)
        server.begin(
            Wire.headers(1, Wire.request("POST"), endsStream: false) + Wire.data(1, "one")
                + Wire.headers(3, Wire.request("POST"), endsStream: false)
                + Wire.data(3, "two", endsStream: true))
        var starved: [StreamID] = []
        for event in server.events() { if case .starved(let stream) = event { starved.append(stream) } }
        let stream = try #require(starved.first)
        #expect(starved.count == 1 && server.bodyCount(stream) == 0)
        // Its end may have come: what was thrown away must not make the rest pass for the whole.
        let hasEnded = server.session.hasRequestEnded(stream)
        #expect(!hasEnded)
        // No frame fits into what is left of the pool: nothing is lost by trying.
        var output = ByteQueue()
        let small = server.session.write(into: &output, pool: server.pool, limit: 100_000)
        #expect(small == .outOfBlocks && output.isEmpty)
        let large = BlockPool(limit: 64)
        server.session.beginResponse(status: 503)
        server.session.submitResponse(stream, endsStream: true)
        let step = server.session.write(into: &output, pool: large, limit: 100_000)
        #expect(step == .done)
        let frames = Wire.frames(output.array)
        #expect(frames.contains { $0.kind == .headers && $0.stream == 3 && $0.endsStream })
    }

    @Test(
        "A write stops at its limit and goes on where it stopped, whatever the pool has",
        arguments: [4, 5, 64])
    func writeSteps(blocks: Int) throws {
        let server = Server()
        server.begin(Wire.headers(1, Wire.request()))
        server.receive(
            Wire.frame(.windowUpdate, Wire.big(1 << 20))
                + Wire.frame(.windowUpdate, stream: 1, Wire.big(1 << 20)))
        let stream = try #require(server.onlyRequest())
        server.respond(stream)
        let body = (0..<400_000).map { UInt8(truncatingIfNeeded: $0 / 7) }
        #expect(server.append(stream, body))
        server.session.endBody(stream)
        let pool = BlockPool(limit: blocks)
        var bytes: [UInt8] = []
        var steps: Set<String> = []
        var turns = 0
        while turns < 1000 {
            turns += 1
            var output = ByteQueue()
            let step = server.session.write(into: &output, pool: pool, limit: 20_000)
            #expect(output.byteCount <= 20_000 + 16393)
            bytes += output.array
            steps.insert("\(step)")
            if step == .done { break }
        }
        #expect(steps.contains(blocks == 4 ? "outOfBlocks" : "limitReached"))
        let received = Wire.frames(bytes).filter { $0.kind == .data }.flatMap(\.payload)
        #expect(received == body)
        #expect(server.events() == [.closed(stream)])
    }

    @Test("§4.1: a frame is a block as it was read, with its header in front, as far as windows let it")
    func framesInPlace() throws {
        let server = Server()
        server.begin(Wire.headers(1, Wire.request()) + Wire.frame(.windowUpdate, Wire.big(1 << 20)))
        let stream = try #require(server.onlyRequest())
        server.respond(stream)
        _ = server.written()
        var body = ByteQueue()
        for _ in 0..<2 {
            let read = unsafe body.fillFourUnsafely(from: server.pool) { spaces, count in
                for index in 0..<count {
                    unsafe spaces[index].initializeMemory(as: UInt8.self, repeating: 0x61)
                }
                return 4 * 16256
            }
            #expect(read == 4 * 16256)
        }
        server.session.appendBody(stream, from: &body)
        server.session.endBody(stream)
        var output = ByteQueue()
        let blocked = server.session.write(into: &output, pool: server.pool, limit: .max)
        let first = (Wire.frames(output.array).map(\.payload.count), output.blockCount)
        // The stream's window is 65,535: four blocks, and what is left of it out of the fifth.
        #expect(blocked == .done && first.0 == [16256, 16256, 16256, 16256, 511] && first.1 == 5)
        server.receive(Wire.frame(.windowUpdate, stream: 1, Wire.big(1 << 20)))
        output.removeAll()
        let done = server.session.write(into: &output, pool: server.pool, limit: .max)
        let rest = Wire.frames(output.array)
        let blocks = output.blockCount
        #expect(done == .done && rest.map(\.payload.count) == [15745, 16256, 16256, 16256] && blocks == 4)
        #expect(rest.last?.endsStream == true)
        #expect(rest.allSatisfy { $0.payload.allSatisfy { $0 == 0x61 } })
    }

    @Test("§6.9: small blocks do not make a small window's frames smaller")
    func smallBlocks() throws {
        let server = Server()
        server.begin(Wire.headers(1, Wire.request()))
        server.receive(Wire.frame(.settings, [0, 4] + Wire.big(100)))
        let stream = try #require(server.onlyRequest())
        server.respond(stream)
        let pool = BlockPool(blockBytes: 64 + 53, limit: 100)
        for _ in 0..<20 {
            var piece = ByteQueue()
            let isFilled = piece.append([UInt8](repeating: 0x61, count: 53).rawSpan, from: pool)
            #expect(isFilled)
            server.session.appendBody(stream, from: &piece)
        }
        var counts: [Int] = []
        for _ in 0..<4 {
            counts += server.frames().filter { $0.kind == .data }.map(\.payload.count)
            server.receive(Wire.frame(.windowUpdate, stream: 1, Wire.big(100)))
        }
        #expect(counts == [100, 100, 100, 100])
    }

    @Test(
        "§6.9: whatever a window lets through is sent, be it a byte", arguments: [1, 2, 3, 100, 16384, 16385])
    func smallWindow(size: Int) throws {
        let server = Server()
        server.begin(Wire.headers(1, Wire.request()))
        let setting: [UInt8] = [0, 4] + Wire.big(UInt32(size))
        server.receive(Wire.frame(.settings, setting))
        let stream = try #require(server.onlyRequest())
        server.respond(stream)
        let isTaken = server.append(stream, [UInt8](repeating: 0x61, count: 60000))
        var count = 0
        for _ in 0..<3 {
            let sent = server.frames().filter { $0.kind == .data }.map(\.payload.count).reduce(0, +)
            #expect(sent == size)
            count += sent
            server.receive(Wire.frame(.windowUpdate, stream: 1, Wire.big(UInt32(size))))
        }
        let left = server.outboundCount(stream)
        #expect(isTaken && left == 60000 - count)
    }

    @Test("§3.4: what is no preface fails at once")
    func preface() {
        let server = Server()
        #expect(server.receive(Array("GET / HTTP/1.1\r\n\r\n".utf8)) == .failed(.badPreface))
        // And for good.
        #expect(server.begin() == .failed(.badPreface))
        #expect(server.written() == [] && server.isFinished)
    }

    @Test("§6.5: an error of the whole connection is told by GOAWAY, then all is said")
    func connectionError() {
        let server = Server()
        server.begin()
        #expect(server.receive(Wire.frame(.settings, [0, 3, 0])) == .ok)
        let code = goAwayCode(server)
        #expect(code == HTTP2ErrorCode.frameSizeError)
        #expect(server.isFinished)
    }

    @Test(
        "Errors that nghttp2 lets pass end the connection with their code, and what follows them is not read",
        arguments: [
            // §4.2: a CONTINUATION longer than any frame may be.
            (
                Wire.frame(.headers, flags: Wire.endStream, stream: 1, Wire.block(Wire.request()))
                    + Wire.frame(
                        .continuation, flags: Wire.endHeaders, stream: 1,
                        Wire.block([("x", String(repeating: "v", count: 16379))])),
                HTTP2ErrorCode.frameSizeError
            ),
            // §6.3
            (Wire.frame(.priority, stream: 0, [0, 0, 0, 1, 15]), HTTP2ErrorCode.protocolError),
            // §5.1.1: streams that were passed over.
            (
                Wire.headers(5, Wire.request(), endsStream: false) + Wire.headers(3, Wire.request()),
                HTTP2ErrorCode.protocolError
            ),
            (
                Wire.headers(3, Wire.request(), endsStream: false) + Wire.headers(1, Wire.request()),
                HTTP2ErrorCode.protocolError
            ),
        ])
    func letPass(bytes: [UInt8], code: UInt32) {
        let server = Server()
        #expect(server.begin(bytes) == .ok)
        let before = server.events().count
        #expect(server.receive(Wire.headers(101, Wire.request())) == .ok)
        #expect(server.events() == [])
        #expect(before <= 1)
        let frames = server.frames()
        #expect(frames.last?.kind == .goAway && frames.last?.errorCode == code)
        #expect(server.isFinished)
    }

    @Test("§5.1: HEADERS on a stream that was opened and is closed are no error of the connection")
    func closedStreams() throws {
        let server = Server()
        server.begin(Wire.headers(1, Wire.request()) + Wire.headers(7, Wire.request()))
        for case .request(let stream, _) in server.events() { server.respond(stream, endsStream: true) }
        _ = server.frames()
        for case .closed(let stream) in server.events() { server.session.release(stream) }
        server.receive(Wire.headers(1, [("x", "late")]) + Wire.headers(9, Wire.request()))
        #expect(server.onlyRequest() != nil)
        #expect(!server.frames().contains { $0.kind == .goAway })
    }

    @Test("§6.8: GOAWAY of the client is told with its code")
    func goAway() {
        let server = Server()
        server.begin(Wire.frame(.goAway, Wire.big(0) + Wire.big(11)))
        #expect(server.events() == [.goAway(errorCode: 11)])
    }

    @Test(
        "A session that naps between any two bytes says and hears the same as one that does not, whether it or another is the pattern",
        arguments: [false, true])
    func naps(anotherWasFirst: Bool) {
        let napping = Server(sessions: 2)
        let plain = Server()
        // The first of a workspace that naps is what all are told apart from: here one with other limits and in another state.
        var another = HTTP2Session(
            settings: Server.settings {
                $0.decoderTable = 512
                $0.encoderTable = 256
                $0.maxConcurrentStreams = 7
                $0.streamWindow = 70_000
            }, workspace: napping.workspace)
        if anotherWasFirst {
            swap(&another, &napping.session)
            napping.begin(
                Wire.headers(1, Wire.request())
                    + Wire.headers(9, Wire.request(path: "/nine", [("x-some", "no")])))
            for case .request(let stream, _) in napping.events() { napping.respond(stream, endsStream: true) }
            _ = napping.written()
            for case .closed(let stream) in napping.events() { napping.session.release(stream) }
            let naps = napping.session.nap()
            #expect(naps)
            swap(&another, &napping.session)
        }
        var naps = 0
        func both(_ bytes: [UInt8]) {
            for byte in bytes {
                let steps = (napping.receive([byte]), plain.receive([byte]))
                #expect(steps.0 == steps.1)
                let events = (napping.events(), plain.events())
                #expect(events.0 == events.1)
                for event in events.0 {
                    switch event {
                    case .request(let stream, _):
                        let heads = (napping.readHead(stream).lines, plain.readHead(stream).lines)
                        #expect(heads.0 == heads.1)
                        for each in [napping, plain] {
                            each.session.beginResponse(status: 200)
                            // What is put into the table must be there after a nap.
                            each.session.addField("x-path", Array(heads.0[0].utf8).rawSpan)
                            each.session.submitResponse(stream, endsStream: true)
                        }
                    case .closed(let stream):
                        for each in [napping, plain] { each.session.release(stream) }
                    default: break
                    }
                }
                let written = (napping.written(), plain.written())
                #expect(written.0 == written.1)
                let closed = (napping.events(), plain.events())
                #expect(closed.0 == closed.1)
                for case .closed(let stream) in closed.0 {
                    for each in [napping, plain] { each.session.release(stream) }
                }
                if napping.session.nap() { naps += 1 }
                let isAsleep = napping.session.isAsleep
                #expect(isAsleep == (napping.activeStreams == 0))
            }
        }
        both(HTTP2Session.preface.utf8Span.array + Wire.frame(.settings))
        for index in 0..<20 {
            both(
                Wire.headers(
                    UInt32(index * 2 + 1), Wire.request(path: "/\(index % 3)", [("x-some", "\(index)")]))
                    + Wire.frame(.ping, [1, 2, 3, 4, 5, 6, 7, UInt8(index)]))
        }
        #expect(naps > 1000)
        napping.session.goAway()
        plain.session.goAway()
        let last = (napping.written(), plain.written())
        #expect(last.0 == last.1 && !last.0.isEmpty)
        if anotherWasFirst {
            swap(&another, &napping.session)
            napping.receive(
                Wire.frame(.ping, [8, 7, 6, 5, 4, 3, 2, 1]) + Wire.headers(11, Wire.request(path: "/late")))
            guard let stream = napping.onlyRequest() else {
                Issue.record("no request behind the nap")
                return
            }
            #expect(napping.readHead(stream).lines.first?.contains("/late") == true)
            #expect(napping.frames().contains { $0.kind == .ping && $0.payload == [8, 7, 6, 5, 4, 3, 2, 1] })
        }
    }

    @Test(
        "Sessions of one workspace share the buffer in which frames are laid out, and none spoils another's",
        arguments: 0...16)
    func sharedFrameBuffer(held: Int) {
        let server = Server(blocks: 24)
        var other = HTTP2Session(settings: Server.settings(), workspace: server.workspace)
        server.begin(
            Wire.headers(1, Wire.request()) + Wire.frame(.windowUpdate, stream: 1, Wire.big(1 << 20)))
        guard let stream = server.onlyRequest() else {
            Issue.record("no request")
            return
        }
        _ = server.written()
        let body = (0..<60000).map { UInt8(truncatingIfNeeded: $0 &* 31) }
        server.respond(stream)
        #expect(server.append(stream, body))
        server.session.endBody(stream)
        // So many blocks are gone that the frames stop at some place: within one call into nghttp2, or between two.
        var hostages = FixedQueue<Block>(capacity: 24)
        for _ in 0..<held {
            if let block = server.pool.take() { _ = hostages.push(block) }
        }
        var output = ByteQueue()
        var step = server.session.write(into: &output, pool: server.pool, limit: 1 << 20)
        // The other session writes frames of another kind and length into the same buffer.
        _ = other.receive(
            (HTTP2Session.preface.utf8Span.array + Wire.frame(.settings)
                + Wire.frame(.ping, [9, 9, 9, 9, 9, 9, 9, 9]))
                .rawSpan, now: server.now, pool: server.pool)
        let roomy = BlockPool(limit: 64)
        var others = ByteQueue()
        _ = other.write(into: &others, pool: roomy, limit: 1 << 20)
        #expect(Wire.frames(others.array).contains { $0.kind == .ping })
        while hostages.pop() != nil {}
        var bytes = output.array
        output.removeAll()
        while step == .outOfBlocks {
            step = server.session.write(into: &output, pool: server.pool, limit: 1 << 20)
            bytes += output.array
            output.removeAll()
        }
        #expect(step == .done)
        let frames = Wire.frames(bytes).filter { $0.kind == .data && $0.stream == 1 }
        let whole = frames.flatMap { $0.payload }
        #expect(whole == body)
        #expect(frames.last?.endsStream == true)
    }
}

extension Wire.Frame {
    fileprivate var errorCodeIfReset: UInt32? { kind == .reset ? errorCode : nil }
}
