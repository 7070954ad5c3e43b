import LinuxIO

/// A client of HTTP/1.1: sends its requests, one after the other or all at once, and judges every byte that comes back.
final class Client: Caller {
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
    private var isInMessage = false
    private var received = 0
    private var refusal: [UInt8] = []
    private var hasClosing = false
    /// Nothing more may come.
    private var isLastSeen = false

    /// Bytes that have gone through the tunnel, once it stands.
    private var tunnelled: Int?
    private var hasTunnelEnded = false

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
    var isIdle: Bool {
        isDone || isMute || (awaiting == askings.count && tunnelled == nil && reader.isBetweenMessages)
    }
    var unanswered: Int { isDone || isMute ? 0 : askings.count - awaiting }

    func act(listener: Int32?) {
        guard !isDone, world.kernel.turn >= beginsAt else { return }
        guard let wire else {
            guard let listener else {
                isDone = true
                return
            }
            wire = world.connect(client: number, to: listener, with: "HTTP/1.1")
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

    func leave() {
        guard !isDone else { return }
        guard let wire else {
            isDone = true
            return
        }
        isDone = world.leave(wire, client: number, leavesAt: &leavesAt, stalledUntil: &stalledUntil)
    }

    private func send(_ wire: Wire) {
        if let tunnelled {
            sendThrough(tunnelled, wire)
            return
        }
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

    // MARK: The tunnel

    private func openTunnel(_ head: Head, _ id: Int) {
        answer = world.origin(head)?.number
        guard let answer, world.answers[answer].asking == id,
            head.values("sec-websocket-accept") == [World.webSocketAccept],
            head.values("upgrade") == ["websocket"], head.values("connection").contains("Upgrade")
        else {
            world.violate("client \(number) got a 101 that is none, for \(id)")
            stop()
            return
        }
        world.trace("the tunnel of \(id) stands")
        world.askings[id].seenStatus = 101
        received = 0
        isInMessage = true
        hasClosing = true
        tunnelled = 0
        reader.expectUntilEnd()
    }

    private func sendThrough(_ sent: Int, _ wire: Wire) {
        guard let id = askings.last, wire.isSending, !world.chance.oneIn(4) else { return }
        let count = world.chance.piece(of: min(world.askings[id].bodyLength - sent, wire.sendRoom))
        if count > 0 {
            var bytes: [UInt8] = []
            world.bodies.append(world.askings[id].bodyKey, from: sent, count: count, to: &bytes)
            wire.send(bytes[...])
            tunnelled = sent + count
        }
        if sent + count == world.askings[id].bodyLength {
            world.trace("client \(number) has sent all through the tunnel of \(id)")
            wire.finish()
            if hasTunnelEnded {
                wire.close()
                isDone = true
            }
        }
    }

    /// The other side has said all; this one may not have.
    private func tunnelEnded(_ wire: Wire) {
        guard let id = askings.last else { return }
        if wire.end == .reset || tunnelled == world.askings[id].bodyLength {
            wire.close()
            isDone = true
        }
        guard !hasTunnelEnded else { return }
        hasTunnelEnded = true
        isInMessage = false
        world.trace("client \(number) sees the end of its tunnel: \(wire.end)")
        // A tunnel that breaks ends like any other for who only counts its bytes; what it carries knows better.
        let given = answer.map { world.answers[$0] }
        if wire.end == .fin, let given, given.isWhole, given.bodyLength == received {
            world.judgeWhole(id, answer, received, [], "client \(number)")
        } else {
            world.askings[id].outcome = .broken
        }
        awaiting += 1
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
        if status == 101, world.askings[id].isTunnel {
            openTunnel(head, id)
            return
        }
        if status < 200 {
            if world.origin(head)?.asking != id {
                world.violate("client \(number) got another's \(status) for \(id)")
            }
            reader.expectHead()
            return
        }
        received = 0
        refusal = []
        isInMessage = true
        answer = world.judgeHead(head, status: status, for: id, "client \(number)")
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
        world.judgeWhole(id, answer, received, refusal, "client \(number)")
        awaiting += 1
        isLastSeen = hasClosing
        if hasClosing, sending < awaiting {
            // What was not sent of the request is not needed any more.
            sending = askings.count
        }
    }

    private func ended(_ wire: Wire) {
        if tunnelled != nil {
            tunnelEnded(wire)
            return
        }
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
        for id in askings {
            let asking = world.askings[id]
            if asking.outcome == .none, world.isDraining { return }
            world.judgeFairly(id, isNarrow: isNarrow, "client \(number)")
            switch asking.outcome {
            case .answered: if asking.closes || world.isDraining { return }
            // The rest of its body may have been on its way.
            case .refused: if asking.framing != .none { return }
            case .none, .broken: break
            }
        }
    }
}
