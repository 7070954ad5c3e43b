internal import YAML

extension ModelBuilder {
    mutating func limits(_ node: Node?) -> LimitSection {
        let entries = named(node, "limits", atMost: ConfigurationBounds.limits)
        return LimitSection(
            settings: entries.map { limit($0.name, $0.node) }, names: Self.indices(of: entries.map(\.name)))
    }

    private mutating func limit(_ name: Located<String>, _ node: Node) -> LimitSettings {
        let map = keys(of: node, "a limit", built: ["rate", "burst", "per", "headers"])
        let rates = rates(required("rate", of: map))
        if rates.count > 1, let burst = map["burst"] {
            report(at: burst.place, "burst needs a limit of one window; of several each has its count")
        }
        let burst = integer(
            map["burst"], "burst", default: rates[0].count, ConfigurationBounds.rateCount)
        return LimitSettings(
            name: name,
            windows: rates.map { .init(rate: $0, burst: rates.count == 1 ? burst : $0.count) },
            owner: owner(map["per"]),
            fields: word(
                map["headers"], "headers", default: .refused, ["refused": .refused, "always": .always]))
    }

    /// At least one, the shortest window first.
    private mutating func rates(_ node: Node?) -> [Rate] {
        let fallback = Rate(count: 1, windowNanoseconds: Quantity.second)
        guard let node else { return [fallback] }
        guard case .sequence(let windows) = node.content else {
            return [rate(node, "rate", default: fallback)]
        }
        if windows.isEmpty { report(at: node.place, "rate must have at least 1 entry") }
        var rates: [Rate] = []
        for window in windows {
            let rate = rate(window, "rate", default: fallback)
            if rates.contains(where: { $0.windowNanoseconds == rate.windowNanoseconds }) {
                reportKind(of: window, "each window of a rate must have a length of its own")
            } else {
                rates.append(rate)
            }
        }
        return rates.isEmpty ? [fallback] : rates.sorted { $0.windowNanoseconds < $1.windowNanoseconds }
    }

    /// Whom a limit counts for; the client where the file does not say.
    private mutating func owner(_ node: Node?) -> LimitOwner {
        if let node, case .scalar(let text, _) = node.content {
            if text.hasPrefix("header:") {
                let name = String(text.dropFirst("header:".count))
                checkFieldName(Located(name, at: node.place))
                return .header(name)
            }
            if text.hasPrefix("claim:") {
                let name = String(text.dropFirst("claim:".count))
                if name.isEmpty || name.utf8.count > ConfigurationBounds.nameBytes {
                    report(at: node.place, "claim: must be followed by the name of a claim")
                }
                return .claim(name)
            }
        }
        return word(
            node, "per", default: .client,
            [
                "client": .client, "subject": .subject, "consumer": .consumer, "route": .route,
                "certificate": .certificate, "header:NAME": .header(""), "claim:NAME": .claim(""),
            ])
    }

    mutating func concurrency(_ node: Node?) -> ConcurrencySettings? {
        guard let node else { return nil }
        let map = keys(of: node, "concurrency", built: ["max", "per"])
        let max = integer(required("max", of: map), "max", default: 1, ConfigurationBounds.concurrency)
        return ConcurrencySettings(max: max, owner: owner(map["per"]))
    }
}
