internal import Backbone
internal import GRDB
internal import ServiceKit

extension JobKind {
    static let webhookDisabledSchema = EventSchema(
        type: webhookDisabledType,
        schema: [
            "type": "object", "required": ["owner", "url", "reason"],
            "properties": [
                "owner": ["type": "string"], "url": ["type": "string"], "reason": ["type": "string"],
            ],
        ])
    fileprivate static let webhookDisabledType = "webhook.disabled"

    /// Sends one message to one endpoint, as the endpoint is now: its URL and secret may have changed since the order.
    static func webhook(
        _ sender: WebhookSender, store: WorkerStore, tables: WebhookTables,
        schedule: RetrySchedule = .webhooks
    ) -> JobKind {
        // The sender has a limit of its own; this one is for a thread that hangs.
        JobKind(WebhookOrder.kind, queue: WebhookOrder.queue, timeout: sender.timeout + .seconds(10)) { job in
            let order = try job.order(WebhookOrder.self)
            // Nothing is known here of that endpoint. Not ours to drop: the worker that knows it may get the job next time.
            if let other = order.store, other != store.id {
                throw PassingJobFailure(
                    "the endpoint is in another worker's store: workers of one bus share one store",
                    pause: schedule.pause(after: job.failures))
            }
            let endpoint = try await store.pool.read { db in
                try tables.endpoint(db, id: order.endpoint, now: Timestamp.now)
            }
            // Nobody waits for it any more.
            guard let endpoint else { return JSONText(["skipped": "the endpoint was deleted"]) }
            // Dead, and not done: when the endpoint is switched on again, its messages can be redriven.
            if let reason = endpoint.disabled {
                throw FatalJobFailure("the endpoint is disabled: \(reason.rawValue)")
            }
            // Not what its owner sends to see how it is.
            if let until = endpoint.restingUntil, order.type != WebhookOrder.testType {
                throw PostponedJob("the endpoint rests", pause: rest(until: until, now: Timestamp.now))
            }
            let message = WebhookMessage(
                id: order.message, url: endpoint.url, body: Array(order.body.text.utf8),
                secrets: endpoint.secrets, trace: TraceFields(job.trace))
            let begun = ContinuousClock.now
            let outcome = try await sender.send(message, now: Timestamp.now)
            // Broken off by us: not the receiver's fault, and no attempt.
            if case .failed = outcome { try Task.checkCancellation() }
            try await record(
                WebhookAttempt(
                    endpoint: endpoint.id, message: order.message, type: order.type, number: job.attempts,
                    outcome: outcome,
                    durationMilliseconds: begun.duration(to: .now).microseconds / 1_000, at: Timestamp.now),
                trace: job.trace, store, tables)
            switch outcome {
            case .delivered(let status): return JSONText(["status": .integer(Int64(status))])
            case .gone: throw FatalJobFailure("the receiver wants no more")
            case .refused(let reason): throw FatalJobFailure(reason)
            case .failed(_, let reason, let notBeforeSeconds):
                // Never sooner than the schedule: a receiver may ask for more time, and not for more attempts.
                let pause = max(schedule.pause(after: job.failures), .seconds(notBeforeSeconds))
                throw PassingJobFailure(reason, pause: pause)
            }
        }
    }

    /// A little more, by chance: what waited for a receiver must not come all at once.
    private static func rest(until: Int64, now: Int64) -> Duration {
        let least = Duration.milliseconds(max(0, until - now))
        return least + min(least / 5, WebhookLimits.longestSpread) * Double.random(in: 0...1)
    }

    /// The attempt, what follows from it for its endpoint, and the event that tells of that: all or nothing.
    private static func record(
        _ attempt: WebhookAttempt, trace: Trace, _ store: WorkerStore, _ tables: WebhookTables
    ) async throws {
        try await store.write { db in
            guard let endpoint = try tables.record(db, attempt) else { return }
            try store.outbox.append(db, events: [endpoint.disabledEvent(trace)])
        }
    }
}

extension WebhookEndpoint {
    /// What is told when it was disabled.
    func disabledEvent(_ trace: Trace) -> Event {
        Event(
            JobKind.webhookDisabledType, subject: id,
            data: JSONText([
                "owner": .text(owner), "url": .text(url), "reason": .text(disabled?.rawValue ?? ""),
            ]), producer: "worker", trace: trace)
    }
}
