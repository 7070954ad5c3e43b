import COpenSSL
import Memory
import TLS
import Testing

@Suite("RFC 8446, RFC 5246: the handshake") struct HandshakeTests {
    static let versions = [(TLS1_2_VERSION, TLSVersion.tls12), (TLS1_3_VERSION, TLSVersion.tls13)]

    @Test("both versions come to an agreement", arguments: versions) func agree(
        wire: CInt, version: TLSVersion
    ) throws {
        let server = try makeServer()
        var line = try Line(
            server, ClientOffer(minimum: wire, maximum: wire, protocols: ["h2"], serverName: "localhost"))
        let step = line.handshake()
        #expect(step == .done)
        let facts = (line.session.version, line.session.applicationProtocol, line.session.isResumed)
        #expect(facts == (version, .h2, false))
        let name = line.session.serverName.text
        #expect(name == "localhost")
        let isEstablished = line.session.isEstablished
        #expect(isEstablished && line.peer.isEstablished)
    }

    @Test("§5.1: the handshake may be cut anywhere", arguments: versions, [1, 2, 3, 5, 7, 64])
    func split(version: (CInt, TLSVersion), piece: Int) throws {
        let server = try makeServer()
        var line = try Line(server, ClientOffer(minimum: version.0, maximum: version.0))
        let step = line.handshake(piece: piece)
        #expect(step == .done)
        let end = line.peer.isEstablished
        #expect(end)
        _ = line.read()
        let held = line.pool.outstanding
        #expect(held == 0)
    }

    @Test("RSA and ECDSA certificates serve both versions", arguments: versions)
    func rsa(wire: CInt, version: TLSVersion) throws {
        let server = try makeServer([Fixture.rsa])
        var line = try Line(server, ClientOffer(minimum: wire, maximum: wire))
        let step = line.handshake()
        #expect(step == .done)
        #expect(line.peer.certificateName == "rsa.test")
    }

    @Test("RFC 8996: versions before 1.2 are refused, and 1.2 where 1.3 is the least") func old() throws {
        let server = try makeServer()
        var line = try Line(
            server,
            ClientOffer(minimum: TLS1_VERSION, maximum: TLS1_1_VERSION, ciphers: "ALL:@SECLEVEL=0"))
        let step = line.handshake()
        #expect(step == .failed(.unsupportedVersion))
        let strict = try makeServer(minimum: .tls13)
        var second = try Line(strict, ClientOffer(maximum: TLS1_2_VERSION))
        let refusal = second.handshake()
        #expect(refusal == .failed(.unsupportedVersion))
    }

    @Test(
        "RFC 9325 §4.1: ciphers without forward secrecy or AEAD are refused",
        arguments: ["AES128-GCM-SHA256", "ECDHE-ECDSA-AES128-SHA"])
    func weakCipher(name: String) throws {
        let server = try makeServer()
        var line = try Line(server, ClientOffer(maximum: TLS1_2_VERSION, ciphers: name))
        let step = line.handshake()
        #expect(step == .failed(.noSharedCipher))
    }

    @Test(
        "RFC 7301 §3.2: the server's order decides",
        arguments: [
            (["h2", "http/1.1"], [ApplicationProtocol.h2, .http11], ApplicationProtocol.h2),
            (["http/1.1", "h2"], [.h2, .http11], .h2),
            (["h2", "http/1.1"], [.http11, .h2], .http11),
            (["h2", "http/1.1"], [.http11], .http11),
            (["spdy/3", "http/1.1"], [.h2, .http11], .http11),
            ([], [.h2, .http11], .none),
            (["h2"], [], .none),
        ])
    func alpn(offered: [String], wanted: [ApplicationProtocol], chosen: ApplicationProtocol) throws {
        let server = try makeServer(protocols: wanted)
        var line = try Line(server, ClientOffer(protocols: offered))
        let step = line.handshake()
        #expect(step == .done)
        let agreed = line.session.applicationProtocol
        #expect(agreed == chosen)
    }

    @Test("RFC 7301 §3.2: nothing in common is the alert no_application_protocol") func noProtocol() throws {
        let server = try makeServer()
        var line = try Line(server, ClientOffer(protocols: ["http/1.0", "h3"]))
        line.receive(
            {
                _ = line.peer.handshake(); return line.peer.drain()
            }())
        let step = line.session.handshake(ciphertext: &line.ciphertext, output: &line.output, pool: line.pool)
        #expect(step == .failed(.noSharedProtocol))
        // Record type 21, two bytes: fatal, 120.
        let alert = line.output.array
        #expect(alert == [21, 3, 3, 0, 2, 2, 120])
        let again = line.session.handshake(
            ciphertext: &line.ciphertext, output: &line.output, pool: line.pool)
        #expect(again == .failed(.noSharedProtocol))
    }

    @Test(
        "RFC 6066 §3: the certificate is chosen by name, the first when none covers it",
        arguments: [
            ("localhost", "localhost"), ("api.example.com", "example"), ("API.EXAMPLE.COM", "example"),
            ("a.b.example.com", "localhost"), ("rsa.test", "rsa.test"), ("elsewhere", "localhost"),
            (nil, "localhost"),
        ] as [(String?, String)])
    func serverName(asked: String?, expected: String) throws {
        let server = try makeServer([Fixture.localhost, Fixture.example, Fixture.rsa])
        var line = try Line(server, ClientOffer(serverName: asked))
        let step = line.handshake()
        #expect(step == .done)
        #expect(line.peer.certificateName == expected)
        let name = line.session.serverName.text
        #expect(name == asked ?? "")
    }

    @Test(
        "HTTP spoken to a TLS port is told apart",
        arguments: ["GET / HTTP/1.1\r\n\r\n", "POST / HTTP/1.1\r\n\r\n", "CONNECT a:1 HTTP/1.1\r\n\r\n"])
    func plainHTTP(request: String) throws {
        let server = try makeServer()
        var line = try Line(server)
        line.receive(Array(request.utf8))
        let step = line.session.handshake(ciphertext: &line.ciphertext, output: &line.output, pool: line.pool)
        #expect(step == .failed(.plainHTTP))
    }

    @Test("garbage is refused, never waited for", arguments: [0, 1, 0x15, 0x16, 0x17, 0x80, 0xff] as [UInt8])
    func garbage(first: UInt8) throws {
        let server = try makeServer()
        for seed in 0..<20 {
            var line = try Line(server)
            line.receive([first] + pattern(4000 + seed).dropFirst(seed))
            let step = line.session.handshake(
                ciphertext: &line.ciphertext, output: &line.output, pool: line.pool)
            guard case .failed = step else {
                Issue.record("\(first), \(seed): \(step)")
                continue
            }
        }
    }

    @Test("a client that gives up is told by its alert") func alert() throws {
        let server = try makeServer()
        var line = try Line(server, ClientOffer(maximum: TLS1_2_VERSION))
        _ = line.peer.handshake()
        line.receive(line.peer.drain())
        let first = line.session.handshake(
            ciphertext: &line.ciphertext, output: &line.output, pool: line.pool)
        #expect(first == .wantsRead)
        // A fatal alert, 40: handshake_failure.
        line.receive([21, 3, 3, 0, 2, 2, 40])
        let step = line.session.handshake(ciphertext: &line.ciphertext, output: &line.output, pool: line.pool)
        #expect(step == .failed(.alertReceived(40)))
    }

    @Test("a handshake that runs out of blocks goes on when there are some", arguments: versions)
    func starved(wire: CInt, version: TLSVersion) throws {
        let server = try makeServer([Fixture.rsa])
        var line = try Line(
            server, ClientOffer(minimum: wire, maximum: wire, protocols: ["h2"]),
            pool: BlockPool(blockBytes: 192, limit: 8))
        let step = line.handshake(piece: 64)
        #expect(step == .done)
        #expect(line.starvedCount > 0)
        let end = line.peer.isEstablished
        #expect(end)
    }
}

@Suite("RFC 5077, RFC 8446 §4.6.1: resumption") struct ResumptionTests {
    private func ticket(_ server: borrowing TLSServer, version: CInt) throws -> Ticket {
        var line = try Line(server, ClientOffer(minimum: version, maximum: version, serverName: "localhost"))
        let step = line.handshake()
        #expect(step == .done)
        _ = line.write(Array("hello".utf8))
        #expect(line.peer.read() == Array("hello".utf8))
        return try #require(line.peer.ticket)
    }

    private func isResumed(_ server: borrowing TLSServer, _ ticket: Ticket, version: CInt) throws -> Bool {
        var line = try Line(
            server,
            ClientOffer(minimum: version, maximum: version, serverName: "localhost", ticket: ticket))
        let step = line.handshake()
        #expect(step == .done)
        let (isResumed, name) = (line.session.isResumed, line.session.serverName.text)
        #expect(isResumed == line.peer.isResumed)
        #expect(name == "localhost")
        _ = line.write(Array("again".utf8))
        #expect(line.peer.read() == Array("again".utf8))
        return isResumed
    }

    @Test(
        "a ticket of one server is good at another with the same keys",
        arguments: [TLS1_2_VERSION, TLS1_3_VERSION])
    func shared(version: CInt) throws {
        let keys = try #require(TicketKeys(now: 0))
        let first = try makeServer(keys: keys)
        let second = try makeServer(keys: keys)
        let ticket = try ticket(first, version: version)
        let answer = try isResumed(second, ticket, version: version)
        #expect(answer)
    }

    @Test(
        "a ticket is worth nothing with other keys or for another listener",
        arguments: [TLS1_2_VERSION, TLS1_3_VERSION])
    func foreign(version: CInt) throws {
        let keys = try #require(TicketKeys(now: 0))
        let first = try makeServer(keys: keys)
        let ticket = try ticket(first, version: version)
        let stranger = try makeServer()
        let withOtherKeys = try isResumed(stranger, ticket, version: version)
        #expect(!withOtherKeys)
        let neighbour = try makeServer(listener: "partners", keys: keys)
        let elsewhere = try isResumed(neighbour, ticket, version: version)
        #expect(!elsewhere)
    }

    @Test("a key is good for one rotation more, and no longer", arguments: [TLS1_2_VERSION, TLS1_3_VERSION])
    func rotation(version: CInt) throws {
        let keys = try #require(TicketKeys(now: 100))
        let server = try makeServer(keys: keys)
        let ticket = try ticket(server, version: version)
        let answers = [
            keys.rotate(now: 149, interval: 50), keys.rotate(now: 150, interval: 50),
            keys.rotate(now: 199, interval: 50),
        ]
        #expect(answers == [false, true, false])
        let afterOne = try isResumed(server, ticket, version: version)
        #expect(afterOne)
        keys.rotate(now: 200, interval: 50)
        let afterTwo = try isResumed(server, ticket, version: version)
        #expect(!afterTwo)
    }

    @Test("§4.6.1: one ticket a handshake") func oneTicket() throws {
        let server = try makeServer()
        var line = try Line(server, ClientOffer(minimum: TLS1_3_VERSION))
        _ = line.peer.handshake()
        line.receive(line.peer.drain())
        _ = line.session.handshake(ciphertext: &line.ciphertext, output: &line.output, pool: line.pool)
        line.deliver()
        _ = line.peer.handshake()
        line.receive(line.peer.drain())
        let step = line.session.handshake(ciphertext: &line.ciphertext, output: &line.output, pool: line.pool)
        #expect(step == .done)
        // What follows the client's Finished is the ticket: one record of application data type.
        let bytes = line.output.array
        let length = Int(bytes[3]) << 8 + Int(bytes[4])
        #expect(bytes.first == 23)
        #expect(bytes.count == 5 + length)
    }
}

@Suite("Threads") struct ThreadTests {
    /// A server that several threads may reach.
    private final class Shared: Sendable {
        let server: TLSServer
        init(_ server: consuming TLSServer) { self.server = server }
    }

    @Test("threads may make sessions of one server while its ticket keys are rotated") func shared()
        async throws
    {
        let keys = try #require(TicketKeys(now: 0))
        let shared = Shared(try makeServer(keys: keys))
        let done = try await withThrowingTaskGroup(of: Int.self) { group in
            for task in 0..<4 {
                group.addTask {
                    var count = 0
                    var ticket: Ticket?
                    for turn in 1...10 {
                        var line = try Line(shared.server, ClientOffer(ticket: ticket))
                        if line.handshake() == .done { count += 1 }
                        _ = line.peer.read()
                        ticket = line.peer.ticket
                        keys.rotate(now: UInt64(turn * 4 + task), interval: 1)
                    }
                    return count
                }
            }
            return try await group.reduce(0, +)
        }
        #expect(done == 40)
    }
}
