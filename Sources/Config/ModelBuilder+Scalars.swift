internal import YAML

extension ModelBuilder {
    mutating func integer(
        _ node: Node?, _ name: String, default fallback: Int, _ range: ClosedRange<Int>
    ) -> Int {
        number(node, name, default: fallback, range, "a number", Quantity.integer) { "\($0)" }
    }

    /// Nanoseconds.
    mutating func duration(
        _ node: Node?, _ name: String, default fallback: Int, _ range: ClosedRange<Int>
    ) -> Int {
        number(
            node, name, default: fallback, range, "a duration such as 250ms, 5s, 2m or 1h", Quantity.duration,
            Quantity.durationText)
    }

    /// Nanoseconds, for what lasts for days.
    mutating func longDuration(_ node: Node?, _ name: String, _ range: ClosedRange<Int>) -> Int {
        number(
            node, name, default: range.lowerBound, range, "a duration such as 365d or 12h",
            Quantity.longDuration,
            Quantity.longDurationText)
    }

    /// Bytes; `Int.max` for `none`, where that is allowed.
    mutating func size(
        _ node: Node?, _ name: String, default fallback: Int, _ range: ClosedRange<Int>,
        allowsNone: Bool = false
    ) -> Int {
        if allowsNone, case .scalar("none", _) = node?.content { return .max }
        let kind = "a size such as 512B, 64KiB, 10MiB or 2GiB\(allowsNone ? ", or none" : "")"
        return number(node, name, default: fallback, range, kind, Quantity.size, Quantity.sizeText)
    }

    /// Bytes a second.
    mutating func byteRate(
        _ node: Node?, _ name: String, default fallback: Int, _ range: ClosedRange<Int>
    ) -> Int {
        number(
            node, name, default: fallback, range, "a rate such as 256B/s, 4KiB/s or 1MiB/s",
            { $0.hasSuffix("/s") ? Quantity.size(String($0.dropLast(2))) : nil },
            { "\(Quantity.sizeText($0))/s" })
    }

    mutating func rate(_ node: Node?, _ name: String, default fallback: Rate) -> Rate {
        guard let node else { return fallback }
        guard case .scalar(let text, _) = node.content, let rate = Quantity.rate(text) else {
            reportKind(of: node, "\(name) must be a rate such as 100/s, 120/min or 5000/h")
            return fallback
        }
        guard ConfigurationBounds.rateCount.contains(rate.count) else {
            let unit = text.drop { $0 != "/" }
            let range = ConfigurationBounds.rateCount
            report(
                at: node.place,
                "\(name) must be from \(range.lowerBound)\(unit) to \(range.upperBound)\(unit), found \(text.shown)"
            )
            return fallback
        }
        return rate
    }

    mutating func boolean(_ node: Node?, _ name: String, default fallback: Bool) -> Bool {
        guard let node else { return fallback }
        switch node.content {
        case .scalar("true", _): return true
        case .scalar("false", _): return false
        case .scalar, .sequence, .mapping, .refused:
            reportKind(of: node, "\(name) must be true or false")
            return fallback
        }
    }

    /// One of a closed set of words. What begins with one of `notBuilt` is known but not built.
    mutating func word<Value>(
        _ node: Node?, _ name: String, default fallback: Value, _ words: KeyValuePairs<String, Value>,
        notBuilt: [String] = []
    ) -> Value {
        guard let node else { return fallback }
        guard case .scalar(let text, _) = node.content else {
            reportKind(of: node, "\(name) must be \(Self.alternatives(words.map(\.key)))")
            return fallback
        }
        if let found = words.first(where: { $0.key == text }) { return found.value }
        if notBuilt.contains(where: { $0 == text || $0.hasSuffix(":") && text.hasPrefix($0) }) {
            reportNotBuilt(text, at: node.place)
        } else {
            let suggestion = suggestion(for: text, among: words.map(\.key) + notBuilt)
            reportKind(of: node, "\(name) must be \(Self.alternatives(words.map(\.key)))", suggestion)
        }
        return fallback
    }

    /// The index that a name stands for.
    mutating func reference(_ node: Node, _ kind: String, in names: [String: Int]) -> Int? {
        guard let name = text(node, kind) else { return nil }
        if let index = names[name.value] { return index }
        let suggestion = suggestion(for: name.value, among: names.keys)
        report(at: name.place, "there is no \(kind) \(name.value.shown)\(suggestion)")
        return nil
    }

    mutating func reportKind(of node: Node, _ expectation: String, _ suggestion: String) {
        guard case .scalar(let text, _) = node.content, !text.isEmpty else {
            reportKind(of: node, expectation)
            return
        }
        report(at: node.place, "\(expectation), found \(text.shown)\(suggestion)")
    }

    private mutating func number(
        _ node: Node?, _ name: String, default fallback: Int, _ range: ClosedRange<Int>, _ kind: String,
        _ parse: (String) -> Int?, _ format: (Int) -> String
    ) -> Int {
        guard let node else { return fallback }
        guard case .scalar(let text, _) = node.content, let value = parse(text) else {
            reportKind(of: node, "\(name) must be \(kind)")
            return fallback
        }
        guard range.contains(value) else {
            report(
                at: node.place,
                "\(name) must be from \(format(range.lowerBound)) to \(format(range.upperBound)), found \(text.shown)"
            )
            return fallback
        }
        return value
    }

    /// `a`, `a or b`, `a, b or c`.
    static func alternatives(_ words: [String]) -> String {
        guard let last = words.last, words.count > 1 else { return words.first ?? "" }
        return words.dropLast().joined(separator: ", ") + " or " + last
    }
}
