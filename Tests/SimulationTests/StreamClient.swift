import HTTP
import HTTP2
import LinuxIO
import Memory

/// A client of HTTP/2 with prior knowledge: several requests at once, any of which it may give up, and a judgement of
/// every byte that comes back.
final class StreamClient: Caller {
    /// One request on its stream.
    private struct Stream {
        let asking: Int
        let name: StreamID
        /// Bytes of the body that the session has.
        var sent = 0
        var isRequestWhole = false
        var waitsForContinue = 0
        var hasContinue = false
        var isGivenUp = false
        /// Nothing more may come.
        var isOver = false
        /// The session has told all of it.
        var isReleased = false
        var owedCredit = 0

        var hasHead = false
        var hasInterim = false
        var answer: Int?
        var length: Int?
        var received = 0
        var refusal: [UInt8] = []
        /// END_STREAM stood in a head that goes on in CONTINUATION.
        var endsWithHead = false
    }

    private let world: World
    private let number: Int
    private let askings: [Int]
    private let beginsAt: Int
    private let width: Int
    private let isStingy: Bool
    private let isFickle: Bool
    private var goesAwayAt: Int
    private var oddAt: Int
    private var leavesAt: Int
    private var stalledUntil = 0
    private var peer: StreamPeer?
    private var streams: [Int32: Stream] = [:]
    private var order: [Int32] = []
    private var begun = 0
    private var hasGoneAway = false
    private(set) var isDone = false

    init(_ world: World, address: Int) {
        self.world = world
        number = address
        beginsAt = world.chance.below(20)
        let count = 1 + world.chance.below(world.chance.oneIn(3) ? 10 : 4)
        askings = (0..<count).map { _ in world.askStream() }
        width = 1 + world.chance.below(world.chance.oneIn(2) ? 2 : 8)
        isStingy = world.chance.oneIn(3)
        let isRough = world.mood == .rough
        isFickle = isRough && world.chance.oneIn(3)
        goesAwayAt = isRough && world.chance.oneIn(8) ? world.chance.below(80) : .max
        oddAt = isRough && world.chance.oneIn(8) ? world.chance.below(80) : .max
        leavesAt = isRough && world.chance.oneIn(4) ? world.chance.below(120) : .max
    }

    private var isMute: Bool { stalledUntil == .max }
    /// Whether no further request will be made, for whatever reason.
    private var isLast: Bool {
        guard let peer else { return false }
        return begun == askings.count || hasGoneAway || peer.isOdd || peer.isGoneAway
            || peer.session.isClosing
    }
    private var open: Int { order.count { streams[$0]?.isOver == false } }
    var isIdle: Bool { isDone || isMute || (isLast && open == 0) }
    var unanswered: Int { isDone || isMute ? 0 : open + (isLast ? 0 : askings.count - begun) }

    func act(listener: Int32?) {
        guard !isDone, world.kernel.turn >= beginsAt else { return }
        guard let peer else {
            guard let listener else {
                isDone = true
                return
            }
            connect(to: listener)
            return
        }
        read(peer)
        guard !isDone else { return }
        if world.kernel.turn >= leavesAt {
            leave()
            return
        }
        beOdd(peer)
        begin(peer)
        for number in order { feed(number, peer) }
        peer.write()
        if !world.chance.oneIn(4) { peer.send() }
    }

    private func connect(to listener: Int32) {
        let wire = world.connect(client: number, to: listener, with: "HTTP/2")
        peer = StreamPeer(world, wire, isClient: true, "client \(number)")
    }

    func leave() {
        guard !isDone else { return }
        guard let wire = peer?.wire else {
            isDone = true
            return
        }
        isDone = world.leave(wire, client: number, leavesAt: &leavesAt, stalledUntil: &stalledUntil)
    }

    // MARK: Requests

    private func beOdd(_ peer: StreamPeer) {
        if world.kernel.turn >= goesAwayAt, !hasGoneAway {
            hasGoneAway = true
            world.trace("client \(number) says GOAWAY")
            peer.session.goAway()
        }
        if world.kernel.turn >= oddAt, !peer.isOdd, let last = order.last {
            let odd = OddFrames.all(stream: UInt32(last))
            peer.sendOddly(odd[world.chance.below(odd.count)])
        }
        if isFickle, world.chance.oneIn(24), let number = someStream,
            let stream = streams[number], !stream.isReleased, !stream.isGivenUp
        {
            world.trace("client \(self.number) gives \(stream.asking) up")
            streams[number]?.isGivenUp = true
            streams[number]?.isOver = true
            peer.reset(stream.name, HTTP2ErrorCode.cancel)
        }
        if isFickle, world.chance.oneIn(60) { peer.session.sendPing() }
    }

    private var someStream: Int32? { order.isEmpty ? nil : order[world.chance.below(order.count)] }

    private func begin(_ peer: StreamPeer) {
        guard !isLast, open < width, peer.session.requestRoom > 0, peer.wire.isSending, !world.chance.oneIn(3)
        else { return }
        let id = askings[begun]
        let text = world.streamHead(id)
        text.fill(&world.memory.fields)
        let ends = world.askings[id].framing == .none
        let method = Array(world.askings[id].method.utf8)
        let path = Array(world.streamPath(id).utf8)
        let name = peer.session.submitRequest(
            method: method.rawSpan, isSecure: false, authority: ("sim.example" as StaticString).utf8Span,
            path: path.rawSpan, fields: world.memory.fields, bytes: text.bytes.rawSpan, endsStream: ends)
        guard let name else {
            world.violate("client \(number) cannot open a stream where there is room")
            return
        }
        let stream = peer.session.number(name)
        begun += 1
        world.askings[id].hasBegun = true
        world.trace(
            "client \(number) begins \(world.askings[id].method) \(world.path(id)) on stream \(stream), "
                + "\(world.askings[id].bodyLength) bytes")
        var made = Stream(asking: id, name: name)
        made.isRequestWhole = ends
        streams[stream] = made
        order.append(stream)
    }

    /// Hands more of a body to the session.
    private func feed(_ number: Int32, _ peer: StreamPeer) {
        guard let stream = streams[number], !stream.isRequestWhole, !stream.isGivenUp, !stream.isReleased
        else { return }
        let asking = world.askings[stream.asking]
        if asking.expects, !stream.hasContinue, stream.waitsForContinue < 40 {
            streams[number]?.waitsForContinue += 1
            return
        }
        guard peer.session.outboundCount(stream.name) < 30_000, !world.chance.oneIn(3) else { return }
        let left = asking.bodyLength - stream.sent
        let count = min(world.chance.piece(of: left), 40_000)
        if count > 0 {
            var bytes: [UInt8] = []
            world.bodies.append(asking.bodyKey, from: stream.sent, count: count, to: &bytes)
            peer.append(bytes, to: stream.name)
            streams[number]?.sent += count
        }
        if count == left {
            streams[number]?.isRequestWhole = true
            peer.end(stream.name, hasTrailers: world.chance.oneIn(8))
        }
    }

    // MARK: Answers

    private func read(_ peer: StreamPeer) {
        if stalledUntil > world.kernel.turn { return }
        if world.chance.oneIn(16) {
            stalledUntil = world.kernel.turn + world.chance.below(12)
            return
        }
        peer.read(world.chance.piece(of: max(peer.wire.waitingBytes, 1)))
        while let frame = peer.next() {
            hear(peer)
            judge(frame, peer)
            if isDone { return }
        }
        hear(peer)
        for number in order {
            if streams[number]?.isReleased == true {
                // Where it was not over, a GOAWAY has said that it will never be served.
                streams[number]?.isOver = true
                continue
            }
            guard let name = streams[number]?.name else { continue }
            var owed = streams[number]?.owedCredit ?? 0
            peer.consume(name, &owed, isStingy: isStingy)
            streams[number]?.owedCredit = owed
        }
        if peer.wire.end != .none { ended(peer) }
    }

    /// All that the session has to tell.
    private func hear(_ peer: StreamPeer) {
        while true {
            switch peer.session.nextEvent() {
            case .none: return
            case .interim(let name): hearInterim(peer.session.number(name), peer)
            case .response(let name, _): hearHead(peer.session.number(name), peer)
            case .closed(let name):
                streams[peer.session.number(name)]?.isReleased = true
                peer.session.release(name)
            case .data, .trailers, .drained, .reset, .settings, .goAway: continue
            case .request, .malformed, .starved:
                world.violate("client \(number) is told what clients are not")
            }
        }
    }

    private func hearInterim(_ number: Int32, _ peer: StreamPeer) {
        guard let stream = streams[number] else { return }
        let id = stream.asking
        while var block = world.memory.pool.take(),
            peer.session.takeInterim(stream.name, into: &world.memory.responseHead, bytes: &block)
        {
            let head = world.heard(world.memory.responseHead, block.bytes)
            world.trace("client \(self.number) reads \(head.first) for \(id)")
            if stream.hasHead { world.violate("client \(self.number) got \(head.first) behind an answer") }
            if head.first == "100" {
                if !world.askings[id].expects {
                    world.violate("client \(self.number) got 100 without asking for it")
                }
                streams[number]?.hasContinue = true
            } else if world.origin(head)?.asking != id {
                world.violate("client \(self.number) got another's \(head.first) for \(id)")
            }
        }
    }

    private func hearHead(_ number: Int32, _ peer: StreamPeer) {
        guard let stream = streams[number], !stream.isGivenUp else { return }
        let id = stream.asking
        let method: Method = world.askings[id].method == "HEAD" ? .head : .other
        if let error = peer.session.readResponse(
            stream.name, requestMethod: method, into: &world.memory.responseHead)
        {
            world.violate("client \(self.number) got a bad head for \(id): \(error)")
            return
        }
        let bytes = peer.headBytes(stream.name)
        let head = world.heard(world.memory.responseHead, bytes.rawSpan)
        world.trace("client \(self.number) reads \(head.first) for \(id)")
        streams[number]?.hasHead = true
        streams[number]?.length = head.value("content-length").flatMap { Int($0) }
        streams[number]?.answer = world.judgeHead(
            head, status: Int(head.first) ?? 0, for: id, "client \(self.number)")
    }

    private func judge(_ frame: Frame, _ peer: StreamPeer) {
        guard let stream = streams[frame.stream], !stream.isGivenUp else { return }
        let id = stream.asking
        switch frame.kind {
        case Frame.data:
            if stream.isOver || !stream.hasHead {
                world.violate("client \(number) got DATA out of its place, for \(id)")
            }
            take(peer.bytes(of: frame), frame.stream)
            if frame.hasEndStream { answerEnded(frame.stream) }
        case Frame.headers, Frame.continuation:
            if stream.isOver { world.violate("client \(number) got a head behind the end, for \(id)") }
            if frame.hasEndStream { streams[frame.stream]?.endsWithHead = true }
            if frame.hasEndHeaders, streams[frame.stream]?.endsWithHead == true { answerEnded(frame.stream) }
        case Frame.reset: wasReset(frame.stream, peer.errorCode(of: frame), peer)
        default: break
        }
    }

    private func take(_ bytes: ArraySlice<UInt8>, _ number: Int32) {
        guard let stream = streams[number] else { return }
        if let answer = stream.answer {
            if !world.bodies.matches(world.answers[answer].bodyKey, at: stream.received, bytes) {
                world.violate(
                    "client \(self.number) got other bytes than answer \(answer) has at \(stream.received)")
            }
        } else {
            streams[number]?.refusal += bytes
        }
        streams[number]?.received += bytes.count
    }

    private func answerEnded(_ number: Int32) {
        guard let stream = streams[number], !stream.isOver else { return }
        let id = stream.asking
        streams[number]?.isOver = true
        guard stream.hasHead else {
            world.violate("client \(self.number) got an end without a head, for \(id)")
            return
        }
        let isBodiless = world.askings[id].method == "HEAD" || world.askings[id].seenStatus == 304
        if let length = stream.length, length != stream.received, !isBodiless {
            world.violate("client \(self.number) got \(stream.received) bytes where \(length) were announced")
        }
        world.judgeWhole(id, stream.answer, stream.received, stream.refusal, "client \(self.number)")
    }

    private func wasReset(_ number: Int32, _ code: UInt32, _ peer: StreamPeer) {
        guard let stream = streams[number] else { return }
        let id = stream.asking
        world.trace("client \(self.number): stream \(number) of \(id) is reset, error \(code)")
        let asking = world.askings[id]
        let isWrong =
            code == HTTP2ErrorCode.protocolError || code == HTTP2ErrorCode.streamClosed
            || code == HTTP2ErrorCode.flowControlError
        if isWrong, !asking.isMalformed, !asking.hasBrokenBody, !peer.isOdd {
            world.violate("client \(self.number) is told that \(id) breaks the rules, error \(code)")
        }
        // What is left of the request has nowhere to go.
        streams[number]?.isRequestWhole = true
        guard !stream.isOver else { return }
        streams[number]?.isOver = true
        world.askings[id].outcome = .broken
        world.askings[id].resetCode = code
    }

    private func ended(_ peer: StreamPeer) {
        world.trace("client \(number) sees the end: \(peer.wire.end)")
        for number in order {
            guard let stream = streams[number], !stream.isOver else { continue }
            streams[number]?.isOver = true
            if stream.hasHead { world.askings[stream.asking].outcome = .broken }
        }
        peer.wire.close()
        isDone = true
    }
}

extension StreamClient {
    /// In a schedule without faults every request is answered, whole.
    func judge(isNarrow: Bool) {
        for id in askings where world.askings[id].hasBegun || !world.isDraining {
            world.judgeFairly(id, isNarrow: isNarrow, "client \(number)")
        }
    }
}
