internal import YAML

struct ServiceSection {
    let settings: [ServiceSettings]
    let names: [String: Int]
    var timeouts: [TimeoutSettings] { settings.map(\.timeouts) }
}

/// Named sets of timeouts, by `resilience` profile.
typealias ResilienceProfiles = [String: TimeoutSettings]

extension ModelBuilder {
    static let defaultTimeouts = TimeoutSettings(
        connectNanoseconds: 5 * Quantity.second, requestNanoseconds: 60 * Quantity.second,
        idleNanoseconds: 60 * Quantity.second)

    mutating func profiles(_ node: Node?) -> ResilienceProfiles {
        var profiles: ResilienceProfiles = [:]
        for (name, node) in named(node, "resilience", atMost: ConfigurationBounds.resilienceProfiles) {
            let map = keys(
                of: node, "a resilience profile", built: ["timeouts"],
                notBuilt: ["retry", "eject", "breaker"])
            profiles[name.value] = timeouts(map["timeouts"], over: Self.defaultTimeouts)
        }
        return profiles
    }

    mutating func timeouts(_ node: Node?, over defaults: TimeoutSettings) -> TimeoutSettings {
        let map = keys(of: node, "timeouts", built: ["connect", "request", "idle"])
        let waits = (10 * Quantity.millisecond)...(24 * Quantity.hour)
        return TimeoutSettings(
            connectNanoseconds: duration(
                map["connect"], "connect", default: defaults.connectNanoseconds,
                (10 * Quantity.millisecond)...(5 * Quantity.minute)),
            requestNanoseconds: duration(
                map["request"], "request", default: defaults.requestNanoseconds, waits),
            idleNanoseconds: duration(map["idle"], "idle", default: defaults.idleNanoseconds, waits))
    }

    mutating func services(_ node: Node?, _ profiles: ResilienceProfiles) -> ServiceSection {
        let entries = named(node, "services", atMost: ConfigurationBounds.services)
        return ServiceSection(
            settings: entries.map { service($0.name, $0.node, profiles) },
            names: Self.indices(of: entries.map(\.name)))
    }

    private mutating func service(
        _ name: Located<String>, _ node: Node, _ profiles: ResilienceProfiles
    ) -> ServiceSettings {
        let map = keys(
            of: node, "a service", built: ["to", "balance", "keepalive", "resilience", "tls"],
            notBuilt: ["health"])
        let keepalive = keys(of: map["keepalive"], "keepalive", built: ["idle", "connections"])
        let endpoints = endpoints(required("to", of: map))
        checkOneProtocol(endpoints)
        if let node = map["tls"], !endpoints.isEmpty, !endpoints.contains(where: { $0.value.scheme.hasTLS }) {
            report(at: node.place, "tls needs an address with TLS, https or h2, in this service's 'to'")
        }
        return ServiceSettings(
            name: name,
            endpoints: endpoints, tls: serviceTLS(map["tls"]),
            balance: word(
                map["balance"], "balance", default: .leastRequest,
                ["round-robin": .roundRobin, "least-request": .leastRequest, "random": .random],
                notBuilt: ["hash:client", "hash:header:"]),
            keepaliveIdleNanoseconds: duration(
                keepalive["idle"], "idle", default: 60 * Quantity.second,
                (10 * Quantity.millisecond)...(24 * Quantity.hour)),
            keepaliveConnections: integer(
                keepalive["connections"], "connections", default: 1024, 0...65536),
            timeouts: profile(map["resilience"], profiles))
    }

    /// The form of a request is one for the whole service, and so is what it may be asked for again.
    private mutating func checkOneProtocol(_ endpoints: [Located<EndpointAddress>]) {
        guard let first = endpoints.first?.value.scheme else { return }
        for endpoint in endpoints where endpoint.value.scheme.isHTTP2 != first.isHTTP2 {
            report(
                at: endpoint.place,
                "a service's addresses are all of HTTP/1 (http, https) or all of HTTP/2 (h2c, h2), found \(endpoint.value.scheme.rawValue) beside \(first.rawValue)"
            )
            return
        }
    }

    private mutating func serviceTLS(_ node: Node?) -> ServiceTLSSettings? {
        guard node != nil else { return nil }
        let map = keys(of: node, "tls", built: ["ca", "cert", "key", "server_name"])
        let certificate = path(map["cert"], "cert")
        let key = path(map["key"], "key")
        if let given = map["cert"], map["key"] == nil {
            report(at: given.place, "'cert' needs 'key' beside it")
        }
        if let given = map["key"], map["cert"] == nil {
            report(at: given.place, "'key' needs 'cert' beside it")
        }
        var pair: CertificateSettings?
        if let certificate, let key {
            pair = CertificateSettings(certificateFile: certificate, keyFile: key)
        }
        var serverName: EndpointAddress.Host?
        if let text = text(map["server_name"], "server_name") {
            do throws(EndpointAddressError) {
                serverName = try EndpointAddress.host(text.value[...])
            } catch {
                report(
                    at: text.place,
                    "server_name must be a name such as core.internal, or an address, found \(text.value.shown)"
                )
            }
        }
        return ServiceTLSSettings(
            authorityFile: path(map["ca"], "ca"), certificate: pair, serverName: serverName)
    }

    private mutating func profile(_ node: Node?, _ profiles: ResilienceProfiles) -> TimeoutSettings {
        guard let node, let name = text(node, "resilience") else { return Self.defaultTimeouts }
        if let timeouts = profiles[name.value] { return timeouts }
        let suggestion = suggestion(for: name.value, among: profiles.keys)
        report(at: name.place, "there is no resilience profile \(name.value.shown)\(suggestion)")
        return Self.defaultTimeouts
    }

    private mutating func endpoints(_ node: Node?) -> [Located<EndpointAddress>] {
        var endpoints: [Located<EndpointAddress>] = []
        var seen: [EndpointAddress: Place] = [:]
        for text in texts(node, "to", 1...ConfigurationBounds.endpointsPerService) {
            do throws(EndpointAddressError) {
                let endpoint = try EndpointAddress(url: text.value)
                if seen.updateValue(text.place, forKey: endpoint) != nil {
                    report(at: text.place, "\(text.value.shown) is an address of this service already")
                }
                endpoints.append(Located(endpoint, at: text.place))
            } catch {
                switch error {
                case .notBuilt(let scheme): reportNotBuilt(scheme, at: text.place)
                case .malformed(let reason):
                    report(
                        at: text.place,
                        "a service's address must be http://host:port (or https, h2, h2c) or unix:/path, found \(text.value.shown): \(reason)"
                    )
                }
            }
        }
        return endpoints
    }
}
