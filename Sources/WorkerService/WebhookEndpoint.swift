internal import ServiceKit

/// Where an owner wants to be told of events.
struct WebhookEndpoint: Equatable, Sendable {
    /// Why an endpoint gets nothing more.
    enum Disabling: String, Sendable {
        /// The receiver answered 410.
        case gone
        /// It failed for days.
        case failing
        /// The owner switched it off.
        case owner
        /// The owner's account was disabled.
        case account
    }

    /// What an owner can be told of.
    static let offeredTypes = ["document.created", "document.updated", "document.deleted"]

    let id: String
    let owner: String
    let url: String
    let description: String
    /// Event types, `document.created`; or the beginning of some, `document.*`; or `*`.
    let types: [String]
    /// The newest first; two while one is being changed.
    let secrets: [WebhookSecret]
    /// `nil` while it is told of events.
    let disabled: Disabling?
    let disabledAt: Int64?
    /// When the first attempt failed since the last that did not.
    let failingSince: Int64?
    /// The receiver said when to come back (Unix milliseconds): until then nothing is sent to it.
    let restingUntil: Int64?
    let createdAt: Int64
    let updatedAt: Int64

    var isEnabled: Bool { disabled == nil }

    func wants(_ type: String) -> Bool { types.contains { Self.matches($0, type) } }

    static func matches(_ pattern: String, _ type: String) -> Bool {
        pattern == "*" || pattern == type || (pattern.hasSuffix(".*") && type.hasPrefix(pattern.dropLast()))
    }
}

/// One attempt to deliver a message, as it is remembered.
struct WebhookAttempt: Sendable {
    let endpoint: String
    /// The message's id, `webhook-id`.
    let message: String
    let type: String
    /// From 1.
    let number: Int
    let outcome: WebhookOutcome
    let durationMilliseconds: Int64
    /// When it ended.
    let at: Int64

    var status: Int? {
        switch outcome {
        case .delivered(let status): status
        case .failed(let status, _, _): status
        case .gone: 410
        case .refused: nil
        }
    }

    /// `nil` when it was delivered.
    var error: String? {
        switch outcome {
        case .delivered: nil
        case .failed(_, let reason, _), .refused(let reason): reason
        case .gone: "the receiver wants no more"
        }
    }
}

/// A remembered attempt.
struct WebhookDelivery: Equatable, Sendable {
    /// Grows with each attempt.
    let seq: Int64
    let endpoint: String
    let message: String
    let type: String
    let attempt: Int
    let status: Int?
    let error: String?
    let durationMilliseconds: Int64
    let at: Int64
}
