internal import Backbone
public import Foundation
internal import HTTPTypes
internal import Hummingbird
public import Logging
internal import NIOCore
public import ServiceKit
internal import ServiceLifecycle

/// The bus: job queues, the event log and the registry of schemas, for the services of one platform.
public struct BusService: Sendable {
    /// Of one request. The lists have bounds of their own besides.
    static let bodyLimitBytes = 8 << 20

    let store: BusStore
    let serviceToken: ServiceToken
    private let room: RoomProbe
    private let log: Logger

    /// `serviceToken`: The secret that every caller shows.
    /// `clock`: Unix milliseconds.
    public init(
        directory: URL, serviceToken: ServiceToken, limits: BusStore.Limits = .init(), log: Logger,
        clock: @escaping @Sendable () -> Int64 = { Timestamp.now }
    ) throws {
        store = try BusStore(directory: directory, limits: limits, clock: clock)
        self.serviceToken = serviceToken
        room = RoomProbe(store)
        self.log = log
    }

    /// What it is run from.
    public var parts: ServiceParts {
        ServiceParts(
            name: "bus",
            openAPI: PackageResources.openapi_json,
            background: [Upkeep(store: store, log: log)],
            hindrances: { await room.isWritable() ? [] : ["store"] },
            gauges: { await gauges() },
            addRoutes: { router in
                for route in routes {
                    router.on(RouterPath(route.path), method: route.method) { request, call in
                        try serviceToken.require(request)
                        do {
                            return try await route.answer(request, call)
                        } catch let error as BackboneError {
                            throw error.problem
                        }
                    }
                }
            })
    }

    /// One call of the backbone.
    struct Route: Sendable {
        let method: HTTPRequest.Method
        /// A part that begins with a colon stands for any.
        let path: String
        let answer: @Sendable (Request, Call) async throws -> Response
    }

    /// Every route. Each asks for the service token, by the one loop that adds them.
    var routes: [Route] {
        [
            Route(method: .post, path: "/bus/v1/events", answer: publish),
            Route(method: .get, path: "/bus/v1/events", answer: events),
            Route(method: .put, path: "/bus/v1/groups/:name", answer: putGroup),
            Route(method: .get, path: "/bus/v1/groups/:name", answer: group),
            Route(method: .delete, path: "/bus/v1/groups/:name", answer: removeGroup),
            Route(method: .post, path: "/bus/v1/schemas", answer: register),
            Route(method: .get, path: "/bus/v1/schemas", answer: schemas),
            Route(method: .post, path: "/bus/v1/jobs", answer: enqueue),
            Route(method: .get, path: "/bus/v1/jobs/:id", answer: job),
            Route(method: .post, path: "/bus/v1/jobs/ack", answer: finish),
            Route(method: .post, path: "/bus/v1/jobs/nack", answer: setBack),
            Route(method: .post, path: "/bus/v1/jobs/extend", answer: extend),
            Route(method: .post, path: "/bus/v1/jobs/:id/redrive", answer: redrive),
            Route(method: .post, path: "/bus/v1/queues/:queue/lease", answer: lease),
            Route(method: .get, path: "/bus/v1/queues/:queue/wait", answer: waitForJobs),
            Route(method: .get, path: "/bus/v1/queues/:queue/dead", answer: deadJobs),
            Route(method: .get, path: "/bus/v1/stats", answer: stats),
        ]
    }

    private func stats(_ request: Request, _ call: Call) async throws -> Response {
        let stats = try await store.stats()
        return Self.json { Wire.write(stats, to: &$0) }
    }

    private func gauges() async -> [String: Int] {
        guard let stats = try? await store.stats() else { return [:] }
        var gauges = ["last_offset": Int(stats.lastOffset), "horizon_offset": Int(stats.horizon)]
        for queue in stats.queues {
            for (state, count) in [("ready", queue.ready), ("leased", queue.leased), ("dead", queue.dead)] {
                gauges["jobs{queue=\"\(queue.name)\",state=\"\(state)\"}"] = count
            }
        }
        for group in stats.groups {
            gauges["group_lag{group=\"\(group.name)\"}"] = Int(stats.lastOffset - group.offset)
        }
        return gauges
    }

    // MARK: What the routes share

    /// Reads the body by `read`. Throws `Problem` 400, 413, 415, or 422 where a list is too long.
    static func body<Value>(
        _ request: Request, _ read: (inout JSONReader) throws -> Value
    ) async throws -> Value {
        try request.requireMediaType("application/json")
        let data = try await request.bodyData(limitBytes: bodyLimitBytes)
        do {
            return try Wire.read(data, read)
        } catch let failure as Wire.Failure where failure.isOverLimit {
            throw Problem(.unprocessableContent, "too_many", failure.description)
        } catch let failure as Wire.Failure {
            throw Problem(.badRequest, "invalid_body", failure.description)
        }
    }

    /// Logs whose events or jobs came with a call, where they are others' than the call's own: a relay sends what several
    /// requests have caused, and each must be found here by its id. As many ids as a call has items, and each once.
    static func tell(_ message: Logger.Message, _ traces: [Trace], _ call: Call) {
        var known: Set<String> = [call.requestID, ""]
        let others = traces.map(\.requestID).filter { known.insert(String($0.prefix(128))).inserted }
        guard !others.isEmpty else { return }
        call.logger.info(
            message,
            metadata: [
                "count": .stringConvertible(traces.count),
                "request_ids": .string(others.map { String($0.prefix(128)) }.joined(separator: " ")),
            ])
    }

    static func json(_ write: (inout JSONWriter) -> Void) -> Response {
        var writer = JSONWriter()
        write(&writer)
        return json(writer.bytes)
    }

    static func json(_ bytes: [UInt8]) -> Response {
        Response(
            status: .ok, headers: [.contentType: "application/json"],
            body: .init(byteBuffer: ByteBuffer(bytes: bytes)))
    }

    /// Waits end when the service stops: a client that is told so at once finds the next one sooner.
    static func waiting<Value: Sendable>(
        _ seconds: Int, _ body: @escaping @Sendable () async throws -> Value
    ) async throws -> Value {
        guard seconds > 0 else { return try await body() }
        return try await cancelWhenGracefulShutdown(body)
    }
}

extension BackboneError {
    /// What the caller is told. Throws nothing away: `BusClient` makes the same error of it.
    var problem: Problem {
        let (code, reason, detail) = told
        let status = HTTPResponse.Status(code: code)
        switch self {
        // A moment later a place may be free; a full disk takes longer.
        case .unavailable: return .retryLater(status, reason, detail, afterSeconds: 1)
        case .storageFull: return .retryLater(status, reason, detail, afterSeconds: 30)
        case .refused, .unauthorized, .notFound, .leaseLost: return Problem(status, reason, detail)
        }
    }
}
