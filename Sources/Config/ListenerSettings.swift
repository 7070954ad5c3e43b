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
    public let minimumVersion: Version
    public let handshakeTimeoutNanoseconds: Int
    /// Handshakes under way at one time.
    public let handshakesInFlight: Int
    public let ticketRotationNanoseconds: Int
}

/// A certificate chain and its key, both PEM; the paths are resolved.
public struct CertificateSettings: Sendable, Hashable {
    public let certificateFile: Located<String>
    public let keyFile: Located<String>
}
