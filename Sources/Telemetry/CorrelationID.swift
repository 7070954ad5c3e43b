public import Memory

/// The name that an exchange has in every log, on both sides of the gateway: a UUID of version 7 (RFC 9562 §5.7) as
/// text, or what a trusted peer sent.
@frozen public struct CorrelationID: Sendable {
    /// 36 bytes in five words.
    @usableFromInline var text: InlineArray<5, UInt64>

    @usableFromInline init(text: InlineArray<5, UInt64>) { self.text = text }

    /// The 36 bytes of the text.
    @inlinable public var bytes: RawSpan {
        @_lifetime(borrow self) get { text.rawSpan.extracting(0..<36) }
    }

    /// Calls `body` with the 36 bytes of the text.
    @inlinable public func withBytes<Result>(_ body: (RawSpan) -> Result) -> Result {
        body(text.rawSpan.extracting(0..<36))
    }

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
    /// id goes on instead. `random` are eight random bytes; who can guess them can guess ids. The counter begins with some of
    /// those that the id tells anyhow: 62 bits of each are its own.
    public mutating func next(wallMilliseconds: UInt64, random: UInt64) -> CorrelationID {
        let now = wallMilliseconds & 0xffff_ffff_ffff
        if now > milliseconds {
            milliseconds = now
            counter = random & 0x7ff
        } else if counter < 0xfff {
            counter &+= 1
        } else {
            milliseconds = (milliseconds &+ 1) & 0xffff_ffff_ffff
            counter = random & 0x7ff
        }
        let high = milliseconds &<< 16 | 0x7000 | counter
        let low = 0x8000_0000_0000_0000 | random &>> 2
        return CorrelationID(text: Self.text(high, low))
    }

    /// The words of the text, 8-4-4-4-12: the first character in the lowest byte.
    private static func text(_ high: UInt64, _ low: UInt64) -> InlineArray<5, UInt64> {
        let (first, second) = high.hexadecimal
        let (third, fourth) = low.hexadecimal
        let dash = UInt64(UInt8(ascii: "-"))
        return [
            first,
            dash | (second & 0xffff_ffff) &<< 8 | dash &<< 40 | (second &>> 32) &<< 48,
            second &>> 48 | dash &<< 16 | (third & 0xffff_ffff) &<< 24 | dash &<< 56,
            third &>> 32 | fourth &<< 32,
            fourth &>> 32,
        ]
    }
}
