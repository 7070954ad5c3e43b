import LinuxIO

/// One connection of a service.
protocol Server: AnyObject {
    var isDone: Bool { get }
    /// What the gateway has neither ended nor broken.
    var open: Int { get }
    func act()
}

/// One connection of a service of HTTP/1.1: judges every byte of the requests that come on it, and answers them.
final class ServiceConnection: Server {
    private let world: World
    private let wire: Wire
    private let isSlow: Bool
    private var reader = MessageReader()
    /// The request whose head has come, until its answer is sent.
    private var current: Int?
    private var isChunked = false
    private var received = 0
    private var isRequestWhole = true
    private var plan: AnswerPlan?
    private var offset = 0
    private var served = 0
    private(set) var isDone = false
    /// Nothing is sent any more, and nothing read.
    private var isStalled = false
    /// As soon as the gateway's kernel has given away what was sent.
    private var resetsSoon = false
    /// Poisoned connections are for no further request.
    private var isPoisoned = false
    private var tunnelOf: Int?
    /// Does not even end its side of the tunnel.
    private var isMute = false
    /// Bytes go both ways, and the request's end is the client's.
    private var isTunnel = false
    private var hasTunnelEnded = false

    var open: Int { isTunnel && !hasTunnelEnded && !isDone ? 1 : 0 }

    init(_ world: World, _ wire: Wire) {
        self.world = world
        self.wire = wire
        isSlow = world.chance.oneIn(4)
        if world.chance.oneIn(3) { wire.capacity = [1, 100, 4000, 30_000][world.chance.below(4)] }
        if world.chance.oneIn(4) { wire.window = [64, 2000, 20_000][world.chance.below(3)] }
        world.trace("a service accepts wire \(wire.number)")
    }

    func act() {
        guard !isDone else { return }
        read()
        if !isDone, resetsSoon, wire.isQuiet {
            wire.reset(&world.chance)
            isDone = true
        }
        guard !isDone, !isStalled, !(isSlow && world.chance.oneIn(2)) else { return }
        answer()
        if !isDone, current == nil, reader.isBetweenMessages, served > 0 { idle() }
    }

    /// An idle connection of an unreliable service.
    private func idle() {
        guard world.mood != .fair, wire.waitingBytes == 0, wire.isSending, world.chance.oneIn(24) else {
            return
        }
        switch world.mood == .rough ? world.chance.below(3) : 0 {
        case 1:
            world.trace("the service resets idle wire \(wire.number)")
            wire.reset(&world.chance)
            isDone = true
        case 2 where wire.isQuiet:
            // Comes before any byte of the next request has been taken.
            world.trace("the service sends what nobody asked for on wire \(wire.number)")
            wire.send(poison[...])
            world.kernel.carryWhole(wire)
            isPoisoned = true
            finish()
        default:
            world.trace("the service closes idle wire \(wire.number)")
            finish()
        }
    }

    private func finish() {
        wire.finish()
        isStalled = true
    }

    private var poison: [UInt8] {
        Array("HTTP/1.1 200 OK\r\nX-Poison: \(wire.number)\r\nContent-Length: 6\r\n\r\npoison".utf8)
    }

    // MARK: Requests

    private func read() {
        // A service that has stalled still reads now and then, so that the end is seen.
        let most = world.chance.oneIn(3) ? world.chance.piece(of: max(wire.waitingBytes, 1)) : 65536
        if world.chance.oneIn(isSlow ? 2 : 8) { return }
        reader.withBuffer { wire.take(most, into: &$0) }
        steps: while true {
            switch reader.next() {
            case .more: break steps
            case .head(let head): readHead(head)
            case .body(let range): readBody(range)
            case .end: requestEnded()
            case .broken(let reason):
                world.violate("wire \(wire.number) brought what is no request: \(reason)")
                isDone = true
                wire.close()
                return
            }
            if isDone { return }
        }
        if isTunnel, wire.end == .fin {
            tunnelEnded()
        } else if wire.end != .none {
            world.trace("the service sees the end of wire \(wire.number): \(wire.end)")
            wire.close()
            isDone = true
        }
    }

    /// The client has said all; this side may not have.
    private func tunnelEnded() {
        guard let id = current ?? tunnelOf else { return }
        if !hasTunnelEnded {
            hasTunnelEnded = true
            world.trace("the service sees the end of the tunnel of \(id) after \(received) bytes")
            if received == world.askings[id].bodyLength { world.askings[id].wholeDeliveries += 1 }
        }
        if plan == nil, isStalled, !isMute {
            wire.close()
            isDone = true
        }
    }

    private func readHead(_ head: Head) {
        let words = head.first.split(separator: " ", omittingEmptySubsequences: false)
        guard words.count == 3, words[2] == "HTTP/1.1", let id = asking(words[1], head) else {
            world.violate("wire \(wire.number) brought a request that nobody made: \(head.first)")
            stop()
            return
        }
        world.trace("wire \(wire.number) brings \(head.first)")
        if current != nil {
            world.violate("wire \(wire.number) brought \(id) before the last answer was whole")
        }
        if world.askings[id].isMalformed { world.violate("a malformed head was forwarded: \(head.first)") }
        if head.values("host").count != 1 { world.violate("a request without one Host: \(head.first)") }
        let asksTunnel = world.askings[id].isTunnel
        for name in ["connection", "expect", "keep-alive", "te", "upgrade"] where head.value(name) != nil {
            if asksTunnel, name == "upgrade" || name == "connection" { continue }
            world.violate("\(name) was forwarded with \(id)")
        }
        world.noteDelivery(id)
        current = id
        received = 0
        isRequestWhole = false
        offset = 0
        if asksTunnel, takeTunnel(head, id) { return }
        plan = world.planAnswer(to: id)
        let lengths = head.values("content-length")
        let codings = head.values("transfer-encoding")
        if lengths.count + codings.count > 1 { world.violate("a request with two framings: \(id)") }
        if codings == ["chunked"] {
            reader.expectChunks()
        } else if let length = lengths.first.flatMap({ Int($0) }) {
            if length != world.askings[id].bodyLength, !world.askings[id].hasBrokenBody {
                world.violate("a request with another length: \(id)")
            }
            reader.expectLength(length)
        } else {
            reader.expectNothing()
        }
    }

    /// A handshake of a WebSocket: answers it with a tunnel, or (`false`) like any other request.
    private func takeTunnel(_ head: Head, _ id: Int) -> Bool {
        guard head.values("upgrade") == ["websocket"], head.values("connection") == ["Upgrade"],
            head.values("sec-websocket-key") == [World.webSocketKey]
        else {
            world.violate("the handshake of \(id) came as another")
            return false
        }
        let tunnel = world.planTunnel(to: id)
        guard let tunnel, !tunnel.isNonsense else {
            // Nothing will go through it.
            world.askings[id].bodyLength = 0
            plan = tunnel
            reader.expectNothing()
            return tunnel != nil
        }
        plan = tunnel
        isTunnel = true
        tunnelOf = id
        reader.expectUntilEnd()
        return true
    }

    /// The request that a head is, by its path and its mark, which must agree.
    private func asking(_ target: Substring, _ head: Head) -> Int? {
        let id = world.asking(target, head)
        return id.map { world.askings[$0].service == World.streamed } == false ? id : nil
    }

    private func readBody(_ range: Range<Int>) {
        guard let id = current ?? tunnelOf else { return }
        if !world.bodies.matches(world.askings[id].bodyKey, at: received, reader.buffer[range]) {
            world.violate("the body of \(id) is not what was sent, at \(received)")
            stop()
        }
        received += range.count
    }

    private func requestEnded() {
        guard let id = current else { return }
        isRequestWhole = true
        // An early answer is out already.
        if plan == nil { current = nil }
        world.noteWholeDelivery(id, received)
    }

    private func stop() {
        isDone = true
        wire.close()
    }

    // MARK: Answers

    private func answer() {
        guard let plan, let id = current, wire.isSending else { return }
        switch plan.start {
        case .head: break
        case .middle: guard isRequestWhole || received > 0 else { return }
        case .end: guard isRequestWhole else { return }
        }
        let end = plan.cutAt ?? plan.image.count
        let room = min(end - offset, wire.sendRoom)
        if room > 0 {
            let count = world.chance.piece(of: room)
            let isLast = offset + count == plan.image.count
            if isLast, plan.after == .poison, !plan.isUntilEnd {
                sendPoisoned(plan)
            } else {
                wire.send(plan.image[offset..<offset + count])
            }
            offset += count
        }
        guard offset == end else { return }
        if plan.cutAt != nil {
            cut(plan, id)
        } else {
            complete(plan, id)
        }
    }

    /// The end of the answer and bytes behind it that must arrive together: what comes later could be taken for the
    /// answer to a request that is on its way, and nobody could tell.
    private func sendPoisoned(_ plan: AnswerPlan) {
        guard wire.isQuiet else {
            wire.send(plan.image[offset...])
            return
        }
        wire.send(plan.image[offset...] + poison)
        world.kernel.carryWhole(wire)
        isPoisoned = true
    }

    private func complete(_ plan: AnswerPlan, _ id: Int) {
        world.trace("answer \(plan.number) to \(id) is on wire \(wire.number): \(plan.after)")
        if !plan.isNonsense { world.answers[plan.number].isWhole = true }
        served += 1
        self.plan = nil
        switch plan.isNonsense || isPoisoned ? .finish : plan.after {
        case .keep, .poison: if isRequestWhole { current = nil }
        case .finish:
            if isRequestWhole { current = nil }
            finish()
        case .reset:
            if isRequestWhole { current = nil }
            isStalled = true
            resetsSoon = true
        }
    }

    private func cut(_ plan: AnswerPlan, _ id: Int) {
        world.trace("answer \(plan.number) to \(id) is cut after \(offset) bytes: \(plan.cut)")
        self.plan = nil
        switch plan.cut {
        case .keep, .poison:
            isStalled = true
            isMute = isTunnel
        case .finish:
            if plan.isUntilEnd, offset >= plan.bodyStart {
                // Nobody can tell that this is not the whole.
                world.answers[plan.number].isWhole = true
                world.answers[plan.number].bodyLength = offset - plan.bodyStart
            }
            finish()
        case .reset:
            wire.reset(&world.chance)
            isDone = true
        }
    }
}

/// The services' addresses: who accepts, who refuses, who does not answer.
final class Services {
    private let world: World
    private var connections: [any Server] = []
    private var deafPorts: Set<UInt16> = []

    init(_ world: World) {
        self.world = world
        if world.mood == .rough, world.chance.oneIn(4) {
            deafPorts.insert(UInt16([7001, 7002, 7003, 7004, 7005, 7011, 7012][world.chance.below(7)]))
        }
    }

    /// Streams and tunnels that the gateway has neither ended nor broken.
    var open: Int { connections.reduce(0) { $0 + $1.open } }

    func act() {
        for wire in world.kernel.connecting {
            if deafPorts.contains(wire.address.port) { continue }
            if world.chance.oneIn(3) { continue }
            if world.mood == .rough, world.chance.oneIn(12) {
                world.trace("port \(wire.address.port) refuses wire \(wire.number)")
                world.kernel.refuse(wire)
            } else {
                world.kernel.accept(wire)
                connections.append(
                    wire.address.port > 7010
                        ? StreamService(world, wire) : ServiceConnection(world, wire))
            }
        }
        for connection in connections { connection.act() }
        connections.removeAll { $0.isDone }
    }
}
