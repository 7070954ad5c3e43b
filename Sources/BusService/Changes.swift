internal import Backbone
internal import Synchronization

/// Wakes those who wait for something new. A waiter says up to which generation it has looked, so that what came between its
/// look and its wait is never slept over.
final class Changes: Sendable {
    private enum Waiter {
        /// It has looked, and does not wait yet.
        case coming
        case waiting(CheckedContinuation<Void, Never>)
        /// Its time was over, or its task cancelled, before it began to wait.
        case ended
    }

    private struct State {
        var generation: UInt64 = 0
        var nextWaiter: UInt64 = 0
        /// From before a wait begins until it has returned: what comes for one that is gone finds nothing, and leaves nothing.
        var waiters: [UInt64: Waiter] = [:]
    }

    /// Waiters at once.
    private let waiterLimit: Int
    private let state = Mutex(State())

    init(waiterLimit: Int) { self.waiterLimit = waiterLimit }

    /// How many wait at this moment.
    var waiterCount: Int { state.withLock { $0.waiters.count } }

    /// To be read before one looks.
    var generation: UInt64 { state.withLock { $0.generation } }

    /// Something is new: all look again.
    func advance() {
        let woken = state.withLock { state -> [CheckedContinuation<Void, Never>] in
            state.generation &+= 1
            var woken: [CheckedContinuation<Void, Never>] = []
            for case (let id, .waiting(let waiter)) in state.waiters {
                woken.append(waiter)
                state.waiters[id] = .ended
            }
            return woken
        }
        for waiter in woken { waiter.resume() }
    }

    /// Returns when something came after `generation`, when the time is over, or when the task is cancelled.
    func wait(after generation: UInt64, upTo limit: Duration) async throws {
        let id = try state.withLock { state -> UInt64 in
            guard state.waiters.count < waiterLimit else {
                throw BackboneError.unavailable("too many wait")
            }
            state.nextWaiter &+= 1
            state.waiters[state.nextWaiter] = .coming
            return state.nextWaiter
        }
        let timer = Task { [weak self] in
            guard (try? await Task.sleep(for: limit)) != nil else { return }
            self?.end(id)
        }
        await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let goesOn = state.withLock { state -> Bool in
                    guard state.generation == generation, case .coming? = state.waiters[id] else {
                        return true
                    }
                    state.waiters[id] = .waiting(continuation)
                    return false
                }
                if goesOn { continuation.resume() }
            }
        } onCancel: {
            end(id)
        }
        timer.cancel()
        state.withLock { _ = $0.waiters.removeValue(forKey: id) }
    }

    /// Its time is over. The timer may come for a wait that has returned since.
    func end(_ id: UInt64) {
        let waiter = state.withLock { state -> CheckedContinuation<Void, Never>? in
            guard let waiter = state.waiters[id] else { return nil }
            state.waiters[id] = .ended
            guard case .waiting(let continuation) = waiter else { return nil }
            return continuation
        }
        waiter?.resume()
    }
}
