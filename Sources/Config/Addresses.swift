/// An IPv4 or IPv6 address. An IPv4 address is held in its IPv4-mapped form, `::ffff:a.b.c.d` (RFC 4291 §2.5.5.2).
public struct HostAddress: Sendable, Hashable {
    /// The first eight bytes, most significant first.
    public let high: UInt64
    /// The last eight bytes, most significant first.
    public let low: UInt64
    /// Whether it was written as an IPv4 address.
    public let isIPv4: Bool

    init(high: UInt64, low: UInt64, isIPv4: Bool) {
        self.high = high
        self.low = low
        self.isIPv4 = isIPv4
    }

    init(ipv4 word: UInt32) { self.init(high: 0, low: 0xFFFF_0000_0000 | UInt64(word), isIPv4: true) }

    /// Network order: 4 bytes for IPv4, 16 for IPv6.
    public var networkBytes: [UInt8] { isIPv4 ? Array(mappedBytes[12...]) : mappedBytes }

    /// Network order, always 16 bytes.
    public var mappedBytes: [UInt8] {
        [high, low].flatMap { word in (0..<8).map { UInt8(truncatingIfNeeded: word >> (56 - 8 * UInt64($0))) }
        }
    }
}

/// An address and port to listen on. Port 0: the kernel chooses one.
public struct BindAddress: Sendable, Hashable {
    public let host: HostAddress
    public let port: UInt16
    /// As the user wrote it.
    public let text: String

    /// Two spellings of one address are equal.
    public static func == (left: BindAddress, right: BindAddress) -> Bool {
        left.host == right.host && left.port == right.port
    }

    public func hash(into hasher: inout Hasher) {
        hasher.combine(host)
        hasher.combine(port)
    }
}

/// Where a listener stands.
public enum ListenAddress: Sendable, Hashable {
    case internet(BindAddress)
    /// A socket in the file system, by its absolute path.
    case unix(path: String)
    /// A socket that systemd has opened, by the name that it was given.
    case systemd(name: String)

    /// As the user wrote it.
    public var text: String {
        switch self {
        case .internet(let address): address.text
        case .unix(let path): "unix:\(path)"
        case .systemd(let name): "systemd:\(name)"
        }
    }

    public var internet: BindAddress? {
        guard case .internet(let address) = self else { return nil }
        return address
    }
}

/// A network: all addresses that share the first `lengthBits` bits, in the 128-bit space that holds IPv4 as mapped
/// addresses (so `10.0.0.0/8` has 104 bits).
public struct AddressPrefix: Sendable, Hashable {
    public let high: UInt64
    public let low: UInt64
    /// 0 to 128.
    public let lengthBits: Int

    /// The network of this length that the address is in.
    init(_ address: HostAddress, lengthBits: Int) {
        self.lengthBits = lengthBits
        // A shift by the whole width gives zero.
        high = address.high & ~(UInt64.max >> UInt64(min(lengthBits, 64)))
        low = address.low & ~(UInt64.max >> UInt64(max(lengthBits - 64, 0)))
    }
}

/// How a service is spoken to.
public enum EndpointScheme: String, Sendable, Hashable {
    case http, https
    /// HTTP/2 in clear, with prior knowledge (RFC 9113 §3.3).
    case h2c
    /// HTTP/2 over TLS.
    case h2

    public var hasTLS: Bool { self == .https || self == .h2 }
    public var isHTTP2: Bool { self == .h2c || self == .h2 }
    var defaultPort: UInt16 { hasTLS ? 443 : 80 }
}

/// One address of a service.
public struct EndpointAddress: Sendable, Hashable {
    public enum Host: Sendable, Hashable {
        case address(HostAddress)
        /// A DNS name, in lower case.
        case name(String)
        /// A socket in the file system, by its absolute path.
        case unix(String)
    }
    public let scheme: EndpointScheme
    public let host: Host
    public let port: UInt16
    /// What a request's `Host` says when the client's own is not preserved: host and port as in the URL, without a default port;
    /// `localhost` for a socket in the file system.
    public let authority: String
}
