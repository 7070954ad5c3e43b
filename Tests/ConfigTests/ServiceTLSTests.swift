import Config
import Testing

@Suite("TLS to services") struct ServiceTLSTests {
    private static func errors(_ service: String) -> [String] {
        SampleConfiguration.errors(SampleConfiguration.text("services: {core: {\(service)}}"))
    }

    @Test(
        "What cannot be meant is refused at its place",
        arguments: [
            (
                "to: [\"http://a:1\"], tls: {ca: x}",
                "6:44: tls needs an address with TLS, https or h2, in this service's 'to'"
            ),
            ("to: [\"https://a:1\"], tls: {cert: x}", "6:52: 'cert' needs 'key' beside it"),
            ("to: [\"https://a:1\"], tls: {key: x}", "6:51: 'key' needs 'cert' beside it"),
            (
                "to: [\"https://a:1\"], tls: {server_name: \"a b\"}",
                "6:59: server_name must be a name such as core.internal, or an address, found 'a b'"
            ),
            ("to: [\"https://a:1\"], tls: {verify: false}", "6:46: unknown key 'verify'"),
            ("to: [\"https://a:1\"], tls: x", "6:45: tls must be a mapping, found 'x'"),
        ])
    func refused(service: String, expected: String) {
        #expect(Self.errors(service) == [expected])
    }

    @Test("A service speaks HTTP/1 or HTTP/2, not both")
    func mixed() throws {
        let expected =
            "a service's addresses are all of HTTP/1 (http, https) or all of HTTP/2 (h2c, h2), found"
        #expect(
            Self.errors("to: [\"http://a:1\", \"h2c://b:1\"]") == ["6:38: \(expected) h2c beside http"])
        #expect(Self.errors("to: [\"h2://a\", \"https://b\"]") == ["6:34: \(expected) https beside h2"])
        let line = "services: {core: {to: [\"h2://a\", \"h2c://b\"]}}"
        let it = try SampleConfiguration.load(SampleConfiguration.text(line)).get()
        #expect(it.services[0].isHTTP2)
        #expect(it.services[0].endpoints.map(\.value.port) == [443, 80])
    }

    @Test("A port that is the scheme's own is left out of the Host, and any other is in it")
    func ports() throws {
        let line =
            "services: {core: {to: [\"https://a\", \"https://b:443\", \"https://c:80\", \"http://d\"]}}"
        let it = try SampleConfiguration.load(SampleConfiguration.text(line)).get()
        #expect(it.services[0].endpoints.map(\.value.authority) == ["a", "b", "c:80", "d"])
        #expect(it.services[0].endpoints.map(\.value.port) == [443, 443, 80, 80])
        #expect(it.services[0].endpoints.map(\.value.scheme) == [.https, .https, .https, .http])
        #expect(it.services[0].tls == nil)
    }
}
