import COpenSSL
import Memory
import TLS
import Testing

@Suite("RFC 6066 §3, RFC 9525 §6: which certificate is shown") struct CertificateChoiceTests {
    static let all = [
        Fixture.localhost, Fixture.example, Fixture.rsa, Fixture.localhostRSA, Fixture.exact,
    ]

    private func shown(_ server: borrowing TLSServer, _ offer: ClientOffer) throws -> String {
        var line = try Line(server, offer)
        let step = line.handshake()
        #expect(step == .done)
        return line.peer.certificateName
    }

    @Test(
        "an exact name is before a wildcard, which stands for one label",
        arguments: [
            ("api.example.com", "exact"), ("API.example.COM", "exact"), ("api.example.com.", "exact"),
            ("www.example.com", "example"), ("a.b.example.com", "localhost"), ("example.com", "localhost"),
            (".example.com", "localhost"), ("rsa.test", "rsa.test"), ("127.0.0.1", "exact"),
            ("elsewhere", "localhost"), (nil, "localhost"),
        ] as [(String?, String)])
    func names(asked: String?, expected: String) throws {
        let server = try makeServer(Self.all)
        let name = try shown(server, ClientOffer(serverName: asked))
        #expect(name == expected)
    }

    @Test(
        "of two kinds of key for one name the client gets the one that it can verify",
        arguments: [TLS1_2_VERSION, TLS1_3_VERSION], ["localhost", nil])
    func kinds(version: CInt, asked: String?) throws {
        let server = try makeServer(Self.all)
        func offer(_ signatures: String) -> ClientOffer {
            ClientOffer(
                minimum: version, maximum: version, serverName: asked, signatures: signatures)
        }
        let names = try [
            shown(server, offer("ECDSA+SHA256:RSA-PSS+SHA256:RSA+SHA256")),
            shown(server, offer("RSA-PSS+SHA256:RSA+SHA256")), shown(server, offer("ECDSA+SHA256")),
        ]
        #expect(names == ["localhost", "localhost-rsa", "localhost"])
    }

    @Test(
        "a strict server refuses what it has no name for with unrecognized_name",
        arguments: [TLS1_2_VERSION, TLS1_3_VERSION], ["elsewhere", "a.b.example.com", nil])
    func strict(version: CInt, asked: String?) throws {
        let server = try makeServer(Self.all, isStrict: true)
        var line = try Line(server, ClientOffer(minimum: version, maximum: version, serverName: asked))
        line.receive(
            {
                _ = line.peer.handshake(); return line.peer.drain()
            }())
        let step = line.session.handshake(ciphertext: &line.ciphertext, output: &line.output, pool: line.pool)
        #expect(step == .failed(.unknownServerName))
        // Record type 21, two bytes: fatal, 112.
        let alert = line.output.array
        #expect(alert.suffix(2) == [2, 112])
        let known = try shown(
            server, ClientOffer(minimum: version, maximum: version, serverName: "www.example.com"))
        #expect(known == "example")
    }

    @Test(
        "what was chosen covers its own names and no others",
        arguments: [
            ("www.example.com", "api.example.com", true), ("www.example.com", "x.example.com.", true),
            ("www.example.com", "example.com", false), ("www.example.com", "localhost", false),
            ("api.example.com", "www.example.com", false), ("api.example.com", "127.0.0.1", true),
            ("api.example.com", "[2001:db8::1]", true), ("api.example.com", "[2001:db8::2]", false),
            ("localhost", "LOCALHOST", true), (nil, "localhost", true), (nil, "rsa.test", false),
            ("rsa.test", "", false),
        ] as [(String?, String, Bool)])
    func coverage(asked: String?, host: String, expected: Bool) throws {
        let server = try makeServer(Self.all)
        var line = try Line(server, ClientOffer(serverName: asked))
        let step = line.handshake()
        #expect(step == .done)
        let answer = line.session.covers(Array(host.utf8).rawSpan)
        #expect(answer == expected)
    }

    @Test("a second certificate of the same kind for a name is refused, and one without names") func refused()
    {
        func error(_ certificates: [TLSCertificate]) -> TLSSettingsError? {
            do {
                _ = try makeServer(certificates)
                return nil
            } catch {
                return error as? TLSSettingsError
            }
        }
        #expect(
            error([Fixture.example, Fixture.localhost, Fixture.localhost])
                == .repeatedName(pair: 2, other: 1, name: "localhost", kind: "ECDSA"))
        #expect(error([Fixture.localhost, Fixture.client]) == nil)
        #expect(error([Fixture.localhost, Fixture.nameless]) == .noNames(pair: 1))
        #expect(error([Fixture.nameless, Fixture.localhost]) == nil)
    }

    @Test("a certificate tells its names and its end") func facts() throws {
        let facts = try TLSServer.facts(of: Fixture.exact, pair: 0)
        #expect(facts.names == ["api.example.com", "127.0.0.1", "[2001:db8::1]"])
        // `openssl x509 -enddate` and `date +%s` say the same.
        #expect(facts.endSeconds == 4949328778)
    }
}

@Suite("RFC 8446 §4.3.2: certificates of clients") struct ClientCertificateTests {
    static let versions = [TLS1_2_VERSION, TLS1_3_VERSION]

    private func step(
        _ clients: ClientCertificates, _ certificate: TLSCertificate?, _ version: CInt
    ) throws -> (TLSSession.HandshakeStep, String) {
        let server = try makeServer(clients: clients)
        var line = try Line(
            server, ClientOffer(minimum: version, maximum: version, certificate: certificate))
        let step = line.handshake()
        return (step, line.session.clientSubject.text)
    }

    @Test("who was verified is known by subject, names and fingerprint", arguments: versions)
    func verified(version: CInt) throws {
        for mode in [ClientCertificates.required(Fixture.clients), .optional(Fixture.clients)] {
            let server = try makeServer(clients: mode)
            var line = try Line(
                server, ClientOffer(minimum: version, maximum: version, certificate: Fixture.client))
            let step = line.handshake()
            #expect(step == .done)
            // `openssl x509 -noout -subject -nameopt RFC2253 -ext subjectAltName -fingerprint -sha256` says the same.
            let subject = line.session.clientSubject.text
            #expect(subject == #"CN=client one,O=B\C3\A4cker\, \"S\C3\B6hne\""#)
            let names = line.session.clientNames.text
            #expect(names == #"DNS:one.test,URI:spiffe://a/b\2Cc,email:a@b.test,IP:192.0.2.1"#)
            let fingerprint = line.session.clientFingerprint.text
            #expect(fingerprint == "baeb83cacf8ed937fbd6c3d56654424a72c1a5b38f7606d65a36c130299e3da9")
        }
    }

    @Test("one that is missed, one of a stranger, and none where none is asked for", arguments: versions)
    func others(version: CInt) throws {
        #expect(try step(.required(Fixture.clients), nil, version) == (.failed(.certificateMissing), ""))
        #expect(try step(.optional(Fixture.clients), nil, version) == (.done, ""))
        #expect(try step(.none, Fixture.client, version) == (.done, ""))
        for mode in [ClientCertificates.required(Fixture.clients), .optional(Fixture.clients)] {
            guard
                case (.failed(.untrusted(let code)), "") = try step(mode, Fixture.example, version)
            else {
                Issue.record("believed")
                continue
            }
            // X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT
            #expect(code == 18)
        }
    }

    @Test("a resumed session still knows its client, and policies do not mix", arguments: versions)
    func resumed(version: CInt) throws {
        let keys = try #require(TicketKeys(now: 0))
        let strict = try makeServer(keys: keys, clients: .required(Fixture.clients))
        var first = try Line(
            strict, ClientOffer(minimum: version, maximum: version, certificate: Fixture.client))
        let step = first.handshake()
        #expect(step == .done)
        _ = first.write([1])
        _ = first.peer.read()
        let ticket = try #require(first.peer.ticket)
        let offer = ClientOffer(minimum: version, maximum: version, ticket: ticket)
        let again = try makeServer(keys: keys, clients: .required(Fixture.clients))
        var second = try Line(again, offer)
        let next = second.handshake()
        #expect(next == .done)
        let (isResumed, fingerprint) = (second.session.isResumed, second.session.clientFingerprint.text)
        #expect(
            isResumed && fingerprint == "baeb83cacf8ed937fbd6c3d56654424a72c1a5b38f7606d65a36c130299e3da9")
        // The same certificate would not be believed there: the ticket must not stand for it.
        let elsewhere = try makeServer(keys: keys, clients: .required(Fixture.exactChain))
        var third = try Line(elsewhere, offer)
        let refusal = third.handshake()
        #expect(refusal == .failed(.certificateMissing))
        let optional = try makeServer(keys: keys, clients: .optional(Fixture.clients))
        var fourth = try Line(optional, offer)
        let anew = fourth.handshake()
        #expect(anew == .done)
        let isKnown = fourth.session.isResumed
        #expect(!isKnown)
    }

    @Test("a file without an authority is told") func noAuthority() {
        #expect(
            throws: TLSSettingsError.badAuthorities(
                reason: "no certificate in it; a PEM file with one is wanted")
        ) {
            _ = try makeServer(clients: .required(Array("hello".utf8)))
        }
    }
}

@Suite("RFC 6066 §8, RFC 6960: stapling") struct StaplingTests {
    static let now: Int64 = 1_800_000_000

    @Test(
        "a good response is stapled beside its certificate, to who asks",
        arguments: [TLS1_2_VERSION, TLS1_3_VERSION])
    func stapled(version: CInt) throws {
        let certificates = [Fixture.localhost, Fixture.stapled]
        let response = try OCSPResponse(
            Fixture.goodResponse, certificates: certificates, nowSeconds: Self.now)
        #expect(response.pair == 1)
        let server = try makeServer(certificates, staples: [response])
        func stapled(_ name: String, asks: Bool) throws -> [UInt8] {
            var line = try Line(
                server,
                ClientOffer(minimum: version, maximum: version, serverName: name, asksStatus: asks))
            let step = line.handshake()
            #expect(step == .done)
            return line.peer.stapled
        }
        #expect(try stapled("stapled.test", asks: true) == Fixture.goodResponse)
        #expect(try stapled("stapled.test", asks: false).isEmpty)
        #expect(try stapled("localhost", asks: true).isEmpty)
    }

    @Test("what cannot be stapled is told why") func flaws() {
        func flaw(_ bytes: [UInt8], _ certificates: [TLSCertificate], _ now: Int64 = Self.now) -> OCSPFlaw? {
            do {
                _ = try OCSPResponse(bytes, certificates: certificates, nowSeconds: now)
                return nil
            } catch {
                return error
            }
        }
        let right = [Fixture.stapled]
        #expect(flaw(Fixture.goodResponse, right) == nil)
        #expect(flaw(Fixture.goodResponse, [Fixture.localhost]) == .otherCertificate)
        #expect(flaw(Fixture.goodResponse, [Fixture.client]) == .otherCertificate)
        #expect(flaw(Fixture.goodResponse, right, 1_600_000_000) == .notYetValid)
        #expect(flaw(Fixture.goodResponse, right, 5_000_000_000) == .expired)
        #expect(flaw(Fixture.endlessResponse, right) == .hasNoEnd)
        #expect(flaw(Fixture.revokedResponse, right) == .notGood)
        #expect(flaw([], right) == .malformed)
        #expect(flaw(Array("-----BEGIN".utf8), right) == .malformed)
        // RFC 6960 §4.2.1: OCSPResponse with responseStatus tryLater (3) and nothing else.
        #expect(flaw([0x30, 3, 0x0a, 1, 3], right) == .unsuccessful)
    }
}

@Suite("Files of ticket keys") struct TicketFileTests {
    @Test(
        "whole keys of one size, each with a name of its own",
        arguments: [
            (0, TicketFileError.badSize(bytes: 0)), (1, .badSize(bytes: 1)), (79, .badSize(bytes: 79)),
            (81, .badSize(bytes: 81)), (128, .badSize(bytes: 128)), (17 * 80, .tooMany(limit: 16)),
        ])
    func refused(count: Int, expected: TicketFileError) {
        #expect(throws: expected) { try TicketFile(pattern(count)) }
    }

    @Test("a name that stands twice is told") func repeated() {
        #expect(throws: TicketFileError.repeatedName) { try TicketFile(pattern(80) + pattern(80)) }
    }

    @Test(
        "machines with one file open each other's tickets, as long as the key is in it",
        arguments: [48, 80], [TLS1_2_VERSION, TLS1_3_VERSION])
    func shared(size: Int, version: CInt) throws {
        let (old, new) = (Array(pattern(size)), Array(pattern(2 * size).suffix(size)))
        func machine(_ file: [UInt8]) throws -> TLSServer {
            let keys = try #require(TicketKeys(now: 0))
            keys.take(try TicketFile(file))
            // Keys of a file do not rotate by themselves.
            #expect(!keys.rotate(now: .max, interval: 1))
            return try makeServer(keys: keys)
        }
        func ticket(_ server: borrowing TLSServer, _ ticket: Ticket? = nil) throws -> (Ticket, Bool) {
            var line = try Line(
                server, ClientOffer(minimum: version, maximum: version, ticket: ticket))
            let step = line.handshake()
            #expect(step == .done)
            _ = line.write([1])
            _ = line.peer.read()
            let isResumed = line.session.isResumed
            return (try #require(line.peer.ticket), isResumed)
        }
        let (first, _) = try ticket(try machine(old))
        let (second, atNeighbour) = try ticket(try machine(old), first)
        #expect(atNeighbour)
        let (third, afterChange) = try ticket(try machine(new + old), second)
        #expect(afterChange)
        let (_, onlyNew) = try ticket(try machine(new), third)
        #expect(onlyNew)
        let (_, onlyOld) = try ticket(try machine(old), third)
        #expect(!onlyOld)
    }

    @Test("random keys come back when the file is no longer named") func random() throws {
        let keys = try #require(TicketKeys(now: 0))
        keys.take(try TicketFile(pattern(80)))
        keys.takeRandom(now: 10)
        let answers = [keys.rotate(now: 19, interval: 10), keys.rotate(now: 20, interval: 10)]
        #expect(answers == [false, true])
    }
}
