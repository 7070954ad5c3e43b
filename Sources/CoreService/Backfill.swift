internal import Logging
internal import ServiceKit
internal import ServiceLifecycle

/// Tells, once, of the documents that were stored before core published events: nobody could find them otherwise.
struct Backfill: Service {
    private static let pause: Duration = .seconds(1)

    let store: CoreStore
    let log: Logger

    func run() async throws {
        await cancelWhenGracefulShutdown {
            await tell()
            // A loop beside a server that ends would end the server.
            while (try? await Task.sleep(for: .seconds(3_600))) != nil {}
        }
    }

    private func tell() async {
        var told = 0
        while !Task.isCancelled {
            do {
                switch try await store.tellUntold(log: log) {
                case .told(let count): told += count
                case .noRoom: try await Task.sleep(for: Self.pause)
                case .nothingLeft:
                    log.info("all documents are told of", metadata: ["told": .stringConvertible(told)])
                    return
                }
            } catch is CancellationError {
                return
            } catch {
                log.error(
                    "documents cannot be told of", metadata: ["error": .string(String(describing: error))])
                try? await Task.sleep(for: Self.pause)
            }
        }
    }
}
