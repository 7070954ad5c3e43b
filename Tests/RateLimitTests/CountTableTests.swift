import Foundation
import Memory
import RateLimit
import Synchronization
import Testing

private func bytes(_ text: String) -> [UInt8] { Array(text.utf8) }

private func table(slots: Int = 64) -> CountTable {
    CountTable(slots: slots, hash: SipHash(key0: 0x0123, key1: 0x4567))
}

extension CountTable {
    /// The slot, -1 where it is not counted; `nil` when it is refused.
    fileprivate func enter(_ key: String, limit: Int) -> Int? {
        switch enter(bytes(key).rawSpan, limit: limit) {
        case .counted(let slot): slot
        case .uncounted: -1
        case .refused: nil
        }
    }
}

@Suite("Counts of what is under way") struct CountTableTests {
    @Test("as many as the limit come in, and one more for each that leaves") func limit() throws {
        let table = table()
        let slots = (0..<5).compactMap { _ in table.enter("a", limit: 5) }
        #expect(slots.count == 5 && table.enter("a", limit: 5) == nil)
        #expect(table.count(bytes("a").rawSpan) == 5 && table.count(bytes("b").rawSpan) == 0)
        table.leave(slot: slots[2])
        let again = try #require(table.enter("a", limit: 5))
        #expect(table.enter("a", limit: 5) == nil)
        // A limit that was lowered meanwhile lets nobody in until enough have left; a raised one does at once.
        #expect(table.enter("a", limit: 3) == nil && table.enter("a", limit: 6) != nil)
        table.leave(slot: again)
        #expect(table.total == 5)
    }

    @Test("keys and limits do not disturb each other") func isolation() {
        let table = table()
        for name in ["documents", "search"] {
            let hash = table.hash(name: bytes(name).rawSpan)
            for key in ["10.0.0.1", "10.0.0.2", ""] {
                let name = bytes(key)
                let keyHash = hash.hash128(name.rawSpan)
                var entered = 0
                for _ in 0..<4 { if case .counted = table.enter(keyHash, limit: 2) { entered += 1 } }
                #expect(entered == 2)
            }
        }
        #expect(table.total == 12)
    }

    @Test("who finds no room is let in uncounted: a flood of keys locks nobody out") func flood() {
        let table = table(slots: 8)
        let slots = (0..<8).compactMap { table.enter("\($0)", limit: 1) }
        #expect(slots.count == 8 && Set(slots).count == 8)
        #expect(table.enter("newcomer", limit: 1) == -1 && table.enter("newcomer", limit: 1) == -1)
        #expect(table.enter("3", limit: 1) == nil)
        for slot in slots { table.leave(slot: slot) }
        #expect(table.total == 0)
    }

    private final class Held: Sendable {
        let counts: [Atomic3] = (0..<6).map { _ in Atomic3() }
        let overflows = Atomic<Int>(0)
        let entered = Atomic<Int>(0)
    }

    private final class Atomic3: Sendable { let value = Atomic<Int>(0) }

    @Test("four threads: never more than the limit at once, and at the end nothing is left")
    func threads() {
        let table = table(slots: 8)
        let held = Held()
        let done = DispatchSemaphore(value: 0)
        let rounds = ProcessInfo.processInfo.environment["GATEHOUSE_FULL"] == "1" ? 1_000_000 : 20_000
        for index in 0..<4 {
            Thread {
                var state = UInt64(index) &+ 1
                var mine: [(key: Int, slot: Int)] = []
                // Six keys for eight slots: they come and go, and so slots change hands all the time.
                for _ in 0..<rounds {
                    state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
                    let key = Int(state >> 33) % 6
                    if (state >> 40) % 2 == 0 || mine.count > 3, let last = mine.popLast() {
                        held.counts[last.key].value.wrappingSubtract(1, ordering: .sequentiallyConsistent)
                        table.leave(slot: last.slot)
                    } else if let slot = table.enter("\(key)", limit: 3), slot >= 0 {
                        let now = held.counts[key].value.wrappingAdd(1, ordering: .sequentiallyConsistent)
                        if now.newValue > 3 { held.overflows.wrappingAdd(1, ordering: .relaxed) }
                        held.entered.wrappingAdd(1, ordering: .relaxed)
                        mine.append((key, slot))
                    }
                }
                for last in mine {
                    held.counts[last.key].value.wrappingSubtract(1, ordering: .sequentiallyConsistent)
                    table.leave(slot: last.slot)
                }
                done.signal()
            }.start()
        }
        for _ in 0..<4 { done.wait() }
        #expect(held.overflows.load(ordering: .relaxed) == 0 && table.total == 0)
        #expect(held.entered.load(ordering: .relaxed) > rounds / 4)
    }
}
