internal import Glibc

/// Whose attempts are counted together.
enum ClientNetwork {
    /// The network that an address stands for: itself, or of an IPv6 address the first 64 bits, since a single customer has
    /// all the others to choose from (RFC 6177 §2). An IPv4 address within an IPv6 one (RFC 4291 §2.5.5.2) is that one.
    /// What is no address is left as it is.
    static func name(of address: String) -> String {
        var bytes = [UInt8](repeating: 0, count: 16)
        guard inet_pton(AF_INET6, address, &bytes) == 1 else { return address }
        if bytes[..<10].allSatisfy({ $0 == 0 }), bytes[10] == 0xFF, bytes[11] == 0xFF {
            return bytes[12...].map { String($0) }.joined(separator: ".")
        }
        let groups = stride(from: 0, to: 8, by: 2).map { index in
            String(UInt16(bytes[index]) << 8 | UInt16(bytes[index + 1]), radix: 16)
        }
        return groups.joined(separator: ":") + "::/64"
    }
}
