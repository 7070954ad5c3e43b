import Testing

@testable import Proxy

/// A worker that keeps its side of the contract, as far as the machine can see it.
private struct LegalWorker {
    var machine: ExchangeMachine
    let isIdempotent: Bool
    let hadRequestEnded: Bool
    /// How often the request was sent.
    var sends = 0
    /// Whether the connection at hand carried an exchange before. A second try never gets such a one.
    var isConnectionKept = false
    /// Whether the kernel took a byte of the request, for the connection at hand.
    var isTouched = false
    /// Whether a byte of the request was ever taken, by any connection.
    var wasEverTouched = false
    var heads = 0
    /// Answers, cuts and abandonments.
    var ends = 0
    var faults: [String] = []

    init(isIdempotent: Bool, hasRequestEnded: Bool) {
        self.isIdempotent = isIdempotent
        hadRequestEnded = hasRequestEnded
        machine = ExchangeMachine(isIdempotent: isIdempotent, hasRequestEnded: hasRequestEnded)
    }

    /// What tells two states apart.
    var key: String {
        "\(machine) \(sends) \(isConnectionKept) \(isTouched) \(wasEverTouched) \(heads) \(ends)"
    }

    enum Step: Equatable {
        case event(ExchangeMachine.Event)
        /// A connection stands; `isKept`: from the pool.
        case connected(isKept: Bool)
        /// The kernel takes bytes of the request.
        case bytesTaken
        /// The request outgrows what is kept.
        case outgrown
    }

    /// All that may happen next.
    var possible: [Step] {
        var steps: [Step] = [
            .event(.clientLost), .event(.refused(.overloaded)), .event(.refused(.requestTimeout)),
        ]
        if !machine.hasRequestEnded { steps.append(.event(.requestEnded)) }
        switch machine.phase {
        case .leasing:
            steps += [.connected(isKept: false), .event(.upstreamTimedOut(.upstreamOverloaded))]
            // Only the first try may have a connection from the pool.
            if sends == 0, lostTries == 0 { steps.append(.connected(isKept: true)) }
            for reason in [
                Refusal.upstreamConnect, .upstreamConnectTimeout, .upstreamOverloaded, .overloaded,
            ] {
                steps.append(.event(.connectFailed(reason)))
            }
        case .waiting:
            if !isTouched { steps.append(.bytesTaken) }
            // What outgrows the limit is still coming, or has just been handed over.
            if machine.isKept { steps.append(.outgrown) }
            steps += [
                .event(.upstreamLost(isUntouched: !isTouched, isStale: isConnectionKept)),
                .event(.upstreamLost(isUntouched: !isTouched, isStale: false)), .event(.responseHead),
                .event(.responseBroken(.upstreamInvalid)), .event(.upstreamTimedOut(.upstreamTimeout)),
            ]
            // Only a request that is whole can ask for a tunnel, and a handshake is never sent again on purpose.
            if hadRequestEnded, !isIdempotent { steps.append(.event(.tunnelOpened)) }
        case .tunnelling:
            steps += [
                .event(.upstreamLost(isUntouched: false, isStale: false)),
                .event(.upstreamTimedOut(.webSocketIdle)),
            ]
            // Both sides have ended: the client's own end came first.
            if machine.hasRequestEnded { steps.append(.event(.responseEnded)) }
        case .streaming:
            steps += [
                .event(.responseEnded), .event(.upstreamLost(isUntouched: !isTouched, isStale: false)),
                .event(.responseBroken(.upstreamTruncated)), .event(.upstreamTimedOut(.upstreamTimeout)),
            ]
        case .finished:
            // Late news of all kinds.
            steps += [
                .event(.connected), .event(.connectFailed(.upstreamConnect)),
                .event(.upstreamLost(isUntouched: true, isStale: true)), .event(.responseHead),
                .event(.responseEnded), .event(.responseBroken(.upstreamInvalid)), .event(.tunnelOpened),
            ]
        }
        return steps
    }

    private(set) var lostTries = 0

    mutating func take(_ step: Step) {
        switch step {
        case .bytesTaken:
            isTouched = true
            wasEverTouched = true
        case .outgrown: machine.forgetRequest()
        case .connected(let isKept):
            isConnectionKept = isKept
            isTouched = false
            obey(.connected)
        case .event(let event): obey(event)
        }
    }

    private mutating func obey(_ event: ExchangeMachine.Event) {
        let before = machine
        let action = machine.handle(event)
        if before.phase == .finished, action != .none { faults.append("\(event) after the end: \(action)") }
        if before.phase == .finished, machine != before { faults.append("\(event) changes what is over") }
        switch action {
        case .none: break
        case .send:
            sends += 1
            if sends > 3 { faults.append("sent \(sends) times") }
        case .retry:
            lostTries += 1
            if lostTries > 2 { faults.append("a third second try") }
            // RFC 9110 §9.2.2.
            if wasEverTouched, !isIdempotent {
                faults.append("a request that is not idempotent is sent twice")
            }
            if isTouched, !before.isKept { faults.append("sent again without what was sent") }
            if heads > 0 { faults.append("sent again after an answer began") }
            if machine.phase != .leasing { faults.append("retry leads to \(machine.phase)") }
        case .openTunnel:
            heads += 1
            if heads > 1 { faults.append("a tunnel behind a head") }
            if machine.phase != .tunnelling { faults.append("a tunnel in \(machine.phase)") }
            if machine.hasRequestEnded { faults.append("a tunnel whose client can send nothing") }
        case .forwardHead:
            heads += 1
            if heads > 1 { faults.append("two heads") }
        case .refuse(let reason):
            ends += 1
            if heads > 0 { faults.append("an answer of our own behind a head") }
            if reason == .internalError { faults.append("internalError at \(event) in \(before.phase)") }
        case .cut, .finish:
            ends += 1
            if before.phase == .tunnelling, action == .finish(isReusable: true) {
                faults.append("a connection that was a tunnel is used again")
            }
            if heads != 1 { faults.append("\(action) without a head") }
        case .abandon: ends += 1
        }
        if ends > 1 { faults.append("ended twice, by \(action)") }
        if (machine.phase == .finished) != (ends == 1) {
            faults.append("\(machine.phase) after \(ends) ends")
        }
    }
}

@Suite("The exchange machine") struct ExchangeMachineTests {
    static let beginnings = [(true, true), (true, false), (false, true), (false, false)]

    @Test(
        "every order of events that a worker can produce ends in one answer, one cut or one abandonment",
        arguments: beginnings)
    func everyOrder(isIdempotent: Bool, hasRequestEnded: Bool) {
        // The states are finite, so going through each state once goes through sequences of any length.
        var todo = [LegalWorker(isIdempotent: isIdempotent, hasRequestEnded: hasRequestEnded)]
        var seen: Set<String> = [todo[0].key]
        var faults: Set<String> = []
        var finished = 0
        while let state = todo.popLast() {
            if state.machine.phase == .finished { finished += 1 }
            for step in state.possible {
                var next = state
                next.take(step)
                faults.formUnion(next.faults)
                if next.faults.isEmpty, seen.insert(next.key).inserted { todo.append(next) }
            }
        }
        #expect(faults == [])
        #expect(seen.count > 50 && finished > 10, "the walk has seen \(seen.count) states")
    }

    @Test("from every state the exchange can end, and every phase is reached", arguments: beginnings)
    func canEnd(isIdempotent: Bool, hasRequestEnded: Bool) {
        var phases: Set<ExchangeMachine.Phase> = []
        var todo = [LegalWorker(isIdempotent: isIdempotent, hasRequestEnded: hasRequestEnded)]
        var seen: Set<String> = [todo[0].key]
        while let state = todo.popLast() {
            phases.insert(state.machine.phase)
            for end in [ExchangeMachine.Event.clientLost, .refused(.overloaded)] {
                var next = state
                next.take(.event(end))
                #expect(next.machine.phase == .finished && next.ends == 1)
            }
            for step in state.possible {
                var next = state
                next.take(step)
                if seen.insert(next.key).inserted { todo.append(next) }
            }
        }
        var expected: Set<ExchangeMachine.Phase> = [.leasing, .waiting, .streaming, .finished]
        if hasRequestEnded, !isIdempotent { expected.insert(.tunnelling) }
        #expect(phases == expected)
    }

    @Test(
        "any events at all, legal or not, end at most once, and nothing follows the end",
        arguments: beginnings)
    func anyEvents(isIdempotent: Bool, hasRequestEnded: Bool) {
        let all: [ExchangeMachine.Event] = [
            .connected, .connectFailed(.upstreamConnect), .connectFailed(.upstreamOverloaded), .requestEnded,
            .upstreamLost(isUntouched: true, isStale: true), .upstreamLost(isUntouched: true, isStale: false),
            .upstreamLost(isUntouched: false, isStale: true),
            .upstreamLost(isUntouched: false, isStale: false),
            .responseHead, .responseEnded, .responseBroken(.upstreamInvalid), .tunnelOpened,
            .upstreamTimedOut(.upstreamTimeout), .refused(.rateLimited), .clientLost,
        ]
        var dice: UInt64 = 0x9e37_79b9_7f4a_7c15
        for _ in 0..<5000 {
            var machine = ExchangeMachine(isIdempotent: isIdempotent, hasRequestEnded: hasRequestEnded)
            var ends = 0
            var tries = 0
            for _ in 0..<40 {
                dice ^= dice >> 12
                dice ^= dice << 25
                dice ^= dice >> 27
                let before = machine.phase
                let action = machine.handle(all[Int((dice &* 2_685_821_657_736_338_717) >> 33) % all.count])
                switch action {
                case .refuse, .cut, .finish, .abandon: ends += 1
                case .retry: tries += 1
                case .none, .send, .forwardHead, .openTunnel: break
                }
                if before == .finished { #expect(action == .none) }
            }
            #expect(ends <= 1 && tries <= 2)
        }
    }

    @Test(
        "RFC 9110 §9.2.2: a POST of which the kernel took bytes is not sent again; one that it did not take is"
    )
    func post() {
        for isStale in [true, false] {
            var machine = ExchangeMachine(isIdempotent: false, hasRequestEnded: true)
            #expect(machine.handle(.connected) == .send)
            let lost = machine.handle(.upstreamLost(isUntouched: false, isStale: isStale))
            #expect(lost == .refuse(.upstreamReset))
        }
        var machine = ExchangeMachine(isIdempotent: false, hasRequestEnded: true)
        #expect(machine.handle(.connected) == .send)
        #expect(machine.handle(.upstreamLost(isUntouched: true, isStale: false)) == .retry)
        #expect(machine.handle(.connected) == .send)
    }

    @Test("a GET is sent again if a kept connection lost it, and not if a fresh one did") func get() {
        var machine = ExchangeMachine(isIdempotent: true, hasRequestEnded: true)
        _ = machine.handle(.connected)
        #expect(machine.handle(.upstreamLost(isUntouched: false, isStale: true)) == .retry)
        _ = machine.handle(.connected)
        let second = machine.handle(.upstreamLost(isUntouched: false, isStale: false))
        #expect(second == .refuse(.upstreamReset))
    }

    @Test("a request that was not kept is not sent again once bytes of it were taken") func notKept() {
        var machine = ExchangeMachine(isIdempotent: true, hasRequestEnded: false)
        _ = machine.handle(.connected)
        machine.forgetRequest()
        let lost = machine.handle(.upstreamLost(isUntouched: false, isStale: true))
        #expect(lost == .refuse(.upstreamReset))
    }

    @Test("a connect that fails is tried twice more; a service without room is not asked again")
    func connects() {
        var machine = ExchangeMachine(isIdempotent: false, hasRequestEnded: true)
        let answers = (0..<3).map { _ in machine.handle(.connectFailed(.upstreamConnectTimeout)) }
        #expect(answers == [.retry, .retry, .refuse(.upstreamConnectTimeout)])
        var full = ExchangeMachine(isIdempotent: true, hasRequestEnded: true)
        #expect(full.handle(.connectFailed(.upstreamOverloaded)) == .refuse(.upstreamOverloaded))
    }

    @Test("an answer that ends before its request leaves no connection that can be used again") func early() {
        for hasRequestEnded in [true, false] {
            var machine = ExchangeMachine(isIdempotent: false, hasRequestEnded: hasRequestEnded)
            _ = machine.handle(.connected)
            _ = machine.handle(.responseHead)
            let end = machine.handle(.responseEnded)
            #expect(end == .finish(isReusable: hasRequestEnded))
        }
        var machine = ExchangeMachine(isIdempotent: false, hasRequestEnded: false)
        _ = machine.handle(.connected)
        _ = machine.handle(.requestEnded)
        _ = machine.handle(.responseHead)
        #expect(machine.handle(.responseEnded) == .finish(isReusable: true))
    }

    @Test("what breaks behind a head is cut, so that nobody takes a part for the whole") func cuts() {
        for (event, reason) in [
            (
                ExchangeMachine.Event.upstreamLost(isUntouched: false, isStale: false),
                Refusal.upstreamTruncated
            ),
            (.responseBroken(.upstreamInvalid), .upstreamInvalid), (.refused(.overloaded), .overloaded),
            (.upstreamTimedOut(.upstreamTimeout), .upstreamTimeout),
        ] {
            var machine = ExchangeMachine(isIdempotent: true, hasRequestEnded: true)
            _ = machine.handle(.connected)
            _ = machine.handle(.responseHead)
            #expect(machine.handle(event) == .cut(reason))
        }
    }

    /// A machine whose tunnel stands.
    private func tunnel() -> ExchangeMachine {
        var machine = ExchangeMachine(isIdempotent: false, hasRequestEnded: true)
        _ = machine.handle(.connected)
        let opened = machine.handle(.tunnelOpened)
        #expect(opened == .openTunnel && machine.phase == .tunnelling && !machine.hasRequestEnded)
        return machine
    }

    @Test("RFC 9110 §7.8: a tunnel ends when both sides have, and its connection is never used again")
    func tunnelEnds() {
        var machine = tunnel()
        #expect(machine.handle(.requestEnded) == .none && machine.phase == .tunnelling)
        #expect(machine.handle(.responseEnded) == .finish(isReusable: false))
    }

    @Test(
        "every other event in a tunnel cuts it or leaves it: no answer of our own is written into its bytes")
    func tunnelEvents() {
        for (event, action) in [
            (
                ExchangeMachine.Event.upstreamLost(isUntouched: false, isStale: false),
                .cut(.upstreamTruncated)
            ),
            (.upstreamLost(isUntouched: true, isStale: true), .cut(.upstreamTruncated)),
            (.upstreamTimedOut(.webSocketIdle), .cut(.webSocketIdle)), (.refused(.draining), .cut(.draining)),
            (.clientLost, .abandon), (.connected, .cut(.internalError)),
            (.connectFailed(.upstreamConnect), .cut(.internalError)), (.responseHead, .cut(.internalError)),
            (.responseBroken(.upstreamInvalid), .cut(.internalError)), (.tunnelOpened, .cut(.internalError)),
        ] as [(ExchangeMachine.Event, ExchangeMachine.Action)] {
            var machine = tunnel()
            #expect(machine.handle(event) == action)
            #expect(machine.phase == .finished && machine.handle(.clientLost) == .none)
        }
    }

    @Test("a tunnel opens only where an answer is waited for") func tunnelOpens() {
        var leasing = ExchangeMachine(isIdempotent: false, hasRequestEnded: true)
        #expect(leasing.handle(.tunnelOpened) == .refuse(.internalError))
        var streaming = ExchangeMachine(isIdempotent: false, hasRequestEnded: true)
        _ = streaming.handle(.connected)
        _ = streaming.handle(.responseHead)
        #expect(streaming.handle(.tunnelOpened) == .cut(.internalError))
    }
}
