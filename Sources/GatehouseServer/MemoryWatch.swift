import LinuxIO
import Proxy
import Synchronization

/// How near the process is to its memory budget.
///
/// What is used is what the allocator says, since OpenSSL and nghttp2 allocate through it too: `stats.allocated` now, less what it
/// was when all tables stood, plus what was resident then but for pages of files: how many of the program's there are is chance,
/// and the kernel can take them back. Tables are allocated whole at the start and become resident as they
/// are used, so each connection adds what its places in them take. On the control thread alone.
final class MemoryWatch: Sendable {
    let budgetBytes: Int
    private let startAllocated = Atomic(0)
    private let startResident = Atomic(0)

    /// Places of a connection, its exchange and its timers in the workers' tables: under a kibibyte.
    static let connectionBytes = 1024
    /// Of the budget, in percent: where each level begins. It ends three below.
    static let thresholds = [90, 95, 100]
    static let hysteresis = 3

    init(budget: Int) { budgetBytes = max(budget, 1) }

    /// All tables stand, and no client has come.
    func begin(allocatedBytes: Int) {
        startAllocated.store(allocatedBytes, ordering: .relaxed)
        startResident.store(Machine.anonymousBytes, ordering: .relaxed)
    }

    func usedBytes(allocatedBytes: Int, connections: Int) -> Int {
        let grown = max(allocatedBytes - startAllocated.load(ordering: .relaxed), 0)
        return startResident.load(ordering: .relaxed) + grown + connections * MemoryWatch.connectionBytes
    }

    /// The level of `MemoryPressure`; `before` is the one that stands.
    static func level(used: Int, budget: Int, before: Int) -> Int {
        var level = MemoryPressure.none
        for (index, share) in thresholds.enumerated() {
            let least = index < before ? share - hysteresis : share
            if used / 100 >= budget / 10000 * least { level = index + 1 }
        }
        return level
    }
}
