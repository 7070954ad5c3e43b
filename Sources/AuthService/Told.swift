internal import Backbone
internal import ServiceKit

/// What this service tells the others.
enum Told {
    static let producer = "auth"

    static let schemas = [
        EventSchema(
            type: "user.created",
            schema: [
                "description": "An account was made; the subject is its id.", "type": "object",
                "required": ["email"], "properties": ["email": ["type": "string"]],
            ]),
        EventSchema(
            type: "user.disabled",
            schema: [
                "description": "An administrator disabled an account; the subject is its id.",
                "type": "object",
            ]),
        EventSchema(
            type: "user.enabled",
            schema: [
                "description":
                    "An administrator enabled an account that was disabled; the subject is its id.",
                "type": "object",
            ]),
        EventSchema(
            type: "auth.refresh_reuse",
            schema: [
                "description":
                    "A refresh token was used twice, and its session ended; the subject is the account's id.",
                "type": "object", "required": ["session"],
                "properties": ["session": ["type": "string", "format": "uuid"]],
            ]),
    ]

    static func userCreated(id: String, email: String, now: Int64, trace: Trace) -> Event {
        event("user.created", account: id, ["email": .text(email)], now: now, trace: trace)
    }

    static func userDisabled(id: String, now: Int64, trace: Trace) -> Event {
        event("user.disabled", account: id, [:], now: now, trace: trace)
    }

    static func userEnabled(id: String, now: Int64, trace: Trace) -> Event {
        event("user.enabled", account: id, [:], now: now, trace: trace)
    }

    static func refreshReuse(session: String, account: String, now: Int64, trace: Trace) -> Event {
        event("auth.refresh_reuse", account: account, ["session": .text(session)], now: now, trace: trace)
    }

    /// The letter that brings a one-time token to its owner. It is the platform's own job and not the account's: whoever
    /// is named as a job's owner may look at it, and what is in the letter is for those who can read the mailbox.
    static func letter(_ purpose: TokenPurpose, to address: String, token: String, trace: Trace) -> NewJob {
        NewJob(
            queue: "mail", kind: "email",
            payload: JSONText([
                "template": .text(purpose.rawValue), "to": .text(address), "values": ["token": .text(token)],
            ]), trace: trace, failureLimit: purpose.letterFailures)
    }

    private static func event(
        _ type: String, account: String, _ data: JSONValue, now: Int64, trace: Trace
    ) -> Event {
        Event(type, subject: account, data: JSONText(data), producer: producer, trace: trace, time: now)
    }
}
