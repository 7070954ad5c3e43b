import Memory

/// A part of what a request costs, alone: with the input that it has in a request, and with a judgement of each result, so
/// that a part which became wrong is not mistaken for one that became fast.
public enum Part: String, CaseIterable, Sendable {
    case requestHead = "request-head"
    case requestHeadToken = "request-head-token"
    case responseHead = "response-head"
    case http2Request = "http2-request"
    case http2RequestToken = "http2-request-token"
    case routes10 = "routes-10"
    case routes1000 = "routes-1000"
    case routes10000 = "routes-10000"
    case limitTake = "limit-take"
    case limitOver = "limit-over"
    case limitFlood = "limit-flood"
    case tokenHit = "token-hit"
    case tokenNew = "token-new"
    case rs256 = "rs256-verify"
    case accessLine = "access-line"
    case block = "block"
    case timerCancel = "timer-cancel"
    case timerFire = "timer-fire"

    /// What one turn does.
    public var summary: String {
        switch self {
        case .requestHead: "HTTP/1.1 request head of h2load, 3 lines, parsed"
        case .requestHeadToken: "HTTP/1.1 request head of 9 lines with a token of 785 bytes, parsed"
        case .responseHead: "HTTP/1.1 response head of 7 lines, parsed"
        case .http2Request: "HTTP/2 stream: request inflated and read, 204 deflated, stream closed"
        case .http2RequestToken: "the same with a token of 785 bytes in Huffman code"
        case .routes10: "host and path matched among 10 routes"
        case .routes1000: "host and path matched among 1,000 routes"
        case .routes10000: "host and path matched among 10,000 routes"
        case .limitTake: "a token taken from one of 1,024 buckets"
        case .limitOver: "a bucket that is empty says no"
        case .limitFlood: "a client that is new, in a flood of such; a busy one keeps its bucket"
        case .tokenHit: "a token of 785 bytes that is remembered, and its subject"
        case .tokenNew: "a token of 785 bytes: base64, claims, signature of RS256"
        case .rs256: "a signature of RS256 checked, key of 2048 bits"
        case .accessLine: "a line of 22 members written"
        case .block: "a block of 16 KiB taken, filled with a head, given back"
        case .timerCancel: "a timer set and the oldest of 1,024 cancelled"
        case .timerFire: "a timer set, the clock moved on by a tick, one taken that is due"
        }
    }

    /// Does the part `count` times. `isSpoiled` damages its input or what it finds: then each turn must be found wrong.
    public func run(_ count: Int, isSpoiled: Bool = false) throws(WrongResult) {
        switch self {
        case .requestHead: try turns(count, RequestHeadPart(token: false, isSpoiled: isSpoiled))
        case .requestHeadToken: try turns(count, RequestHeadPart(token: true, isSpoiled: isSpoiled))
        case .responseHead: try turns(count, ResponseHeadPart(isSpoiled: isSpoiled))
        case .http2Request: try turns(count, HTTP2RequestPart(token: false, isSpoiled: isSpoiled))
        case .http2RequestToken: try turns(count, HTTP2RequestPart(token: true, isSpoiled: isSpoiled))
        case .routes10: try turns(count, made(RoutesPart(routes: 10, isSpoiled: isSpoiled)))
        case .routes1000: try turns(count, made(RoutesPart(routes: 1000, isSpoiled: isSpoiled)))
        case .routes10000: try turns(count, made(RoutesPart(routes: 10_000, isSpoiled: isSpoiled)))
        case .limitTake: try turns(count, LimitTakePart(isSpoiled: isSpoiled))
        case .limitOver: try turns(count, LimitOverPart(isSpoiled: isSpoiled))
        case .limitFlood: try turns(count, LimitFloodPart(isSpoiled: isSpoiled))
        case .tokenHit: try turns(count, made(TokenPart(isRemembered: true, isSpoiled: isSpoiled)))
        case .tokenNew: try turns(count, made(TokenPart(isRemembered: false, isSpoiled: isSpoiled)))
        case .rs256: try turns(count, made(SignaturePart(isSpoiled: isSpoiled)))
        case .accessLine: try turns(count, made(AccessLinePart(isSpoiled: isSpoiled)))
        case .block: try turns(count, BlockPart(isSpoiled: isSpoiled))
        case .timerCancel: try turns(count, made(TimerCancelPart(isSpoiled: isSpoiled)))
        case .timerFire: try turns(count, made(TimerFirePart(isSpoiled: isSpoiled)))
        }
    }

    private func made<Part: Turning & ~Copyable>(_ part: consuming Part?) throws(WrongResult) -> Part {
        guard let part else { throw WrongResult(part: self, turn: nil) }
        return part
    }

    private func turns(_ count: Int, _ part: consuming some Turning & ~Copyable) throws(WrongResult) {
        var number = 0
        while number < count {
            guard part.turn(number) else { throw WrongResult(part: self, turn: number) }
            number &+= 1
        }
    }
}

/// A part that came to another result than the one it must come to.
public struct WrongResult: Error, Equatable, CustomStringConvertible {
    public let part: Part
    /// `nil`: the part could not even be made.
    public let turn: Int?

    public var description: String {
        guard let turn else { return "\(part.rawValue): its input is not what it must be" }
        return "\(part.rawValue): wrong result in turn \(turn)"
    }
}

/// What can be done again and again.
protocol Turning: ~Copyable {
    /// Does it once; whether the result is right. `number` counts the turns from 0.
    mutating func turn(_ number: Int) -> Bool
}

/// Texts to rotate through, without a reference to count at each look.
struct Texts: ~Copyable {
    private let ranges: FixedArray<ByteRange>
    private let bytes: [UInt8]

    init(count: Int, _ text: (Int) -> some StringProtocol) {
        var all: [UInt8] = []
        ranges = FixedArray(count: count) { index in
            let start = all.count
            all += Array(text(index).utf8)
            return ByteRange(start: start, end: all.count)
        }
        bytes = all
    }

    @_lifetime(borrow self) func text(_ index: Int) -> RawSpan { bytes.rawSpan[ranges[index]] }
}
