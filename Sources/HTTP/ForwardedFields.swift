public import Memory

/// Who was at one hop, as Forwarded and X-Forwarded-For name it (RFC 7239 §6).
@frozen public enum ForwardedNode: Equatable, Sendable {
    /// What should be the text of an IP address, without brackets and port: whoever knows addresses judges it.
    case address(ByteRange)
    /// `unknown` (§6.2), an obfuscated identifier (§6.3), a hop that names nobody, or no node at all.
    case nobody
}

/// Reads what proxies have written about those before them. Pure: offsets into the caller's bytes.
///
/// Both lists are read from the left, since a quoted string can only be read so; which of the hops counts is then for
/// whoever knows which proxies to trust.
public enum ForwardedFields {
    /// A node in an element of X-Forwarded-For, which no standard describes: an address, perhaps with a port, an IPv6 one
    /// with or without brackets, or what §6.2 and §6.3 of RFC 7239 put in its place.
    @inlinable public static func node(inList range: ByteRange, of bytes: RawSpan) -> ForwardedNode {
        let text = bytes[range]
        var colons = 0
        for offset in 0..<text.byteCount where text[offset] == 0x3a { colons &+= 1 }
        // More than one colon without brackets can only be an IPv6 address.
        if colons > 1, text[0] != 0x5b { return isAddressText(text) ? .address(range) : .nobody }
        return node(range, of: bytes)
    }

    /// `node = nodename [ ":" node-port ]` (§6). The port may be obfuscated as well (§6.3), and says nothing about a client.
    @inlinable public static func node(_ range: ByteRange, of bytes: RawSpan) -> ForwardedNode {
        let start = range.lowerBound
        let end = range.upperBound
        guard start < end else { return .nobody }
        let nameEnd: Int
        let name: ByteRange
        if bytes[start] == 0x5b {
            var close = start &+ 1
            while close < end, bytes[close] != 0x5d { close &+= 1 }
            guard close < end else { return .nobody }
            name = ByteRange(start: start &+ 1, end: close)
            nameEnd = close &+ 1
            // Brackets are for IPv6 alone, which has a colon.
            guard hasColon(name, bytes) else { return .nobody }
        } else {
            var colon = start
            while colon < end, bytes[colon] != 0x3a { colon &+= 1 }
            name = ByteRange(start: start, end: colon)
            nameEnd = colon
        }
        guard nameEnd == end || isPort(ByteRange(start: nameEnd, end: end), bytes) else { return .nobody }
        // `unknown`, `_hidden` and names have bytes that no address has.
        guard !name.isEmpty, isAddressText(bytes[name]) else { return .nobody }
        return .address(name)
    }

    @usableFromInline static func isAddressText(_ text: RawSpan) -> Bool {
        text.firstIndex(notIn: .ipv6Text, from: 0) == text.byteCount
    }

    @usableFromInline static func hasColon(_ range: ByteRange, _ bytes: RawSpan) -> Bool {
        for offset in range.lowerBound..<range.upperBound where bytes[offset] == 0x3a { return true }
        return false
    }

    /// A colon, and 1 to 5 digits or an obfuscated port (§6: `node-port = port / obfport`).
    @usableFromInline static func isPort(_ range: ByteRange, _ bytes: RawSpan) -> Bool {
        var offset = range.lowerBound
        guard bytes[offset] == 0x3a, range.count > 1 else { return false }
        offset &+= 1
        let isObfuscated = bytes[offset] == 0x5f
        if isObfuscated { offset &+= 1 }
        let count = range.upperBound &- offset
        guard count > 0, isObfuscated || count <= 5 else { return false }
        while offset < range.upperBound {
            let byte = bytes[offset]
            guard
                byte.isDigit
                    || isObfuscated && (isAlpha(byte) || byte == 0x2e || byte == 0x5f || byte == 0x2d)
            else { return false }
            offset &+= 1
        }
        return true
    }

    @usableFromInline static func isAlpha(_ byte: UInt8) -> Bool {
        byte | 0x20 >= 0x61 && byte | 0x20 <= 0x7a
    }

    /// Whether a value of Forwarded follows the grammar of §4, with space let pass around `;`. What does not must be neither believed nor passed on: what a
    /// proxy appends to a quoted string that is still open is part of that string.
    public static func isValid(_ range: ByteRange, of bytes: RawSpan) -> Bool {
        var cursor = ForwardedCursor(range)
        while case .element = cursor.next(in: bytes) {}
        return !cursor.isBroken
    }
}

/// Goes through the elements of one Forwarded value, from the left (RFC 7239 §4).
@frozen public struct ForwardedCursor: Sendable {
    @frozen public enum Step: Equatable, Sendable {
        case element(ForwardedNode)
        /// There is no further element, or the value is not valid from here on.
        case end
    }

    @usableFromInline var offset: Int
    @usableFromInline let limit: Int
    /// The value does not follow the grammar. Nothing of it may be believed, not even what was read before: the mistake may
    /// be of the hop that wrote first, to make others' words its own.
    public private(set) var isBroken = false

    @inlinable public init(_ range: ByteRange) {
        offset = range.lowerBound
        limit = range.upperBound
    }

    /// `forwarded-element = [ forwarded-pair ] *( ";" [ forwarded-pair ] )`, in a list that may have empty elements
    /// (RFC 9110 §5.6.1.2).
    public mutating func next(in bytes: RawSpan) -> Step {
        while true {
            skipSpace(bytes)
            guard offset < limit else { return .end }
            guard bytes[offset] == 0x2c else { break }
            offset &+= 1
        }
        var node = ForwardedNode.nobody
        var hasFor = false
        while true {
            if offset < limit, bytes[offset] != 0x3b, bytes[offset] != 0x2c, !isSpace(bytes[offset]) {
                guard let pair = pair(in: bytes) else { return fail() }
                if bytes[pair.name].equalsIgnoringCase("for") {
                    // §4: "Each parameter MUST NOT occur more than once per field-value" element.
                    guard !hasFor else { return fail() }
                    hasFor = true
                    node = ForwardedFields.node(pair.value, of: bytes)
                }
            }
            skipSpace(bytes)
            guard offset < limit else { return .element(node) }
            let separator = bytes[offset]
            offset &+= 1
            if separator == 0x2c { return .element(node) }
            guard separator == 0x3b else { return fail() }
            skipSpace(bytes)
        }
    }

    private mutating func fail() -> Step {
        isBroken = true
        offset = limit
        return .end
    }

    /// `token "=" value`, without space around the sign (§4). The value is without its quotes; one with a backslash in it
    /// is never an address, and is left as it stands.
    private mutating func pair(in bytes: RawSpan) -> (name: ByteRange, value: ByteRange)? {
        let start = offset
        while offset < limit, ByteSet.token.contains(bytes[offset]) { offset &+= 1 }
        let name = ByteRange(start: start, end: offset)
        guard !name.isEmpty, offset < limit, bytes[offset] == 0x3d else { return nil }
        offset &+= 1
        guard offset < limit else { return nil }
        if bytes[offset] != 0x22 {
            let valueStart = offset
            while offset < limit, ByteSet.token.contains(bytes[offset]) { offset &+= 1 }
            let value = ByteRange(start: valueStart, end: offset)
            return value.isEmpty ? nil : (name, value)
        }
        offset &+= 1
        let valueStart = offset
        while offset < limit, bytes[offset] != 0x22 {
            // A quoted-pair hides its second byte (RFC 9110 §5.6.4).
            offset &+= bytes[offset] == 0x5c ? 2 : 1
        }
        guard offset < limit else { return nil }
        let value = ByteRange(start: valueStart, end: offset)
        offset &+= 1
        return (name, value)
    }

    private mutating func skipSpace(_ bytes: RawSpan) {
        while offset < limit, isSpace(bytes[offset]) { offset &+= 1 }
    }

    private func isSpace(_ byte: UInt8) -> Bool { byte == 0x20 || byte == 0x09 }
}
