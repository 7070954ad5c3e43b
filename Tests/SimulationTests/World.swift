import LinuxIO

/// What may go wrong in a schedule.
enum Mood: String {
    /// Nothing but small pieces and blocked writes: every request must be answered, whole.
    case fair
    /// Services close connections that they said they would keep: only what may not be sent twice may fail.
    case stale
    /// Anything.
    case rough
}

enum RequestFraming { case none, length, chunked }

/// How the exchange ended for its client.
enum Outcome: Equatable {
    case none
    /// The service's answer with that number, whole.
    case answered(Int)
    /// The gateway's own answer.
    case refused(Int)
    /// An answer that shows that it is not whole.
    case broken
}

/// One request that a client means to make, and what became of it.
struct Asking {
    let id: Int
    var method = "GET"
    var isVersion10 = false
    /// Index of the service, `World.nowhere` for a path that leads to none.
    var service = 0
    var framing = RequestFraming.none
    var bodyLength = 0
    var expects = false
    var closes = false
    /// The head is one that nobody may forward.
    var isMalformed = false
    /// The body's framing breaks in the middle.
    var hasBrokenBody = false
    /// What its Content-Length says, where that is not the body's.
    var announced: Int?
    /// Of HTTP/2.
    var isStream = false
    /// Asks for a WebSocket (RFC 6455); `bodyLength` bytes follow once it stands.
    var isTunnel = false
    var image: [UInt8] = []
    var headEnd = 0

    // What became of it.
    var hasBegun = false
    var deliveries = 0
    /// How often a service of HTTP/2 has said that it did nothing with it.
    var refusals = 0
    var wholeDeliveries = 0
    var outcome = Outcome.none
    /// The status of a final head that the client saw.
    var seenStatus = 0
    var receivedBytes = 0
    var lines = 0
    /// While the clients were still there.
    var wasLoggedEarly = false
    var loggedStatus = 0
    var loggedReason = ""
    var loggedBytesOut = -1
    /// Of the RST_STREAM that ended it.
    var resetCode: UInt32?

    var isIdempotent: Bool { method != "POST" && method != "PATCH" && !isTunnel }
    /// What does not fit the gateway's memory for another try may not be either.
    var mayBeRepeated: Bool { isIdempotent && bodyLength < 60_000 }
    var bodyKey: Int { id * 64 }
}

/// One answer that a service gives.
struct Answer {
    let number: Int
    let asking: Int
    var status = 200
    var bodyLength = 0
    /// Whether the service has sent all of it, and its end where the connection's is that.
    var isWhole = false
    /// The body is as long as the connection lives.
    var isUntilEnd = false
    /// Breaks the rules of HTTP/2.
    var isOdd = false

    var bodyKey: Int { asking * 64 + 1 + number % 63 }
}

/// One schedule: everything that both sides know, and everything that was found wrong.
final class World {
    let seed: UInt64
    var chance: Chance
    let mood: Mood
    let bodies: Bodies
    let kernel = SimulatedKernel.shared
    let memory: PeerMemory
    /// The service that speaks HTTP/2.
    static let streamed = 2
    static let nowhere = 3
    /// How often services of HTTP/2 may still refuse what they must not in a schedule without faults, where the gateway
    /// has three tries.
    var refusalsLeft = 2
    /// How often a service of HTTP/2 went away.
    var departures = 0
    var askings: [Asking] = []
    var answers: [Answer] = []
    private(set) var violations: [String] = []
    /// The gateway says goodbye: what was not begun need not be answered.
    var isDraining = false
    let isTracing: Bool

    init(seed: UInt64, memory: PeerMemory, isTracing: Bool) {
        self.seed = seed
        self.memory = memory
        self.isTracing = isTracing
        chance = Chance(seed &* 0x2545_f491_4f6c_dd1d)
        bodies = Bodies(seed: seed)
        switch chance.below(8) {
        case 0, 1: mood = .fair
        case 2: mood = .stale
        default: mood = .rough
        }
    }

    func violate(_ text: @autoclosure () -> String) {
        guard violations.count < 8 else { return }
        let found = text()
        violations.append(found)
        trace("VIOLATION: " + found)
    }

    func trace(_ text: @autoclosure () -> String) {
        if isTracing { print("[\(kernel.turn)] " + text()) }
    }

    /// Lengths that matter: none, small ones, around a block, several blocks.
    func length() -> Int {
        switch chance.below(16) {
        case 0, 1: 0
        case 2: 1
        case 3...8: 1 + chance.below(300)
        case 9, 10: 1 + chance.below(5000)
        case 11: 16384 - 64 - 3 + chance.below(6)
        case 12: 1 + chance.below(70_000)
        case 13 where mood == .rough: 65536 + chance.below(200_000)
        default: 1 + chance.below(1000)
        }
    }
}
