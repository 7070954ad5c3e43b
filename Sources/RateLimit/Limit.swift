public import Memory

/// One token bucket, as numbers: `count` requests in `periodSeconds`, at most `burst` at once after a pause.
///
/// The rate is kept as a fraction, so that 7 a second is 7 a second for ever and not once in 142,857,142 ns. It is the
/// generic cell rate algorithm (ITU-T I.371 Annex A, "virtual scheduling"): the state of a bucket is one number, its
/// theoretical arrival time (TAT). The bucket is full when TAT <= now, and each token that is taken moves the TAT on
/// by one interval; a token may be taken while the new TAT is no later than now + burst x interval.
@frozen public struct Limit: Sendable {
    /// Keyed by the table's key and this limit's name: the same client has other slots under another limit.
    public let hash: SipHash
    /// The interval between two tokens is `numerator / denominator` nanoseconds, in lowest terms.
    @usableFromInline let numerator: UInt64
    @usableFromInline let denominator: UInt64
    /// burst x interval in nanoseconds, rounded up.
    @usableFromInline let tolerance: UInt64
    /// How many tokens a full bucket holds.
    public let burst: Int
    /// What the `RateLimit-Policy` field says: `quota` requests in `windowSeconds`.
    public let quota: Int
    public let windowSeconds: Int

    /// The longest rate and burst that are allowed together: a full bucket fills in at most 30 years.
    @usableFromInline static var longestTolerance: UInt64 { 1_000_000_000_000_000_000 }

    @usableFromInline init(hash: SipHash, count: Int, periodSeconds: Int, burst: Int) {
        precondition(Limit.isAllowed(count: count, periodSeconds: periodSeconds, burst: burst))
        let period = UInt64(periodSeconds) * 1_000_000_000
        let divisor = Limit.greatestCommonDivisor(period, UInt64(count))
        self.hash = hash
        numerator = period / divisor
        denominator = UInt64(count) / divisor
        let full = numerator.multipliedFullWidth(by: UInt64(burst))
        let (quotient, remainder) = denominator.dividingFullWidth(full)
        tolerance = quotient + (remainder == 0 ? 0 : 1)
        self.burst = burst
        // A client that keeps to the policy must never be refused, so a burst above the rate's count is told as such.
        quota = burst <= count ? count : burst
        windowSeconds = burst <= count ? periodSeconds : Int((tolerance + 999_999_999) / 1_000_000_000)
    }

    /// Whether these numbers can be a limit: 1 to 1,000,000 a second, and a bucket that fills within 30 years.
    public static func isAllowed(count: Int, periodSeconds: Int, burst: Int) -> Bool {
        guard count > 0, periodSeconds > 0, burst > 0, periodSeconds <= 1_000_000_000 else { return false }
        guard count <= 1_000_000_000_000, count / periodSeconds <= 1_000_000 else { return false }
        let (nanoseconds, overflow) = periodSeconds.multipliedReportingOverflow(by: 1_000_000_000)
        guard !overflow else { return false }
        let full = UInt64(nanoseconds).multipliedFullWidth(by: UInt64(burst))
        guard full.high < UInt64(count) else { return false }
        return UInt64(count).dividingFullWidth(full).quotient < longestTolerance
    }

    private static func greatestCommonDivisor(_ first: UInt64, _ second: UInt64) -> UInt64 {
        var (large, small) = (first, second)
        while small != 0 { (large, small) = (small, large % small) }
        return large
    }

    /// One interval after `time`.
    ///
    /// Where the interval is not a whole number of nanoseconds, the steps are those of the grid of times
    /// floor(k x interval), wherever on it `time` lies: n steps from anywhere differ from n intervals by less than a
    /// nanosecond, and the difference never adds up.
    @inlinable func later(_ time: UInt64) -> UInt64 {
        if denominator == 1 { return time &+ numerator }
        return laterOnGrid(time)
    }

    @usableFromInline func laterOnGrid(_ time: UInt64) -> UInt64 {
        // time x denominator / numerator fits a word, for an interval is longer than a nanosecond; so does the rest.
        let steps = numerator.dividingFullWidth(time.multipliedFullWidth(by: denominator)).quotient
        let rest = denominator.dividingFullWidth(steps.multipliedFullWidth(by: numerator)).remainder
        return time &+ (rest &+ numerator) / denominator
    }

    /// What a bucket whose TAT is `arrival` answers at `now`, before anything is taken.
    @inlinable func verdict(arrival: UInt64, now: UInt64) -> (isAdmitted: Bool, next: UInt64) {
        let next = later(arrival)
        return (next <= now &+ tolerance, next)
    }

    /// TAT as it counts at `now`: a full bucket has no credit beyond its burst, and a bucket that was filled under a
    /// slower rate owes no more than it could owe under this one.
    @inlinable func clamped(_ arrival: UInt64, now: UInt64) -> UInt64 {
        min(max(arrival, now), now &+ tolerance)
    }

    /// Whole tokens in a bucket whose TAT is `arrival`, which is clamped.
    @inlinable func remaining(arrival: UInt64, now: UInt64) -> Int {
        let room = now &+ tolerance &- arrival
        if denominator == 1 { return Int(truncatingIfNeeded: room / numerator) }
        // One nanosecond of grace makes up for the rounding of the steps, so that a full bucket less n says burst - n.
        let scaled = (room &+ 1).multipliedFullWidth(by: denominator)
        return min(burst, Int(truncatingIfNeeded: numerator.dividingFullWidth(scaled).quotient))
    }
}

/// What a bucket said to one request.
@frozen public struct LimitAnswer: Sendable, Equatable {
    public let isAdmitted: Bool
    /// Tokens left, after this one if it was taken.
    public let remaining: Int
    /// 0 when admitted; else how long until the same request would be, if nobody else takes from the bucket.
    public let retryAfterNanoseconds: UInt64
    /// How long until the bucket is full again.
    public let resetNanoseconds: UInt64

    @inlinable init(isAdmitted: Bool, remaining: Int, retryAfter: UInt64, reset: UInt64) {
        self.isAdmitted = isAdmitted
        self.remaining = remaining
        retryAfterNanoseconds = retryAfter
        resetNanoseconds = reset
    }

    /// The value of `Retry-After` (RFC 9110 §10.2.3): whole seconds, rounded up, at least 1.
    @inlinable public var retryAfterSeconds: Int {
        max(1, Int(truncatingIfNeeded: (retryAfterNanoseconds &+ 999_999_999) / 1_000_000_000))
    }

    /// Whole seconds until the bucket is full, rounded up.
    @inlinable public var resetSeconds: Int {
        Int(truncatingIfNeeded: (resetNanoseconds &+ 999_999_999) / 1_000_000_000)
    }
}

extension Limit {
    @inlinable func admitted(next: UInt64, now: UInt64) -> LimitAnswer {
        LimitAnswer(
            isAdmitted: true, remaining: remaining(arrival: next, now: now), retryAfter: 0, reset: next &- now
        )
    }

    @inlinable func refused(arrival: UInt64, next: UInt64, now: UInt64) -> LimitAnswer {
        LimitAnswer(
            isAdmitted: false, remaining: 0, retryAfter: next &- now &- tolerance, reset: arrival &- now)
    }
}
