/// Versions that we speak. Older ones are forbidden (RFC 8996).
public enum TLSVersion: Equatable, Sendable {
    case tls12
    case tls13

    /// As access records name it.
    public var name: StaticString {
        switch self {
        case .tls12: "TLSv1.2"
        case .tls13: "TLSv1.3"
        }
    }
}

/// What runs inside a session, as ALPN names it (RFC 7301).
public enum ApplicationProtocol: Equatable, Sendable {
    case h2
    case http11
    /// The client named none: HTTP/1.1 is meant.
    case none
}

/// A certificate chain (the server's own first, RFC 8446 §4.4.2) and its private key, both as the bytes of PEM files.
public struct TLSCertificate: Sendable {
    public let chain: [UInt8]
    public let key: [UInt8]

    public init(chain: [UInt8], key: [UInt8]) {
        self.chain = chain
        self.key = key
    }
}

/// What a listener asks of its clients; authorities are the bytes of PEM files.
public enum ClientCertificates: Equatable, Sendable {
    case none
    /// A certificate is verified, and not missed.
    case optional([UInt8])
    case required([UInt8])
}

/// What a listener's TLS is made of.
public struct TLSServerSettings: Sendable {
    /// At least one. Those whose names cover the client's SNI are shown, of several kinds of key the one that it can verify;
    /// the first when none does.
    public let certificates: [TLSCertificate]
    /// Whether a client that asks for no name of ours is refused instead of being shown the first certificate.
    public let isStrict: Bool
    public let minimumVersion: TLSVersion
    /// What ALPN may choose, the most wanted first; `.none` counts for nothing.
    public let protocols: [ApplicationProtocol]
    /// The listener's name: tickets of one listener mean nothing to another, which may ask for other things of a client.
    public let listenerName: String
    public let clientCertificates: ClientCertificates
    /// How long a ticket is good for, in seconds.
    public let ticketSeconds: Int
    /// At most one of each certificate.
    public let staples: [OCSPResponse]

    public init(
        certificates: [TLSCertificate], isStrict: Bool, minimumVersion: TLSVersion,
        protocols: [ApplicationProtocol], listenerName: String, clientCertificates: ClientCertificates,
        ticketSeconds: Int, staples: [OCSPResponse]
    ) {
        self.certificates = certificates
        self.isStrict = isStrict
        self.minimumVersion = minimumVersion
        self.protocols = protocols
        self.listenerName = listenerName
        self.clientCertificates = clientCertificates
        self.ticketSeconds = ticketSeconds
        self.staples = staples
    }
}

/// Why settings cannot be used. `pair` is the index in `certificates`, `reason` a sentence without a full stop, with
/// OpenSSL's own words where it has any.
public enum TLSSettingsError: Error, Equatable, Sendable {
    case noCertificates
    /// The file of the chain is at fault.
    case badCertificate(pair: Int, reason: String)
    /// The file of the key is at fault.
    case badKey(pair: Int, reason: String)
    /// Both can be read, but the key is not that of the chain's first certificate.
    case keyDoesNotFit(pair: Int)
    /// The certificate is not the first, and has no name that SNI could ask for it by.
    case noNames(pair: Int)
    /// Two certificates with the same kind of key are for one name.
    case repeatedName(pair: Int, other: Int, name: String, kind: String)
    /// The file of the authorities that are trusted is at fault.
    case badAuthorities(reason: String)
    /// OpenSSL refused what belongs to no file.
    case refused(reason: String)

    /// Which of the pairs, if it is one.
    public var pair: Int? {
        switch self {
        case .badCertificate(let pair, _), .badKey(let pair, _), .keyDoesNotFit(let pair),
            .noNames(let pair), .repeatedName(let pair, _, _, _):
            pair
        case .noCertificates, .badAuthorities, .refused: nil
        }
    }

    /// What is wrong, to be put after the name of the file.
    public var reason: String {
        switch self {
        case .noCertificates: "a TLS listener needs a certificate"
        case .badCertificate(_, let reason), .badKey(_, let reason), .badAuthorities(let reason),
            .refused(let reason):
            reason
        case .noNames: "no subject alternative name in it that SNI could ask for, so it would never be shown"
        case .repeatedName(_, let other, let name, let kind):
            "certificate \(other + 1) of this listener is for '\(name)' too and has the same kind of key, \(kind)"
        case .keyDoesNotFit: "the private key does not belong to the first certificate of the chain"
        }
    }
}
