import HTTP
import HTTP1
import HTTP2
import JWT
import LinuxIO
import Memory
import RateLimit
import Reactor
import Routing
import Telemetry

/// How an exchange waits for the key of its token.
enum KeyWait: UInt8 {
    /// It does not.
    case none
    case waiting
    /// The fetch is over: what the token says is looked at once more.
    case fetched
    /// There was no answer, or none in time.
    case failed
}

/// What the control side says of the fetch of a key set, in a cell that every worker reads.
public struct KeyFetchState: Equatable, Sendable {
    public enum Phase: Int, Sendable {
        /// None is under way, and the last one brought a set.
        case idle = 0
        case underWay = 1
        /// None is under way, and the last one brought nothing: whether a key that is not known exists cannot be said.
        case failed = 2
    }

    /// What a worker's letter says of it.
    public struct Told: Equatable, Sendable {
        /// As `KeyFetchState.ended` of the cell `cell`.
        public let ended: Int
        public let cell: Int

        public init(ended: Int, cell: Int) {
            self.ended = ended
            self.cell = cell
        }
    }

    public var phase: Phase
    /// How many have ended. A worker that was told of fewer has a letter under way, and a set of keys before it: it sees the cell
    /// at once, and its letters once a turn.
    public var ended: Int

    public init(phase: Phase, ended: Int) {
        self.phase = phase
        self.ended = ended
    }

    public init(cell: Int) { self.init(phase: Phase(rawValue: cell & 3) ?? .idle, ended: cell &>> 2) }

    public var cell: Int { ended &<< 2 | phase.rawValue }
}

// Tokens whose key is not known: one fetch for all who wait. A client has been held to its limit by address before it comes here;
// while it waits nothing of its body is read, or given credit for, and at the end of its patience it is told to come again.
extension Worker {
    /// Lets an exchange wait for the keys of its issuer, or says why not. `nil` when it waits.
    @inline(never) mutating func awaitKey(_ id: SlabID, _ issuer: Int, _ loop: inout EventLoop) -> Refusal? {
        let cell = snapshots[current].issuers[issuer].cell
        let hasKeys = snapshots[current].issuers[issuer].verifier.hasKeys
        let source = snapshots[current].issuers[issuer].source
        guard cell >= 0 else { return hasKeys ? .tokenUnknownKey : .keysUnavailable }
        // In this order: a fetch is told of before the time in which there is no second one.
        let cooldownEnds = UInt64(clamping: settings.keyCells.load(cell))
        let fetch = KeyFetchState(cell: settings.keyCells.load(cell &+ 1))
        let isUnderWay = fetch.phase == .underWay || fetch.ended != toldFetches.load(cell / 2)
        if !isUnderWay {
            // The control side asks again by itself where there is none.
            guard hasKeys else { return .keysUnavailable }
            // A flood of forged keys costs one fetch in this time; who asks meanwhile is not kept waiting for it. An issuer that
            // could not be asked may have the key: that is no fault of the token.
            if loop.now < cooldownEnds {
                return fetch.phase == .failed ? .keysUnavailable : .tokenUnknownKey
            }
        }
        guard lotCount < Worker.lotPlaces else {
            settings.meters.count(.keyLot)
            return .keysUnavailable
        }
        if !isUnderWay, settings.keyWishes.send(source) != nil { return .keysUnavailable }
        lot[lotCount] = id
        exchanges[id].lotPlace = lotCount
        lotCount &+= 1
        exchanges[id].keyWait = .waiting
        exchanges[id].keySource = source
        exchanges[id].joinsFetch = isUnderWay
        if exchanges[id].keyDeadline == 0 { exchanges[id].keyDeadline = loop.now &+ Worker.lotPatience }
        setExchangeDeadline(id, exchanges[id].keyDeadline, &loop)
        return nil
    }

    /// The keys of an issuer, from the control side.
    mutating func replaceKeys(_ keys: consuming KeySet, of source: UInt64) {
        for index in 0..<snapshots[current].issuers.count
        where snapshots[current].issuers[index].source == source {
            // A source has the issuer's name in it: there is no second one.
            snapshots[current].issuers[index].verifier.replaceKeySet(keys)
            return
        }
    }

    /// A fetch is over: who waited for it goes on in the next turns, as many in each as signatures may be checked.
    mutating func settleLot(
        _ source: UInt64, isFetched: Bool, _ told: KeyFetchState.Told?, _ loop: inout EventLoop
    ) {
        if let told { noteFetches(told) }
        for place in 0..<lotCount {
            let id = lot[place]
            guard exchanges[id].keyWait == .waiting, exchanges[id].keySource == source else { continue }
            exchanges[id].keyWait = isFetched ? .fetched : .failed
            exchanges[id].deadline = .max
            if !loop.resumeLater(Token(kind: TokenKind.exchange, id: id)) {
                setExchangeDeadline(id, loop.now, &loop)
            }
        }
    }

    /// The time of an exchange that waits is over, or its turn has come.
    mutating func lotTimerFired(_ id: SlabID, _ loop: inout EventLoop) {
        if exchanges[id].keyWait == .waiting {
            exchanges[id].keyWait = .failed
            // A letter that found the mailbox full does not come any more: the next one is not waited for in vain.
            for index in 0..<snapshots[current].issuers.count
            where snapshots[current].issuers[index].source == exchanges[id].keySource {
                let cell = snapshots[current].issuers[index].cell
                guard cell >= 0 else { continue }
                let fetch = KeyFetchState(cell: settings.keyCells.load(cell &+ 1))
                noteFetches(KeyFetchState.Told(ended: fetch.ended, cell: cell))
            }
        }
        leaveLot(id, &loop)
    }

    private func noteFetches(_ told: KeyFetchState.Told) {
        let place = told.cell / 2
        toldFetches.add(told.ended &- toldFetches.load(place), at: place)
    }

    /// Goes on with an exchange that has waited: by its head, which still lies where it came in.
    mutating func leaveLot(_ id: SlabID, _ loop: inout EventLoop) {
        let wait = exchanges[id].keyWait
        guard wait == .fetched || wait == .failed else { return }
        if wait == .fetched, checksLeft <= 0,
            loop.resumeLater(Token(kind: TokenKind.exchange, id: id))
        {
            return
        }
        if wait == .failed {
            // The answer gives up the place and the head.
            perform(exchanges[id].machine.handle(.refused(.keysUnavailable)), id, &loop)
        } else if let stream = exchanges[id].stream {
            goOnStream(id, stream, &loop)
        } else {
            goOnHTTP1(id, &loop)
        }
    }

    private mutating func goOnHTTP1(_ id: SlabID, _ loop: inout EventLoop) {
        let downstream = exchanges[id].downstream
        let count = exchanges[id].waitingHeadBytes
        vacate(id)
        var inbound = ByteQueue()
        swap(&inbound, &downstreams[downstream].inbound)
        requestHead.reset()
        var scanned = 0
        let limits = snapshots[current].http.limits
        let refusal: Refusal?
        switch RequestParser.parse(
            inbound.firstBytes.extracting(0..<count), limits: limits, scanned: &scanned, into: &requestHead)
        {
        case .complete: refusal = readmit(id, inbound.firstBytes.extracting(0..<count), &loop)
        // A reload has made the limits narrower.
        case .refused(let error): refusal = Refusal(error)
        case .incomplete: refusal = .internalError
        }
        if exchanges[id].keyWait != .none {
            exchanges[id].waitingHeadBytes = count
            swap(&inbound, &downstreams[downstream].inbound)
            return
        }
        inbound.consume(count)
        swap(&inbound, &downstreams[downstream].inbound)
        proceed(id, refusal, &loop)
        if downstreams.contains(downstream) { queue(downstream: downstream, &loop) }
    }

    private mutating func goOnStream(_ id: SlabID, _ stream: StreamID, _ loop: inout EventLoop) {
        let downstream = exchanges[id].downstream
        vacate(id)
        requestHead.reset()
        let error = apart(&requestHead, downstreams) { $1[downstream].readHead(of: stream, into: &$0) }
        guard var head = largeBlocks.take() else {
            refuseStreamHead(id, stream, .overloaded, &loop)
            return
        }
        let isWhole = downstreams[downstream].copyHead(of: stream, into: &head)
        if let error = isWhole ? error : .headTooLarge {
            refuseStreamHead(id, stream, Refusal(error), &loop)
            return
        }
        // DATA that came meanwhile makes no other request of it.
        requestHead.framing = exchanges[id].requestBody.framing
        let refusal = readmit(id, head.bytes, &loop)
        if exchanges[id].keyWait != .none { return }
        downstreams[downstream].session?.releaseHead(stream)
        beginStreamExchange(id, refusal, &loop)
        // What has come of its body told of itself while nobody listened.
        guard exchanges.contains(id) else { return }
        pumpRequest(id, &loop)
    }

    private mutating func refuseStreamHead(
        _ id: SlabID, _ stream: StreamID, _ reason: Refusal, _ loop: inout EventLoop
    ) {
        downstreams[exchanges[id].downstream].session?.releaseHead(stream)
        proceed(id, reason, &loop)
    }

    /// Decides once more about a request whose token's key was not known, by the keys that there are now. A configuration that
    /// came meanwhile is the one that holds; limits by address have been taken already.
    private mutating func readmit(_ id: SlabID, _ bytes: RawSpan, _ loop: inout EventLoop) -> Refusal? {
        exchanges[id].tokenRefusal = nil
        let refusal = rejudge(id, bytes, &loop)
        if refusal != nil { noteTrace(id, bytes) }
        return refusal
    }

    private mutating func rejudge(_ id: SlabID, _ bytes: RawSpan, _ loop: inout EventLoop) -> Refusal? {
        let downstream = exchanges[id].downstream
        let peer = downstreams[downstream].peer
        let isTrusted = !downstreams[downstream].isUnnamed && snapshots[current].trusts(peer)
        guard let listener = snapshots[current].listener(label: Int(downstreams[downstream].listenerLabel))
        else {
            return .noRoute
        }
        guard let usesPathBlock = normalizePath(bytes) else { return .badTarget }
        if exchanges[id].snapshot != current {
            unpin(id)
            exchanges[id].snapshot = current
            snapshots[current].pins &+= 1
            exchanges[id].facts.generation = snapshots[current].generation
            exchanges[id].route = -1
            if snapshots[current].listeners[listener].bindsAuthority, !coversAuthority(id, bytes) {
                return .misdirected
            }
            let found = findRoute(bytes, usesPathBlock: usesPathBlock, listener: listener)
            guard let found, snapshots[current].listeners[listener].securePort == 0 else { return .noRoute }
            takePlan(id, found)
            // What was told, and counted, of the old route's limits is of no use with the new one's.
            exchanges[id].limitIndex = -1
            exchanges[id].limitAnswer = nil
            if exchanges[id].countSlot >= 0 {
                settings.inFlight.leave(slot: exchanges[id].countSlot)
                exchanges[id].countSlot = -1
            }
            if snapshots[current].routes[found].concurrency.most > 0,
                let refusal = checkConcurrency(id, found, isEarly: true, bytes, nil)
            {
                return refusal
            }
            if case .length(let length) = requestHead.framing, length > exchanges[id].bodyLimit {
                return .bodyTooLarge
            }
        }
        return judgeToken(
            id, exchanges[id].route, bytes, usesPathBlock: usesPathBlock, peer: peer, isTrusted: isTrusted,
            mayWait: exchanges[id].joinsFetch, &loop)
    }

    /// Gives up the place of an exchange that ends while it waits, and its head, which nobody looks at any more.
    @inline(never) mutating func abandonWait(_ id: SlabID) {
        let count = exchanges[id].waitingHeadBytes
        vacate(id)
        let downstream = exchanges[id].downstream
        guard downstreams.contains(downstream) else { return }
        if let stream = exchanges[id].stream {
            if downstreams[downstream].session?.contains(stream) == true {
                downstreams[downstream].session?.releaseHead(stream)
            }
        } else {
            downstreams[downstream].inbound.consume(count)
        }
    }

    private mutating func vacate(_ id: SlabID) {
        let place = exchanges[id].lotPlace
        lotCount &-= 1
        let last = lot[lotCount]
        lot[place] = last
        exchanges[last].lotPlace = place
        lot[lotCount] = .none
        exchanges[id].keyWait = .none
        exchanges[id].deadline = .max
        exchanges[id].waitingHeadBytes = 0
    }
}
