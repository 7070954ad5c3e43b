import HTTP
import HTTP2
import Memory

/// A request over HTTP/2 as the server's side has it: its HEADERS frame comes in and is inflated, the head is read, an answer
/// without a body goes out, the stream is closed and let go.
///
/// The frame is the second that our client side writes on a connection, so that what can be in the HPACK table is there
/// already; path and token are literals, in Huffman code. The same bytes serve each turn, with another stream identifier.
struct HTTP2RequestPart: Turning, ~Copyable {
    private let pool = BlockPool(limit: 64)
    private var server: HTTP2Session
    private var isMade = false
    private var head = RequestHead(fieldCapacity: 100)
    private var output = ByteQueue()
    private var frame: [UInt8]
    private let path: [UInt8]
    private let fields: Int
    /// The client used 1 and 3 (RFC 9113 §5.1.1).
    private var number: UInt32 = 3
    private var now: UInt64 = 1_000_000_000

    init(token: Bool, isSpoiled: Bool) {
        let workspace = HTTP2Workspace()
        let settings = HTTP2Settings(head: headLimits)
        var client = HTTP2Session(client: settings, workspace: workspace)
        server = HTTP2Session(settings: settings, workspace: workspace)
        path = Array((isSpoiled ? "/api/v1/documents" : "/api/v1/document").utf8)
        fields = token ? 5 : 4
        frame = []
        isMade = meet(&client, token)
    }

    /// Whether the two sides came to speak, and the client's second request is one HEADERS frame (RFC 9113 §6.2).
    private mutating func meet(_ client: inout HTTP2Session, _ token: Bool) -> Bool {
        var bytes: [UInt8] = []
        var table = FieldTable(capacity: 16)
        let lines = [
            ("user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"),
            ("accept", "application/json"), ("accept-language", "en-US,en;q=0.5"),
            ("accept-encoding", "gzip, deflate, br, zstd"),
        ]
        for (name, value) in lines + (token ? [("authorization", "Bearer " + SampleTokens.all[0])] : []) {
            let start = bytes.count
            bytes += Array(name.utf8)
            let middle = bytes.count
            bytes += Array(value.utf8)
            let line = FieldLine(
                name: ByteRange(start: start, end: middle), value: ByteRange(start: middle, end: bytes.count),
                known: name == "authorization" ? .authorization : .other)
            guard table.append(line) else { return false }
        }
        // SETTINGS each way first: before them the client sends nothing.
        guard HTTP2RequestPart.carry(from: &client, to: &server, pool),
            HTTP2RequestPart.carry(from: &server, to: &client, pool)
        else { return false }
        while client.nextEvent() != .none {}
        for _ in 0..<2 {
            let stream = client.submitRequest(
                method: ("GET" as StaticString).utf8Span, isSecure: true,
                authority: ("api.example.com" as StaticString).utf8Span,
                path: ("/api/v1/document" as StaticString).utf8Span, fields: table, bytes: bytes.rawSpan,
                endsStream: true)
            guard stream != nil else { return false }
            var queue = ByteQueue()
            _ = client.write(into: &queue, pool: pool, limit: 1 << 20)
            frame = queue.array
            guard server.receive(queue.firstBytes, now: now, pool: pool) == .ok, answer() != nil else {
                return false
            }
        }
        return frame.count > 9 && frame[3] == 1
            && Int(frame[0]) << 16 | Int(frame[1]) << 8 | Int(frame[2]) == frame.count - 9
    }

    private static func carry(
        from sender: inout HTTP2Session, to receiver: inout HTTP2Session, _ pool: borrowing BlockPool
    ) -> Bool {
        var queue = ByteQueue()
        _ = sender.write(into: &queue, pool: pool, limit: 1 << 20)
        return receiver.receive(queue.firstBytes, now: 1_000_000_000, pool: pool) == .ok
    }

    mutating func turn(_ turn: Int) -> Bool {
        number &+= 2
        now &+= 10_000
        frame[5] = UInt8(truncatingIfNeeded: number >> 24)
        frame[6] = UInt8(truncatingIfNeeded: number >> 16)
        frame[7] = UInt8(truncatingIfNeeded: number >> 8)
        frame[8] = UInt8(truncatingIfNeeded: number)
        guard isMade, HTTP2RequestPart.receive(frame, by: &server, now: now, pool) else { return false }
        return answer() == true
    }

    private static func receive(
        _ bytes: borrowing [UInt8], by server: inout HTTP2Session, now: UInt64, _ pool: borrowing BlockPool
    ) -> Bool {
        server.receive(bytes.rawSpan, now: now, pool: pool) == .ok
    }

    /// Reads the request that has come, answers it, and lets its stream go: whether the head said what it must, `nil` when
    /// there was none or it could not be answered.
    private mutating func answer() -> Bool? {
        guard case .request(let stream, endsStream: true) = server.nextEvent(),
            server.readHead(stream, into: &head) == nil
        else { return nil }
        let isRight =
            head.fields.count == fields && server.headBytes(stream)[head.path].equals(path.rawSpan)
        server.beginResponse(status: 204)
        server.submitResponse(stream, endsStream: true)
        _ = server.write(into: &output, pool: pool, limit: 65536)
        guard !output.isEmpty else { return nil }
        output.removeAll()
        guard server.nextEvent() == .closed(stream) else { return nil }
        server.release(stream)
        return isRight && server.activeStreams == 0
    }
}
