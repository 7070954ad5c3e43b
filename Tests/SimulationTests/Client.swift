import LinuxIO

/// A client of HTTP/1.1: sends its requests, one after the other or all at once, and judges every byte that comes back.
final class Client {
    fileprivate let world: World
    fileprivate let askings: [Int]
    private let beginsAt: Int
    private let pipelines: Bool
    private var wire: Wire?
    private var reader = MessageReader()
    /// The request that is being sent, and how far.
    private var sending = 0
    private var offset = 0
    /// The request whose answer is awaited.
    private var awaiting = 0
    private var hasContinue = false
    private var waitsForContinue = 0
    private(set) var isDone = false

    // The answer that is being read.
    private var answer: Int?
    private var isRefusal = false
    private var isInMessage = false
    private var received = 0
    private var refusal: [UInt8] = []
    private var hasClosing = false
    /// Nothing more may come.
    private var isLastSeen = false

    /// Does not read until then.
    private var stalledUntil = 0
    private var leavesAt: Int

    init(_ world: World, address: Int) {
        self.world = world
        self.number = address
        beginsAt = world.chance.below(20)
        let count = 1 + world.chance.below(world.chance.oneIn(3) ? 8 : 3)
        askings = (0..<count).map { world.ask(isLast: $0 == count - 1) }
        pipelines = world.chance.oneIn(3)
        leavesAt = world.mood == .rough && world.chance.oneIn(3) ? world.chance.below(120) : .max
    }

    fileprivate let number: Int

    private var isMute: Bool { stalledUntil == .max }
    var isIdle: Bool { isDone || isMute || (awaiting == askings.count && reader.isBetweenMessages) }
    /// How many requests nobody has answered.
    var unanswered: Int { isDone || isMute ? 0 : askings.count - awaiting }

    func act(listener: Int32?) {
        guard !isDone, world.kernel.turn >= beginsAt else { return }
        guard let wire else {
            guard let listener else {
                isDone = true
                return
            }
            let address = SocketAddress(
                high: 0, low: UInt64(10 + number).byteSwapped | 0xffff << 16, port: UInt16(40000 + number),
                isV6: false)
            let made = world.kernel.connect(to: listener, address: address)
            if world.chance.oneIn(3) { made.capacity = [1, 200, 5000, 20_000][world.chance.below(4)] }
            if world.chance.oneIn(4) { made.window = [64, 3000, 30_000][world.chance.below(3)] }
            world.trace("client \(number) connects as wire \(made.number)")
            wire = made
            return
        }
        read(wire)
        guard !isDone else { return }
        if world.kernel.turn >= leavesAt {
            leave()
            return
        }
        send(wire)
    }

    /// Goes away: politely, or not.
    func leave() {
        guard !isDone else { return }
        guard let wire else {
            isDone = true
            return
        }
        let way = world.mood == .rough ? world.chance.below(4) : 0
        world.trace(
            "client \(number) leaves (\(["closes", "resets", "half-closes", "half-closes and reads no more"][way]))"
        )
        switch way {
        case 1:
            wire.reset(&world.chance)
            isDone = true
        case 2, 3:
            wire.finish()
            leavesAt = .max
            if way == 3 { stalledUntil = .max }
        default:
            wire.close()
            isDone = true
        }
    }

    private func send(_ wire: Wire) {
        guard sending < askings.count, wire.isSending, !hasClosing || offset > 0,
            pipelines || sending == awaiting,
            !world.chance.oneIn(4)
        else { return }
        let id = askings[sending]
        let image = world.askings[id].image
        if offset == 0 {
            world.askings[id].hasBegun = true
            world.trace(
                "client \(number) begins \(world.askings[id].method) \(world.path(id)), \(image.count) bytes")
        }
        var end = image.count
        if world.askings[id].expects, !hasContinue,
            offset < world.askings[id].headEnd || waitsForContinue < 40
        {
            end = world.askings[id].headEnd
            if offset >= end { waitsForContinue += 1 }
        }
        let room = min(end - offset, wire.sendRoom)
        if room > 0 {
            let count = world.chance.piece(of: room)
            wire.send(image[offset..<offset + count])
            offset += count
        }
        if offset == image.count {
            sending += 1
            offset = 0
            hasContinue = false
            waitsForContinue = 0
        }
    }

    // MARK: Answers

    private func read(_ wire: Wire) {
        if stalledUntil > world.kernel.turn { return }
        if world.chance.oneIn(16) {
            stalledUntil = world.kernel.turn + world.chance.below(12)
            return
        }
        let most = world.chance.piece(of: max(wire.waitingBytes, 1))
        reader.withBuffer { wire.take(most, into: &$0) }
        steps: while true {
            switch reader.next() {
            case .more: break steps
            case .head(let head): readHead(head)
            case .body(let range): readBody(range)
            case .end: messageEnded()
            case .broken(let reason):
                world.violate("client \(number) got what is not HTTP: \(reason)")
                isDone = true
                wire.close()
                return
            }
            if isDone { return }
        }
        if wire.end != .none { ended(wire) }
    }

    private var current: Int? { awaiting < askings.count ? askings[awaiting] : nil }

    private func readHead(_ head: Head) {
        guard let id = current, world.askings[id].hasBegun, !isLastSeen else {
            world.violate("client \(number) got an answer to nothing: \(head.first)")
            stop()
            return
        }
        if head.value("x-poison") != nil {
            world.violate("client \(number) got bytes that answer no request, for \(id)")
        }
        let words = head.first.split(separator: " ", maxSplits: 2, omittingEmptySubsequences: false)
        guard words.count == 3, words[0] == "HTTP/1.1", let status = Int(words[1]) else {
            world.violate("client \(number) got a bad status line: \(head.first)")
            stop()
            return
        }
        world.trace("client \(number) reads \(head.first) for \(id)")
        if status == 100 {
            if !world.askings[id].expects { world.violate("client \(number) got 100 without asking for it") }
            hasContinue = true
            reader.expectHead()
            return
        }
        let mark = origin(head)
        if status < 200 {
            if mark?.asking != id { world.violate("client \(number) got another's \(status) for \(id)") }
            reader.expectHead()
            return
        }
        received = 0
        refusal = []
        isInMessage = true
        world.askings[id].seenStatus = status
        isRefusal = mark == nil
        answer = mark?.number
        if let mark {
            if mark.asking != id {
                world.violate("client \(number) got the answer to \(mark.asking) for its \(id)")
            } else if world.answers[mark.number].status != status {
                world.violate("client \(number) got status \(status) in place of the service's")
            }
        } else if head.value("content-type") != "application/problem+json" {
            world.violate("client \(number) got an answer that nobody gave: \(head.first)")
        }
        frame(head, id, status)
    }

    private func frame(_ head: Head, _ id: Int, _ status: Int) {
        hasClosing = head.values("connection").contains("close")
        let lengths = head.values("content-length")
        let codings = head.values("transfer-encoding")
        if lengths.count + codings.count > 1 { world.violate("an answer with two framings, for \(id)") }
        if world.askings[id].method == "HEAD" || status == 204 || status == 304 {
            reader.expectNothing()
        } else if let coding = codings.first {
            if coding != "chunked" { world.violate("an answer with coding \(coding)") }
            if world.askings[id].isVersion10 { world.violate("chunks for HTTP/1.0, for \(id)") }
            reader.expectChunks()
        } else if let length = lengths.first.flatMap({ Int($0) }) {
            reader.expectLength(length)
        } else {
            if !hasClosing { world.violate("an answer without an end, for \(id)") }
            reader.expectUntilEnd()
        }
        if world.askings[id].isVersion10, !head.values("connection").contains("keep-alive") {
            hasClosing = true
        }
    }

    /// The mark that a service puts on its answers.
    private func origin(_ head: Head) -> (asking: Int, number: Int)? {
        guard let words = head.value("x-answer")?.split(separator: "-"), words.count == 2,
            let asking = Int(words[0]), let number = Int(words[1]), number < world.answers.count
        else { return nil }
        return (asking, number)
    }

    private func readBody(_ range: Range<Int>) {
        let bytes = reader.buffer[range]
        if let answer, !world.bodies.matches(world.answers[answer].bodyKey, at: received, bytes) {
            world.violate("client \(number) got other bytes than answer \(answer) has at \(received)")
            stop()
        }
        if answer == nil { refusal += bytes }
        received += range.count
    }

    private func messageEnded() {
        guard let id = current else { return }
        isInMessage = false
        world.askings[id].receivedBytes = received
        if let answer {
            let given = world.answers[answer]
            if !given.isWhole {
                world.violate("client \(number) took a part for the whole of answer \(answer)")
            }
            if received != given.bodyLength, world.askings[id].method != "HEAD" {
                world.violate("client \(number) got \(received) of \(given.bodyLength) bytes as the whole")
            }
            world.askings[id].outcome = .answered(answer)
        } else {
            let text = String(decoding: refusal, as: UTF8.self)
            let status = world.askings[id].seenStatus
            if world.askings[id].method != "HEAD", !world.askings[id].isMalformed,
                !text.contains("\"status\":\(status),") || !text.hasSuffix("}\n")
            {
                world.violate("client \(number) got a problem that is none: \(text)")
            }
            world.askings[id].outcome = .refused(status)
        }
        world.trace("client \(number) has its answer to \(id): \(world.askings[id].outcome)")
        awaiting += 1
        isLastSeen = hasClosing
        if hasClosing, sending < awaiting {
            // What was not sent of the request is not needed any more.
            sending = askings.count
        }
    }

    private func ended(_ wire: Wire) {
        world.trace("client \(number) sees the end: \(wire.end)")
        if reader.isUntilEnd, wire.end == .fin { messageEnded() }
        if let id = current {
            if isInMessage || (reader.isInHead && !reader.isBetweenMessages) {
                world.askings[id].outcome = .broken
            }
        }
        wire.close()
        isDone = true
    }

    private func stop() {
        wire?.close()
        isDone = true
    }
}

extension Client {
    /// In a schedule without faults every request is answered, whole, but those behind an answer that ends the
    /// connection, and in a stale one those that may not be sent twice.
    func judge(isNarrow: Bool) {
        for (index, id) in askings.enumerated() {
            let asking = world.askings[id]
            switch asking.outcome {
            case .answered: if asking.closes || world.isDraining { return }
            case .refused(let status):
                let isExpected =
                    (status == 404 && asking.service == 2) || (status == 413 && asking.bodyLength > 150_000)
                    || (status == 503 && isNarrow)
                let isStale = world.mood == .stale && status == 502 && !asking.isIdempotent
                if !isExpected, !isStale { world.violate("request \(id) was refused with \(status)") }
                // The rest of its body may have been on its way.
                if asking.framing != .none { return }
            case .none:
                if world.isDraining { return }
                world.violate("request \(id), number \(index) of client \(number), was not answered")
            case .broken: world.violate("the answer to \(id) is broken")
            }
        }
    }
}
