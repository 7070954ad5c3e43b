import HTTP
import LinuxIO
import Memory

// Who "the client" is, for limits and logs.
extension Worker {
    /// The peer, or, behind trusted proxies, the first address from the right that is not trusted: of X-Forwarded-For, or,
    /// where there is none, of Forwarded (RFC 7239).
    mutating func clientAddress(peer: SocketAddress, isTrusted: Bool, _ bytes: RawSpan) -> SocketAddress {
        guard isTrusted else { return peer }
        var client = peer
        var isListed = false
        var isForwarded = false
        var index = requestHead.fields.count
        while index > 0 {
            index &-= 1
            let known = requestHead.fields[index].known
            if known == .forwarded { isForwarded = true }
            guard known == .xForwardedFor else { continue }
            isListed = true
            let value = requestHead.fields[index].value
            var end = value.upperBound
            while end > value.lowerBound {
                var start = end
                while start > value.lowerBound, bytes[start &- 1] != UInt8(ascii: ",") { start &-= 1 }
                let hop = trimmed(ByteRange(start: start, end: end), bytes)
                if !hop.isEmpty {
                    // What is no address was not written by a proxy that we trust: nothing left of it counts.
                    guard let address = address(ForwardedFields.node(inList: hop, of: bytes), bytes) else {
                        return client
                    }
                    client = address
                    if !snapshots[current].trusts(address) { return client }
                }
                end = max(start &- 1, value.lowerBound)
            }
        }
        return isForwarded && !isListed ? forwardedClient(peer: peer, bytes) : client
    }

    private mutating func forwardedClient(peer: SocketAddress, _ bytes: RawSpan) -> SocketAddress {
        var trail = ForwardedTrail()
        for index in 0..<requestHead.fields.count where requestHead.fields[index].known == .forwarded {
            var cursor = ForwardedCursor(requestHead.fields[index].value)
            while case .element(let node) = cursor.next(in: bytes) {
                let address = address(node, bytes)
                trail.pass(address, isTrusted: address.map { snapshots[current].trusts($0) } ?? false)
            }
            if cursor.isBroken { trail.forget() }
        }
        return trail.end(at: peer)
    }

    private func address(_ node: ForwardedNode, _ bytes: RawSpan) -> SocketAddress? {
        switch node {
        case .nobody: nil
        case .address(let text): SocketAddress.parse(bytes[text])?.unmapped
        }
    }

    private func trimmed(_ range: ByteRange, _ bytes: RawSpan) -> ByteRange {
        var start = range.lowerBound
        var end = range.upperBound
        while start < end, bytes[start] == 0x20 || bytes[start] == 0x09 { start &+= 1 }
        while end > start, bytes[end &- 1] == 0x20 || bytes[end &- 1] == 0x09 { end &-= 1 }
        return ByteRange(start: start, end: end)
    }
}

extension Snapshot {
    @inline(__always) func clientKey(_ address: SocketAddress) -> SocketAddress {
        address.client(bits: clientBits)
    }
}

extension SocketAddress {
    /// What counts as one client: the address, or so many bits of an IPv6 one.
    func client(bits: UInt8) -> SocketAddress {
        guard isV6 else { return self }
        let highMask = AddressRange.mask(bits: min(Int(bits), 64))
        let lowMask = AddressRange.mask(bits: max(Int(bits) &- 64, 0))
        return SocketAddress(high: high & highMask, low: low & lowMask, port: 0, isV6: true)
    }
}
