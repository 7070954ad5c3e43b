import LinuxIO
import Memory
import Testing

@testable import Upstreams

@Suite("A request that is written from where the exchange keeps it") struct OwedRequestTests {
    /// More than the kernel takes of what nobody reads.
    private let long = [UInt8](repeating: 0x78, count: 32 << 20)

    @Test("one that the kernel takes whole is owed no more") func whole() throws {
        var yard = try Yard()
        let id = try yard.connection()
        let pool = BlockPool(limit: 1)
        yard.pools.connections[id].owesRequest = true
        let before = (yard.pools.connections[id].hasOutput, yard.pools.connections[id].isQuiet)
        #expect(before == (true, false))
        let request = Array("GET / HTTP/1.1\r\n\r\n".utf8)
        let step = yard.pools.connections[id].send(request.rawSpan, from: pool)
        #expect(step == .bytes(request.count))
        let after = (
            yard.pools.connections[id].hasOutput, yard.pools.connections[id].isQuiet,
            yard.pools.connections[id].sentBytes
        )
        #expect(after == (false, true, request.count))
    }

    @Test("what the kernel leaves of it waits in blocks") func short() throws {
        var yard = try Yard()
        let id = try yard.connection()
        let pool = BlockPool(limit: 4096)
        yard.pools.connections[id].owesRequest = true
        let step = yard.pools.connections[id].send(long.rawSpan, from: pool)
        let sent = yard.pools.connections[id].sentBytes
        #expect(step == .bytes(sent) && sent > 0 && sent < long.count)
        let left = (
            yard.pools.connections[id].owesRequest, yard.pools.connections[id].hasOutput,
            yard.pools.connections[id].outbound.byteCount
        )
        #expect(left == (false, true, long.count - sent))
    }

    @Test("where there is no block for the rest, that is said, and nothing is kept of it")
    func noBlock() throws {
        var yard = try Yard()
        let id = try yard.connection()
        let pool = BlockPool(limit: 1)
        yard.pools.connections[id].owesRequest = true
        let step = yard.pools.connections[id].send(long.rawSpan, from: pool)
        #expect(step == .outOfBlocks)
        let left = (
            yard.pools.connections[id].outbound.byteCount, yard.pools.connections[id].sentBytes > 0,
            pool.outstanding
        )
        #expect(left == (0, true, 0))
    }
}
