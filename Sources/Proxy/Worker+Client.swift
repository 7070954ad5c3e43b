import HTTP
import LinuxIO
import Memory

// Who "the client" is, for limits and logs.
extension Worker {
    /// The peer, or, behind trusted proxies, the first address of X-Forwarded-For from the right that is not trusted.
    func clientAddress(peer: SocketAddress, isTrusted: Bool, _ bytes: RawSpan) -> SocketAddress {
        guard isTrusted else { return peer }
        var client = peer
        var index = requestHead.fields.count
        while index > 0 {
            index &-= 1
            guard requestHead.fields[index].known == .xForwardedFor else { continue }
            let value = bytes[requestHead.fields[index].value]
            var end = value.byteCount
            while end > 0 {
                var start = end
                while start > 0, value[start &- 1] != UInt8(ascii: ",") { start &-= 1 }
                let hop = trimmed(value.extracting(start..<end))
                // What is no address was not written by a proxy that we trust: nothing left of it counts.
                guard let address = SocketAddress.parse(hop) else { return client }
                client = address
                if !snapshots[current].trusts(address) { return client }
                end = max(start &- 1, 0)
                if start == 0 { break }
            }
        }
        return client
    }

    @_lifetime(copy text)
    private func trimmed(_ text: RawSpan) -> RawSpan {
        var start = 0
        var end = text.byteCount
        while start < end, text[start] == 0x20 || text[start] == 0x09 { start &+= 1 }
        while end > start, text[end &- 1] == 0x20 || text[end &- 1] == 0x09 { end &-= 1 }
        return text.extracting(start..<end)
    }
}

extension Snapshot {
    /// What counts as one client: the address, or the prefix of an IPv6 one.
    func clientKey(_ address: SocketAddress) -> SocketAddress {
        guard address.isV6 else { return address }
        return SocketAddress(
            high: address.high & ipv6Mask.high, low: address.low & ipv6Mask.low, port: 0, isV6: true)
    }
}
