/// Where an issuer's keys come from: exactly one of the two.
public enum KeySettings: Sendable, Hashable {
    /// PEM or JWKS, told apart by content; the path is resolved. Read again when the file changes.
    case file(Located<String>)
    case url(FetchedKeySettings)

    public var file: Located<String>? {
        guard case .file(let path) = self else { return nil }
        return path
    }
}

/// A key set that is fetched.
public struct FetchedKeySettings: Sendable, Hashable {
    public let url: Located<KeyURL>
    /// How long a set is taken for fresh when the issuer does not say.
    public let refreshNanoseconds: Int
    /// At most one fetch in this time for tokens that name an unknown key.
    public let cooldownNanoseconds: Int
    /// Where the last good set is kept; the path is resolved. `nil` = nowhere.
    public let cacheFile: Located<String>?
    /// How long a set is used that cannot be fetched again.
    public let keepNanoseconds: Int
}

/// The address of a key set: http or https, nothing but host, port, path and query.
public struct KeyURL: Sendable, Hashable {
    public let isSecure: Bool
    public let host: EndpointAddress.Host
    public let port: UInt16
    /// What `Host` says: without a default port (RFC 9110 §7.2).
    public let authority: String
    /// Path and query, in the form that a request line takes (RFC 9112 §3.2.1).
    public let target: String
    /// As the user wrote it.
    public let text: String

    /// Why a text is no such address.
    struct Flaw: Error, Equatable {
        let text: String
    }

    init(_ text: String) throws(Flaw) {
        guard let separator = text.firstRange(of: "://") else { throw Flaw(text: "it has no scheme") }
        switch text[..<separator.lowerBound] {
        case "https": isSecure = true
        case "http": isSecure = false
        default: throw Flaw(text: "the scheme is not http or https")
        }
        let rest = text[separator.upperBound...]
        // RFC 3986 §3.2: the authority ends at the first of these.
        let end = rest.firstIndex { $0 == "/" || $0 == "?" || $0 == "#" } ?? rest.endIndex
        let place = rest[..<end]
        let target = String(rest[end...])
        if place.contains("@") { throw Flaw(text: "a user name is not allowed") }
        if target.contains("#") { throw Flaw(text: "a fragment is not allowed") }
        guard target.utf8.allSatisfy({ (0x21...0x7E).contains($0) }) else {
            throw Flaw(
                text: "the path has a space, or a byte that is not ASCII, which must be percent-encoded")
        }
        guard let (hostText, portText) = AddressParser.hostAndPort(String(place)) else {
            throw Flaw(text: "host and port cannot be told apart")
        }
        let usual: UInt16 = isSecure ? 443 : 80
        var port = usual
        if let portText {
            guard let given = AddressParser.port(portText), given > 0 else {
                throw Flaw(text: "the port must be from 1 to 65535")
            }
            port = given
        }
        do {
            host = try EndpointAddress.host(hostText)
        } catch {
            switch error {
            case .malformed(let reason), .notBuilt(let reason): throw Flaw(text: reason)
            }
        }
        self.port = port
        authority = hostText.lowercased() + (port == usual ? "" : ":\(port)")
        self.target = target.hasPrefix("/") ? target : "/" + target
        self.text = text
    }
}
