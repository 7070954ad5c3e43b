public import Memory

/// Methods that a gateway treats in a way of their own; all others are `other`, and known by their bytes.
@frozen public enum Method: UInt8, Sendable {
    case get, head, post, put, delete, options, trace, connect, patch, other

    /// RFC 9110 §9.2.2.
    @inlinable public var isIdempotent: Bool {
        switch self {
        case .get, .head, .put, .delete, .options, .trace: true
        case .post, .connect, .patch, .other: false
        }
    }
}

@frozen public enum Version: UInt8, Sendable {
    case http10, http11, http2
}

/// How the end of a message's body is known.
@frozen public enum BodyFraming: Equatable, Sendable {
    case none
    /// Exactly so many bytes follow; may be 0.
    case length(Int)
    /// HTTP/1.1 chunked.
    case chunked
    /// The END_STREAM flag of HTTP/2, without a content-length.
    case stream
    /// Until the connection closes (HTTP/1 responses only, RFC 9112 §6.3).
    case close
}

/// The head of a request, whichever protocol it came by: ranges into the bytes it was parsed from.
///
/// Kept by a worker and used again for each head; what it says is true until the next parse.
@frozen public struct RequestHead: ~Copyable {
    public var method = Method.other
    public var methodBytes = ByteRange.empty
    /// As it stood in the request (`:path` in HTTP/2).
    public var target = ByteRange.empty
    /// The path of the target, not normalised; begins with `/`, or is `*`.
    public var path = ByteRange.empty
    /// What follows the first `?`, without it; empty both when there is none and when nothing follows.
    public var query = ByteRange.empty
    public var hasQuery = false
    /// The authority asked for: of an absolute target or `:authority` if there is one, else Host; may be empty.
    public var authority = ByteRange.empty
    public var version = Version.http11
    public var framing = BodyFraming.none
    /// Whether the client wants the connection kept (HTTP/1).
    public var isPersistent = true
    /// Expect: 100-continue in a request of HTTP/1.1 or later (RFC 9110 §10.1.1).
    public var expectsContinue = false
    /// A WebSocket is asked for, wholly and by the rules: by Upgrade (RFC 6455 §4.2.1) or by Extended CONNECT (RFC 8441 §4).
    public var asksWebSocket = false
    /// The value of Sec-WebSocket-Key; empty in HTTP/2, which has none (RFC 8441 §5).
    public var webSocketKey = ByteRange.empty
    public var fields: FieldTable

    @inlinable public init(fieldCapacity: Int) { fields = FieldTable(capacity: fieldCapacity) }

    /// Method, space, path and query as they stand together in the bytes of a head of HTTP/1; `nil` where they do not, as when
    /// the target has more than path and query.
    @inlinable public var line: ByteRange? {
        @inline(__always) get {
            guard version != .http2, path.start == target.start, !methodBytes.isEmpty else { return nil }
            return ByteRange(start: methodBytes.lowerBound, end: target.upperBound)
        }
    }

    /// Ready for the next head.
    @inlinable public mutating func reset() {
        method = .other
        methodBytes = .empty
        target = .empty
        path = .empty
        query = .empty
        hasQuery = false
        authority = .empty
        version = .http11
        framing = .none
        isPersistent = true
        expectsContinue = false
        asksWebSocket = false
        fields.removeAll()
    }
}

/// The head of a response, whichever protocol it came by.
@frozen public struct ResponseHead: ~Copyable {
    public var status = 0
    public var version = Version.http11
    public var framing = BodyFraming.none
    /// Whether the connection may carry another exchange after this one (HTTP/1).
    public var isPersistent = true
    public var fields: FieldTable

    @inlinable public init(fieldCapacity: Int) { fields = FieldTable(capacity: fieldCapacity) }

    @inlinable public mutating func reset() {
        status = 0
        version = .http11
        framing = .none
        isPersistent = true
        fields.removeAll()
    }

    /// 100 to 199 but 101: another head follows (RFC 9110 §15.2).
    @inlinable public var isInterim: Bool { status >= 100 && status < 200 && status != 101 }
}

/// The sizes to which a head is held.
@frozen public struct HeadLimits: Sendable {
    /// Bytes of the request line, or of `:method` + `:path` in HTTP/2; over it 414.
    public var requestLine: Int
    /// Bytes of the whole head; over it 431.
    public var head: Int
    /// Number of field lines; over it 431.
    public var fields: Int

    @inlinable public init(requestLine: Int, head: Int, fields: Int) {
        self.requestLine = requestLine
        self.head = head
        self.fields = fields
    }
}

/// Why a request head is refused; each maps to one status, in Proxy.
@frozen public enum RequestHeadError: UInt8, Error, Equatable, Sendable {
    /// 400: the request line is not `method SP target SP version`.
    case badRequestLine
    case badMethod
    case badTarget
    /// 505.
    case unsupportedVersion
    case badFieldName
    case badFieldValue
    /// A line that begins with whitespace (RFC 9112 §5.2).
    case obsoleteFold
    /// A CR without LF, or a LF without CR.
    case bareLineEnd
    case missingHost
    case repeatedHost
    case badHost
    /// The target's authority and Host differ.
    case conflictingHost
    case badContentLength
    case conflictingContentLength
    /// Transfer-Encoding that is not exactly one `chunked`, or in HTTP/1.0, or beside Content-Length.
    case badTransferEncoding
    /// 501: a coding other than chunked.
    case unknownTransferCoding
    /// 417: an Expect other than 100-continue.
    case unknownExpectation
    /// 414.
    case requestLineTooLong
    /// 431.
    case headTooLarge
    case tooManyFields
    /// 501: CONNECT, but for the Extended CONNECT of a WebSocket (RFC 8441 §4).
    case connectRefused
    /// HTTP/2: pseudo-fields missing, repeated, misplaced or of the wrong form (RFC 9113 §8.3).
    case badPseudoField
    /// HTTP/2: a field that is about one connection (RFC 9113 §8.2.2).
    case connectionField
}
