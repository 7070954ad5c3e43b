public import LinuxIO
internal import Memory
internal import Synchronization

/// Messages from other threads to one loop: bounded, first in first out, and a wake-up.
public final class Mailbox<Message: ~Copyable & Sendable>: Sendable {
    private let queue: Mutex<FixedQueue<Message>>
    /// Moved under the lock alone. The lock lies in a library that the thread sanitizer cannot see into; by this word it
    /// learns the order, and keeps watch over the queue.
    private let turn = Atomic<Int>(0)
    public let wakeUp: WakeUp

    /// Room for `capacity` messages.
    public init(capacity: Int) throws(SystemError) {
        queue = Mutex(FixedQueue(capacity: capacity))
        wakeUp = try WakeUp()
    }

    /// Leaves a message and wakes the loop; any thread may. Hands the message back when the box is full.
    public func send(_ message: consuming sending Message) -> Message? {
        var letter: Message? = message
        var returned: Message?
        queue.withLock { queue in
            let count = turn.load(ordering: .acquiring)
            if let given = letter.take() { returned = queue.push(given) }
            turn.store(count &+ 1, ordering: .releasing)
        }
        wakeUp.signal()
        return returned
    }

    /// The oldest message; only the loop's thread takes them.
    public func receive() -> Message? {
        queue.withLock { queue in
            let count = turn.load(ordering: .acquiring)
            defer { turn.store(count &+ 1, ordering: .releasing) }
            return queue.pop()
        }
    }
}
