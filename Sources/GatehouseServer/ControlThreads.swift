import LinuxIO
import Synchronization

/// The threads that do for the control thread what waits for disks and names, or takes long: reloads, key sets, certificates.
/// It begins and joins them. The process ends after them: what they use, OpenSSL for one, is torn down by `exit(3)`.
final class ControlThreads: Sendable {
    private struct Work {
        let thread: WorkThread
        let ending: Ending
    }

    /// Set by a thread as its last act; to join it then takes no time.
    private final class Ending: Sendable {
        let isOver = Atomic(false)
    }

    private let begun = Mutex<[Work]>([])
    private let ending = Atomic(false)

    /// Whether the process ends, so that nobody waits for an answer any more.
    var isEnding: Bool { ending.load(ordering: .relaxed) }

    func start(_ name: String, _ work: @escaping @Sendable () -> Void) throws(SystemError) {
        joinEnded()
        let ending = Ending()
        let thread = try WorkThread(name: name) {
            work()
            ending.isOver.store(true, ordering: .releasing)
        }
        begun.withLock { $0.append(Work(thread: thread, ending: ending)) }
    }

    /// Joins those whose work is done; whether others are left.
    @discardableResult private func joinEnded() -> Bool {
        let (ended, isLeft) = begun.withLock { begun in
            let ended = begun.filter { $0.ending.isOver.load(ordering: .acquiring) }
            begun.removeAll { work in ended.contains { $0.ending === work.ending } }
            return (ended, !begun.isEmpty)
        }
        for work in ended { work.thread.join() }
        return isLeft
    }

    /// Waits for all of them, but no longer than so many milliseconds: a disk may take its time, and its thread is left behind
    /// then.
    func finish(milliseconds: Int) {
        ending.store(true, ordering: .relaxed)
        guard var pause = try? Poller(capacity: 1) else { return }
        var left = milliseconds / 5
        while joinEnded(), left > 0 {
            _ = pause.wait(milliseconds: 5)
            left -= 1
        }
    }
}
