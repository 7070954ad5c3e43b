public import Memory

/// What the Transfer-Encoding fields of a head say (RFC 9112 §6.1).
@frozen public enum TransferCoding: UInt8, Equatable, Sendable {
    case absent
    /// Exactly one field, whose value is exactly `chunked`.
    case chunked
    /// Other codings first, `chunked` once and last: well-formed, and we know none of them.
    case unknown
    /// Anything else: repeated, `chunked` missing or not last, not a list of tokens.
    case malformed

    /// What one field value says.
    @inlinable public init(_ value: ByteRange, of bytes: RawSpan) {
        self = bytes[value].equalsIgnoringCase("chunked") ? .chunked : TransferCoding.list(value, of: bytes)
    }

    @usableFromInline static func list(_ value: ByteRange, of bytes: RawSpan) -> TransferCoding {
        var rest = ListCursor(value)
        var isLastChunked = false
        while let coding = rest.next(in: bytes) {
            let name = bytes[coding]
            guard !isLastChunked, name.endOfToken(from: 0) == name.byteCount else { return .malformed }
            isLastChunked = name.equalsIgnoringCase("chunked")
        }
        // `chunked` with nothing but commas beside it ends here too: obfuscated, and refused as malformed.
        guard isLastChunked, let first = ListCursor.first(value, in: bytes) else { return .malformed }
        return bytes[first].equalsIgnoringCase("chunked") ? .malformed : .unknown
    }
}

extension ListCursor {
    @usableFromInline static func first(_ value: ByteRange, in bytes: RawSpan) -> ByteRange? {
        var cursor = ListCursor(value)
        return cursor.next(in: bytes)
    }
}

/// What the Content-Length fields of a head say (RFC 9110 §8.6).
@frozen public enum ContentLength: Equatable, Sendable {
    case absent
    case bytes(Int)
    /// Not one to eighteen digits.
    case malformed
    /// More than one field, alike or not.
    case repeated

    /// What one field value says.
    @inlinable @inline(__always) public init(_ value: RawSpan) {
        // 18 digits cannot overflow an Int; nobody sends an exabyte.
        guard value.byteCount >= 1, value.byteCount <= 18 else {
            self = .malformed
            return
        }
        var number = 0
        for offset in 0..<value.byteCount {
            guard value[offset].isDigit else {
                self = .malformed
                return
            }
            number = number &* 10 &+ Int(value[offset] &- 0x30)
        }
        self = .bytes(number)
    }
}

/// How the body of an HTTP/1 message ends, by RFC 9112 §6.3, but stricter: whatever two recipients might frame in two
/// ways is refused.
public enum Framing {
    @frozen public enum RequestAnswer: Equatable, Sendable {
        case framing(BodyFraming)
        case refused(RequestHeadError)
    }

    @frozen public enum ResponseAnswer: Equatable, Sendable {
        /// `isSuspect`: the head announces a body where none may be, so that the connection must not be used again.
        case framing(BodyFraming, isSuspect: Bool)
        case refused(ResponseHeadError)
    }

    @inlinable public static func request(
        contentLength: ContentLength, transferCoding: TransferCoding, version: Version
    ) -> RequestAnswer {
        switch transferCoding {
        case .absent: break
        case .malformed: return .refused(.badTransferEncoding)
        case .unknown:
            return .refused(version == .http10 ? .badTransferEncoding : .unknownTransferCoding)
        case .chunked:
            // §6.1: Transfer-Encoding in 1.0 means faulty framing; §6.3: beside Content-Length it is how requests are
            // smuggled.
            guard version != .http10, contentLength == .absent else { return .refused(.badTransferEncoding) }
            return .framing(.chunked)
        }
        switch contentLength {
        case .absent: return .framing(.none)
        case .bytes(let count): return .framing(.length(count))
        case .malformed: return .refused(.badContentLength)
        case .repeated: return .refused(.conflictingContentLength)
        }
    }

    @inlinable public static func response(
        to method: Method, status: Int, contentLength: ContentLength, transferCoding: TransferCoding,
        version: Version
    ) -> ResponseAnswer {
        switch transferCoding {
        case .absent: break
        case .malformed: return .refused(.badTransferEncoding)
        case .unknown: return .refused(.unknownTransferCoding)
        case .chunked:
            guard version != .http10, contentLength == .absent else { return .refused(.badTransferEncoding) }
        }
        let length: Int?
        switch contentLength {
        case .absent: length = nil
        case .bytes(let count): length = count
        case .malformed: return .refused(.badContentLength)
        case .repeated: return .refused(.conflictingContentLength)
        }
        // §6.3 (1): no body, whatever the fields say. They may say it for HEAD and 304; elsewhere an upstream that
        // announces a body may well send one, which would then be read as the next response.
        if !StatusText.mayHaveBody(status) {
            // Behind a 1xx another head is due on this very connection: if a body came first, its bytes would be read
            // as the answer (RFC 9110 §8.6, RFC 9112 §6.1 forbid to announce one).
            if status < 200 {
                guard transferCoding == .absent else { return .refused(.badTransferEncoding) }
                guard (length ?? 0) == 0 else { return .refused(.badContentLength) }
            }
            return .framing(
                .none, isSuspect: status != 304 && (transferCoding == .chunked || (length ?? 0) > 0))
        }
        if method == .head { return .framing(.none, isSuspect: false) }
        if transferCoding == .chunked { return .framing(.chunked, isSuspect: false) }
        if let length { return .framing(.length(length), isSuspect: false) }
        return .framing(.close, isSuspect: false)
    }
}

/// Why the head of an upstream's response is refused; the client gets 502 for all of them.
@frozen public enum ResponseHeadError: UInt8, Error, Equatable, Sendable {
    /// Not `version SP three digits SP reason`, or a status outside 100 to 599.
    case badStatusLine
    case unsupportedVersion
    case badFieldName
    case badFieldValue
    /// A line that begins with whitespace (RFC 9112 §5.2).
    case obsoleteFold
    /// A CR without LF, or a LF without CR.
    case bareLineEnd
    case badContentLength
    case conflictingContentLength
    case badTransferEncoding
    case unknownTransferCoding
    case headTooLarge
    case tooManyFields
}
