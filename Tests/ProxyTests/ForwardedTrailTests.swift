import LinuxIO
import Testing

@testable import Proxy

@Suite("The client behind trusted proxies") struct ForwardedTrailTests {
    private let peer = SocketAddress(ipv4: 0x7f00_0001, port: 1)

    /// A hop as a letter: `u` is not trusted, `t` is, `-` has no address. Its place tells it apart.
    private func walk(_ hops: String) -> Int? {
        var trail = ForwardedTrail()
        for (index, hop) in hops.enumerated() {
            let address = hop == "-" ? nil : SocketAddress(ipv4: UInt32(index), port: 0)
            trail.pass(address, isTrusted: hop == "t")
        }
        let found = trail.end(at: peer)
        return found == peer
            ? nil : (0..<hops.count).first { SocketAddress(ipv4: UInt32($0), port: 0) == found }
    }

    /// The same by its definition: from the right, while hops are trusted.
    private func fromTheRight(_ hops: String) -> Int? {
        var client: Int?
        for (index, hop) in hops.enumerated().reversed() {
            if hop == "-" { return client }
            client = index
            if hop == "u" { return client }
        }
        return client
    }

    @Test(
        "told from the left, the client is the one that a walk from the right finds: every trail of up to six hops"
    )
    func everyTrail() {
        var trails = [""]
        var count = 0
        for _ in 0...6 {
            for trail in trails {
                #expect(walk(trail) == fromTheRight(trail), "\(trail)")
                count += 1
            }
            trails = trails.flatMap { [$0 + "u", $0 + "t", $0 + "-"] }
        }
        #expect(count == 1093)
    }

    @Test("what was told before a break counts no more") func forget() {
        var trail = ForwardedTrail()
        trail.pass(SocketAddress(ipv4: 1, port: 0), isTrusted: false)
        trail.forget()
        #expect(trail.end(at: peer) == peer)
        trail.pass(SocketAddress(ipv4: 2, port: 0), isTrusted: true)
        #expect(trail.end(at: peer) == SocketAddress(ipv4: 2, port: 0))
    }
}
