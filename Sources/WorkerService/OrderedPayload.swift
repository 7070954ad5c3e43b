internal import HTTPTypes
internal import ServiceKit

/// What comes with a job that a user orders, at once or by a schedule.
enum OrderedPayload {
    static let limitBytes = 64 * 1_024
    /// What the backbone reads is nested at most twice as deep.
    static let depth = 32

    /// As it is stored; nothing stands for `null`. Throws `Problem` 422 or 413.
    static func checked(_ value: JSONValue?) throws -> JSONText {
        guard let payload = try? JSONText(checking: (value ?? .null).json, depthLimit: depth) else {
            throw Problem(
                .unprocessableContent, "payload_too_deep", "The payload may be nested at most \(depth) deep.")
        }
        guard payload.text.utf8.count <= limitBytes else {
            throw Problem(
                .contentTooLarge, "body_too_large", "The payload may have at most \(limitBytes) bytes.")
        }
        return payload
    }
}
