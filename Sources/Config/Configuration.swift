/// A whole configuration, checked: every reference is an index that holds, every number is in its range, every default is
/// filled in. Durations are nanoseconds, sizes are bytes, `Int.max` where the file says `none`.
public struct Configuration: Sendable {
    /// The file as the user named it; relative paths in the model are already resolved against its folder.
    public let file: String
    public let workers: WorkerCount
    public let memoryBudget: MemoryBudget
    /// In the order of the file, as are all lists here.
    public let listeners: [ListenerSettings]
    public let clientAddress: ClientAddressSettings
    public let requestID: RequestIDSettings
    public let traceParent: TraceParentHandling
    public let mergesSlashes: Bool
    public let accessLog: AccessLogSettings
    public let errorLog: ErrorLogSettings
    /// Where `/healthz`, `/readyz` and `/metrics` are served; `nil` = nowhere.
    public let adminListen: Located<BindAddress>?
    public let http: HTTPLimitSettings
    /// The entries of `auth`.
    public let issuers: [IssuerSettings]
    public let limits: [LimitSettings]
    /// Slots of the table behind all limits, 16 bytes each.
    public let limiterKeys: Int
    public let services: [ServiceSettings]
    public let routes: [RouteSettings]

    /// The files that the configuration needs or writes, each with its place, in the order of the file. This room opens
    /// none of them: whoever does reports what it finds at that place.
    public var referencedFiles: [ReferencedFile] {
        var files: [ReferencedFile] = []
        for listener in listeners {
            for certificate in listener.tls?.certificates ?? [] {
                files.append(ReferencedFile(purpose: .certificate, path: certificate.certificateFile))
                files.append(ReferencedFile(purpose: .privateKey, path: certificate.keyFile))
            }
            if let file = listener.tls?.clientCertificates.authorityFile {
                files.append(ReferencedFile(purpose: .authorities, path: file))
            }
            if let file = listener.tls?.ticketKeyFile {
                files.append(ReferencedFile(purpose: .ticketKeys, path: file))
            }
            for file in listener.tls?.stapleFiles ?? [] {
                files.append(ReferencedFile(purpose: .staple, path: file))
            }
        }
        if case .file(let path) = accessLog.destination {
            files.append(ReferencedFile(purpose: .accessLog, path: path))
        }
        for issuer in issuers {
            switch issuer.keys {
            case .file(let path): files.append(ReferencedFile(purpose: .keySet, path: path))
            case .url(let fetched):
                if let path = fetched.cacheFile {
                    files.append(ReferencedFile(purpose: .keyCache, path: path))
                }
            }
        }
        return files.sorted { $0.path.place < $1.path.place }
    }
}

/// A file that the configuration names.
public struct ReferencedFile: Sendable, Hashable {
    public enum Purpose: Sendable, Hashable {
        case certificate, privateKey, authorities, ticketKeys, staple, keySet, keyCache, accessLog
    }
    public let purpose: Purpose
    /// Resolved against the folder of the configuration file.
    public let path: Located<String>
}

/// How many threads serve.
public enum WorkerCount: Sendable, Hashable {
    /// One a usable core.
    case auto
    case count(Int)
}

/// What all buffers, tables and caches may take together.
public enum MemoryBudget: Sendable, Hashable {
    /// 75% of the cgroup's or the machine's memory.
    case threeQuarters
    case bytes(Int)
}

/// Who "the client" is, for limits and logs.
public struct ClientAddressSettings: Sendable, Hashable {
    /// Peers whose `X-Forwarded-For` is believed; empty = nobody.
    public let trustedProxies: [AddressPrefix]
    /// IPv6 addresses that share this many leading bits are one client.
    public let ipv6PrefixBits: Int
}

/// The correlation id of a request.
public struct RequestIDSettings: Sendable, Hashable {
    public enum Acceptance: Sendable, Hashable { case any, trustedProxies, nobody }
    /// As the user wrote it; field names compare without case.
    public let header: String
    public let acceptFrom: Acceptance
    /// Whether the response carries it as well.
    public let isEchoed: Bool
}

/// What is done with the trace that a request belongs to (W3C Trace Context): passed on, begun where there is none, or ended.
public enum TraceParentHandling: Sendable, Hashable { case propagate, generate, drop }

/// Where log lines go.
public enum LogDestination: Sendable, Hashable {
    case stdout
    case stderr
    /// Reopened on SIGUSR1.
    case file(Located<String>)
    case none
}

/// One JSON line an exchange; what does not fit the queue is dropped and counted.
public struct AccessLogSettings: Sendable, Hashable {
    public let destination: LogDestination
    /// Field names in lower case whose values never reach the log.
    public let redactedFields: [String]
    public let queueBytes: Int
}

/// What the gateway says about itself.
public struct ErrorLogSettings: Sendable, Hashable {
    public enum Level: Int, Sendable, Hashable, Comparable {
        case debug, info, warning, error
        public static func < (left: Level, right: Level) -> Bool { left.rawValue < right.rawValue }
    }
    public let destination: LogDestination
    /// The least level that is written.
    public let level: Level
}

/// Protocol limits for every listener; the status that a violation gets stands beside each.
public struct HTTPLimitSettings: Sendable, Hashable {
    /// 414
    public let requestLineBytes: Int
    /// 431; at least `requestLineBytes`
    public let headBytes: Int
    /// 431
    public let fieldCount: Int
    /// 413; `Int.max` = no limit. Routes carry the effective value.
    public let bodyBytes: Int
    /// 408
    public let headTimeoutNanoseconds: Int
    /// 408
    public let bodyIdleTimeoutNanoseconds: Int
    /// What a client must at least bring, or take, while it is the one that is waited for. 408, or a reset.
    public let minimumBodyRate: MinimumRate
    /// Keep-alive: closed quietly, HTTP/2 with GOAWAY.
    public let idleTimeoutNanoseconds: Int
    /// A WebSocket in which nothing has moved either way for so long is closed on both sides.
    public let webSocketIdleTimeoutNanoseconds: Int
    /// Concurrent HTTP/2 streams a connection.
    public let streamCount: Int
    /// Streams a client may cancel, or make us cancel, before GOAWAY ENHANCE_YOUR_CALM.
    public let resets: Rate
}

/// A rate that is looked at once a window.
public struct MinimumRate: Sendable, Hashable {
    /// In each window; 0 = no limit.
    public let bytesPerWindow: Int
    public let windowNanoseconds: Int

    public init(bytesPerWindow: Int, windowNanoseconds: Int) {
        self.bytesPerWindow = bytesPerWindow
        self.windowNanoseconds = windowNanoseconds
    }
}

/// So many in a window: `count` in each `windowNanoseconds`.
public struct Rate: Sendable, Hashable {
    public let count: Int
    public let windowNanoseconds: Int

    public init(count: Int, windowNanoseconds: Int) {
        self.count = count
        self.windowNanoseconds = windowNanoseconds
    }
}
