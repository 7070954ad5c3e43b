import Foundation
import Memory
import RateLimit
import Synchronization
import Testing

private let second: UInt64 = 1_000_000_000

private func bytes(_ text: String) -> [UInt8] { Array(text.utf8) }

private func table(slots: Int = 1024) -> LimitTable { LimitTable(slots: slots, hashKey: (0x0123, 0x4567)) }

extension LimitTable {
    fileprivate func limit(_ name: String, _ count: Int, per seconds: Int = 1, burst: Int) -> Limit {
        limit(name: bytes(name).rawSpan, count: count, periodSeconds: seconds, burst: burst)
    }

    fileprivate func take(_ limit: Limit, _ key: String, _ now: UInt64) -> LimitAnswer {
        take(limit, key: bytes(key).rawSpan, now: now)
    }
}

/// Numbers that repeat from run to run.
private struct Dice {
    var state: UInt64

    mutating func roll(_ bound: UInt64) -> UInt64 {
        state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        return (state &>> 33) % bound
    }
}

/// The textbook bucket in whole numbers: the level in tokens, times count, times nanoseconds.
private struct Bucket {
    let count: UInt64
    let period: UInt64
    let burst: UInt64
    var level: UInt64
    var last: UInt64

    init(count: UInt64, seconds: UInt64, burst: UInt64, now: UInt64) {
        self.count = count
        period = seconds * second
        self.burst = burst
        level = burst * period
        last = now
    }

    mutating func take(_ now: UInt64) -> (isAdmitted: Bool, remaining: Int) {
        level = min(burst * period, level + (now - last) * count)
        last = now
        guard level >= period else { return (false, 0) }
        level -= period
        return (true, Int(level / period))
    }
}

@Suite("A bucket") struct BucketTests {
    @Test("admits its burst at once, then one an interval") func burst() {
        let table = table()
        let limit = table.limit("client", 100, burst: 100)
        for left in (0..<100).reversed() {
            let answer = table.take(limit, "a", 5 * second)
            #expect(answer.isAdmitted && answer.remaining == left && answer.retryAfterNanoseconds == 0)
            #expect(answer.resetNanoseconds == UInt64(100 - left) * 10_000_000)
        }
        let refused = table.take(limit, "a", 5 * second)
        #expect(!refused.isAdmitted && refused.remaining == 0)
        #expect(refused.retryAfterNanoseconds == 10_000_000 && refused.resetNanoseconds == second)
        #expect(!table.take(limit, "a", 5 * second + 9_999_999).isAdmitted)
        #expect(table.take(limit, "a", 5 * second + 10_000_000).isAdmitted)
        #expect(!table.take(limit, "a", 5 * second + 10_000_000).isAdmitted)
    }

    @Test("a refused request takes nothing") func refusal() {
        let table = table()
        let limit = table.limit("client", 1, burst: 1)
        #expect(table.take(limit, "a", 0).isAdmitted)
        for step in 1..<1000 { #expect(!table.take(limit, "a", UInt64(step) * 1_000_000).isAdmitted) }
        #expect(table.take(limit, "a", second).isAdmitted)
    }

    @Test("is as full after a pause as its burst, never fuller") func pause() {
        let table = table()
        let limit = table.limit("client", 10, burst: 3)
        for now in [0, 1000 * second, 2_000_000 * second] {
            let admitted = (0..<10).filter { _ in table.take(limit, "a", now).isAdmitted }.count
            #expect(admitted == 3)
        }
    }

    @Test("keys and limits do not disturb each other") func isolation() {
        let table = table()
        let client = table.limit("client", 1, burst: 2)
        let other = table.limit("auth", 1, burst: 2)
        for limit in [client, other] {
            for key in ["10.0.0.1", "10.0.0.2", ""] {
                let admitted = (0..<5).filter { _ in table.take(limit, key, 0).isAdmitted }.count
                #expect(admitted == 2)
            }
        }
    }

    @Test("looking takes nothing and says what taking would") func peek() {
        let table = table()
        let limit = table.limit("client", 1, burst: 2)
        let key = bytes("a")
        #expect(table.peek(limit, key: key.rawSpan, now: 0).remaining == 2)
        _ = table.take(limit, "a", 0)
        for _ in 0..<5 { #expect(table.peek(limit, key: key.rawSpan, now: 0).remaining == 1) }
        _ = table.take(limit, "a", 0)
        let looked = table.peek(limit, key: key.rawSpan, now: 1)
        #expect(!looked.isAdmitted && looked == table.take(limit, "a", 1))
        #expect(looked.retryAfterNanoseconds == second - 1)
    }

    @Test("whose rate is raised locks nobody out") func raisedRate() {
        let table = table()
        let slow = table.limit("client", 1, per: 3600, burst: 100)
        for _ in 0..<100 { _ = table.take(slow, "a", 0) }
        #expect(!table.take(slow, "a", 0).isAdmitted)
        let fast = table.limit("client", 100, burst: 100)
        // It owes 100 hours by the old rate, and one second by the new one.
        let answer = table.take(fast, "a", second)
        #expect(!answer.isAdmitted && answer.retryAfterNanoseconds == 10_000_000)
        // What it owed by the old rate is forgotten for good: the promise of the first answer is kept.
        #expect(table.take(fast, "a", second + 10_000_000).isAdmitted)
        let allowed = table.limit("client", 100, burst: 100)
        #expect(
            table.peek(allowed, key: bytes("a").rawSpan, now: second).resetNanoseconds <= second + 10_000_000)
    }

    @Test(
        "does what the textbook bucket does",
        arguments: [(100, 1, 100), (1, 1, 1), (1_000_000, 1, 5), (60, 60, 7), (1000, 3600, 20)])
    func model(count: Int, seconds: Int, burst: Int) {
        let table = table()
        let limit = table.limit("client", count, per: seconds, burst: burst)
        var dice = Dice(state: UInt64(count * seconds + burst))
        var now = 17 * second
        var model = Bucket(count: UInt64(count), seconds: UInt64(seconds), burst: UInt64(burst), now: now)
        let interval = UInt64(seconds) * second / UInt64(count)
        for _ in 0..<20_000 {
            now += dice.roll(4) == 0 ? dice.roll(interval * 6) : dice.roll(interval / 3 + 1)
            let expected = model.take(now)
            let answer = table.take(limit, "a", now)
            #expect(answer.isAdmitted == expected.isAdmitted && answer.remaining == expected.remaining)
        }
    }

    @Test(
        "keeps a rate whose interval is no whole number of nanoseconds",
        arguments: [(7, 1, 7), (3, 1, 2), (700_001, 1, 100), (999_983, 1, 2), (7, 60, 3), (11, 86400, 5)])
    func fractions(count: Int, seconds: Int, burst: Int) {
        let table = table()
        let limit = table.limit("client", count, per: seconds, burst: burst)
        let interval = UInt64(seconds) * second / UInt64(count)
        let start = 1_234_567_890_123
        var now = UInt64(start)
        var admitted = 0
        let first = (0..<(burst + 3)).filter { _ in table.take(limit, "a", now).isAdmitted }.count
        #expect(first == burst)
        admitted += first
        var dice = Dice(state: 9)
        for _ in 0..<100_000 {
            now += dice.roll(interval / 2) + 1
            if table.take(limit, "a", now).isAdmitted { admitted += 1 }
            if admitted % 16 == 0 { _ = table.peek(limit, key: bytes("a").rawSpan, now: now) }
        }
        // What a fraction of a nanosecond may add is less than a token in any time.
        let elapsed = Double(now - UInt64(start))
        let exact = Double(burst) + elapsed * Double(count) / (Double(seconds) * 1e9)
        #expect(Double(admitted) <= exact + 1e-2 && Double(admitted) >= exact - 1.01)
    }

    @Test("limits that cannot be kept are told apart") func allowed() {
        #expect(Limit.isAllowed(count: 1_000_000, periodSeconds: 1, burst: 1_000_000))
        #expect(Limit.isAllowed(count: 1, periodSeconds: 86400, burst: 1000))
        #expect(!Limit.isAllowed(count: 0, periodSeconds: 1, burst: 1))
        #expect(!Limit.isAllowed(count: 1, periodSeconds: 0, burst: 1))
        #expect(!Limit.isAllowed(count: 1, periodSeconds: 1, burst: 0))
        #expect(!Limit.isAllowed(count: 1_000_001, periodSeconds: 1, burst: 1))
        #expect(!Limit.isAllowed(count: 1, periodSeconds: 86400, burst: .max))
        #expect(!Limit.isAllowed(count: .max, periodSeconds: .max, burst: .max))
    }
}

@Suite("The table") struct LimitTableTests {
    @Test("never refuses a newcomer, and counts whom it forgot") func evictions() {
        let table = table(slots: 8)
        let limit = table.limit("client", 1, burst: 1)
        for key in 0..<8 { #expect(table.take(limit, "\(key)", UInt64(key)).isAdmitted) }
        #expect(table.evictions == 0)
        for key in 0..<8 { #expect(!table.take(limit, "\(key)", 100).isAdmitted) }
        #expect(table.take(limit, "newcomer", 200).isAdmitted && table.evictions == 1)
        // The earliest had to go.
        #expect(table.take(limit, "0", 300).isAdmitted && table.evictions == 2)
        #expect(!table.take(limit, "7", 300).isAdmitted)
    }

    @Test("takes an idle slot before one that is in use") func idle() {
        let table = table(slots: 8)
        let limit = table.limit("client", 1, burst: 1)
        _ = table.take(limit, "old", 0)
        for key in 0..<7 { _ = table.take(limit, "\(key)", 2 * second) }
        _ = table.take(limit, "newcomer", 2 * second)
        #expect(table.evictions == 0)
        for key in 0..<7 { #expect(!table.take(limit, "\(key)", 2 * second).isAdmitted) }
    }

    @Test("has as many slots as were asked for, in sets of eight") func capacity() {
        #expect(table(slots: 1).capacity == 8 && table(slots: 16).capacity == 16)
    }
}

/// Runs it on four threads at once, each with its number, and waits for all.
func onFourThreads(_ body: @escaping @Sendable (Int) -> Void) {
    let done = DispatchSemaphore(value: 0)
    for index in 0..<4 {
        Thread {
            body(index)
            done.signal()
        }.start()
    }
    for _ in 0..<4 { done.wait() }
}

@Suite("Threads") struct LimitThreadTests {
    private final class Shared: Sendable {
        let admitted = Atomic<Int>(0)
        let arrivals = Atomic<Int>(0)

        /// Returns when four threads have called it `turn` times each.
        func meet(_ turn: Int) {
            arrivals.wrappingAdd(1, ordering: .sequentiallyConsistent)
            while arrivals.load(ordering: .sequentiallyConsistent) < 4 * turn { sched_yield() }
        }
    }

    @Test("admit burst + rate x elapsed together, not one more") func together() {
        let table = table()
        let limit = table.limit("client", 1000, burst: 50)
        let shared = Shared()
        onFourThreads { index in
            var admitted = 0
            var dice = Dice(state: UInt64(index))
            var now: UInt64 = 0
            while now < 2 * second {
                while table.take(limit, "a", now).isAdmitted { admitted += 1 }
                now = min(2 * second, now + dice.roll(300_000))
            }
            while table.take(limit, "a", 2 * second).isAdmitted { admitted += 1 }
            shared.admitted.wrappingAdd(admitted, ordering: .relaxed)
        }
        #expect(shared.admitted.load(ordering: .relaxed) == 50 + 2000)
    }

    @Test("make one bucket of a key that all of them bring at once, in a crowded set") func newcomers() {
        let table = table(slots: 8)
        let limit = table.limit("client", 1, burst: 3)
        let shared = Shared()
        let rounds = 3000
        onFourThreads { index in
            for round in 1...rounds {
                shared.meet(round)
                let now = UInt64(round) * 10 * second
                // Each brings a key of its own too, so that the slots of the set change hands meanwhile.
                if (round + index) % 2 == 0 { _ = table.take(limit, "own \(index)", now) }
                for _ in 0..<4 where table.take(limit, "round \(round)", now).isAdmitted {
                    shared.admitted.wrappingAdd(1, ordering: .relaxed)
                }
                if (round + index) % 2 == 1 { _ = table.take(limit, "own \(index)", now) }
            }
        }
        #expect(shared.admitted.load(ordering: .relaxed) == 3 * rounds)
        #expect(table.evictions == 0)
    }
}

@Suite("RateLimit fields") struct LimitFieldTests {
    @Test("draft-ietf-httpapi-ratelimit-headers: policy and state are told as the configuration says")
    func fields() {
        let table = table()
        let limit = table.limit("client", 100, burst: 100)
        let name = bytes("client")
        for _ in 0..<100 { _ = table.take(limit, "a", 0) }
        let answer = table.take(limit, "a", 0)
        let pool = BlockPool(blockBytes: 256, limit: 4)
        var queue = ByteQueue()
        let inQueue = (
            limit.appendPolicy(name: name.rawSpan, to: &queue, from: pool), queue.append("|", from: pool),
            answer.appendState(name: name.rawSpan, to: &queue, from: pool), queue.append("|", from: pool),
            answer.appendRetryAfter(to: &queue, from: pool)
        )
        #expect(inQueue == (true, true, true, true, true))
        let text = String(decoding: queue.array, as: UTF8.self)
        #expect(text == #""client";q=100;w=1|"client";r=0;t=1|1"#)
        guard var block = pool.take() else {
            Issue.record("no block")
            return
        }
        _ = limit.appendPolicy(name: name.rawSpan, to: &block)
        _ = block.append("|")
        _ = answer.appendState(name: name.rawSpan, to: &block)
        _ = block.append("|")
        _ = answer.appendRetryAfter(to: &block)
        let again = block.bytes.text
        #expect(again == text)
    }

    @Test(
        "a policy never promises more than the bucket gives",
        arguments: [
            (100, 1, 20, 100, 1), (60, 60, 60, 60, 60), (100, 1, 250, 250, 3), (1000, 3600, 10, 1000, 3600),
        ]
    )
    func policy(count: Int, seconds: Int, burst: Int, quota: Int, window: Int) {
        let limit = table().limit("a", count, per: seconds, burst: burst)
        #expect(limit.quota == quota && limit.windowSeconds == window && limit.burst == burst)
    }

    @Test("nothing is appended where not all fits") func full() {
        let pool = BlockPool(blockBytes: 96, limit: 1)
        let limit = table().limit("client", 100, burst: 100)
        guard var block = pool.take() else {
            Issue.record("no block")
            return
        }
        let isAppended = limit.appendPolicy(name: bytes("client").rawSpan, to: &block)
        let count = block.byteCount
        #expect(!isAppended && count == 0)
    }
}
