internal import Synchronization

/// Wakes one waiting loop. A ring that comes before the wait is kept, so no wake-up is lost; several count as one.
public final class Doorbell: Sendable {
    private struct State {
        var hasRung = false
        var turn: UInt64 = 0
        /// The last turn whose time was over: its timer may be quicker than its wait.
        var endedTurn: UInt64 = 0
        var waiter: CheckedContinuation<Void, Never>?
    }

    private let state = Mutex(State())

    public init() {}

    /// Wakes the waiter, or lets the next wait return at once. Any thread.
    public func ring() {
        let waiter = state.withLock { state -> CheckedContinuation<Void, Never>? in
            defer { state.waiter = nil }
            if state.waiter == nil { state.hasRung = true }
            return state.waiter
        }
        waiter?.resume()
    }

    /// Returns when the bell rings, and after `limit` at the latest. One waiter at a time.
    public func wait(upTo limit: Duration) async {
        let turn = state.withLock { state -> UInt64 in
            state.turn &+= 1
            return state.turn
        }
        let timer = Task { [weak self] in
            guard (try? await Task.sleep(for: limit)) != nil else { return }
            self?.end(turn: turn)
        }
        await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let goesOn = state.withLock { state -> Bool in
                    guard !state.hasRung, state.endedTurn != turn, !Task.isCancelled else {
                        state.hasRung = false
                        return true
                    }
                    state.waiter = continuation
                    return false
                }
                if goesOn { continuation.resume() }
            }
        } onCancel: {
            ring()
        }
        timer.cancel()
    }

    /// Ends the wait of that turn only: a late timer must not end the next one.
    private func end(turn: UInt64) {
        let waiter = state.withLock { state -> CheckedContinuation<Void, Never>? in
            guard state.turn == turn else { return nil }
            state.endedTurn = turn
            defer { state.waiter = nil }
            return state.waiter
        }
        waiter?.resume()
    }
}
