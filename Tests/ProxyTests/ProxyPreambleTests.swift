import LinuxIO
import Memory
import Testing

@testable import Proxy

private typealias Step = ProxyPreamble.Step

private func parse(_ bytes: [UInt8]) -> Step { ProxyPreamble.parse(bytes.rawSpan) }
private func parse(_ text: String) -> Step { parse(Array(text.utf8)) }

private let signature: [UInt8] = [0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a]

/// A preamble of version 2 as §2.2 has it.
private func binary(_ command: UInt8, _ family: UInt8, _ block: [UInt8], length: Int? = nil) -> [UInt8] {
    let length = length ?? block.count
    return signature + [command, family, UInt8(length >> 8), UInt8(length & 0xff)] + block
}

private let fourBytes: [UInt8] = [203, 0, 113, 7, 192, 0, 2, 1, 0xd6, 0xd8, 0x01, 0xbb]
private let sixBytes: [UInt8] =
    [0x20, 0x01, 0x0d, 0xb8] + [UInt8](repeating: 0, count: 11) + [7] + [0x20, 0x01, 0x0d, 0xb8]
    + [UInt8](repeating: 0, count: 11) + [1, 0xd6, 0xd8, 0x01, 0xbb]

private func ends(_ step: Step) -> String? {
    guard case .complete(_, let ends?) = step else { return nil }
    return "\(ends.source.text) \(ends.destination.text)"
}

/// Each good input with both ends, `nil` where the peer of the socket stays.
private let good: [(name: String, bytes: [UInt8], ends: String?)] = [
    (
        "§2.1 TCP4", Array("PROXY TCP4 203.0.113.7 192.0.2.1 55000 443\r\n".utf8),
        "203.0.113.7:55000 192.0.2.1:443"
    ),
    (
        "§2.1 TCP4 at its longest",
        Array("PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n".utf8),
        "255.255.255.255:65535 255.255.255.255:65535"
    ),
    (
        "§2.1 TCP6", Array("PROXY TCP6 2001:DB8::7 ::1 1 0\r\n".utf8), "[2001:db8::7]:1 [::1]:0"
    ),
    (
        "§2.1 TCP6 of an IPv4 client",
        Array("PROXY TCP6 ::ffff:203.0.113.7 ::ffff:192.0.2.1 1 2\r\n".utf8), "203.0.113.7:1 192.0.2.1:2"
    ),
    ("§2.1 UNKNOWN", Array("PROXY UNKNOWN\r\n".utf8), nil),
    (
        "§2.1 UNKNOWN at its longest, 107 bytes",
        Array(
            ("PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
                + "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n").utf8), nil
    ),
    ("§2.2 PROXY, TCP over IPv4", binary(0x21, 0x11, fourBytes), "203.0.113.7:55000 192.0.2.1:443"),
    ("§2.2 PROXY, TCP over IPv6", binary(0x21, 0x21, sixBytes), "[2001:db8::7]:55000 [2001:db8::1]:443"),
    ("§2.2 LOCAL", binary(0x20, 0x00, []), nil),
    ("§2.2 LOCAL: the block is discarded, whatever it says", binary(0x20, 0x99, [1, 2, 3]), nil),
    ("§2.2 UNSPEC", binary(0x21, 0x00, []), nil),
    ("§2.2 AF_UNIX", binary(0x21, 0x31, [UInt8](repeating: 0x2f, count: 216)), nil),
    ("§2.2 datagrams fall back to UNSPEC", binary(0x21, 0x12, fourBytes), nil),
    (
        "§2.2.1 TLVs: PP2_TYPE_AUTHORITY and an empty PP2_TYPE_NOOP",
        binary(0x21, 0x11, fourBytes + [0x02, 0, 3, 0x61, 0x2e, 0x62, 0x04, 0, 0]),
        "203.0.113.7:55000 192.0.2.1:443"
    ),
    (
        "the longest block that is taken",
        binary(0x21, 0x11, fourBytes + [0x04, 3, 241] + [UInt8](repeating: 0, count: 1009)),
        "203.0.113.7:55000 192.0.2.1:443"
    ),
]

@Suite("PROXY protocol (proxy-protocol.txt §2)") struct ProxyPreambleTests {
    @Test("what both versions say is understood, and exactly its bytes are used up") func understood() {
        for each in good {
            #expect(ends(parse(each.bytes)) == each.ends, "\(each.name)")
            for rest in ["", "GET / HTTP/1.1\r\n", "PROXY TCP4 ", "\u{16}\u{3}\u{1}"] {
                guard case .complete(let consumed, _) = parse(each.bytes + Array(rest.utf8)) else {
                    Issue.record("\(each.name) before '\(rest)'")
                    continue
                }
                #expect(consumed == each.bytes.count, "\(each.name)")
            }
        }
    }

    @Test("each prefix of what is good is incomplete") func prefixes() {
        for each in good {
            for count in 0..<each.bytes.count {
                #expect(parse(Array(each.bytes.prefix(count))) == .incomplete, "\(each.name), \(count) bytes")
            }
        }
    }

    @Test(
        "§2.1: a line that is not to the letter is refused",
        arguments: [
            "PROXY TCP4 203.0.113.7 192.0.2.1 55000 443\n", "PROXY TCP4 203.0.113.7 192.0.2.1 55000 443\rX",
            "PROXY  TCP4 203.0.113.7 192.0.2.1 55000 443\r\n",
            "PROXY TCP4 203.0.113.7 192.0.2.1 55000 443 \r\n",
            "PROXY TCP4 203.0.113.7  192.0.2.1 55000 443\r\n",
            "PROXY TCP4\t203.0.113.7 192.0.2.1 55000 443\r\n",
            "PROXY TCP4 203.0.113.7 192.0.2.1 55000\r\n", "PROXY TCP4 203.0.113.7 192.0.2.1 55000 443 9\r\n",
            "PROXY TCP4 203.0.113.7 192.0.2.1 65536 443\r\n", "PROXY TCP4 203.0.113.7 192.0.2.1 -1 443\r\n",
            "PROXY TCP4 203.0.113.7 192.0.2.1 0443 443\r\n", "PROXY TCP4 203.0.113.7 192.0.2.1 +80 443\r\n",
            "PROXY TCP4 203.0.113.07 192.0.2.1 1 2\r\n", "PROXY TCP4 203.0.113 192.0.2.1 1 2\r\n",
            "PROXY TCP4 ::1 ::1 1 2\r\n", "PROXY TCP6 203.0.113.7 192.0.2.1 1 2\r\n",
            "PROXY TCP6 ::1 192.0.2.1 1 2\r\n", "PROXY TCP6 [::1] [::1] 1 2\r\n",
            "PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n", "PROXY TCP4 example.com 192.0.2.1 1 2\r\n",
            "PROXY UDP4 203.0.113.7 192.0.2.1 1 2\r\n", "PROXY tcp4 203.0.113.7 192.0.2.1 1 2\r\n",
            "PROXY \r\n", "PROXY UNKNOWNS\r\n", "PROXY TCP4 203.0.113.7\0 192.0.2.1 1 2\r\n",
        ])
    func badLine(line: String) { #expect(parse(line) == .refused(.malformed)) }

    @Test("§2.1: 107 bytes are the most, with the CRLF") func longLines() {
        #expect(ProxyPreamble.mostTextBytes == 107)
        let start = "PROXY UNKNOWN "
        for padding in 90...93 {
            let line = start + String(repeating: "x", count: padding)
            let total = line.utf8.count + 2
            let isLong = total > 107
            #expect(
                parse(line + "\r\n") == (isLong ? .refused(.tooLong) : .complete(consumed: total, ends: nil)))
        }
        #expect(parse(start + String(repeating: "x", count: 93)) == .refused(.tooLong))
    }

    @Test(
        "neither signature: nothing is guessed",
        arguments: [
            "GET / HTTP/1.1\r\n", "PRI * HTTP/2.0\r\n", "proxy TCP4", "PROXX", "\u{16}\u{3}\u{1}", " PROXY",
            "\r\nX",
            "\r\n\r\n\0\r\nQUIT\r",
        ])
    func strangers(text: String) { #expect(parse(text) == .refused(.notAPreamble)) }

    @Test(
        "§2.2: versions, commands, families and lengths that are not known are refused, as soon as their byte is there",
        arguments: [
            ([0x11], ProxyPreamble.Failure.unknownVersion), ([0x31], .unknownVersion),
            ([0x22], .unknownVersion),
            ([0x2f], .unknownVersion), ([0x21, 0x10], .unknownFamily), ([0x21, 0x01], .unknownFamily),
            ([0x21, 0x41], .unknownFamily), ([0x21, 0x13], .unknownFamily),
            ([0x21, 0x11, 0, 11], .malformed),
            ([0x21, 0x21, 0, 35], .malformed), ([0x21, 0x31, 0, 215], .malformed),
            ([0x21, 0x11, 4, 1], .tooLong), ([0x20, 0x00, 4, 1], .tooLong),
            ([0x21, 0x11, 255, 255], .tooLong),
        ] as [([UInt8], ProxyPreamble.Failure)])
    func badHead(tail: [UInt8], failure: ProxyPreamble.Failure) {
        #expect(parse(signature + tail) == .refused(failure))
        #expect(parse(signature + tail.dropLast()) == .incomplete)
    }

    @Test(
        "§2.2.1: TLVs fill the block exactly",
        arguments: [[0x04], [0x04, 0], [0x04, 0, 1], [0x04, 0, 0, 0x04], [0x04, 0, 2, 1]] as [[UInt8]])
    func badVectors(tail: [UInt8]) {
        #expect(parse(binary(0x21, 0x11, fourBytes + tail)) == .refused(.malformed))
    }

    @Test("what is refused stays refused, for the same reason, whatever follows") func stable() {
        let texts = ["PROXY TCP4 1.2.3.4 1.2.3.4 1 65536\r\n", "PROXY TCP4 1\n", "PROXX", "QUIT"]
        for text in texts {
            let refused = parse(text)
            for more in ["\r\n", "\n", "x", String(repeating: " ", count: 200)] {
                #expect(parse(text + more) == refused)
            }
        }
    }
}
