import Cryptography
import JWT
import Memory
import RateLimit
import Routing

// Static where a span into one part of `self` lives while another part changes.

/// One route among many: four segments deep, for one host, all but the last shared with none.
struct RoutesPart: Turning, ~Copyable {
    /// A power of two, so that the paths rotate by a mask.
    private static let paths = 64

    private let table: RouteTable
    private let host: [UInt8]
    private let paths: Texts
    private let expected: FixedArray<Int>

    /// `nil` when the rules make no table.
    init?(routes: Int, isSpoiled: Bool) {
        let rules = (0..<routes).map { index in
            RouteRule(
                index: index, prefix: Array("/api/v1/service-\(index)/items".utf8),
                hosts: [Array("api.example.com".utf8)])
        }
        guard let table = try? RouteTable(rules) else { return nil }
        self.table = table
        host = Array("api.example.com".utf8)
        expected = FixedArray(count: RoutesPart.paths) { $0 * routes / RoutesPart.paths }
        paths = Texts(count: RoutesPart.paths) {
            let index = $0 * routes / RoutesPart.paths
            return "/api/v1/service-\(isSpoiled ? index + routes : index)/items/42"
        }
    }

    mutating func turn(_ number: Int) -> Bool {
        let at = number & (RoutesPart.paths &- 1)
        return table.match(host: host.rawSpan, path: paths.text(at), listener: 0) == expected[at]
    }
}

/// A token taken from a bucket that is full, as that of a client who keeps to 100 requests a second.
struct LimitTakePart: Turning, ~Copyable {
    private static let clients = 1024

    private let table = LimitTable(slots: 16_384, hashKey: (0x6761_7465, 0x686f_7573))
    private let limit: Limit
    private let keys = Texts(count: LimitTakePart.clients) { "user-\($0)" }
    private var now: UInt64 = 1_000_000_000
    private let left: Int

    init(isSpoiled: Bool) {
        limit = table.limit(
            name: ("client" as StaticString).utf8Span, count: 100, periodSeconds: 1, burst: 100)
        left = isSpoiled ? 100 : 99
        // The buckets are there before the first turn.
        for at in 0..<LimitTakePart.clients { _ = table.take(limit, key: keys.text(at), now: now) }
        now += 1_000_000_000
    }

    mutating func turn(_ number: Int) -> Bool {
        // Each client comes again after 102 ms, when its bucket is full.
        now &+= 100_000
        let at = number & (LimitTakePart.clients &- 1)
        let answer = table.take(limit, key: keys.text(at), now: now)
        return answer.isAdmitted && answer.remaining == left
    }
}

/// A client over its limit.
struct LimitOverPart: Turning, ~Copyable {
    private let table = LimitTable(slots: 16_384, hashKey: (0x6761_7465, 0x686f_7573))
    private let limit: Limit
    private let key = Array("user-17".utf8)
    private var now: UInt64 = 1_000_000_000

    init(isSpoiled: Bool) {
        limit = table.limit(
            name: ("client" as StaticString).utf8Span, count: 1, periodSeconds: 3600, burst: 1)
        // One that is not spoiled has taken its only token already.
        if !isSpoiled { _ = table.take(limit, key: key.rawSpan, now: now) }
    }

    mutating func turn(_ number: Int) -> Bool {
        now &+= 1000
        let answer = table.take(limit, key: key.rawSpan, now: now)
        return !answer.isAdmitted && answer.remaining == 0 && answer.retryAfterSeconds > 1
    }
}

/// A client that nobody has seen before, in a flood of such: it is never refused. A busy one, which asks for twenty times as
/// much as it may have while they come, gets what it may have, no more and no less: its bucket is not lost in the flood.
struct LimitFloodPart: Turning, ~Copyable {
    private let table = LimitTable(slots: 16_384, hashKey: (0x6761_7465, 0x686f_7573))
    private let limit: Limit
    private let busy = Array("busy".utf8)
    private let start: UInt64 = 1_000_000_000
    private var now: UInt64 = 1_000_000_000
    private var (asked, admitted) = (0, 0)
    private let left: Int

    init(isSpoiled: Bool) {
        limit = table.limit(
            name: ("client" as StaticString).utf8Span, count: 100, periodSeconds: 1, burst: 100)
        left = isSpoiled ? 100 : 99
    }

    mutating func turn(_ number: Int) -> Bool {
        let key = InlineArray<1, UInt64>(repeating: UInt64(number))
        let newcomer = table.take(limit, key: key.rawSpan, now: now)
        guard newcomer.isAdmitted, newcomer.remaining == left else { return false }
        guard number % 100 == 0 else { return true }
        // A hundred newcomers take a millisecond, a token of the busy one ten.
        now &+= 1_000_000
        for _ in 0..<2 {
            asked &+= 1
            if table.take(limit, key: busy.rawSpan, now: now).isAdmitted { admitted &+= 1 }
        }
        let allowed = min(100 &+ Int((now &- start) / 10_000_000), asked)
        return admitted <= allowed && admitted >= allowed &- 1
    }
}

/// A token that the gateway verifies for each request: one of a few that it remembers, or one that it does not.
struct TokenPart: Turning, ~Copyable {
    private var verifier: TokenVerifier
    private let tokens: Texts
    private let isRemembered: Bool

    /// `nil` when the settings or the key are refused.
    init?(isRemembered: Bool, isSpoiled: Bool) {
        let key = Array(SampleTokens.key.utf8)
        guard let keys = try? KeySet(file: key.rawSpan, algorithms: .rs256),
            let settings = try? IssuerSettings(
                issuer: SampleTokens.issuer, audiences: [SampleTokens.audience],
                forwards: [
                    .init(fieldName: "X-User-ID", claimName: "sub"),
                    .init(fieldName: "X-Roles", claimName: "roles"),
                ],
                cacheEntries: isRemembered ? 10_000 : 0, negativeSeconds: 0)
        else { return nil }
        verifier = TokenVerifier(settings: settings, keySet: keys, hash: SipHash(key0: 1, key1: 2))
        self.isRemembered = isRemembered
        tokens = Texts(count: SampleTokens.all.count) { at in
            let token = SampleTokens.all[at]
            // The signatures of two tokens differ, so that of the next is none for this one.
            let signer = SampleTokens.all[isSpoiled ? at ^ 1 : at]
            return token.prefix(token.count - 342) + signer.suffix(342)
        }
        guard isRemembered else { return }
        for at in 0..<SampleTokens.all.count {
            _ = TokenPart.verify(tokens, at, by: &verifier)
        }
    }

    mutating func turn(_ number: Int) -> Bool {
        let at = number & 7
        guard case .accepted(let entry, let wasCached) = TokenPart.verify(tokens, at, by: &verifier) else {
            return false
        }
        let subject = verifier.subject(of: entry)
        return wasCached == isRemembered && subject.byteCount == 6
            && subject[5] == UInt8(truncatingIfNeeded: 0x30 &+ at)
    }

    private static func verify(
        _ tokens: borrowing Texts, _ at: Int, by verifier: inout TokenVerifier
    ) -> Verdict {
        verifier.verify(tokens.text(at), nowSeconds: SampleTokens.now)
    }
}

/// The signature of a token alone.
struct SignaturePart: Turning, ~Copyable {
    private var key: VerificationKey
    private let message: [UInt8]
    private let signature: FixedBytes

    /// `nil` when the key is refused, or the token has no signature.
    init?(isSpoiled: Bool) {
        let text = Array(SampleTokens.all[0].utf8)
        var signature = FixedBytes(count: 256)
        var modulus = FixedBytes(count: 256)
        var exponent = FixedBytes(count: 3)
        guard let dot = text.lastIndex(of: UInt8(ascii: ".")),
            Base64URL.decode(text.rawSpan.extracting((dot + 1)..<text.count), into: &signature, at: 0) == 256,
            Base64URL.decode(Array(SampleTokens.modulus.utf8).rawSpan, into: &modulus, at: 0) == 256,
            Base64URL.decode(("AQAB" as StaticString).utf8Span, into: &exponent, at: 0) == 3,
            let key = try? VerificationKey(modulus: modulus.bytes, exponent: exponent.bytes, for: .rs256)
        else { return nil }
        if isSpoiled { signature[128] ^= 1 }
        message = Array(text[..<dot])
        self.signature = signature
        self.key = key
    }

    mutating func turn(_ number: Int) -> Bool { SignaturePart.isSigned(message, signature, by: &key) }

    private static func isSigned(
        _ message: borrowing [UInt8], _ signature: borrowing FixedBytes, by key: inout VerificationKey
    ) -> Bool {
        key.verify(message.rawSpan, signature: signature.bytes, .rs256)
    }
}
