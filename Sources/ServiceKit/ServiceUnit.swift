internal import HTTPTypes
public import Hummingbird
internal import HummingbirdCore
public import Logging
internal import NIOCore
public import ServiceLifecycle

/// Where a service listens, and its bounds.
public struct ListenSettings: Sendable {
    public var host: String
    /// 0 takes any free port.
    public var port: Int
    /// Further connections wait in the kernel's queue.
    public var connectionLimit: Int
    /// A connection on which nothing moves for so long is closed.
    public var idleSeconds: Int64

    public init(
        host: String = "127.0.0.1", port: Int = 0, connectionLimit: Int = 4_096, idleSeconds: Int64 = 75
    ) {
        self.host = host
        self.port = port
        self.connectionLimit = connectionLimit
        self.idleSeconds = idleSeconds
    }
}

/// What a service is made of, before it runs.
public struct ServiceParts: Sendable {
    public let name: String
    /// The description of the interface (OpenAPI 3), a JSON document; each status that a handler can answer is in it. `nil` where
    /// there is none.
    public let openAPI: [UInt8]?
    /// Adds the service's own routes.
    public let addRoutes: @Sendable (Router<Call>) -> Void
    /// Loops that run beside the server; stopped after it.
    public let background: [any Service]
    /// Why the service cannot do its work now; empty when it can.
    public let hindrances: @Sendable () async -> [String]
    /// Values of this moment, for the metrics.
    public let gauges: @Sendable () async -> [String: Int]

    public init(
        name: String, openAPI: [UInt8]? = nil, background: [any Service] = [],
        hindrances: @escaping @Sendable () async -> [String] = { [] },
        gauges: @escaping @Sendable () async -> [String: Int] = { [:] },
        addRoutes: @escaping @Sendable (Router<Call>) -> Void
    ) {
        self.name = name
        self.openAPI = openAPI
        self.background = background
        self.hindrances = hindrances
        self.gauges = gauges
        self.addRoutes = addRoutes
    }
}

/// A service that can be run.
public typealias ServiceUnit = Application<Boundary>

extension ServiceParts {
    /// Puts the parts together with the probes that every service has.
    /// `isListening`: Called with the port once connections are accepted.
    public func unit(
        _ listen: ListenSettings, log: Logger, isListening: @escaping @Sendable (Int) -> Void = { _ in }
    ) -> ServiceUnit {
        let metrics = ServiceMetrics(service: name)
        let router = Router(context: Call.self)
        addProbes(router, metrics: metrics)
        addDescription(router)
        addRoutes(router)
        return Application(
            responder: Boundary(inner: router.buildResponder(), metrics: metrics, log: log),
            server: .http1(
                configuration: .init(
                    idleTimeout: .seconds(listen.idleSeconds),
                    httpDecoderConfiguration: .init(
                        maxHeaderFieldSize: 32_768, maxHeaderListSize: 65_536, maxHeaderFieldCount: 200))),
            configuration: .init(
                address: .hostname(listen.host, port: listen.port),
                availableConnectionsDelegate: MaximumAvailableConnections(listen.connectionLimit, logger: log)
            ),
            services: background,
            onServerRunning: { channel in isListening(channel.localAddress?.port ?? 0) },
            logger: log)
    }

    private struct Readiness: Encodable {
        let ready: Bool
        let reasons: [String]
    }

    private func addProbes(_ router: Router<Call>, metrics: ServiceMetrics) {
        router.get("/healthz") { _, _ in Reply.json(["status": "ok"]) }
        router.get("/readyz") { request, _ in
            try Self.requireDirect(request)
            let reasons = await hindrances()
            return Reply.json(
                Readiness(ready: reasons.isEmpty, reasons: reasons),
                status: reasons.isEmpty ? .ok : .serviceUnavailable)
        }
        router.get("/metrics") { request, _ in
            try Self.requireDirect(request)
            let text = metrics.text(gauges: await gauges())
            return Response(
                status: .ok, headers: [.contentType: "text/plain; version=0.0.4; charset=utf-8"],
                body: .init(byteBuffer: ByteBuffer(string: text)))
        }
    }

    /// Below the service's name as well: that is where a route of the gateway leads here, while `/` leads to one service alone.
    private func addDescription(_ router: Router<Call>) {
        guard let openAPI else { return }
        let body = ByteBuffer(bytes: openAPI)
        for path in ["/openapi.json", "/\(name)/openapi.json"] {
            router.get(RouterPath(path)) { _, _ in
                Response(
                    status: .ok, headers: [.contentType: "application/json", .cacheControl: "no-cache"],
                    body: .init(byteBuffer: body))
            }
        }
    }

    /// What a service says of itself is for its operator. A route of the gateway may lead here with any path; what came
    /// over it always says for whom.
    private static func requireDirect(_ request: Request) throws {
        guard request.headers[.forwardedFor] == nil else { throw Problem.notFound("resource") }
    }
}

/// Runs a service by itself until `body` returns, then stops it as SIGTERM would. For tests and tools.
/// `body`: Gets the service's address once it accepts connections.
@discardableResult
public func withRunning<Outcome: Sendable>(
    _ parts: ServiceParts, host: String = "127.0.0.1", log: Logger,
    _ body: @escaping @Sendable (Origin) async throws -> Outcome
) async throws -> Outcome {
    let (ports, listening) = AsyncStream<Int>.makeStream(bufferingPolicy: .bufferingNewest(1))
    let unit = parts.unit(ListenSettings(host: host), log: log) { listening.yield($0) }
    let group = ServiceGroup(configuration: .init(services: [unit], logger: log))
    return try await withThrowingTaskGroup(of: Outcome?.self) { tasks in
        tasks.addTask {
            defer { listening.finish() }
            try await group.run()
            return nil
        }
        var iterator = ports.makeAsyncIterator()
        guard let port = await iterator.next() else {
            _ = try await tasks.next()
            throw CancellationError()
        }
        let outcome = await Result { try await body(Origin(.init(host: host, port: port))) }
        await group.triggerGracefulShutdown()
        while try await tasks.next() != nil {}
        return try outcome.get()
    }
}

extension Result where Failure == any Error, Success: Sendable {
    fileprivate init(_ body: @Sendable () async throws -> Success) async {
        do { self = .success(try await body()) } catch { self = .failure(error) }
    }
}
