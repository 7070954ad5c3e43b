internal import YAML

extension ModelBuilder {
    /// Fields that frame a message, belong to one connection, name the target, or carry the credential or the client's
    /// address: nothing else may be written to them (RFC 9110 §7.6.1, §7.2).
    static let reservedFields: Set<String> = [
        "authorization", "connection", "content-length", "expect", "forwarded", "host", "keep-alive",
        "proxy-authorization", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade",
        "x-forwarded-for",
        "x-forwarded-host", "x-forwarded-proto",
    ]

    /// The same for answers: what frames them or belongs to one connection, and what the gateway says itself.
    static let reservedResponseFields: Set<String> = [
        "connection", "content-length", "keep-alive", "proxy-authenticate", "proxy-connection", "te",
        "trailer",
        "transfer-encoding", "upgrade", "x-request-id",
    ]

    /// What begins like this tells of a client's certificate, and nobody else says it.
    static let identityPrefix = "x-client-cert-"

    /// A form in which two names are equal if a service might take one for the other: CGI folds `-` and `_` together.
    static func comparable(_ field: String) -> String {
        String(field.lowercased().map { $0 == "_" ? "-" : $0 })
    }

    /// A field name is a token (RFC 9110 §5.1, §5.6.2).
    mutating func checkFieldName(_ name: Located<String>) {
        let isToken = name.value.utf8.allSatisfy { byte in
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                UInt8(ascii: "0")...UInt8(ascii: "9"):
                return true
            default: return "!#$%&'*+-.^_`|~".utf8.contains(byte)
            }
        }
        guard isToken, (1...ConfigurationBounds.nameBytes).contains(name.value.utf8.count) else {
            report(
                at: name.place,
                "a field name is 1 to \(ConfigurationBounds.nameBytes) letters, digits and '-', found \(name.value.shown)"
            )
            return
        }
    }

    /// What a route sets and removes in one direction.
    mutating func fieldEdits(_ node: Node?, _ direction: String, reserved: Set<String>) -> FieldEditSettings {
        let map = keys(of: node, direction, built: ["set", "remove"])
        var seen: Set<String> = []
        var set: [FieldEditSettings.Field] = []
        var bytes = 0
        if let node = map["set"] {
            if case .mapping(let entries) = node.content {
                for entry in entries {
                    checkEdit(Located(entry.key, at: entry.keyPlace), reserved, &seen)
                    guard let value = fieldValue(entry.value, entry.key) else { continue }
                    bytes += entry.key.utf8.count + value.utf8.count
                    set.append(FieldEditSettings.Field(name: entry.key, value: value))
                }
            } else {
                reportKind(of: node, "set must be a mapping from field names to values")
            }
        }
        let removed = texts(map["remove"], "remove", 0...ConfigurationBounds.fieldEdits)
        for name in removed { checkEdit(name, reserved, &seen) }
        if set.count + removed.count > ConfigurationBounds.fieldEdits {
            report(
                at: map.place,
                "\(direction) edits \(set.count + removed.count) fields; at most \(ConfigurationBounds.fieldEdits) are allowed"
            )
        }
        if bytes > ConfigurationBounds.fieldEditBytes {
            report(
                at: map.place,
                "\(direction) sets \(bytes) bytes of names and values; at most \(ConfigurationBounds.fieldEditBytes) are allowed"
            )
        }
        return FieldEditSettings(set: set, removed: removed.map(\.value))
    }

    private mutating func checkEdit(
        _ name: Located<String>, _ reserved: Set<String>, _ seen: inout Set<String>
    ) {
        checkFieldName(name)
        let comparable = Self.comparable(name.value)
        if reserved.contains(comparable) || comparable.hasPrefix(Self.identityPrefix) {
            report(
                at: name.place,
                "the field \(name.value.shown) has a meaning of its own and cannot be used here")
        } else if !seen.insert(comparable).inserted {
            report(at: name.place, "the field \(name.value.shown) stands here already")
        }
    }

    /// Printable ASCII, as senders should keep to (RFC 9110 §5.5), without space around it, which is no part of a value.
    private mutating func fieldValue(_ node: Node, _ name: String) -> String? {
        guard let text = text(node, name.shown) else { return nil }
        let isPrintable = text.value.utf8.allSatisfy { (0x20...0x7E).contains($0) }
        guard isPrintable, text.value.utf8.first != 0x20, text.value.utf8.last != 0x20 else {
            report(
                at: text.place,
                "the value of \(name.shown) must be printable ASCII without space around it, found \(text.value.shown)"
            )
            return nil
        }
        return text.value
    }

    /// A field that the gateway itself writes.
    mutating func checkOwnField(_ name: Located<String>) {
        checkFieldName(name)
        let comparable = Self.comparable(name.value)
        if Self.reservedFields.contains(comparable) || comparable.hasPrefix(Self.identityPrefix) {
            report(
                at: name.place,
                "the field \(name.value.shown) has a meaning of its own and cannot be used here")
        }
    }
}
