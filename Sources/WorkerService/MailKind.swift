internal import Backbone
internal import ServiceKit

/// What a job of kind `email` is to do: one of our mails, to one address.
struct MailOrder: Codable, Equatable, Sendable {
    static let queue = "mail"
    static let kind = "email"

    let template: String
    let to: String
    let values: [String: String]?

    init(_ template: String, to: String, values: [String: String] = [:]) {
        self.template = template
        self.to = to
        self.values = values
    }

    /// `key`: The same cause orders a mail once.
    func job(key: String, trace: Trace) throws -> NewJob {
        NewJob(
            queue: Self.queue, kind: Self.kind, payload: try JSONText(encoding: self), trace: trace,
            failureLimit: RetrySchedule.mails.failureLimit, idempotencyKey: key)
    }
}

extension JobKind {
    /// Fills a template and hands it to the mail server. The name and the address of the platform are put in here: who
    /// orders a mail cannot know them.
    static func email(_ sender: MailSender, schedule: RetrySchedule = .mails) -> JobKind {
        // The sender has a limit of its own; this one is for a thread that hangs.
        JobKind(MailOrder.kind, queue: MailOrder.queue, timeout: sender.timeout + .seconds(10)) { job in
            let message = try message(job, sender.settings)
            let outcome = try await sender.send(message)
            switch outcome {
            case .sent: return JSONText(["messageId": .text(message.messageID)])
            case .refused(let reason): throw FatalJobFailure(reason)
            case .failed(let reason):
                try Task.checkCancellation()
                throw PassingJobFailure(reason, pause: schedule.pause(after: job.failures))
            }
        }
    }

    /// What cannot be a mail now never will: the order does not change.
    private static func message(_ job: Job, _ settings: MailSettings) throws -> MailMessage {
        let order = try job.order(MailOrder.self)
        guard let template = MailTemplate.all[order.template] else {
            throw FatalJobFailure("there is no template '\(order.template.prefix(100))'")
        }
        guard let from = MailAddress(settings.from) else {
            throw FatalJobFailure(MailMessage.Refusal.sender.rawValue)
        }
        guard let to = MailAddress(order.to) else {
            throw FatalJobFailure(MailMessage.Refusal.recipient.rawValue)
        }
        var values = order.values ?? [:]
        values["product"] = settings.product
        values["public_url"] = settings.publicURL
        do {
            let (subject, body) = try template.filled(values)
            return try MailMessage(
                job: job.id, from: from, to: to, subject: subject, body: body, orderedAt: job.createdAt,
                trace: TraceFields(job.trace))
        } catch let refusal as MailTemplate.Refusal {
            throw FatalJobFailure(refusal.description)
        } catch let refusal as MailMessage.Refusal {
            throw FatalJobFailure(refusal.rawValue)
        }
    }
}

extension TraceFields {
    init(_ trace: Trace) {
        self.init(requestID: trace.requestID, traceparent: trace.traceparent)
    }
}
