import LinuxIO

/// Finds the client in the hops that proxies have written down, told from the left: the last one that is not trusted, with
/// trusted ones alone behind it. What is left of a hop that cannot be read, or that is not trusted, may be anybody's invention.
struct ForwardedTrail {
    private var client: SocketAddress?

    /// The next hop; `nil` for one that has no address.
    mutating func pass(_ address: SocketAddress?, isTrusted: Bool) {
        // A trusted hop behind nobody is the farthest that is known, and so the client itself.
        if !isTrusted || client == nil { client = address }
    }

    /// Nothing that was told so far counts.
    mutating func forget() { client = nil }

    /// The client; `peer`, who told all this, when there is no other.
    func end(at peer: SocketAddress) -> SocketAddress { client ?? peer }
}
