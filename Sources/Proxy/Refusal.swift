public import HTTP

/// Why the gateway itself answered, or why an exchange failed: one case a reason, closed.
///
/// The name is what the access log, the metrics and the body of the answer show; it never changes its meaning.
public enum Refusal: UInt8, CaseIterable, Sendable {
    /// No mistake of anybody's: the listener answers everything with the same under https.
    case redirected
    case badRequest, badTarget, badHost, badFraming
    case uriTooLong, headTooLarge, bodyTooLarge, requestTimeout
    case unsupportedVersion, notImplemented, expectationFailed
    case noRoute
    case tokenMissing, tokenInvalid, tokenExpired, tokenUnknownKey
    case rateLimited
    case upstreamConnect, upstreamTLS, upstreamReset, upstreamInvalid, upstreamTruncated
    case upstreamOverloaded, upstreamConnectTimeout, upstreamTimeout
    case overloaded, draining
    case clientClosed
    case webSocketIdle
    case internalError

    /// The status of the answer, one for each reason.
    public var status: Int {
        switch self {
        case .redirected: 308
        case .badRequest, .badTarget, .badHost, .badFraming: 400
        case .tokenMissing, .tokenInvalid, .tokenExpired, .tokenUnknownKey: 401
        case .noRoute: 404
        // For a tunnel it is never sent, only logged.
        case .requestTimeout, .webSocketIdle: 408
        case .bodyTooLarge: 413
        case .uriTooLong: 414
        case .expectationFailed: 417
        case .rateLimited: 429
        case .headTooLarge: 431
        // Never sent: nobody is there to read it. The number is nginx's, which log readers know.
        case .clientClosed: 499
        case .internalError: 500
        case .notImplemented: 501
        case .upstreamConnect, .upstreamTLS, .upstreamReset, .upstreamInvalid, .upstreamTruncated: 502
        case .upstreamOverloaded, .overloaded, .draining: 503
        case .upstreamConnectTimeout, .upstreamTimeout: 504
        case .unsupportedVersion: 505
        }
    }

    /// The stable name.
    public var name: StaticString {
        switch self {
        case .redirected: "redirect_to_https"
        case .badRequest: "bad_request"
        case .badTarget: "bad_target"
        case .badHost: "bad_host"
        case .badFraming: "bad_framing"
        case .uriTooLong: "uri_too_long"
        case .headTooLarge: "head_too_large"
        case .bodyTooLarge: "body_too_large"
        case .requestTimeout: "request_timeout"
        case .unsupportedVersion: "unsupported_version"
        case .notImplemented: "not_implemented"
        case .expectationFailed: "expectation_failed"
        case .noRoute: "no_route"
        case .tokenMissing: "token_missing"
        case .tokenInvalid: "token_invalid"
        case .tokenExpired: "token_expired"
        case .tokenUnknownKey: "token_unknown_key"
        case .rateLimited: "rate_limited"
        case .upstreamConnect: "upstream_connect"
        case .upstreamTLS: "upstream_tls"
        case .upstreamReset: "upstream_reset"
        case .upstreamInvalid: "upstream_invalid"
        case .upstreamTruncated: "upstream_truncated"
        case .upstreamOverloaded: "upstream_overloaded"
        case .upstreamConnectTimeout: "upstream_connect_timeout"
        case .upstreamTimeout: "upstream_timeout"
        case .overloaded: "overloaded"
        case .draining: "draining"
        case .clientClosed: "client_closed"
        case .webSocketIdle: "websocket_idle"
        case .internalError: "internal"
        }
    }

    /// What it means, for the `title` of the answer (RFC 9457 §3.1.3).
    public var title: StaticString {
        switch self {
        case .redirected: "The same is to be asked under https"
        case .badRequest: "The request is not valid HTTP"
        case .badTarget: "The request target is not valid"
        case .badHost: "The Host is missing, repeated or not valid"
        case .badFraming: "The length of the request body is ambiguous or not valid"
        case .uriTooLong: "The request line is too long"
        case .headTooLarge: "The request header fields are too large or too many"
        case .bodyTooLarge: "The request body is larger than this route allows"
        case .requestTimeout: "The request did not arrive in time"
        case .unsupportedVersion: "The HTTP version is not supported"
        case .notImplemented: "The method or transfer coding is not supported"
        case .expectationFailed: "The expectation cannot be met"
        case .noRoute: "No route leads to this path"
        case .tokenMissing: "A bearer token is required"
        case .tokenInvalid: "The bearer token is not valid"
        case .tokenExpired: "The bearer token has expired"
        case .tokenUnknownKey: "The bearer token is signed with an unknown key"
        case .rateLimited: "Too many requests"
        case .upstreamConnect: "The service cannot be reached"
        case .upstreamTLS: "No secure connection to the service can be made"
        case .upstreamReset: "The service closed the connection before it answered"
        case .upstreamInvalid: "The service gave an answer that is not valid HTTP"
        case .upstreamTruncated: "The service's answer was cut short"
        case .upstreamOverloaded: "All connections to the service are taken"
        case .upstreamConnectTimeout: "The service did not accept a connection in time"
        case .upstreamTimeout: "The service did not answer in time"
        case .overloaded: "The gateway is at its limits"
        case .draining: "The gateway is shutting down"
        case .clientClosed: "The client went away before the answer"
        case .webSocketIdle: "Nothing moved in the WebSocket for too long"
        case .internalError: "The gateway failed"
        }
    }

    /// The one place where the parsers' errors become reasons.
    public init(_ error: RequestHeadError) {
        switch error {
        case .badRequestLine, .badMethod, .badFieldName, .badFieldValue, .obsoleteFold, .bareLineEnd,
            .badPseudoField,
            .connectionField:
            self = .badRequest
        case .badTarget: self = .badTarget
        case .missingHost, .repeatedHost, .badHost, .conflictingHost: self = .badHost
        case .badContentLength, .conflictingContentLength, .badTransferEncoding: self = .badFraming
        case .unknownTransferCoding, .connectRefused: self = .notImplemented
        case .unsupportedVersion: self = .unsupportedVersion
        case .unknownExpectation: self = .expectationFailed
        case .requestLineTooLong: self = .uriTooLong
        case .headTooLarge, .tooManyFields: self = .headTooLarge
        }
    }
}
