import Memory
import Reactor
import Telemetry

/// The line of an exchange in the access log.
struct AccessLinePart: Turning, ~Copyable {
    private var block: Block
    private var encoder: AccessLineEncoder
    private let exchange: LoggedExchange

    private static let expected: StaticString = """
        {"time":"2026-11-21T02:35:38.123Z","request_id":"0192f0c1-7e5b-7000-8000-000000000000",\
        "client":"192.0.2.7","client_port":51234,"method":"GET","host":"api.example.com",\
        "path":"/api/v1/documents","route":"documents","service":"core","endpoint":"127.0.0.1:9002",\
        "status":200,"protocol":"HTTP/2","tls":"TLSv1.3","bytes_in":345,"bytes_out":6789,\
        "duration_us":1500,"auth_us":20,"connect_us":0,"first_byte_us":1400,"subject":"user-17",\
        "listener":"https","generation":3}

        """

    /// `nil` when there is no block.
    init?(isSpoiled: Bool) {
        let pool = BlockPool(limit: 1)
        guard let block = pool.take() else { return nil }
        self.block = block
        exchange = LoggedExchange(subject: isSpoiled ? "user-18" : "user-17")
        encoder = AccessLineEncoder(names: LoggedExchange.names)
    }

    mutating func turn(_ number: Int) -> Bool {
        block.removeAll()
        return exchange.write(by: &encoder, into: &block) && block.bytes.equals(AccessLinePart.expected)
    }
}

/// What a line tells of a request that went all the way.
struct LoggedExchange: ~Copyable {
    private var record = AccessRecord()
    private let requestID = Array("0192f0c1-7e5b-7000-8000-000000000000".utf8)
    private let client = Array("192.0.2.7".utf8)
    private let method = Array("GET".utf8)
    private let host = Array("api.example.com".utf8)
    private let path = Array("/api/v1/documents".utf8)
    private let target = Array("/api/v1/documents?limit=50".utf8)
    private let subject: [UInt8]

    /// Each table has one name, behind the one for all others.
    static var names: AccessNames {
        func table(_ name: String) -> NameTable {
            let labels = LabelTable(capacity: 2)
            _ = labels.label(for: name)
            return labels.names
        }
        return AccessNames(
            routes: table("documents"), services: table("core"), endpoints: table("127.0.0.1:9002"),
            listeners: table("https"), reasons: NameTable(["rate_limited"]))
    }

    init(subject: String) {
        self.subject = Array(subject.utf8)
        record.wallMilliseconds = 1_795_228_538_123
        record.clientPort = 51234
        record.route = 1
        record.service = 1
        record.endpoint = 1
        record.listener = 1
        record.status = 200
        record.httpVersion = .http2
        record.tlsVersion = .tls13
        record.bytesIn = 345
        record.bytesOut = 6789
        record.durationMicroseconds = 1500
        record.authMicroseconds = 20
        record.connectMicroseconds = 0
        record.firstByteMicroseconds = 1400
        record.generation = 3
    }

    func write(by encoder: inout AccessLineEncoder, into block: inout Block) -> Bool {
        encoder.encode(
            record, requestID: requestID.rawSpan, traceID: RawSpan(), client: client.rawSpan,
            method: method.rawSpan, host: host.rawSpan, path: path.rawSpan, target: target.rawSpan,
            subject: subject.rawSpan, into: &block)
    }
}

/// A block as the reading of a head takes one.
struct BlockPart: Turning, ~Copyable {
    private let pool = BlockPool(limit: 2)
    private let head: [UInt8]

    init(isSpoiled: Bool) {
        head = Array(repeating: UInt8(ascii: "a"), count: isSpoiled ? 129 : 128)
    }

    mutating func turn(_ number: Int) -> Bool {
        guard fill() == 128 else { return false }
        return pool.outstanding == 0
    }

    /// How many bytes the block held when it was given back; -1 when there was none.
    private func fill() -> Int {
        guard var block = pool.take() else { return -1 }
        block.append(head.rawSpan)
        return block.byteCount
    }
}

private let second: UInt64 = 1_000_000_000

/// A timer as each exchange has one: set, and cancelled long before it is due.
struct TimerCancelPart: Turning, ~Copyable {
    private static let timers = 1024

    private var wheel = TimerWheel(capacity: TimerCancelPart.timers + 1, now: second)
    private var names: [TimerID] = []
    private var now = second
    private let expected: Int

    /// `nil` when the wheel takes less than it has room for.
    init?(isSpoiled: Bool) {
        expected = TimerCancelPart.timers + (isSpoiled ? 1 : 0)
        for index in 0..<TimerCancelPart.timers {
            let id = SlabID(index: UInt32(index), generation: 1)
            guard let name = wheel.schedule(Token(kind: 1, id: id), at: now + 60 * second) else { return nil }
            names.append(name)
        }
    }

    mutating func turn(_ number: Int) -> Bool {
        now &+= 10_000
        let at = number & (TimerCancelPart.timers &- 1)
        let id = SlabID(index: UInt32(truncatingIfNeeded: at), generation: 1)
        guard let name = wheel.schedule(Token(kind: 1, id: id), at: now &+ 60 &* second) else { return false }
        wheel.cancel(names[at])
        names[at] = name
        return wheel.count == expected
    }
}

/// A timer that is due, among 1,024 that are not.
struct TimerFirePart: Turning, ~Copyable {
    private static let tick: UInt64 = 1 << 23

    private var wheel = TimerWheel(capacity: 2048, now: second)
    private var now = second
    private let delay: UInt64

    /// `nil` when the wheel takes less than it has room for.
    init?(isSpoiled: Bool) {
        // A timer fires late by up to a tick, so one that is due in half a tick fires within two.
        delay = isSpoiled ? 4 * TimerFirePart.tick : TimerFirePart.tick / 2
        for index in 0..<1024 {
            let token = Token(kind: 1, id: SlabID(index: UInt32(index), generation: 1))
            guard wheel.schedule(token, at: UInt64(Int64.max)) != nil else { return nil }
        }
    }

    mutating func turn(_ number: Int) -> Bool {
        let token = Token(word: UInt64(truncatingIfNeeded: number))
        guard wheel.schedule(token, at: now &+ delay) != nil else { return false }
        now &+= 2 &* TimerFirePart.tick
        wheel.advance(to: now)
        return wheel.popDue() == token && wheel.popDue() == nil
    }
}
