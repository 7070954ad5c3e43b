import LinuxIO
import Memory
import Testing

@Suite("Addresses") struct AddressTests {
    private func parsed(_ text: some StringProtocol) -> SocketAddress? {
        let bytes = Array(text.utf8)
        return SocketAddress.parse(bytes.rawSpan)
    }

    @Test(
        "an address is written as RFC 5952 says, and read back as itself",
        arguments: [
            ("127.0.0.1", "127.0.0.1:80"), ("0.0.0.0", "0.0.0.0:80"),
            ("255.255.255.255", "255.255.255.255:80"),
            ("::1", "[::1]:80"), ("::", "[::]:80"), ("2001:DB8:0:0:1:0:0:1", "[2001:db8::1:0:0:1]:80"),
            ("fe80::1", "[fe80::1]:80"),
        ])
    func written(text: String, expected: String) throws {
        var address = try #require(parsed(text))
        address.port = 80
        #expect(address.text == expected)
        let host = address.isV6 ? String(expected.dropFirst().dropLast(4)) : String(expected.dropLast(3))
        var again = try #require(parsed(host))
        again.port = 80
        #expect(again == address)
    }

    @Test(
        "what is no address is none",
        arguments: [
            "", "1", "1.2.3", "1.2.3.256", "01.2.3.4", "1.2.3.4 ", " 1.2.3.4", "1.2.3.4:80", "localhost", ":",
            ":::", "1::2::3",
            "fe80::1%eth0", "12345::", "[::1]", "1.2.3.4\0", "::1\0x", String(repeating: "1:", count: 40),
        ])
    func refused(text: String) {
        let isNone = parsed(text) == nil
        #expect(isNone)
    }

    @Test("an IPv4 address stands behind ::ffff:, whatever it is read from") func mapped() throws {
        let address = try #require(parsed("1.2.3.4"))
        let bytes = address.withAddressBytes { $0.array }
        #expect(bytes == [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 1, 2, 3, 4])
        #expect(SocketAddress(bytes: bytes, port: 0, isV6: false) == address)
    }

    @Test("a numeric host resolves to itself, a name that cannot be to a failure with words") func resolved()
        throws
    {
        let found = try Resolver.resolve(host: "127.0.0.1", port: 99)
        #expect(found.map(\.text) == ["127.0.0.1:99"])
        var text = ""
        do {
            _ = try Resolver.resolve(host: "no such host.invalid", port: 1)
        } catch {
            text = error.text
        }
        #expect(!text.isEmpty)
    }
}
