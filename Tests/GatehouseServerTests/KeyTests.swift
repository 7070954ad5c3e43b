import Config
import HTTP
import HTTP1
import Memory
import Testing

@testable import GatehouseServer

@Suite("Key sets: when they are due") struct KeyScheduleTests {
    private static let second: UInt64 = 1_000_000_000

    @Test(
        "RFC 9111 §5.2.2: what the issuer says holds within bounds, and refresh where it says nothing",
        arguments: [(nil, 300), (0, 10), (9, 10), (11, 11), (3600, 3600), (3601, 3600), (Int.max, 3600)]
            as [(Int?, UInt64)])
    func interval(maxAge: Int?, seconds: UInt64) {
        let interval = KeySchedule.interval(refresh: 300 * Self.second, maxAgeSeconds: maxAge)
        #expect(interval == seconds * Self.second)
    }

    @Test("after failures twice as long each time, up to a minute and to refresh")
    func retry() {
        let pauses = (1...9).map {
            KeySchedule.retry(refresh: 300 * Self.second, failures: $0) / Self.second
        }
        #expect(pauses == [1, 2, 4, 8, 16, 32, 60, 60, 60])
        #expect(KeySchedule.retry(refresh: 5 * Self.second, failures: 9) == 5 * Self.second)
        #expect(KeySchedule.retry(refresh: 300 * Self.second, failures: Int.max) == 60 * Self.second)
    }

    @Test(
        "RFC 9111 §5.2: directives of Cache-Control",
        arguments: [
            ([], nil), (["public"], nil), (["max-age=5"], 5), (["MAX-AGE = 5"], 5), (["max-age=\"7\""], 7),
            (["private, max-age=600 ,x"], 600), (["max-age=5, no-store"], 0), (["no-cache"], 0),
            // §4.2.1: what cannot be read, and what contradicts itself, is taken for stale, or for the lesser.
            (["max-age=soon"], 0), (["max-age"], 0), (["max-age=-1"], 0), (["max-age=9", "max-age=3"], 3),
            (["max-age=99999999999999999999"], 2_147_483_647), (["s-maxage=5"], nil), (["xmax-age=5"], nil),
        ] as [([String], Int?)])
    func freshness(lines: [String], expected: Int?) {
        let text = "HTTP/1.1 200 OK\r\n" + lines.map { "Cache-Control: \($0)\r\n" }.joined() + "\r\n"
        let bytes = Array(text.utf8)
        var head = ResponseHead(fieldCapacity: 8)
        var scanned = 0
        let step = ResponseParser.parse(
            bytes.rawSpan, limits: HeadLimits(requestLine: 1024, head: 4096, fields: 8), scanned: &scanned,
            into: &head, requestMethod: .get)
        #expect(step == .complete(byteCount: bytes.count))
        let said = CacheControl.maxAge(of: head.fields, in: bytes.rawSpan)
        #expect(said == expected)
    }
}

@Suite("Key sets: what is kept") struct KeyStoreTests {
    private func issuers(_ keys: String) throws -> [IssuerSettings] {
        let text = """
            version: 1
            listeners: {http: {bind: ["127.0.0.1:0"]}}
            auth: {main: {jwt: {issuer: i, audience: [a], keys: {\(keys)}}}}
            services: {up: {to: ["http://127.0.0.1:1"]}}
            routes: [{name: all, match: {prefix: /}, to: up, auth: main}]
            """
        return try ConfigLoader.load(text: Array(text.utf8), file: "/x/gatehouse.yaml").get().issuers
    }

    private func source(_ keys: String) throws -> KeySource { KeySource(try issuers(keys)[0], cell: 0) }

    @Test("a source is the same as long as its keys come from the same place")
    func identity() throws {
        let first = try source("url: \"http://a/k\", refresh: 1m")
        #expect(try source("url: \"http://a/k\", refresh: 2m") == first)
        #expect(try source("url: \"http://a/j\", refresh: 1m") != first)
        #expect(try source("url: \"http://a/k\", cache_file: c") != first)
        #expect(try source("file: k") != first)
    }

    @Test(
        "a reload keeps what was fetched since its configuration was built, and forgets what is no longer named"
    )
    func adopted() throws {
        let store = KeyStore()
        let (first, other) = (try source("url: \"http://a/k\""), try source("url: \"http://b/k\""))
        store.adopt([KeyMaterial(source: first), KeyMaterial(source: other)])
        #expect(store.missing.map(\.issuer) == ["main", "main"])
        let isKnown = store.update(first.identity) {
            $0.bytes = [1]
            $0.takenWall = 7
        }
        #expect(isKnown)
        store.adopt([KeyMaterial(source: first, bytes: [0], takenWall: 5)])
        #expect(store.material(of: first.identity)?.bytes == [1])
        #expect(store.material(of: other.identity) == nil && store.missing.isEmpty)
        let isGone = !store.update(other.identity) { $0.bytes = [2] }
        #expect(isGone)
        #expect(
            store.metrics(wall: 3_000_000_007).contains("gatehouse_key_set_age_seconds{issuer=\"main\"} 3\n"))
    }
}
