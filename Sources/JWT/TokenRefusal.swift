/// Why a token was refused: one case a reason.
@frozen public enum TokenRefusal: UInt8, Error, CaseIterable, Equatable, Sendable {
    /// Not three parts of canonical base64url, or a header that is no JSON object (RFC 7515 §5.2).
    case malformed
    case tooLong
    /// `alg` is not one of those that are configured (RFC 8725 §3.1).
    case algorithmNotAllowed
    /// `crit` is there: extensions are not understood (RFC 7515 §4.1.11).
    case criticalHeader
    /// `jwk`, `jku`, `x5u` or `x5c` is there: a token may not bring its own key (RFC 8725 §3.10).
    case embeddedKey
    /// `typ` is not what is configured (RFC 9068 §4).
    case wrongType
    /// There is no `kid`, and more than one key.
    case keyNotNamed
    /// No key has that `kid`.
    case unknownKey
    /// The key of that `kid` is of another kind than `alg` takes, or was made for another algorithm (RFC 8725 §3.1).
    case keyNotForAlgorithm
    case badSignature
    /// The payload is no JSON object, or a registered claim has the wrong kind of value.
    case malformedClaims
    case wrongIssuer
    case wrongAudience
    case missingClaim
    case expired
    /// `nbf` or `iat` lies in the future.
    case notYetValid
    /// The subject or a claim to forward has a value that no request field can carry faithfully.
    case claimNotForwardable

    /// The stable name, for logs, metrics and answers.
    public var name: StaticString {
        switch self {
        case .malformed: "token_malformed"
        case .tooLong: "token_too_long"
        case .algorithmNotAllowed: "token_algorithm_not_allowed"
        case .criticalHeader: "token_critical_header"
        case .embeddedKey: "token_embedded_key"
        case .wrongType: "token_wrong_type"
        case .keyNotNamed: "token_key_not_named"
        case .unknownKey: "token_unknown_key"
        case .keyNotForAlgorithm: "token_key_not_for_algorithm"
        case .badSignature: "token_bad_signature"
        case .malformedClaims: "token_malformed_claims"
        case .wrongIssuer: "token_wrong_issuer"
        case .wrongAudience: "token_wrong_audience"
        case .missingClaim: "token_missing_claim"
        case .expired: "token_expired"
        case .notYetValid: "token_not_yet_valid"
        case .claimNotForwardable: "token_claim_not_forwardable"
        }
    }

    /// The `error` of `WWW-Authenticate: Bearer`. RFC 6750 §3.1: expired, malformed or invalid for other reasons.
    public var errorCode: StaticString { "invalid_token" }

    /// The `error_description` of `WWW-Authenticate: Bearer`, free of quotes and backslashes (RFC 6750 §3).
    public var errorDescription: StaticString {
        switch self {
        case .malformed: "the token is malformed"
        case .tooLong: "the token is too long"
        case .algorithmNotAllowed: "the signature algorithm is not allowed"
        case .criticalHeader: "the token needs extensions that are not understood"
        case .embeddedKey: "the token carries its own key"
        case .wrongType: "the type of the token is wrong"
        case .keyNotNamed: "the token does not name its key"
        case .unknownKey: "the key of the token is unknown"
        case .keyNotForAlgorithm: "the key of the token is not for its algorithm"
        case .badSignature: "the signature is wrong"
        case .malformedClaims: "the claims are malformed"
        case .wrongIssuer: "the issuer is wrong"
        case .wrongAudience: "the audience is wrong"
        case .missingClaim: "a required claim is missing"
        case .expired: "the token has expired"
        case .notYetValid: "the token is not valid yet"
        case .claimNotForwardable: "a claim has a value that cannot be passed on"
        }
    }
}

/// The name of an accepted token in a verifier: a slot, and the serial number of what was put there.
@frozen public struct TokenEntryID: Equatable, Sendable {
    @usableFromInline let slot: UInt32
    @usableFromInline let serial: UInt32

    @inlinable init(slot: UInt32, serial: UInt32) {
        self.slot = slot
        self.serial = serial
    }
}

/// What an accepted token may do.
@frozen public enum GrantAnswer: Equatable, Sendable { case met, lacksScope, lacksRole }

/// What a verifier says of a token.
@frozen public enum Verdict: Equatable, Sendable {
    case accepted(entry: TokenEntryID, wasCached: Bool)
    case refused(TokenRefusal)
}

/// What a verifier remembers of a token.
@frozen public enum CacheAnswer: Equatable, Sendable {
    case hit(TokenEntryID)
    case refused(TokenRefusal)
    case miss
}
