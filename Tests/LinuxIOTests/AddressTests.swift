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

    @Test("every octet is written as its number, wherever it stands") func octets() {
        let pool = BlockPool(blockBytes: 128, limit: 1)
        guard var block = pool.take() else { return }
        var wrong: [String] = []
        for value in 0...255 {
            for place in 0..<4 {
                var numbers = ["7", "42", "199", "0"]
                numbers[place] = String(value)
                let text = numbers.joined(separator: ".")
                // The last one has room for what it writes at once, and no more.
                block.removeAll()
                while block.freeCount > 16 { block.append(UInt8(ascii: "x")) }
                let start = block.byteCount
                parsed(text)?.appendText(to: &block)
                let written = block.bytes.extracting(start..<block.byteCount).text
                if written != text { wrong.append(written) }
            }
        }
        #expect(wrong == [])
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

    @Test("every byte of an IPv4 address is told in every place, and is read as the same again") func told() {
        let pool = BlockPool(blockBytes: 128, limit: 1)
        guard var block = pool.take() else {
            Issue.record("a fresh pool has a block")
            return
        }
        for byte in UInt32(0)...255 {
            for place in UInt32(0)..<4 {
                let address = SocketAddress(ipv4: byte << (8 * place) | 7 << (8 * ((place + 1) % 4)), port: 0)
                var bytes: [UInt32] = [0, 0, 0, 0]
                bytes[3 - Int(place)] = byte
                bytes[3 - Int((place + 1) % 4)] = 7
                block.removeAll()
                address.appendText(to: &block)
                let text = block.bytes.text
                let again = parsed(text)
                #expect(text == bytes.map(String.init).joined(separator: ".") && again == address)
            }
        }
        // Where it just fits.
        block.removeAll()
        for _ in 0..<block.freeCount - 15 { block.append(UInt8(ascii: "x")) }
        SocketAddress(ipv4: .max, port: 0).appendText(to: &block)
        let (left, text) = (block.freeCount, block.bytes.text)
        #expect(left == 0 && text.hasSuffix("x255.255.255.255"))
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
