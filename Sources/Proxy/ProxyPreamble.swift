public import LinuxIO
import Memory

/// What a proxy says before the first byte of its client: the PROXY protocol, versions 1 and 2
/// (haproxy.org, `proxy-protocol.txt`, §2).
///
/// It stands in this room, and not in a codec: what it tells is the address of a socket, which the codecs do not know, and
/// nobody but the worker reads it. It is pure all the same: bytes in, a step out, and asked again from the start with
/// more bytes, since the whole is one small packet.
public enum ProxyPreamble {
    /// Bytes of a preamble of version 1, its CRLF included (§2.1).
    public static var mostTextBytes: Int { 107 }
    /// Bytes behind the 16 of the head of version 2: addresses and TLVs. §2.2 allows 65535, of which nobody needs more
    /// than a few hundred; a proxy that sends its client's whole certificate is refused.
    public static var mostBlockBytes: Int { 1024 }
    /// Bytes of the longest preamble.
    public static var mostBytes: Int { headBytes + mostBlockBytes }
    static var headBytes: Int { 16 }

    /// Both ends of the connection that the proxy accepted.
    @frozen public struct Ends: Equatable, Sendable {
        public let source: SocketAddress
        public let destination: SocketAddress
    }

    @frozen public enum Failure: Equatable, Sendable {
        /// Neither version begins so.
        case notAPreamble
        /// A version or command that §2.2 does not know.
        case unknownVersion
        /// A family that §2.2 does not know.
        case unknownFamily
        case tooLong
        case malformed
    }

    @frozen public enum Step: Equatable, Sendable {
        case incomplete
        /// So many bytes are used up. `ends` is `nil` where the proxy speaks for itself, or knows no address that we do:
        /// the peer of the socket is then the one to go by.
        case complete(consumed: Int, ends: Ends?)
        case refused(Failure)
    }

    /// Looks at all that has come. What is refused stays refused for the same reason whatever follows, and each prefix
    /// of what is accepted is incomplete.
    public static func parse(_ bytes: RawSpan) -> Step {
        let text: StaticString = "PROXY "
        let signature: StaticString = "\r\n\r\n\0\r\nQUIT\n"
        if isBegun(bytes, text.utf8Span) {
            return bytes.byteCount < text.utf8CodeUnitCount ? .incomplete : parseText(bytes)
        }
        if isBegun(bytes, signature.utf8Span) {
            return bytes.byteCount < signature.utf8CodeUnitCount ? .incomplete : parseBinary(bytes)
        }
        return .refused(.notAPreamble)
    }

    /// Whether `bytes` and `start` are the same as far as both go.
    private static func isBegun(_ bytes: RawSpan, _ start: RawSpan) -> Bool {
        let count = min(bytes.byteCount, start.byteCount)
        return bytes.extracting(0..<count).equals(start.extracting(0..<count))
    }

    // MARK: Version 1

    private static func parseText(_ bytes: RawSpan) -> Step {
        var end = 0
        let most = min(bytes.byteCount, mostTextBytes)
        while end < most, bytes[end] != 0x0d, bytes[end] != 0x0a { end &+= 1 }
        // The CRLF counts too: a CR in the last place has no room for its LF.
        if end >= mostTextBytes &- 1 { return .refused(.tooLong) }
        guard end < bytes.byteCount else { return .incomplete }
        guard bytes[end] == 0x0d else { return .refused(.malformed) }
        guard end &+ 1 < bytes.byteCount else { return .incomplete }
        guard bytes[end &+ 1] == 0x0a else { return .refused(.malformed) }
        var words = Words(bytes.extracting(6..<end))
        let family = words.next()
        let consumed = end &+ 2
        // §2.1: what follows UNKNOWN is ignored.
        if family.equals("UNKNOWN") { return .complete(consumed: consumed, ends: nil) }
        let isV6 = family.equals("TCP6")
        guard isV6 || family.equals("TCP4") else { return .refused(.malformed) }
        let source = SocketAddress.parse(words.next())
        let destination = SocketAddress.parse(words.next())
        let sourcePort = port(words.next())
        let destinationPort = port(words.next())
        guard words.isAtEnd, var source, var destination, let sourcePort, let destinationPort,
            source.isV6 == isV6, destination.isV6 == isV6
        else { return .refused(.malformed) }
        source.port = sourcePort
        destination.port = destinationPort
        return .complete(
            consumed: consumed, ends: Ends(source: source.unmapped, destination: destination.unmapped))
    }

    /// §2.1: "a decimal integer in the range [0..65535]", without leading zeros, which some read as octal.
    private static func port(_ word: RawSpan) -> UInt16? {
        guard word.byteCount >= 1, word.byteCount <= 5, word.byteCount == 1 || word[0] != 0x30 else {
            return nil
        }
        var value: UInt32 = 0
        for offset in 0..<word.byteCount {
            guard word[offset] >= 0x30, word[offset] <= 0x39 else { return nil }
            value = value &* 10 &+ UInt32(word[offset] &- 0x30)
        }
        return UInt16(exactly: value)
    }

    /// Goes through words with exactly one space between them; a missing one is empty, which no word may be.
    private struct Words: ~Copyable, ~Escapable {
        private let text: RawSpan
        private var offset = 0

        @_lifetime(copy text)
        init(_ text: RawSpan) { self.text = text }

        /// Whether the last word ended the text, with no space behind it.
        var isAtEnd: Bool { offset > text.byteCount }

        @_lifetime(copy self)
        mutating func next() -> RawSpan {
            let start = min(offset, text.byteCount)
            let end = text.firstIndex(of: 0x20, from: start)
            offset = end &+ 1
            return text.extracting(start..<end)
        }
    }

    // MARK: Version 2

    private static func parseBinary(_ bytes: RawSpan) -> Step {
        guard bytes.byteCount > 12 else { return .incomplete }
        let isLocal = bytes[12] == 0x20
        guard isLocal || bytes[12] == 0x21 else { return .refused(.unknownVersion) }
        guard bytes.byteCount > 13 else { return .incomplete }
        let family = bytes[13]
        let addressBytes: Int
        switch family {
        // §2.2: a receiver falls back to the real ends of the connection for what it does not support: sockets of
        // the machine, and datagrams, which no stream comes from.
        case 0x00: addressBytes = 0
        case 0x11, 0x12: addressBytes = 12
        case 0x21, 0x22: addressBytes = 36
        case 0x31, 0x32: addressBytes = 216
        // LOCAL speaks of nobody, whatever family it names.
        default:
            guard isLocal else { return .refused(.unknownFamily) }
            addressBytes = 0
        }
        guard bytes.byteCount >= headBytes else { return .incomplete }
        let length = Int(bytes[14]) &<< 8 | Int(bytes[15])
        guard length <= mostBlockBytes else { return .refused(.tooLong) }
        guard isLocal || length >= addressBytes else { return .refused(.malformed) }
        let consumed = headBytes &+ length
        guard bytes.byteCount >= consumed else { return .incomplete }
        if isLocal { return .complete(consumed: consumed, ends: nil) }
        guard isFilled(bytes.extracting(headBytes &+ addressBytes..<consumed)) else {
            return .refused(.malformed)
        }
        switch family {
        case 0x11:
            let ends = Ends(
                source: SocketAddress(ipv4: number(bytes, at: 16), port: port(bytes, at: 24)),
                destination: SocketAddress(ipv4: number(bytes, at: 20), port: port(bytes, at: 26)))
            return .complete(consumed: consumed, ends: ends)
        case 0x21:
            let ends = Ends(
                source: address(bytes, at: 16, port: 48), destination: address(bytes, at: 32, port: 50))
            return .complete(consumed: consumed, ends: ends)
        default: return .complete(consumed: consumed, ends: nil)
        }
    }

    /// Whether TLVs fill the bytes exactly (§2.2.1). What they say is not needed, and a checksum among them not verified:
    /// TCP has one.
    private static func isFilled(_ bytes: RawSpan) -> Bool {
        var offset = 0
        while offset < bytes.byteCount {
            guard offset &+ 3 <= bytes.byteCount else { return false }
            offset &+= 3 &+ (Int(bytes[offset &+ 1]) &<< 8 | Int(bytes[offset &+ 2]))
        }
        return offset == bytes.byteCount
    }

    private static func port(_ bytes: RawSpan, at offset: Int) -> UInt16 {
        UInt16(bytes[offset]) &<< 8 | UInt16(bytes[offset &+ 1])
    }

    private static func number(_ bytes: RawSpan, at offset: Int) -> UInt32 {
        UInt32(port(bytes, at: offset)) &<< 16 | UInt32(port(bytes, at: offset &+ 2))
    }

    private static func address(_ bytes: RawSpan, at offset: Int, port place: Int) -> SocketAddress {
        SocketAddress(
            high: bytes.word(at: offset), low: bytes.word(at: offset &+ 8), port: port(bytes, at: place),
            isV6: true
        ).unmapped
    }
}
