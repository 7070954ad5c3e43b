import Crypto
import CryptoExtras
import Cryptography
import Foundation
import JWT
import JWTKit
import Memory
import Testing

/// Tokens that jwt-kit signs with keys of its own, read with what it says its public keys are.
@Suite("RFC 7515, RFC 7518: what jwt-kit signs") struct SigningTests {
    private struct Claims: JWTPayload {
        var iss = "https://auth.example.com"
        var aud = "platform-api"
        var sub = "user-1"
        var exp = 1_700_000_900
        var roles = ["editor", "admin"]

        func verify(using algorithm: some JWTAlgorithm) {}
    }

    private static let now: Int64 = 1_700_000_100
    private static let every: SignatureAlgorithms = [.rs256, .rs384, .rs512, .ps256, .es256, .edDSA]

    /// A collection with one key, and that key as PEM or JWKS.
    private static func keys(_ name: String) async throws -> (JWTKeyCollection, String) {
        let keys = JWTKeyCollection()
        switch name {
        case "ES256":
            let key = ES256PrivateKey()
            await keys.add(ecdsa: key, kid: "one")
            return (keys, key.publicKey.pemRepresentation)
        case "EdDSA":
            let key = try EdDSA.PrivateKey()
            await keys.add(eddsa: key, kid: "one")
            return (keys, key.publicKey.pemRepresentation)
        default:
            let key = try Insecure.RSA.PrivateKey(backing: _RSA.Signing.PrivateKey(keySize: .bits2048))
            let digest: DigestAlgorithm =
                switch name {
                case "RS384": .sha384
                case "RS512": .sha512
                default: .sha256
                }
            if name == "PS256" {
                await keys.add(pss: key, digestAlgorithm: digest, kid: "one")
            } else {
                await keys.add(rsa: key, digestAlgorithm: digest, kid: "one")
            }
            return (keys, key.publicKey.pemRepresentation)
        }
    }

    private static func verifier(_ pem: String) throws -> TokenVerifier {
        let settings = try IssuerSettings(
            issuer: "https://auth.example.com", audiences: ["platform-api"], algorithms: every,
            forwards: [.init(fieldName: "X-Roles", claimName: "roles")], cacheEntries: 32)
        let set = try KeySet(file: Array(pem.utf8).rawSpan, algorithms: every)
        return TokenVerifier(settings: settings, keySet: set, hash: SipHash(key0: 1, key1: 2))
    }

    private func isAccepted(_ token: String, by verifier: inout TokenVerifier) -> Bool {
        let bytes = Array(token.utf8)
        guard case .accepted(let entry, _) = verifier.verify(bytes.rawSpan, nowSeconds: Self.now) else {
            return false
        }
        return verifier.subject(of: entry).text == "user-1"
    }

    @Test(
        "is accepted, and nothing else that looks like it",
        arguments: ["RS256", "RS384", "RS512", "PS256", "ES256", "EdDSA"])
    func signs(name: String) async throws {
        let (keys, pem) = try await Self.keys(name)
        let token = try await keys.sign(Claims(), kid: "one")
        let other = try await Self.keys(name).0.sign(Claims(), kid: "one")
        var late = Claims()
        late.exp = 1_700_000_000
        let expired = try await keys.sign(late, kid: "one")
        var verifier = try Self.verifier(pem)
        #expect(token.hasPrefix("ey") && isAccepted(token, by: &verifier))
        #expect(!isAccepted(other, by: &verifier), "signed with another key")
        #expect(!isAccepted(expired, by: &verifier), "expired")
        // Each byte of the signature but the last, whose low bits may be none of it.
        let signature = token.split(separator: ".")[2]
        for offset in stride(from: 0, to: signature.count - 1, by: 7) {
            var bytes = Array(token.utf8)
            let place = bytes.count - signature.count + offset
            bytes[place] = bytes[place] == UInt8(ascii: "A") ? UInt8(ascii: "B") : UInt8(ascii: "A")
            let changed = String(decoding: bytes, as: UTF8.self)
            #expect(!isAccepted(changed, by: &verifier), "byte \(offset) changed")
        }
        // It accepts what we accept.
        let claims = try await keys.verify(token, as: Claims.self)
        #expect(claims.roles == ["editor", "admin"])
    }
}
