import HTTP
import HTTP2
import LinuxIO
import Memory

/// What the sessions of all peers share; nothing of it is the gateway's.
final class PeerMemory {
    let workspace = HTTP2Workspace()
    let pool = BlockPool(limit: 1 << 16)
    var requestHead = RequestHead(fieldCapacity: 256)
    var responseHead = ResponseHead(fieldCapacity: 256)
    let noFields = FieldTable(capacity: 0)
    /// For heads and trailers on their way out.
    var fields = FieldTable(capacity: 32)
}

/// A peer's side of a connection of HTTP/2. Heads and credit are the business of a session; what comes and what goes is
/// besides read frame by frame by code of the test's own, which alone says what every byte belongs to.
final class StreamPeer {
    private let world: World
    let wire: Wire
    private let who: String
    var session: HTTP2Session
    private var reader = FrameReader()
    private let isClient: Bool
    private var hasPreface: Bool
    /// What the session has written, as frames.
    private var written = FrameReader()
    private var isPrefaceWritten: Bool
    private var outgoing: [UInt8] = []
    private var sentCount = 0

    /// Streams whose RST_STREAM is meant.
    var resets: Set<Int32> = []
    /// Streams whose last byte has been written.
    private(set) var ended: Set<Int32> = []
    /// What goes out is no HTTP/2 any more: whatever comes back is right.
    private(set) var isOdd = false
    /// The gateway has said that it takes no more streams.
    private(set) var isGoneAway = false

    init(_ world: World, _ wire: Wire, isClient: Bool, _ who: String) {
        self.world = world
        self.wire = wire
        self.who = who
        self.isClient = isClient
        hasPreface = isClient
        isPrefaceWritten = !isClient
        var settings = HTTP2Settings(
            head: HeadLimits(requestLine: 100_000, head: 100_000, fields: 250))
        settings.maxConcurrentStreams = isClient ? 100 : [1, 2, 5, 100][world.chance.below(4)]
        settings.streamWindow = [2000, 9000, 65535, 65535][world.chance.below(4)]
        settings.connectionWindow = world.chance.oneIn(2) ? 65535 : 1 << 20
        // A peer does not count what the gateway does; what is too much is judged by what follows of it.
        settings.resetsPerSecond = 1 << 30
        settings.controlFramesPerSecond = 1 << 30
        settings.maxWaitingAcknowledgements = 1 << 20
        session =
            isClient
            ? HTTP2Session(client: settings, workspace: world.memory.workspace)
            : HTTP2Session(settings: settings, workspace: world.memory.workspace)
    }

    var hasUnsent: Bool { sentCount < outgoing.count }
    /// Whether nothing waits to be written or sent.
    var isSaid: Bool { !hasUnsent && !session.wantsWrite }

    // MARK: Out

    /// Lets the session write, and notes what it does.
    func write() {
        guard !isOdd, outgoing.count - sentCount < 80_000 else { return }
        var queue = ByteQueue()
        _ = session.write(into: &queue, pool: world.memory.pool, limit: 65536)
        guard !queue.isEmpty else { return }
        let bytes = queue.array
        queue.removeAll()
        outgoing += bytes
        written.withBuffer { $0 += bytes }
        if !isPrefaceWritten {
            guard written.preface(HTTP2Session.preface) != nil else { return }
            isPrefaceWritten = true
        }
        while let frame = written.next() { noteWritten(frame) }
    }

    private func noteWritten(_ frame: Frame) {
        if frame.hasEndStream { ended.insert(frame.stream) }
        switch frame.kind {
        case Frame.reset where !resets.contains(frame.stream):
            let code = written.word(at: frame.payload.lowerBound)
            world.violate("\(who): the gateway broke stream \(frame.stream) of HTTP/2, error \(code)")
        case Frame.goAway:
            let code = written.word(at: frame.payload.lowerBound + 4)
            if code != 0 {
                world.violate("\(who): the gateway broke the connection of HTTP/2, error \(code)")
            }
        default: break
        }
    }

    /// Sends bytes that are none of the session's; nothing of the session's follows.
    func sendOddly(_ bytes: [UInt8]) {
        write()
        world.trace("\(who) sends what it should not, \(bytes.count) bytes")
        outgoing += bytes
        isOdd = true
    }

    func send() {
        let room = min(outgoing.count - sentCount, wire.sendRoom)
        guard room > 0, wire.isSending else { return }
        let count = world.chance.piece(of: room)
        wire.send(outgoing[sentCount..<sentCount + count])
        sentCount += count
        if sentCount == outgoing.count {
            outgoing.removeAll(keepingCapacity: true)
            sentCount = 0
        }
    }

    // MARK: In

    func read(_ most: Int) { reader.withBuffer { wire.take(most, into: &$0) } }

    /// The next frame; the session has read it already, and what it has to tell of it must be heard first.
    func next() -> Frame? {
        if !hasPreface {
            guard let range = reader.preface(HTTP2Session.preface) else { return nil }
            hasPreface = true
            if !reader.buffer[range].elementsEqual(HTTP2Session.preface.bytes) {
                world.violate("\(who) got another preface")
            }
            receive(range)
        }
        guard let frame = reader.next() else { return nil }
        receive(frame.all)
        if frame.kind == Frame.goAway { noteGoAway(frame) }
        return frame
    }

    private func receive(_ range: Range<Int>) {
        let bytes = Array(reader.buffer[range])
        let step = session.receive(bytes.rawSpan, now: world.kernel.now, pool: world.memory.pool)
        if case .failed(let failure) = step, !isOdd {
            world.violate("\(who): what the gateway sends is no HTTP/2: \(failure)")
        }
    }

    private func noteGoAway(_ frame: Frame) {
        isGoneAway = true
        let code = reader.word(at: frame.payload.lowerBound + 4)
        world.trace("\(who) is told GOAWAY, error \(code)")
        // Floods, and heads that take too long, get ENHANCE_YOUR_CALM.
        if code != 0, code != HTTP2ErrorCode.enhanceYourCalm, !isOdd {
            world.violate("\(who) is told GOAWAY with error \(code) for nothing")
        }
    }

    /// The bytes of DATA, as they came.
    func bytes(of frame: Frame) -> ArraySlice<UInt8> {
        if frame.flags & 8 != 0 { world.violate("\(who) got padding") }
        return reader.buffer[frame.payload]
    }

    func errorCode(of frame: Frame) -> UInt32 { reader.word(at: frame.payload.lowerBound) }

    // MARK: Streams

    func reset(_ stream: StreamID, _ code: UInt32) {
        resets.insert(session.number(stream))
        session.resetStream(stream, errorCode: code)
    }

    /// What has come was looked at as frames; the session's copy goes, and with it, now or later, comes credit.
    func consume(_ stream: StreamID, _ owed: inout Int, isStingy: Bool) {
        var queue = ByteQueue()
        owed += session.takeBody(stream, into: &queue, limit: .max, pool: world.memory.pool)
        queue.removeAll()
        guard owed > 0, !isStingy || world.chance.oneIn(6) else { return }
        session.returnCredit(stream, owed)
        owed = 0
    }

    func headBytes(_ stream: StreamID) -> [UInt8] { copy(session, stream) }

    func append(_ body: [UInt8], to stream: StreamID) {
        session.appendBody(stream, body.rawSpan, pool: world.memory.pool)
    }

    /// Ends what is sent on a stream, with or without trailers.
    func end(_ stream: StreamID, hasTrailers: Bool) {
        guard hasTrailers else {
            session.endBody(stream)
            return
        }
        session.beginTrailers()
        session.addField("x-trailer", "t")
        session.submitTrailers(stream, fields: world.memory.noFields, bytes: RawSpan())
    }
}

/// A copy of a stream's head, for as long as it is needed.
private func copy(_ session: borrowing HTTP2Session, _ stream: StreamID) -> [UInt8] {
    session.headBytes(stream).array
}

extension StaticString {
    var bytes: [UInt8] { Array("\(self)".utf8) }
}

extension RawSpan {
    var array: [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(byteCount)
        for index in 0..<byteCount { bytes.append(self[index]) }
        return bytes
    }

    var text: String { String(decoding: array, as: UTF8.self) }
}

/// Fields as text, made into a table for a session. What a field is for the gateway is not looked at, so that every
/// line goes out as it is.
struct FieldText {
    private(set) var bytes: [UInt8] = []
    private var ranges: [(ByteRange, ByteRange)] = []

    mutating func add(_ name: String, _ value: String) {
        let start = bytes.count
        bytes.add(name)
        let middle = bytes.count
        bytes.add(value)
        ranges.append((ByteRange(start: start, end: middle), ByteRange(start: middle, end: bytes.count)))
    }

    func fill(_ table: inout FieldTable) {
        table.removeAll()
        for (name, value) in ranges { _ = table.append(FieldLine(name: name, value: value, known: .other)) }
    }
}
