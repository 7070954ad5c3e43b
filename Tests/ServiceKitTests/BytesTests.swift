import Foundation
import Testing

@testable import ServiceKit

@Suite("Bytes and names") struct BytesTests {
    @Test("FIPS 180-4: the digest of 'abc' is the standard's") func sha256() {
        #expect(
            Bytes.hex(Bytes.sha256("abc".utf8))
                == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
    }

    @Test("RFC 4231 §4.3, §4.7: authentication codes are the standard's, for a short and a long key")
    func hmacSHA256() {
        #expect(
            Bytes.hex(Bytes.hmacSHA256(key: Array("Jefe".utf8), "what do ya want for nothing?".utf8))
                == "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843")
        #expect(
            Bytes.hex(
                Bytes.hmacSHA256(
                    key: [UInt8](repeating: 0xAA, count: 131),
                    "Test Using Larger Than Block-Size Key - Hash Key First".utf8))
                == "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54")
    }

    @Test(
        "RFC 4648 §10: base64url goes both ways",
        arguments: [("", ""), ("f", "Zg"), ("fo", "Zm8"), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")])
    func base64url(plain: String, coded: String) {
        #expect(Bytes.base64url(plain.utf8) == coded)
        #expect(Bytes.fromBase64url(coded) == Array(plain.utf8))
    }

    @Test(
        "RFC 4648 §3.5: what has a second spelling is refused",
        arguments: ["Zh", "Zg==", "Zm9", "Z", "Zm8+", "Zm8/", "Zm 8", "Zm8\n"])
    func refusedBase64url(coded: String) {
        #expect(Bytes.fromBase64url(coded) == nil)
    }

    @Test("RFC 9562 §5.7: an identifier holds its time, version 7 and the variant") func identifier() {
        let identifier = Identifier.make(at: 0x0123_4567_89AB)
        #expect(identifier.hasPrefix("01234567-89ab-7"))
        #expect(Identifier.isValid(identifier))
        #expect("89ab".contains(Array(identifier)[19]))
        #expect(Identifier.make() != Identifier.make())
    }

    @Test(
        "What is not an identifier is known as such",
        arguments: [
            "", "0", "01234567-89AB-7000-8000-000000000000", "01234567-89ab-7000-8000-00000000000",
            "0123456789ab-7000-8000-000000000000-", "01234567-89ab-7000-8000-0000000000000",
            "../../../../etc/passwd/aaaaaaaaaaaaa",
        ])
    func refusedIdentifier(text: String) {
        #expect(!Identifier.isValid(text))
    }

    @Test("RFC 3339: a time is told in UTC with milliseconds") func timestamp() {
        #expect(Timestamp.text(1_700_000_000_123) == "2023-11-14T22:13:20.123Z")
        #expect(Timestamp.text(0) == "1970-01-01T00:00:00.000Z")
        #expect(Timestamp.text(-1) == "1969-12-31T23:59:59.999Z")
    }

    @Test("RFC 7518 §3.3: a signature that OpenSSL made is accepted, and no other") func knownSignature()
        throws
    {
        let modulus =
            "wukB8c9N98BLlVdUXQShO8Dv_s44VS8rtPWzwmmDejINeWt6J9QHWz4fWZ8ocNnlB1EKqz0FKIIPh97JYz_mdXDRiPr_JxiAxkVaXKp-YJJEAP1w3gTszAVO61vSZh1gxMSkjBGQi5I-RtVN1khfzzRQdTVwKP8ePZyt3Tlyt0rtNFfRjo2MmwszTmOERhM6mVk4Y0kPcc1WzjbwUbRT941iVSzNlncu9mq0huDzreILeVzcwe5AwIL2gkmOEeg5HVpUB9vS4ROhjLpNH9azr38G3dAWqlfrurLqjlwI7B2IDL57jWxRN5SkaK95_rJSMrGC3sftYdcH4B59dIqfNw"
        let signature =
            "DSiJwSJ4fGjAP5wExrRcwONW4yr-KkCh9LkKkbpqVuSlrfKgROwa0AAEk6InTayiQzZkOrvEzLObG95Hoy-Xuo-9uHwT5xmvSj7ZRhim3DDQtVDNV3ERAzp424PUOBke4pUT07UoE1G7H-LZNjblKZoEXoH0MBA9KCh1XmlgzqQU9cbmqn0RlBEoihA9Ezdo2yBdyYiVQDuTJRlalFc6WtfiiqYYgdrcSLa_v7vlC19d02t0EhEpsgk-4MnrRIO6Fnzozw6maXcqIu60mBeCyRztWuFsI1fS1-3ERuPkA8oDsPpMA0QzaAgZTCJZ7cHodo3_Yhg74ij_3ssHCnEqmA"
        let key = try #require(
            CheckingKey(PublishedKey(kty: "RSA", kid: "k", use: "sig", alg: "RS256", n: modulus, e: "AQAB")))
        var bytes = try #require(Bytes.fromBase64url(signature))
        #expect(key.isSigned("abc.def", by: bytes))
        #expect(!key.isSigned("abc.deg", by: bytes))
        #expect(!key.isSigned("abc.def", by: Array(bytes.dropLast())))
        #expect(!key.isSigned("abc.def", by: []))
        bytes[17] ^= 1
        #expect(!key.isSigned("abc.def", by: bytes))
    }
}
