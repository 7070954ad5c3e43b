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
import Upstreams

// From a head to a decision: who asks, where it leads, whether it may, and what the service will get to see.
extension Worker {
    /// Begins an exchange. `nil` when there is no room for one more: the caller ends the stream or connection.
    mutating func open(
        on downstream: SlabID, stream: StreamID?, framing: BodyFraming, _ loop: inout EventLoop
    ) -> SlabID? {
        guard !exchanges.isFull, let note = notes.take() else {
            settings.meters.count(.exchanges)
            return nil
        }
        let body = BodyReader(framing)
        let machine = ExchangeMachine(
            isIdempotent: requestHead.method.isIdempotent && !requestHead.asksWebSocket,
            hasRequestEnded: body.isEnded)
        var exchange = Exchange(
            downstream: downstream, stream: stream, snapshot: current, note: note, machine: machine,
            requestBody: body)
        exchange.method = requestHead.method
        exchange.echoesRequestID = snapshots[current].echoesRequestID
        exchange.facts.began = loop.now
        exchange.facts.beganWall = loop.wall
        exchange.facts.generation = snapshots[current].generation
        exchange.facts.version = requestHead.version
        exchange.client = downstreams[downstream].peer
        let id = exchanges.insert(exchange)
        snapshots[current].pins &+= 1
        if let stream { downstreams[downstream].session?.setToken(stream, Token(kind: 0, id: id).word &+ 1) }
        return id
    }

    /// The exchange that a stream carries, `nil` when it carries none.
    mutating func exchange(of stream: StreamID, on downstream: SlabID) -> SlabID? {
        let word = downstreams[downstream].session?.token(stream) ?? 0
        guard word != 0 else { return nil }
        let id = Token(word: word &- 1).id
        return exchanges.contains(id) ? id : nil
    }

    /// What can be said of a head that was refused: its id, and the first words of its first line.
    mutating func noteRefusedHead(_ exchange: SlabID, _ bytes: RawSpan, _ loop: inout EventLoop) {
        makeRequestID(exchange, wall: loop.wall)
        let end = bytes.firstIndex(notIn: .target, from: 0)
        exchanges[exchange].facts.method = exchanges[exchange].keep(bytes.extracting(0..<end), limit: 32)
        let start = min(end &+ 1, bytes.byteCount)
        var stop = bytes.firstIndex(notIn: .target, from: start)
        stop = min(stop, bytes.firstIndex(of: UInt8(ascii: "?"), from: start))
        exchanges[exchange].facts.path = exchanges[exchange].keep(bytes.extracting(start..<stop), limit: 512)
    }

    /// Decides about the request whose head `requestHead` describes, with ranges into `bytes`, and writes it as the
    /// service will get it. `nil` when it may go on.
    mutating func admit(_ id: SlabID, _ bytes: RawSpan, _ loop: inout EventLoop) -> Refusal? {
        let refusal = judge(id, bytes, &loop)
        // What is refused is a part of its trace too.
        if refusal != nil { noteTrace(id, bytes) }
        return refusal
    }

    private mutating func judge(_ id: SlabID, _ bytes: RawSpan, _ loop: inout EventLoop) -> Refusal? {
        let downstream = exchanges[id].downstream
        let peer = downstreams[downstream].peer
        let isTrusted = !downstreams[downstream].isUnnamed && snapshots[current].trusts(peer)
        takeRequestID(id, bytes, isTrusted: isTrusted, wall: loop.wall)
        if settings.log.isOn { noteHead(id, bytes) }
        if requestHead.method == .trace {
            exchanges[id].takeTargetAsPath()
            return .methodNotAllowed
        }
        guard let listener = snapshots[current].listener(label: Int(downstreams[downstream].listenerLabel))
        else {
            return .noRoute
        }
        let securePort = snapshots[current].listeners[listener].securePort
        if securePort > 0 { return redirect(id, to: securePort, bytes) }
        if exchanges[id].stream != nil { noteGRPC(id, bytes) }
        if snapshots[current].listeners[listener].bindsAuthority, !coversAuthority(id, bytes) {
            return .misdirected
        }
        if settings.pressure.load(0) >= MemoryPressure.shedExchanges {
            settings.meters.count(.memoryBudget)
            return .overloaded
        }
        // What is left is for answers, this one too: an exchange that took it would leave everybody without one.
        guard mayRead else {
            settings.meters.count(.blocks)
            return .overloaded
        }

        guard let usesPathBlock = normalizePath(bytes) else { return .badTarget }
        if usesPathBlock {
            if settings.log.isOn {
                let path = apart(&exchanges, pathBlock) { $0[id].keep($1.bytes, limit: 512) }
                exchanges[id].facts.path = path
            }
        } else {
            exchanges[id].takeTargetAsPath()
        }

        guard let route = findRoute(bytes, usesPathBlock: usesPathBlock, listener: listener) else {
            return .noRoute
        }
        takePlan(id, route)

        if requestHead.framing != .none, requestHead.fields.hasContentType("application/grpc", in: bytes) {
            exchanges[id].isRateExempt = true
        }
        let client = isTrusted ? clientAddress(peer: peer, isTrusted: true, bytes) : peer
        let mostAtOnce = snapshots[current].routes[route].concurrency.most
        let early = snapshots[current].routes[route].earlyLimits
        exchanges[id].client = client
        if mostAtOnce > 0,
            let refusal = checkConcurrency(id, route, isEarly: true, bytes, nil)
        {
            return refusal
        }
        if early > 0, let refusal = checkLimits(id, route, 0, early, bytes, nil, loop.now) { return refusal }
        if case .length(let length) = requestHead.framing, length > exchanges[id].bodyLimit {
            return .bodyTooLarge
        }
        return judgeToken(
            id, route, bytes, usesPathBlock: usesPathBlock, peer: peer, isTrusted: isTrusted, mayWait: true,
            &loop)
    }

    /// The path, in the one form that is matched and forwarded: whether that form stands in `pathBlock`, where it is another than
    /// came. `nil` when it is refused.
    @inline(__always) mutating func normalizePath(_ bytes: RawSpan) -> Bool? {
        pathBlock.removeAll()
        // OPTIONS * is about the server as a whole (RFC 9110 §9.3.7), which here is nobody's.
        if requestHead.path.count == 1, bytes[requestHead.path.lowerBound] == UInt8(ascii: "*") {
            return false
        }
        let merges = snapshots[current].http.mergesSlashes
        switch PathForm.normalize(requestHead.path, of: bytes, mergeSlashes: merges, into: &pathBlock) {
        case .unchanged: return false
        case .rewritten: return true
        case .refused: return nil
        }
    }

    @inline(__always) mutating func findRoute(_ bytes: RawSpan, usesPathBlock: Bool, listener: Int) -> Int? {
        usesPathBlock
            ? snapshots[current].table.match(
                host: bytes[requestHead.authority], path: pathBlock.bytes, listener: listener)
            : snapshots[current].table.match(
                host: bytes[requestHead.authority], path: bytes[requestHead.path], listener: listener)
    }

    /// What is decided by the token, and after it. `mayWait`: an unknown key may be waited for, which `keyWait` of the
    /// exchange then tells.
    mutating func judgeToken(
        _ id: SlabID, _ route: Int, _ bytes: RawSpan, usesPathBlock: Bool, peer: SocketAddress,
        isTrusted: Bool, mayWait: Bool, _ loop: inout EventLoop
    ) -> Refusal? {
        var entry: TokenEntryID?
        if snapshots[current].routes[route].issuer >= 0 {
            // Who has waited has waited for its token.
            let began = exchanges[id].keyDeadline == 0 ? loop.now : exchanges[id].facts.began
            let answer = verifyToken(id, route, bytes, mayWait: mayWait, &loop, &entry)
            exchanges[id].facts.authNanoseconds = max(loop.now &- began, 1)
            if let answer { return answer }
            // It waits for a key: nothing of it goes on.
            guard entry != nil else { return nil }
        }
        if snapshots[current].routes[route].hasSubjectLimits,
            let refusal = checkSubjectLimits(id, route, bytes, entry, loop.now)
        {
            return refusal
        }
        return writeRequest(
            id, route, bytes, usesPathBlock: usesPathBlock, peer: peer, isTrusted: isTrusted, entry: entry)
    }

    /// Puts the address of what was asked for, under https, into the scratch block for paths, where the answer finds it:
    /// path and query byte for byte, since only whoever serves them knows what they mean.
    @inline(never) private mutating func redirect(_ id: SlabID, to port: Int, _ bytes: RawSpan) -> Refusal {
        exchanges[id].takeTargetAsPath()
        let authority = bytes[requestHead.authority]
        // Without a host there is nowhere to send anybody (HTTP/1.0, or an empty Host).
        guard let parts = Authority.split(authority) else { return .badHost }
        pathBlock.removeAll()
        pathBlock.append("https://")
        pathBlock.append(authority[parts.host])
        if port != 443 {
            pathBlock.append(":")
            pathBlock.append(number: port)
        }
        let path = bytes[requestHead.path]
        // The target URI of `OPTIONS *` has no path (RFC 9112 §3.3).
        if path[0] == UInt8(ascii: "/") { pathBlock.append(path) }
        if requestHead.hasQuery {
            pathBlock.append("?")
            pathBlock.append(bytes[requestHead.query])
        }
        return .redirected
    }

    // MARK: What is noted

    /// What the access line alone will say of the head.
    mutating func noteHead(_ id: SlabID, _ bytes: RawSpan) {
        guard settings.log.isOn else { return }
        exchanges[id].facts.method = exchanges[id].keep(bytes[requestHead.methodBytes], limit: 32)
        exchanges[id].facts.host = exchanges[id].keep(bytes[requestHead.authority], limit: 255)
        exchanges[id].facts.target = exchanges[id].keep(bytes[requestHead.path], limit: 512)
    }

    /// The id that the client's side brought, where it may, else a fresh one.
    @inline(__always) private mutating func takeRequestID(
        _ id: SlabID, _ bytes: RawSpan, isTrusted: Bool, wall: UInt64
    ) {
        let accepts: Bool
        switch snapshots[current].requestIDAcceptance {
        case .anyone: accepts = true
        case .trustedProxies: accepts = isTrusted
        case .nobody: accepts = false
        }
        if accepts {
            for index in 0..<requestHead.fields.count {
                let line = requestHead.fields[index]
                guard
                    bytes[line.name].equalsIgnoringCase(snapshots[current].requestIDField.span),
                    CorrelationID.isAcceptable(bytes[line.value])
                else { continue }
                exchanges[id].facts.requestID = exchanges[id].keep(bytes[line.value], limit: 128)
                return
            }
        }
        makeRequestID(id, wall: wall)
    }

    // Inlined: a call would copy the whole loop for the callee.
    @inline(__always) mutating func makeRequestID(_ id: SlabID, _ loop: borrowing EventLoop) {
        makeRequestID(id, wall: loop.wall)
    }

    /// A fresh id; `wall` is Unix time in nanoseconds.
    mutating func makeRequestID(_ id: SlabID, wall: UInt64) {
        identityCount &+= 1
        let identity = identities.next(
            wallMilliseconds: wall / 1_000_000, random: identityHash.hash64(word: identityCount))
        exchanges[id].keepRequestID(identity)
    }

    /// Copies what the exchange needs of the plan for as long as it lives.
    @inline(__always) mutating func takePlan(_ id: SlabID, _ route: Int) {
        let current = current
        let service = snapshots[current].routes[route].service
        apart(&exchanges, snapshots) {
            $0[id].take($1[current].routes[route], at: route, $1[current].services[service])
        }
    }

    // MARK: Tokens

    private mutating func verifyToken(
        _ id: SlabID, _ route: Int, _ bytes: RawSpan, mayWait: Bool, _ loop: inout EventLoop,
        _ entry: inout TokenEntryID?
    ) -> Refusal? {
        let issuer = snapshots[current].routes[route].issuer
        guard let line = requestHead.fields.firstIndex(of: .authorization) else { return .tokenMissing }
        for index in (line &+ 1)..<max(requestHead.fields.count, line &+ 1)
        where requestHead.fields[index].known == .authorization {
            // Two of them: which one counts would be a guess.
            return .tokenInvalid
        }
        let value = bytes[requestHead.fields[line].value]
        let scheme: StaticString = "bearer "
        guard value.byteCount > 7, value.extracting(0..<7).equalsIgnoringCase(scheme) else {
            return .tokenMissing
        }
        let token = value.extracting(7..<value.byteCount)
        let checks = snapshots[current].issuers[issuer].verifier.signatureChecks
        let verdict = snapshots[current].issuers[issuer].verifier.verify(
            token, nowSeconds: Int64(loop.wall / 1_000_000_000))
        if snapshots[current].issuers[issuer].verifier.signatureChecks != checks {
            checksLeft &-= 1
            loop.readClocks()
        }
        switch verdict {
        case .accepted(let found, _):
            entry = found
            let current = current
            exchanges[id].facts.subject = apart(&exchanges, &snapshots) {
                $1[current].issuers[issuer].keepSubject(of: found, in: &$0[id])
            }
            guard snapshots[current].routes[route].requiresGrants else { return nil }
            let requirement = snapshots[current].routes[route].requirement
            return Refusal(snapshots[current].issuers[issuer].verifier.judge(requirement, of: found, token))
        case .refused(let reason):
            exchanges[id].tokenRefusal = reason
            if reason == .unknownKey {
                if mayWait { return awaitKey(id, issuer, &loop) }
                if !snapshots[current].issuers[issuer].verifier.hasKeys { return .keysUnavailable }
            }
            return Refusal(reason)
        }
    }
}
