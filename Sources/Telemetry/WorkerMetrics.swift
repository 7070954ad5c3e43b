public import Memory

/// What one worker counts. Its worker alone writes, by plain moves; whoever wants to may read. A handle: copies name
/// the same counters, which live as long as the process and are resident only as far as they are used.
@frozen public struct WorkerMetrics: Sendable {
    @usableFromInline let counters: CounterBlock
    @usableFromInline let routes: Int

    /// Counters for `routes` route labels (the capacity of their `LabelTable`), and for exchanges without a route. Of the default
    /// these are 19 MiB of addresses; a route takes 1.2 KiB of memory once it was used.
    public init(routes: Int = LabelTable.routeCapacity) {
        precondition(routes > 0)
        self.routes = routes
        counters = CounterBlock(count: Layout.header + (routes + 1) * Layout.stride)
    }

    /// How many reasons there can be; those past it are counted as the last.
    @inlinable public static var reasonCapacity: Int { 64 }

    /// Counts an exchange that has ended. `route` is a label, -1 for none; `reason` as in `AccessRecord`.
    @inlinable public func countExchange(
        route: Int, status: Int, reason: UInt8, bytesIn: Int, bytesOut: Int, durationMicroseconds: Int
    ) {
        let start = Layout.start(route: route, of: routes)
        counters.add(1, at: start &+ StatusSlot.slot(of: status))
        if reason != AccessRecord.noReason {
            counters.add(1, at: start &+ Layout.reasons &+ min(Int(reason), Self.reasonCapacity &- 1))
        }
        counters.add(bytesIn, bytesOut, durationMicroseconds, from: start &+ Layout.bytesIn)
        counters.add(1, at: start &+ Layout.buckets &+ LatencyBuckets.bucket(of: durationMicroseconds))
    }

    @inlinable public func countConnectionAccepted() { counters.add(1, at: Layout.accepted) }
    /// Closed at once, because some cap was reached.
    @inlinable public func countConnectionRefused() { counters.add(1, at: Layout.refused) }
    /// One that had been counted as accepted, by the same worker: who begins a connection counts it, not who accepts it.
    @inlinable public func countConnectionClosed() { counters.add(1, at: Layout.closed) }
    @inlinable public func countHandshake() { counters.add(1, at: Layout.handshakes) }
    @inline(never) public func count(_ failure: HandshakeFailure) {
        counters.add(1, at: Layout.failedHandshakes)
        counters.add(1, at: Layout.handshakeFailures &+ failure.rawValue)
    }
    /// A connection that did not begin as the PROXY protocol asks, or came from nobody who may speak it.
    @inlinable public func countPreambleRefused() { counters.add(1, at: Layout.preamblesRefused) }
    /// Somebody was refused, cut or closed because this limit was reached.
    @inline(never) public func count(_ limit: ReachedLimit) {
        counters.add(1, at: Layout.limits &+ limit.rawValue)
    }
    @inlinable public func countLogDrops(_ lines: Int) { counters.add(lines, at: Layout.logDrops) }

    /// Where the counters are.
    @usableFromInline enum Layout {
        @inlinable static var accepted: Int { 0 }
        @inlinable static var refused: Int { 1 }
        @inlinable static var closed: Int { 2 }
        @inlinable static var handshakes: Int { 3 }
        @inlinable static var failedHandshakes: Int { 4 }
        @inlinable static var logDrops: Int { 5 }
        @inlinable static var preamblesRefused: Int { 6 }
        /// Of each `ReachedLimit`.
        @inlinable static var limits: Int { 8 }
        /// Of each `HandshakeFailure`.
        @inlinable static var handshakeFailures: Int { 32 }
        /// Six cache lines.
        @inlinable static var header: Int { 48 }
        // Within a route's counters, which begin with the statuses.
        @inlinable static var reasons: Int { 64 }
        // Three that are added to at once, in this order.
        @inlinable static var bytesIn: Int { 128 }
        @inlinable static var bytesOut: Int { 129 }
        @inlinable static var durationSum: Int { 130 }
        @inlinable static var buckets: Int { 131 }
        /// Of a route: 19 cache lines.
        @inlinable static var stride: Int { 152 }

        /// Exchanges without a route are behind those of all routes.
        @inlinable static func start(route: Int, of routes: Int) -> Int {
            header &+ (route >= 0 && route < routes ? route : routes) &* stride
        }
    }
}

/// The buckets of the latency histogram: 1, 2.5 and 5 in each decade from 100 microseconds to 50 seconds, and the rest.
@usableFromInline enum LatencyBuckets {
    @inlinable static var count: Int { 19 }

    /// The bucket of a time in microseconds; a bound belongs to the bucket below it, as Prometheus's `le` has it.
    @inlinable static func bucket(of microseconds: Int) -> Int {
        if microseconds <= 10_000 {
            if microseconds <= 500 { return microseconds <= 100 ? 0 : microseconds <= 250 ? 1 : 2 }
            if microseconds <= 2500 { return microseconds <= 1000 ? 3 : 4 }
            return microseconds <= 5000 ? 5 : 6
        }
        if microseconds <= 500_000 {
            if microseconds <= 50_000 { return microseconds <= 25_000 ? 7 : 8 }
            if microseconds <= 100_000 { return 9 }
            return microseconds <= 250_000 ? 10 : 11
        }
        if microseconds <= 5_000_000 {
            if microseconds <= 1_000_000 { return 12 }
            return microseconds <= 2_500_000 ? 13 : 14
        }
        if microseconds <= 25_000_000 { return microseconds <= 10_000_000 ? 15 : 16 }
        return microseconds <= 50_000_000 ? 17 : 18
    }

    /// The upper bounds in microseconds; the last bucket has none. Cold.
    static let bounds = [
        100, 250, 500, 1000, 2500, 5000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
        2_500_000, 5_000_000, 10_000_000, 25_000_000, 50_000_000,
    ]
}
