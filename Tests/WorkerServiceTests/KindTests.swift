import Backbone
import Foundation
import GRDB
import ServiceKit
import Synchronization
import Testing

@testable import WorkerService

@Suite("Jobs that send mails", .timeLimit(.minutes(10))) struct MailJobTests {
    /// Long enough that nothing is tried again by itself, or at once.
    private static let never = RetrySchedule(pauses: [.seconds(86_400)])
    private static let atOnce = RetrySchedule(pauses: [.milliseconds(1)])

    private func kind(_ url: String, _ schedule: RetrySchedule = never) -> JobKind {
        .email(
            MailSender(
                threads: BlockingThreads(count: 1),
                settings: MailSettings(
                    url: url, from: "us@example.com", publicURL: "https://example.com", product: "Shop")),
            schedule: schedule)
    }

    private func order(_ shop: Workshop, _ order: MailOrder) async throws -> String {
        try await shop.order(
            order.job(key: Identifier.make(), trace: Trace(requestID: "req-1", traceparent: nil)))
    }

    @Test("An order becomes a mail: the template, its values, and those of the platform") func sent()
        async throws
    {
        let shop = try Workshop()
        let sink = try MailSink()
        try await shop.whileRunning([shop.executor("mail", [kind(sink.url)])]) {
            let id = try await order(
                shop, MailOrder("reset", to: "ada@example.org", values: ["token": "t0ken"]))
            let job = try await shop.ended(id)
            #expect(job.state == .done)
            #expect(try job.result?.value()["messageId"] == .text("<\(id)@example.com>"))
            let mail = try #require(sink.taken.first)
            #expect(mail.commands.contains("RCPT TO:<ada@example.org>"))
            #expect(mail.data.contains("\r\nSubject: Set a new password for Shop\r\n"))
            #expect(mail.data.contains("\r\nX-Request-ID: req-1\r\n"))
            let body = try #require(mail.data.components(separatedBy: "\r\n\r\n").last)
            let text = Data(base64Encoded: body, options: .ignoreUnknownCharacters)
            #expect(
                text.map { String(decoding: $0, as: UTF8.self) }?.contains(
                    "https://example.com/reset?token=t0ken")
                    == true)
        }
    }

    @Test("SMTP 4xx: tried again under the same Message-ID, until it is taken") func busy() async throws {
        let shop = try Workshop()
        let answers = Mutex(["451 later", "421 closing", "250 taken"])
        let sink = try MailSink { point in
            point == "end" ? answers.withLock { $0.removeFirst() } : nil
        }
        try await shop.whileRunning([shop.executor("mail", [kind(sink.url, Self.atOnce)])]) {
            let id = try await order(shop, MailOrder("welcome", to: "ada@example.org"))
            let job = try await shop.ended(id)
            #expect((job.state, job.attempts, job.failures) == (.done, 3, 2))
            let ids = sink.offered.map { mail in
                mail.components(separatedBy: "\r\n").filter { $0.hasPrefix("Message-ID:") }
            }
            #expect(ids == Array(repeating: ["Message-ID: <\(id)@example.com>"], count: 3))
            // Byte for byte, so that a receiver that has it already can tell.
            #expect(Set(sink.offered).count == 1)
            #expect(sink.taken.count == 1)
        }
    }

    @Test("SMTP 5xx: dead at once. A server that is down: tried again later") func refusedAndDown()
        async throws
    {
        let shop = try Workshop()
        let closed = try MailSink { $0 == "RCPT" ? "550 no" : nil }
        try await shop.whileRunning([shop.executor("mail", [kind(closed.url)])]) {
            let job = try await shop.ended(try await order(shop, MailOrder("welcome", to: "a@b.example")))
            #expect((job.state, job.attempts, job.lastError) == (.dead, 1, "the mail server said 550"))
        }
        let gone = "smtp://127.0.0.1:\(try Peer.nobody.get())"
        try await shop.whileRunning([shop.executor("mail", [kind(gone)])]) {
            let id = try await order(shop, MailOrder("welcome", to: "a@b.example"))
            let job = try await shop.job(id) { $0.failures == 1 }
            #expect((job.state, job.lastError) == (.ready, TransferFailure.unreachable.description))
            #expect(job.runAt > Timestamp.now + 60_000_000)
        }
    }

    @Test(
        "Mail header injection: an order that could write a line of its own is dead, and the server is not asked",
        arguments: [
            MailOrder("reset", to: "a@b.example\r\nBcc: eve@c.example", values: ["token": "t"]),
            MailOrder("reset", to: "a@b.example", values: ["token": "t\r\n\r\nBuy this"]),
            MailOrder("reset", to: "a@b.example"), MailOrder("../reset", to: "a@b.example"),
            MailOrder(
                "receipt", to: "a@b.example",
                values: [
                    "number": "1\r\nBcc: eve@c.example", "amount": "1", "currency": "EUR", "description": "x",
                ]),
        ])
    func injection(mail: MailOrder) async throws {
        let shop = try Workshop()
        let sink = try MailSink()
        try await shop.whileRunning([shop.executor("mail", [kind(sink.url)])]) {
            let id = try await order(shop, mail)
            #expect(try await shop.ended(id).state == .dead)
            #expect(sink.peer.connections == 0)
        }
    }

    @Test("Who orders a mail cannot say where the platform is") func ownValues() async throws {
        let shop = try Workshop()
        let sink = try MailSink()
        try await shop.whileRunning([shop.executor("mail", [kind(sink.url)])]) {
            let values = ["token": "t", "public_url": "https://eve.example", "product": "Eve"]
            let id = try await order(shop, MailOrder("reset", to: "a@b.example", values: values))
            #expect(try await shop.ended(id).state == .done)
            #expect(sink.offered.first?.contains("Subject: Set a new password for Shop\r\n") == true)
        }
    }
}

@Suite("Jobs that send webhooks", .timeLimit(.minutes(10))) struct WebhookJobTests {
    private static let local = AddressGuard(exceptions: [NetworkRange("127.0.0.0/8")].compactMap { $0 })

    private func executor(
        _ shop: Workshop, tables: WebhookTables = WebhookTables(), addresses: AddressGuard = local,
        timeout: Duration = .seconds(10), pauses: [Duration] = [.milliseconds(1)]
    ) -> JobExecutor {
        let sender = WebhookSender(
            threads: BlockingThreads(count: 1), addresses: addresses, timeout: timeout)
        return shop.executor(
            "webhooks",
            [.webhook(sender, store: shop.store, tables: tables, schedule: RetrySchedule(pauses: pauses))])
    }

    private func order(
        _ shop: Workshop, message: String = "msg-1", store: String? = nil
    ) async throws -> String {
        try await shop.order(
            WebhookOrder.job(
                endpoint: "e", owner: "ada", message: message, type: "document.created",
                body: WebhookOrder.body(type: "document.created", subject: "d", time: 0, data: ["a": 1.5]),
                store: store, trace: Trace(requestID: "req-1", traceparent: nil)))
    }

    private func attempts(_ shop: Workshop) async throws -> [WebhookDelivery] {
        try await shop.store.pool.read { db in
            try Row.fetchAll(db, sql: "SELECT * FROM webhook_delivery ORDER BY seq").map(
                WebhookTables.delivery)
        }
    }

    @Test("503: tried again with the same id and the same bytes, signed anew, each attempt logged")
    func busy() async throws {
        let shop = try Workshop()
        let sink = try WebSink { $0 < 3 ? "503 Busy" : "204 No Content" }
        let secret = try await shop.endpoint("e", url: sink.url)
        try await shop.whileRunning([executor(shop)]) {
            let job = try await shop.ended(try await order(shop))
            #expect((job.state, job.attempts, job.failures) == (.done, 3, 2))
            #expect(try job.result?.value() == ["status": 204])
            let asked = sink.asked
            #expect(asked.map { $0.field("webhook-id") } == ["msg-1", "msg-1", "msg-1"])
            #expect(Set(asked.map(\.body)).count == 1)
            #expect(asked.allSatisfy { $0.field("x-request-id") == "req-1" })
            for request in asked {
                let time = try #require(request.field("webhook-timestamp").flatMap { Int64($0) })
                #expect(
                    request.field("webhook-signature")
                        == secret.signature(id: "msg-1", timestamp: time, body: Array(request.body.utf8)))
            }
            let logged = try await attempts(shop)
            #expect(logged.map(\.attempt) == [1, 2, 3])
            #expect(logged.map(\.status) == [503, 503, 204])
            #expect(logged.map(\.error) == ["status 503", "status 503", nil])
        }
    }

    @Test("Retry-After: tried again when the receiver said, never before the schedule, and within a day")
    func retryAfter() async throws {
        let shop = try Workshop()
        // The receiver's word, the least and the most seconds until the next attempt. The schedule says 100, less a fifth.
        for (word, least, most) in [("3600", 3_600, 3_600), ("1", 80, 100), ("999999999", 86_400, 86_400)] {
            try await shop.store.write { db in try db.execute(sql: "DELETE FROM webhook_endpoint") }
            let sink = try WebSink { _ in "429 Slow\r\nRetry-After: \(word)" }
            try await shop.endpoint("e", url: sink.url)
            try await shop.whileRunning([executor(shop, pauses: [.seconds(100)])]) {
                let begun = Timestamp.now
                let job = try await shop.job(try await order(shop, message: word)) { $0.failures == 1 }
                #expect(job.state == .ready && job.lastError == "status 429")
                #expect(job.runAt >= begun + Int64(least) * 1_000)
                #expect(job.runAt <= Timestamp.now + Int64(most) * 1_000)
            }
        }
    }

    @Test(
        "Retry-After is of the endpoint: what comes meanwhile waits, untried and unfailed, and is sent after")
    func rests() async throws {
        let shop = try Workshop()
        let sink = try WebSink { $0 == 1 ? "429 Slow\r\nRetry-After: 600" : "204 No Content" }
        try await shop.endpoint("e", url: sink.url)
        try await shop.whileRunning([executor(shop)]) {
            let begun = Timestamp.now
            let first = try await order(shop)
            _ = try await shop.job(first) { $0.failures == 1 }
            let second = try await order(shop, message: "msg-2")
            let waiting = try await shop.job(second) { $0.state == .ready && $0.runAt > begun + 500_000 }
            #expect((waiting.attempts, waiting.failures, waiting.lastError) == (0, 0, nil))
            #expect(waiting.runAt >= begun + 600_000 && waiting.runAt <= Timestamp.now + 660_000)
            // Its owner may see how it is.
            let test = try WebhookOrder.job(
                endpoint: "e", owner: "ada", message: "msg-3", type: WebhookOrder.testType,
                body: JSONText(["a": 1]), store: nil, trace: .fresh())
            #expect(try await shop.ended(try await shop.order(test)).state == .done)
            #expect(sink.asked.map { $0.field("webhook-id") } == ["msg-1", "msg-3"])
            // As long afterwards.
            try await shop.store.write { db in
                try db.execute(sql: "UPDATE webhook_endpoint SET resting_until = ?", arguments: [begun])
            }
            let third = try await shop.ended(try await order(shop, message: "msg-4"))
            #expect((third.state, third.attempts) == (.done, 1))
        }
    }

    @Test("A receiver that does not answer, and a name without an address: tried again later")
    func passing() async throws {
        let shop = try Workshop()
        let silent = try WebSink { _ in nil }
        for (url, error) in [
            (silent.url, TransferFailure.timedOut.description),
            ("http://no-such-name.invalid/", TransferFailure.unresolved.description),
        ] {
            try await shop.store.write { db in try db.execute(sql: "DELETE FROM webhook_endpoint") }
            try await shop.endpoint("e", url: url)
            let loop = executor(shop, timeout: .seconds(1), pauses: [.seconds(86_400)])
            try await shop.whileRunning([loop]) {
                let id = try await order(shop, message: url)
                let job = try await shop.job(id) { $0.failures == 1 }
                #expect((job.state, job.lastError) == (.ready, error))
                #expect(try await attempts(shop).map(\.error) == [error])
            }
        }
    }

    @Test("An endpoint of another worker's store: the message is tried again and said so, not dropped")
    func otherStore() async throws {
        let shop = try Workshop()
        let sink = try WebSink()
        try await shop.endpoint("e", url: sink.url)
        #expect(Identifier.isValid(shop.store.id))
        #expect(try WorkerStore(directory: shop.scratch.worker).id == shop.store.id)
        try await shop.whileRunning([executor(shop, pauses: [.seconds(86_400)])]) {
            let own = try await shop.ended(try await order(shop, store: shop.store.id))
            #expect(own.state == .done && sink.asked.count == 1)
            let id = try await order(shop, message: "msg-2", store: Identifier.make())
            let job = try await shop.job(id) { $0.failures == 1 }
            #expect(job.state == .ready && job.lastError?.contains("another worker's store") == true)
            #expect(sink.asked.count == 1)
        }
    }

    @Test("410: dead at once, the endpoint disabled, and its owner's event stored with that") func gone()
        async throws
    {
        let shop = try Workshop()
        let sink = try WebSink { _ in "410 Gone" }
        try await shop.endpoint("e", url: sink.url)
        try await shop.whileRunning([executor(shop)]) {
            let job = try await shop.ended(try await order(shop))
            #expect((job.state, job.attempts) == (.dead, 1))
            try await until { try await shop.outbox().events.count >= 2 }
            let events = try await shop.outbox().events
            #expect(events.map(\.type) == ["webhook.disabled", "job.dead"])
            #expect(events[0].subject == "e")
            #expect(try events[0].data.value() == ["owner": "ada", "url": .text(sink.url), "reason": "gone"])
            #expect(events[0].trace.requestID == "req-1")
            // What was ordered before is not sent any more, and is not lost: it can be redriven.
            let second = try await shop.ended(try await order(shop, message: "msg-2"))
            #expect((second.state, second.lastError) == (.dead, "the endpoint is disabled: gone"))
            #expect(sink.asked.count == 1)
        }
    }

    @Test("An endpoint that fails for days is disabled, and that is told once") func failing() async throws {
        let shop = try Workshop()
        let sink = try WebSink { _ in "500 No" }
        try await shop.endpoint("e", url: sink.url)
        var tables = WebhookTables()
        tables.limits.failingMilliseconds = 0
        tables.limits.failures = 3
        try await shop.whileRunning([executor(shop, tables: tables)]) {
            let job = try await shop.ended(try await order(shop))
            #expect((job.state, job.failures) == (.dead, 4))
            #expect(sink.asked.count == 3)
            let events = try await shop.outbox().events.filter { $0.type == "webhook.disabled" }
            #expect(try events.map { try $0.data.value()["reason"] } == ["failing"])
        }
    }

    @Test(
        "SSRF: a private address is not connected to, whatever the endpoint's URL says, and the job is dead")
    func privateAddress() async throws {
        let shop = try Workshop()
        let sink = try WebSink()
        for (number, host) in ["127.0.0.1", "localhost", "2130706433", "[::ffff:127.0.0.1]"].enumerated() {
            try await shop.store.write { db in try db.execute(sql: "DELETE FROM webhook_endpoint") }
            try await shop.endpoint("e", url: "http://\(host):\(sink.peer.port)/")
            try await shop.whileRunning([executor(shop, addresses: AddressGuard())]) {
                let job = try await shop.ended(try await order(shop, message: "\(number)"))
                #expect((job.state, job.attempts) == (.dead, 1))
                #expect(try await attempts(shop).map { $0.error == nil } == [false])
            }
        }
        #expect(sink.peer.connections == 0)
    }

    @Test("A deleted endpoint gets nothing, and the job is done with that; an order of another form is dead")
    func deleted() async throws {
        let shop = try Workshop()
        try await shop.whileRunning([executor(shop)]) {
            let job = try await shop.ended(try await order(shop))
            #expect(job.state == .done)
            #expect(try job.result?.value()["skipped"] != nil)
            let odd = try await shop.ended(try await shop.order("webhook", ["url": "x"], queue: "webhooks"))
            #expect(odd.state == .dead)
        }
    }
}

@Suite("Retry schedules") struct RetryScheduleTests {
    @Test("Webhooks are tried for three days, mails for most of one, within what the backbone allows")
    func spans() {
        for (schedule, hours) in [(RetrySchedule.webhooks, 72), (.mails, 16)] {
            let least = (0..<schedule.failureLimit - 1).reduce(Duration.zero) {
                $0 + schedule.pause(after: $1)
            }
            #expect(least >= .seconds(hours * 3_600 * 4 / 5))
            #expect(JobLimits.failuresRange.contains(schedule.failureLimit))
            #expect(schedule.pause(after: 0) <= .seconds(5))
            #expect(schedule.pause(after: 1_000) <= schedule.pauses[schedule.pauses.count - 1])
        }
    }
}
