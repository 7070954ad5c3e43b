import Foundation
import HTTPTypes
import Hummingbird
import Logging
import ServiceLifecycle
import Synchronization
import Testing

@testable import ServiceKit

private struct Named: Decodable, Sendable {
    let name: String
}

@Suite("A service over HTTP") struct ServiceUnitTests {
    private var parts: ServiceParts {
        ServiceParts(name: "test", hindrances: { ["store"] }, gauges: { ["queue": 7] }) { router in
            router.post("/named") { request, _ in
                Reply.json(["name": try await request.json(Named.self, limitBytes: 64).name])
            }
            router.get("/broken") { _, _ -> Response in throw CocoaError(.fileNoSuchFile) }
        }
    }

    @Test("The request id that came in goes out; an unusable one is replaced") func requestID() async throws {
        try await withRunning(parts, log: Harness.log) { origin in
            let kept = try await Harness.ask(origin, "GET", "/healthz", fields: [("X-Request-ID", "abc-1")])
            #expect(kept.field("X-Request-ID") == "abc-1")
            let made = try await Harness.ask(
                origin, "GET", "/healthz", fields: [("X-Request-ID", "two words")])
            #expect(Identifier.isValid(made.field("X-Request-ID") ?? ""))
        }
    }

    @Test("RFC 9457: what fails is told as a problem with its reason and the request id")
    func problems() async throws {
        try await withRunning(parts, log: Harness.log) { origin in
            let absent = try await Harness.ask(origin, "GET", "/absent", fields: [("X-Request-ID", "abc-2")])
            #expect(absent.status == 404)
            #expect(absent.field("Content-Type") == "application/problem+json")
            #expect(absent.text("reason") == "not_found")
            #expect(absent.text("request_id") == "abc-2")

            let broken = try await Harness.ask(origin, "GET", "/broken")
            #expect(broken.status == 500)
            #expect(broken.text("reason") == "internal")
            #expect(!String(decoding: broken.body, as: UTF8.self).contains("Cocoa"))
        }
    }

    @Test("A body is held to its type, its length and its members") func bodies() async throws {
        try await withRunning(parts, log: Harness.log) { origin in
            let good = try await Harness.ask(origin, "POST", "/named", json: "{\"name\":\"x\"}")
            #expect(good.text("name") == "x")
            let typeless = try await Harness.ask(origin, "POST", "/named", fields: [("Content-Length", "0")])
            #expect(typeless.status == 415)
            let long = try await Harness.ask(
                origin, "POST", "/named", json: "{\"name\":\"\(String(repeating: "x", count: 64))\"}")
            #expect(long.status == 413)
            for (json, told) in [
                ("{}", "The member 'name' is missing."),
                ("{\"name\":1}", "The member 'name' has the wrong type."),
                ("[]", "The body must be a JSON object."), ("{", "The body is not valid JSON."),
            ] {
                let bad = try await Harness.ask(origin, "POST", "/named", json: json)
                #expect(bad.status == 400)
                #expect(bad.text("detail") == told)
            }
        }
    }

    @Test(
        "The interface's description is served by its path, and below the service's name where a gateway leads"
    )
    func description() async throws {
        let described = ServiceParts(name: "test", openAPI: [UInt8]("{}".utf8)) { _ in }
        try await withRunning(described, log: Harness.log) { origin in
            for path in ["/openapi.json", "/test/openapi.json"] {
                let answer = try await Harness.ask(
                    origin, "GET", path, fields: [("X-Forwarded-For", "192.0.2.1")])
                #expect(answer.status == 200)
                #expect(answer.field("Content-Type") == "application/json")
                #expect(answer.body == Data("{}".utf8))
            }
        }
        try await withRunning(parts, log: Harness.log) { origin in
            let absent = try await Harness.ask(origin, "GET", "/openapi.json")
            #expect(absent.status == 404)
        }
    }

    @Test("Probes tell life, readiness and numbers") func probes() async throws {
        try await withRunning(parts, log: Harness.log) { origin in
            #expect(try await Harness.ask(origin, "GET", "/healthz").status == 200)
            let ready = try await Harness.ask(origin, "GET", "/readyz")
            #expect(ready.status == 503)
            #expect(ready.object["reasons"] as? [String] == ["store"])
            let metrics = try await Harness.ask(origin, "GET", "/metrics")
            let text = String(decoding: metrics.body, as: UTF8.self)
            #expect(text.contains("gatehouse_service_answers_total{service=\"test\",status=\"503\"} 1\n"))
            #expect(text.contains("gatehouse_service_queue{service=\"test\"} 7\n"))
        }
    }

    @Test(
        "What a service says of itself is not told through the gateway", arguments: ["/readyz", "/metrics"])
    func forwardedProbes(path: String) async throws {
        try await withRunning(parts, log: Harness.log) { origin in
            let answer = try await Harness.ask(
                origin, "GET", path, fields: [("X-Forwarded-For", "192.0.2.1")])
            #expect(answer.status == 404)
        }
    }

    @Test("A request in flight is answered when the service stops") func drain() async throws {
        let hasEntered = Doorbell()
        let parts = ServiceParts(name: "test") { router in
            router.get("/slow") { _, _ in
                hasEntered.ring()
                try await gracefulShutdown()
                return Reply.json(["answer": "late"])
            }
        }
        let asking = try await withRunning(parts, log: Harness.log) { origin in
            let asking = Task { try await Harness.ask(origin, "GET", "/slow") }
            await hasEntered.wait(upTo: .seconds(60))
            return asking
        }
        #expect(try await asking.value.text("answer") == "late")
    }

    @Test("Nobody listens where the service has stopped, and the client says so") func unreachable()
        async throws
    {
        let origin = try await withRunning(parts, log: Harness.log) { $0 }
        await #expect(throws: (any Error).self) { try await Harness.ask(origin, "GET", "/healthz") }
        await #expect(throws: OutboundClient.Failure.unknownOrigin) {
            try await OutboundClient().send("GET", Origin(nil), "/")
        }
    }

    @Test("An answer past the client's limit is cut off") func longAnswer() async throws {
        let parts = ServiceParts(name: "test") { router in
            router.get("/long") { _, _ in Reply.json([String(repeating: "x", count: 4_096)]) }
        }
        try await withRunning(parts, log: Harness.log) { origin in
            await #expect(throws: OutboundClient.Failure.tooLong) {
                try await OutboundClient(
                    timeout: .seconds(600), connectTimeout: .seconds(600), answerLimitBytes: 1_024
                ).send(
                    "GET", origin, "/long")
            }
        }
    }
}

@Suite("Small parts") struct SmallPartsTests {
    @Test("A log line is one JSON object with the call's members") func logLine() throws {
        let lines = Mutex<[[UInt8]]>([])
        var logger = Logger(label: "test") { service in
            ServiceLog(service: service) { line in lines.withLock { $0.append(line) } }
        }
        logger[metadataKey: "request_id"] = "abc"
        logger.info("request", metadata: ["status": .stringConvertible(200), "path": "/a\nb"])
        let written = lines.withLock { $0 }
        #expect(written.count == 1)
        let line = try #require(written.first)
        #expect(line.filter { $0 == UInt8(ascii: "\n") }.count == 1)
        let object = try #require(try JSONSerialization.jsonObject(with: Data(line)) as? [String: Any])
        #expect(object["service"] as? String == "test")
        #expect(object["request_id"] as? String == "abc")
        #expect(object["status"] as? Int == 200)
        #expect(object["path"] as? String == "/a\nb")
    }

    @Test("A form is decoded, and a broken one is refused") func form() throws {
        let form = try #require(Form("a=1+2&b=%C3%A9&c"))
        #expect(form.first("a") == "1 2")
        #expect(form.first("b") == "é")
        #expect(form.first("c") == "")
        #expect(!form.hasDuplicates)
        #expect(try #require(Form("a=1&a=1")).hasDuplicates)
        #expect(Form("a=%GG") == nil)
        #expect(Form("a=%FF") == nil)
        #expect(Form(Array(repeating: "a=1", count: 65).joined(separator: "&")) == nil)
    }

    @Test(
        "An origin is a plain http address",
        arguments: ["https://a", "http://", "a:1", "http://a/?q", "http://u@a", "", "ftp://a"])
    func refusedOrigin(url: String) {
        #expect(Origin(url: url) == nil)
    }

    @Test("A ring before the wait is kept, and a wait ends by itself") func doorbell() async {
        let bell = Doorbell()
        bell.ring()
        bell.ring()
        await bell.wait(upTo: .seconds(3_600))
        await bell.wait(upTo: .milliseconds(1))
        let waiting = Task { await bell.wait(upTo: .seconds(3_600)) }
        waiting.cancel()
        await waiting.value
    }

    @Test("A service token needs sixteen printable characters") func serviceToken() {
        #expect(ServiceToken("0123456789abcde") == nil)
        #expect(ServiceToken("0123456789abcdef")?.field == "Bearer 0123456789abcdef")
        #expect(ServiceToken("0123456789 abcdef") == nil)
        #expect(ServiceToken.random()?.field != ServiceToken.random()?.field)
    }
}
