import HTTP
import HTTP2
import Memory
import Testing

@Suite("Bytes come in any pieces") struct SplitTests {
    private static let conversation: [UInt8] =
        HTTP2Session.preface.utf8Span.array + Wire.frame(.settings)
        + Wire.headers(
            1, Wire.request("POST", path: "/a", [("cookie", "a=1"), ("cookie", "b=2")]), endsStream: false)
        + Wire.data(1, "hel") + Wire.headers(3, Wire.request(path: "/b")) + Wire.data(1, "lo")
        + Wire.frame(.ping, [1, 2, 3, 4, 5, 6, 7, 8])
        + Wire.headers(1, [("x-sum", "5")])
        + Wire.headers(5, Wire.request("POST", path: "/c"), endsStream: false)
        + Wire.data(5, "bye", endsStream: true) + Wire.frame(.goAway, Wire.big(0) + Wire.big(0))

    /// What a server makes of the conversation: heads, bodies, trailers.
    private func outcome(_ pieces: [[UInt8]]) -> [String: String] {
        let server = Server()
        var told: [String: String] = [:]
        func note(_ stream: StreamID, _ text: String) {
            told["\(server.session.number(stream))", default: ""] += text
        }
        for piece in pieces {
            guard server.receive(piece) == .ok else { return ["failed": ""] }
            for event in server.events() {
                switch event {
                case .request(let stream, _):
                    note(stream, server.readHead(stream).lines.joined(separator: "|") + "\n")
                case .data(let stream, _):
                    note(stream, String(decoding: server.takeBody(stream), as: UTF8.self))
                case .trailers(let stream): note(stream, "\n" + server.readTrailers(stream).lines.joined())
                case .goAway(let code): told["go"] = "\(code)"
                default: told["other"] = "\(event)"
                }
            }
            _ = server.written()
        }
        return told
    }

    private let expected = [
        "1": "POST /a a.example|cookie: a=1; b=2\nhello\nx-sum: 5", "3": "GET /b a.example\n",
        "5": "POST /c a.example\nbye", "go": "0",
    ]

    @Test("One by one") func oneByOne() {
        #expect(outcome(Self.conversation.map { [$0] }) == expected)
    }

    @Test("In two pieces, split anywhere") func twoPieces() {
        for split in 0...Self.conversation.count {
            let parts = [Array(Self.conversation[..<split]), Array(Self.conversation[split...])]
            #expect(outcome(parts) == expected, "split at \(split)")
        }
    }

    @Test("Every prefix is borne, and a session dropped at any point holds nothing back") func prefixes() {
        let pool = BlockPool(limit: 1000)
        let workspace = HTTP2Workspace(keptBytes: 0)
        for end in 0...Self.conversation.count {
            var session = HTTP2Session(settings: Server.settings(), workspace: workspace)
            let step = session.receive(Array(Self.conversation[..<end]).rawSpan, now: 1, pool: pool)
            #expect(step == .ok)
            if case .request(let stream, _) = session.nextEvent() {
                session.beginResponse(status: 200)
                session.submitResponse(stream, endsStream: false)
                session.appendBody(stream, [1, 2, 3].rawSpan, pool: pool)
            }
        }
        let held = (workspace.bytesInUse, pool.outstanding)
        #expect(held == (0, 0))
    }

    @Test("A workspace may go before its sessions") func workspaceFirst() {
        let pool = BlockPool(limit: 10)
        var session: HTTP2Session
        do {
            let workspace = HTTP2Workspace()
            session = HTTP2Session(settings: Server.settings(), workspace: workspace)
        }
        let step = session.receive(Self.conversation.rawSpan, now: 1, pool: pool)
        #expect(step == .ok)
    }

    @Test("An idle connection holds little memory, and a stream gives back what it took") func idleMemory() {
        let workspace = HTTP2Workspace()
        let pool = BlockPool(limit: 64)
        var output = ByteQueue()
        var session = HTTP2Session(settings: Server.settings(), workspace: workspace)
        _ = session.receive(
            (HTTP2Session.preface.utf8Span.array + Wire.frame(.settings)).rawSpan, now: 1, pool: pool)
        _ = session.write(into: &output, pool: pool, limit: 100_000)
        let idle = workspace.bytesInUse
        // nghttp2 keeps one frame of 16 KiB for writing.
        #expect(idle < 27_000, "\(idle)")
        for index in 0..<50 {
            _ = session.receive(
                Wire.headers(UInt32(index * 2 + 1), Wire.request()).rawSpan, now: 1, pool: pool)
            while true {
                let event = session.nextEvent()
                if event == .none { break }
                if case .request(let stream, _) = event {
                    session.beginResponse(status: 200)
                    session.submitResponse(stream, endsStream: true)
                    _ = session.write(into: &output, pool: pool, limit: 100_000)
                }
                if case .closed(let stream) = event { session.release(stream) }
            }
        }
        let grown = workspace.bytesInUse - idle
        #expect(grown < 4096)
    }
}
