import LinuxIO
import Memory
import Reactor
import Testing

@testable import Upstreams

@Suite("Connection pools") struct PoolTests {
    @Test("the first lease connects; the connection is its holder's, and is not called kept") func first()
        throws
    {
        var yard = try Yard()
        let answer = yard.lease(holder: 5)
        let id = try #require(answer.connecting)
        #expect(yard.pools.connections[id].phase == .connecting)
        try yard.finishConnect(id)
        #expect(yard.pools.connections[id].phase == .leased)
        #expect(yard.pools.connections[id].holder == Yard.holder(5))
        #expect(yard.pools.connections[id].isReused == false)
        #expect(yard.pools.connections[id].descriptor.connectError() == nil)
    }

    @Test("a connection that was given back is leased again, empty, kept, and its new holder's") func again()
        throws
    {
        var yard = try Yard()
        let id = try yard.connection(holder: 1)
        yard.pools.connections[id].sentBytes = 100
        yard.pools.connections[id].scannedBytes = 10
        yard.giveBack(id)
        #expect(yard.pools.connections[id].phase == .idle)
        #expect(yard.pools.connections[id].holder == .none)
        #expect(yard.pools.idleCount(endpoint: 10) == 1)
        let leased = yard.lease(holder: 2).leased
        #expect(leased == id)
        #expect(yard.pools.idleCount(endpoint: 10) == 0)
        #expect(yard.pools.connections[id].holder == Yard.holder(2))
        #expect(yard.pools.connections[id].isReused == true)
        #expect(yard.pools.connections[id].sentBytes == 0 && yard.pools.connections[id].scannedBytes == 0)
    }

    @Test("the last one given back is the first one leased") func lastInFirstOut() throws {
        var yard = try Yard()
        var ids: [SlabID] = []
        for number in 1...4 { ids.append(try yard.connection(holder: UInt32(number))) }
        for id in [ids[2], ids[0], ids[3], ids[1]] { yard.giveBack(id) }
        var leased: [SlabID?] = []
        for _ in 0..<4 { leased.append(yard.lease().leased) }
        #expect(leased == [ids[1], ids[3], ids[0], ids[2]])
    }

    @Test("an idle one that is closed leaves the others in their order", arguments: 0..<4)
    func closedIdle(position: Int) throws {
        var yard = try Yard()
        var ids: [SlabID] = []
        for number in 1...4 { ids.append(try yard.connection(holder: UInt32(number))) }
        for id in ids { yard.giveBack(id) }
        let gone = ids.remove(at: position)
        let service = yard.pools.close(gone, &yard.loop)
        #expect(service == 3)
        #expect(yard.pools.idleCount(endpoint: 10) == 3)
        var leased: [SlabID?] = []
        for _ in 0..<3 { leased.append(yard.lease().leased) }
        #expect(leased == ids.reversed())
        let next = yard.lease().leased
        #expect(next == nil, "no more are idle")
    }

    @Test("no more than so many are kept; one more is closed") func cap() throws {
        var yard = try Yard()
        var ids: [SlabID] = []
        for number in 1...3 { ids.append(try yard.connection(holder: UInt32(number))) }
        for id in ids { yard.giveBack(id, keep: 2) }
        #expect(yard.pools.idleCount(endpoint: 10) == 2)
        #expect(yard.pools.connections.count == 2)
        #expect(yard.pools.connections.contains(ids[2]) == false)
        let other = try yard.connection()
        yard.giveBack(other, keep: 0)
        #expect(yard.pools.connections.contains(other) == false)
    }

    @Test("who asks for a fresh connection gets one, though others are idle") func fresh() throws {
        var yard = try Yard()
        let id = try yard.connection()
        yard.giveBack(id)
        let answer = yard.lease(fresh: true)
        #expect(answer.connecting != nil && answer.connecting != id)
        #expect(yard.pools.idleCount(endpoint: 10) == 1)
    }

    @Test("an idle connection of one endpoint is not leased for another") func endpoints() throws {
        var yard = try Yard(endpoints: 2)
        let id = try yard.connection(choice: 0)
        yard.giveBack(id)
        let other = yard.lease(choice: 1)
        #expect(other.leased == nil && other.connecting != nil)
        let same = yard.lease(choice: 0).leased
        #expect(same == id)
    }

    @Test("an idle connection owns no block") func idleOwnsNothing() throws {
        let blocks = BlockPool(limit: 8)
        var yard = try Yard()
        let id = try yard.connection()
        _ = yard.pools.connections[id].inbound.append("left", from: blocks)
        _ = yard.pools.connections[id].outbound.append("over", from: blocks)
        yard.giveBack(id)
        let out = blocks.outstanding
        #expect(out == 0)
    }

    @Test("a connect that is refused is told by its error, and makes room when closed") func refused() throws
    {
        var yard = try Yard(capacity: 1)
        let port: UInt16
        do {
            let gone = try Yard()
            port = gone.port(0)
        }
        let plan = Yard.plan(service: 4, ports: [port])
        let answer = yard.pools.lease(plan, choice: 0, holder: Yard.holder(1), isFreshOnly: false, &yard.loop)
        let id = try #require(answer.connecting)
        var turns = 0
        while yard.noting.ready.isEmpty, turns < 100 {
            turns += 1
            _ = yard.loop.turn(&yard.noting)
        }
        let error = yard.pools.connections[id].descriptor.connectError()
        #expect(error?.isConnectionRefused == true)
        let service = yard.pools.close(id, &yard.loop)
        #expect(service == 4)
        let next = yard.lease()
        #expect(next.connecting != nil)
    }

    @Test("what the kernel took is counted; a failure keeps the request only if it took nothing")
    func untouched() throws {
        let blocks = BlockPool(limit: 8)
        var yard = try Yard()
        let id = try yard.connection()
        _ = yard.pools.connections[id].outbound.append("request", from: blocks)
        yard.pools.connections[id].outboundFailed()
        #expect(yard.pools.connections[id].outbound.byteCount == 7)
        let step = yard.pools.connections[id].flush(from: blocks)
        #expect(step == .bytes(7))
        #expect(yard.pools.connections[id].sentBytes == 7)
        _ = yard.pools.connections[id].outbound.append("more", from: blocks)
        yard.pools.connections[id].outboundFailed()
        #expect(yard.pools.connections[id].outbound.byteCount == 0)
    }

    @Test("leases and returns in any order keep the counts right", arguments: 1...12)
    func walk(seed: Int) throws {
        var dice = UInt64(seed) &* 0x9e37_79b9_7f4a_7c15 | 1
        func roll(_ bound: Int) -> Int {
            dice ^= dice >> 12
            dice ^= dice << 25
            dice ^= dice >> 27
            return Int((dice &* 2_685_821_657_736_338_717) >> 33) % bound
        }
        var yard = try Yard(endpoints: 3, capacity: 20)
        var leased: [SlabID] = []
        var idle: [[SlabID]] = [[], [], []]
        for step in 0..<400 {
            switch roll(4) {
            case 0, 1:
                let choice = roll(3)
                switch yard.lease(choice: choice, holder: UInt32(step)) {
                case .leased(let id):
                    #expect(idle[choice].popLast() == id)
                    leased.append(id)
                case .connecting(let id):
                    #expect(idle[choice].isEmpty)
                    // In a full slab an idle connection to another endpoint has made room.
                    for place in 0..<3 { idle[place].removeAll { !yard.pools.connections.contains($0) } }
                    yard.pools.connected(id)
                    leased.append(id)
                case .waiting(let waiter):
                    #expect(idle.allSatisfy(\.isEmpty) && yard.pools.connections.isFull)
                    yard.pools.leaveLine(waiter)
                case .overloaded, .failed: Issue.record("neither full nor broken")
                }
            case 2:
                guard !leased.isEmpty else { continue }
                let id = leased.remove(at: roll(leased.count))
                let place = yard.pools.connections[id].endpoint - 10
                yard.giveBack(id, keep: 4)
                if idle[place].count < 4 { idle[place].append(id) }
            default:
                let place = roll(3)
                if !leased.isEmpty, roll(2) == 0 {
                    _ = yard.pools.close(leased.remove(at: roll(leased.count)), &yard.loop)
                } else if !idle[place].isEmpty {
                    _ = yard.pools.close(idle[place].remove(at: roll(idle[place].count)), &yard.loop)
                }
            }
            let counts = (0..<3).map { yard.pools.idleCount(endpoint: 10 + $0) }
            #expect(counts == idle.map(\.count))
            #expect(yard.pools.connections.count == leased.count + counts.reduce(0, +))
            // One that is leased again may keep the timer that stands.
            #expect(yard.loop.timers.count >= counts.reduce(0, +))
            #expect(yard.loop.timers.count <= yard.pools.connections.count)
        }
        for id in leased + idle.joined() { _ = yard.pools.close(id, &yard.loop) }
        #expect(yard.loop.timers.count == 0 && yard.pools.connections.count == 0)
    }
}
