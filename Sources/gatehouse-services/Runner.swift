import Foundation
import Glibc
import Hummingbird
import Logging
import NIOCore
import ServiceKit
import ServiceLifecycle
import UnixSignals

/// A service whose failure to listen says where it wanted to.
private struct AddressedService: Service {
    let unit: ServiceUnit
    let name: String
    let address: String

    func run() async throws {
        do {
            try await unit.run()
        } catch let error as IOError {
            throw failure(String(cString: strerror(error.errnoCode)))
        } catch let error as SocketAddressError.UnknownHost {
            throw failure(error.errorDescription)
        }
    }

    private func failure(_ reason: String) -> StartFailure {
        StartFailure("\(name) cannot listen on \(address): \(reason)")
    }
}

/// Runs services in this process until SIGTERM or SIGINT.
struct Runner {
    /// How long requests in flight may go on after the signal.
    static let drainLimit: Duration = .seconds(10)

    private var units: [any Service] = []
    private let log: Logger

    init(log: Logger) {
        self.log = log
    }

    /// `isListening`: Called with the port, after it was announced.
    mutating func add(
        _ parts: ServiceParts, host: String, port: Int, log: Logger,
        isListening: @escaping @Sendable (Int) -> Void = { _ in }
    ) {
        let name = parts.name
        let unit = parts.unit(ListenSettings(host: host, port: port), log: log) { port in
            Self.announce(Announcement(service: name, address: host, port: port))
            isListening(port)
        }
        units.append(AddressedService(unit: unit, name: name, address: "\(host):\(port)"))
    }

    /// Returns when every service has stopped. The last that was added is stopped first.
    func run() async throws {
        var configuration = ServiceGroupConfiguration(
            services: units.map {
                .init(service: $0, successTerminationBehavior: .gracefullyShutdownGroup)
            }, gracefulShutdownSignals: [.sigterm, .sigint], logger: log)
        configuration.maximumGracefulShutdownDuration = Self.drainLimit
        do {
            try await ServiceGroup(configuration: configuration).run()
        } catch is CancellationError {
            // The time for requests in flight was over; what remained was cut off, and that is a stop too.
            log.warning("stopped at the drain limit")
        }
        log.info("stopped")
    }

    private struct Announcement: Encodable {
        let event = "listening"
        let service: String
        let address: String
        let port: Int
    }

    /// One JSON line on standard output, for the script that started us.
    private static func announce(_ announcement: Announcement) {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        guard let text = try? encoder.encode(announcement) else { return }
        let line = [UInt8](text) + [UInt8(ascii: "\n")]
        _ = line.withUnsafeBytes { write(1, $0.baseAddress, $0.count) }
    }
}
