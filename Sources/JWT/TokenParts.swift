import Cryptography
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
    private(set) var kid: JSONText?
    private(set) var algorithm: JSONText?
    private(set) var type: JSONText?
    private var isCritical = false
    private var hasKey = false

    /// Reads the header in `bytes`; judges nothing but that it is one.
    init(_ bytes: RawSpan) throws(TokenRefusal) {
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
        guard algorithm != nil else { throw .malformed }
    }

    /// Judges all but its `kid`.
    func judge(
        _ rules: borrowing ClaimRules, in bytes: RawSpan
    ) throws(TokenRefusal) -> SignatureAlgorithm {
        let algorithm = try judgeAlgorithm(rules, in: bytes)
        try judgeExtensions()
        try judgeEmbeddedKey()
        try judgeType(rules, in: bytes)
        return algorithm
    }

    /// RFC 8725 §3.1: one of those that are named, and no other.
    func judgeAlgorithm(
        _ rules: borrowing ClaimRules, in bytes: RawSpan
    ) throws(TokenRefusal) -> SignatureAlgorithm {
        for number in UInt8(0)..<6 {
            guard let known = SignatureAlgorithm(rawValue: number), rules.algorithms.contains(known) else {
                continue
            }
            if algorithm?.equals(known.name, in: bytes) == true { return known }
        }
        throw .algorithmNotAllowed
    }

    func judgeExtensions() throws(TokenRefusal) {
        if isCritical { throw .criticalHeader }
    }

    func judgeEmbeddedKey() throws(TokenRefusal) {
        if hasKey { throw .embeddedKey }
    }

    func judgeType(_ rules: borrowing ClaimRules, in bytes: RawSpan) throws(TokenRefusal) {
        guard rules.tokenType == .accessToken else { return }
        guard let type, JOSEHeader.isAccessToken(type, in: bytes) else { throw .wrongType }
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
        } else if name.equals("crit", in: bytes) || name.equals("b64", in: bytes) {
            // RFC 7797 §6: what says `b64` must say it in `crit` too, for those who do not understand it, as we do not.
            isCritical = true
        } else if name.equals("jwk", in: bytes) || name.equals("jku", in: bytes)
            || name.equals("x5u", in: bytes) || name.equals("x5c", in: bytes)
        {
            hasKey = true
        }
        return true
    }

    /// RFC 9068 §4; media types ignore case, and `application/` may be left out (RFC 7515 §4.1.9).
    private static func isAccessToken(_ type: JSONText, in bytes: RawSpan) -> Bool {
        // No more than a solidus is ever escaped by a sound writer; anything else escaped is another type to us.
        if type.isEscaped { return type.equals("application/at+jwt", in: bytes) }
        let text = bytes[type.range]
        return text.equalsIgnoringCase("at+jwt") || text.equalsIgnoringCase("application/at+jwt")
    }
}
