public import Memory

/// `host [":" port]`, as Host and the targets of requests hold it (RFC 9110 §7.2, RFC 3986 §3.2).
@frozen public struct Authority: Equatable, Sendable {
    /// As offsets into the bytes that were split; an IPv6 address keeps its brackets.
    public let host: ByteRange
    /// `nil` when none is given.
    public let port: UInt16?

    @inlinable init(host: ByteRange, port: UInt16?) {
        self.host = host
        self.port = port
    }

    /// The parts of `bytes`; `nil` when they are no authority that we forward. Refused beyond RFC 3986: user information,
    /// an empty host or port, percent-encodings and sub-delimiters in names, and addresses of unknown versions.
    @inlinable public static func split(_ bytes: RawSpan) -> Authority? {
        guard bytes.byteCount > 0, bytes.byteCount <= 512 else { return nil }
        let end = bytes[0] == 0x5b ? endOfBracketed(bytes) : bytes.endOfHostName(from: 0)
        guard end > 0 else { return nil }
        let host = ByteRange(start: 0, end: end)
        if end == bytes.byteCount { return Authority(host: host, port: nil) }
        guard bytes[end] == 0x3a, let port = port(bytes, from: end &+ 1) else { return nil }
        return Authority(host: host, port: port)
    }

    @inlinable public static func isValid(_ bytes: RawSpan) -> Bool { split(bytes) != nil }

    /// The same for what is `range` of `bytes`; looks past it when bytes are there.
    @inlinable public static func isValid(_ range: ByteRange, of bytes: RawSpan) -> Bool {
        // Most have no port, and no byte but those of a name.
        let end = range.upperBound
        var offset = range.lowerBound
        while range.count > 0, range.count <= 512, let place = bytes.notHostName(in16: offset) {
            offset &+= place
            if offset >= end { return true }
            if place < 16 { break }
        }
        return isValid(bytes[range])
    }

    /// The offset behind the `]`, 0 when there is no IPv6 address in brackets.
    @usableFromInline static func endOfBracketed(_ bytes: RawSpan) -> Int {
        let end = bytes.firstIndex(notIn: .ipv6Text, from: 1)
        // The shortest address is `::`, the longest has 45 bytes.
        guard end < bytes.byteCount, bytes[end] == 0x5d, end >= 3, end <= 46 else { return 0 }
        var colons = 0
        for offset in 1..<end where bytes[offset] == 0x3a { colons &+= 1 }
        return colons >= 2 && colons <= 7 ? end &+ 1 : 0
    }

    /// 1 to 5 digits up to the end of `bytes`, at most 65535.
    @inlinable static func port(_ bytes: RawSpan, from start: Int) -> UInt16? {
        let count = bytes.byteCount &- start
        guard count >= 1, count <= 5 else { return nil }
        var value: UInt32 = 0
        for offset in start..<bytes.byteCount {
            guard bytes[offset].isDigit else { return nil }
            value = value &* 10 &+ UInt32(bytes[offset] &- 0x30)
        }
        return UInt16(exactly: value)
    }
}
