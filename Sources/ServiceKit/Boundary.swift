internal import HTTPTypes
public import Hummingbird
internal import Logging
internal import NIOHTTP1

/// The outer face of a service: gives each request its id, turns each error into a problem document, and writes one
/// log line an answer.
public struct Boundary: HTTPResponder {
    let inner: RouterResponder<Call>
    let metrics: ServiceMetrics
    let log: Logger

    public func respond(to request: Request, context: Call) async throws -> Response {
        let start = ContinuousClock.now
        var call = context
        call.requestID = RequestID.accepted(request.headers[.requestID]) ?? Identifier.make()
        call.logger = log
        call.trace = Trace(requestID: call.requestID, traceparent: request.headers[.traceparent]).begun
        call.logger[metadataKey: "request_id"] = .string(call.requestID)
        if let traceID = call.trace.traceID { call.logger[metadataKey: "trace_id"] = .string(traceID) }

        var reason: String?
        var response: Response
        do {
            response = try await inner.respond(to: request, context: call)
            // The router answers for itself where no route fits, with a status and nothing else.
            if response.status.code >= 400, response.headers[.contentType] == nil {
                let problem = problem(for: HTTPError(response.status), call: call)
                reason = problem.reason
                response = problem.response(requestID: call.requestID)
            }
        } catch let error as HTTPParserError {
            // The connection is beyond repair; the server answers 400 and closes it.
            throw error
        } catch {
            let problem = problem(for: error, call: call)
            reason = problem.reason
            response = problem.response(requestID: call.requestID)
        }
        response.headers[.requestID] = call.requestID
        if response.headers[.cacheControl] == nil { response.headers[.cacheControl] = "no-store" }

        let elapsed = start.duration(to: .now)
        metrics.count(status: response.status.code, elapsed: elapsed)
        write(request, response, reason: reason, elapsed: elapsed, call: call)
        return response
    }

    private func problem(for error: any Error, call: Call) -> Problem {
        switch error {
        case let problem as Problem: return problem
        case let error as HTTPError where error.status == .notFound:
            return .notFound("resource")
        case let error as HTTPError:
            return Problem(error.status, "refused", error.body ?? error.status.reasonPhrase)
        case is CancellationError:
            return .retryLater(.serviceUnavailable, "stopping", "The service is stopping.", afterSeconds: 1)
        default:
            call.logger.error("request failed", metadata: ["error": .string(String(describing: error))])
            return Problem(.internalServerError, "internal", "The service could not answer.")
        }
    }

    private func write(
        _ request: Request, _ response: Response, reason: String?, elapsed: Duration, call: Call
    ) {
        // Probes come every few seconds for ever and say nothing of the traffic.
        let isProbe = ["/healthz", "/readyz", "/metrics"].contains(request.uri.path)
        let isQuiet = isProbe || (call.notes.isRoutine && response.status.code < 400)
        guard !isQuiet || call.logger.logLevel <= .debug else { return }
        var metadata: Logger.Metadata = [
            "method": .string(request.method.rawValue), "path": .string(request.uri.path),
            "status": .stringConvertible(response.status.code),
            "duration_us": .stringConvertible(elapsed.microseconds),
        ]
        if let reason { metadata["reason"] = .string(reason) }
        if let subject = call.notes.subject { metadata["subject"] = .string(subject) }
        call.logger.log(level: isQuiet ? .debug : .info, "request", metadata: metadata)
    }
}

/// The correlation id of a request.
enum RequestID {
    /// What came in, when it is short and plain enough for a log line and a field; otherwise `nil`.
    static func accepted(_ field: String?) -> String? {
        guard let field, (1...128).contains(field.utf8.count) else { return nil }
        let isPlain = field.utf8.allSatisfy { byte in
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "_"),
                UInt8(ascii: "."), UInt8(ascii: ":"), UInt8(ascii: "="), UInt8(ascii: "+"),
                UInt8(ascii: "/"):
                true
            default: false
            }
        }
        return isPlain ? field : nil
    }
}

extension Duration {
    /// Whole microseconds; a duration past 292,000 years has other problems.
    public var microseconds: Int64 {
        components.seconds &* 1_000_000 &+ components.attoseconds / 1_000_000_000_000
    }
}
