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
        ])
    func refused(keys: String, expected: String) {
        #expect(SampleConfiguration.errors(Self.text(keys)) == [expected])
    }

    @Test("Every key means what it says, and defaults stand for those that are left out") func values() throws
    {
        let bare = try Self.load("min_version: \"1.2\"")
        #expect(!bare.isStrict && bare.ticketKeyFile == nil && bare.stapleFile == nil)
        #expect(bare.clientCertificates == .none && bare.transportSecurity == nil)
        let full = try Self.load(
            "strict_sni: true, session_tickets: {key_file: t.key}, ocsp_stapling: {file: /a/b.ocsp}")
        #expect(full.isStrict)
        #expect(full.ticketKeyFile?.value.hasSuffix("t.key") == true)
        #expect(full.stapleFile?.value == "/a/b.ocsp")
    }

    @Test("The files are among those that the configuration needs") func files() throws {
        let it = try SampleConfiguration.load(
            Self.text("session_tickets: {key_file: /t}, ocsp_stapling: {file: /o}")
        ).get()
        let purposes = it.referencedFiles.prefix(4).map(\.purpose)
        #expect(purposes == [.certificate, .privateKey, .ticketKeys, .staple])
    }
}
