import Cryptography
import JSON
import Memory

/// The settings of an issuer as bytes in one place, so that judging claims touches no `String` and no array.
struct ClaimRules: ~Copyable {
    let texts: FixedBytes
    let issuer: ByteRange
    let audiences: FixedArray<ByteRange>
    let required: FixedArray<ByteRange>
    let forwards: FixedArray<ByteRange>
    let leeway: Int64
    let algorithms: SignatureAlgorithms
    let tokenType: IssuerSettings.TokenType

    init(_ settings: IssuerSettings) {
        var all: [UInt8] = []
        func place(_ text: String) -> ByteRange {
            let start = all.count
            all += Array(text.utf8)
            return ByteRange(start: start, end: all.count)
        }
        issuer = place(settings.issuer)
        audiences = FixedArray(settings.audiences.map(place))
        required = FixedArray(settings.requiredClaims.map(place))
        forwards = FixedArray(settings.forwards.map { place($0.claimName) })
        var bytes = FixedBytes(count: all.count)
        bytes.copy(all.rawSpan, to: 0)
        texts = bytes
        leeway = Int64(settings.leewaySeconds)
        algorithms = settings.algorithms
        tokenType = settings.tokenType
    }

    func isAudience(_ text: JSONText, in payload: RawSpan) -> Bool {
        for index in 0..<audiences.count where text.equals(texts.bytes[audiences[index]], in: payload) {
            return true
        }
        return false
    }
}

/// The value of a claim that is to be forwarded, as it stands in the payload.
struct FoundClaim {
    enum Kind { case absent, text, verbatim, array, unfit }

    var kind = Kind.absent
    /// The inside of a string, or the whole of any other value.
    var range = ByteRange.empty
    var isEscaped = false

    init() {}

    /// The value that `first` began; a container stands from `start` to `end`, and a word ends there.
    init(_ first: JSONToken, start: Int, end: Int) {
        switch first {
        case .string(let text):
            kind = .text
            range = text.range
            isEscaped = text.isEscaped
        case .number(let number):
            kind = .verbatim
            range = number.range
        case .bool(let isTrue):
            kind = .verbatim
            range = ByteRange(start: end &- (isTrue ? 4 : 5), end: end)
        case .arrayStart:
            kind = .array
            range = ByteRange(start: start, end: end)
        case .null: break
        case .objectStart, .objectEnd, .arrayEnd, .name, .end: kind = .unfit
        }
    }
}

/// What the payload of a token says (RFC 7519 §4). Nothing here is trusted until the signature was verified.
struct Claims {
    /// Seconds are held within plus and minus this (the year 9999), so that sums with a leeway cannot overflow.
    static let latestSecond: Int64 = 253_402_300_799

    private(set) var subject: JSONText?
    private(set) var expires: Int64?
    private var notBefore: Int64?
    private var issuedAt: Int64?
    private var hasIssuer = false
    private var isOurIssuer = false
    private var hasAudience = false
    private var isOurAudience = false
    private var requiredSeen: UInt32 = 0
    private(set) var found = InlineArray<16, FoundClaim>(repeating: FoundClaim())
    /// `nil` where nobody asks.
    private(set) var grants: GrantClaims?

    /// Reads the claims of `payload`; refuses what is no set of claims.
    init(
        _ payload: RawSpan, _ rules: borrowing ClaimRules, findsGrants: Bool = false
    ) throws(TokenRefusal) {
        if findsGrants { grants = GrantClaims() }
        do throws(JSONError) {
            var reader = JSONReader(payload)
            guard try reader.next() == .objectStart else { throw .badByte(offset: 0) }
            while case .name(let name) = try reader.next() {
                try readClaim(name, &reader, payload, rules)
            }
            _ = try reader.next()
        } catch { throw .malformedClaims }
    }

    private mutating func readClaim(
        _ name: JSONText, _ reader: inout JSONReader, _ payload: RawSpan, _ rules: borrowing ClaimRules
    ) throws(JSONError) {
        let first = try reader.next()
        // A container begins with the byte that was just read.
        let start = reader.offset &- 1
        if name.equals("aud", in: payload) {
            try readAudience(first, &reader, payload, rules)
        } else {
            guard readRegistered(name, first, payload, rules) else { throw .badByte(offset: start) }
            try reader.skipValue(from: first)
        }
        if first == .null { return }
        grants?.note(name, first, start: start, end: reader.offset, in: payload)
        for index in 0..<rules.required.count
        where name.equals(rules.texts.bytes[rules.required[index]], in: payload) {
            requiredSeen |= 1 &<< UInt32(index)
        }
        for index in 0..<rules.forwards.count
        where name.equals(rules.texts.bytes[rules.forwards[index]], in: payload) {
            found[index] = FoundClaim(first, start: start, end: reader.offset)
        }
    }

    /// `false` when a registered claim has the wrong kind of value.
    private mutating func readRegistered(
        _ name: JSONText, _ value: JSONToken, _ payload: RawSpan, _ rules: borrowing ClaimRules
    ) -> Bool {
        if name.equals("iss", in: payload) {
            guard case .string(let text) = value else { return false }
            hasIssuer = true
            isOurIssuer = text.equals(rules.texts.bytes[rules.issuer], in: payload)
        } else if name.equals("sub", in: payload) {
            guard case .string(let text) = value else { return false }
            subject = text
        } else if name.equals("jti", in: payload) {
            // Nothing is done with it; another kind than §4.1.7 says would be read as something else by those behind us.
            guard case .string = value else { return false }
        } else if name.equals("exp", in: payload) {
            // Rounded against the token: it ends with the last whole second before `exp`, and begins with the first
            // at or after `nbf`.
            guard case .number(let number) = value, JSONNumber.isFinite(payload[number.range]) else {
                return false
            }
            expires = Claims.seconds(payload[number.range], isRoundedUp: false)
        } else if name.equals("nbf", in: payload) {
            guard case .number(let number) = value, JSONNumber.isFinite(payload[number.range]) else {
                return false
            }
            notBefore = Claims.seconds(payload[number.range], isRoundedUp: true)
        } else if name.equals("iat", in: payload) {
            guard case .number(let number) = value, JSONNumber.isFinite(payload[number.range]) else {
                return false
            }
            issuedAt = Claims.seconds(payload[number.range], isRoundedUp: true)
        }
        return true
    }

    /// A `NumericDate` (RFC 7519 §2) as whole seconds.
    private static func seconds(_ digits: RawSpan, isRoundedUp: Bool) -> Int64 {
        JSONNumber.whole(digits, isRoundedUp: isRoundedUp, bound: latestSecond)
    }

    /// RFC 7519 §4.1.3: a string, or an array of strings of which one must match.
    private mutating func readAudience(
        _ first: JSONToken, _ reader: inout JSONReader, _ payload: RawSpan, _ rules: borrowing ClaimRules
    ) throws(JSONError) {
        hasAudience = true
        if case .string(let text) = first {
            isOurAudience = rules.isAudience(text, in: payload)
            return
        }
        guard first == .arrayStart else { throw .badByte(offset: reader.offset) }
        while true {
            let token = try reader.next()
            if token == .arrayEnd { return }
            guard case .string(let text) = token else { throw .badByte(offset: reader.offset) }
            if rules.isAudience(text, in: payload) { isOurAudience = true }
        }
    }

    /// Judges the claims at `now`; returns the first second at which the token is no longer good.
    func judge(_ rules: borrowing ClaimRules, now: Int64) throws(TokenRefusal) -> Int64 {
        try judgePresence(rules)
        try judgeIssuer()
        try judgeAudience()
        let end = try judgeExpiry(rules, now: now)
        try judgeNotBefore(rules, now: now)
        try judgeIssuedAt(rules, now: now)
        return end
    }

    // The steps of `judge`, for whoever wants to hear about each.

    func judgePresence(_ rules: borrowing ClaimRules) throws(TokenRefusal) {
        guard expires != nil, hasIssuer, hasAudience,
            requiredSeen == (UInt32(1) &<< UInt32(rules.required.count)) &- 1
        else { throw .missingClaim }
    }

    func judgeIssuer() throws(TokenRefusal) {
        guard isOurIssuer else { throw .wrongIssuer }
    }

    func judgeAudience() throws(TokenRefusal) {
        guard isOurAudience else { throw .wrongAudience }
    }

    /// RFC 7519 §4.1.4: on or after `exp` the token is not accepted. Returns when that is, with the leeway.
    func judgeExpiry(_ rules: borrowing ClaimRules, now: Int64) throws(TokenRefusal) -> Int64 {
        guard let expires else { throw .missingClaim }
        guard now < expires &+ rules.leeway else { throw .expired }
        return expires &+ rules.leeway
    }

    func judgeNotBefore(_ rules: borrowing ClaimRules, now: Int64) throws(TokenRefusal) {
        if let notBefore, now < notBefore &- rules.leeway { throw .notYetValid }
    }

    func judgeIssuedAt(_ rules: borrowing ClaimRules, now: Int64) throws(TokenRefusal) {
        if let issuedAt, now < issuedAt &- rules.leeway { throw .notYetValid }
    }
}
