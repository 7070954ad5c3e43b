import LinuxIO
import Synchronization

/// The threads that look after key sets. The process ends after them: what they use, OpenSSL for one, is torn down by `exit(3)`.
final class KeyThreads: Sendable {
    private struct State {
        var running: [Int: WorkThread] = [:]
        /// Those whose work is done; to join one takes no time.
        var ended: [WorkThread] = []
        var next = 0
    }

    private let state = Mutex(State())

    func start(_ work: @escaping @Sendable () -> Void) throws(SystemError) {
        joinEnded()
        let result: Result<Void, SystemError> = state.withLock { state in
            let number = state.next
            state.next += 1
            let threads = self
            do throws(SystemError) {
                // It comes to its end only when this lock is free, and finds itself among those that run.
                state.running[number] = try WorkThread(name: "keys") {
                    work()
                    threads.end(number)
                }
                return .success(())
            } catch {
                return .failure(error)
            }
        }
        try result.get()
    }

    private func end(_ number: Int) {
        state.withLock { state in
            if let thread = state.running.removeValue(forKey: number) { state.ended.append(thread) }
        }
    }

    private func joinEnded() {
        let ended = state.withLock { state in
            let ended = state.ended
            state.ended = []
            return ended
        }
        for thread in ended { thread.join() }
    }

    /// Waits for all of them, but no longer than so many milliseconds: a name server may take its time, and then nothing is torn
    /// down that such a thread uses.
    func finish(milliseconds: Int) {
        guard var pause = try? Poller(capacity: 1) else { return }
        var left = milliseconds / 5
        while left > 0, state.withLock({ !$0.running.isEmpty }) {
            _ = pause.wait(milliseconds: 5)
            left -= 1
        }
        joinEnded()
    }
}
