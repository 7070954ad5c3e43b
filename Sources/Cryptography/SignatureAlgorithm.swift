/// How a signature is made and checked: an `alg` of RFC 7518 §3.1 or RFC 8037 §3.1. Neither `none` nor HMAC is among
/// them: the first is no signature, and a shared secret is a public key to whoever confuses the two (RFC 8725 §2.1).
@frozen public enum SignatureAlgorithm: UInt8, CaseIterable, Sendable {
    case rs256, rs384, rs512, ps256, es256, edDSA

    /// As `alg` has it; its case counts (RFC 7515 §4.1.1).
    public var name: StaticString {
        switch self {
        case .rs256: "RS256"
        case .rs384: "RS384"
        case .rs512: "RS512"
        case .ps256: "PS256"
        case .es256: "ES256"
        case .edDSA: "EdDSA"
        }
    }

    /// The one kind of key that it takes (RFC 8725 §3.1: an algorithm must fit its key).
    public var keyKind: KeyKind {
        switch self {
        case .rs256, .rs384, .rs512, .ps256: .rsa
        case .es256: .p256
        case .edDSA: .ed25519
        }
    }
}

/// The kinds of public keys that signatures are checked with.
@frozen public enum KeyKind: UInt8, CaseIterable, Sendable {
    case rsa
    /// An elliptic curve key on P-256.
    case p256
    case ed25519

    public var algorithms: SignatureAlgorithms {
        switch self {
        case .rsa: [.rs256, .rs384, .rs512, .ps256]
        case .p256: [.es256]
        case .ed25519: [.edDSA]
        }
    }

    /// For messages.
    public var text: StaticString {
        switch self {
        case .rsa: "an RSA key"
        case .p256: "a P-256 key"
        case .ed25519: "an Ed25519 key"
        }
    }
}

/// Some of the algorithms.
@frozen public struct SignatureAlgorithms: OptionSet, Hashable, Sendable {
    public let rawValue: UInt8

    @inlinable public init(rawValue: UInt8) { self.rawValue = rawValue }
    @inlinable public init(_ algorithm: SignatureAlgorithm) { rawValue = 1 &<< algorithm.rawValue }

    @inlinable public static var rs256: Self { Self(.rs256) }
    @inlinable public static var rs384: Self { Self(.rs384) }
    @inlinable public static var rs512: Self { Self(.rs512) }
    @inlinable public static var ps256: Self { Self(.ps256) }
    @inlinable public static var es256: Self { Self(.es256) }
    @inlinable public static var edDSA: Self { Self(.edDSA) }

    @inlinable public func contains(_ algorithm: SignatureAlgorithm) -> Bool {
        rawValue &>> algorithm.rawValue & 1 == 1
    }
}
