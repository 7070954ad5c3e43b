internal import Backbone
internal import GRDB
internal import ServiceKit

/// What follows from events: mails, webhooks and licences, ordered as jobs in the transaction that moves the position on.
///
/// The key of each job says its cause: an event that is read again orders nothing new.
struct FanOut: Sendable {
    static let group = "worker"
    /// So much of another log is read again as may not have been had: a day, much less than the bus keeps keys of jobs.
    static let rereadMilliseconds: Int64 = 86_400_000
    static let types = [
        "user.created", DisabledAccounts.disablingType, DisabledAccounts.enablingType, "document.*",
        "payment.completed",
    ]

    /// An event that does not say what its schema promises.
    struct Malformed: Error, CustomStringConvertible {
        let member: String
        var description: String { "the event has no text '\(member)'" }
    }

    let outbox: Outbox
    let tables: WebhookTables
    var schedules = ScheduleTables()
    /// The name of the store that all this is in.
    let store: String

    func effect(_ db: Database, _ logged: LoggedEvent) throws {
        let event = logged.event
        let data = try event.data.value()
        let jobs: [NewJob] =
            switch event.type {
            case "user.created": [try welcome(event, data)]
            case "payment.completed": try paid(event, data)
            case DisabledAccounts.disablingType: try disabled(db, event)
            case DisabledAccounts.enablingType: try enabled(db, event)
            default: try webhooks(db, event, data)
            }
        try outbox.append(db, jobs: jobs)
    }

    private func welcome(_ event: Event, _ data: JSONValue) throws -> NewJob {
        try MailOrder("welcome", to: Self.text(data, "email"))
            .job(key: "welcome/\(event.subject)", trace: event.trace)
    }

    /// One job for each endpoint of the owner that wants such events.
    private func webhooks(_ db: Database, _ event: Event, _ data: JSONValue) throws -> [NewJob] {
        let owner = try Self.text(data, "owner")
        let endpoints = try tables.matching(db, owner: owner, type: event.type, now: Timestamp.now)
        guard !endpoints.isEmpty, try !DisabledAccounts.hold(db, owner) else { return [] }
        let body = WebhookOrder.body(type: event.type, subject: event.subject, time: event.time, data: data)
        return try endpoints.map {
            try WebhookOrder.job(
                endpoint: $0.id, owner: owner, message: event.id, type: event.type, body: body, store: store,
                trace: event.trace)
        }
    }

    /// The account's endpoints are disabled and its schedules are over, and each endpoint's end is told.
    private func disabled(_ db: Database, _ event: Event) throws -> [NewJob] {
        let now = Timestamp.now
        try DisabledAccounts.add(db, event.subject, now: now)
        _ = try schedules.end(db, owner: event.subject, error: DisabledAccounts.reason)
        let endpoints = try tables.disable(db, owner: event.subject, .account, now: now)
        try outbox.append(db, events: endpoints.map { $0.disabledEvent(event.trace) })
        return []
    }

    /// What the account orders from now on is done. What was switched off stays so: whoever had the account may have left
    /// endpoints in it, and its owner is to look at each.
    private func enabled(_ db: Database, _ event: Event) throws -> [NewJob] {
        try DisabledAccounts.remove(db, event.subject)
        return []
    }

    private func paid(_ event: Event, _ data: JSONValue) throws -> [NewJob] {
        let email = try Self.text(data, "email")
        let description = try Self.text(data, "description")
        let values = [
            "number": try Self.text(data, "number"), "amount": try Self.text(data, "amount"),
            "currency": try Self.text(data, "currency"), "description": description,
        ]
        return [
            try LicenceOrder(payment: event.subject, email: email, description: description)
                .job(trace: event.trace),
            try MailOrder("receipt", to: email, values: values)
                .job(key: "receipt/\(event.subject)", trace: event.trace),
        ]
    }

    private static func text(_ data: JSONValue, _ member: String) throws -> String {
        guard let text = data[member]?.asText else { throw Malformed(member: member) }
        return text
    }

    /// Of the event that comes from outside of the platform, so that it can be told without a service of ours.
    static let paymentSchema = EventSchema(
        type: "payment.completed",
        schema: [
            "type": "object", "required": ["email", "number", "amount", "currency", "description"],
            "properties": [
                "email": ["type": "string"], "number": ["type": "string"], "amount": ["type": "string"],
                "currency": ["type": "string"], "description": ["type": "string"],
            ],
        ])
}
