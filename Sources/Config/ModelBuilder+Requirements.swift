internal import YAML

extension ModelBuilder {
    /// What a route asks of a token beside being good.
    mutating func requirement(
        _ node: Node?, _ authentication: RouteSettings.Authentication?
    ) -> RequirementSettings {
        let map = keys(of: node, "require", built: ["scopes", "roles"])
        guard map.isPresent else { return RequirementSettings(scopes: [], roles: []) }
        if case .some(.none) = authentication {
            report(
                at: map.place, "a route with auth: none has no token that could be required to have anything")
        }
        if map["scopes"] == nil, map["roles"] == nil {
            report(at: map.place, "require must name scopes or roles")
        }
        let scopes = texts(map["scopes"], "scopes", 1...ConfigurationBounds.requiredGrants)
        for scope in scopes where !Self.isScope(scope.value) {
            report(
                at: scope.place,
                "a scope is made of printable ASCII without spaces, quotes and backslashes, found \(scope.value.shown)"
            )
        }
        let bytes = scopes.reduce(0) { $0 + $1.value.utf8.count + 1 }
        if bytes > ConfigurationBounds.scopeBytes {
            report(
                at: map.place,
                "scopes have \(bytes) bytes together; at most \(ConfigurationBounds.scopeBytes) are allowed")
        }
        let roles = texts(map["roles"], "roles", 1...ConfigurationBounds.requiredGrants)
        for role in roles where role.value.utf8.count > ConfigurationBounds.roleBytes {
            report(at: role.place, "a role has more than \(ConfigurationBounds.roleBytes) bytes")
        }
        return RequirementSettings(scopes: scopes.map(\.value), roles: roles.map(\.value))
    }

    /// RFC 6749 §3.3. The text stands between quotes in a challenge.
    private static func isScope(_ text: String) -> Bool {
        text.utf8.allSatisfy {
            (0x21...0x7E).contains($0) && $0 != UInt8(ascii: "\"") && $0 != UInt8(ascii: "\\")
        }
    }

    /// The scopes and roles of one issuer's routes are bits of a fixed number of words.
    mutating func checkGrants(_ routes: [RouteSettings]) {
        var names: [Int: Set<String>] = [:]
        for route in routes {
            guard case .issuer(let issuer) = route.authentication else { continue }
            let before = names[issuer, default: []].count
            names[issuer, default: []].formUnion(route.requirement.scopes.map { "s" + $0 })
            names[issuer, default: []].formUnion(route.requirement.roles.map { "r" + $0 })
            let count = names[issuer, default: []].count
            let most = ConfigurationBounds.grantsPerIssuer
            if before <= most, count > most {
                report(
                    at: route.name.place,
                    "the routes of one auth require \(count) scopes and roles up to this one; at most \(most) are allowed"
                )
            }
        }
    }
}
