public import HTTP
public import JWT

/// What users are told about one reason: the row of it in the registry below.
@frozen public struct Reason: Sendable {
    /// Stable: the log field, the metric label, the end of the `type` of an answer. It never changes its meaning.
    public let name: StaticString
    public let status: Int
    /// What it means, for the `title` of an answer (RFC 9457 §3.1.3).
    public let title: StaticString
    /// What whoever meets it should do, in one or two sentences.
    public let advice: StaticString
    /// What an answer says in `Retry-After` where nothing better is known; 0 for nothing.
    public let retryAfterSeconds: Int
    /// Whether there is an answer that says it; what comes too late for one is in the log and in the metrics alone.
    public let isSent: Bool

    init(
        _ name: StaticString, _ status: Int, _ title: StaticString, _ advice: StaticString,
        retryAfterSeconds: Int = 0, isSent: Bool = true
    ) {
        self.name = name
        self.status = status
        self.title = title
        self.advice = advice
        self.retryAfterSeconds = retryAfterSeconds
        self.isSent = isSent
    }
}

/// Why the gateway itself answered, or why an exchange failed: one case a reason, closed.
///
/// This file is the registry: a new reason is a case and its row, and the compiler asks for both. From the row come the
/// answers, the log, the metrics, `gatehouse reasons` and the article Reasons.
public enum Refusal: UInt8, CaseIterable, Sendable {
    /// No mistake of anybody's: the listener answers everything with the same under https.
    case redirected
    case badRequest, badTarget, badHost, badFraming
    /// On a TLS port: HTTP in clear, and a request for whom the connection was not agreed on.
    case plainHTTP, misdirected
    case uriTooLong, headTooLarge, bodyTooLarge, requestTimeout
    case unsupportedVersion, methodNotAllowed, notImplemented, expectationFailed
    case noRoute
    case tokenMissing, tokenInvalid, tokenExpired, tokenUnknownKey, keysUnavailable
    case insufficientScope, insufficientRole
    case rateLimited, tooManyInFlight
    case upstreamConnect, upstreamTLS, upstreamReset, upstreamInvalid, upstreamTruncated
    case upstreamOverloaded, upstreamConnectTimeout, upstreamTimeout
    case overloaded, draining
    case clientClosed
    case webSocketIdle
    case internalError

    public var told: Reason {
        switch self {
        case .redirected:
            Reason(
                "redirect_to_https", 308, "The same is to be asked under https",
                "Ask the address in Location; links should say https in the first place.")
        case .badRequest:
            Reason(
                "bad_request", 400, "The request is not valid HTTP",
                "Mend the client: its request line or a field of its head breaks the grammar of HTTP.")
        case .badTarget:
            Reason(
                "bad_target", 400, "The request target is not valid",
                """
                Mend the path: an encoded NUL, a backslash, half a percent-encoding, or a climb above the \
                root is refused.
                """)
        case .badHost:
            Reason(
                "bad_host", 400, "The Host is missing, repeated or not valid",
                "Send exactly one Host, which holds a name or an address and perhaps a port.")
        case .badFraming:
            Reason(
                "bad_framing", 400, "The length of the request body is ambiguous or not valid",
                """
                Mend the client, or the proxy before it: Content-Length and Transfer-Encoding must leave \
                no doubt where a body ends.
                """)
        case .plainHTTP:
            Reason(
                "plain_http", 400, "HTTP without TLS was sent to a port of https",
                "Ask the same address under https; nothing of the request was looked at.")
        case .misdirected:
            Reason(
                "misdirected_request", 421, "This connection is not for that host",
                """
                Ask on a new connection with the host as the server name: the certificate that was shown \
                on this one is not for it.
                """)
        case .uriTooLong:
            Reason(
                "uri_too_long", 414, "The request line is too long",
                "Send less in the path and query, or raise limits_of_http.request_line.")
        case .headTooLarge:
            Reason(
                "head_too_large", 431, "The request header fields are too large or too many",
                """
                Send fewer or smaller fields (cookies, mostly), or raise limits_of_http.head or \
                limits_of_http.fields.
                """)
        case .bodyTooLarge:
            Reason(
                "body_too_large", 413, "The request body is larger than this route allows",
                "Send less at once, or raise limits_of_http.body or the body of the route.")
        case .requestTimeout:
            Reason(
                "request_timeout", 408, "The request did not arrive in time",
                """
                Try again; a client that is slow for good needs longer limits_of_http.head_timeout or \
                body_idle_timeout, or a lower min_body_rate.
                """)
        case .unsupportedVersion:
            Reason(
                "unsupported_version", 505, "The HTTP version is not supported",
                "Speak HTTP/1.0, HTTP/1.1 or HTTP/2.")
        case .methodNotAllowed:
            Reason(
                "method_not_allowed", 405, "The method is not allowed here",
                "Do without TRACE: it would show the client what the gateway tells the service in its name.")
        case .notImplemented:
            Reason(
                "not_implemented", 501, "The method or transfer coding is not supported",
                """
                Do without CONNECT, and without transfer codings other than chunked; a WebSocket needs a \
                service of HTTP/1.1.
                """)
        case .expectationFailed:
            Reason(
                "expectation_failed", 417, "The expectation cannot be met",
                "Send no Expect but 100-continue.")
        case .noRoute:
            Reason(
                "no_route", 404, "No route leads to this path",
                "Ask another path or host, or add a route: `gatehouse check` tells whether the file is valid."
            )
        case .tokenMissing:
            Reason(
                "token_missing", 401, "A bearer token is required",
                "Get a token from the issuer and send it as Authorization: Bearer.")
        case .tokenInvalid:
            Reason(
                "token_invalid", 401, "The bearer token is not valid",
                """
                Get another token; the error_description of WWW-Authenticate says what is wrong with this \
                one.
                """)
        case .tokenExpired:
            Reason(
                "token_expired", 401, "The bearer token has expired",
                """
                Get a fresh token. If it is fresh, the clocks of issuer and gateway differ by more than \
                the leeway.
                """)
        case .tokenUnknownKey:
            Reason(
                "token_unknown_key", 401, "The bearer token is signed with an unknown key",
                """
                Get a token of the issuer that this route asks for; if it is, its key set at the gateway \
                is out of date.
                """)
        case .keysUnavailable:
            Reason(
                "keys_unavailable", 503, "The keys of the token's issuer cannot be had",
                """
                Try again later; if it lasts, look at /readyz and at the event keys_fetch_failed: the key set's \
                address does not answer as it should.
                """, retryAfterSeconds: 5)
        case .insufficientScope:
            Reason(
                "insufficient_scope", 403, "The token has none of the scopes that this route asks for",
                """
                Get a token with one of the scopes that WWW-Authenticate names, or change require.scopes of \
                the route.
                """)
        case .insufficientRole:
            Reason(
                "insufficient_role", 403, "The token has none of the roles that this route asks for",
                """
                Have one of the roles given to the subject and get a fresh token, or change require.roles of \
                the route.
                """)
        case .rateLimited:
            Reason(
                "rate_limited", 429, "Too many requests",
                "Wait as long as Retry-After says, then ask at most at the rate of RateLimit-Policy.",
                retryAfterSeconds: 1)
        case .tooManyInFlight:
            Reason(
                "too_many_in_flight", 429, "Too many requests under way at once",
                """
                Wait for answers before asking again, or raise concurrency.max of the route. It counts what is under way, and \
                open WebSockets too.
                """, retryAfterSeconds: 1)
        case .upstreamConnect:
            Reason(
                "upstream_connect", 502, "The service cannot be reached",
                """
                Look whether the service runs and listens where services.NAME.to says; the access line \
                names the endpoint.
                """)
        case .upstreamTLS:
            Reason(
                "upstream_tls", 502, "No secure connection to the service can be made",
                """
                Look for upstream_tls_failed in the error log: it says whether the certificate, its name \
                or the protocol is at fault.
                """)
        case .upstreamReset:
            Reason(
                "upstream_reset", 502, "The service closed the connection before it answered",
                """
                Look into the service's log. The request may have been worked on: only an idempotent one \
                is safe to send again.
                """)
        case .upstreamInvalid:
            Reason(
                "upstream_invalid", 502, "The service gave an answer that is not valid HTTP",
                "Mend the service: the head of its answer breaks the grammar, or its body has no certain end."
            )
        case .upstreamTruncated:
            Reason(
                "upstream_truncated", 502, "The service's answer was cut short",
                "Look into the service's log: it ended in the middle of an answer that had begun already.",
                isSent: false)
        case .upstreamOverloaded:
            Reason(
                "upstream_overloaded", 503, "All connections to the service are taken",
                """
                Try again; if it lasts, the service is too slow for what is asked of it, or needs more \
                endpoints.
                """, retryAfterSeconds: 1)
        case .upstreamConnectTimeout:
            Reason(
                "upstream_connect_timeout", 504, "The service did not accept a connection in time",
                """
                Look whether the service's host is up and its port not filtered; the profile's \
                timeouts.connect says how long is waited.
                """)
        case .upstreamTimeout:
            Reason(
                "upstream_timeout", 504, "The service did not answer in time",
                """
                Look why the service is slow, or raise timeouts.request or timeouts.idle. The request may \
                have been worked on.
                """)
        case .overloaded:
            Reason(
                "overloaded", 503, "The gateway is at its limits",
                """
                Try again; if it lasts, memory.budget is too small for the load, and \
                gatehouse_limits_reached_total says which limit was met.
                """, retryAfterSeconds: 1)
        case .draining:
            Reason(
                "draining", 503, "The gateway is shutting down",
                "Try again on a new connection, which another instance or the successor serves.",
                retryAfterSeconds: 1, isSent: false)
        // Never sent: nobody is there to read it. The number is nginx's, which log readers know.
        case .clientClosed:
            Reason(
                "client_closed", 499, "The client went away before the answer",
                "Nothing, if it is rare. If not, the client waits for less time than the service takes.",
                isSent: false)
        case .webSocketIdle:
            Reason(
                "websocket_idle", 408, "Nothing moved in the WebSocket for too long",
                "Send pings, or raise limits_of_http.websocket_idle_timeout.", isSent: false)
        case .internalError:
            Reason(
                "internal", 500, "The gateway failed",
                "Report it with the access line: it is a mistake of the gateway's own.")
        }
    }

    /// The status of the answer, one for each reason.
    public var status: Int { told.status }
    public var name: StaticString { told.name }
    public var title: StaticString { told.title }

    /// What the `type` of an answer is, with the name behind it (RFC 9457 §3.1.1): a name, and nothing to fetch.
    public static var typePrefix: StaticString { "urn:gatehouse:reason:" }

    /// The one place where what is wrong with a token becomes a reason; the detail goes into the answer beside it.
    public init(_ refusal: TokenRefusal) {
        switch refusal {
        case .expired: self = .tokenExpired
        case .unknownKey: self = .tokenUnknownKey
        case .malformed, .tooLong, .algorithmNotAllowed, .criticalHeader, .embeddedKey, .wrongType,
            .keyNotNamed, .keyNotForAlgorithm, .badSignature, .malformedClaims, .wrongIssuer, .wrongAudience,
            .missingClaim, .notYetValid, .claimNotForwardable:
            self = .tokenInvalid
        }
    }

    /// `nil` when the token may do what it wants to.
    public init?(_ answer: GrantAnswer) {
        switch answer {
        case .met: return nil
        case .lacksScope: self = .insufficientScope
        case .lacksRole: self = .insufficientRole
        }
    }

    /// Whether the answer says in `WWW-Authenticate` what token would do (RFC 6750 §3).
    var hasChallenge: Bool {
        switch self {
        case .tokenMissing, .tokenInvalid, .tokenExpired, .tokenUnknownKey, .insufficientScope,
            .insufficientRole:
            true
        default: false
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
