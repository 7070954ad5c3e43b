import Memory
import TLS
import Testing

/// A client session of ours and a server session of ours, with the wire between them.
struct Pair: ~Copyable {
    var client: TLSSession
    var server: TLSSession
    let pool = BlockPool(limit: 1000)
    var toServer = ByteQueue()
    var toClient = ByteQueue()

    init(_ client: borrowing TLSClient, _ server: borrowing TLSServer, name: [UInt8], isAddress: Bool = false)
        throws
    {
        guard let ours = client.makeSession(serverName: name.rawSpan, isAddress: isAddress, endpoint: 0),
            let theirs = server.makeSession()
        else { throw TLSSettingsError.refused(reason: "no memory") }
        self.client = ours
        self.server = theirs
    }

    /// Runs both handshakes to their end; what the client's came to. The wire is cut in pieces of `piece`.
    mutating func handshake(piece: Int = .max) -> TLSSession.HandshakeStep {
        var input = ByteQueue()
        for _ in 0..<2000 {
            let step = client.handshake(ciphertext: &input, output: &toServer, pool: pool)
            if case .failed = step { return step }
            let reply = server.handshake(ciphertext: &toServer, output: &toClient, pool: pool)
            if case .failed = reply { return reply }
            if step == .done, reply == .done { return .done }
            let count = min(piece, toClient.byteCount)
            guard input.append(first: count, of: &toClient, from: pool) else { return .outOfBlocks }
        }
        return .wantsRead
    }

    /// What the client reads of what the server writes.
    mutating func deliver(_ bytes: [UInt8]) -> [UInt8] {
        var got = ByteQueue()
        deliver(bytes, to: &got)
        return got.array
    }

    mutating func deliver(_ bytes: [UInt8], to got: inout ByteQueue) {
        var plain = ByteQueue()
        guard plain.append(bytes.rawSpan, from: pool) else { return }
        _ = server.write(plaintext: &plain, output: &toClient, pool: pool, limit: .max)
        _ = client.read(ciphertext: &toClient, plaintext: &got, output: &toServer, pool: pool, limit: .max)
    }
}

private let localhost = Array("localhost".utf8)

private func makeClient(
    authorities: [UInt8] = Fixture.localhostChain, certificate: TLSCertificate? = nil,
    wants: ApplicationProtocol = .http11
) throws -> TLSClient {
    try TLSClient(
        TLSClientSettings(
            authorities: authorities, certificate: certificate, applicationProtocol: wants, endpoints: 2))
}

@Suite("The client's side of TLS") struct ClientTests {
    @Test(
        "A certificate that an authority vouches for, for the name that was asked, is enough",
        arguments: [1, 7, .max])
    func good(piece: Int) throws {
        var pair = try Pair(makeClient(), makeServer(), name: localhost)
        let step = pair.handshake(piece: piece)
        #expect(step == .done)
        let chosen = pair.client.applicationProtocol
        #expect(chosen == .http11)
        let got = pair.deliver(pattern(50_000))
        #expect(got == pattern(50_000))
    }

    @Test("What a service sends lies in whole blocks, each with room for the header of a frame")
    func headroom() throws {
        var pair = try Pair(makeClient(), makeServer(), name: localhost)
        let step = pair.handshake()
        var got = ByteQueue()
        pair.deliver(pattern(40_000), to: &got)
        let blocks = (got.blockCount, got.byteCount(ofBlocksWithin: 16384))
        let isPut = got.prepend([UInt8](repeating: 0, count: 9).rawSpan)
        #expect(step == .done && blocks == (3, 16256) && isPut)
        got.consume(9)
        let all = got.array
        #expect(all == pattern(40_000))
    }

    @Test(
        "Any other name is not: not a suffix, not an address, not a name with a dot behind",
        arguments: ["localhost.test", "ocalhost", "x.localhost", "127.0.0.1", "Localhost2"])
    func wrongName(name: String) throws {
        var pair = try Pair(makeClient(), makeServer(), name: Array(name.utf8))
        let step = pair.handshake()
        // X509_V_ERR_HOSTNAME_MISMATCH
        #expect(step == .failed(.untrusted(code: 62)))
    }

    @Test("An address is not among the names of a certificate for a name")
    func wrongAddress() throws {
        var pair = try Pair(makeClient(), makeServer(), name: [127, 0, 0, 1], isAddress: true)
        let step = pair.handshake()
        // X509_V_ERR_IP_ADDRESS_MISMATCH
        #expect(step == .failed(.untrusted(code: 64)))
    }

    @Test("A wildcard covers one label")
    func wildcard() throws {
        for (name, isGood) in [("a.example.com", true), ("a.b.example.com", false), ("example.com", false)] {
            var pair = try Pair(
                makeClient(authorities: Fixture.exampleChain), makeServer([Fixture.example]),
                name: Array(name.utf8))
            let step = pair.handshake()
            #expect((step == .done) == isGood, "\(name)")
        }
    }

    @Test("Whoever the authority does not know is refused, and told so with an alert")
    func unknownAuthority() throws {
        var pair = try Pair(makeClient(authorities: Fixture.exampleChain), makeServer(), name: localhost)
        let step = pair.handshake()
        guard case .failed(.untrusted) = step else {
            Issue.record("\(step)")
            return
        }
        let reply = pair.server.handshake(ciphertext: &pair.toServer, output: &pair.toClient, pool: pair.pool)
        guard case .failed(.alertReceived) = reply else {
            Issue.record("\(reply)")
            return
        }
    }

    @Test("RFC 7301: the one protocol that the service is for is offered, and nothing else")
    func alpn() throws {
        var pair = try Pair(makeClient(wants: .h2), makeServer(protocols: [.http11, .h2]), name: localhost)
        let step = pair.handshake()
        #expect(step == .done)
        let chosen = pair.client.applicationProtocol
        #expect(chosen == .h2)
        var other = try Pair(makeClient(wants: .h2), makeServer(protocols: [.http11]), name: localhost)
        let refused = other.handshake()
        #expect(refused == .failed(.noSharedProtocol))
    }

    @Test("The latest session of an endpoint is resumed, that of another is not")
    func resumption() throws {
        let client = try makeClient()
        guard let keys = TicketKeys(now: 0) else { return }
        let server = try makeServer(keys: keys)
        for round in 0..<3 {
            var pair = try Pair(client, server, name: localhost)
            let step = pair.handshake()
            #expect(step == .done)
            // The ticket comes behind the handshake.
            let got = pair.deliver([1, 2, 3])
            #expect(got == [1, 2, 3])
            let isResumed = pair.client.isResumed
            #expect(isResumed == (round > 0), "round \(round)")
        }
        let remembered = client.rememberedCount
        #expect(remembered == 1)
        guard var other = client.makeSession(serverName: localhost.rawSpan, isAddress: false, endpoint: 1)
        else { return }
        var input = ByteQueue()
        var output = ByteQueue()
        let step = other.handshake(ciphertext: &input, output: &output, pool: BlockPool(limit: 100))
        #expect(step == .wantsRead)
        let isResumed = other.isResumed
        #expect(!isResumed)
    }

    @Test("Files that are none are told as such")
    func badFiles() throws {
        #expect(
            throws: TLSSettingsError.badAuthorities(
                reason: "no certificate in it; a PEM file with one is wanted")
        ) {
            _ = try makeClient(authorities: Array("nothing".utf8))
        }
        #expect(throws: TLSSettingsError.keyDoesNotFit(pair: 0)) {
            _ = try makeClient(
                certificate: TLSCertificate(chain: Fixture.localhostChain, key: Fixture.exampleKey))
        }
    }
}
