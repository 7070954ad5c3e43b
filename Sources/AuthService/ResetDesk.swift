internal import Logging
internal import ServiceKit
internal import ServiceLifecycle

/// Looks whether there is an account for whom a new password was asked, after the one who asked has been answered: so the
/// answer and its time are the same for every address.
struct ResetDesk: Service {
    let store: AuthStore
    let clock: @Sendable () -> Int64
    let log: Logger

    func run() async throws {
        // What still waits is in the store.
        await cancelWhenGracefulShutdown { await work() }
    }

    private func work() async {
        var isTold = false
        while !Task.isCancelled {
            do {
                guard let (request, outcome) = try await store.answerResetRequest(now: clock()) else {
                    await store.resetBell.wait(upTo: .seconds(30))
                    continue
                }
                isTold = false
                tell(request, outcome)
            } catch is CancellationError {
                return
            } catch {
                // Once is enough: with the bus away for long the outbox is full for long.
                if !isTold {
                    log.warning("resets wait", metadata: ["error": .string(String(describing: error))])
                }
                isTold = true
                try? await Task.sleep(for: .seconds(1))
            }
        }
    }

    private func tell(_ request: ResetRequest, _ outcome: LetterOutcome) {
        var metadata: Logger.Metadata = ["request_id": .string(request.trace.requestID)]
        if let traceID = request.trace.traceID { metadata["trace_id"] = .string(traceID) }
        switch outcome {
        case .sent(let account):
            metadata["subject"] = .string(account)
            metadata["outcome"] = "sent"
        case .tooMany: metadata["outcome"] = "too many"
        case .noAccount, .needless: metadata["outcome"] = "no account"
        }
        log.info("password reset asked for", metadata: metadata)
    }
}
