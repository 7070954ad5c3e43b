internal import Foundation
public import HTTPTypes
public import Hummingbird
internal import NIOCore

/// A refusal, told as `application/problem+json` (RFC 9457).
public struct Problem: Error, Sendable {
    /// The status of the answer.
    public let status: HTTPResponse.Status
    /// A stable name that a program can act on: it is also in the log.
    public let reason: String
    /// One sentence for a human. Never holds a secret or a value of another caller.
    public let detail: String
    /// Fields that the answer carries besides, such as `Retry-After`.
    public let fields: HTTPFields

    public init(
        _ status: HTTPResponse.Status, _ reason: String, _ detail: String, fields: HTTPFields = [:]
    ) {
        self.status = status
        self.reason = reason
        self.detail = detail
        self.fields = fields
    }

    /// A refusal that ends by itself: says when to try again.
    public static func retryLater(
        _ status: HTTPResponse.Status, _ reason: String, _ detail: String, afterSeconds seconds: Int
    ) -> Problem {
        Problem(status, reason, detail, fields: [.retryAfter: String(max(1, seconds))])
    }

    /// Also the answer for what exists but belongs to another: existence is not told to strangers.
    public static func notFound(_ what: String) -> Problem {
        Problem(.notFound, "not_found", "There is no such \(what).")
    }

    private struct Document: Encodable {
        let type: String
        let title: String
        let status: Int
        let reason: String
        let detail: String
        let requestId: String

        enum CodingKeys: String, CodingKey {
            case type, title, status, reason, detail
            case requestId = "request_id"
        }
    }

    func response(requestID: String) -> Response {
        let document = Document(
            type: "about:blank", title: status.reasonPhrase, status: status.code, reason: reason,
            detail: detail, requestId: requestID)
        var response = Reply.json(document, status: status, mediaType: "application/problem+json")
        for field in fields { response.headers[field.name] = field.value }
        return response
    }
}

/// Answers that the services give.
public enum Reply {
    /// A JSON body with its members in alphabetical order.
    public static func json(
        _ value: some Encodable, status: HTTPResponse.Status = .ok, fields: HTTPFields = [:],
        mediaType: String = "application/json"
    ) -> Response {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        var headers = fields
        headers[.contentType] = mediaType
        guard let body = try? encoder.encode(value) else {
            // Only a number that JSON cannot express fails here, and no answer of ours holds one.
            return Response(status: .internalServerError)
        }
        return Response(status: status, headers: headers, body: .init(byteBuffer: ByteBuffer(bytes: body)))
    }

    /// 204, with nothing more to say.
    public static var noContent: Response { Response(status: .noContent) }
}

extension HTTPField.Name {
    /// The correlation id that the gateway stamps and every service keeps.
    public static let requestID = HTTPField.Name("X-Request-ID") ?? .via
    /// W3C Trace Context §3.2.
    public static let traceparent = HTTPField.Name("traceparent") ?? .via
    /// The client's address, as the gateway saw it.
    public static let forwardedFor = HTTPField.Name("X-Forwarded-For") ?? .via
}
