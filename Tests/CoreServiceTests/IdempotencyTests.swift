import Foundation
import ServiceKit
import Synchronization
import Testing

@testable import CoreService

/// A clock that a test moves.
private final class Clock: Sendable {
    let cell = Mutex(Timestamp.now)

    func now() -> Int64 { cell.withLock { $0 } }
    func pass(milliseconds: Int64) { cell.withLock { $0 += milliseconds } }
}

@Suite("Idempotency-Key: a repeated request makes one document") struct IdempotencyTests {
    private static func post(
        _ core: Origin, _ subject: String = "ada", key: String?, title: String = "One", body: String = "text"
    ) async throws -> OutboundClient.Answer {
        try await Harness.ask(
            core, "POST", "/api/v1/documents", token: Harness.token(subject),
            json: "{\"title\":\"\(title)\",\"body\":\"\(body)\"}",
            fields: key.map { [("Idempotency-Key", $0)] } ?? [])
    }

    private static func count(_ core: Origin, _ subject: String = "ada") async throws -> Int? {
        let list = try await Harness.ask(core, "GET", "/api/v1/documents", token: Harness.token(subject))
        return (list.object["documents"] as? [Any])?.count
    }

    @Test("The same key and document get the same answer, whatever happened in between") func same()
        async throws
    {
        let clock = Clock()
        try await Harness.withCore(now: clock.now) { core in
            let first = try await Self.post(core, key: "k-1")
            #expect(first.status == 201)
            clock.pass(milliseconds: 60_000)
            func isRepeated() async throws {
                let again = try await Self.post(core, key: "k-1")
                #expect(again.status == 201)
                #expect(again.body == first.body)
                for name in ["Location", "ETag"] { #expect(again.field(name) == first.field(name)) }
            }
            try await isRepeated()
            #expect(try await Self.count(core) == 1)
            let path = try #require(first.field("Location"))
            let token = try Harness.token("ada")
            let changed = try await Harness.ask(
                core, "PUT", path, token: token, json: #"{"title":"Two","body":""}"#,
                fields: [("If-Match", "\"v1\"")])
            #expect(changed.status == 200)
            try await isRepeated()
            #expect(try await Harness.ask(core, "DELETE", path, token: token).status == 204)
            try await isRepeated()
            #expect(try await Self.count(core) == 0)
        }
    }

    @Test("The same key with another document is refused with 422") func other() async throws {
        try await Harness.withCore { core in
            #expect(try await Self.post(core, key: "k", title: "ab", body: "c").status == 201)
            for (title, body) in [("ab", "d"), ("a", "bc"), ("abc", "")] {
                let answer = try await Self.post(core, key: "k", title: title, body: body)
                #expect(answer.status == 422, "\(title) \(body)")
                #expect(answer.text("reason") == "idempotency_key_reused")
            }
            #expect(try await Self.count(core) == 1)
        }
    }

    @Test("A key is its account's own; without one, each request is another") func scope() async throws {
        try await Harness.withCore { core in
            let ada = try await Self.post(core, key: "k")
            let bob = try await Self.post(core, "bob", key: "k")
            #expect(bob.status == 201)
            #expect(bob.text("owner") == "bob")
            #expect(ada.text("id") != bob.text("id"))
            _ = try await Self.post(core, key: nil)
            _ = try await Self.post(core, key: nil)
            #expect(try await Self.count(core) == 3)
        }
    }

    @Test("Requests that come at once make one document") func atOnce() async throws {
        try await Harness.withCore { core in
            let ids = try await withThrowingTaskGroup(of: String?.self) { group in
                for _ in 0..<8 { group.addTask { try await Self.post(core, key: "k").text("id") } }
                return try await group.reduce(into: Set<String?>()) { $0.insert($1) }
            }
            #expect(ids.count == 1)
            #expect(try await Self.count(core) == 1)
        }
    }

    @Test("A key is remembered for 24 hours, and across a restart") func lifetime() async throws {
        let directory = Harness.directory()
        defer { try? FileManager.default.removeItem(at: directory) }
        let clock = Clock()
        func run(_ body: @escaping @Sendable (Origin) async throws -> String?) async throws -> String? {
            try await withRunning(Harness.core(directory, now: clock.now), log: Harness.log, body)
        }
        let first = try await run { try await Self.post($0, key: "k").text("id") }
        clock.pass(milliseconds: IdempotencyKey.lifetimeMilliseconds)
        let last = try await run { core in
            let again = try await Self.post(core, key: "k").text("id")
            clock.pass(milliseconds: 1)
            let fresh = try await Self.post(core, key: "k").text("id")
            #expect(fresh != again)
            return again
        }
        #expect(first == last)
    }

    @Test("An account, and everybody together, may have so many keys; what is old makes room") func bounds()
        async throws
    {
        let clock = Clock()
        try await Harness.withCore(limits: CoreLimits(keysPerOwner: 2, keys: 3), now: clock.now) { core in
            for key in ["a", "b"] { #expect(try await Self.post(core, key: key).status == 201) }
            let refused = try await Self.post(core, key: "c")
            #expect(refused.status == 429)
            #expect(refused.text("reason") == "too_many_idempotency_keys")
            #expect(refused.field("Retry-After") != nil)
            #expect(try await Self.post(core, key: "a").status == 201)
            #expect(try await Self.post(core, key: nil).status == 201)

            #expect(try await Self.post(core, "bob", key: "a").status == 201)
            #expect(try await Self.post(core, "eve", key: "a").status == 503)
            clock.pass(milliseconds: IdempotencyKey.lifetimeMilliseconds + 1)
            #expect(try await Self.post(core, "eve", key: "a").status == 201)
            #expect(try await Self.post(core, key: "c").status == 201)
        }
    }

    @Test(
        "What is no key is refused with 400",
        arguments: ["", "a b", "\u{E9}", String(repeating: "k", count: 256)])
    func invalid(key: String) async throws {
        try await Harness.withCore { core in
            let answer = try await Self.post(core, key: key)
            #expect(answer.status == 400)
            #expect(answer.text("reason") == "invalid_idempotency_key")
            #expect(try await Self.post(core, key: String(repeating: "k", count: 255)).status == 201)
        }
    }
}
