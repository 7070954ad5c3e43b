import HTTP
import LinuxIO
import Memory
import Testing

@testable import Proxy

@Suite("Refusals") struct RefusalTests {
    @Test("each has a name of its own, in small letters, and a title") func names() {
        let names = Refusal.allCases.map { "\($0.name)" }
        #expect(Set(names).count == names.count)
        for name in names {
            #expect(!name.isEmpty && name.allSatisfy { $0.isASCII && $0.isLowercase || $0 == "_" })
        }
        let titles = Refusal.allCases.map { "\($0.title)" }
        #expect(Set(titles).count == titles.count && titles.allSatisfy { !$0.isEmpty })
    }

    @Test("texts need no escapes in JSON, in a quoted string or in grpc-message, and are short sentences")
    func texts() {
        for refusal in Refusal.allCases {
            for text in ["\(refusal.told.title)", "\(refusal.told.advice)"] {
                let isPlain = text.utf8.allSatisfy { (0x20...0x7e).contains($0) }
                #expect(isPlain && !text.contains { "\"\\%|".contains($0) }, "\(refusal): \(text)")
                #expect(!text.contains("  "), "\(refusal): \(text)")
            }
            let advice = "\(refusal.told.advice)"
            #expect(advice.hasSuffix(".") && (20...200).contains(advice.utf8.count), "\(refusal): \(advice)")
            #expect(!"\(refusal.told.title)".hasSuffix("."))
        }
    }

    @Test("who is asked to wait has got an answer that says so, of a status that is about waiting")
    func retryAfter() {
        for refusal in Refusal.allCases where refusal.told.retryAfterSeconds > 0 {
            #expect(refusal.status == 429 || refusal.status == 503, "\(refusal)")
        }
    }

    @Test("RFC 9110 §15: each has the status of an error, with registered words but nginx's 499")
    func statuses() {
        for refusal in Refusal.allCases {
            #expect((400...599).contains(refusal.status) || refusal == .redirected, "\(refusal)")
            let words = "\(StatusText.reason(refusal.status))"
            #expect(words.isEmpty == (refusal.status == 499), "\(refusal)")
        }
    }

    @Test(
        "each error of a head has the status that its definition says",
        arguments: [
            (RequestHeadError.badRequestLine, 400), (.badMethod, 400), (.badTarget, 400),
            (.unsupportedVersion, 505),
            (.badFieldName, 400), (.badFieldValue, 400), (.obsoleteFold, 400), (.bareLineEnd, 400),
            (.missingHost, 400), (.repeatedHost, 400), (.badHost, 400), (.conflictingHost, 400),
            (.badContentLength, 400), (.conflictingContentLength, 400), (.badTransferEncoding, 400),
            (.unknownTransferCoding, 501), (.unknownExpectation, 417), (.requestLineTooLong, 414),
            (.headTooLarge, 431), (.tooManyFields, 431), (.connectRefused, 501), (.badPseudoField, 400),
            (.connectionField, 400),
        ])
    func heads(error: RequestHeadError, status: Int) { #expect(Refusal(error).status == status) }
}

@Suite("Ranges of addresses") struct AddressRangeTests {
    private func address(_ text: String) throws -> SocketAddress {
        let bytes = Array(text.utf8)
        let parsed = SocketAddress.parse(bytes.rawSpan)
        return try #require(parsed)
    }

    private func makeRange(_ bytes: [UInt8], bits: Int) -> AddressRange {
        let words = [0, 8].map { start in bytes[start..<start + 8].reduce(0) { $0 << 8 | UInt64($1) } }
        return AddressRange(high: words[0], low: words[1], bits: bits)
    }

    private func bytes(_ address: SocketAddress) -> [UInt8] { address.withAddressBytes { $0.array } }

    @Test(
        "RFC 4632 §3.1: a range holds what shares its first bits",
        arguments: [
            ("10.0.0.0", 96 + 8, "10.255.1.2", true), ("10.0.0.0", 96 + 8, "11.0.0.0", false),
            ("10.0.0.0", 96 + 8, "9.255.255.255", false), ("192.168.4.0", 96 + 22, "192.168.7.255", true),
            ("192.168.4.0", 96 + 22, "192.168.8.0", false), ("127.0.0.1", 128, "127.0.0.1", true),
            ("127.0.0.1", 128, "127.0.0.2", false), ("0.0.0.0", 96, "203.0.113.9", true),
            ("0.0.0.0", 96, "2001:db8::1", false), ("::", 0, "203.0.113.9", true),
            ("::", 0, "2001:db8::1", true),
            ("2001:db8::", 32, "2001:db8:ffff::1", true), ("2001:db8::", 32, "2001:db9::", false),
            ("2001:db8:0:0:8000::", 65, "2001:db8::8000:0:0:1", true),
            ("2001:db8:0:0:8000::", 65, "2001:db8::7fff:0:0:1", false),
            ("fe80::", 64, "fe80::ffff:1:2:3", true),
            ("fe80::", 64, "fe80:0:0:1::", false),
        ])
    func ranges(range: String, bits: Int, text: String, isInside: Bool) throws {
        let range = makeRange(bytes(try address(range)), bits: bits)
        #expect(range.contains(try address(text)) == isInside)
    }

    @Test("for every length of prefix: the same bits are inside, one bit that differs is not") func everyBit()
    {
        let base = (0..<16).map { UInt8(truncatingIfNeeded: $0 &* 73 &+ 11) }
        for bits in 0...128 {
            let range = makeRange(base, bits: bits)
            for flipped in 0..<128 {
                var other = base
                other[flipped / 8] ^= 0x80 >> UInt8(flipped % 8)
                let isInside = range.contains(SocketAddress(bytes: other, port: 1, isV6: true))
                #expect(isInside == (flipped >= bits), "/\(bits), bit \(flipped)")
            }
        }
    }
}
