/// Addresses as users write them. Nothing is guessed: no octal, no shortened IPv4, no zones.
enum AddressParser {
    /// IPv4 in dotted decimal or IPv6 by RFC 4291 §2.2, without brackets.
    static func host(_ text: some StringProtocol) -> HostAddress? {
        let bytes = Array(text.utf8)
        if let word = ipv4(bytes[...]) { return HostAddress(ipv4: word) }
        return ipv6(bytes)
    }

    /// `address:port`, an IPv6 address in brackets.
    static func bind(_ text: String) -> BindAddress? {
        guard let (host, portText) = hostAndPort(text), let portText, let port = port(portText) else {
            return nil
        }
        let isBracketed = host.hasPrefix("[")
        guard let address = Self.host(isBracketed ? host.dropFirst().dropLast() : host),
            address.isIPv4 != isBracketed
        else { return nil }
        return BindAddress(host: address, port: port, text: text)
    }

    /// `address/length`, or an address alone for itself. `nil` also when bits beyond the length are set.
    static func prefix(_ text: String) -> AddressPrefix? {
        let parts = text.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
        guard let address = host(parts[0]) else { return nil }
        let width = address.isIPv4 ? 32 : 128
        var length = width
        if parts.count == 2 {
            guard let given = Quantity.integer(String(parts[1])), given <= width else { return nil }
            length = given
        }
        let prefix = AddressPrefix(address, lengthBits: 128 - width + length)
        return prefix.high == address.high && prefix.low == address.low ? prefix : nil
    }

    /// `host`, `host:port`, `[v6]` or `[v6]:port`, cut in two; the brackets stay with the host.
    static func hostAndPort(_ text: String) -> (host: Substring, port: Substring?)? {
        if text.hasPrefix("[") {
            guard let close = text.firstIndex(of: "]") else { return nil }
            let host = text[...close]
            let rest = text[text.index(after: close)...]
            if rest.isEmpty { return (host, nil) }
            return rest.hasPrefix(":") ? (host, rest.dropFirst()) : nil
        }
        let parts = text.split(separator: ":", omittingEmptySubsequences: false)
        switch parts.count {
        case 1: return (parts[0], nil)
        case 2: return (parts[0], parts[1])
        default: return nil
        }
    }

    /// Why a path cannot be that of a socket, `nil` when it can.
    static func flaw(inSocketPath path: String) -> String? {
        if !path.hasPrefix("/") || path.hasSuffix("/") {
            return "a socket's path begins with '/' and ends with its name"
        }
        let most = ConfigurationBounds.socketPathBytes
        return path.utf8.count > most ? "a socket's path has at most \(most) bytes" : nil
    }

    static func port(_ text: Substring) -> UInt16? {
        guard let value = Quantity.integer(String(text)) else { return nil }
        return UInt16(exactly: value)
    }

    /// A DNS name in lower case: labels of letters, digits, `-` and `_`, of 1 to 63 bytes, 253 in all. A last label of digits
    /// alone would be taken for an IPv4 address by some and for a name by others: it is neither here.
    static func name(_ text: some StringProtocol) -> String? {
        // Before lowering: the Kelvin sign, for one, is no ASCII and has a lower case that is.
        guard text.utf8.allSatisfy({ $0 < 0x80 }) else { return nil }
        let lower = text.lowercased()
        guard (1...253).contains(lower.utf8.count) else { return nil }
        let labels = lower.utf8.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false)
        for label in labels {
            guard (1...63).contains(label.count), label.first != UInt8(ascii: "-"),
                label.last != UInt8(ascii: "-"),
                label.allSatisfy(isNameByte)
            else { return nil }
        }
        guard let last = labels.last,
            !last.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) })
        else { return nil }
        return lower
    }

    private static func isNameByte(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"),
            UInt8(ascii: "_"):
            return true
        default: return false
        }
    }

    private static func ipv4(_ bytes: ArraySlice<UInt8>) -> UInt32? {
        let parts = bytes.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false)
        guard parts.count == 4 else { return nil }
        var word: UInt32 = 0
        for part in parts {
            guard let value = Quantity.integer(String(decoding: part, as: UTF8.self)), value <= 255 else {
                return nil
            }
            word = word << 8 | UInt32(value)
        }
        return word
    }

    private static func ipv6(_ bytes: [UInt8]) -> HostAddress? {
        var groups: [UInt16] = []
        var gap: Int?
        var index = 0
        if bytes.starts(with: Array("::".utf8)) {
            gap = 0
            index = 2
        }
        while index < bytes.count {
            let end = bytes[index...].firstIndex(of: UInt8(ascii: ":")) ?? bytes.count
            if end == bytes.count, let word = ipv4(bytes[index...]) {
                groups += [UInt16(word >> 16), UInt16(truncatingIfNeeded: word)]
                break
            }
            guard let group = hexGroup(bytes[index..<end]), groups.count < 8 else { return nil }
            groups.append(group)
            guard end < bytes.count else { break }
            index = end + 1
            // A colon is followed by a group, or by the second colon of the one gap.
            guard index < bytes.count else { return nil }
            if bytes[index] == UInt8(ascii: ":") {
                guard gap == nil else { return nil }
                gap = groups.count
                index += 1
            }
        }
        if let gap {
            guard groups.count < 8 else { return nil }
            groups.insert(contentsOf: Array(repeating: 0, count: 8 - groups.count), at: gap)
        }
        guard groups.count == 8 else { return nil }
        let word = { (range: Range<Int>) in groups[range].reduce(UInt64(0)) { $0 << 16 | UInt64($1) } }
        return HostAddress(high: word(0..<4), low: word(4..<8), isIPv4: false)
    }

    private static func hexGroup(_ bytes: ArraySlice<UInt8>) -> UInt16? {
        guard (1...4).contains(bytes.count) else { return nil }
        var value: UInt16 = 0
        for byte in bytes {
            let digit: UInt8
            switch byte {
            case UInt8(ascii: "0")...UInt8(ascii: "9"): digit = byte - UInt8(ascii: "0")
            case UInt8(ascii: "a")...UInt8(ascii: "f"): digit = byte - UInt8(ascii: "a") + 10
            case UInt8(ascii: "A")...UInt8(ascii: "F"): digit = byte - UInt8(ascii: "A") + 10
            default: return nil
            }
            value = value << 4 | UInt16(digit)
        }
        return value
    }
}

/// Why a text is no address of a service.
enum EndpointAddressError: Error, Equatable {
    /// A scheme that the format knows and this version does not.
    case notBuilt(String)
    case malformed(String)
}

extension EndpointAddress {
    /// `http://host` or `http://host:port`, with `https`, `h2c` or `h2` in place of `http`, or `unix:/path`. Nothing may follow:
    /// what a request asks for is the client's business.
    init(url: String) throws(EndpointAddressError) {
        if url.hasPrefix("unix:") {
            let path = String(url.dropFirst(5))
            if let flaw = AddressParser.flaw(inSocketPath: path) { throw .malformed(flaw) }
            self.init(scheme: .http, host: .unix(path), port: 0, authority: "localhost")
            return
        }
        guard let separator = url.firstRange(of: "://") else { throw .malformed("it has no scheme") }
        guard let scheme = EndpointScheme(rawValue: String(url[..<separator.lowerBound])) else {
            throw .malformed("the scheme is not http, https, h2c or h2")
        }
        let rest = url[separator.upperBound...]
        if rest.contains("@") { throw .malformed("a user name is not allowed") }
        if rest.contains(where: { $0 == "/" || $0 == "?" || $0 == "#" }) {
            throw .malformed("nothing may follow host and port, not even '/'")
        }
        guard let (hostText, portText) = AddressParser.hostAndPort(String(rest)) else {
            throw .malformed("host and port cannot be told apart")
        }
        var port = scheme.defaultPort
        if let portText {
            guard let given = AddressParser.port(portText), given > 0 else {
                throw .malformed("the port must be from 1 to 65535")
            }
            port = given
        }
        let host = try Self.host(hostText)
        let authority = hostText.lowercased() + (port == scheme.defaultPort ? "" : ":\(port)")
        self.init(scheme: scheme, host: host, port: port, authority: authority)
    }

    /// An IPv4 address, an IPv6 address in brackets, or a DNS name.
    static func host(_ text: Substring) throws(EndpointAddressError) -> Host {
        if text.hasPrefix("[") {
            guard let address = AddressParser.host(text.dropFirst().dropLast()), !address.isIPv4 else {
                throw .malformed("the host is not an IPv6 address")
            }
            return .address(address)
        }
        if let address = AddressParser.host(text) { return .address(address) }
        guard let name = AddressParser.name(text) else {
            throw .malformed("the host is neither an address nor a name")
        }
        return .name(name)
    }
}
