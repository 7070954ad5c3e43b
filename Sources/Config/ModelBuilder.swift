internal import YAML

/// Nodes -> model. Every reader takes what may be there or not, reports what is wrong, and answers with something, so that
/// one pass finds all errors; a model is only handed out when there were none.
struct ModelBuilder {
    /// The folder of the file with its last `/`; empty for the current one.
    let folder: String
    private(set) var errors: [Diagnostic] = []
    private var spelling = Spelling()

    init(file: String) {
        let end = file.lastIndex(of: "/").map(file.index(after:)) ?? file.startIndex
        folder = String(file[..<end])
    }

    mutating func report(at place: Place, _ message: String) {
        errors.append(Diagnostic(at: place, message))
    }

    /// `; did you mean 'x'?` or nothing.
    mutating func suggestion(for word: String, among known: some Sequence<String>) -> String {
        spelling.suggestion(for: word, among: known)
    }

    mutating func reportNotBuilt(_ what: String, at place: Place) {
        report(at: place, "\(what.shown) is not built yet in this version")
    }
}

/// The known keys of one mapping.
struct KeyedValues {
    let place: Place
    /// Whether there was a mapping to judge. If not, that was said already, or need not be: nothing is missing from it.
    let isPresent: Bool
    fileprivate let values: [String: Node]

    subscript(key: String) -> Node? { values[key] }
}

extension ModelBuilder {
    /// The mapping's values by key. Keys that are neither built nor known are reported, and so are those that are only known.
    mutating func keys(
        of node: Node?, _ name: String, built: [String], notBuilt: [String] = []
    ) -> KeyedValues {
        guard let node else {
            return KeyedValues(place: Place(line: 1, column: 1), isPresent: false, values: [:])
        }
        guard case .mapping(let entries) = node.content else {
            reportKind(of: node, "\(name) must be a mapping")
            return KeyedValues(place: node.place, isPresent: false, values: [:])
        }
        var values: [String: Node] = [:]
        for entry in entries {
            if built.contains(entry.key) {
                values[entry.key] = entry.value
            } else if notBuilt.contains(entry.key) {
                reportNotBuilt(entry.key, at: entry.keyPlace)
            } else {
                let suggestion = suggestion(for: entry.key, among: built + notBuilt)
                report(at: entry.keyPlace, "unknown key \(entry.key.shown)\(suggestion)")
            }
        }
        return KeyedValues(place: node.place, isPresent: true, values: values)
    }

    /// The value of a key that has no default.
    mutating func required(_ key: String, of map: KeyedValues) -> Node? {
        if let node = map[key] { return node }
        if map.isPresent { report(at: map.place, "key '\(key)' is missing") }
        return nil
    }

    /// The entries of a mapping from names that the user chose. Wrong names are reported, and kept, so that references to
    /// them are not reported as well.
    mutating func named(
        _ node: Node?, _ key: String, atMost bound: Int
    ) -> [(name: Located<String>, node: Node)] {
        guard let node else { return [] }
        guard case .mapping(let entries) = node.content else {
            reportKind(of: node, "\(key) must be a mapping from names")
            return []
        }
        if entries.count > bound {
            report(at: node.place, "\(key) has \(entries.count) entries; at most \(bound) are allowed")
        }
        for entry in entries { checkName(entry.key, at: entry.keyPlace) }
        return entries.map { (Located($0.key, at: $0.keyPlace), $0.value) }
    }

    mutating func checkName(_ name: String, at place: Place) {
        let isName = name.utf8.allSatisfy { byte in
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "0")...UInt8(ascii: "9"),
                UInt8(ascii: "-"):
                return true
            default: return false
            }
        }
        guard isName, (1...ConfigurationBounds.nameBytes).contains(name.utf8.count) else {
            report(
                at: place,
                "a name is 1 to \(ConfigurationBounds.nameBytes) of a-z, 0-9 and '-', found \(name.shown)")
            return
        }
    }

    /// The items of a list; empty when there is none.
    mutating func list(_ node: Node?, _ name: String, _ count: ClosedRange<Int>) -> [Node] {
        guard let node else { return [] }
        guard case .sequence(let items) = node.content else {
            reportKind(of: node, "\(name) must be a list")
            return []
        }
        if items.count < count.lowerBound {
            report(at: node.place, "\(name) must have at least \(count.lowerBound) entry")
        } else if items.count > count.upperBound {
            report(
                at: node.place, "\(name) has \(items.count) entries; at most \(count.upperBound) are allowed")
        }
        return items
    }

    /// The texts of a list, none empty and none twice.
    mutating func texts(_ node: Node?, _ name: String, _ count: ClosedRange<Int>) -> [Located<String>] {
        var seen: Set<String> = []
        var texts: [Located<String>] = []
        for item in list(node, name, count) {
            guard let text = text(item, name) else { continue }
            if seen.insert(text.value).inserted {
                texts.append(text)
            } else {
                report(at: text.place, "\(text.value.shown) stands in \(name) already")
            }
        }
        return texts
    }

    /// A scalar that says something.
    mutating func text(_ node: Node?, _ name: String) -> Located<String>? {
        guard let node else { return nil }
        guard case .scalar(let text, _) = node.content, !text.isEmpty else {
            reportKind(of: node, "\(name) must be text")
            return nil
        }
        guard text.utf8.count <= ConfigurationBounds.textBytes else {
            report(at: node.place, "\(name) has more than \(ConfigurationBounds.textBytes) bytes")
            return nil
        }
        guard !text.utf8.contains(where: { $0 < 0x20 || $0 == 0x7F }) else {
            report(at: node.place, "\(name) must not contain control characters, found \(text.shown)")
            return nil
        }
        return Located(text, at: node.place)
    }

    /// A file, resolved against the folder of the configuration. Only the text is looked at.
    mutating func path(_ node: Node?, _ name: String) -> Located<String>? {
        guard let text = text(node, name) else { return nil }
        guard !text.value.hasSuffix("/") else {
            report(at: text.place, "\(name) must be a file, found the folder \(text.value.shown)")
            return nil
        }
        return Located(text.value.hasPrefix("/") ? text.value : folder + text.value, at: text.place)
    }

    /// Says what was expected and what was found. An empty value is found as nothing.
    mutating func reportKind(of node: Node, _ expectation: String) {
        switch node.content {
        case .refused: break
        case .scalar("", isPlain: true): report(at: node.place, "\(expectation), found nothing")
        case .scalar(let text, _): report(at: node.place, "\(expectation), found \(text.shown)")
        case .sequence: report(at: node.place, "\(expectation), found a list")
        case .mapping: report(at: node.place, "\(expectation), found a mapping")
        }
    }
}
