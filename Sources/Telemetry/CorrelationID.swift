public import Memory

/// The name that an exchange has in every log, on both sides of the gateway: a UUID of version 7 (RFC 9562 §5.7) as
/// text, or what a trusted peer sent.
@frozen public struct CorrelationID: Sendable {
    @usableFromInline var text: InlineArray<36, UInt8>

    @usableFromInline init(text: InlineArray<36, UInt8>) { self.text = text }

    /// The 36 bytes of the text.
    @inlinable public var bytes: RawSpan {
        @_lifetime(borrow self) get { text.rawSpan }
    }

    /// Calls `body` with the 36 bytes of the text.
    @inlinable public func withBytes<Result>(_ body: (RawSpan) -> Result) -> Result { body(text.rawSpan) }

    /// Longest value that is taken from a peer.
    @inlinable public static var longestAccepted: Int { 128 }

    /// Whether a peer's value may be used as it is: 1 to 128 bytes of `[A-Za-z0-9._~:+/=-]`, which need no escapes in
    /// a field, a log line or a URL's query.
    @inlinable public static func isAcceptable(_ value: RawSpan) -> Bool {
        let allowed = ByteSet(bits: 0x27ff_e800_0000_0000, 0x47ff_fffe_87ff_fffe, 0, 0)
        return value.byteCount > 0 && value.byteCount <= longestAccepted
            && value.firstIndex(notIn: allowed, from: 0) == value.byteCount
    }
}

/// Makes the ids of one worker. They sort by the order they were made in, by RFC 9562 §6.2, method 1: the 12 bits after
/// the version count within a millisecond, from a random start in their lower half.
public struct CorrelationIDMaker: Sendable {
    private var milliseconds: UInt64 = 0
    private var counter: UInt64 = 0

    public init() {}

    /// The next id. `wallMilliseconds` is Unix time; if it goes back, or the counter is used up, the time of the last
    /// id goes on instead. `random` are ten random bytes; who can guess them can guess ids.
    public mutating func next(wallMilliseconds: UInt64, random: (UInt64, UInt16)) -> CorrelationID {
        let now = wallMilliseconds & 0xffff_ffff_ffff
        if now > milliseconds {
            milliseconds = now
            counter = UInt64(random.1 & 0x7ff)
        } else if counter < 0xfff {
            counter &+= 1
        } else {
            milliseconds = (milliseconds &+ 1) & 0xffff_ffff_ffff
            counter = UInt64(random.1 & 0x7ff)
        }
        let high = milliseconds &<< 16 | 0x7000 | counter
        let low = 0x8000_0000_0000_0000 | random.0 &>> 2
        return CorrelationID(text: Self.text(high, low))
    }

    private static func text(_ high: UInt64, _ low: UInt64) -> InlineArray<36, UInt8> {
        var text = InlineArray<36, UInt8>(repeating: UInt8(ascii: "-"))
        var place = 0
        for digit in 0..<32 {
            // 8-4-4-4-12
            if digit == 8 || digit == 12 || digit == 16 || digit == 20 { place &+= 1 }
            let word = digit < 16 ? high : low
            let value = UInt8(truncatingIfNeeded: word &>> UInt64(60 &- (digit & 15) &* 4)) & 15
            text[place] = value < 10 ? 0x30 &+ value : 0x57 &+ value
            place &+= 1
        }
        return text
    }
}
