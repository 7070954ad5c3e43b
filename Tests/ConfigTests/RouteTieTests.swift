import Testing

@Suite("Routes that nothing puts in order") struct RouteTieTests {
    private static let listeners =
        "listeners: {web: {bind: [\"127.0.0.1:1\"]}, tls: {bind: [\"127.0.0.1:2\"]}}"

    private func errors(_ first: String, _ second: String) -> [String] {
        SampleConfiguration.errors(
            SampleConfiguration.text(
                Self.listeners,
                "routes:\n- {name: a, match: {\(first)}, to: core}\n- {name: b, match: {\(second)}, to: core}"
            ))
    }

    @Test(
        "Same prefix, same host and a listener in common is an error at the later route's prefix",
        arguments: [
            ("prefix: /x", "prefix: /x"),
            ("prefix: /x, hosts: [a.b, c.d]", "prefix: /x, hosts: [C.D, e.f]"),
            ("prefix: /x, hosts: [\"*.b\"]", "prefix: /x, hosts: [\"*.b\"]"),
            ("prefix: /x, listeners: [web]", "prefix: /x, listeners: [tls, web]"),
            ("prefix: /x, listeners: [web]", "prefix: /x"),
            ("prefix: /x", "prefix: /x, listeners: [tls]"),
        ])
    func tied(first: String, second: String) {
        #expect(
            errors(first, second) == [
                "10:29: this route ties with route 'a': same prefix and host on one listener"
            ])
    }

    @Test(
        "Anything that orders them is enough",
        arguments: [
            ("prefix: /x", "prefix: /x/y"),
            ("prefix: /x", "prefix: /x, hosts: [a.b]"),
            ("prefix: /x, hosts: [a.b]", "prefix: /x, hosts: [\"*.b\"]"),
            ("prefix: /x, hosts: [a.b]", "prefix: /x, hosts: [b]"),
            ("prefix: /x, listeners: [web]", "prefix: /x, listeners: [tls]"),
        ])
    func ordered(first: String, second: String) {
        #expect(errors(first, second).isEmpty)
    }

    @Test("Two routes of one name are an error")
    func names() {
        let text = SampleConfiguration.text(
            "routes: [{name: a, match: {prefix: /}, to: core}, {name: a, match: {prefix: /b}, to: core}]")
        #expect(SampleConfiguration.errors(text) == ["8:58: a route 'a' stands at 8:17 already"])
    }
}
