import Config
import Testing

@Suite("TLS of a listener") struct ListenerTLSTests {
    private static func text(_ keys: String) -> String {
        SampleConfiguration.text(
            "listeners: {a: {bind: [\"1.2.3.4:1\"], tls: {certificates: [{cert: c, key: k}], \(keys)}}}")
    }

    private static func load(_ keys: String) throws -> TLSSettings {
        let it = try SampleConfiguration.load(text(keys)).get()
        return try #require(it.listeners[0].tls)
    }

    @Test(
        "What cannot be meant is refused at its place",
        arguments: [
            ("strict_sni: maybe", "2:91: strict_sni must be true or false, found 'maybe'"),
            ("session_tickets: {key_file: }", "2:107: key_file must be text, found nothing"),
            ("ocsp_stapling: {}", "2:94: key 'file' is missing"),
            ("ocsp_stapling: {files: []}", "2:102: files must have at least 1 entry"),
            (
                "ocsp_stapling: {file: a, files: [b]}",
                "2:101: file and files cannot be together: files holds all"
            ),
            ("client_certificates: {}", "2:100: key 'mode' is missing"),
            ("client_certificates: {mode: required}", "2:100: key 'ca' is missing"),
            ("client_certificates: {mode: optional, ca: }", "2:121: ca must be text, found nothing"),
            (
                "client_certificates: {mode: maybe, ca: x}",
                "2:107: mode must be none, optional or required, found 'maybe'"
            ),
            ("hsts: {}", "2:85: key 'max_age' is missing"),
            ("hsts: {max_age: 1}", "2:95: max_age must be a duration such as 365d or 12h, found '1'"),
            ("hsts: {max_age: 4000d}", "2:95: max_age must be from 0s to 3650d, found '4000d'"),
            (
                "hsts: {max_age: 1d, include_subdomains: 1}",
                "2:119: include_subdomains must be true or false, found '1'"
            ),
        ])
    func refused(keys: String, expected: String) {
        #expect(SampleConfiguration.errors(Self.text(keys)) == [expected])
    }

    @Test("Every key means what it says, and defaults stand for those that are left out") func values() throws
    {
        let bare = try Self.load("min_version: \"1.2\"")
        #expect(!bare.isStrict && bare.ticketKeyFile == nil && bare.stapleFiles.isEmpty)
        #expect(bare.clientCertificates == .none && bare.transportSecurity == nil)
        let full = try Self.load(
            "strict_sni: true, session_tickets: {key_file: t.key}, ocsp_stapling: {file: /a/b.ocsp}")
        #expect(full.isStrict)
        #expect(full.ticketKeyFile?.value.hasSuffix("t.key") == true)
        #expect(full.stapleFiles.map(\.value) == ["/a/b.ocsp"])
        let stapling = try Self.load("ocsp_stapling: {files: [/a/b.ocsp, /c]}")
        #expect(stapling.stapleFiles.map(\.value) == ["/a/b.ocsp", "/c"])
        let asking = try Self.load("client_certificates: {mode: optional, ca: /ca}, hsts: {max_age: 2d}")
        #expect(asking.clientCertificates.authorityFile?.value == "/ca")
        #expect(asking.transportSecurity?.maxAgeSeconds == 172_800)
        #expect(asking.transportSecurity?.includesSubdomains == false)
        // Switched off, whoever was asked is remembered, and not read.
        let off = try Self.load(
            "client_certificates: {mode: none, ca: /ca}, hsts: {max_age: 0s, include_subdomains: true}")
        #expect(off.clientCertificates == .none && off.transportSecurity?.maxAgeSeconds == 0)
        #expect(off.transportSecurity?.includesSubdomains == true)
    }

    @Test("The files are among those that the configuration needs") func files() throws {
        let it = try SampleConfiguration.load(
            Self.text(
                "session_tickets: {key_file: /t}, ocsp_stapling: {file: /o}, client_certificates: {mode: required, ca: /c}"
            )
        ).get()
        let purposes = it.referencedFiles.prefix(5).map(\.purpose)
        #expect(purposes == [.certificate, .privateKey, .ticketKeys, .staple, .authorities])
    }
}
