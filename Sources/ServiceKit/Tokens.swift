internal import CryptoExtras
internal import Foundation

/// The claims of an access token (RFC 9068 §2.2), times in whole Unix seconds (RFC 7519 §2, NumericDate).
public struct AccessClaims: Codable, Equatable, Sendable {
    public var iss: String
    public var aud: String
    public var sub: String
    public var iat: Int64
    public var nbf: Int64
    public var exp: Int64
    public var jti: String
    public var roles: [String]
    /// Space-separated (RFC 6749 §3.3).
    public var scope: String
    /// The session, which is the family of refresh tokens that this access token came with.
    public var sid: String

    public init(
        iss: String, aud: String, sub: String, iat: Int64, nbf: Int64, exp: Int64, jti: String,
        roles: [String], scope: String, sid: String
    ) {
        self.iss = iss
        self.aud = aud
        self.sub = sub
        self.iat = iat
        self.nbf = nbf
        self.exp = exp
        self.jti = jti
        self.roles = roles
        self.scope = scope
        self.sid = sid
    }
}

/// A JOSE header as the services write it, and all of it that they read (RFC 7515 §4.1).
struct TokenHeader: Codable, Equatable {
    var alg: String
    var kid: String?
    var typ: String?
    /// Present means that the token asks for an extension; none is understood, so it is refused (§4.1.11).
    var crit: [String]?
}

/// A private key that signs tokens with RS256 (RFC 7518 §3.3), and its name.
public struct TokenSigner: Sendable {
    /// The first 16 bytes of the SHA-256 of the public key, in base64url.
    public let kid: String
    /// The private key, for the store: PKCS#1 or PKCS#8 PEM.
    public let pem: String
    private let key: _RSA.Signing.PrivateKey

    /// Makes a new 2048-bit key. Takes up to a second.
    public init() throws {
        try self.init(key: _RSA.Signing.PrivateKey(keySize: .bits2048))
    }

    /// A key from the store.
    public init(pem: String) throws {
        try self.init(key: _RSA.Signing.PrivateKey(pemRepresentation: pem))
    }

    private init(key: _RSA.Signing.PrivateKey) {
        self.key = key
        pem = key.pemRepresentation
        kid = Bytes.base64url(Bytes.sha256(key.publicKey.derRepresentation).prefix(16))
    }

    /// A compact JWS of type `at+jwt` (RFC 9068 §2.1).
    public func token(_ claims: AccessClaims) throws -> String {
        try token(claims, header: TokenHeader(alg: "RS256", kid: kid, typ: "at+jwt", crit: nil))
    }

    func token(_ claims: AccessClaims, header: TokenHeader) throws -> String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        let head = Bytes.base64url(try encoder.encode(header))
        let signed = head + "." + Bytes.base64url(try encoder.encode(claims))
        let signature = try key.signature(for: Data(signed.utf8), padding: .insecurePKCS1v1_5)
        return signed + "." + Bytes.base64url(signature.rawRepresentation)
    }

    /// The public half, as an entry of a key set (RFC 7517 §4, RFC 7518 §6.3.1).
    public func published() throws -> PublishedKey {
        let numbers = try key.publicKey.getKeyPrimitives()
        return PublishedKey(
            kty: "RSA", kid: kid, use: "sig", alg: "RS256", n: Bytes.base64url(numbers.modulus),
            e: Bytes.base64url(numbers.publicExponent))
    }
}

/// One key of a key set.
public struct PublishedKey: Codable, Equatable, Sendable {
    public var kty: String
    public var kid: String?
    public var use: String?
    public var alg: String?
    public var n: String?
    public var e: String?
}

/// A JSON Web Key Set (RFC 7517 §5).
public struct PublishedKeySet: Codable, Sendable {
    public var keys: [PublishedKey]

    public init(keys: [PublishedKey]) {
        self.keys = keys
    }
}

/// A public key that checks RS256 signatures.
struct CheckingKey: Sendable {
    private let key: _RSA.Signing.PublicKey

    /// `nil` for a key that is not meant for RS256 signatures, or is not well formed: a set may hold others (§5).
    init?(_ published: PublishedKey) {
        guard published.kty == "RSA", published.use ?? "sig" == "sig", published.alg ?? "RS256" == "RS256",
            let modulus = published.n.flatMap({ Bytes.fromBase64url($0) }),
            let exponent = published.e.flatMap({ Bytes.fromBase64url($0) }),
            (256...1024).contains(modulus.count),
            let key = try? _RSA.Signing.PublicKey(n: modulus, e: exponent)
        else { return nil }
        self.key = key
    }

    func isSigned(_ text: some StringProtocol, by signature: [UInt8]) -> Bool {
        key.isValidSignature(
            _RSA.Signing.RSASignature(rawRepresentation: signature), for: Data(text.utf8),
            padding: .insecurePKCS1v1_5)
    }
}
