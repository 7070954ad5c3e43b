import Backbone
import Foundation
import GRDB
import ServiceKit
import Testing

@testable import WorkerService

@Suite("Endpoints and deliveries in the store") struct WebhookTablesTests {
    private static let day: Int64 = 86_400_000

    private static func store() throws -> DatabaseQueue {
        var migrations = DatabaseMigrator()
        WebhookTables.register(in: &migrations)
        let queue = try DatabaseQueue()
        try migrations.migrate(queue)
        return queue
    }

    @discardableResult
    private static func add(
        _ db: Database, _ id: String, owner: String = "ada", types: String = "document.*"
    ) throws -> String {
        try db.execute(
            sql: """
                INSERT INTO webhook_endpoint (id, owner, url, description, types, secret, created_at, updated_at)
                VALUES (?, ?, 'https://example.com/', '', ?, ?, 0, 0)
                """, arguments: [id, owner, types, WebhookSecret.random().text])
        return id
    }

    private static func attempt(
        _ endpoint: String, _ outcome: WebhookOutcome, at: Int64, number: Int = 1
    ) -> WebhookAttempt {
        WebhookAttempt(
            endpoint: endpoint, message: "m\(at)", type: "document.created", number: number, outcome: outcome,
            durationMilliseconds: 5, at: at)
    }

    @Test("An endpoint is told of what it asked for, of its owner's, and while it is enabled") func matching()
        throws
    {
        let tables = WebhookTables()
        try Self.store().write { db in
            try Self.add(db, "1", types: "document.created document.deleted")
            try Self.add(db, "2", types: "document.*")
            try Self.add(db, "3", types: "*")
            try Self.add(db, "4", owner: "bob", types: "*")
            try Self.add(db, "5", types: "documents.* doc.*")
            func told(_ type: String) throws -> [String] {
                try tables.matching(db, owner: "ada", type: type, now: 0).map(\.id)
            }
            #expect(try told("document.created") == ["1", "2", "3"])
            #expect(try told("document.updated") == ["2", "3"])
            #expect(try told("document") == ["3"])
            #expect(try told("job.dead") == ["3"])
            #expect(try tables.disable(db, id: "2", .owner, now: 7)?.disabledAt == 7)
            #expect(try told("document.updated") == ["3"])
            #expect(try tables.endpoint(db, id: "2", now: 8)?.isEnabled == false)
            #expect(try tables.disable(db, id: "2", .gone, now: 9) == nil)
            #expect(try tables.endpoint(db, id: "2", now: 9)?.disabled == .owner)
        }
    }

    @Test("The secret before signs besides, until its time is over") func secrets() throws {
        let tables = WebhookTables()
        try Self.store().write { db in
            try Self.add(db, "1")
            let old = WebhookSecret.random()
            try db.execute(
                sql: "UPDATE webhook_endpoint SET previous_secret = ?, previous_until = 100",
                arguments: [old.text])
            let during = try #require(try tables.endpoint(db, id: "1", now: 99)).secrets
            #expect(during.count == 2 && during[1] == old)
            #expect(try tables.endpoint(db, id: "1", now: 100)?.secrets == [during[0]])
        }
    }

    @Test("Who says 410 is disabled at once, and only once") func gone() throws {
        let tables = WebhookTables()
        try Self.store().write { db in
            try Self.add(db, "1")
            let disabled = try tables.record(db, Self.attempt("1", .gone, at: 5))
            #expect(disabled?.disabled == .gone && disabled?.disabledAt == 5)
            #expect(try tables.record(db, Self.attempt("1", .gone, at: 6)) == nil)
            #expect(try tables.counts(db) == (endpoints: 1, disabled: 1, deliveries: 2))
        }
    }

    @Test("Who fails for five days is disabled; a success in between begins them anew") func failing() throws
    {
        let tables = WebhookTables()
        let failure = WebhookOutcome.failed(status: 503, reason: "status 503")
        try Self.store().write { db in
            try Self.add(db, "1")
            for number in 0..<20 {
                #expect(try tables.record(db, Self.attempt("1", failure, at: Int64(number) + 10)) == nil)
            }
            #expect(try tables.record(db, Self.attempt("1", failure, at: 5 * Self.day + 9)) == nil)
            #expect(
                try tables.record(db, Self.attempt("1", .delivered(status: 200), at: 5 * Self.day + 9)) == nil
            )
            #expect(try tables.endpoint(db, id: "1", now: 0)?.failingSince == nil)

            let again = 6 * Self.day
            for number in 0..<20 {
                _ = try tables.record(db, Self.attempt("1", failure, at: again + Int64(number)))
            }
            #expect(try tables.record(db, Self.attempt("1", failure, at: again + 5 * Self.day - 1)) == nil)
            let last = try tables.record(
                db, Self.attempt("1", .refused(reason: "private"), at: again + 5 * Self.day))
            #expect(last?.disabled == .failing)
        }
    }

    @Test("Few failures far apart do not disable") func rare() throws {
        let tables = WebhookTables()
        try Self.store().write { db in
            try Self.add(db, "1")
            for number in 1..<Int64(tables.limits.failures) {
                let attempt = Self.attempt("1", .failed(status: nil, reason: "x"), at: number * 7 * Self.day)
                #expect(try tables.record(db, attempt) == nil)
            }
            let attempt = Self.attempt("1", .failed(status: nil, reason: "x"), at: 1_000 * Self.day)
            #expect(try tables.record(db, attempt)?.disabled == .failing)
        }
    }

    @Test("The log keeps the newest of each endpoint and of all, and goes with its endpoint") func bounds()
        throws
    {
        let tables = WebhookTables(limits: WebhookLimits(deliveriesPerEndpoint: 3, deliveries: 4))
        try Self.store().write { db in
            try Self.add(db, "1")
            try Self.add(db, "2")
            func kept() throws -> [Int64] {
                try Int64.fetchAll(db, sql: "SELECT at FROM webhook_delivery ORDER BY seq")
            }
            for time in 1...5 {
                _ = try tables.record(db, Self.attempt("1", .delivered(status: 200), at: Int64(time)))
            }
            #expect(try kept() == [3, 4, 5])
            for time in 6...7 {
                _ = try tables.record(db, Self.attempt("2", .delivered(status: 200), at: Int64(time)))
            }
            #expect(try kept() == [4, 5, 6, 7])
            #expect(try tables.counts(db).deliveries == 4)
            try db.execute(sql: "DELETE FROM webhook_endpoint WHERE id = '1'")
            #expect(try kept() == [6, 7])
            #expect(try tables.counts(db) == (endpoints: 1, disabled: 0, deliveries: 2))
            // Deleted while a message was on its way to it.
            #expect(try tables.record(db, Self.attempt("1", .gone, at: 8)) == nil)
        }
    }
}

@Suite("What a webhook says") struct WebhookOrderTests {
    @Test("A message tells type, time, subject and data") func body() throws {
        let body = WebhookOrder.body(
            type: "document.created", subject: "d1", time: 1_000, data: ["title": "A", "version": 1])
        #expect(
            body.text == """
                {"data":{"title":"A","version":1},"subject":"d1","timestamp":"1970-01-01T00:00:01.000Z",\
                "type":"document.created"}
                """)
    }

    @Test("What makes a message too long is left out, and that is said") func tooLong() throws {
        let long = JSONValue.text(String(repeating: "\u{1}", count: 40_000))
        let body = WebhookOrder.body(
            type: "t.t", subject: "d1", time: 0, data: ["body": long, "title": "A", "note": long])
        let told = try body.value()
        #expect(told["data"] == ["title": "A"])
        #expect(told["omitted"] == ["note", "body"])
        #expect(body.text.utf8.count <= WebhookOrder.bodyLimitBytes)
    }

    @Test("The job's payload gives the order back, and the same event to the same endpoint has the same key")
    func job() throws {
        let trace = Trace(requestID: "r", traceparent: nil)
        let body = WebhookOrder.body(type: "t.t", subject: "s", time: 0, data: [:])
        let job = try WebhookOrder.job(
            endpoint: "e", owner: "ada", message: "m", type: "t.t", body: body, store: "s", trace: trace)
        #expect(job.queue == "webhooks" && job.kind == "webhook" && job.owner == "ada")
        #expect(
            try job.payload.decoded(as: WebhookOrder.self)
                == WebhookOrder(endpoint: "e", message: "m", type: "t.t", body: body, store: "s"))
        #expect(job.idempotencyKey == "webhook/e/m")
    }
}
