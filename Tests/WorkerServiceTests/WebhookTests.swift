import Foundation
import Testing

@testable import WorkerService

@Suite("Which addresses a webhook may reach") struct AddressGuardTests {
    @Test(
        "Addresses that are not public are refused, in every form in which they can come",
        arguments: [
            "0.0.0.0", "10.0.0.1", "10.255.255.255", "100.64.0.1", "127.0.0.1", "127.255.255.254",
            "169.254.169.254", "172.16.0.1", "172.31.255.255", "192.0.0.1", "192.0.2.1", "192.168.1.1",
            "198.18.0.1", "198.19.255.255", "198.51.100.1", "203.0.113.9", "224.0.0.1", "239.1.1.1",
            "240.0.0.1", "255.255.255.255", "::", "::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1",
            "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1", "fe80::1", "fc00::1", "fd12:3456::1",
            "ff02::1", "2001:db8::1", "2001::1", "2002:7f00:1::1", "3fff::1", "100::1", "::7f00:1", "5f00::1",
        ])
    func refused(text: String) throws {
        #expect(!AddressGuard().allows(try #require(NetworkAddress(text))))
    }

    @Test(
        "Public addresses are allowed",
        arguments: [
            "1.1.1.1", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.1.1.1", "128.0.0.1",
            "172.15.255.255", "172.32.0.0", "192.167.1.1", "192.169.1.1", "198.17.1.1", "198.20.0.1",
            "223.255.255.255", "2606:4700::1111", "2a00:1450::1", "::ffff:1.1.1.1", "64:ff9b::101:101",
        ])
    func allowed(text: String) throws {
        #expect(AddressGuard().allows(try #require(NetworkAddress(text))))
    }

    @Test("An exception allows its range and nothing beside it") func exceptions() throws {
        let addresses = AddressGuard(exceptions: [try #require(NetworkRange("127.0.0.0/30"))])
        #expect(addresses.allows(try #require(NetworkAddress("127.0.0.3"))))
        #expect(addresses.allows(try #require(NetworkAddress("::ffff:127.0.0.1"))))
        #expect(!addresses.allows(try #require(NetworkAddress("127.0.0.4"))))
        #expect(!addresses.allows(try #require(NetworkAddress("::1"))))
        for text in ["", "10", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/", "::/129", "10.0.0.0/8/8", "a/8"] {
            #expect(NetworkRange(text) == nil)
        }
    }

    @Test(
        "URLs that no webhook may have are refused",
        arguments: [
            ("ftp://example.com/", WebhookURL.Refusal.scheme), ("file:///etc/passwd", .form),
            ("gopher://example.com", .scheme), ("example.com", .form), ("", .form), ("http://", .form),
            ("http://a b/", .form), ("http://example.com/\r\nX: y", .form), ("http://ü.example/", .form),
            ("http://user@example.com/", .credentials), ("http://u:p@example.com/", .credentials),
            ("http://example.com/#part", .fragment), ("http://example.com:25/", .port),
            ("http://example.com:0/", .port), ("http://example.com:65536/", .form),
            ("http://127.0.0.1/", .address), ("http://[::1]/", .address), ("http://[fe80::1]/", .address),
            ("http://169.254.169.254/latest", .address),
            ("http://example.com/" + String(repeating: "a", count: 2_048), .tooLong),
        ])
    func urls(text: String, refusal: WebhookURL.Refusal) {
        #expect(throws: refusal) { try WebhookURL(text, addresses: AddressGuard()) }
    }

    @Test("A name is not judged before it is connected to") func names() throws {
        #expect(
            try WebhookURL("https://example.com/a?b=c", addresses: AddressGuard()).text
                == "https://example.com/a?b=c")
        #expect(throws: Never.self) { try WebhookURL("http://localhost:8080/", addresses: AddressGuard()) }
    }
}

@Suite("Signatures of webhooks") struct WebhookSignatureTests {
    /// The example of the Standard Webhooks specification; Python's hmac gives the same.
    @Test("The specification's example has the specification's signature") func published() throws {
        let secret = try #require(WebhookSecret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"))
        #expect(
            secret.signature(
                id: "msg_p5jXN8AQM9LWM0D4loKWxJek", timestamp: 1_614_265_330,
                body: Array("{\"test\": 2432232314}".utf8))
                == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=")
    }

    @Test("RFC 4231 §4: HMAC-SHA256 of keys short, medium and longer than a block") func rfc4231() {
        func hex(_ bytes: [UInt8]) -> String { bytes.map { String(format: "%02x", $0) }.joined() }
        #expect(
            hex(WebhookSecret.hmac(key: .init(repeating: 0x0B, count: 20), Array("Hi There".utf8)))
                == "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7")
        #expect(
            hex(WebhookSecret.hmac(key: Array("Jefe".utf8), Array("what do ya want for nothing?".utf8)))
                == "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843")
        #expect(
            hex(
                WebhookSecret.hmac(
                    key: .init(repeating: 0xAA, count: 131),
                    Array("Test Using Larger Than Block-Size Key - Hash Key First".utf8)))
                == "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54")
    }

    @Test("A secret is whsec_ and base64 of 24 to 64 bytes") func secrets() throws {
        let made = WebhookSecret.random()
        #expect(WebhookSecret(made.text) == made)
        #expect(WebhookSecret.random() != made)
        for text in ["", "whsec_", "whsec_AAAA", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_*"] {
            #expect(WebhookSecret(text) == nil)
        }
    }
}

@Suite("Sending webhooks") struct WebhookSenderTests {
    private static let local = AddressGuard(exceptions: [NetworkRange("127.0.0.0/8")].compactMap { $0 })
    private static let trace = TraceFields(
        requestID: "req-1", traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")

    private func send(
        _ url: String, addresses: AddressGuard = local, timeout: Duration = .seconds(10),
        secrets: [WebhookSecret] = [.random()]
    ) async throws -> WebhookOutcome {
        let threads = BlockingThreads(count: 1)
        let sender = WebhookSender(threads: threads, addresses: addresses, timeout: timeout)
        let message = WebhookMessage(
            id: "msg_1", url: url, body: Array("{\"a\":1}".utf8), secrets: secrets, trace: Self.trace)
        let outcome = try await sender.send(message, now: 1_614_265_330_999)
        try await threads.stop()
        return outcome
    }

    @Test("A webhook carries its id, its time, a signature for each secret, and what ties it to its cause")
    func fields() async throws {
        let sink = try WebSink()
        let secrets = [WebhookSecret.random(), .random()]
        #expect(try await send(sink.url, secrets: secrets) == .delivered(status: 200))
        let asked = try #require(sink.asked.first)
        #expect(asked.head.hasPrefix("POST /hook HTTP/1.1\r\n"))
        #expect(asked.body == "{\"a\":1}")
        #expect(asked.field("content-type") == "application/json")
        #expect(asked.field("webhook-id") == "msg_1")
        #expect(asked.field("webhook-timestamp") == "1614265330")
        #expect(
            asked.field("webhook-signature")
                == secrets.map {
                    $0.signature(id: "msg_1", timestamp: 1_614_265_330, body: Array("{\"a\":1}".utf8))
                }
                .joined(separator: " "))
        #expect(asked.field("x-request-id") == "req-1")
        #expect(asked.field("traceparent") == Self.trace.traceparent)
    }

    @Test("A private address is not connected to, by number or by a name that means one")
    func privateAddress() async throws {
        let sink = try WebSink()
        guard case .refused = try await send(sink.url, addresses: AddressGuard()) else {
            Issue.record("the number was asked")
            return
        }
        // The URL itself is fine; only the connection shows what the name means.
        let name = "http://localhost:\(sink.peer.port)/"
        guard case .refused(let reason) = try await send(name, addresses: AddressGuard()) else {
            Issue.record("the name was asked")
            return
        }
        #expect(reason.contains("may not be asked"))
        // Spellings that only the resolver understands.
        for host in ["2130706433", "0x7f.1", "127.1", "0177.0.0.1"] {
            guard
                case .refused = try await send("http://\(host):\(sink.peer.port)/", addresses: AddressGuard())
            else {
                Issue.record("\(host) was asked")
                return
            }
        }
        #expect(sink.peer.connections == 0)
    }

    @Test("A proxy of the environment is not used: it would connect in our place") func proxy() async throws {
        let sink = try WebSink()
        setenv("http_proxy", sink.url, 1)
        defer { unsetenv("http_proxy") }
        // The guard would refuse the proxy too: here it may be asked, and yet is not.
        _ = try await send("http://no-such-name.invalid/")
        #expect(sink.peer.connections == 0)
    }

    @Test("A redirect is not followed") func redirect() async throws {
        let target = try WebSink()
        let url = target.url
        let sink = try WebSink { _ in "302 Found\r\nLocation: \(url)" }
        #expect(
            try await send(sink.url) == .failed(status: 302, reason: "redirects are not followed"))
        #expect(target.peer.connections == 0)
    }

    @Test(
        "5xx and 4xx are worth another attempt, 410 is the end",
        arguments: [
            ("503 Busy", WebhookOutcome.failed(status: 503, reason: "status 503")),
            ("404 Not Found", .failed(status: 404, reason: "status 404")), ("410 Gone", .gone),
            ("204 No Content", .delivered(status: 204)),
        ])
    func statuses(status: String, outcome: WebhookOutcome) async throws {
        let sink = try WebSink { _ in status }
        #expect(try await send(sink.url) == outcome)
    }

    @Test(
        "RFC 9110 §10.2.3, RFC 6585 §4: a receiver says by 429 or 503 when to come back, within a day",
        arguments: [
            ("429 Slow\r\nRetry-After: 120", 120...120), ("503 Busy\r\nRetry-After: 7", 7...7),
            ("503 Busy\r\nRetry-After: 86401", 86_400...86_400),
            ("429 Slow\r\nRetry-After: 9223372036854775807", 86_400...86_400),
            ("429 Slow\r\nRetry-After: 99999999999999999999999", 0...86_400),
            ("503 Busy\r\nRetry-After: Fri, 31 Dec 2100 23:59:59 GMT", 86_400...86_400),
            ("503 Busy\r\nRetry-After: Sun, 06 Nov 1994 08:49:37 GMT", 0...0),
            ("503 Busy\r\nRetry-After: -5", 0...0), ("503 Busy\r\nRetry-After: soon", 0...0),
            ("503 Busy\r\nRetry-After:", 0...0), ("503 Busy", 0...0),
            ("500 No\r\nRetry-After: 120", 0...0), ("404 No\r\nRetry-After: 120", 0...0),
        ] as [(String, ClosedRange<Int64>)])
    func retryAfter(answer: String, seconds: ClosedRange<Int64>) async throws {
        let sink = try WebSink { _ in answer }
        guard case .failed(_, _, let told) = try await send(sink.url) else {
            Issue.record("it was no failure")
            return
        }
        #expect(seconds.contains(told))
    }

    @Test("Who does not answer is given up after the time limit") func timeout() async throws {
        let sink = try WebSink { _ in nil }
        #expect(
            try await send(sink.url, timeout: .seconds(1))
                == .failed(status: nil, reason: TransferFailure.timedOut.description))
    }

    @Test("A name without an address, and a port without a listener, are worth another attempt")
    func unreachable() async throws {
        #expect(
            try await send("http://127.0.0.1:\(try Peer.nobody.get())/")
                == .failed(status: nil, reason: TransferFailure.unreachable.description))
        guard case .failed = try await send("http://no-such-name.invalid/") else {
            Issue.record("a name that does not exist was final")
            return
        }
    }

    @Test("An endless answer is cut off, and judged by its status") func endless() async throws {
        let peer = try Peer { wire in
            _ = wire.read(through: "\r\n\r\n")
            wire.say("HTTP/1.1 200 OK\r\n\r\n")
            for _ in 0..<64 { wire.say(String(repeating: "x", count: 16_384)) }
        }
        #expect(
            try await send("http://127.0.0.1:\(peer.port)/", timeout: .seconds(60)) == .delivered(status: 200)
        )
    }

    @Test("A delivery that is cancelled ends at once") func cancelled() async throws {
        let sink = try WebSink { _ in nil }
        let task = Task { try await send(sink.url, timeout: .seconds(600)) }
        while sink.asked.isEmpty { await Task.yield() }
        task.cancel()
        #expect(try await task.value == .failed(status: nil, reason: TransferFailure.stopped.description))
    }
}
