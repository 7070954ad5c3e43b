internal import YAML

/// What routes refer to.
struct RouteSurroundings {
    let listeners: [String: Int]
    /// Those that send everything to https.
    let redirects: Set<Int>
    /// Those that ask clients for certificates.
    let asking: Set<Int>
    let issuers: [String: Int]
    let limits: [String: Int]
    let services: [String: Int]
    /// Fields of requests that the gateway itself writes, in comparable form.
    let ownFields: Set<String>
    let requestIDHeader: String
    /// By index of the limit.
    let limitOwners: [LimitOwner]
    /// By index of the service.
    let timeouts: [TimeoutSettings]
    let bodyBytes: Int
    let mergesSlashes: Bool
}

/// What a route that says nothing gets.
private struct RouteDefaults {
    let authentication: RouteSettings.Authentication?
    /// Whether the file said something about it, right or wrong.
    let saysAuthentication: Bool
    let limits: [Int]
}

extension ModelBuilder {
    mutating func routes(
        _ node: Node?, defaults: Node?, _ surroundings: RouteSurroundings
    ) -> [RouteSettings] {
        let map = keys(of: defaults, "defaults", built: ["auth", "limits"])
        let defaults = RouteDefaults(
            authentication: authentication(map["auth"], surroundings), saysAuthentication: map["auth"] != nil,
            limits: limitReferences(map["limits"], surroundings))
        var routes: [RouteSettings] = []
        var names: [String: Place] = [:]
        var ties = RouteTies()
        for item in list(node, "routes", 1...ConfigurationBounds.routes) {
            guard let route = route(item, defaults, surroundings) else { continue }
            if let first = names[route.name.value] {
                report(
                    at: route.name.place,
                    "a route \(route.name.value.shown) stands at \(first.line):\(first.column) already")
            } else {
                names[route.name.value] = route.name.place
            }
            if let other = ties.add(route) {
                report(
                    at: route.prefix.place,
                    "this route ties with route \(other.shown): same prefix and host on one listener")
            }
            routes.append(route)
        }
        checkGrants(routes)
        return routes
    }

    private mutating func route(
        _ node: Node, _ defaults: RouteDefaults, _ surroundings: RouteSurroundings
    ) -> RouteSettings? {
        let map = keys(
            of: node, "a route",
            built: [
                "name", "match", "to", "auth", "limits", "body", "timeouts", "path", "preserve_host", "log",
                "headers", "require", "concurrency",
            ],
            notBuilt: ["cors"])
        let name = text(required("name", of: map), "name")
        if let name { checkName(name.value, at: name.place) }
        let matchNode = required("match", of: map)
        let match = keys(
            of: matchNode, "match", built: ["prefix", "hosts", "listeners"], notBuilt: ["methods", "headers"])
        let prefix = prefix(required("prefix", of: match), surroundings.mergesSlashes)
        let hosts = hosts(match["hosts"])
        let listeners = listenerReferences(match["listeners"], surroundings)
        let service = serviceReference(required("to", of: map), surroundings)
        var authentication = authentication(map["auth"], surroundings)
        if map["auth"] == nil {
            authentication = defaults.authentication
            if map.isPresent, !defaults.saysAuthentication {
                report(
                    at: map.place,
                    "a route without 'auth' needs 'auth' in defaults; write 'auth: none' to let anybody in")
            }
        }
        let limits = map["limits"].map { limitReferences($0, surroundings) } ?? defaults.limits
        let requirement = requirement(map["require"], authentication)
        let concurrency = concurrency(map["concurrency"])
        for limit in limits where surroundings.limitOwners.indices.contains(limit) {
            let name = surroundings.limits.first { $0.value == limit }?.key ?? ""
            checkOwner(
                surroundings.limitOwners[limit], of: "limit \(name.shown)", authentication, listeners,
                surroundings, at: (map["limits"] ?? node).place)
        }
        if let concurrency {
            checkOwner(
                concurrency.owner, of: "concurrency", authentication, listeners, surroundings,
                at: (map["concurrency"] ?? node).place)
        }
        let inherited = service.flatMap {
            surroundings.timeouts.indices.contains($0) ? surroundings.timeouts[$0] : nil
        }
        let timeouts = timeouts(map["timeouts"], over: inherited ?? Self.defaultTimeouts)
        let bodyNode = keys(of: map["body"], "body", built: ["max"])["max"]
        let bodyMax = size(
            bodyNode, "max", default: surroundings.bodyBytes, ConfigurationBounds.bodyBytes, allowsNone: true)
        let path = keys(of: map["path"], "path", built: ["strip_prefix"])
        let stripsPrefix = boolean(path["strip_prefix"], "strip_prefix", default: false)
        let preservesHost = boolean(map["preserve_host"], "preserve_host", default: false)
        let isLogged = word(map["log"], "log", default: true, ["none": false])
        let headers = keys(of: map["headers"], "headers", built: ["request", "response"])
        let requestFields = fieldEdits(
            headers["request"], "request", reserved: Self.reservedFields.union(surroundings.ownFields))
        let responseFields = fieldEdits(
            headers["response"], "response",
            reserved: Self.reservedResponseFields.union([surroundings.requestIDHeader]))
        guard let name, let prefix else { return nil }
        return RouteSettings(
            name: name, prefix: prefix, hosts: hosts, listeners: listeners, service: service ?? 0,
            authentication: authentication ?? .none, requirement: requirement, limits: limits,
            concurrency: concurrency,
            bodyMaxBytes: bodyMax,
            limitsBodyItself: bodyNode != nil, timeouts: timeouts,
            stripsPrefix: stripsPrefix, preservesHost: preservesHost, isLogged: isLogged,
            requestFields: requestFields, responseFields: responseFields)
    }

    /// What counts by subject where nobody is asked for a token, or by certificate where nobody is asked for one, counts nobody.
    private mutating func checkOwner(
        _ owner: LimitOwner, of what: String, _ authentication: RouteSettings.Authentication?,
        _ listeners: RouteSettings.Listeners, _ surroundings: RouteSurroundings, at place: Place
    ) {
        if owner.needsToken, case .some(.none) = authentication {
            report(at: place, "\(what) is per \(owner.text), but this route has auth: none")
        }
        guard owner == .certificate else { return }
        let isAsked =
            switch listeners {
            case .all: !surroundings.asking.isEmpty
            case .only(let chosen): chosen.contains { surroundings.asking.contains($0) }
            }
        if !isAsked {
            report(at: place, "\(what) is per certificate, but no listener of this route asks for one")
        }
    }

    private mutating func authentication(
        _ node: Node?, _ surroundings: RouteSurroundings
    ) -> RouteSettings.Authentication? {
        guard let node else { return nil }
        if case .scalar("none", _) = node.content { return RouteSettings.Authentication.none }
        return reference(node, "auth", in: surroundings.issuers).map { .issuer($0) }
    }

    private mutating func limitReferences(_ node: Node?, _ surroundings: RouteSurroundings) -> [Int] {
        references(node, "limits", "limit", 0...ConfigurationBounds.limitsPerRoute, surroundings.limits)
    }

    private mutating func listenerReferences(
        _ node: Node?, _ surroundings: RouteSurroundings
    ) -> RouteSettings.Listeners {
        guard let node else { return .all }
        let chosen = references(
            node, "listeners", "listener", 1...ConfigurationBounds.listeners, surroundings.listeners)
        for listener in chosen where surroundings.redirects.contains(listener) {
            let name = surroundings.listeners.first { $0.value == listener }?.key ?? ""
            report(at: node.place, "listener \(name.shown) sends everything to https; no route can be on it")
        }
        return .only(chosen)
    }

    private mutating func references(
        _ node: Node?, _ name: String, _ kind: String, _ count: ClosedRange<Int>, _ names: [String: Int]
    ) -> [Int] {
        var indices: [Int] = []
        for item in list(node, name, count) {
            guard let index = reference(item, kind, in: names) else { continue }
            if indices.contains(index) {
                reportKind(of: item, "each \(kind) may be named once")
            } else {
                indices.append(index)
            }
        }
        return indices
    }

    private mutating func serviceReference(_ node: Node?, _ surroundings: RouteSurroundings) -> Int? {
        guard let node else { return nil }
        if case .mapping = node.content {
            report(at: node.place, "weights are not built yet in this version; name one service")
            return nil
        }
        return reference(node, "service", in: surroundings.services)
    }

    private mutating func hosts(_ node: Node?) -> [HostPattern] {
        var hosts: [HostPattern] = []
        guard node != nil else { return hosts }
        for text in texts(node, "hosts", 1...ConfigurationBounds.hostsPerRoute) {
            let isWildcard = text.value.hasPrefix("*.")
            let rest = isWildcard ? text.value.dropFirst(2) : text.value[...]
            let address = isWildcard ? nil : AddressParser.host(rest)
            guard let name = address?.isIPv4 == true ? String(rest) : AddressParser.name(rest) else {
                report(
                    at: text.place,
                    "a host must be a name such as api.example.com or *.example.com, found \(text.value.shown)"
                )
                continue
            }
            let pattern = HostPattern(name: name, isWildcard: isWildcard)
            if hosts.contains(pattern) {
                report(at: text.place, "\(text.value.shown) stands in hosts already")
            } else {
                hosts.append(pattern)
            }
        }
        return hosts
    }

    private mutating func prefix(_ node: Node?, _ mergesSlashes: Bool) -> Located<String>? {
        guard let text = text(node, "prefix") else { return nil }
        guard let flaw = PathPrefix.flaw(in: text.value, mergesSlashes: mergesSlashes) else { return text }
        report(at: text.place, "prefix \(flaw), found \(text.value.shown)")
        return nil
    }
}
