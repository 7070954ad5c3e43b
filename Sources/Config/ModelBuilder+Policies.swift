internal import YAML

struct IssuerSection {
    let settings: [IssuerSettings]
    let names: [String: Int]
}

struct LimitSection {
    let settings: [LimitSettings]
    let names: [String: Int]
    var owners: [LimitOwner] { settings.map(\.owner) }
}

extension ModelBuilder {
    mutating func issuers(_ node: Node?, requestIDHeader: String) -> IssuerSection {
        let entries = named(node, "auth", atMost: ConfigurationBounds.issuers)
        var settings: [IssuerSettings] = []
        for (name, node) in entries {
            // `auth: none` on a route means that nobody is asked.
            if name.value == "none" { report(at: name.place, "an auth must not be named 'none'") }
            let entry = keys(of: node, "an auth", built: ["jwt"])
            if let made = issuer(name, required("jwt", of: entry), requestIDHeader) { settings.append(made) }
        }
        return IssuerSection(settings: settings, names: Self.indices(of: entries.map(\.name)))
    }

    private mutating func issuer(
        _ name: Located<String>, _ node: Node?, _ requestIDHeader: String
    ) -> IssuerSettings? {
        let map = keys(
            of: node, "jwt",
            built: [
                "issuer", "audience", "algorithms", "leeway", "require_claims", "max_token", "typ", "keys",
                "forward",
                "pass_token", "cache",
            ])
        let issuer = text(required("issuer", of: map), "issuer")
        let audience = required("audience", of: map)
        let audiences = texts(audience, "audience", 1...ConfigurationBounds.audiences)
        let required = map["require_claims"].map {
            texts($0, "require_claims", 0...ConfigurationBounds.requiredClaims)
        }
        let cache = keys(of: map["cache"], "cache", built: ["tokens", "negative"])
        let keys = keySettings(self.required("keys", of: map))
        let algorithms = algorithms(map["algorithms"])
        let forwarded = forwardedClaims(map["forward"], requestIDHeader)
        let leeway = duration(
            map["leeway"], "leeway", default: 30 * Quantity.second, 0...(10 * Quantity.minute))
        let maxToken = size(
            map["max_token"], "max_token", default: 8 * Quantity.kibibyte, ConfigurationBounds.tokenBytes)
        let tokenType: IssuerSettings.TokenType = word(
            map["typ"], "typ", default: .any, ["any": .any, "at+jwt": .accessToken])
        let passesToken = boolean(map["pass_token"], "pass_token", default: true)
        let cachedTokens = integer(cache["tokens"], "tokens", default: 10_000, 0...1_000_000)
        let negative = duration(
            cache["negative"], "negative", default: 10 * Quantity.second, 0...(10 * Quantity.minute))
        guard let issuer, let keys else { return nil }
        return IssuerSettings(
            name: name, issuer: issuer.value, audiences: audiences.map(\.value), algorithms: algorithms,
            leewayNanoseconds: leeway, requiredClaims: required?.map(\.value) ?? ["sub"],
            maxTokenBytes: maxToken,
            tokenType: tokenType, keys: keys, forwardedClaims: forwarded, passesToken: passesToken,
            cachedTokens: cachedTokens, negativeCacheNanoseconds: negative)
    }

    private mutating func algorithms(_ node: Node?) -> [IssuerSettings.Algorithm] {
        guard node != nil else { return [.rs256] }
        let names = IssuerSettings.Algorithm.allCases.map(\.rawValue)
        var algorithms: [IssuerSettings.Algorithm] = []
        for text in texts(node, "algorithms", 1...names.count) {
            if let algorithm = IssuerSettings.Algorithm(rawValue: text.value) {
                algorithms.append(algorithm)
            } else if text.value.lowercased() == "none" || text.value.uppercased().hasPrefix("HS") {
                // RFC 8725 §3.2: `none` is no signature, and a shared secret is a public key to whoever confuses the two.
                report(
                    at: text.place,
                    "\(text.value.shown) cannot be used; algorithms are \(Self.alternatives(names))")
            } else {
                let suggestion = suggestion(for: text.value, among: names)
                report(
                    at: text.place,
                    "algorithms must be \(Self.alternatives(names)), found \(text.value.shown)\(suggestion)")
            }
        }
        return algorithms
    }

    private mutating func forwardedClaims(_ node: Node?, _ requestIDHeader: String) -> [ForwardedClaim] {
        guard let node else { return [] }
        guard case .mapping(let entries) = node.content else {
            reportKind(of: node, "forward must be a mapping from fields to claims")
            return []
        }
        if entries.count > ConfigurationBounds.forwardedClaims {
            report(
                at: node.place,
                "forward has \(entries.count) entries; at most \(ConfigurationBounds.forwardedClaims) are allowed"
            )
        }
        var seen = [Self.comparable(requestIDHeader): requestIDHeader]
        var forwarded: [ForwardedClaim] = []
        for entry in entries {
            let field = Located(entry.key, at: entry.keyPlace)
            checkOwnField(field)
            if let other = seen.updateValue(entry.key, forKey: Self.comparable(entry.key)) {
                report(at: field.place, "\(entry.key.shown) is the same field as \(other.shown)")
            }
            if let claim = text(entry.value, "a claim") {
                forwarded.append(ForwardedClaim(field: entry.key, claim: claim.value))
            }
        }
        return forwarded
    }
}
