internal import NIOPosix

/// A few threads for calls that block: on the threads that run everything else, as many slow peers as there are processors
/// would stop the service.
final class BlockingThreads: Sendable {
    private let threads: NIOThreadPool

    /// As many calls run at once; how many wait is bounded by the number of jobs in hand.
    init(count: Int) {
        threads = NIOThreadPool(numberOfThreads: count)
        threads.start()
    }

    deinit {
        threads.shutdownGracefully { _ in }
    }

    /// Ends the threads, after what they are at.
    func stop() async throws { try await threads.shutdownGracefully() }

    /// `work`: Ends soon after its flag is set, which happens when the task that waits is cancelled.
    func call<Value: Sendable>(_ work: @escaping @Sendable (StopFlag) throws -> Value) async throws -> Value {
        let stop = StopFlag()
        return try await withTaskCancellationHandler {
            try await threads.runIfActive { try work(stop) }
        } onCancel: {
            stop.set()
        }
    }
}
