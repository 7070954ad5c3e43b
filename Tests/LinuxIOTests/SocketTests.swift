import Foundation
import LinuxIO
import Memory
import Synchronization
import Testing

/// 127.0.0.1 with a port that the kernel chooses.
let anyLoopbackPort = SocketAddress(
    bytes: [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 127, 0, 0, 1], port: 0, isV6: false)

struct NoEvent: Error {}

/// Waits until the poller has something to say of a descriptor.
func eventOf(_ poller: inout Poller) throws -> (token: UInt64, readiness: Readiness) {
    for _ in 0..<100 where poller.wait(milliseconds: 100) > 0 {
        return (poller.token(0), poller.readiness(0))
    }
    throw NoEvent()
}

/// Both ends of one connection over the loopback.
struct LoopbackPair: ~Copyable {
    var client: Descriptor
    let server: Descriptor

    init() throws {
        let listener = try Sockets.listen(at: anyLoopbackPort, sharesPort: false, backlog: 8)
        var address = anyLoopbackPort
        address.port = try Sockets.localPort(of: listener)
        let caller = try Sockets.connect(to: address)
        var poller = try Poller()
        try poller.add(listener.number, token: 1, interest: .level)
        _ = try eventOf(&poller)
        let called = try LoopbackPair.accepted(from: listener.number)
        client = caller
        server = called
    }

    private static func accepted(from listener: Int32) throws -> Descriptor {
        switch Sockets.accept(from: listener) {
        case .connection(let descriptor, let peer):
            #expect(!peer.isV6 && peer.text.hasPrefix("127.0.0.1:"))
            return descriptor
        case .none: throw NoEvent()
        case .failed(let error): throw error
        }
    }
}

@Suite("Sockets") struct SocketTests {
    @Test("a connection over the loopback carries bytes both ways, and its end") func carries() throws {
        let pair = try LoopbackPair()
        let pool = BlockPool(limit: 64)
        #expect(pair.client.connectError() == nil)
        var poller = try Poller()
        try poller.add(pair.server.number, token: 7, interest: .reading)
        var inbound = ByteQueue()
        let nothing = pair.server.receive(into: &inbound, from: pool)
        #expect(nothing == .wouldBlock)
        let held = pool.outstanding
        #expect(held == 0, "a read that brings nothing keeps no block")

        var outbound = ByteQueue()
        let isQueued = outbound.append("hello", from: pool)
        let sent = pair.client.send(from: &outbound)
        #expect(isQueued && sent == .bytes(5))
        let event = try eventOf(&poller)
        #expect(event.token == 7 && event.readiness.isReadable && !event.readiness.isEnding)
        let got = pair.server.receive(into: &inbound, from: pool)
        #expect(got == .bytes(5))
        #expect(inbound.array == Array("hello".utf8))

        pair.client.shutdownWriting()
        let end = try eventOf(&poller)
        #expect(end.readiness.isEnding)
        let last = pair.server.receive(into: &inbound, from: pool)
        #expect(last == .ended)
    }

    @Test("what is sent in many blocks arrives whole, however the kernel takes it") func manyBlocks() throws {
        let pair = try LoopbackPair()
        let pool = BlockPool(limit: 4096)
        let count = 2_000_000
        let bytes = (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ $0 >> 8) }
        var outbound = ByteQueue()
        let isQueued = outbound.append(bytes.rawSpan, from: pool)
        #expect(isQueued)
        var poller = try Poller()
        try poller.add(pair.server.number, token: 1, interest: .level)
        var inbound = ByteQueue()
        var rounds = 0
        while inbound.byteCount < count, rounds < 100_000 {
            rounds += 1
            if !outbound.isEmpty { _ = pair.client.send(from: &outbound) }
            _ = poller.wait(milliseconds: 10)
            // Both ways to read, by turns.
            _ =
                rounds % 2 == 0
                ? pair.server.receive(into: &inbound, from: pool)
                : pair.server.receiveBody(into: &inbound, from: pool)
        }
        let isSame = inbound.array == bytes
        #expect(isSame)
    }

    @Test("a read into an exhausted pool says so, and takes nothing from the kernel") func exhausted() throws
    {
        let pair = try LoopbackPair()
        let pool = BlockPool(limit: 1)
        let other = BlockPool(limit: 4)
        var outbound = ByteQueue()
        _ = outbound.append("abc", from: other)
        _ = pair.client.send(from: &outbound)
        var poller = try Poller()
        try poller.add(pair.server.number, token: 1, interest: .level)
        _ = try eventOf(&poller)
        var inbound = ByteQueue()
        do {
            let block = pool.take()
            let isTaken = block != nil
            #expect(isTaken)
            let plain = pair.server.receive(into: &inbound, from: pool)
            let body = pair.server.receiveBody(into: &inbound, from: pool)
            #expect(plain == .outOfBlocks && body == .outOfBlocks)
            _ = consume block
        }
        let later = pair.server.receive(into: &inbound, from: pool)
        #expect(later == .bytes(3))
    }

    @Test("a connect to a port where nobody listens is refused") func refused() throws {
        var address = anyLoopbackPort
        do {
            let listener = try Sockets.listen(at: anyLoopbackPort, sharesPort: false, backlog: 8)
            address.port = try Sockets.localPort(of: listener)
        }
        let client = try Sockets.connect(to: address)
        var poller = try Poller()
        try poller.add(client.number, token: 1, interest: .readingAndWriting)
        let event = try eventOf(&poller)
        #expect(event.readiness.isEnding)
        let error = client.connectError()
        #expect(error?.isConnectionRefused == true)
    }

    @Test("a port that is taken is an error with a name; one that is shared is not") func taken() throws {
        let first = try Sockets.listen(at: anyLoopbackPort, sharesPort: true, backlog: 8)
        var address = anyLoopbackPort
        address.port = try Sockets.localPort(of: first)
        let second = try Sockets.listen(at: address, sharesPort: true, backlog: 8)
        let port = try Sockets.localPort(of: second)
        #expect(port == address.port)
        var found: SystemError?
        do {
            _ = try Sockets.listen(at: address, sharesPort: false, backlog: 8)
        } catch {
            found = error
        }
        #expect(found?.isAddressInUse == true)
    }

    @Test("a listener without callers accepts nothing, at once") func nobody() throws {
        let listener = try Sockets.listen(at: anyLoopbackPort, sharesPort: false, backlog: 8)
        var isNone = false
        switch Sockets.accept(from: listener.number) {
        case .none: isNone = true
        case .connection: break
        case .failed: break
        }
        #expect(isNone)
    }

    @Test("a reset ends the peer's reads with an error, not with an end") func reset() throws {
        let pool = BlockPool(limit: 4)
        var inbound = ByteQueue()
        var pair = try LoopbackPair()
        var poller = try Poller()
        try poller.add(pair.server.number, token: 1, interest: .reading)
        pair.client.resetOnClose()
        // Letting go of the descriptor closes it.
        pair.client = try Sockets.listen(at: anyLoopbackPort, sharesPort: false, backlog: 1)
        _ = try eventOf(&poller)
        let step = pair.server.receive(into: &inbound, from: pool)
        if case .failed = step {} else { Issue.record("the read came to \(step)") }
    }
}
