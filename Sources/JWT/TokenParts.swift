import JSON
import Memory

/// Where the three parts of a compact token stand (RFC 7515 §3.1).
struct TokenParts {
    let header: ByteRange
    let payload: ByteRange
    let signature: ByteRange

    /// What is signed: header, dot and payload as they stand (RFC 7515 §5.2 step 8).
    var signed: ByteRange { ByteRange(start: 0, end: payload.upperBound) }

    /// An empty header or payload is malformed; an empty signature is for the caller to judge by `alg`.
    init(_ token: RawSpan) throws(TokenRefusal) {
        let dot = UInt8(ascii: ".")
        let first = token.firstIndex(of: dot, from: 0)
        guard first > 0, first < token.byteCount else { throw .malformed }
        let second = token.firstIndex(of: dot, from: first &+ 1)
        guard second > first &+ 1, second < token.byteCount else { throw .malformed }
        // A third dot is an encrypted token (RFC 7516) or none.
        guard token.firstIndex(of: dot, from: second &+ 1) == token.byteCount else { throw .malformed }
        header = ByteRange(start: 0, end: first)
        payload = ByteRange(start: first &+ 1, end: second)
        signature = ByteRange(start: second &+ 1, end: token.byteCount)
    }
}

/// What the header of a token says (RFC 7515 §4), as far as it is trusted to say anything.
struct JOSEHeader {
    var kid: JSONText?
    private var algorithm: JSONText?
    private var type: JSONText?
    private var isCritical = false
    private var hasKey = false

    /// Reads the header in `bytes` and judges all but its `kid`.
    init(_ bytes: RawSpan, tokenType: IssuerSettings.TokenType) throws(TokenRefusal) {
        do throws(JSONError) {
            var reader = JSONReader(bytes, maxDepth: 8)
            guard try reader.next() == .objectStart else { throw .badByte(offset: 0) }
            while case .name(let name) = try reader.next() {
                let first = try reader.next()
                guard note(name, first, in: bytes) else { throw .badByte(offset: reader.offset) }
                try reader.skipValue(from: first)
            }
            _ = try reader.next()
        } catch { throw .malformed }
        guard let algorithm else { throw .malformed }
        guard algorithm.equals("RS256", in: bytes) else { throw .algorithmNotAllowed }
        guard !isCritical else { throw .criticalHeader }
        guard !hasKey else { throw .embeddedKey }
        if tokenType == .accessToken {
            guard let type, JOSEHeader.isAccessToken(bytes[type.range]) else { throw .wrongType }
        }
    }

    /// `false` when a member that is read has the wrong kind of value.
    private mutating func note(_ name: JSONText, _ value: JSONToken, in bytes: RawSpan) -> Bool {
        if name.equals("alg", in: bytes) {
            guard case .string(let text) = value else { return false }
            algorithm = text
        } else if name.equals("kid", in: bytes) {
            guard case .string(let text) = value else { return false }
            kid = text
        } else if name.equals("typ", in: bytes) {
            guard case .string(let text) = value else { return false }
            type = text
        } else if name.equals("crit", in: bytes) {
            isCritical = true
        } else if name.equals("jwk", in: bytes) || name.equals("jku", in: bytes)
            || name.equals("x5u", in: bytes) || name.equals("x5c", in: bytes)
        {
            hasKey = true
        }
        return true
    }

    /// RFC 9068 §4; media types ignore case, and `application/` may be left out (RFC 7515 §4.1.9).
    private static func isAccessToken(_ type: RawSpan) -> Bool {
        type.equalsIgnoringCase("at+jwt") || type.equalsIgnoringCase("application/at+jwt")
    }
}
