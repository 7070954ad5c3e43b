import Testing

@testable import BusService

@Suite("Waits of the bus") struct ChangesTests {
    @Test("A wait leaves nothing behind, whether its time or what it waits for comes first")
    func nothingLeft() async throws {
        let changes = Changes(waiterLimit: 10_000)
        try await withThrowingTaskGroup(of: Void.self) { group in
            for number in 0..<2_000 {
                // Some have seen all that there is; others are told at once, while their timers fire.
                let generation = changes.generation &- UInt64(number & 1)
                group.addTask {
                    try await changes.wait(after: generation, upTo: .nanoseconds(number % 50 * 1_000))
                }
                if number % 100 == 0 { changes.advance() }
            }
            try await group.waitForAll()
        }
        // As timers do that fire while their waits return.
        for id in 1...2_000 as ClosedRange<UInt64> { changes.end(id) }
        #expect(changes.waiterCount == 0)
    }

    @Test("A wait whose task was cancelled before it began returns at once, and so does one that is late")
    func early() async throws {
        let changes = Changes(waiterLimit: 2)
        let cancelled = Task {
            withUnsafeCurrentTask { $0?.cancel() }
            try await changes.wait(after: 0, upTo: .seconds(3_600))
        }
        try await cancelled.value
        changes.advance()
        try await changes.wait(after: 0, upTo: .seconds(3_600))
        #expect(changes.waiterCount == 0)
    }
}
