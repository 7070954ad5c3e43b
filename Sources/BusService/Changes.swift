internal import Backbone
internal import Synchronization

/// Wakes those who wait for something new. A waiter says up to which generation it has looked, so that what came between its
/// look and its wait is never slept over.
final class Changes: Sendable {
    /// Waiters at once.
    static let waiterLimit = 1_024

    private struct State {
        var generation: UInt64 = 0
        var nextWaiter: UInt64 = 0
        var waiters: [UInt64: CheckedContinuation<Void, Never>] = [:]
        /// Waits that ended before they began.
        var ended: Set<UInt64> = []
    }

    private let state = Mutex(State())

    /// To be read before one looks.
    var generation: UInt64 { state.withLock { $0.generation } }

    /// Something is new: all look again.
    func advance() {
        let woken = state.withLock { state -> [CheckedContinuation<Void, Never>] in
            state.generation &+= 1
            defer { state.waiters.removeAll() }
            return Array(state.waiters.values)
        }
        for waiter in woken { waiter.resume() }
    }

    /// Returns when something came after `generation`, when the time is over, or when the task is cancelled.
    func wait(after generation: UInt64, upTo limit: Duration) async throws {
        let id = try state.withLock { state -> UInt64 in
            guard state.waiters.count < Self.waiterLimit else {
                throw BackboneError.unavailable("too many wait")
            }
            state.nextWaiter &+= 1
            return state.nextWaiter
        }
        let timer = Task { [weak self] in
            guard (try? await Task.sleep(for: limit)) != nil else { return }
            self?.end(id)
        }
        await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let goesOn = state.withLock { state -> Bool in
                    guard state.generation == generation, state.ended.remove(id) == nil else { return true }
                    state.waiters[id] = continuation
                    return false
                }
                if goesOn { continuation.resume() }
            }
        } onCancel: {
            end(id)
        }
        timer.cancel()
        state.withLock { _ = $0.ended.remove(id) }
    }

    private func end(_ id: UInt64) {
        let waiter = state.withLock { state -> CheckedContinuation<Void, Never>? in
            guard let waiter = state.waiters.removeValue(forKey: id) else {
                state.ended.insert(id)
                return nil
            }
            return waiter
        }
        waiter?.resume()
    }
}
