internal import Backbone
internal import ServiceKit

/// What a job of kind `webhook` is to do: one message, to one endpoint.
struct WebhookOrder: Codable, Equatable, Sendable {
    static let queue = "webhooks"
    static let kind = "webhook"
    /// A message that would be longer goes without its longest members; the receiver can ask for them.
    static let bodyLimitBytes = 64 * 1_024
    /// What is sent to try an endpoint out.
    static let testType = "webhook.test"

    let endpoint: String
    /// The id of the event, sent as `webhook-id`: the same at each attempt, so that the receiver knows it.
    let message: String
    let type: String
    /// What is sent and signed.
    let body: JSONText
    /// The worker's store that knows the endpoint; `nil` in orders from before stores had names.
    let store: String?

    /// What a receiver is told.
    /// `time`: Unix milliseconds, of the event.
    static func body(type: String, subject: String, time: Int64, data: JSONValue) -> JSONText {
        func text(_ data: JSONValue, omitted: [String]) -> JSONText {
            var members: [String: JSONValue] = [
                "type": .text(type), "timestamp": .text(Timestamp.text(time)), "subject": .text(subject),
                "data": data,
            ]
            if !omitted.isEmpty { members["omitted"] = .list(omitted.map { .text($0) }) }
            return JSONText(.object(members))
        }
        var kept = data
        var omitted: [String] = []
        var body = text(kept, omitted: omitted)
        while body.text.utf8.count > bodyLimitBytes, case .object(var members) = kept,
            let longest = members.map({ ($0.value.json.utf8.count, $0.key) }).max(by: { $0 < $1 })?.1
        {
            members[longest] = nil
            omitted.append(longest)
            kept = .object(members)
            body = text(kept, omitted: omitted)
        }
        return body
    }

    /// The job that sends it: the same event goes to an endpoint once.
    static func job(
        endpoint: String, owner: String, message: String, type: String, body: JSONText, store: String?,
        trace: Trace
    ) throws -> NewJob {
        NewJob(
            queue: queue, kind: kind,
            payload: try JSONText(
                encoding: WebhookOrder(
                    endpoint: endpoint, message: message, type: type, body: body, store: store)),
            trace: trace, owner: owner, failureLimit: RetrySchedule.webhooks.failureLimit,
            idempotencyKey: "webhook/\(endpoint)/\(message)")
    }
}
