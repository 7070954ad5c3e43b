public import LinuxIO
internal import Memory

/// What a loop tells its owner. All calls come on the loop's thread, one at a time.
public protocol EventHandler: ~Copyable {
    /// A descriptor that was added with `token` is ready. The token may be stale: look first.
    mutating func ready(_ token: Token, _ readiness: Readiness, _ loop: inout EventLoop)
    /// `token` was put on the ready list in an earlier turn, because work was left.
    mutating func resume(_ token: Token, _ loop: inout EventLoop)
    /// A timer has fired.
    mutating func timerFired(_ token: Token, _ loop: inout EventLoop)
    /// Another thread has called `WakeUp.signal`.
    mutating func mail(_ loop: inout EventLoop)
    /// All events of this turn have been handled: flush what they left.
    mutating func turnEnded(_ loop: inout EventLoop)
}

/// One thread's loop: waits, tells its handler, keeps its timers and its clock.
public struct EventLoop: ~Copyable {
    public var timers: TimerWheel
    /// Monotonic nanoseconds, read once a turn.
    public private(set) var now: UInt64
    /// Nanoseconds since 1970, read once a turn.
    public private(set) var wall: UInt64
    private var poller: Poller
    private var pending: FixedQueue<Token>
    private var isStopping = false

    /// `timers` is how many timers may be set at once, `pending` how many tokens may wait for the next turn.
    public init(timers capacity: Int, pending: Int) throws(SystemError) {
        now = Clock.monotonic()
        wall = Clock.wall()
        timers = TimerWheel(capacity: capacity, now: now)
        poller = try Poller()
        self.pending = FixedQueue(capacity: pending)
    }

    public func add(_ number: Int32, _ token: Token, _ interest: Interest) throws(SystemError) {
        try poller.add(number, token: token.word, interest: interest)
    }

    public func modify(_ number: Int32, _ token: Token, _ interest: Interest) throws(SystemError) {
        try poller.modify(number, token: token.word, interest: interest)
    }

    public func remove(_ number: Int32) { poller.remove(number) }

    /// Watches a mailbox's wake-up; `mail` is called when it is signalled.
    public func watch(_ wakeUp: borrowing WakeUp) throws(SystemError) {
        try poller.add(wakeUp.number, token: Token.wakeUp.word, interest: .level)
    }

    /// Puts `token` on the ready list, for the next turn. `false` when the list is full.
    public mutating func resumeLater(_ token: Token) -> Bool { pending.push(token) == nil }

    /// Ends `run` after this turn.
    public mutating func stop() { isStopping = true }

    /// Reads the clocks again, after something that took long: a signature check, a handshake.
    public mutating func readClocks() {
        now = Clock.monotonic()
        wall = Clock.wall()
    }

    /// Turns until `stop`.
    @inlinable public mutating func run<Handler: EventHandler & ~Copyable>(_ handler: inout Handler) {
        while turn(&handler) {}
    }

    /// One turn: wait, events, what was left, timers, flush. `false` when `stop` was called.
    @inlinable public mutating func turn<Handler: EventHandler & ~Copyable>(_ handler: inout Handler) -> Bool
    {
        let count = wait()
        // Only what was left by earlier turns: what this turn leaves waits for the next.
        var left = pendingCount
        while left > 0, let token = popPending() {
            handler.resume(token, &self)
            left &-= 1
        }
        for index in 0..<count {
            let token = eventToken(index)
            if token == .wakeUp {
                handler.mail(&self)
            } else {
                handler.ready(token, eventReadiness(index), &self)
            }
        }
        advanceTimers()
        while let token = timers.popDue() { handler.timerFired(token, &self) }
        handler.turnEnded(&self)
        return isRunning
    }

    @usableFromInline mutating func wait() -> Int {
        let count = poller.wait(milliseconds: pending.isEmpty ? timers.milliseconds(from: now) : 0)
        readClocks()
        return count
    }

    @usableFromInline var isRunning: Bool { !isStopping }
    @usableFromInline var pendingCount: Int { pending.count }
    @usableFromInline mutating func popPending() -> Token? { pending.pop() }
    @usableFromInline func eventToken(_ index: Int) -> Token { Token(word: poller.token(index)) }
    @usableFromInline func eventReadiness(_ index: Int) -> Readiness { poller.readiness(index) }
    @usableFromInline mutating func advanceTimers() { timers.advance(to: now) }
}
