public import Config
import Cryptography
import LinuxIO
import Memory
import Proxy
import RateLimit
import Reactor
import Synchronization
import TLS
import Telemetry
import Upstreams
import YAML

/// What a run of the gateway is told on its command line.
public struct ServerOptions: Sendable {
    public let configurationFile: String
    /// Nanoseconds that exchanges under way get after SIGTERM.
    public let drainTimeout: UInt64
    public let version: String
    /// Bytes that the process has allocated and not freed, as its allocator counts them.
    public let allocatedBytes: @Sendable () -> Int

    /// What the process has allocated, sessions' places among it.
    var heapBytes: Int { allocatedBytes() + SessionPlaces.takenBytes }

    public init(
        configurationFile: String, drainTimeout: UInt64, version: String,
        allocatedBytes: @escaping @Sendable () -> Int
    ) {
        self.configurationFile = configurationFile
        self.drainTimeout = drainTimeout
        self.version = version
        self.allocatedBytes = allocatedBytes
    }
}

/// Reads and checks configuration files.
public enum ConfigurationFile {
    /// Most bytes of a configuration file.
    public static let limit = 4 << 20

    /// The configuration of a file, or all that is wrong with it.
    public static func load(_ path: String) -> Result<Configuration, Diagnostics> {
        let text: [UInt8]
        do {
            text = try Files.read(path, limit: limit)
        } catch {
            let message = Diagnostic(at: Place(line: 1, column: 1), "cannot read the file: \(error.text)")
            return .failure(Diagnostics(file: path, errors: [message]))
        }
        return ConfigLoader.load(text: text, file: path)
    }

    /// Loads a file and builds all that a start would build from it, without opening a port. `nil` when all is well.
    public static func check(_ path: String) -> String? {
        switch load(path) {
        case .failure(let errors): return errors.description
        case .success(let configuration):
            let household = Household(limiterKeys: 8)
            do {
                // What would only be said in the log is no error; what is, is told below.
                let log = EventLog(level: .error)
                _ = try Blueprint(
                    configuration, names: HostNames(of: configuration, while: { true }), generation: 1,
                    household: household,
                    connections: Server.defaultConnections, log: log
                ).snapshot()
                return nil
            } catch {
                return error.description
            }
        }
    }
}

/// Why a start failed.
public enum StartError: Error {
    case configuration(Diagnostics)
    case system(String)

    /// For whoever started the program.
    public var text: String {
        switch self {
        case .configuration(let errors): errors.description
        case .system(let text): "gatehouse: \(text)"
        }
    }
}

/// The whole gateway: workers, log thread, and the control side that reloads and ends them.
public enum Server {
    /// Descriptors that are not connections: listeners, logs, pollers.
    static let reservedDescriptors = 512
    /// Connections that are prepared for when nothing is configured, however many descriptors there may be.
    static let defaultConnections = 65536

    /// Serves until SIGTERM or SIGINT; returns when everything under way has ended or its time was over.
    public static func run(_ options: ServerOptions) throws(StartError) {
        // Before anything asks OpenSSL for memory.
        SessionPlaces.prepare()
        let configuration: Configuration
        switch ConfigurationFile.load(options.configurationFile) {
        case .success(let loaded): configuration = loaded
        case .failure(let errors): throw .configuration(errors)
        }
        let signals: SignalSource
        do {
            // Before any thread is started, since threads inherit the mask.
            signals = try SignalSource()
        } catch {
            throw .system("cannot watch signals: \(error.text)")
        }
        let log = EventLog(level: level(of: configuration))
        let household = Household(limiterKeys: configuration.limiterKeys)
        let names = HostNames(of: configuration) { !SignalSource.isEndPending }
        // Whoever ends a gateway that has not begun asks for no drain.
        guard !names.isCalledOff else {
            log.tell(.info, "stopped")
            return
        }
        let fleet = try Fleet(configuration, options: options, household: household, log: log)
        do throws(StartError) {
            try fleet.start(names)
        } catch {
            fleet.abandon()
            throw error
        }
        do {
            try Control.run(fleet, signals: signals, options: options, log: log)
        } catch {
            fleet.abandon()
            throw .system("the control loop failed: \(error.text)")
        }
        fleet.finish()
        log.tell(.info, "stopped")
    }

    private static func level(of configuration: Configuration) -> EventLog.Level {
        switch configuration.errorLog.level {
        case .debug: .debug
        case .info: .info
        case .warning: .warning
        case .error: .error
        }
    }
}
