/// One entry of `listeners`.
public struct ListenerSettings: Sendable, Hashable {
    public let name: Located<String>
    /// At least one; no two listeners share an address (port 0 apart: the kernel chooses).
    public let addresses: [Located<ListenAddress>]
    public let protocols: ListenerProtocols
    /// Whether each connection must begin with a preamble of the PROXY protocol, from a trusted proxy.
    public let requiresPreamble: Bool
    /// The port of https where every request is sent, instead of being answered; `nil` = routes answer.
    public let securePort: Int?
    public let connections: ConnectionSettings
    /// `nil` = plaintext.
    public let tls: TLSSettings?
}

/// What a listener speaks, at least one. HTTP/2 is by ALPN with TLS and by prior knowledge without.
public struct ListenerProtocols: Sendable, Hashable {
    public let hasHTTP1: Bool
    public let hasHTTP2: Bool
    /// On a TLS listener, whether `h2` was named before `http/1.1`: the order of the server's choice in ALPN (RFC 7301 §3.2).
    public let prefersHTTP2: Bool
}

/// How many connections a listener takes.
public struct ConnectionSettings: Sendable, Hashable {
    /// `nil` when the file does not say: then the process's descriptor limit decides, (limit - 512) / 2. A configured number
    /// beyond that is for the opener of the sockets to refuse, at its place.
    public let max: Located<Int>?
    /// For one client (see `ClientAddressSettings`).
    public let perClient: Int
}

/// TLS of a listener.
public struct TLSSettings: Sendable, Hashable {
    public enum Version: Sendable, Hashable { case tls12, tls13 }
    /// Chosen by SNI, the first when none matches. At least one.
    public let certificates: [CertificateSettings]
    /// Whether a client that names nothing of ours is refused.
    public let isStrict: Bool
    public let minimumVersion: Version
    public let handshakeTimeoutNanoseconds: Int
    /// Handshakes under way at one time.
    public let handshakesInFlight: Int
    /// How often random ticket keys change, and the longest life of a ticket.
    public let ticketRotationNanoseconds: Int
    /// Keys that several machines share; `nil` = random ones.
    public let ticketKeyFile: Located<String>?
    public let clientCertificates: ClientCertificateSettings
    /// OCSP responses in DER, to be stapled; each is about one of the certificates.
    public let stapleFiles: [Located<String>]
    /// `nil` = no HSTS.
    public let transportSecurity: TransportSecuritySettings?
}

/// What is asked of clients; the file holds the authorities that are trusted, in PEM.
public enum ClientCertificateSettings: Sendable, Hashable {
    case none
    case optional(authorityFile: Located<String>)
    case required(authorityFile: Located<String>)

    public var authorityFile: Located<String>? {
        switch self {
        case .none: nil
        case .optional(let file), .required(let file): file
        }
    }
}

/// `Strict-Transport-Security` (RFC 6797).
public struct TransportSecuritySettings: Sendable, Hashable {
    /// 0 takes back what was said before.
    public let maxAgeSeconds: Int
    public let includesSubdomains: Bool
}

/// A certificate chain and its key, both PEM; the paths are resolved.
public struct CertificateSettings: Sendable, Hashable {
    public let certificateFile: Located<String>
    public let keyFile: Located<String>
}
