import TLS
import Testing

@Suite("Settings of a TLS listener") struct SettingsTests {
    private func refusal(_ certificates: [TLSCertificate]) -> TLSSettingsError? {
        do {
            _ = try makeServer(certificates)
            return nil
        } catch {
            return error as? TLSSettingsError
        }
    }

    @Test("a key that belongs to another certificate is told, and of which pair") func mismatch() {
        #expect(
            refusal([TLSCertificate(chain: Fixture.localhostChain, key: Fixture.exampleKey)])
                == .keyDoesNotFit(pair: 0))
        #expect(
            refusal([TLSCertificate(chain: Fixture.localhostChain, key: Fixture.rsaKey)])
                == .keyDoesNotFit(pair: 0))
        #expect(
            refusal([Fixture.localhost, TLSCertificate(chain: Fixture.rsaChain, key: Fixture.exampleKey)])
                == .keyDoesNotFit(pair: 1))
    }

    @Test("files that are not what they should be are told by name") func wrongFiles() {
        let none = "no certificate in it; a PEM file with one is wanted"
        #expect(refusal([]) == .noCertificates)
        for chain in [[], Array("hello".utf8), Fixture.localhostKey] {
            #expect(
                refusal([TLSCertificate(chain: chain, key: Fixture.localhostKey)])
                    == .badCertificate(pair: 0, reason: none))
        }
        for key in [[], Array("hello".utf8), Fixture.localhostChain] {
            #expect(
                refusal([TLSCertificate(chain: Fixture.localhostChain, key: key)])
                    == .badKey(pair: 0, reason: "no private key in it; a PEM file with one is wanted"))
        }
        #expect(
            refusal([TLSCertificate(chain: Fixture.localhostChain, key: Fixture.encryptedKey)])
                == .badKey(pair: 0, reason: "the key is encrypted; a key without a passphrase is wanted"))
    }

    @Test("a damaged file is told with OpenSSL's own words") func damaged() {
        var chain = Fixture.localhostChain
        chain[100] = UInt8(ascii: "!")
        guard
            case .badCertificate(0, let reason) = refusal([
                TLSCertificate(chain: chain, key: Fixture.localhostKey)
            ])
        else {
            Issue.record("accepted")
            return
        }
        #expect(reason == "certificate 1 cannot be read: bad base64 decode")
        // A chain whose second certificate is cut off.
        let second = Fixture.localhostChain + Fixture.rsaChain.dropLast(60)
        guard
            case .badCertificate(0, let cut) = refusal([
                TLSCertificate(chain: second, key: Fixture.localhostKey)
            ])
        else {
            Issue.record("accepted")
            return
        }
        #expect(cut.hasPrefix("certificate 2 cannot be read: "))
    }

    @Test("a certificate with a key too small is refused") func weak() {
        #expect(
            refusal([Fixture.weak])
                == .badCertificate(pair: 0, reason: "OpenSSL refuses the certificate: ee key too small"))
    }

    @Test("sessions may outlive their server") func outlive() throws {
        func sessionAlone() throws -> Line {
            let server = try makeServer([Fixture.localhost, Fixture.example])
            return try Line(server, ClientOffer(protocols: ["h2"], serverName: "api.example.com"))
        }
        var line = try sessionAlone()
        let step = line.handshake()
        #expect(step == .done)
        #expect(line.peer.certificateName == "example")
    }
}
