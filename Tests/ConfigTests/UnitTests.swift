import Testing

@testable import Config

@Suite("Units") struct QuantityTests {
    @Test(
        "A number and a unit, nothing else",
        arguments: [
            ("250ms", 250_000_000), ("5s", 5_000_000_000), ("2m", 120_000_000_000), ("1h", 3_600_000_000_000),
            ("0s", 0),
        ] as [(String, Int)])
    func durations(text: String, nanoseconds: Int) {
        #expect(Quantity.duration(text) == nanoseconds)
        #expect(Quantity.durationText(nanoseconds) == text)
    }

    @Test(
        "Sizes are in powers of 1024",
        arguments: [
            ("512B", 512), ("64KiB", 65536), ("10MiB", 10_485_760), ("2GiB", 2_147_483_648), ("0B", 0),
        ] as [(String, Int)])
    func sizes(text: String, bytes: Int) {
        #expect(Quantity.size(text) == bytes)
        #expect(Quantity.sizeText(bytes) == text)
    }

    @Test(
        "Anything looser is refused, and so is what exceeds a number",
        arguments: [
            "", "s", "5", "5 s", " 5s", "5s ", "+5s", "-5s", "05s", "5.0s", "1e3s", "5S", "5sec", "٥s", "5d",
            "9223372036854775807s", "99999999999999999999s",
        ])
    func refusedDurations(text: String) {
        #expect(Quantity.duration(text) == nil)
    }

    @Test("Sizes and rates likewise")
    func refusedOthers() {
        for text in ["", "B", "5", "5KB", "5kib", "5 KiB", "05B", "9007199254740993GiB"] {
            #expect(Quantity.size(text) == nil)
        }
        for text in ["", "/s", "5", "5/m", "5/sec", "5 /s", "5/ s", "05/s", "-1/s", "1/d", "5s"] {
            #expect(Quantity.rate(text) == nil)
        }
        #expect(Quantity.integer("9223372036854775807") == .max)
        #expect(Quantity.integer("9223372036854775808") == nil)
    }
}

@Suite("Addresses") struct AddressTests {
    @Test(
        "RFC 4291 §2.2: each form of an IPv6 address",
        arguments: [
            ("::", 0, 0), ("::1", 0, 1), ("1::", 0x1_0000_0000_0000, 0), ("1::8", 0x1_0000_0000_0000, 8),
            ("2001:DB8:0:0:8:800:200C:417A", 0x2001_0DB8_0000_0000, 0x0008_0800_200C_417A),
            ("2001:db8::8:800:200c:417a", 0x2001_0DB8_0000_0000, 0x0008_0800_200C_417A),
            ("::13.1.68.3", 0, 0x0D01_4403), ("::ffff:129.144.52.38", 0, 0xFFFF_8190_3426),
            ("1:2:3:4:5:6:7::", 0x1_0002_0003_0004, 0x5_0006_0007_0000),
            ("1:2:3:4:5:6:1.2.3.4", 0x1_0002_0003_0004, 0x5_0006_0102_0304),
        ] as [(String, UInt64, UInt64)])
    func ipv6(text: String, high: UInt64, low: UInt64) {
        let address = AddressParser.host(text)
        #expect(address?.high == high && address?.low == low && address?.isIPv4 == false)
    }

    @Test(
        "What is not an address, or not in one way only",
        arguments: [
            "", ":", ":::", "1", "1:2", "1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9", "1:2:3:4:5:6:7:8::", "::1::",
            "1::2::3", ":1::",
            "1:::2", "12345::", "g::", "::1%eth0", "fe80::1%1", "::1.2.3", "::1.2.3.4:5", "1.2.3.4::",
            "1:2:3:4:5:6:7:1.2.3.4",
            "1.2.3", "1.2.3.4.5", "256.1.1.1", "01.2.3.4", "1.2.3.4 ", "0x7f.1", "1.2..4", "١.2.3.4",
            "localhost", "::1:",
        ])
    func refused(text: String) {
        #expect(AddressParser.host(text) == nil)
    }

    @Test(
        "Listening addresses have a port, and brackets exactly around IPv6",
        arguments: [
            "127.0.0.1", "::1:80", "[::1]", "[127.0.0.1]:80", "[::1]80", "[::1:80", "127.0.0.1:",
            "127.0.0.1:080", "1.2.3.4:1:2",
            ":80", "*:80", "1.2.3.4:+1", "1.2.3.4:65536",
        ])
    func refusedBind(text: String) {
        #expect(AddressParser.bind(text) == nil)
    }

    @Test(
        "Networks have no bit beyond their length",
        arguments: [
            ("10.0.0.0/8", 104), ("0.0.0.0/0", 96), ("1.2.3.4", 128), ("1.2.3.4/32", 128), ("::/0", 0),
            ("2001:db8::/32", 32),
            ("2001:db8:0:1::/64", 64), ("2001:db8::1/128", 128), ("2001:db8::8000:0:0:0/65", 65),
            ("10.1/8", nil), ("10.0.0.1/8", nil),
            ("10.0.0.0/33", nil), ("::/129", nil), ("10.0.0.0/", nil), ("10.0.0.0/08", nil),
            ("10.0.0.0/8/8", nil), ("::1/64", nil),
        ] as [(String, Int?)])
    func prefixes(text: String, length: Int?) {
        #expect(AddressParser.prefix(text)?.lengthBits == length)
    }

    @Test(
        "Names are DNS names that no one can take for an address",
        arguments: [
            ("a", true), ("api.Example.com", true), ("core_1.internal", true), ("1a.b2", true),
            ("xn--p1ai", true),
            (String(repeating: "a", count: 63), true), ("", false), (".", false), ("a.", false),
            (".a", false), ("a..b", false),
            ("-a", false), ("a-", false), ("a b", false), ("1.2.3", false), ("a.1", false), ("ä.de", false),
            ("a\u{0}", false),
            (String(repeating: "a", count: 64), false),
            ((0..<64).map { _ in "abc" }.joined(separator: "."), false),
            ("\u{212A}.com", false),
        ] as [(String, Bool)])
    func names(text: String, isName: Bool) {
        #expect((AddressParser.name(text) != nil) == isName)
    }
}

@Suite("The nearest right spelling") struct SpellingTests {
    @Test(
        "Insertions, deletions, replacements and swapped neighbours cost one each",
        arguments: [
            ("", "", 0), ("a", "", 1), ("abc", "abc", 0), ("abc", "acb", 1), ("abc", "abd", 1),
            ("ab", "abc", 1), ("kitten", "sitting", 3),
        ] as [(String, String, Int)])
    func distance(left: String, right: String, expected: Int) {
        #expect(Spelling.distance(Array(left.utf8), Array(right.utf8)) == expected)
        #expect(Spelling.distance(Array(right.utf8), Array(left.utf8)) == expected)
    }

    @Test("Only near words are offered, the nearest first")
    func suggestions() {
        var spelling = Spelling()
        #expect(
            spelling.suggestion(for: "upstrem", among: ["stream", "upstream"]) == "; did you mean 'upstream'?"
        )
        #expect(spelling.suggestion(for: "xyz", among: ["upstream", "to"]) == "")
        #expect(spelling.suggestion(for: "", among: ["upstream", "to"]) == "")
    }

    @Test("The search ends when it has cost enough")
    func bounded() {
        var spelling = Spelling()
        let word = String(repeating: "a", count: 1023)
        #expect(spelling.suggestion(for: word, among: [word + "b"]) == "")
        #expect(spelling.suggestion(for: "upstrem", among: ["upstream"]) == "")
    }
}
