import HTTP
import Memory
import Testing

@Suite("RFC 9110 §5.1: field names") struct FieldNamesTests {
    private static let names: [(String, KnownField)] = [
        ("Authorization", .authorization), ("Connection", .connection), ("Content-Length", .contentLength),
        ("Cookie", .cookie), ("Date", .date), ("Expect", .expect), ("Forwarded", .forwarded), ("Host", .host),
        ("HTTP2-Settings", .http2Settings), ("Keep-Alive", .keepAlive),
        ("Proxy-Authenticate", .proxyAuthenticate), ("Proxy-Authorization", .proxyAuthorization),
        ("Proxy-Connection", .proxyConnection), ("Server", .server), ("TE", .te), ("Trailer", .trailer),
        ("Transfer-Encoding", .transferEncoding), ("Upgrade", .upgrade), ("Via", .via),
        ("X-Forwarded-For", .xForwardedFor), ("X-Forwarded-Host", .xForwardedHost),
        ("X-Forwarded-Proto", .xForwardedProto),
    ]

    private func classes(_ name: String) -> [KnownField] {
        let exact = Array(name.utf8)
        // In the middle of a head, with bytes behind it, and at its very end.
        let wide = Array("\r\n\(name): some value".utf8)
        let range = ByteRange(start: 2, end: 2 + exact.count)
        let tight = Array("\r\n\(name)".utf8)
        return [
            FieldNames.classify(exact.rawSpan), FieldNames.classify(range, of: wide.rawSpan),
            FieldNames.classify(range, of: tight.rawSpan),
        ]
    }

    @Test("a known name is known in any case, wherever it stands", arguments: names)
    func known(name: String, expected: KnownField) {
        for spelling in [name, name.lowercased(), name.uppercased()] {
            #expect(classes(spelling) == [expected, expected, expected])
        }
    }

    @Test("one other byte makes another name", arguments: names)
    func others(name: String, expected: KnownField) {
        for offset in 0..<name.utf8.count {
            var bytes = Array(name.utf8)
            bytes[offset] = bytes[offset] == 0x2d ? 0x5f : 0x39
            #expect(classes(String(decoding: bytes, as: UTF8.self)) == [.other, .other, .other])
        }
        #expect(classes(name + "s") == [.other, .other, .other])
        #expect(classes(String(name.dropLast()))[0] == .other)
    }

    @Test("the table of names covers every case of the enum but `other`")
    func complete() {
        var raw: UInt8 = 0
        while KnownField(rawValue: raw) != nil { raw += 1 }
        #expect(Set(Self.names.map { $0.1.rawValue }).count == Int(raw) - 1)
    }

    @Test(
        "a vouched name is found behind case and underscores",
        arguments: [
            ("X-User-ID", true), ("x_user_id", true), ("X_USER-id", true), ("X-User-ID2", false),
            ("XXUser-ID", false), ("", false),
        ])
    func vouched(name: String, expected: Bool) {
        let bytes = Array(name.utf8)
        let known = Array("X-User-ID".utf8)
        #expect(
            FieldNames.equalsIgnoringCaseAndUnderscore(bytes.rawSpan, known: known.rawSpan) == expected)
    }
}
