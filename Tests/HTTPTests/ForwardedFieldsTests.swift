import HTTP
import Memory
import Testing

/// The nodes of a value's elements, `-` for nobody; `nil` when it is not valid.
private func nodes(_ value: String) -> [String]? {
    let bytes = Array(value.utf8)
    var cursor = ForwardedCursor(ByteRange(start: 0, end: bytes.count))
    var found: [String] = []
    while case .element(let node) = cursor.next(in: bytes.rawSpan) { found.append(text(node, bytes)) }
    let whole = ByteRange(start: 0, end: bytes.count)
    #expect(ForwardedFields.isValid(whole, of: bytes.rawSpan) == !cursor.isBroken)
    return cursor.isBroken ? nil : found
}

private func text(_ node: ForwardedNode, _ bytes: [UInt8]) -> String {
    switch node {
    case .nobody: "-"
    case .address(let range): bytes.rawSpan[range].text
    }
}

private func listed(_ hop: String) -> String {
    let bytes = Array(hop.utf8)
    return text(ForwardedFields.node(inList: ByteRange(start: 0, end: bytes.count), of: bytes.rawSpan), bytes)
}

@Suite("RFC 7239 Forwarded") struct ForwardedFieldsTests {
    @Test(
        "§4: the examples",
        arguments: [
            (#"for="_gazonk""#, ["-"]), (#"For="[2001:db8:cafe::17]:4711""#, ["2001:db8:cafe::17"]),
            ("for=192.0.2.60;proto=http;by=203.0.113.43", ["192.0.2.60"]),
            ("for=192.0.2.43, for=198.51.100.17", ["192.0.2.43", "198.51.100.17"]),
            (#"for=_hidden, for=_SEVKISEK"#, ["-", "-"]),
            (
                #"for=192.0.2.43,for="[2001:db8:cafe::17]",for=unknown"#,
                ["192.0.2.43", "2001:db8:cafe::17", "-"]
            ),
        ])
    func examples(value: String, expected: [String]) { #expect(nodes(value) == expected) }

    @Test(
        "§4: pairs in any order, names in any case, elements and pairs that are empty",
        arguments: [
            ("by=a;FOR=1.2.3.4;host=x", ["1.2.3.4"]), ("proto=https", ["-"]), ("for=1.2.3.4;", ["1.2.3.4"]),
            (";;for=1.2.3.4;;", ["1.2.3.4"]), (",, for=1.2.3.4 ,\t, for=5.6.7.8,", ["1.2.3.4", "5.6.7.8"]),
            ("for=1.2.3.4; proto=http", ["1.2.3.4"]), ("", []), (" , ", []), (";", ["-"]),
            (#"x="a, for=9.9.9.9;";for=1.2.3.4"#, ["1.2.3.4"]), (#"x="\"";for=1.2.3.4"#, ["1.2.3.4"]),
        ])
    func shapes(value: String, expected: [String]) { #expect(nodes(value) == expected) }

    @Test(
        "§4: what is no such list is not read as one, not even its first elements",
        arguments: [
            "for", "for=", "for =1.2.3.4", "for= 1.2.3.4", "=1.2.3.4", "for=1.2.3.4 proto=http", "for=[::1]",
            "for=1.2.3.4:80", #"for="1.2.3.4"#, #"for="1.2.3.4"x"#, #"for="a\"#, #"for="a\""#,
            "for=1.2.3.4, (x)",
            "for=1.2.3.4;for=5.6.7.8", "for=1.2.3.4, for=/x", "for=1.2.3.4\u{1}", "for=ü",
        ])
    func broken(value: String) { #expect(nodes(value) == nil) }

    @Test("§8.1: a string left open by the first hop does not swallow what trusted hops append")
    func openString() {
        for start in [#"for=""#, #"for=6.6.6.6;x=""#, #"x="\"#] {
            for appended in ["for=192.0.2.1", #"for="[2001:db8::1]""#, #"for="192.0.2.1:80";proto=http"#] {
                #expect(nodes("\(start), \(appended)") == nil)
            }
        }
    }

    @Test(
        "§6: a node is an address with or without a port, quoted where it has a colon",
        arguments: [
            (#""192.0.2.1""#, "192.0.2.1"), (#""192.0.2.1:4711""#, "192.0.2.1"),
            (#""192.0.2.1:_p.0-x""#, "192.0.2.1"),
            (#""[2001:db8::1]""#, "2001:db8::1"), (#""[2001:db8::1]:65535""#, "2001:db8::1"),
            (#""[::ffff:192.0.2.1]""#, "::ffff:192.0.2.1"), (#""[2001:db8::1]x""#, "-"),
            (#""[2001:db8::1]:""#, "-"),
            (#""[2001:db8::1]:123456""#, "-"), (#""[192.0.2.1]""#, "-"), (#""[2001:db8::1""#, "-"),
            (#""[]""#, "-"),
            (#""2001:db8::1""#, "-"), (#""192.0.2.1:""#, "-"), (#""192.0.2.1:8x""#, "-"),
            (#""192.0.2.1:_""#, "-"),
            (#""""#, "-"), (#"":80""#, "-"),
        ])
    func node(value: String, expected: String) { #expect(nodes("for=\(value)") == [expected]) }

    @Test(
        "§6.2, §6.3: unknown and obfuscated identifiers name nobody, with or without a port",
        arguments: ["unknown", "UNKNOWN", #""unknown:80""#, "_hidden", #""_hidden:_port""#, "_"])
    func unnamed(value: String) { #expect(nodes("for=\(value)") == ["-"]) }

    @Test(
        "X-Forwarded-For: what proxies are known to write",
        arguments: [
            ("192.0.2.1", "192.0.2.1"), ("192.0.2.1:4711", "192.0.2.1"), ("2001:db8::1", "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1"), ("[2001:db8::1]:4711", "2001:db8::1"), ("::1", "::1"),
            ("unknown", "-"),
            ("_x", "-"), ("192.0.2.1:", "-"), ("[2001:db8::1]4711", "-"), ("[", "-"), ("", "-"),
        ])
    func lists(hop: String, expected: String) { #expect(listed(hop) == expected) }
}
