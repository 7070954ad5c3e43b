import HTTP
import HTTP2
import LinuxIO
import Memory

/// One connection of a service of HTTP/2: judges every byte of the requests that come on its streams, and answers them.
final class StreamService: Server {
    /// One request on its stream.
    private struct Stream {
        let name: StreamID
        let asking: Int
        var received = 0
        var isRequestWhole = false
        var endsWithHead = false
        var owedCredit = 0
        /// `nil` once nothing more is said on it.
        var plan: StreamPlan?
        var offset = 0
        var hasHead = false
        /// The gateway or this side has reset it.
        var isReset = false
        var isReleased = false
    }

    private let world: World
    private let peer: StreamPeer
    private let isSlow: Bool
    private let isStingy: Bool
    /// Says nothing until then.
    private let greetsAt: Int
    private let goesAwayAt: Int
    private let oddAt: Int
    private var streams: [Int32: Stream] = [:]
    private var order: [Int32] = []
    private var served = 0
    private var awaySince: Int?
    /// Streams that come now are nobody's.
    private var isAway = false
    private var finishesSoon = false
    /// Nothing is sent any more.
    private var isStalled = false
    private(set) var isDone = false

    init(_ world: World, _ wire: Wire) {
        self.world = world
        isSlow = world.chance.oneIn(4)
        isStingy = world.chance.oneIn(4)
        if world.chance.oneIn(3) { wire.capacity = [1, 100, 4000, 30_000][world.chance.below(4)] }
        if world.chance.oneIn(4) { wire.window = [64, 2000, 20_000][world.chance.below(3)] }
        let isRough = world.mood == .rough
        let turn = world.kernel.turn
        greetsAt = world.chance.oneIn(4) ? turn + world.chance.below(isRough ? 200 : 20) : turn
        goesAwayAt = world.chance.oneIn(4) ? turn + world.chance.below(100) : .max
        oddAt = isRough && world.chance.oneIn(10) ? turn + world.chance.below(100) : .max
        peer = StreamPeer(world, wire, isClient: false, "the service of wire \(wire.number)")
        world.trace("a service of HTTP/2 accepts wire \(wire.number)")
        if isRough, world.chance.oneIn(24) {
            peer.sendOddly(Array("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n".utf8))
        }
    }

    private var isTalking: Bool { !isStalled && peer.wire.isSending }
    private var lively: Int {
        order.count { streams[$0]?.isReleased == false && streams[$0]?.isReset == false }
    }
    var open: Int { isDone || isStalled || peer.isOdd ? 0 : lively }

    func act() {
        guard !isDone else { return }
        read()
        guard !isDone, !(isSlow && world.chance.oneIn(2)) else { return }
        if isTalking {
            beOdd()
            for number in order where isTalking { answer(number) }
            if world.kernel.turn >= greetsAt { peer.write() }
            noteWhole()
        }
        // What was said before is still sent.
        peer.send()
        if finishesSoon, !peer.hasUnsent {
            finishesSoon = false
            peer.wire.finish()
        }
        if isTalking, lively == 0, served > 0 { idle() }
    }

    // MARK: Ends

    private func beOdd() {
        if world.kernel.turn >= oddAt, !peer.isOdd {
            let odd = OddFrames.all(stream: UInt32(order.last ?? 1))
            peer.sendOddly(odd[world.chance.below(odd.count)])
        }
        guard world.kernel.turn >= goesAwayAt, !isAway, !peer.isOdd else { return }
        guard let since = awaySince else {
            guard world.mood == .rough || world.refusalsLeft > 0 else { return }
            world.refusalsLeft -= 1
            awaySince = world.kernel.turn
            // Either step may come alone (RFC 9113 §6.8).
            if world.chance.oneIn(2) { return }
            world.trace("wire \(peer.wire.number): the service says that it will go away")
            peer.session.shutdownNotice()
            return
        }
        guard world.kernel.turn >= since + 8 else { return }
        world.trace("wire \(peer.wire.number): the service goes away")
        isAway = true
        world.departures += 1
        // What was refused by this was not delivered; it must be written before another stream can come.
        peer.session.goAway()
        peer.write()
    }

    /// An idle connection of an unreliable service, and one that has said goodbye.
    private func idle() {
        if isAway, peer.isSaid {
            peer.wire.finish()
            isStalled = true
            return
        }
        guard world.mood != .fair, peer.isSaid, peer.wire.waitingBytes == 0, world.chance.oneIn(24) else {
            return
        }
        if world.mood == .rough, world.chance.oneIn(2) {
            world.trace("the service resets idle wire \(peer.wire.number)")
            peer.wire.reset(&world.chance)
            isDone = true
        } else {
            world.trace("the service closes idle wire \(peer.wire.number)")
            peer.wire.finish()
            isStalled = true
        }
    }

    // MARK: Requests

    private func read() {
        let most = world.chance.oneIn(3) ? world.chance.piece(of: max(peer.wire.waitingBytes, 1)) : 65536
        if world.chance.oneIn(isSlow ? 2 : 8) { return }
        peer.read(most)
        while let frame = peer.next() {
            hear()
            judge(frame)
        }
        hear()
        for number in order where streams[number]?.isReleased == false {
            guard let name = streams[number]?.name else { continue }
            var owed = streams[number]?.owedCredit ?? 0
            peer.consume(name, &owed, isStingy: isStingy)
            streams[number]?.owedCredit = owed
        }
        if peer.wire.end != .none {
            world.trace("the service sees the end of wire \(peer.wire.number): \(peer.wire.end)")
            peer.wire.close()
            isDone = true
        }
    }

    private func hear() {
        while true {
            switch peer.session.nextEvent() {
            case .none: return
            case .request(let name, _): begin(name)
            case .closed(let name):
                let number = peer.session.number(name)
                streams[number]?.isReleased = true
                streams[number]?.plan = nil
                peer.session.release(name)
            case .reset(let name, let code):
                world.trace("wire \(peer.wire.number): \(peer.session.number(name)) is reset, error \(code)")
                streams[peer.session.number(name)]?.plan = nil
            case .data, .trailers, .drained, .goAway: continue
            case .malformed(let name):
                world.violate("wire \(peer.wire.number) brought a malformed head")
                streams[peer.session.number(name)]?.plan = nil
            case .interim, .response, .settings, .starved:
                world.violate("a service is told what services are not")
            }
        }
    }

    private func begin(_ name: StreamID) {
        let number = peer.session.number(name)
        let error = peer.session.readHead(name, into: &world.memory.requestHead)
        let copy = peer.headBytes(name)
        let bytes = copy.rawSpan
        let target = bytes[world.memory.requestHead.target].text
        let head = Head(
            first: bytes[world.memory.requestHead.methodBytes].text + " " + target,
            fields: world.heard(world.memory.requestHead.fields, bytes))
        guard error == nil, let id = world.asking(target[...], head),
            world.askings[id].service == World.streamed,
            head.first.hasPrefix(world.askings[id].method + " ")
        else {
            world.violate("wire \(peer.wire.number) brought a request that nobody made: \(head.first)")
            return
        }
        world.trace("wire \(peer.wire.number) brings \(head.first) on stream \(number)")
        if world.askings[id].isMalformed { world.violate("a malformed head was forwarded: \(head.first)") }
        if world.askings[id].isTunnel { world.violate("a tunnel was asked for with HTTP/2: \(head.first)") }
        for name in ["connection", "expect", "keep-alive", "te", "upgrade", "transfer-encoding"]
        where head.value(name) != nil {
            world.violate("\(name) was forwarded with \(id)")
        }
        var stream = Stream(name: name, asking: id)
        let isRough = world.mood == .rough
        // In two tries of three; what is too large for the gateway's memory may not come again.
        if world.refusalsLeft > 0 || isRough, world.chance.oneIn(16) {
            world.refusalsLeft -= 1
            world.trace("the service refuses stream \(number)")
            world.askings[id].refusals += 1
            stream.isReset = true
            peer.reset(name, HTTP2ErrorCode.refusedStream)
        } else {
            world.noteDelivery(id)
            stream.plan = world.planStream(to: id)
        }
        streams[number] = stream
        order.append(number)
    }

    private func judge(_ frame: Frame) {
        guard let stream = streams[frame.stream] else { return }
        switch frame.kind {
        case Frame.data:
            if stream.isRequestWhole {
                world.violate("wire \(peer.wire.number) brought DATA behind the end of \(stream.asking)")
            }
            let bytes = peer.bytes(of: frame)
            let key = world.askings[stream.asking].bodyKey
            if !world.bodies.matches(key, at: stream.received, bytes) {
                world.violate("the body of \(stream.asking) is not what was sent, at \(stream.received)")
            }
            streams[frame.stream]?.received += bytes.count
            if frame.hasEndStream { requestEnded(frame.stream) }
        case Frame.headers, Frame.continuation:
            if frame.hasEndStream { streams[frame.stream]?.endsWithHead = true }
            if frame.hasEndHeaders, streams[frame.stream]?.endsWithHead == true { requestEnded(frame.stream) }
        case Frame.reset:
            let code = peer.errorCode(of: frame)
            if code == HTTP2ErrorCode.protocolError || code == HTTP2ErrorCode.flowControlError, !peer.isOdd,
                !world.hasOddAnswer(stream.asking)
            {
                world.violate("the service is told that its \(stream.asking) breaks the rules, error \(code)")
            }
            streams[frame.stream]?.isReset = true
            streams[frame.stream]?.plan = nil
        default: break
        }
    }

    private func requestEnded(_ number: Int32) {
        guard let stream = streams[number], !stream.isRequestWhole else { return }
        streams[number]?.isRequestWhole = true
        world.noteWholeDelivery(stream.asking, stream.received)
    }

    // MARK: Answers

    private func answer(_ number: Int32) {
        guard let stream = streams[number], let plan = stream.plan, !stream.isReset, !stream.isReleased else {
            return
        }
        switch plan.start {
        case .head: break
        case .middle: guard stream.isRequestWhole || stream.received > 0 else { return }
        case .end: guard stream.isRequestWhole else { return }
        }
        if plan.cutAt == .some(-1) {
            cut(number, plan)
            return
        }
        if !stream.hasHead {
            sendHead(number, stream, plan)
            return
        }
        guard peer.session.outboundCount(stream.name) < 30_000, !world.chance.oneIn(3) else { return }
        let end = min(plan.cutAt ?? plan.bodyLength, plan.bodyLength)
        let count = min(world.chance.piece(of: end - stream.offset), 40_000)
        if count > 0 {
            var bytes: [UInt8] = []
            world.bodies.append(
                world.answers[plan.number].bodyKey, from: stream.offset, count: count, to: &bytes)
            peer.append(bytes, to: stream.name)
            streams[number]?.offset += count
        }
        guard stream.offset + count == end else { return }
        if plan.cutAt != nil { cut(number, plan) } else { complete(number, stream, plan) }
    }

    private func sendHead(_ number: Int32, _ stream: Stream, _ plan: StreamPlan) {
        let mark = "\(stream.asking)-\(plan.number)"
        for status in plan.interims {
            peer.session.beginResponse(status: status)
            peer.session.addField("x-answer", Array(mark.utf8).rawSpan)
            peer.session.addField("link", "</style.css>")
            peer.session.submitInterim(stream.name)
        }
        peer.session.beginResponse(status: plan.status)
        peer.session.addField("x-answer", Array(mark.utf8).rawSpan)
        if let text = plan.lengthText {
            peer.session.addField("content-length", Array(text.utf8).rawSpan)
        }
        if let filler = plan.filler { peer.session.addField("x-filler", Array(filler.utf8).rawSpan) }
        if let (name, value) = plan.oddField {
            peer.session.addField(Array(name.utf8).rawSpan, Array(value.utf8).rawSpan)
        }
        let ends = plan.endsWithHead
        peer.session.submitResponse(stream.name, endsStream: ends)
        streams[number]?.hasHead = true
        // A length of none says that all of it is there; the end of the stream may still be on its way.
        if plan.lengthText == "0", !plan.isNonsense { world.answers[plan.number].isWhole = true }
        if ends { completed(number, stream, plan) }
    }

    private func complete(_ number: Int32, _ stream: Stream, _ plan: StreamPlan) {
        peer.end(stream.name, hasTrailers: plan.hasTrailers)
        completed(number, stream, plan)
    }

    private func completed(_ number: Int32, _ stream: Stream, _ plan: StreamPlan) {
        world.trace("answer \(plan.number) to \(stream.asking) is whole, on wire \(peer.wire.number)")
        served += 1
        streams[number]?.plan = nil
        if !plan.isNonsense { unwritten.append((number, plan.number)) }
        if !stream.isRequestWhole {
            // The rest of the request is of no use to anybody (RFC 9113 §8.1); the session resets the stream for it.
            peer.resets.insert(number)
            peer.session.discardBody(stream.name)
        }
        switch plan.after {
        case .keep, .poison: break
        case .finish: finish()
        case .reset: resetsSoon = true
        }
    }

    /// Answers that are said, and not yet written to the end.
    private var unwritten: [(stream: Int32, answer: Int)] = []
    private var resetsSoon = false

    private func noteWhole() {
        unwritten.removeAll {
            guard peer.ended.contains($0.stream) else { return false }
            world.answers[$0.answer].isWhole = true
            return true
        }
        if resetsSoon, peer.isSaid, peer.wire.isQuiet {
            peer.wire.reset(&world.chance)
            isDone = true
        }
    }

    /// Ends the connection behind what is written, whatever else is under way.
    private func finish() {
        peer.write()
        noteWhole()
        isStalled = true
        finishesSoon = true
    }

    private func cut(_ number: Int32, _ plan: StreamPlan) {
        world.trace("answer \(plan.number) is cut after \(streams[number]?.offset ?? 0) bytes: \(plan.cut)")
        streams[number]?.plan = nil
        guard let name = streams[number]?.name else { return }
        switch plan.cut {
        case .stall: break
        case .stream(let code):
            streams[number]?.isReset = true
            peer.reset(name, code)
        case .finish: finish()
        case .reset:
            peer.write()
            peer.wire.reset(&world.chance)
            isDone = true
        }
    }
}

/// What a service of HTTP/2 means to do with one request.
struct StreamPlan {
    enum Cut {
        /// Nothing more comes.
        case stall
        /// RST_STREAM with a code.
        case stream(UInt32)
        /// The connection ends, or is reset.
        case finish, reset
    }

    let number: Int
    var start = AnswerPlan.Start.end
    var interims: [Int] = []
    var status = 200
    var bodyLength = 0
    var lengthText: String?
    var filler: String?
    var oddField: (String, String)?
    var endsWithHead = false
    var hasTrailers = false
    var after = AnswerPlan.After.keep
    /// So many bytes of the body, or -1 for before the head.
    var cutAt: Int?
    var cut = Cut.stall
    /// What a gateway must not take for an answer.
    var isNonsense = false
}

extension World {
    /// Fields that stand in no answer of HTTP/2 (RFC 9113 §8.2), and lengths that are none.
    private static let oddFields: [(String, String)] = [
        ("connection", "close"), ("transfer-encoding", "chunked"), ("bad name", "x"), ("x-bad", "a\u{0}b"),
        (":path", "/"), ("content-length", "nonsense"), ("content-length", "7"),
    ]

    func planStream(to id: Int) -> StreamPlan {
        let isRough = mood == .rough
        var answer = Answer(number: answers.count, asking: id)
        var plan = StreamPlan(number: answer.number)
        if isRough, chance.oneIn(8) { plan.start = chance.oneIn(2) ? .head : .middle }
        answer.status = [200, 200, 200, 200, 404, 500, 204, 304][chance.below(8)]
        for _ in 0..<(chance.oneIn(6) ? 1 + chance.below(2) : 0) {
            plan.interims.append([100, 102, 103][chance.below(3)])
        }
        let isBodiless = answer.status == 204 || answer.status == 304
        answer.bodyLength = isBodiless ? 0 : length()
        if !isBodiless, chance.oneIn(2) { plan.lengthText = "\(answer.bodyLength)" }
        if chance.oneIn(12) { plan.filler = World.fillers[chance.below(6)] }
        let isHead = askings[id].method == "HEAD"
        plan.bodyLength = isHead ? 0 : answer.bodyLength
        plan.endsWithHead = plan.bodyLength == 0 && (isHead || isBodiless || chance.oneIn(2))
        plan.hasTrailers = !plan.endsWithHead && !isHead && chance.oneIn(8)
        plan.status = answer.status
        if isRough, !isHead, !isBodiless, answer.bodyLength > 0, chance.oneIn(14) { choose(&plan) }
        if isRough { chooseFaults(&plan) }
        answer.isOdd = plan.isNonsense
        answers.append(answer)
        return plan
    }

    private func choose(_ plan: inout StreamPlan) {
        plan.isNonsense = true
        if chance.oneIn(3) {
            // Not a shorter one: who has as much as was announced cannot know that more comes.
            plan.lengthText = "\(plan.bodyLength + 1)"
        } else {
            plan.lengthText = "\(plan.bodyLength + 8)"
            plan.oddField = World.oddFields[chance.below(World.oddFields.count)]
        }
    }

    private func chooseFaults(_ plan: inout StreamPlan) {
        switch chance.below(16) {
        case 0: plan.after = .finish
        case 1: plan.after = .reset
        default: break
        }
        guard chance.oneIn(6) else { return }
        plan.cutAt = chance.oneIn(3) ? -1 : chance.below(max(plan.bodyLength, 1))
        if plan.endsWithHead { plan.cutAt = -1 }
        plan.cut =
            [
                .stall, .finish, .reset, .stream(HTTP2ErrorCode.cancel),
                .stream(HTTP2ErrorCode.internalError),
                .stream(HTTP2ErrorCode.noError), .stream(HTTP2ErrorCode.enhanceYourCalm),
            ][chance.below(7)]
    }

    /// Whether a service has broken the rules in an answer to `id`.
    func hasOddAnswer(_ id: Int) -> Bool { answers.contains { $0.asking == id && $0.isOdd } }
}
