import Cryptography
public import Memory

/// Verifies the bearer tokens of one issuer (RFC 7519), and remembers what it found. One for each worker and
/// issuer: for one thread, with the time as an argument. A token that is remembered costs no allocation and no
/// signature check.
///
/// Everything that can be judged without the signature is judged before it, since it is what costs.
public struct TokenVerifier: ~Copyable, Sendable {
    /// Of the settings, so that a reload can tell whether this verifier still fits.
    public let settingsFingerprint: UInt64
    public let maxTokenBytes: Int
    /// How many values `forwardedValue` knows.
    public let forwardCount: Int
    /// How many signatures were checked since the start.
    public private(set) var signatureChecks = 0
    /// Counts the key sets; what was remembered under another one is forgotten.
    public private(set) var generation: UInt64 = 1

    // What follows is seen by `TokenExplanation` too.
    let rules: ClaimRules
    var keySet: KeySet
    private var cache: TokenCache
    private var refused: RefusedTokens
    /// The header, payload and signature of the token at hand, decoded.
    private var scratch: FixedBytes
    private var values = ClaimValues()
    private(set) var grantNames: GrantNames

    /// `hash` must have a random key that no client knows.
    public init(
        settings: IssuerSettings, keySet: consuming KeySet, hash: SipHash,
        grantNames: consuming GrantNames = GrantNames()
    ) {
        self.grantNames = grantNames
        settingsFingerprint = settings.fingerprint
        maxTokenBytes = settings.maxTokenBytes
        forwardCount = settings.forwards.count
        rules = ClaimRules(settings)
        self.keySet = keySet
        cache = TokenCache(entries: settings.cacheEntries, hash: hash)
        refused = RefusedTokens(seconds: settings.negativeSeconds, hash: hash)
        scratch = FixedBytes(count: settings.maxTokenBytes)
    }

    /// Takes `newKeys` from now on and forgets all tokens; nothing happens when they come from the same bytes
    /// for the same algorithms.
    public mutating func replaceKeySet(_ newKeys: consuming KeySet) {
        guard newKeys.digest != keySet.digest || newKeys.algorithms != keySet.algorithms else { return }
        keySet = newKeys
        generation &+= 1
    }

    /// Takes over the names of another verifier, which gets this one's. What is remembered of tokens stays; what they
    /// grant of the new names is read from them again, without their signatures.
    public mutating func exchangeGrantNames(with other: inout TokenVerifier) {
        swap(&grantNames, &other.grantNames)
    }

    /// Takes over the keys of another verifier, which gets this one's; nothing happens when they are the same.
    public mutating func exchangeKeySet(with other: inout TokenVerifier) {
        guard other.keySet.digest != keySet.digest else { return }
        swap(&keySet, &other.keySet)
        generation &+= 1
        other.generation &+= 1
    }

    /// Whether there is any key.
    public var hasKeys: Bool { keySet.count > 0 }

    // MARK: - Asking

    /// What is remembered of `token` at `nowSeconds` (Unix time). Cheap; a miss needs `verify`.
    public mutating func lookUp(_ token: RawSpan, nowSeconds: Int64) -> CacheAnswer {
        guard token.byteCount <= maxTokenBytes else { return .refused(.tooLong) }
        let answer = cache.lookUp(token, now: nowSeconds, generation: generation)
        guard answer == .miss else { return answer }
        if let refusal = refused.lookUp(token, now: nowSeconds, generation: generation) {
            return .refused(refusal)
        }
        return .miss
    }

    /// Whether `token` is good at `nowSeconds` (Unix time). The entry's name holds until the next call.
    public mutating func verify(_ token: RawSpan, nowSeconds: Int64) -> Verdict {
        switch lookUp(token, nowSeconds: nowSeconds) {
        case .hit(let entry): return .accepted(entry: entry, wasCached: true)
        case .refused(let refusal): return .refused(refusal)
        case .miss: break
        }
        do throws(TokenRefusal) {
            let found = try examine(token, now: nowSeconds)
            let entry = cache.store(
                token, values, expires: found.expires, now: nowSeconds, generation: generation)
            if let grants = found.grants {
                // The first request is one that asks, mostly; read later, the whole payload has to be read again.
                let granted = grantNames.granted(by: grants, in: scratch.bytes(found.payload))
                cache.keepGrants(granted, of: entry, names: grantNames.identity)
            }
            return .accepted(entry: entry, wasCached: false)
        } catch {
            if TokenVerifier.isWorthRemembering(error) {
                refused.remember(token, error, now: nowSeconds, generation: generation)
            }
            return .refused(error)
        }
    }

    /// What the header alone decides is quickly found again, and what time or new keys mend must not stick.
    private static func isWorthRemembering(_ refusal: TokenRefusal) -> Bool {
        switch refusal {
        case .badSignature, .malformedClaims, .wrongIssuer, .wrongAudience, .missingClaim, .expired,
            .claimNotForwardable:
            true
        case .malformed, .tooLong, .algorithmNotAllowed, .criticalHeader, .embeddedKey, .wrongType,
            .keyNotNamed, .unknownKey, .keyNotForAlgorithm, .notYetValid:
            false
        }
    }

    /// What was found in a good token.
    private struct Examined {
        /// The first second at which it is no longer good.
        var expires: Int64
        /// Where it stands in `scratch`.
        var payload: Range<Int>
        /// `nil` where no route asks.
        var grants: GrantClaims?
    }

    /// All checks in the order of their cost.
    private mutating func examine(_ token: RawSpan, now: Int64) throws(TokenRefusal) -> Examined {
        let parts = try TokenParts(token)
        guard let headerEnd = Base64URL.decode(token[parts.header], into: &scratch, at: 0) else {
            throw .malformed
        }
        let header = try JOSEHeader(scratch.bytes(0..<headerEnd))
        let algorithm = try header.judge(rules, in: scratch.bytes(0..<headerEnd))
        guard !parts.signature.isEmpty else { throw .malformed }
        let key = try keySet.find(header.kid, in: scratch.bytes(0..<headerEnd), algorithm)
        guard let payloadCount = Base64URL.decode(token[parts.payload], into: &scratch, at: headerEnd),
            let signatureCount = Base64URL.decode(
                token[parts.signature], into: &scratch, at: headerEnd &+ payloadCount)
        else { throw .malformed }
        let payload = headerEnd..<(headerEnd &+ payloadCount)
        var found = Examined(expires: 0, payload: payload, grants: grantNames.isEmpty ? nil : GrantClaims())
        try TokenVerifier.readClaims(scratch, rules, into: &values, &found, now: now)
        // RFC 8017 §8.2.2 step 1, RFC 7518 §3.4: a signature of another length is none, and costs nothing to refuse.
        guard signatureCount == keySet.keys[key].key.signatureByteCount else { throw .badSignature }
        signatureChecks &+= 1
        let signature = payload.upperBound..<(payload.upperBound &+ signatureCount)
        let isSigned = TokenVerifier.isSigned(
            token[parts.signed], by: &keySet.keys[key].key, algorithm, scratch, signature)
        guard isSigned else { throw .badSignature }
        return found
    }

    // Static, so that a span into one part of the verifier may live while another part changes.

    private static func readClaims(
        _ scratch: borrowing FixedBytes, _ rules: borrowing ClaimRules, into values: inout ClaimValues,
        _ found: inout Examined, now: Int64
    ) throws(TokenRefusal) {
        let payload = scratch.bytes(found.payload)
        let claims = try Claims(payload, rules, findsGrants: found.grants != nil)
        found.expires = try claims.judge(rules, now: now)
        try values.take(claims, in: payload, forwards: rules.forwards.count)
        found.grants = claims.grants
    }

    private static func isSigned(
        _ signed: RawSpan, by key: inout VerificationKey, _ algorithm: SignatureAlgorithm,
        _ scratch: borrowing FixedBytes, _ range: Range<Int>
    ) -> Bool {
        key.verify(signed, signature: scratch.bytes(range), algorithm)
    }

    // MARK: - Reading an accepted token

    /// Whether the accepted token `token`, which `entry` names, has what `requirement` asks for. Costs a few
    /// comparisons, but the first time for each token, when its claims are read.
    public mutating func judge(
        _ requirement: GrantRequirement, of entry: TokenEntryID, _ token: RawSpan
    ) -> GrantAnswer {
        let granted: GrantSet
        if let known = cache.grants(of: entry, names: grantNames.identity) {
            granted = known
        } else {
            granted = readGrants(token)
            cache.keepGrants(granted, of: entry, names: grantNames.identity)
        }
        if !requirement.scopes.isEmpty, !requirement.scopes.overlaps(granted) { return .lacksScope }
        if !requirement.roles.isEmpty, !requirement.roles.overlaps(granted) { return .lacksRole }
        return .met
    }

    /// What an accepted token grants: nothing in it is malformed, since then it were not accepted.
    @inline(never) private mutating func readGrants(_ token: RawSpan) -> GrantSet {
        guard let parts = try? TokenParts(token),
            let count = Base64URL.decode(token[parts.payload], into: &scratch, at: 0)
        else { return GrantSet() }
        return grantNames.granted(by: scratch.bytes(0..<count))
    }

    /// Whether `entry` still names what it was given for.
    public func contains(_ entry: TokenEntryID) -> Bool { cache.contains(entry) }

    // Nothing changes by the two that follow. They are mutating since a value of this size that is borrowed is first copied,
    // all 648 bytes of it, where one that is to be changed is where it is.

    /// The `sub` of an accepted token, 1 to 255 bytes without control bytes; empty when it has none.
    @_lifetime(&self)
    public mutating func subject(of entry: TokenEntryID) -> RawSpan { cache.value(0, of: entry) }

    /// What the field of the settings' forward number `index` is to say; `nil` when the field is not to be sent,
    /// because the claim is absent, null, or an empty string or array. A stale `entry` is our mistake and traps.
    @_lifetime(&self)
    public mutating func forwardedValue(_ index: Int, of entry: TokenEntryID) -> RawSpan? {
        precondition(index >= 0 && index < forwardCount)
        let value = cache.value(index &+ 1, of: entry)
        return value.isEmpty ? nil : value
    }
}
