internal import Backbone
internal import GRDB
internal import Synchronization

/// One writer, and one transaction for all who wait: with `synchronous = FULL` each commit waits for the disk, and shared it
/// is waited for once.
final class GroupCommit: Sendable {
    /// Writes that may wait.
    static let waitingLimit = 4_096
    /// Writes of one transaction.
    static let batchLimit = 256

    private struct Work: Sendable {
        let write: @Sendable (Database) throws -> Void
        let end: @Sendable ((any Error)?) -> Void
    }

    private struct State {
        var waiting: [Work] = []
        var isRunning = false
    }

    private let pool: DatabasePool
    private let state = Mutex(State())

    init(_ pool: DatabasePool) { self.pool = pool }

    /// Returns once what `body` wrote is on the disk.
    /// `body`: Called again when another's failure undid it.
    func write<Value: Sendable>(_ body: @escaping @Sendable (Database) throws -> Value) async throws -> Value
    {
        try await withCheckedThrowingContinuation { continuation in
            let cell = Cell<Value>()
            let work = Work(
                write: { db in
                    let value = try body(db)
                    cell.set(value)
                },
                end: { error in
                    if let error {
                        continuation.resume(throwing: error)
                    } else if let value = cell.value {
                        continuation.resume(returning: value)
                    } else {
                        continuation.resume(throwing: BackboneError.unavailable("nothing was written"))
                    }
                })
            add(work)
        }
    }

    /// Where a write leaves its value for whoever waits for the commit.
    private final class Cell<Value: Sendable>: Sendable {
        private let held = Mutex<Value?>(nil)
        var value: Value? { held.withLock { $0 } }
        func set(_ value: Value) { held.withLock { $0 = value } }
    }

    private func add(_ work: Work) {
        enum Answer { case refused, waits, starts }
        let answer = state.withLock { state -> Answer in
            guard state.waiting.count < Self.waitingLimit else { return .refused }
            state.waiting.append(work)
            guard !state.isRunning else { return .waits }
            state.isRunning = true
            return .starts
        }
        switch answer {
        case .refused: work.end(BackboneError.unavailable("too many writes wait"))
        case .waits: break
        case .starts: Task.detached { await self.run() }
        }
    }

    private func run() async {
        while true {
            let batch = state.withLock { state -> [Work] in
                let batch = Array(state.waiting.prefix(Self.batchLimit))
                state.waiting.removeFirst(batch.count)
                if batch.isEmpty { state.isRunning = false }
                return batch
            }
            if batch.isEmpty { return }
            await commit(batch)
        }
    }

    private func commit(_ batch: [Work]) async {
        do {
            try await pool.write { db in
                for work in batch { try work.write(db) }
            }
            for work in batch { work.end(nil) }
        } catch {
            // Another process holds the store, for longer than it is waited for: each by itself would wait as long again.
            guard batch.count > 1, !Self.isHeld(error) else {
                for work in batch { work.end(Self.told(error)) }
                return
            }
            // One of them failed and undid the others: each by itself, so that only the one is refused.
            for work in batch { await commit([work]) }
        }
    }

    private static func isHeld(_ error: any Error) -> Bool {
        (error as? DatabaseError)?.resultCode == .SQLITE_BUSY
    }

    /// A disk that is full or read only is told apart: it is the machine's, and a readiness probe shows it.
    static func told(_ error: any Error) -> any Error {
        guard let error = error as? DatabaseError else { return error }
        switch error.resultCode {
        case .SQLITE_FULL, .SQLITE_READONLY, .SQLITE_IOERR, .SQLITE_CANTOPEN:
            return BackboneError.storageFull(error.message ?? "the store takes no writes")
        default: return BackboneError.unavailable(error.message ?? "the store failed")
        }
    }
}
