import Config
import JWT

/// The scopes and roles that the routes of one issuer ask for, each once, in the order of the file.
struct Grants: Sendable {
    private(set) var scopes: [String] = []
    private(set) var roles: [String] = []

    init(of issuer: Int, _ routes: [RouteSettings]) {
        for route in routes where route.authentication == .issuer(issuer) {
            for scope in route.requirement.scopes where !scopes.contains(scope) { scopes.append(scope) }
            for role in route.requirement.roles where !roles.contains(role) { roles.append(role) }
        }
    }

    var names: GrantNames { GrantNames(scopes: scopes, roles: roles) }

    /// The numbers that `names` gives to what a route asks for.
    func requirement(_ settings: RequirementSettings) -> GrantRequirement {
        var wanted = (scopes: GrantSet(), roles: GrantSet())
        for scope in settings.scopes {
            if let number = scopes.firstIndex(of: scope) { wanted.scopes.insert(number) }
        }
        for role in settings.roles {
            if let number = roles.firstIndex(of: role) { wanted.roles.insert(scopes.count + number) }
        }
        return GrantRequirement(scopes: wanted.scopes, roles: wanted.roles)
    }
}
