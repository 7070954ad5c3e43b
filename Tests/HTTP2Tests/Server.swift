import HTTP
import HTTP2
import Memory

/// The session under test, with the pool and the clock of its worker.
final class Server {
    let workspace: HTTP2Workspace
    let pool: BlockPool
    var session: HTTP2Session
    var now: UInt64 = 1_000_000_000
    var head = RequestHead(fieldCapacity: 64)

    static func settings(_ change: (inout HTTP2Settings) -> Void = { _ in }) -> HTTP2Settings {
        var settings = HTTP2Settings(head: HeadLimits(requestLine: 4000, head: 12000, fields: 64))
        change(&settings)
        return settings
    }

    init(
        _ settings: HTTP2Settings = Server.settings(), blocks: Int = 4096, keptBytes: Int = 0,
        sessions: Int = 0
    ) {
        workspace = HTTP2Workspace(keptBytes: keptBytes, sessions: sessions)
        pool = BlockPool(limit: blocks)
        session = HTTP2Session(settings: settings, workspace: workspace)
    }

    @discardableResult func receive(_ bytes: [UInt8]) -> ReceiveStep {
        session.receive(bytes.rawSpan, now: now, pool: pool)
    }

    /// The preface and empty SETTINGS of a client, then `bytes`.
    @discardableResult func begin(_ bytes: [UInt8] = []) -> ReceiveStep {
        receive(Array(HTTP2Session.preface.utf8Span.array) + Wire.frame(.settings) + bytes)
    }

    func events() -> [HTTP2Event] {
        var all: [HTTP2Event] = []
        while true {
            let event = session.nextEvent()
            if event == .none { return all }
            all.append(event)
        }
    }

    /// All that waits to be written.
    func written(limit: Int = 1 << 20) -> [UInt8] {
        var output = ByteQueue()
        _ = session.write(into: &output, pool: pool, limit: limit)
        return output.array
    }

    func frames() -> [Wire.Frame] { Wire.frames(written()) }

    /// The stream of the only request that has arrived.
    func onlyRequest() -> StreamID? {
        for event in events() {
            if case .request(let stream, _) = event { return stream }
        }
        return nil
    }

    /// The head as text: the pseudo-fields by their meaning, then lines of "name: value".
    func readHead(_ stream: StreamID) -> (lines: [String], error: RequestHeadError?) {
        let error = session.readHead(stream, into: &head)
        return (Server.lines(session, stream, head), error)
    }

    private static func lines(
        _ session: borrowing HTTP2Session, _ stream: StreamID, _ head: borrowing RequestHead
    ) -> [String] {
        let bytes = session.headBytes(stream)
        var lines = ["\(bytes[head.methodBytes].text) \(bytes[head.path].text) \(bytes[head.authority].text)"]
        if head.hasQuery { lines.append("?\(bytes[head.query].text)") }
        return lines + text(head.fields, bytes)
    }

    func headCount(_ stream: StreamID) -> Int {
        func count(_ session: borrowing HTTP2Session) -> Int { session.headBytes(stream).byteCount }
        return count(session)
    }

    func readTrailers(_ stream: StreamID) -> (lines: [String], error: RequestHeadError?) {
        var fields = FieldTable(capacity: 64)
        let error = session.readTrailers(stream, into: &fields)
        return (Server.trailerLines(session, stream, fields), error)
    }

    private static func trailerLines(
        _ session: borrowing HTTP2Session, _ stream: StreamID, _ fields: borrowing FieldTable
    ) -> [String] {
        text(fields, session.trailerBytes(stream))
    }

    private static func text(_ fields: borrowing FieldTable, _ bytes: RawSpan) -> [String] {
        var lines: [String] = []
        for index in 0..<fields.count {
            let line = fields[index]
            lines.append("\(bytes[line.name].text): \(bytes[line.value].text)")
        }
        return lines
    }

    // What a macro may ask: it cannot hold the session itself.
    var activeStreams: Int { session.activeStreams }
    var isFinished: Bool { session.isFinished }
    func token(_ stream: StreamID) -> UInt64 { session.token(stream) }
    func isResetByPeer(_ stream: StreamID) -> Bool { session.isResetByPeer(stream) }
    func bodyCount(_ stream: StreamID) -> Int { session.bodyCount(stream) }
    func outboundCount(_ stream: StreamID) -> Int { session.outboundCount(stream) }
    func isFull(_ stream: StreamID) -> Bool { session.isFull(stream) }
    func contains(_ stream: StreamID) -> Bool { session.contains(stream) }
    var blocksOut: Int { pool.outstanding }
    var framing: BodyFraming { head.framing }
    var next: HTTP2Event { session.nextEvent() }
    var refusedHeads: Int { session.refusedHeads }

    func takeBody(_ stream: StreamID, limit: Int = .max) -> [UInt8] {
        var queue = ByteQueue()
        _ = session.takeBody(stream, into: &queue, limit: limit, pool: pool)
        return queue.array
    }

    func append(_ stream: StreamID, _ bytes: [UInt8]) -> Bool {
        session.appendBody(stream, bytes.rawSpan, pool: pool)
    }

    func respond(_ stream: StreamID, status: Int = 200, endsStream: Bool = false) {
        session.beginResponse(status: status)
        session.submitResponse(stream, endsStream: endsStream)
    }
}
