import Config
import Foundation
import Testing
import YAML

/// The bytes of a file under `conf/` of this package.
private func bytes(ofConf name: String, from source: String = #filePath) throws -> [UInt8] {
    let root = URL(filePath: source).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent()
    return Array(try Data(contentsOf: root.appending(path: "conf/\(name)")))
}

private func load(_ name: String) throws -> Configuration {
    try ConfigLoader.load(text: try bytes(ofConf: name), file: "conf/\(name)").get()
}

@Suite("The files under conf/") struct ConfFilesTests {
    @Test("The smallest file means what the defaults of the reference say")
    func minimal() throws {
        let it = try load("minimal.yaml")
        #expect(it.workers == .auto)
        #expect(it.memoryBudget == .threeQuarters)
        #expect(it.clientAddress.trustedProxies.isEmpty)
        #expect(it.clientAddress.ipv6PrefixBits == 64)
        #expect(it.requestID.header == "X-Request-ID")
        #expect(it.requestID.acceptFrom == .trustedProxies)
        #expect(it.requestID.isEchoed)
        #expect(it.mergesSlashes)
        #expect(it.accessLog.destination == .stdout)
        #expect(it.accessLog.redactedFields == ["authorization", "cookie"])
        #expect(it.accessLog.queueBytes == 8 << 20)
        #expect(it.errorLog.destination == .stderr)
        #expect(it.errorLog.level == .info)
        #expect(it.adminListen == nil)
        #expect(it.http.requestLineBytes == 8 << 10)
        #expect(it.http.headBytes == 32 << 10)
        #expect(it.http.fieldCount == 100)
        #expect(it.http.bodyBytes == 10 << 20)
        #expect(it.http.headTimeoutNanoseconds == 10_000_000_000)
        #expect(it.http.bodyIdleTimeoutNanoseconds == 30_000_000_000)
        #expect(it.http.idleTimeoutNanoseconds == 60_000_000_000)
        #expect(it.http.webSocketIdleTimeoutNanoseconds == 300_000_000_000)
        let rate = MinimumRate(bytesPerWindow: 2560, windowNanoseconds: 10_000_000_000)
        #expect(it.http.minimumBodyRate == rate)
        #expect(it.http.streamCount == 100)
        #expect(it.http.resets == Rate(count: 100, windowNanoseconds: 1_000_000_000))
        #expect(it.limiterKeys == 1_000_000)
    }

    @Test("The smallest file's listener, auth, limit, services and routes")
    func minimalParts() throws {
        let it = try load("minimal.yaml")
        let listener = try #require(it.listeners.first)
        #expect(listener.name.value == "https")
        #expect(listener.addresses.map(\.value.text) == ["0.0.0.0:8443"])
        #expect(listener.protocols.hasHTTP1 && listener.protocols.hasHTTP2 && listener.protocols.prefersHTTP2)
        #expect(listener.connections.max == nil && listener.connections.perClient == 1000)
        let tls = try #require(listener.tls)
        #expect(tls.certificates.map(\.certificateFile.value) == ["conf/tls/api.crt"])
        #expect(tls.certificates.map(\.keyFile.value) == ["conf/tls/api.key"])
        #expect(tls.minimumVersion == .tls12)
        #expect(tls.handshakeTimeoutNanoseconds == 10_000_000_000)
        #expect(tls.handshakesInFlight == 1000)
        #expect(tls.ticketRotationNanoseconds == 12 * 3_600_000_000_000)

        let issuer = try #require(it.issuers.first)
        #expect(issuer.issuer == "https://auth.example.com" && issuer.audiences == ["api"])
        #expect(issuer.algorithms == [.rs256] && issuer.requiredClaims == ["sub"])
        #expect(issuer.leewayNanoseconds == 30_000_000_000 && issuer.maxTokenBytes == 8 << 10)
        #expect(issuer.tokenType == .any && issuer.passesToken && issuer.forwardedClaims.isEmpty)
        #expect(issuer.keys.file?.value == "conf/jwks.json")
        #expect(issuer.cachedTokens == 10_000 && issuer.negativeCacheNanoseconds == 10_000_000_000)

        let limit = try #require(it.limits.first)
        #expect(limit.rate == Rate(count: 100, windowNanoseconds: 1_000_000_000) && limit.burst == 100)
        #expect(limit.owner == .client && limit.fields == .refused)

        #expect(it.services.map(\.name.value) == ["auth", "core", "worker", "search"])
        #expect(it.services.flatMap(\.endpoints).map(\.value.port) == [9001, 9002, 9003, 9004])
        #expect(it.services.allSatisfy { $0.balance == .leastRequest && $0.keepaliveConnections == 1024 })
        #expect(it.services.allSatisfy { $0.timeouts.connectNanoseconds == 5_000_000_000 })

        #expect(it.routes.map(\.name.value) == ["auth", "jwks", "core", "worker", "search"])
        #expect(it.routes.map(\.service) == [0, 0, 1, 2, 3])
        #expect(it.routes.map(\.authentication) == [.none, .none, .issuer(0), .issuer(0), .issuer(0)])
        for route in it.routes {
            #expect(route.limits == [0] && route.hosts.isEmpty && route.listeners == .all)
            #expect(route.bodyMaxBytes == 10 << 20 && route.timeouts.requestNanoseconds == 60_000_000_000)
            #expect(!route.stripsPrefix && !route.preservesHost && route.isLogged)
        }
        #expect(
            it.referencedFiles.map(\.path.value) == [
                "conf/tls/api.crt", "conf/tls/api.key", "conf/jwks.json",
            ])
        #expect(it.referencedFiles.map(\.path.place.line) == [4, 4, 5])
    }

    @Test("The example loads, with its two listeners, its admin address and its seven routes")
    func example() throws {
        let it = try load("gatehouse.yaml")
        #expect(it.listeners.map { $0.tls != nil } == [true, false])
        #expect(
            it.listeners.map { $0.addresses.map(\.value.text) } == [
                ["0.0.0.0:8443", "[::]:8443"], ["0.0.0.0:8080"],
            ])
        #expect(it.adminListen?.value.text == "127.0.0.1:9180")
        #expect(it.memoryBudget == .bytes(512 << 20))
        #expect(it.routes.map(\.limits) == [[0, 1], [0, 1], [0], [0], [0], [0], [0]])
        #expect(it.routes.map(\.isLogged) == [true, true, false, true, true, true, true])
        // Signing in, the keys and the page: nothing else is asked for without a token.
        #expect(
            it.routes.filter { $0.authentication == .none }.map(\.prefix.value)
                == ["/api/v1/auth", "/auth", "/.well-known", "/"])
        #expect(it.issuers[0].forwardedClaims.map(\.field) == ["X-User-ID", "X-Roles"])
        #expect(it.issuers[0].forwardedClaims.map(\.claim) == ["sub", "roles"])
        guard case .url(let keys) = it.issuers[0].keys else {
            Issue.record("the keys are not fetched")
            return
        }
        #expect(keys.cacheFile?.value == "conf/jwks.json")
    }

    @Test(
        "The benchmark file has an open route, one with a token and a limit, and one for bodies of any size")
    func benchmark() throws {
        let it = try load("benchmark.yaml")
        #expect(it.routes.map(\.prefix.value) == ["/a", "/b", "/big"])
        #expect(it.routes.map(\.authentication) == [.none, .issuer(0), .none])
        #expect(it.routes.map(\.limits) == [[], [0], []])
        #expect(it.limits[0].rate == Rate(count: 1_000_000, windowNanoseconds: 1_000_000_000))
        #expect(it.routes.map(\.bodyMaxBytes) == [10 << 20, 10 << 20, .max])
        #expect(it.accessLog.destination == .none)
    }
}
