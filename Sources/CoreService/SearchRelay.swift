internal import Foundation
internal import Logging
internal import ServiceKit
internal import ServiceLifecycle

/// Tells search of each change, in the background and until search has taken it.
struct SearchRelay: Service {
    private static let batch = 32
    private static let firstPauseMilliseconds = 100.0
    private static let longestPauseMilliseconds = 5_000.0

    let store: CoreStore
    let search: Origin
    let serviceToken: ServiceToken
    let bell: Doorbell
    let log: Logger
    private let client = OutboundClient()

    init(store: CoreStore, search: Origin, serviceToken: ServiceToken, bell: Doorbell, log: Logger) {
        self.store = store
        self.search = search
        self.serviceToken = serviceToken
        self.bell = bell
        self.log = log
    }

    private enum Outcome {
        case taken
        case refused(String)
        case unavailable(String)
    }

    private struct Content: Encodable {
        let owner: String
        let title: String
        let body: String
        let version: Int64
    }

    func run() async throws {
        // A hand-over that is cut short is repeated at the next start; search knows versions, so nothing happens twice.
        await cancelWhenGracefulShutdown { await relay() }
    }

    private func relay() async {
        var failures = 0
        while !Task.isCancelled {
            do {
                let handovers = try await store.dueHandovers(limit: Self.batch)
                guard !handovers.isEmpty else {
                    await bell.wait(upTo: .seconds(30))
                    continue
                }
                try await deliver(handovers, failures: &failures)
            } catch is CancellationError {
                return
            } catch {
                failures += 1
                log.error("outbox unreadable", metadata: ["error": .string(String(describing: error))])
            }
            if failures > 0 { try? await Task.sleep(for: Self.pause(failures: failures)) }
        }
    }

    /// Hands over one after the other, and stops at the first that search could not take now.
    private func deliver(_ handovers: [Handover], failures: inout Int) async throws {
        for handover in handovers {
            switch await send(handover) {
            case .taken:
                failures = 0
                try await store.finish(handover)
            case .refused(let reason):
                failures = 0
                log.error(
                    "search refused a document",
                    metadata: ["document": .string(handover.documentID), "reason": .string(reason)])
                try await store.setAside(handover, refusal: reason)
            case .unavailable(let reason):
                failures += 1
                // Once is enough: a search that is away for an hour must not fill the log.
                if failures == 1 {
                    log.warning("search is away", metadata: ["reason": .string(reason)])
                }
                return
            }
        }
    }

    private func send(_ handover: Handover) async -> Outcome {
        let path = "/search/internal/documents/\(handover.documentID)"
        let fields = [("Authorization", serviceToken.field), ("X-Request-ID", handover.requestID)]
        do {
            let answer: OutboundClient.Answer
            if let content = handover.content {
                let body = try JSONEncoder().encode(
                    Content(
                        owner: content.owner, title: content.title, body: content.body,
                        version: handover.version))
                answer = try await client.send(
                    "PUT", search, path,
                    fields: fields + [("Content-Type", "application/json")],
                    body: body)
            } else {
                answer = try await client.send(
                    "DELETE", search, path + "?version=\(handover.version)", fields: fields)
            }
            switch answer.status {
            case 200..<300: return .taken
            // These are about the document itself; anything else, a wrong service token too, can be put right.
            case 400, 413, 415, 422: return .refused("status \(answer.status)")
            default: return .unavailable("status \(answer.status)")
            }
        } catch {
            return .unavailable(String(describing: error))
        }
    }

    /// Doubles up to five seconds, less up to half by chance, so that several cores do not come back in step.
    private static func pause(failures: Int) -> Duration {
        let full = min(longestPauseMilliseconds, firstPauseMilliseconds * Double(1 << min(failures, 10)))
        return .milliseconds(Int(full * Double.random(in: 0.5...1)))
    }
}
