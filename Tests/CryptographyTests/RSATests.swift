import Cryptography
import Memory
import Testing

@Suite("RFC 7518 §3.3 RSASSA-PKCS1-v1_5 with SHA-256") struct RSATests {
    private func exampleKey() throws -> VerificationKey {
        let (modulus, exponent) = (Known.modulus, Known.exponent)
        return try VerificationKey(modulus: modulus.rawSpan, exponent: exponent.rawSpan, for: .rs256)
    }

    private func verify(_ message: [UInt8], _ signature: [UInt8]) throws -> Bool {
        var key = try exampleKey()
        return key.verify(message.rawSpan, signature: signature.rawSpan, .rs256)
    }

    @Test("RFC 7515 A.2: the example's signature is accepted, again and again with one key") func example()
        throws
    {
        var key = try exampleKey()
        let (signed, signature, other) = (Known.signed, Known.signature, Known.modulus)
        for _ in 0..<3 {
            let isValid = key.verify(signed.rawSpan, signature: signature.rawSpan, .rs256)
            let isForged = key.verify(other.rawSpan, signature: signature.rawSpan, .rs256)
            #expect(isValid && !isForged)
        }
        let facts = (key.bits, key.signatureByteCount)
        #expect(facts == (2048, 256))
    }

    @Test("a change of any byte of the message is found") func message() throws {
        for index in Known.signed.indices {
            var changed = Known.signed
            changed[index] ^= 1
            #expect(try !verify(changed, Known.signature))
        }
    }

    @Test("a change of any byte of the signature is found") func signature() throws {
        for index in Known.signature.indices {
            var changed = Known.signature
            changed[index] ^= 0x80
            #expect(try !verify(Known.signed, changed))
        }
    }

    @Test("RFC 8017 §8.2.2: a signature of another length is none", arguments: [0, 1, 255, 257, 512])
    func length(count: Int) throws {
        let signature = Array((Known.signature + Known.signature).prefix(count))
        #expect(try !verify(Known.signed, signature))
        // Leading zeros do not change the number, and are refused all the same.
        #expect(try !verify(Known.signed, [0] + Known.signature))
    }

    @Test("an extra zero before the modulus, which some libraries write, changes nothing") func leadingZero()
        throws
    {
        let modulus = [0] + Known.modulus
        let (exponent, signed, signature) = (Known.exponent, Known.signed, Known.signature)
        var key = try VerificationKey(modulus: modulus.rawSpan, exponent: exponent.rawSpan, for: .rs256)
        let isValid = key.verify(signed.rawSpan, signature: signature.rawSpan, .rs256)
        #expect(isValid)
    }

    private func numbers(_ modulus: [UInt8], _ exponent: [UInt8]) throws {
        _ = try VerificationKey(modulus: modulus.rawSpan, exponent: exponent.rawSpan, for: .rs256)
    }

    @Test("numbers that make no safe key are refused") func numbersRefused() {
        let modulus = Known.modulus
        #expect(throws: VerificationKeyError.weak) { try numbers([], [1, 0, 1]) }
        #expect(throws: VerificationKeyError.weak) { try numbers(modulus, []) }
        #expect(throws: VerificationKeyError.weak) { try numbers(modulus, [1]) }
        #expect(throws: VerificationKeyError.weak) { try numbers(modulus, [1, 0, 0]) }
        #expect(throws: VerificationKeyError.weak) { try numbers(modulus, [1, 0, 0, 0, 0, 0, 0, 0, 1]) }
        #expect(throws: VerificationKeyError.weak) { try numbers(modulus, [UInt8](repeating: 1, count: 17)) }
        #expect(throws: VerificationKeyError.weak) { try numbers(Known.prime, [1, 0, 1]) }
        #expect(throws: VerificationKeyError.weak) { try numbers(modulus.dropLast() + [0], [1, 0, 1]) }
        #expect(throws: VerificationKeyError.size(bits: 1024)) {
            try numbers(Array(modulus.prefix(128)), [1, 0, 1])
        }
        #expect(throws: VerificationKeyError.size(bits: 8208)) {
            try numbers([UInt8](repeating: 0xff, count: 1026), [1, 0, 1])
        }
    }

    private func pem(_ text: String) throws {
        let bytes = Array(text.utf8)
        _ = try VerificationKey(pem: bytes.rawSpan, for: .rs256)
    }

    @Test("a PEM key of RSA is read, in either wrapping") func pemAccepted() throws {
        try pem(Known.pemPKCS1)
        try pem("comment\n" + Known.pemPKCS1 + "\n")
    }

    @Test("a PEM text that is no RSA key for signatures is refused with the reason") func pemRefused() {
        #expect(throws: VerificationKeyError.size(bits: 1024)) { try pem(Known.pem1024) }
        #expect(throws: VerificationKeyError.notForAlgorithms(.p256)) { try pem(Known.pemEC) }
        #expect(throws: VerificationKeyError.unsupportedKind) { try pem(Known.pemPSS) }
        #expect(throws: VerificationKeyError.unreadable) { try pem("") }
        #expect(throws: VerificationKeyError.unreadable) { try pem("no key") }
        #expect(throws: VerificationKeyError.isPrivate) {
            try pem("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
        }
    }

    @Test("no prefix of a PEM key is a key") func prefixes() {
        for count in 0..<(Known.pemPKCS1.utf8.count - 1) {
            #expect(throws: VerificationKeyError.self) { try pem(String(Known.pemPKCS1.prefix(count))) }
        }
    }
}
