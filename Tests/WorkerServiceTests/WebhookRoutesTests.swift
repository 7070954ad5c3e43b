import Backbone
import Foundation
import GRDB
import ServiceKit
import Synchronization
import Testing

@testable import WorkerService

@Suite("The interface of webhooks") struct WebhookRoutesTests {
    /// A worker's store behind the routes alone, and the time that they see.
    private final class Desk: Sendable {
        let store: WorkerStore
        let time = Mutex<Int64>(1_000_000)

        init(_ directory: URL) throws { store = try WorkerStore(directory: directory) }

        func pass(_ milliseconds: Int64) { time.withLock { $0 += milliseconds } }

        func jobs() async throws -> [NewJob] {
            try await store.pool.read { db in
                try String.fetchAll(db, sql: "SELECT message FROM outbox_message WHERE is_job ORDER BY seq")
            }.map { try Wire.job($0) }
        }
    }

    private func withRoutes(
        limits: WebhookLimits = WebhookLimits(),
        _ body: @escaping @Sendable (Origin, Desk) async throws -> Void
    ) async throws {
        let directory = Harness.directory()
        defer { try? FileManager.default.removeItem(at: directory) }
        let desk = try Desk(directory)
        let routes = WebhookRoutes(
            store: desk.store, verifier: try Harness.verifier(), addresses: AddressGuard(),
            tables: WebhookTables(limits: limits), now: { desk.time.withLock { $0 } })
        let parts = ServiceParts(name: "worker") { router in routes.add(to: router) }
        try await withRunning(parts, log: Harness.log) { origin in try await body(origin, desk) }
    }

    private static let good = "{\"url\":\"https://example.com/hook\",\"events\":[\"document.*\"]}"

    private static func ask(
        _ origin: Origin, _ method: String, _ path: String, as subject: String = "ada",
        roles: [String] = ["user"],
        _ json: String? = nil
    ) async throws -> OutboundClient.Answer {
        try await Harness.ask(
            origin, method, path, token: Harness.token(subject, roles: roles), json: json)
    }

    private static func made(_ origin: Origin, as subject: String = "ada") async throws -> String {
        try #require(try await ask(origin, "POST", "/worker/webhooks", as: subject, good).text("id"))
    }

    @Test("An endpoint is made, told of without its secret, changed and deleted") func life() async throws {
        try await withRoutes { origin, desk in
            let made = try await Self.ask(
                origin, "POST", "/worker/webhooks",
                "{\"url\":\"https://EXAMPLE.com\",\"events\":[\"document.*\",\"document.*\"],\"description\":\"mine\"}"
            )
            #expect(made.status == 201)
            let id = try #require(made.text("id"))
            #expect(made.field("Location") == "/worker/webhooks/\(id)")
            #expect(WebhookSecret(try #require(made.text("secret"))) != nil)
            #expect(made.text("url")?.lowercased() == "https://example.com/")
            #expect(made.object["events"] as? [String] == ["document.*"])
            let path = "/worker/webhooks/\(id)"

            let read = try await Self.ask(origin, "GET", path)
            #expect(read.status == 200 && read.text("secret") == nil)
            #expect(read.text("description") == "mine" && read.object["enabled"] as? Bool == true)

            desk.pass(1_000)
            let changed = try await Self.ask(
                origin, "PATCH", path, "{\"events\":[\"document.deleted\"],\"enabled\":false}")
            #expect(changed.status == 200)
            #expect(changed.object["events"] as? [String] == ["document.deleted"])
            #expect(changed.text("description") == "mine")
            #expect(changed.text("disabledReason") == "owner")
            #expect(changed.text("disabledAt") == Timestamp.text(1_001_000))

            let enabled = try await Self.ask(origin, "PATCH", path, "{\"enabled\":true}")
            #expect(enabled.object["enabled"] as? Bool == true && enabled.text("disabledReason") == nil)
            #expect(try await Self.ask(origin, "DELETE", path).status == 204)
            #expect(try await Self.ask(origin, "GET", path).status == 404)
        }
    }

    @Test("An endpoint that failed for days can be enabled again, and its failures are forgotten")
    func enabledAgain() async throws {
        try await withRoutes { origin, desk in
            let id = try await Self.made(origin)
            try await desk.store.pool.write { db in
                try db.execute(
                    sql:
                        "UPDATE webhook_endpoint SET failing_since = 1, failures = 99, disabled_reason = 'failing'"
                )
            }
            // Switching off what is off keeps the reason.
            let off = try await Self.ask(origin, "PATCH", "/worker/webhooks/\(id)", "{\"enabled\":false}")
            #expect(off.text("disabledReason") == "failing" && off.text("failingSince") != nil)
            let on = try await Self.ask(origin, "PATCH", "/worker/webhooks/\(id)", "{\"enabled\":true}")
            #expect(on.object["enabled"] as? Bool == true && on.text("failingSince") == nil)
            let failures = try await desk.store.pool.read { db in
                try Int.fetchOne(db, sql: "SELECT failures FROM webhook_endpoint")
            }
            #expect(failures == 0)
        }
    }

    @Test("An endpoint that its receiver gave a rest says until when; another URL, or enabling it, ends that")
    func rest() async throws {
        try await withRoutes { origin, desk in
            let id = try await Self.made(origin)
            func patch(_ change: String) async throws -> String? {
                try await Self.ask(origin, "PATCH", "/worker/webhooks/\(id)", change).text("restingUntil")
            }
            func rest() async throws {
                try await desk.store.pool.write { db in
                    try db.execute(
                        sql: "UPDATE webhook_endpoint SET resting_until = ?",
                        arguments: [Timestamp.now + 600_000])
                }
            }
            try await rest()
            let url = try await Self.ask(origin, "GET", "/worker/webhooks/\(id)").text("url") ?? ""
            #expect(try await patch("{\"description\":\"x\",\"url\":\"\(url)\"}") != nil)
            #expect(try await patch("{\"enabled\":true}") == nil)
            try await rest()
            #expect(try await patch("{\"url\":\"https://example.org/other\"}") == nil)
        }
    }

    @Test(
        "What no endpoint may be is refused, with its reason",
        arguments: [
            ("{\"url\":\"http://127.0.0.1/\",\"events\":[\"*\"]}", 422, "invalid_url"),
            ("{\"url\":\"http://[::ffff:10.0.0.1]/\",\"events\":[\"*\"]}", 422, "invalid_url"),
            ("{\"url\":\"ftp://example.com/\",\"events\":[\"*\"]}", 422, "invalid_url"),
            ("{\"url\":\"https://example.com/\",\"events\":[\"user.created\"]}", 422, "unknown_event"),
            ("{\"url\":\"https://example.com/\",\"events\":[\"doc*\"]}", 422, "unknown_event"),
            ("{\"url\":\"https://example.com/\",\"events\":[\".*\"]}", 422, "unknown_event"),
            ("{\"url\":\"https://example.com/\",\"events\":[]}", 422, "no_events"),
            ("{\"url\":\"https://example.com/\"}", 400, "invalid_body"),
            (
                "{\"url\":\"https://example.com/\",\"events\":[\"*\"],\"description\":\"\\u0000\"}", 400,
                "invalid_description"
            ),
        ])
    func refusals(json: String, status: Int, reason: String) async throws {
        try await withRoutes { origin, _ in
            let refused = try await Self.ask(origin, "POST", "/worker/webhooks", json)
            #expect(refused.status == status && refused.text("reason") == reason)
            guard status == 422 else { return }
            let id = try await Self.made(origin)
            #expect(
                try await Self.ask(origin, "PATCH", "/worker/webhooks/\(id)", json).text("reason") == reason)
        }
    }

    @Test("Another's endpoint is none, whatever is asked of it; an administrator may") func foreign()
        async throws
    {
        try await withRoutes { origin, desk in
            let id = try await Self.made(origin)
            _ = try await desk.store.pool.write { db in
                try WebhookTables().record(db, Self.attempt(id, at: 1))
            }
            let questions: [(String, String, String?)] = [
                ("GET", "/worker/webhooks/\(id)", nil),
                ("PATCH", "/worker/webhooks/\(id)", "{\"enabled\":false}"),
                ("DELETE", "/worker/webhooks/\(id)", nil), ("POST", "/worker/webhooks/\(id)/test", nil),
                ("POST", "/worker/webhooks/\(id)/rotate-secret", nil),
                ("GET", "/worker/deliveries?endpoint=\(id)", nil),
            ]
            for (method, path, json) in questions {
                #expect(
                    try await Self.ask(origin, method, path, as: "bob", json).status == 404,
                    "\(method) \(path)")
                #expect(
                    try await Harness.ask(origin, method, path, json: json).status == 401, "\(method) \(path)"
                )
                let narrow = try Harness.token("ada", scope: "documents")
                #expect(
                    try await Harness.ask(origin, method, path, token: narrow, json: json).status == 403,
                    "\(method) \(path)")
            }
            for list in ["/worker/webhooks", "/worker/deliveries"] {
                #expect(try await Self.ask(origin, "GET", "\(list)?owner=ada", as: "bob").status == 403)
                let own = try await Self.ask(origin, "GET", list, as: "bob")
                #expect(own.status == 200)
                #expect(!String(decoding: own.body, as: UTF8.self).contains(id))
                let all = try await Self.ask(origin, "GET", "\(list)?owner=*", as: "root", roles: ["admin"])
                #expect(String(decoding: all.body, as: UTF8.self).contains(id))
            }
            #expect(
                try await Self.ask(origin, "GET", "/worker/webhooks/\(id)", as: "root", roles: ["admin"])
                    .status == 200)
        }
    }

    private static func attempt(_ endpoint: String, at: Int64) -> WebhookAttempt {
        WebhookAttempt(
            endpoint: endpoint, message: "m\(at)", type: "document.created", number: 1,
            outcome: at % 2 == 0 ? .delivered(status: 200) : .failed(status: 503, reason: "status 503"),
            durationMilliseconds: 7, at: at)
    }

    @Test("Endpoints and deliveries are listed page by page, the newest first") func pages() async throws {
        try await withRoutes { origin, desk in
            var ids: [String] = []
            for _ in 0..<3 {
                ids.insert(try await Self.made(origin), at: 0)
                desk.pass(1)
            }
            let made = ids
            var told: [String] = []
            var cursor: String? = ""
            while let place = cursor {
                let page = try await Self.ask(origin, "GET", "/worker/webhooks?limit=2\(place)")
                told += (page.object["webhooks"] as? [[String: Any]] ?? []).compactMap { $0["id"] as? String }
                cursor = page.text("nextCursor").map { "&cursor=\($0)" }
            }
            #expect(told == made)

            try await desk.store.pool.write { db in
                for at in 1...5 {
                    _ = try WebhookTables().record(db, Self.attempt(made[at % 2], at: Int64(at)))
                }
            }
            let first = try await Self.ask(origin, "GET", "/worker/deliveries?limit=3")
            let deliveries = try #require(first.object["deliveries"] as? [[String: Any]])
            #expect(deliveries.map { $0["message"] as? String } == ["m5", "m4", "m3"])
            #expect(deliveries[0]["state"] as? String == "failed" && deliveries[0]["status"] as? Int == 503)
            #expect(deliveries[0]["error"] as? String == "status 503")
            #expect(deliveries[1]["state"] as? String == "delivered" && deliveries[1]["error"] == nil)
            #expect(deliveries[1]["url"] as? String == "https://example.com/hook")
            let rest = try await Self.ask(
                origin, "GET", "/worker/deliveries?limit=3&cursor=\(try #require(first.text("nextCursor")))")
            #expect(
                (rest.object["deliveries"] as? [[String: Any]])?.count == 2 && rest.text("nextCursor") == nil)
            let ofOne = try await Self.ask(origin, "GET", "/worker/deliveries?endpoint=\(made[0])")
            #expect(
                (ofOne.object["deliveries"] as? [[String: Any]])?.compactMap { $0["message"] as? String } == [
                    "m4", "m2",
                ])
            for path in [
                "webhooks?cursor=x", "deliveries?cursor=x", "deliveries?limit=101", "webhooks?limit=0",
            ] {
                #expect(try await Self.ask(origin, "GET", "/worker/\(path)").status == 400, "\(path)")
            }
        }
    }

    @Test("An account may have so many endpoints, and everybody together so many") func limits() async throws
    {
        try await withRoutes(limits: WebhookLimits(endpointsPerOwner: 2, endpoints: 3)) { origin, _ in
            for _ in 0..<2 { _ = try await Self.made(origin) }
            let more = try await Self.ask(origin, "POST", "/worker/webhooks", Self.good)
            #expect(more.status == 403 && more.text("reason") == "too_many_webhooks")
            _ = try await Self.made(origin, as: "bob")
            let full = try await Self.ask(origin, "POST", "/worker/webhooks", as: "bob", Self.good)
            #expect(full.status == 503 && full.text("reason") == "webhooks_full")
            #expect(full.field("Retry-After") != nil)
        }
    }

    @Test("A new secret signs at once, beside the one before, for a day") func rotation() async throws {
        try await withRoutes { origin, desk in
            let made = try await Self.ask(origin, "POST", "/worker/webhooks", Self.good)
            let id = try #require(made.text("id"))
            let rotated = try await Self.ask(origin, "POST", "/worker/webhooks/\(id)/rotate-secret")
            #expect(rotated.status == 200)
            #expect(rotated.text("previousSecretUntil") == Timestamp.text(1_000_000 + 86_400_000))
            func secrets() async throws -> [String] {
                let now = desk.time.withLock { $0 }
                return try await desk.store.pool.read { db in
                    try WebhookTables().endpoint(db, id: id, now: now)?.secrets.map(\.text) ?? []
                }
            }
            let new = try #require(rotated.text("secret"))
            let old = try #require(made.text("secret"))
            #expect(new != old)
            #expect(try await secrets() == [new, old])
            desk.pass(86_400_000)
            #expect(try await secrets() == [new])
        }
    }

    @Test("A test is a job of the queue like any other message, once a second, and not for what is disabled")
    func test() async throws {
        try await withRoutes { origin, desk in
            let id = try await Self.made(origin)
            let path = "/worker/webhooks/\(id)/test"
            let receipt = try await Self.ask(origin, "POST", path)
            #expect(receipt.status == 202)
            let job = try #require(try await desk.jobs().first)
            #expect(job.queue == "webhooks" && job.kind == "webhook" && job.owner == "ada")
            #expect(job.id == receipt.text("job"))
            let order = try job.payload.decoded(as: WebhookOrder.self)
            #expect(order.endpoint == id && order.type == "webhook.test")
            #expect(order.message == receipt.text("message"))
            #expect(try order.body.value()["type"] == "webhook.test")

            let again = try await Self.ask(origin, "POST", path)
            #expect(again.status == 429 && again.field("Retry-After") == "1")
            desk.pass(1_000)
            #expect(try await Self.ask(origin, "POST", path).status == 202)
            #expect(Set(try await desk.jobs().compactMap(\.idempotencyKey)).count == 2)
            _ = try await Self.ask(origin, "PATCH", "/worker/webhooks/\(id)", "{\"enabled\":false}")
            desk.pass(1_000)
            #expect(try await Self.ask(origin, "POST", path).status == 409)
        }
    }
}
