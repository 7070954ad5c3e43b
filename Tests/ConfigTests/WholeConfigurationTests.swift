import Config
import Testing
import YAML

/// Every key of this version, each with a value that is not its default.
private let whole = """
    version: 1
    workers: 3
    memory: {budget: 1GiB}
    listeners:
      secure:
        bind: ["192.0.2.1:443", "[2001:db8::1]:443"]
        protocols: [http/1.1, h2]
        connections: {max: 5000, per_client: 50}
        tls:
          certificates:
            - {cert: /etc/a.crt, key: /etc/a.key}
            - {cert: b.crt, key: b.key}
          min_version: 1.3
          handshake: {timeout: 500ms, in_flight: 20}
          session_tickets: {rotate: 1h}
      plain:
        bind: ["127.0.0.1:0", "[::1]:0"]
        protocols: [h2c]
        proxy_protocol: required
      moved: {bind: ["127.0.0.1:0", unix:/run/gate.sock, systemd:moved], redirect_to_https: 8443}
    client_address: {trusted_proxies: [10.0.0.0/8, "2001:db8::/32", 192.0.2.7], ipv6_prefix: 56}
    request_id: {header: X-Trace, accept_from: any, echo: false}
    tracing: {traceparent: generate}
    paths: {merge_slashes: false}
    log:
      access: {to: log/access.json, format: json, redact: [X-Secret], queue: 1MiB, on_overflow: drop-and-count}
      errors: {to: stderr, level: debug}
    admin: {listen: "[::1]:9180"}
    limits_of_http:
      request_line: 4KiB
      head: 16KiB
      fields: 50
      body: none
      head_timeout: 1s
      body_idle_timeout: 2s
      min_body_rate: {rate: 1KiB/s, window: 5s}
      idle_timeout: 3s
      streams: 7
      resets: 20/min
      websocket_idle_timeout: 4s
    auth:
      staff:
        jwt:
          issuer: https://i.example
          audience: [a, b]
          algorithms: [RS256, RS384, RS512, PS256, ES256, EdDSA]
          leeway: 0s
          require_claims: [sub, org]
          max_token: 4KiB
          typ: at+jwt
          keys: {file: keys/staff.pem}
          forward: {X-User: sub}
          pass_token: false
          cache: {tokens: 0, negative: 0s}
    limits:
      one: {rate: 60/min, burst: 5, per: subject, headers: always}
      two: {rate: [5000/h], per: consumer}
      three: {rate: [5000/h, 120/min], per: "claim:org"}
      four: {rate: 1/s, per: "header:X-Key"}
      five: {rate: 1/s, per: route}
    limiter: {keys: 5000}
    resilience:
      slow: {timeouts: {connect: 1s, request: 2m, idle: 3m}}
    services:
      core:
        to: ["http://10.0.0.1:9000", "http://Core.internal", "http://[::1]:80"]
        balance: round-robin
        keepalive: {idle: 5s, connections: 0}
        resilience: slow
      other: {to: ["http://10.0.0.2:1", unix:/run/other.sock], balance: random}
      calls:
        to: ["https://calls.internal", "http://10.0.0.3:50051", "https://[::1]:444"]
        tls: {ca: ca.crt, cert: /etc/gw.crt, key: gw.key, server_name: Calls.internal}
    defaults: {auth: staff, limits: [one, two]}
    routes:
      - name: first
        match: {prefix: /a/%2F:b, hosts: [API.example.com, "*.example.com", 192.0.2.1], listeners: [plain]}
        to: other
        auth: none
        limits: []
        body: {max: 0B}
        timeouts: {request: 9s}
        path: {strip_prefix: true}
        preserve_host: true
        headers: {request: {set: {X-Service: other, X-B: "a b"}, remove: [X-Debug]}, response: {remove: [Server]}}
        log: none
      - {name: second, match: {prefix: /}, to: core, timeouts: {connect: 10ms, idle: 24h}, concurrency: {max: 100, per: consumer}, require: {scopes: [a:write, b], roles: [the editor]}}
    """

private let second = 1_000_000_000

@Suite("Every key of this version") struct WholeConfigurationTests {
    private let it: Configuration

    init() throws { it = try SampleConfiguration.load(whole, file: "/etc/gatehouse/main.yaml").get() }

    @Test("What stands at the top, and what the process as a whole does")
    func process() {
        #expect(it.file == "/etc/gatehouse/main.yaml")
        #expect(it.workers == .count(3))
        #expect(it.memoryBudget == .bytes(1 << 30))
        #expect(!it.mergesSlashes)
        #expect(it.clientAddress.ipv6PrefixBits == 56)
        let prefixes = it.clientAddress.trustedProxies
        #expect(prefixes.map(\.lengthBits) == [104, 32, 128])
        #expect(prefixes.map(\.high) == [0, 0x2001_0DB8_0000_0000, 0])
        #expect(prefixes.map(\.low) == [0xFFFF_0A00_0000, 0, 0xFFFF_C000_0207])
        #expect(it.requestID.header == "X-Trace" && it.requestID.acceptFrom == .any && !it.requestID.isEchoed)
        #expect(it.traceParent == .generate)
        let log = Located("/etc/gatehouse/log/access.json", at: Place(line: 26, column: 16))
        #expect(it.accessLog.destination == .file(log))
        #expect(it.accessLog.redactedFields == ["x-secret"] && it.accessLog.queueBytes == 1 << 20)
        #expect(it.errorLog.level == .debug)
        #expect(it.adminListen?.value.host.networkBytes == [UInt8](repeating: 0, count: 15) + [1])
        #expect(it.limiterKeys == 5000)
    }

    @Test("Listeners")
    func listeners() throws {
        #expect(it.listeners.map(\.name.value) == ["secure", "plain", "moved"])
        let secure = it.listeners[0]
        #expect(secure.addresses.map(\.value.internet?.port) == [443, 443])
        #expect(secure.addresses.map(\.value.internet?.host.isIPv4) == [true, false])
        #expect(secure.addresses[0].value.internet?.host.networkBytes == [192, 0, 2, 1])
        #expect(secure.addresses[1].place == Place(line: 6, column: 29))
        #expect(secure.protocols.hasHTTP1 && secure.protocols.hasHTTP2 && !secure.protocols.prefersHTTP2)
        #expect(secure.connections.max == Located(5000, at: Place(line: 8, column: 24)))
        #expect(secure.connections.perClient == 50)
        let tls = try #require(secure.tls)
        #expect(tls.certificates.map(\.certificateFile.value) == ["/etc/a.crt", "/etc/gatehouse/b.crt"])
        #expect(tls.minimumVersion == .tls13)
        #expect(tls.handshakeTimeoutNanoseconds == second / 2 && tls.handshakesInFlight == 20)
        #expect(tls.ticketRotationNanoseconds == 3600 * second)
        #expect(it.listeners[1].tls == nil)
        #expect(!it.listeners[1].protocols.hasHTTP1 && it.listeners[1].protocols.hasHTTP2)
        #expect(it.listeners.map(\.securePort) == [nil, nil, 8443])
        #expect(
            it.listeners[2].addresses.dropFirst().map(\.value) == [
                .unix(path: "/run/gate.sock"), .systemd(name: "moved"),
            ])
        #expect(!secure.requiresPreamble && it.listeners[1].requiresPreamble)
    }

    @Test("Limits of HTTP")
    func http() {
        #expect(
            it.http.requestLineBytes == 4 << 10 && it.http.headBytes == 16 << 10 && it.http.fieldCount == 50)
        #expect(it.http.bodyBytes == .max)
        #expect(it.http.headTimeoutNanoseconds == second)
        #expect(it.http.bodyIdleTimeoutNanoseconds == 2 * second)
        #expect(it.http.webSocketIdleTimeoutNanoseconds == 4 * second)
        #expect(it.http.idleTimeoutNanoseconds == 3 * second)
        let rate = MinimumRate(bytesPerWindow: 5120, windowNanoseconds: 5 * second)
        #expect(it.http.minimumBodyRate == rate)
        #expect(it.http.streamCount == 7)
        #expect(it.http.resets == Rate(count: 20, windowNanoseconds: 60 * second))
    }

    @Test("Policies")
    func policies() {
        let issuer = it.issuers[0]
        #expect(issuer.audiences == ["a", "b"] && issuer.leewayNanoseconds == 0)
        #expect(issuer.requiredClaims == ["sub", "org"] && issuer.maxTokenBytes == 4 << 10)
        #expect(issuer.algorithms == [.rs256, .rs384, .rs512, .ps256, .es256, .edDSA])
        #expect(issuer.tokenType == .accessToken && !issuer.passesToken)
        #expect(issuer.keys.file?.value == "/etc/gatehouse/keys/staff.pem")
        #expect(issuer.forwardedClaims.map(\.field) == ["X-User"])
        #expect(issuer.cachedTokens == 0 && issuer.negativeCacheNanoseconds == 0)
        #expect(it.limits.map(\.rate.count) == [60, 5000, 120, 1, 1])
        let lengths = it.limits.map { $0.windows.map { $0.rate.windowNanoseconds / second } }
        #expect(lengths == [[60], [3600], [60, 3600], [1], [1]])
        #expect(it.limits.map { $0.windows.map(\.burst) } == [[5], [5000], [120, 5000], [1], [1]])
        #expect(
            it.limits.map(\.owner) == [.subject, .consumer, .claim("org"), .header("X-Key"), .route])
        #expect(it.limits.map(\.fields) == [.always, .refused, .refused, .refused, .refused])
        #expect(it.routes.map { $0.concurrency?.max } == [nil, 100])
        #expect(it.routes.map { $0.concurrency?.owner } == [nil, .consumer])
    }

    @Test("Services")
    func services() {
        let core = it.services[0]
        #expect(core.balance == .roundRobin)
        #expect(core.keepaliveIdleNanoseconds == 5 * second && core.keepaliveConnections == 0)
        #expect(core.timeouts.requestNanoseconds == 120 * second)
        #expect(core.endpoints.map(\.value.authority) == ["10.0.0.1:9000", "core.internal", "[::1]"])
        #expect(core.endpoints.map(\.value.port) == [9000, 80, 80])
        #expect(core.endpoints[1].value.host == .name("core.internal"))
        #expect(it.services[1].balance == .random)
        #expect(it.services[1].timeouts.requestNanoseconds == 60 * second)
        let calls = it.services[2]
        #expect(calls.endpoints.map(\.value.authority) == ["calls.internal", "10.0.0.3:50051", "[::1]:444"])
        #expect(calls.endpoints.map(\.value.port) == [443, 50051, 444])
        #expect(calls.tls?.authorityFile?.value == "/etc/gatehouse/ca.crt")
        #expect(calls.tls?.certificate?.certificateFile.value == "/etc/gw.crt")
        #expect(calls.tls?.certificate?.keyFile.value == "/etc/gatehouse/gw.key")
        #expect(calls.tls?.serverName == .name("calls.internal"))
        #expect(core.tls == nil && !calls.isHTTP2)
    }

    @Test("Routes: their own values, else those of the service and the defaults")
    func routes() {
        let first = it.routes[0]
        #expect(first.prefix.value == "/a/%2F:b")
        #expect(first.hosts.map(\.name) == ["api.example.com", "example.com", "192.0.2.1"])
        #expect(first.hosts.map(\.isWildcard) == [false, true, false])
        #expect(first.listeners == .only([1]) && first.service == 1 && first.authentication == .none)
        #expect(
            first.limits.isEmpty && first.bodyMaxBytes == 0 && first.timeouts.requestNanoseconds == 9 * second
        )
        #expect(first.timeouts.connectNanoseconds == 5 * second)
        #expect(first.limitsBodyItself && !it.routes[1].limitsBodyItself)
        #expect(first.stripsPrefix && first.preservesHost && !first.isLogged)
        #expect(first.requestFields.set.map(\.value) == ["other", "a b"])
        #expect(first.requestFields.removed == ["X-Debug"] && first.responseFields.removed == ["Server"])
        let other = it.routes[1]
        #expect(other.listeners == .all && other.service == 0 && other.authentication == .issuer(0))
        #expect(other.requirement.scopes == ["a:write", "b"] && other.requirement.roles == ["the editor"])
        #expect(first.requirement.scopes.isEmpty && first.requirement.roles.isEmpty)
        #expect(other.limits == [0, 1] && other.bodyMaxBytes == .max && other.isLogged)
        #expect(other.timeouts.connectNanoseconds == second / 100)
        #expect(other.timeouts.requestNanoseconds == 120 * second)
        #expect(other.timeouts.idleNanoseconds == 24 * 3600 * second)
    }

    @Test("Each prefix of a file is a configuration or has errors at places inside it")
    func prefixes() {
        let bytes = Array(whole.utf8)
        for length in 0..<bytes.count {
            let prefix = Array(bytes.prefix(length))
            guard case .failure(let diagnostics) = ConfigLoader.load(text: prefix, file: "x") else {
                continue
            }
            let lines = prefix.count { $0 == UInt8(ascii: "\n") } + 1
            #expect(!diagnostics.errors.isEmpty)
            #expect(diagnostics.errors.allSatisfy { (1...lines + 1).contains($0.place.line) })
        }
    }
}
