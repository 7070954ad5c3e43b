internal import YAML

/// What a section became, with the names that others refer to by. When an entry was refused the indices mean nothing, but
/// then no model is handed out.
struct ListenerSection {
    let settings: [ListenerSettings]
    let names: [String: Int]
}

extension ModelBuilder {
    mutating func listeners(_ node: Node?, _ client: ClientAddressSettings) -> ListenerSection {
        let entries = named(node, "listeners", atMost: ConfigurationBounds.listeners)
        if let node, case .mapping(let written) = node.content, written.isEmpty {
            report(at: node.place, "listeners must have at least 1 entry")
        }
        return ListenerSection(
            settings: entries.map { listener($0.name, $0.node, client) },
            names: Self.indices(of: entries.map(\.name)))
    }

    static func indices(of names: [Located<String>]) -> [String: Int] {
        Dictionary(names.enumerated().map { ($0.element.value, $0.offset) }) { first, _ in first }
    }

    mutating func bindAddress(_ text: Located<String>, _ name: String) -> Located<BindAddress>? {
        guard let address = AddressParser.bind(text.value) else {
            report(
                at: text.place,
                "\(name) must be address:port such as 127.0.0.1:8080 or [::1]:8080, found \(text.value.shown)"
            )
            return nil
        }
        return Located(address, at: text.place)
    }

    /// Two listeners on one address would share it in silence, each with a part of the connections.
    mutating func checkAddresses(_ listeners: ListenerSection, _ admin: Located<BindAddress>?) {
        var seen: [ListenAddress: Place] = [:]
        let all =
            listeners.settings.flatMap(\.addresses)
            + (admin.map { [Located(.internet($0.value), at: $0.place)] } ?? [])
        for address in all where address.value.internet?.port != 0 {
            if let first = seen[address.value] {
                report(
                    at: address.place,
                    "\(address.value.text.shown) is listened on already, at \(first.line):\(first.column)")
            } else {
                seen[address.value] = address.place
            }
        }
    }

    private mutating func listener(
        _ name: Located<String>, _ node: Node, _ client: ClientAddressSettings
    ) -> ListenerSettings {
        let map = keys(
            of: node, "a listener",
            built: ["bind", "protocols", "proxy_protocol", "redirect_to_https", "connections", "tls"])
        var addresses: [Located<ListenAddress>] = []
        let bind = required("bind", of: map)
        for text in texts(bind, "bind", 1...ConfigurationBounds.addressesPerListener) {
            if let address = listenAddress(text) { addresses.append(Located(address, at: text.place)) }
        }
        let requiresPreamble = requiresPreamble(map["proxy_protocol"], client)
        for address in addresses where requiresPreamble {
            guard case .unix = address.value else { continue }
            report(
                at: address.place,
                "who connects to \(address.value.text.shown) has no address that could be trusted: it cannot be beside proxy_protocol: required"
            )
        }
        let connections = keys(of: map["connections"], "connections", built: ["max", "per_client"])
        let counts = 1...10_000_000
        var most: Located<Int>?
        if let node = connections["max"] {
            most = Located(integer(node, "max", default: 1, counts), at: node.place)
        }
        return ListenerSettings(
            name: name,
            addresses: addresses,
            protocols: protocols(map["protocols"], hasTLS: map["tls"] != nil),
            requiresPreamble: requiresPreamble,
            securePort: securePort(map["redirect_to_https"], hasTLS: map["tls"] != nil),
            connections: ConnectionSettings(
                max: most, perClient: integer(connections["per_client"], "per_client", default: 1_000, counts)
            ),
            tls: tls(map["tls"]))
    }

    private mutating func listenAddress(_ text: Located<String>) -> ListenAddress? {
        if text.value.hasPrefix("unix:") {
            let path = String(text.value.dropFirst(5))
            if let flaw = AddressParser.flaw(inSocketPath: path) {
                report(at: text.place, "\(flaw), found \(text.value.shown)")
            }
            return .unix(path: path)
        }
        if text.value.hasPrefix("systemd:") {
            let name = String(text.value.dropFirst(8))
            // FileDescriptorName= of systemd.socket(5): no colon, which separates them.
            if name.isEmpty || name.utf8.count > 255 || name.utf8.contains(UInt8(ascii: ":")) {
                report(
                    at: text.place,
                    "systemd: must be followed by the FileDescriptorName= of a socket unit, found \(text.value.shown)"
                )
            }
            return .systemd(name: name)
        }
        return bindAddress(text, "bind").map { .internet($0.value) }
    }

    private mutating func requiresPreamble(_ node: Node?, _ client: ClientAddressSettings) -> Bool {
        let isRequired = word(node, "proxy_protocol", default: false, ["none": false, "required": true])
        if isRequired, let node, client.trustedProxies.isEmpty {
            report(
                at: node.place,
                "proxy_protocol is believed from client_address.trusted_proxies alone, which are none: every connection would be closed"
            )
        }
        return isRequired
    }

    private mutating func securePort(_ node: Node?, hasTLS: Bool) -> Int? {
        guard let node else { return nil }
        if hasTLS {
            report(at: node.place, "redirect_to_https sends plaintext away; a listener with it takes no tls")
        }
        return integer(node, "redirect_to_https", default: 443, 1...65535)
    }

    private mutating func protocols(_ node: Node?, hasTLS: Bool) -> ListenerProtocols {
        guard node != nil else {
            return ListenerProtocols(hasHTTP1: true, hasHTTP2: true, prefersHTTP2: true)
        }
        var named: [String] = []
        for text in texts(node, "protocols", 1...3) {
            switch (text.value, hasTLS) {
            case ("http/1.1", _), ("h2", true), ("h2c", false): named.append(text.value)
            case ("h2", false):
                report(at: text.place, "'h2' needs tls on this listener; without tls it is 'h2c'")
            case ("h2c", true):
                report(at: text.place, "'h2c' is for listeners without tls; with tls it is 'h2'")
            case (let other, _):
                let words = ["http/1.1", hasTLS ? "h2" : "h2c"]
                let suggestion = suggestion(for: other, among: words)
                report(
                    at: text.place,
                    "protocols on this listener are \(Self.alternatives(words)), found \(other.shown)\(suggestion)"
                )
            }
        }
        return ListenerProtocols(
            hasHTTP1: named.contains("http/1.1"), hasHTTP2: named.contains { $0 != "http/1.1" },
            prefersHTTP2: named.first != "http/1.1")
    }
}
