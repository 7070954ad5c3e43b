internal import Memory

/// The name in a `Host` field or an `:authority` (RFC 9110 §7.2, RFC 3986 §3.2.2).
enum HostName {
    /// Longest name that is looked up; DNS allows 253 bytes.
    static let longest = 255

    /// Without port and without the dot that may end a name: `example.com` for `example.com.:8443`. An address in
    /// brackets keeps them.
    @_lifetime(copy host)
    static func name(in host: RawSpan) -> RawSpan {
        var end = host.byteCount
        if end > 0, host[0] == UInt8(ascii: "[") {
            let bracket = host.firstIndex(of: UInt8(ascii: "]"), from: 0)
            if bracket < end { end = bracket &+ 1 }
        } else {
            end = host.firstIndex(of: UInt8(ascii: ":"), from: 0)
            if end > 0, host[end &- 1] == UInt8(ascii: ".") { end &-= 1 }
        }
        return host.extracting(0..<end)
    }
}

/// The hash of a name and of each of its endings, in one pass from its end to its beginning (FNV-1a, 64 bits).
struct EndingHash {
    private(set) var value: UInt64 = 0xcbf2_9ce4_8422_2325

    mutating func take(_ byte: UInt8) {
        value = (value ^ UInt64(byte)) &* 0x0000_0100_0000_01b3
    }

    /// FNV's low bits see little of the last bytes: fold the high half in.
    func slot(mask: Int) -> Int { Int(truncatingIfNeeded: value ^ (value &>> 32)) & mask }
}
