import Cryptography
import JSON
import Memory

/// The members of one JSON Web Key that matter here (RFC 7517 §4, RFC 7518 §6, RFC 8037 §2).
struct JWK {
    private(set) var kty: JSONText?
    private var crv: JSONText?
    private(set) var use: JSONText?
    private(set) var alg: JSONText?
    private(set) var kid: JSONText?
    private(set) var n: JSONText?
    private(set) var e: JSONText?
    private(set) var x: JSONText?
    private(set) var y: JSONText?
    private(set) var isPrivate = false
    private(set) var canVerify = true

    /// Reads the members of the object that the last token opened, up to its end.
    init(_ reader: inout JSONReader, _ file: RawSpan, index: Int) throws(KeySetError) {
        while case .name(let name) = try KeySet.next(&reader) {
            let first = try KeySet.next(&reader)
            if name.equals("kty", in: file) {
                kty = try JWK.text(first, index, "kty")
            } else if name.equals("crv", in: file) {
                crv = try JWK.text(first, index, "crv")
            } else if name.equals("use", in: file) {
                use = try JWK.text(first, index, "use")
            } else if name.equals("alg", in: file) {
                alg = try JWK.text(first, index, "alg")
            } else if name.equals("kid", in: file) {
                kid = try JWK.text(first, index, "kid")
            } else if name.equals("n", in: file) {
                n = try JWK.text(first, index, "n")
            } else if name.equals("e", in: file) {
                e = try JWK.text(first, index, "e")
            } else if name.equals("x", in: file) {
                x = try JWK.text(first, index, "x")
            } else if name.equals("y", in: file) {
                y = try JWK.text(first, index, "y")
            } else if name.equals("key_ops", in: file) {
                try readOperations(&reader, first, file, index: index)
            } else {
                // RFC 7518 §6.2.2, §6.3.2, RFC 8037 §2: `d` is what makes a key private.
                if name.equals("d", in: file) { isPrivate = true }
                try KeySet.skip(&reader, first)
            }
        }
        guard kty != nil else { throw .badMember(index: index, name: "kty") }
    }

    /// Which kind of key it says it is; `nil` for one that no algorithm here takes.
    func kind(_ file: RawSpan) -> KeyKind? {
        guard let kty else { return nil }
        if kty.equals("RSA", in: file) { return .rsa }
        guard let crv else { return nil }
        if kty.equals("EC", in: file), crv.equals("P-256", in: file) { return .p256 }
        if kty.equals("OKP", in: file), crv.equals("Ed25519", in: file) { return .ed25519 }
        return nil
    }

    /// Those of `algorithms` that the key may be used with, by all that it says of itself.
    func usable(
        _ file: RawSpan, _ algorithms: SignatureAlgorithms, index: Int
    ) throws(KeySetError) -> SignatureAlgorithms {
        guard canVerify else { return [] }
        if let use, !use.equals("sig", in: file) { return [] }
        guard let kind = kind(file) else {
            if let kty, crv == nil,
                kty.equals("EC", in: file) && algorithms.contains(.es256)
                    || kty.equals("OKP", in: file) && algorithms.contains(.edDSA)
            {
                throw .badMember(index: index, name: "crv")
            }
            return []
        }
        var usable = algorithms.intersection(kind.algorithms)
        // RFC 7517 §4.4: a key that names its algorithm is for no other.
        if let alg {
            for algorithm in SignatureAlgorithm.allCases where !alg.equals(algorithm.name, in: file) {
                usable.remove(SignatureAlgorithms(algorithm))
            }
        }
        return usable
    }

    private mutating func readOperations(
        _ reader: inout JSONReader, _ first: JSONToken, _ file: RawSpan, index: Int
    ) throws(KeySetError) {
        guard first == .arrayStart else { throw .badMember(index: index, name: "key_ops") }
        canVerify = false
        while true {
            let token = try KeySet.next(&reader)
            if token == .arrayEnd { return }
            guard case .string(let operation) = token else {
                throw .badMember(index: index, name: "key_ops")
            }
            if operation.equals("verify", in: file) { canVerify = true }
        }
    }

    private static func text(_ token: JSONToken, _ index: Int, _ name: String) throws(KeySetError) -> JSONText
    {
        guard case .string(let text) = token else { throw .badMember(index: index, name: name) }
        return text
    }
}
