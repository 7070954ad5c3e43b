import LinuxIO
import Memory
import Reactor
import Testing

@testable import Upstreams

@Suite("The line for a connection") struct LineTests {
    /// A yard whose one connection is taken.
    private func taken() throws -> Yard {
        var yard = try Yard(capacity: 1)
        _ = try yard.connection(holder: 1)
        return yard
    }

    private func everyone(_ yard: inout Yard, service: Int = 3) -> [UInt32] {
        var holders: [UInt32] = []
        while let holder = yard.pools.nextInLine(service) { holders.append(holder.index) }
        return holders
    }

    @Test("who came first is served first") func order() throws {
        var yard = try taken()
        for holder in 10...14 {
            let answer = yard.lease(holder: UInt32(holder))
            #expect(answer.waiting != nil)
        }
        #expect(everyone(&yard) == [10, 11, 12, 13, 14])
        let nobody = yard.pools.nextInLine(3)
        #expect(nobody == nil)
    }

    @Test("who leaves the line, at any place, leaves the others in order", arguments: 0..<5)
    func leaving(place: Int) throws {
        var yard = try taken()
        var waiters: [SlabID] = []
        for holder in 10...14 { waiters.append(try #require(yard.lease(holder: UInt32(holder)).waiting)) }
        yard.pools.leaveLine(waiters[place])
        yard.pools.leaveLine(waiters[place])
        _ = yard.lease(holder: 15)
        var expected: [UInt32] = [10, 11, 12, 13, 14, 15]
        expected.remove(at: place)
        #expect(everyone(&yard) == expected)
    }

    @Test("the lines of two services are two lines") func services() throws {
        var yard = try Yard(endpoints: 1, capacity: 2)
        let other = Yard.plan(service: 8, ports: [yard.port(0)])
        let third = Yard.plan(service: 9, ports: [yard.port(0)])
        if case .connecting = yard.lease(holder: 8) {} else { Issue.record("there is room for two") }
        if case .connecting = yard.lease(other, holder: 9) {} else { Issue.record("there is room for two") }
        // Without a connection of its own nobody would ever call whoever waits.
        if case .overloaded = yard.lease(third, holder: 7) {} else { Issue.record("a line without an end") }
        for holder in [UInt32(10), 11, 12, 13] {
            if holder % 2 == 0 {
                _ = yard.lease(holder: holder)
            } else {
                _ = yard.lease(other, holder: holder)
            }
        }
        #expect(everyone(&yard, service: 8) == [11, 13])
        #expect(everyone(&yard, service: 3) == [10, 12])
        #expect(everyone(&yard, service: 9) == [])
    }

    @Test("a full line refuses, and a place that becomes free is given again") func overload() throws {
        var yard = try taken()
        var first = SlabID.none
        for number in 0..<ConnectionPools.waiters {
            guard let waiter = yard.lease(holder: UInt32(number)).waiting else {
                Issue.record("refused before the line was full")
                return
            }
            if number == 0 { first = waiter }
        }
        let refused = yard.lease(holder: 99_999)
        #expect(refused.isOverloaded)
        yard.pools.leaveLine(first)
        let answer = yard.lease(holder: 99_999)
        #expect(answer.waiting != nil)
        let next = yard.pools.nextInLine(3)
        #expect(next?.index == 1)
    }

    @Test("a service takes no more than its share of connections, whatever room there is") func share() throws
    {
        let most = ConnectionPools.connectionsPerService
        var yard = try Yard(endpoints: 1, capacity: most + 8)
        var last = SlabID.none
        for number in 0..<most {
            guard let id = yard.lease(holder: UInt32(number)).connecting else {
                Issue.record("no connection \(number)")
                return
            }
            last = id
        }
        let answer = yard.lease(holder: 9999)
        #expect(answer.waiting != nil)
        let other = Yard.plan(service: 8, ports: [yard.port(0)])
        let otherAnswer = yard.pools.lease(
            other, choice: 0, holder: Yard.holder(1), isFreshOnly: false, &yard.loop)
        #expect(otherAnswer.connecting != nil)
        _ = yard.pools.close(last, &yard.loop)
        let next = yard.pools.nextInLine(3)
        #expect(next?.index == 9999)
        let again = yard.lease(holder: 9999)
        #expect(again.connecting != nil)
    }

    @Test("a kept connection counts for the service that uses it, and frees a place in that one's line")
    func sharedEndpoint() throws {
        var yard = try Yard(endpoints: 1, capacity: 1)
        guard let id = yard.lease(holder: 1).connecting else {
            Issue.record("no connection")
            return
        }
        yard.pools.connected(id)
        let isWanted = yard.giveBack(id, keep: 2, idle: 1_000_000_000)
        #expect(!isWanted)
        let other = Yard.plan(service: 8, ports: [yard.port(0)])
        let taken = yard.pools.lease(other, choice: 0, holder: Yard.holder(2), isFreshOnly: false, &yard.loop)
        guard case .leased(let kept) = taken, kept == id else {
            Issue.record("the kept connection was not taken")
            return
        }
        let waits = yard.pools.lease(other, choice: 0, holder: Yard.holder(3), isFreshOnly: false, &yard.loop)
        #expect(waits.waiting != nil)
        let freed = yard.pools.close(id, &yard.loop)
        #expect(freed == 8)
        let next = yard.pools.nextInLine(freed)
        #expect(next == Yard.holder(3))
    }

    @Test(
        "who gives a connection back learns whether somebody waits, whether it is kept or not",
        arguments: [0, 1])
    func wanted(keep: Int) throws {
        var yard = try taken()
        guard let id = yard.pools.connections.name(at: 0) else { return }
        let isWantedBefore = yard.lease(holder: 7).waiting != nil
        let isWanted = yard.giveBack(id, keep: keep)
        #expect((isWantedBefore, isWanted) == (true, true))
        let next = yard.pools.nextInLine(3)
        #expect(next?.index == 7)
    }

    @Test("against a list: any order of coming, leaving and being served", arguments: 1...20)
    func model(seed: Int) throws {
        var dice = UInt64(seed) &* 0x9e37_79b9_7f4a_7c15 | 1
        func roll(_ bound: Int) -> Int {
            dice ^= dice >> 12
            dice ^= dice << 25
            dice ^= dice >> 27
            return Int((dice &* 2_685_821_657_736_338_717) >> 33) % bound
        }
        var yard = try taken()
        var line: [(waiter: SlabID, holder: UInt32)] = []
        var left: [SlabID] = []
        for step in 0..<2000 {
            switch roll(5) {
            case 0, 1:
                guard let waiter = yard.lease(holder: UInt32(step)).waiting else { continue }
                line.append((waiter, UInt32(step)))
            case 2:
                guard !line.isEmpty else { continue }
                let gone = line.remove(at: roll(line.count))
                yard.pools.leaveLine(gone.waiter)
                left.append(gone.waiter)
            case 3:
                if !left.isEmpty { yard.pools.leaveLine(left[roll(left.count)]) }
            default:
                let next = yard.pools.nextInLine(3)
                #expect(next?.index == line.first?.holder)
                if !line.isEmpty { left.append(line.removeFirst().waiter) }
            }
        }
        #expect(everyone(&yard) == line.map(\.holder))
    }
}

@Suite("Deadlines of connections") struct DeadlineTests {
    @Test("a deadline that moves later keeps its timer; what fires early is set again, and then is overdue")
    func later() throws {
        var yard = try Yard()
        let id = try yard.connection()
        let start = yard.loop.now
        yard.pools.setDeadline(id, start + 20_000_000, &yard.loop)
        let before = yard.loop.timers.count
        let moved = start + 90_000_000
        yard.pools.setDeadline(id, moved, &yard.loop)
        #expect(yard.loop.timers.count == before)
        try yard.waitForTimer(id)
        #expect(yard.loop.now < moved, "the timer of the first deadline stood")
        let early = yard.pools.isOverdue(id, &yard.loop)
        #expect(!early)
        try yard.waitForTimer(id)
        #expect(yard.loop.now >= moved)
        let late = yard.pools.isOverdue(id, &yard.loop)
        #expect(late)
    }

    @Test("a deadline that moves earlier fires at the earlier time, once") func earlier() throws {
        var yard = try Yard()
        let id = try yard.connection()
        let start = yard.loop.now
        yard.pools.setDeadline(id, start + 3600_000_000_000, &yard.loop)
        let before = yard.loop.timers.count
        yard.pools.setDeadline(id, start + 10_000_000, &yard.loop)
        #expect(yard.loop.timers.count == before)
        try yard.waitForTimer(id)
        let isOverdue = yard.pools.isOverdue(id, &yard.loop)
        #expect(isOverdue && yard.loop.now < start + 3600_000_000_000)
        #expect(yard.loop.timers.count == before - 1)
    }

    @Test("no deadline is never overdue, whatever timer still stood, and one set after it fires") func none()
        throws
    {
        var yard = try Yard()
        let id = try yard.connection()
        yard.pools.setDeadline(id, yard.loop.now + 10_000_000, &yard.loop)
        yard.pools.setDeadline(id, .max, &yard.loop)
        try yard.waitForTimer(id)
        let isOverdue = yard.pools.isOverdue(id, &yard.loop)
        #expect(!isOverdue)
        yard.pools.setDeadline(id, yard.loop.now + 10_000_000, &yard.loop)
        try yard.waitForTimer(id)
        let later = yard.pools.isOverdue(id, &yard.loop)
        #expect(later)
    }

    @Test("an idle connection is overdue when its time is up") func idle() throws {
        var yard = try Yard()
        let id = try yard.connection()
        yard.giveBack(id, idle: 15_000_000)
        try yard.waitForTimer(id)
        let isOverdue = yard.pools.isOverdue(id, &yard.loop)
        #expect(isOverdue)
        #expect(yard.pools.connections[id].phase == .idle)
    }

    @Test("the timer of a closed connection is gone with it") func closed() throws {
        var yard = try Yard()
        let before = yard.loop.timers.count
        guard let id = yard.lease().connecting else { throw Unexpected(text: "no connection") }
        yard.pools.setDeadline(id, yard.loop.now + 1_000_000_000, &yard.loop)
        #expect(yard.loop.timers.count == before + 1)
        _ = yard.pools.close(id, &yard.loop)
        #expect(yard.loop.timers.count == before)
    }
}

@Suite("The choice of an endpoint") struct BalanceTests {
    private func counts(_ yard: inout Yard, picks: Int, avoiding: Int = -1) -> [Int] {
        var counts = [Int](repeating: 0, count: yard.plan.endpoints.count)
        for _ in 0..<picks { counts[yard.pools.pick(yard.plan, avoiding: avoiding, now: yard.loop.now)] += 1 }
        return counts
    }

    @Test("round robin goes through all in turn") func roundRobin() throws {
        var yard = try Yard(endpoints: 3, balance: .roundRobin)
        var picks: [Int] = []
        for _ in 0..<7 { picks.append(yard.pools.pick(yard.plan, avoiding: -1, now: yard.loop.now)) }
        #expect(picks == [0, 1, 2, 0, 1, 2, 0])
    }

    @Test("random gives each its share", arguments: [1, 2, 3] as [UInt64]) func random(seed: UInt64) throws {
        var yard = try Yard(endpoints: 5, balance: .random, seed: seed)
        let found = counts(&yard, picks: 10_000)
        #expect(found.allSatisfy { $0 > 1800 && $0 < 2200 })
    }

    @Test("of two, the one with fewer leases is chosen") func leastRequest() throws {
        var yard = try Yard(endpoints: 2, balance: .leastRequest)
        var ids: [SlabID] = []
        for _ in 0..<3 { ids.append(try yard.connection(choice: 0)) }
        #expect(counts(&yard, picks: 50) == [0, 50])
        for id in ids { yard.giveBack(id) }
        _ = try yard.connection(choice: 1)
        #expect(counts(&yard, picks: 50) == [50, 0], "idle connections are no leases")
    }

    @Test("of many, the busiest is never chosen against a less busy one") func busiest() throws {
        var yard = try Yard(endpoints: 4, balance: .leastRequest)
        _ = try yard.connection(choice: 2)
        let found = counts(&yard, picks: 4000)
        #expect(found[2] == 0)
        #expect([0, 1, 3].allSatisfy { found[$0] > 1000 })
    }

    @Test("leases spread as evenly as the count allows, near enough") func even() throws {
        var yard = try Yard(endpoints: 4, capacity: 128, balance: .leastRequest)
        var leases = [0, 0, 0, 0]
        for _ in 0..<100 {
            let choice = yard.pools.pick(yard.plan, avoiding: -1, now: yard.loop.now)
            leases[choice] += 1
            let answer = yard.lease(choice: choice)
            #expect(answer.connecting != nil)
        }
        #expect(leases.allSatisfy { $0 >= 22 && $0 <= 28 })
    }

    @Test(
        "one that is left alone is passed over as long as another is not",
        arguments: [Balance.roundRobin, .random, .leastRequest])
    func paused(balance: Balance) throws {
        var yard = try Yard(endpoints: 3, balance: balance)
        yard.pools.pause(endpoint: 11, &yard.loop)
        let found = counts(&yard, picks: 300)
        #expect(found[1] == 0 && found[0] + found[2] == 300)
        // Of what is left, one that has failed is the worse choice.
        let other = counts(&yard, picks: 30, avoiding: 12)
        #expect(other == [30, 0, 0])
        for endpoint in [10, 12] { yard.pools.pause(endpoint: endpoint, &yard.loop) }
        let all = counts(&yard, picks: 300)
        #expect(all.reduce(0, +) == 300)
        let after = yard.loop.now + ConnectionPools.connectPause
        let isPaused = yard.pools.isPaused(endpoint: 11, now: after)
        #expect(!isPaused)
    }

    @Test(
        "one that has just failed is avoided where there is another",
        arguments: [Balance.roundRobin, .random, .leastRequest])
    func avoiding(balance: Balance) throws {
        var yard = try Yard(endpoints: 3, balance: balance)
        let found = counts(&yard, picks: 300, avoiding: 11)
        #expect(found[1] == 0 && found[0] + found[2] == 300)
        var single = try Yard(endpoints: 1, balance: balance)
        #expect(counts(&single, picks: 5, avoiding: 10) == [5])
    }
}

extension Yard {
    fileprivate mutating func lease(_ plan: borrowing ServicePlan, holder: UInt32) -> LeaseAnswer {
        pools.lease(plan, choice: 0, holder: Yard.holder(holder), isFreshOnly: false, &loop)
    }
}
