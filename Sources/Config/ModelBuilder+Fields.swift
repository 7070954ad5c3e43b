internal import YAML

extension ModelBuilder {
    /// Fields that frame a message, belong to one connection, name the target, or carry the credential or the client's
    /// address: nothing else may be written to them (RFC 9110 §7.6.1, §7.2).
    private static let reservedFields: Set<String> = [
        "authorization", "connection", "content-length", "expect", "forwarded", "host", "keep-alive",
        "proxy-authorization", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade",
        "x-forwarded-for",
        "x-forwarded-host", "x-forwarded-proto",
    ]

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

    /// A field that the gateway itself writes.
    mutating func checkOwnField(_ name: Located<String>) {
        checkFieldName(name)
        if Self.reservedFields.contains(Self.comparable(name.value)) {
            report(
                at: name.place,
                "the field \(name.value.shown) has a meaning of its own and cannot be used here")
        }
    }
}
