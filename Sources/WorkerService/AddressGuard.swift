internal import Glibc

/// An IP address, without a port.
public struct NetworkAddress: Hashable, Sendable, CustomStringConvertible {
    /// 4 bytes or 16, the most significant first.
    let bytes: [UInt8]

    private init(bytes: [UInt8]) {
        self.bytes = bytes
    }

    /// `text`: Dotted decimal, or RFC 4291 text. `nil` for anything else, the older spellings (`127.1`, `0x7f000001`) too.
    public init?(_ text: String) {
        var four = in_addr()
        var sixteen = in6_addr()
        if inet_pton(AF_INET, text, &four) == 1 {
            bytes = withUnsafeBytes(of: &four) { Array($0) }
        } else if inet_pton(AF_INET6, text, &sixteen) == 1 {
            bytes = withUnsafeBytes(of: &sixteen) { Array($0) }
        } else {
            return nil
        }
    }

    /// `pointer`: To a `struct sockaddr` of so many bytes. `nil` for a family that is neither IPv4 nor IPv6.
    init?(_ pointer: UnsafeRawPointer?, lengthBytes: Int) {
        guard let pointer, lengthBytes >= MemoryLayout<sa_family_t>.size else { return nil }
        switch Int32(pointer.loadUnaligned(as: sa_family_t.self)) {
        case AF_INET:
            guard lengthBytes >= MemoryLayout<sockaddr_in>.size else { return nil }
            var address = pointer.loadUnaligned(as: sockaddr_in.self).sin_addr
            bytes = withUnsafeBytes(of: &address) { Array($0) }
        case AF_INET6:
            guard lengthBytes >= MemoryLayout<sockaddr_in6>.size else { return nil }
            var address = pointer.loadUnaligned(as: sockaddr_in6.self).sin6_addr
            bytes = withUnsafeBytes(of: &address) { Array($0) }
        default: return nil
        }
    }

    /// The IPv4 address that an IPv6 address stands for: mapped (RFC 4291 §2.5.5.2), or behind the well-known prefix of
    /// NAT64 (RFC 6052 §2.1).
    var embedded: NetworkAddress? {
        let mapped: [UInt8] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF]
        let translated: [UInt8] = [0, 0x64, 0xFF, 0x9B, 0, 0, 0, 0, 0, 0, 0, 0]
        guard bytes.count == 16, [mapped, translated].contains(Array(bytes.prefix(12))) else { return nil }
        return NetworkAddress(bytes: Array(bytes.suffix(4)))
    }

    public var description: String {
        var text = [CChar](repeating: 0, count: Int(INET6_ADDRSTRLEN))
        guard inet_ntop(bytes.count == 4 ? AF_INET : AF_INET6, bytes, &text, socklen_t(text.count)) != nil
        else { return "?" }
        return String(decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }
}

/// A range of addresses, `10.0.0.0/8`.
public struct NetworkRange: Hashable, Sendable {
    private let first: NetworkAddress
    private let length: Int

    /// `text`: An address and its prefix length; an address alone is that one address.
    public init?(_ text: String) {
        let parts = text.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
        guard let first = NetworkAddress(String(parts[0])) else { return nil }
        let whole = first.bytes.count * 8
        guard let length = parts.count == 2 ? Int(parts[1]) : whole, (0...whole).contains(length) else {
            return nil
        }
        self.first = first
        self.length = length
    }

    func holds(_ address: NetworkAddress) -> Bool {
        guard address.bytes.count == first.bytes.count else { return false }
        return (0..<length).allSatisfy { bit in
            let mask: UInt8 = 0x80 >> UInt8(bit % 8)
            return address.bytes[bit / 8] & mask == first.bytes[bit / 8] & mask
        }
    }
}

/// Which addresses a webhook may reach. A user chooses the name, and whoever serves its zone chooses anew at each question
/// what it means; so the address itself is judged, at the moment when the connection is made.
public struct AddressGuard: Sendable {
    private let exceptions: [NetworkRange]

    /// `exceptions`: Ranges that are allowed although they are not public.
    public init(exceptions: [NetworkRange] = []) {
        self.exceptions = exceptions
    }

    /// Lets webhooks go anywhere: for a machine on which nobody else listens.
    public static let everything = AddressGuard(exceptions: ranges("0.0.0.0/0", "::/0"))

    func allows(_ address: NetworkAddress) -> Bool {
        if let embedded = address.embedded { return allows(embedded) }
        if exceptions.contains(where: { $0.holds(address) }) { return true }
        if address.bytes.count == 4 { return !Self.special4.contains { $0.holds(address) } }
        // Only 2000::/3 has been given out for global use.
        return Self.global6.contains { $0.holds(address) } && !Self.special6.contains { $0.holds(address) }
    }

    /// Not globally reachable, by the registry of RFC 6890, and what is no single machine.
    private static let special4 = ranges(
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
        "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4")
    private static let global6 = ranges("2000::/3")
    /// Teredo and its like, documentation, and 6to4, which holds an IPv4 address that a relay would believe.
    private static let special6 = ranges("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")

    private static func ranges(_ texts: String...) -> [NetworkRange] { texts.compactMap { NetworkRange($0) } }
}
