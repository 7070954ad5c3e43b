/// What happens next to an exchange: pure, so that every order of events can be tried in a test without a socket.
///
/// One side knows how far the request has come, the other how far the answer. The worker tells what happened and does
/// what it is told.
public struct ExchangeMachine: Equatable, Sendable {
    /// How far the answer has come.
    public enum Phase: UInt8, Sendable {
        /// No connection to the service yet.
        case leasing
        /// The request is with the service, or on its way; no head of an answer has come.
        case waiting
        /// The head of an answer has been handed to the client's side.
        case streaming
        /// The service has changed to the protocol that was asked for: bytes move both ways until each side has ended.
        case tunnelling
        /// Everything that there is to send to the client has been handed over, or the exchange was cut.
        case finished
    }

    public enum Event: Equatable, Sendable {
        /// A connection stands and the request may be written.
        case connected
        /// No connection could be had.
        case connectFailed(Refusal)
        /// The request has been read from the client whole; in a tunnel: all that the client will ever send.
        case requestEnded
        /// The connection to the service broke or ended. `isUntouched`: the kernel took no byte of the request from us.
        /// `isStale`: it had carried an exchange before and no byte of an answer has come.
        case upstreamLost(isUntouched: Bool, isStale: Bool)
        /// A final head has come from the service.
        case responseHead
        /// A head that changes the protocol has come, asked for and proved: 101 (RFC 9110 §15.2.2).
        case tunnelOpened
        /// The body that the head announced is complete; in a tunnel: both sides have ended.
        case responseEnded
        /// What the service sends is not HTTP, or the body was cut.
        case responseBroken(Refusal)
        /// A deadline of the service's side has passed.
        case upstreamTimedOut(Refusal)
        /// We refuse the request ourselves.
        case refused(Refusal)
        /// The client's side is gone, or nobody can be told any more.
        case clientLost
    }

    public enum Action: Equatable, Sendable {
        case none
        /// Write the request to the connection.
        case send
        /// Ask for another connection and send what was kept.
        case retry
        /// Answer with this reason; drop the connection to the service.
        case refuse(Refusal)
        /// Pass the head on.
        case forwardHead
        /// Pass the head on, and from now on bytes both ways.
        case openTunnel
        /// All is said: give the connection back if `isReusable`, and let the client have what follows.
        case finish(isReusable: Bool)
        /// A part of the answer is out already: break it so that nobody takes it for the whole.
        case cut(Refusal)
        /// Nobody is there to answer: drop everything.
        case abandon
    }

    public private(set) var phase = Phase.leasing
    public private(set) var hasRequestEnded: Bool
    /// Whether the same request may be sent a second time (RFC 9110 §9.2.2).
    public let isIdempotent: Bool
    /// Whether a copy of all that was sent of it is at hand. Once `false`, it stays so. What the kernel has not taken is
    /// at hand in any case.
    public private(set) var isKept = true
    private var triesLeft: UInt8 = 2

    public init(isIdempotent: Bool, hasRequestEnded: Bool) {
        self.isIdempotent = isIdempotent
        self.hasRequestEnded = hasRequestEnded
    }

    /// The request has outgrown what is kept for a second try.
    public mutating func forgetRequest() { isKept = false }

    /// The rest of the request was thrown away, after the answer was decided.
    public mutating func noteRequestEnd() { hasRequestEnded = true }

    public mutating func handle(_ event: Event) -> Action { next(after: event) }

    /// The same, inlined: where the event is written down, only what it can lead to is left of the table.
    @inline(__always) mutating func next(after event: Event) -> Action {
        #if SIMULATION
            MachineVisits.note(phase, event)
        #endif
        switch (phase, event) {
        case (.finished, _):
            // Late news about an exchange that is over: timers, ends of connections, the rest of a discarded body.
            return .none
        case (_, .requestEnded):
            hasRequestEnded = true
            return .none
        case (.waiting, .tunnelOpened):
            // What the client sends from here on is no longer the request, which was whole.
            hasRequestEnded = false
            phase = .tunnelling
            return .openTunnel
        case (.tunnelling, .responseEnded):
            phase = .finished
            return .finish(isReusable: false)
        case (.tunnelling, .upstreamLost):
            phase = .finished
            return .cut(.upstreamTruncated)
        case (.tunnelling, .upstreamTimedOut(let reason)), (.tunnelling, .refused(let reason)):
            phase = .finished
            return .cut(reason)
        case (.tunnelling, .clientLost):
            phase = .finished
            return .abandon
        case (.tunnelling, .connected), (.tunnelling, .connectFailed), (.tunnelling, .responseHead),
            (.tunnelling, .responseBroken), (.tunnelling, .tunnelOpened), (.streaming, .tunnelOpened):
            // Only our own mistake leads here, and an answer of our own would be bytes of another protocol.
            phase = .finished
            return .cut(.internalError)
        case (.leasing, .connected):
            phase = .waiting
            return .send
        case (.leasing, .connectFailed(let reason)):
            // Nothing was sent: any request may be tried again, and another endpoint may take it.
            if triesLeft > 0, reason != .upstreamOverloaded {
                triesLeft -= 1
                return .retry
            }
            phase = .finished
            return .refuse(reason)
        case (.waiting, .upstreamLost(let isUntouched, let isStale)):
            if triesLeft > 0, isUntouched || (isKept && isStale && isIdempotent) {
                triesLeft -= 1
                phase = .leasing
                return .retry
            }
            phase = .finished
            return .refuse(.upstreamReset)
        case (.waiting, .responseHead):
            phase = .streaming
            return .forwardHead
        case (.waiting, .responseBroken(let reason)), (.waiting, .upstreamTimedOut(let reason)),
            (.leasing, .upstreamTimedOut(let reason)), (.leasing, .refused(let reason)),
            (.waiting, .refused(let reason)):
            phase = .finished
            return .refuse(reason)
        case (.streaming, .responseEnded):
            phase = .finished
            // A connection on which a request is still due cannot carry another one.
            return .finish(isReusable: hasRequestEnded)
        case (.streaming, .upstreamLost):
            phase = .finished
            return .cut(.upstreamTruncated)
        case (.streaming, .responseBroken(let reason)), (.streaming, .upstreamTimedOut(let reason)),
            (.streaming, .refused(let reason)):
            phase = .finished
            return .cut(reason)
        case (.leasing, .clientLost), (.waiting, .clientLost), (.streaming, .clientLost):
            phase = .finished
            return .abandon
        case (.leasing, .upstreamLost), (.leasing, .responseHead), (.leasing, .responseEnded),
            (.leasing, .responseBroken), (.leasing, .tunnelOpened),
            (.waiting, .connected), (.waiting, .connectFailed), (.waiting, .responseEnded),
            (.streaming, .connected),
            (.streaming, .connectFailed), (.streaming, .responseHead):
            // Only our own mistake leads here; the exchange is given up rather than the process.
            phase = .finished
            return .refuse(.internalError)
        }
    }
}
