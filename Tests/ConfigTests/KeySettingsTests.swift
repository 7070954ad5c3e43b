import Testing

@testable import Config

@Suite("Where keys come from") struct KeySettingsTests {
    private static func line(_ keys: String) -> String {
        "auth: {main: {jwt: {issuer: i, audience: [a], keys: {\(keys)}}}}"
    }

    private func fetched(_ keys: String) throws -> FetchedKeySettings {
        let it = try SampleConfiguration.load(SampleConfiguration.text(Self.line(keys))).get()
        guard case .url(let fetched) = it.issuers[0].keys else {
            Issue.record("no URL")
            throw KeyURL.Flaw(text: "none")
        }
        return fetched
    }

    @Test("What the file leaves out has its default")
    func defaults() throws {
        let fetched = try fetched("url: https://auth.example.com/keys")
        #expect(fetched.refreshNanoseconds == 300_000_000_000)
        #expect(fetched.cooldownNanoseconds == 10_000_000_000)
        #expect(fetched.keepNanoseconds == 24 * 3_600_000_000_000)
        #expect(fetched.cacheFile == nil)
    }

    @Test("Each key is read")
    func whole() throws {
        let fetched = try fetched(
            "url: http://127.0.0.1:9001/j, refresh: 1m, cooldown: 2s, cache_file: c.json, keep_if_unreachable: 3h"
        )
        #expect(fetched.refreshNanoseconds == 60_000_000_000 && fetched.cooldownNanoseconds == 2_000_000_000)
        #expect(fetched.keepNanoseconds == 3 * 3_600_000_000_000)
        #expect(fetched.cacheFile?.value.hasSuffix("c.json") == true)
        #expect(!fetched.url.value.isSecure && fetched.url.value.port == 9001)
    }

    @Test(
        "A URL is host, port, path and query (RFC 9112 §3.2.1, RFC 9110 §7.2)",
        arguments: [
            ("https://Auth.Example.com/keys?x=1", "auth.example.com", 443, "/keys?x=1"),
            ("http://a", "a", 80, "/"), ("http://a:8080?q", "a:8080", 8080, "/?q"),
            ("https://a:443/", "a", 443, "/"), ("https://[::1]:444/k", "[::1]:444", 444, "/k"),
            ("http://10.0.0.1/k%20y", "10.0.0.1", 80, "/k%20y"),
        ])
    func address(text: String, authority: String, port: UInt16, target: String) throws {
        let url = try KeyURL(text)
        #expect(url.authority == authority && url.port == port && url.target == target)
        #expect(url.text == text)
    }

    @Test(
        "What cannot be asked for is refused",
        arguments: [
            "auth.example.com/keys", "ftp://a/k", "https://", "https://u:p@a/k", "https://a/k#f",
            "https://a:0/",
            "https://a:70000/", "https://a b/", "https://a/k y", "https://a/ä", "https://[::1/",
            "unix:/run/k",
            "https://1.2.3/", "h2://a/",
        ])
    func refused(text: String) {
        #expect(throws: KeyURL.Flaw.self) { try KeyURL(text) }
    }

    @Test(
        "What does not go together, and what is out of bounds, is said at its place",
        arguments: [
            ("file: f, url: \"http://a\"", "3:68: keys have exactly one of file and url, found both"),
            (
                "file: f, refresh: 5m",
                "3:72: refresh is about a key set that is fetched; it goes with url, not with file"
            ),
            (
                "file: f, cache_file: g",
                "3:75: cache_file is about a key set that is fetched; it goes with url, not with file"
            ),
            ("url: \"http://a\", refresh: 500ms", "3:80: refresh must be from 1s to 24h, found '500ms'"),
            ("url: \"http://a\", cooldown: 0s", "3:81: cooldown must be from 1s to 1h, found '0s'"),
            (
                "url: a",
                "3:59: url must be such as https://auth.example.com/.well-known/jwks.json, found 'a': it has no scheme"
            ),
            ("url: \"http://a\", cach_file: g", "3:71: unknown key 'cach_file'; did you mean 'cache_file'?"),
        ])
    func wrong(keys: String, expected: String) {
        #expect(SampleConfiguration.errors(SampleConfiguration.text(Self.line(keys))) == [expected])
    }

    @Test("The cache file is a file of the configuration")
    func files() throws {
        let it = try SampleConfiguration.load(
            SampleConfiguration.text(Self.line("url: \"http://a\", cache_file: /c/k.json"))
        ).get()
        #expect(it.referencedFiles.contains { $0.purpose == .keyCache && $0.path.value == "/c/k.json" })
    }
}
