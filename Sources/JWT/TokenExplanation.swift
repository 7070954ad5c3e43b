import Cryptography
import JSON
import Memory

/// What is right and what is wrong with one token, step by step, in the order in which a verifier looks: for people, not for
/// requests. Each step is the verifier's own; a verifier ends with the first that fails, and this goes on where it can.
public struct TokenExplanation: Sendable {
    public enum Outcome: Equatable, Sendable {
        case met
        case refused(TokenRefusal)
        /// The token is good and may not do this.
        case lacks(GrantAnswer)
        /// What it needs failed before.
        case unchecked
    }

    public struct Finding: Sendable {
        public let subject: String
        public let outcome: Outcome
        public let expected: String
        public let received: String
    }

    public private(set) var findings: [Finding] = []

    /// What `verify` would say: the first step that failed.
    public var refusal: TokenRefusal? {
        for finding in findings {
            if case .refused(let refusal) = finding.outcome { return refusal }
        }
        return nil
    }

    /// What `judge` of a requirement would say of the token, were it accepted.
    public var grants: GrantAnswer {
        for finding in findings {
            if case .lacks(let answer) = finding.outcome { return answer }
        }
        return .met
    }

    /// Explains `token` as `verifier` sees it at `nowSeconds`, on a route with this requirement.
    public init(
        of token: RawSpan, by verifier: inout TokenVerifier, nowSeconds: Int64,
        _ requirement: GrantRequirement
    ) {
        let most = verifier.maxTokenBytes
        note(
            "length", token.byteCount <= most ? nil : .tooLong, "at most \(most) bytes",
            "\(token.byteCount) bytes")
        guard token.byteCount <= most else { return }
        var scratch = FixedBytes(count: most)
        guard let parts = try? TokenParts(token) else {
            let dots = (0..<token.byteCount).count { token[$0] == UInt8(ascii: ".") }
            note(
                "form", .malformed, "three parts, none of the first two empty, with dots between",
                "\(dots + 1) part\(dots == 0 ? "" : "s")")
            return
        }
        note("form", nil, "three parts with dots between", "three parts")
        let headerCount = Base64URL.decode(token[parts.header], into: &scratch, at: 0)
        let algorithmAndKey = explainHeader(
            scratch.bytes(0..<(headerCount ?? 0)), headerCount != nil, &verifier)
        note(
            "signature part", parts.signature.isEmpty ? .malformed : nil, "not empty",
            parts.signature.isEmpty ? "nothing" : "\(parts.signature.count) characters")
        explainKey(algorithmAndKey, scratch.bytes(0..<(headerCount ?? 0)), verifier)
        let payloadStart = headerCount ?? 0
        let payloadCount = Base64URL.decode(token[parts.payload], into: &scratch, at: payloadStart)
        let signatureStart = payloadStart + (payloadCount ?? 0)
        let signatureCount = Base64URL.decode(token[parts.signature], into: &scratch, at: signatureStart)
        if payloadCount == nil { note("claims", .malformed, Self.encoding, "what is not") }
        if signatureCount == nil { note("signature encoding", .malformed, Self.encoding, "what is not") }
        let payload = scratch.bytes(payloadStart..<signatureStart)
        let hasClaims = payloadCount != nil && explainClaims(payload, verifier, now: nowSeconds)
        if let signatureCount {
            let signature = scratch.bytes(signatureStart..<(signatureStart + signatureCount))
            explainSignature(algorithmAndKey, token[parts.signed], signature, &verifier)
        }
        if hasClaims { explainGrants(payload, verifier, requirement) }
    }

    private static let encoding = "base64url without padding and spare bits (RFC 7515 §2)"

    private mutating func note(
        _ subject: String, _ refusal: TokenRefusal?, _ expected: String, _ received: String
    ) {
        findings.append(
            Finding(
                subject: subject, outcome: refusal.map { .refused($0) } ?? .met, expected: expected,
                received: received))
    }

    private static func refusal(_ step: () throws(TokenRefusal) -> Void) -> TokenRefusal? {
        do throws(TokenRefusal) { try step() } catch { return error }
        return nil
    }

    // MARK: - Header

    private struct Chosen {
        let header: JOSEHeader
        let algorithm: SignatureAlgorithm
        var key: SlabID?
    }

    private mutating func explainHeader(
        _ bytes: RawSpan, _ isDecoded: Bool, _ verifier: inout TokenVerifier
    ) -> Chosen? {
        guard isDecoded else {
            note("header", .malformed, Self.encoding, "what is not")
            return nil
        }
        let header: JOSEHeader
        do throws(TokenRefusal) { header = try JOSEHeader(bytes) } catch {
            let received = Self.flaw(in: bytes, maxDepth: 8) ?? "\(Self.shown(bytes))"
            note("header", error, "a JSON object with texts as alg, kid and typ (RFC 7515 §4)", received)
            return nil
        }
        note("header", nil, "a JSON object", Self.shown(bytes))
        var algorithm: SignatureAlgorithm?
        let names = SignatureAlgorithm.allCases.filter { verifier.rules.algorithms.contains($0) }
            .map { "\($0.name)" }
        let wrong = Self.refusal { () throws(TokenRefusal) in
            algorithm = try header.judgeAlgorithm(verifier.rules, in: bytes)
        }
        note("alg", wrong, names.joined(separator: " or "), Self.member("alg", of: bytes))
        // RFC 7797 §6: `b64` is an extension too, also when nobody calls it critical.
        let extensions = ["crit", "b64"].filter { Self.member($0, of: bytes) != Self.nothing }
        note(
            "crit", Self.refusal { () throws(TokenRefusal) in try header.judgeExtensions() }, "nothing",
            extensions == ["b64"] ? "b64 \(Self.member("b64", of: bytes))" : Self.member("crit", of: bytes))
        let embedded = ["jwk", "jku", "x5u", "x5c"].filter { Self.member($0, of: bytes) != Self.nothing }
        note(
            "jwk, jku, x5u, x5c", Self.refusal { () throws(TokenRefusal) in try header.judgeEmbeddedKey() },
            "nothing", embedded.isEmpty ? Self.nothing : embedded.joined(separator: ", "))
        note(
            "typ",
            Self.refusal { () throws(TokenRefusal) in try header.judgeType(verifier.rules, in: bytes) },
            verifier.rules.tokenType == .any ? "anything" : "at+jwt (RFC 9068 §4)",
            Self.member("typ", of: bytes))
        guard let algorithm else { return nil }
        return Chosen(
            header: header, algorithm: algorithm,
            key: try? verifier.keySet.find(header.kid, in: bytes, algorithm))
    }

    private mutating func explainKey(
        _ chosen: Chosen?, _ header: RawSpan, _ verifier: borrowing TokenVerifier
    ) {
        guard let chosen else {
            findings.append(
                Finding(subject: "key", outcome: .unchecked, expected: "", received: "the header decides"))
            return
        }
        let wrong = Self.refusal { () throws(TokenRefusal) in
            _ = try verifier.keySet.find(chosen.header.kid, in: header, chosen.algorithm)
        }
        note(
            "key", wrong, "a kid that has a key for \(chosen.algorithm.name): \(Self.list(verifier.keySet))",
            Self.member("kid", of: header))
    }

    private mutating func explainSignature(
        _ chosen: Chosen?, _ signed: RawSpan, _ signature: RawSpan, _ verifier: inout TokenVerifier
    ) {
        guard let chosen, let key = chosen.key else {
            findings.append(
                Finding(
                    subject: "signature", outcome: .unchecked, expected: "",
                    received: "there is no key for it"))
            return
        }
        let isSigned = verifier.keySet.keys[key].key.verify(signed, signature: signature, chosen.algorithm)
        note(
            "signature", isSigned ? nil : .badSignature,
            "\(verifier.keySet.keys[key].key.signatureByteCount) bytes of \(chosen.algorithm.name) that the key signed",
            "\(signature.byteCount) bytes\(isSigned ? "" : " that it did not sign")")
    }

    // MARK: - Claims

    /// Whether there are claims at all.
    private mutating func explainClaims(
        _ payload: RawSpan, _ verifier: borrowing TokenVerifier, now: Int64
    ) -> Bool {
        let claims: Claims
        do throws(TokenRefusal) { claims = try Claims(payload, verifier.rules) } catch {
            note(
                "claims", error, "a JSON object with claims of the right kinds (RFC 7519 §4)",
                Self.flaw(in: payload, maxDepth: 16) ?? Self.wrongKind(in: payload) ?? Self.shown(payload))
            return false
        }
        note("claims", nil, "a JSON object", Self.shown(payload))
        let names = ["exp", "iss", "aud"] + Self.list(verifier.rules.required, verifier.rules)
        let missing = names.filter {
            Self.member($0, of: payload) == Self.nothing || Self.member($0, of: payload) == "null"
        }
        note(
            "required claims",
            Self.refusal { () throws(TokenRefusal) in try claims.judgePresence(verifier.rules) },
            names.joined(separator: ", "),
            missing.isEmpty ? "all of them" : "no \(missing.joined(separator: ", no "))")
        note(
            "iss", Self.refusal { () throws(TokenRefusal) in try claims.judgeIssuer() },
            Self.shown(verifier.rules.texts.bytes[verifier.rules.issuer]), Self.member("iss", of: payload))
        note(
            "aud", Self.refusal { () throws(TokenRefusal) in try claims.judgeAudience() },
            "one of \(Self.list(verifier.rules.audiences, verifier.rules).joined(separator: ", "))",
            Self.member("aud", of: payload))
        let leeway = verifier.rules.leeway
        note(
            "exp",
            Self.refusal { () throws(TokenRefusal) in _ = try claims.judgeExpiry(verifier.rules, now: now) },
            "after \(now - leeway) (now \(now), leeway \(leeway) s)", Self.time("exp", of: payload, now: now))
        note(
            "nbf",
            Self.refusal { () throws(TokenRefusal) in try claims.judgeNotBefore(verifier.rules, now: now) },
            "nothing, or at most \(now + leeway)", Self.time("nbf", of: payload, now: now))
        note(
            "iat",
            Self.refusal { () throws(TokenRefusal) in try claims.judgeIssuedAt(verifier.rules, now: now) },
            "nothing, or at most \(now + leeway)", Self.time("iat", of: payload, now: now))
        explainValues(claims, payload, verifier)
        return true
    }

    private mutating func explainValues(
        _ claims: Claims, _ payload: RawSpan, _ verifier: borrowing TokenVerifier
    ) {
        var values = ClaimValues()
        // One more at a time: the first that does not fit is named.
        for count in 0...verifier.rules.forwards.count {
            let wrong = Self.refusal { () throws(TokenRefusal) in
                try values.take(claims, in: payload, forwards: count)
            }
            let name =
                count == 0 ? "sub" : verifier.rules.texts.bytes[verifier.rules.forwards[count - 1]].text
            guard let wrong else { continue }
            note(
                "claims as fields", wrong,
                "texts, numbers or lists of them that a field can carry: no control characters, no commas in lists, at most \(ClaimValues.mostSubjectBytes) bytes of sub and \(ClaimValues.mostForwardedBytes) of all others",
                "\(Self.shown(name)): \(Self.member(name, of: payload))")
            return
        }
        note("claims as fields", nil, "values that fields can carry", "they are")
    }

    private mutating func explainGrants(
        _ payload: RawSpan, _ verifier: borrowing TokenVerifier, _ requirement: GrantRequirement
    ) {
        let granted = verifier.grantNames.granted(by: payload)
        if !requirement.scopes.isEmpty {
            let has = ["scope", "scp"].filter { Self.member($0, of: payload) != Self.nothing }
                .map { "\($0) \(Self.member($0, of: payload))" }
            findings.append(
                Finding(
                    subject: "scopes",
                    outcome: requirement.scopes.overlaps(granted) ? .met : .lacks(.lacksScope),
                    expected: "one of \(Self.list(requirement.scopes, verifier.grantNames))",
                    received: has.isEmpty ? Self.nothing : has.joined(separator: ", ")))
        }
        if !requirement.roles.isEmpty {
            findings.append(
                Finding(
                    subject: "roles",
                    outcome: requirement.roles.overlaps(granted) ? .met : .lacks(.lacksRole),
                    expected: "one of \(Self.list(requirement.roles, verifier.grantNames))",
                    received: Self.member("roles", of: payload)))
        }
    }

    // MARK: - As text

    private static let nothing = "nothing"

    /// The value of a member at the top of a JSON object, as it stands there.
    private static func member(_ name: String, of object: RawSpan) -> String {
        var reader = JSONReader(object)
        guard (try? reader.next()) == .objectStart else { return nothing }
        let wanted = Array(name.utf8)
        while case .name(let found)? = try? reader.next() {
            guard let first = try? reader.next() else { return nothing }
            let start = reader.offset - 1
            guard (try? reader.skipValue(from: first)) != nil else { return nothing }
            guard found.equals(wanted.rawSpan, in: object) else { continue }
            switch first {
            case .string(let text): return "'\(shown(object[text.range]))'"
            case .number(let number): return shown(object[number.range])
            case .bool(let isTrue): return isTrue ? "true" : "false"
            case .null: return "null"
            case .objectStart, .objectEnd, .arrayStart, .arrayEnd, .name, .end:
                return shown(object.extracting(start..<reader.offset))
            }
        }
        return nothing
    }

    private static func time(_ name: String, of payload: RawSpan, now: Int64) -> String {
        let text = member(name, of: payload)
        guard let seconds = Int64(text) else { return text }
        let (difference, isTooFar) = seconds.subtractingReportingOverflow(now)
        if isTooFar { return text }
        return difference < 0 ? "\(text), \(difference.magnitude) s ago" : "\(text), in \(difference) s"
    }

    /// What keeps bytes from being the JSON that is taken; `nil` when they are.
    private static func flaw(in bytes: RawSpan, maxDepth: Int) -> String? {
        var reader = JSONReader(bytes, maxDepth: maxDepth)
        do throws(JSONError) {
            while try reader.next() != .end {}
            return nil
        } catch {
            switch error {
            case .unfinished: return "JSON that ends too early"
            case .badByte(let offset):
                return "a byte that does not belong at \(offset), or something behind the object"
            case .badNumber(let offset): return "what is no JSON number, at \(offset)"
            case .badString(let offset): return "what is no JSON string, at \(offset)"
            case .notUTF8(let offset): return "a string that is not UTF-8, at \(offset)"
            case .duplicateName(let offset): return "a member that stands twice, at \(offset)"
            case .tooDeep(let offset): return "more than \(maxDepth) levels, at \(offset)"
            case .tooLong: return "too much"
            case .tooManyMembers(let offset): return "too many members, at \(offset)"
            }
        }
    }

    /// The registered claim that has not the kind of value that it must have.
    private static func wrongKind(in payload: RawSpan) -> String? {
        for name in ["iss", "sub", "exp", "nbf", "iat", "aud"] {
            let value = member(name, of: payload)
            let isText = value.hasPrefix("'")
            let isWrong: Bool
            switch name {
            case "iss", "sub": isWrong = value != nothing && !isText
            case "aud": isWrong = value != nothing && !isText
            default: isWrong = value != nothing && (Int64(value) == nil)
            }
            if isWrong { return "\(name) \(value)" }
        }
        return nil
    }

    /// At most 120 characters; what a terminal would obey is escaped.
    private static func shown(_ bytes: RawSpan) -> String { shown(bytes.text) }

    private static func shown(_ text: String) -> String {
        var out = ""
        for scalar in text.unicodeScalars.prefix(120) {
            switch scalar.value {
            case 0..<0x20, 0x7F..<0xA0, 0x200B...0x200F, 0x2028...0x202E, 0x2060...0x2069, 0xFEFF:
                out += "\\u{\(String(scalar.value, radix: 16))}"
            default: out.unicodeScalars.append(scalar)
            }
        }
        return text.unicodeScalars.count > 120 ? out + "..." : out
    }

    private static func list(_ ranges: borrowing FixedArray<ByteRange>, _ rules: borrowing ClaimRules)
        -> [String]
    {
        (0..<ranges.count).map { shown(rules.texts.bytes[ranges[$0]]) }
    }

    private static func list(_ wanted: GrantSet, _ names: borrowing GrantNames) -> String {
        var all: [String] = []
        for index in 0..<(names.scopes.count + names.roles.count) {
            var one = GrantSet()
            one.insert(index)
            guard one.overlaps(wanted) else { continue }
            let isScope = index < names.scopes.count
            let range = isScope ? names.scopes[index] : names.roles[index - names.scopes.count]
            all.append(shown(names.texts.bytes[range]))
        }
        return all.joined(separator: ", ")
    }

    /// The keys by name with what they are for.
    private static func list(_ set: borrowing KeySet) -> String {
        var all: [String] = []
        for index in 0..<set.keys.walkCount {
            guard let id = set.keys.name(at: index) else { continue }
            let algorithms = SignatureAlgorithm.allCases.filter { set.keys[id].key.algorithms.contains($0) }
                .map { "\($0.name)" }.joined(separator: " ")
            var name = "(no kid)"
            if let range = set.keys[id].name { name = "'\(shown(set.names.bytes[range]))'" }
            all.append("\(name) for \(algorithms)")
        }
        return all.isEmpty ? "there is none" : all.joined(separator: ", ")
    }
}
