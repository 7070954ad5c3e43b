import Cryptography
import Memory
import Testing

@Suite("RFC 6455 §4 Opening Handshake, the two values") struct WebSocketKeyTests {
    private func isAccepted(_ key: String, by value: String) -> Bool {
        var hash = SHA1()
        let key = Array(key.utf8)
        let value = Array(value.utf8)
        return WebSocketKey.isAccepted(key.rawSpan, by: value.rawSpan, &hash)
    }

    private func makeKey(_ random: inout Random) -> [UInt8]? {
        let pool = BlockPool(limit: 1)
        guard var block = pool.take(), WebSocketKey.append(to: &block, from: &random) else { return nil }
        return block.bytes.array
    }

    @Test(
        "§1.3 and what other implementations gave: the proof of each key is accepted",
        arguments: [
            ("dGhlIHNhbXBsZSBub25jZQ==", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
            ("x3JJHMbDL1EzLkh9GBhXDw==", "HSmrc0sMlYUkAGmm5OPpG2HaGWk="),
            ("AAAAAAAAAAAAAAAAAAAAAA==", "ICX+Yqv66kxgM0FcWaLWlFLwTAI="),
        ])
    func accepted(key: String, proof: String) { #expect(isAccepted(key, by: proof)) }

    @Test("any other value is not: each character changed, cut short, longer, or of another key")
    func refused() {
        let key = "dGhlIHNhbXBsZSBub25jZQ=="
        let proof = Array("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=".utf8)
        for index in proof.indices {
            for bit in 0..<8 {
                var other = proof
                other[index] ^= 1 << UInt8(bit)
                #expect(!isAccepted(key, by: String(decoding: other, as: UTF8.self)))
            }
            #expect(!isAccepted(key, by: String(decoding: proof[..<index], as: UTF8.self)))
        }
        #expect(!isAccepted(key, by: "s3pPLMBiTxaQ9kYGzzhZRbK+xOo= "))
        #expect(!isAccepted(key, by: "ICX+Yqv66kxgM0FcWaLWlFLwTAI="))
        #expect(!isAccepted(key, by: ""))
    }

    @Test("FIPS 180-4: SHA-1 of one and of two pieces is that of both together") func hash() {
        var hash = SHA1()
        let text = Array("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq".utf8)
        let expected: [UInt8] = [
            0x84, 0x98, 0x3e, 0x44, 0x1c, 0x3b, 0xd2, 0x6e, 0xba, 0xae, 0x4a, 0xa1, 0xf9, 0x51, 0x29, 0xe5,
            0xe5, 0x46, 0x70, 0xf1,
        ]
        for split in 0...text.count {
            let first = Array(text[..<split])
            let second = Array(text[split...])
            let digest = hash.hash(first.rawSpan, second.rawSpan)
            #expect((0..<20).map { digest[$0] } == expected)
        }
    }

    @Test("§4.1: a fresh key is the canonical Base64 of 16 bytes, and never comes twice") func fresh() throws
    {
        var random = Random()
        var seen: Set<[UInt8]> = []
        let alphabet = Set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)
        for _ in 0..<500 {
            let made = makeKey(&random)
            let key = try #require(made)
            #expect(key.count == WebSocketKey.keyCount && key.suffix(2) == Array("==".utf8)[...])
            #expect(key.prefix(22).allSatisfy { alphabet.contains($0) })
            // Two bits of the last character stand for nothing, and four of its six are zero (RFC 4648 §3.5).
            #expect(Array("AQgw".utf8).contains(key[21]))
            #expect(seen.insert(key).inserted)
        }
        let used = Set(seen.joined())
        #expect(used.isSuperset(of: alphabet), "every character of the alphabet comes up")
    }

    @Test("a block without room for a whole key gets no part of one") func full() {
        let pool = BlockPool(limit: 1)
        var random = Random()
        guard var block = pool.take() else {
            Issue.record("a fresh pool has a block")
            return
        }
        while block.freeCount >= 24 { _ = block.append(UInt8(0)) }
        let count = block.byteCount
        let isWritten = WebSocketKey.append(to: &block, from: &random)
        #expect(!isWritten && block.byteCount == count)
    }
}
