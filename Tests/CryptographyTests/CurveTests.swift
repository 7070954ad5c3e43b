import Cryptography
import Memory
import Testing

@Suite("RFC 7518 §3.4 ECDSA on P-256, RFC 8037 Ed25519") struct CurveTests {
    /// RFC 7515 A.3.1.
    private static let x = Known.decoded("f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU")
    private static let y = Known.decoded("x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0")
    private static let signed = Array(
        """
        eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0\
        cnVlfQ
        """.utf8)
    private static let signature = Known.decoded(
        "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q")
    /// RFC 8037 A.2, A.4.
    private static let ed = Known.decoded("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo")
    private static let edSigned = Array("eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc".utf8)
    private static let edSignature = Known.decoded(
        "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg")

    private static func p256() throws -> VerificationKey {
        let (x, y) = (x, y)
        return try VerificationKey(x: x.rawSpan, y: y.rawSpan, for: [.es256, .edDSA, .rs256])
    }
    private static func ed25519() throws -> VerificationKey {
        let bytes = ed
        return try VerificationKey(ed25519: bytes.rawSpan, for: [.es256, .edDSA])
    }
    private static func isSigned(
        _ key: inout VerificationKey, _ message: [UInt8], _ signature: [UInt8],
        _ algorithm: SignatureAlgorithm
    ) -> Bool { key.verify(message.rawSpan, signature: signature.rawSpan, algorithm) }

    @Test("RFC 7515 A.3: the example's signature is accepted, again and again, and each changed bit is found")
    func es256() throws {
        var key = try Self.p256()
        for index in 0..<64 {
            var changed = Self.signature
            changed[index] ^= 0x10
            let isForged = Self.isSigned(&key, Self.signed, changed, .es256)
            let isValid = Self.isSigned(&key, Self.signed, Self.signature, .es256)
            #expect(isValid && !isForged, "at \(index)")
        }
        let facts = (key.kind, key.algorithms, key.signatureByteCount)
        #expect(facts == (.p256, .es256, 64))
    }

    @Test("RFC 8037 A.4: the example's signature is accepted, again and again, and each changed bit is found")
    func edDSA() throws {
        var key = try Self.ed25519()
        for index in 0..<64 {
            var changed = Self.edSignature
            changed[index] ^= 0x10
            let isForged = Self.isSigned(&key, Self.edSigned, changed, .edDSA)
            let isValid = Self.isSigned(&key, Self.edSigned, Self.edSignature, .edDSA)
            #expect(isValid && !isForged, "at \(index)")
        }
        let facts = (key.kind, key.algorithms, key.signatureByteCount)
        #expect(facts == (.ed25519, .edDSA, 64))
    }

    @Test(
        "RFC 7518 §3.4, RFC 8032 §5.1.7: a signature of another length is none",
        arguments: [0, 63, 65, 70, 128])
    func length(count: Int) throws {
        var ec = try Self.p256()
        var ed = try Self.ed25519()
        let short = Array((Self.signature + Self.signature).prefix(count))
        let shortEd = Array((Self.edSignature + Self.edSignature).prefix(count))
        let accepted = (
            Self.isSigned(&ec, Self.signed, short, .es256), Self.isSigned(&ed, Self.edSigned, shortEd, .edDSA)
        )
        #expect(accepted == (false, false))
    }

    @Test("a key is asked for no algorithm that is not its own") func otherAlgorithms() throws {
        var key = try Self.p256()
        for algorithm in SignatureAlgorithm.allCases where algorithm != .es256 {
            let isSigned = Self.isSigned(&key, Self.signed, Self.signature, algorithm)
            #expect(!isSigned)
        }
    }

    @Test("what is no point of the curve, or no key, is refused") func refused() {
        let (x, y, ed) = (Self.x, Self.y, Self.ed)
        #expect(throws: VerificationKeyError.weak) {
            var off = y
            off[31] ^= 1
            _ = try VerificationKey(x: x.rawSpan, y: off.rawSpan, for: .es256)
        }
        #expect(throws: VerificationKeyError.weak) {
            let zeros = [UInt8](repeating: 0, count: 32)
            _ = try VerificationKey(x: zeros.rawSpan, y: zeros.rawSpan, for: .es256)
        }
        #expect(throws: VerificationKeyError.weak) {
            let short = Array(x.dropLast())
            _ = try VerificationKey(x: short.rawSpan, y: y.rawSpan, for: .es256)
        }
        #expect(throws: VerificationKeyError.weak) {
            let short = Array(ed.dropLast())
            _ = try VerificationKey(ed25519: short.rawSpan, for: .edDSA)
        }
        #expect(throws: VerificationKeyError.notForAlgorithms(.p256)) {
            _ = try VerificationKey(x: x.rawSpan, y: y.rawSpan, for: [.rs256, .edDSA])
        }
        #expect(throws: VerificationKeyError.notForAlgorithms(.ed25519)) {
            _ = try VerificationKey(ed25519: ed.rawSpan, for: [.ps256, .es256])
        }
    }

    private func pem(_ text: String) throws -> KeyKind {
        let bytes = Array(text.utf8)
        let key = try VerificationKey(pem: bytes.rawSpan, for: [.rs256, .es256, .edDSA])
        return key.kind
    }

    @Test("PEM keys on P-256 and Ed25519 are read, those on other curves are not") func pemKinds() throws {
        #expect(try pem(Known.pemEC) == .p256)
        #expect(try pem(Known.pemEd25519) == .ed25519)
        #expect(throws: VerificationKeyError.unsupportedKind) { _ = try pem(Known.pemP384) }
        #expect(throws: VerificationKeyError.unsupportedKind) { _ = try pem(Known.pemX25519) }
    }
}
