/// What the TLS of a service's connections is made of.
public struct TLSClientSettings: Sendable {
    /// The bytes of a PEM file with the authorities to trust; `nil` for the system's.
    public let authorities: [UInt8]?
    /// What we show to a service that asks for it.
    public let certificate: TLSCertificate?
    /// The one protocol that ALPN offers: `.h2` or `.http11`.
    public let applicationProtocol: ApplicationProtocol
    /// For how many endpoints a session is remembered, the latest of each.
    public let endpoints: Int

    public init(
        authorities: [UInt8]?, certificate: TLSCertificate?, applicationProtocol: ApplicationProtocol,
        endpoints: Int
    ) {
        self.authorities = authorities
        self.certificate = certificate
        self.applicationProtocol = applicationProtocol
        self.endpoints = endpoints
    }
}
