internal import Synchronization

/// How far a consumer is, told by its loop and read by any thread.
public final class ConsumerProgress: Sendable {
    private struct State {
        var position: Int64 = 0
        var last: Int64 = 0
        var isReachable = false
    }

    private let state = Mutex(State())

    public init() {}

    /// Offsets between the position and the end of the log as it was when it was read last. Greater than the number of events:
    /// offsets have gaps, and others may pass over events by their type.
    public var behind: Int64 { state.withLock { max(0, $0.last - $0.position) } }
    /// Whether the log answered when it was asked last. While it does not, `behind` is what it was.
    public var isReachable: Bool { state.withLock { $0.isReachable } }

    func isAt(_ position: Int64) { state.withLock { $0.position = position } }

    func hasRead(toLast last: Int64) {
        state.withLock { state in
            state.last = last
            state.isReachable = true
        }
    }

    func cannotRead() { state.withLock { $0.isReachable = false } }
}
