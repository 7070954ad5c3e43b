public import ServiceKit

/// Something that happened, as its producer tells it.
public struct Event: Equatable, Sendable {
    /// A UUID of version 7, made by the producer: a repeated publish is known by it.
    public let id: String
    /// A noun, a dot and what happened to it: `document.created`. It must be in the schema registry.
    public let type: String
    /// Which schema of the type `data` follows.
    public let schemaVersion: Int
    /// What it happened to: the id of a document or an account.
    public let subject: String
    /// Unix milliseconds.
    public let time: Int64
    /// The service that tells it.
    public let producer: String
    public let trace: Trace
    /// A JSON object that the schema of `type` and `schemaVersion` describes.
    public let data: JSONText

    /// `data`: what happened, as the schema says.
    public init(
        _ type: String, schemaVersion: Int = 1, subject: String, data: JSONText, producer: String,
        trace: Trace, id: String = Identifier.make(), time: Int64 = Timestamp.now
    ) {
        self.id = id
        self.type = type
        self.schemaVersion = schemaVersion
        self.subject = subject
        self.time = time
        self.producer = producer
        self.trace = trace
        self.data = data
    }
}

/// An event with its place in the log.
public struct LoggedEvent: Equatable, Sendable {
    /// Grows with each event, with gaps: compare by `>`, and never count on the next number.
    public let offset: Int64
    public let event: Event

    public init(offset: Int64, event: Event) {
        self.offset = offset
        self.event = event
    }
}

/// A stretch of the log.
public struct EventPage: Equatable, Sendable {
    /// In the order of their offsets; empty when nothing came within the time.
    public let events: [LoggedEvent]
    /// Where to read on from. It may be past the last event given: others were passed over by their type.
    public let next: Int64
    /// The last offset of the log.
    public let last: Int64
    /// Events up to here may be gone (retention), but for the latest of each subject of a compacted topic.
    public let horizon: Int64

    public init(events: [LoggedEvent], next: Int64, last: Int64, horizon: Int64) {
        self.events = events
        self.next = next
        self.last = last
        self.horizon = horizon
    }
}

/// Why one event, job or schema of several was not taken; the others were judged by themselves. It never will be as it is.
public struct Refusal: Error, Equatable, Sendable, CustomStringConvertible {
    /// A stable name.
    public let reason: String
    /// One sentence for a human.
    public let detail: String
    public var description: String { "\(reason): \(detail)" }

    public init(_ reason: String, _ detail: String) {
        self.reason = reason
        self.detail = detail
    }
}

/// What became of one event.
public enum PublishOutcome: Equatable, Sendable {
    case appended(offset: Int64)
    /// It was in the log already, at that offset.
    case duplicate(offset: Int64)
    case refused(Refusal)
}

/// One version of the data of one type of event.
public struct EventSchema: Equatable, Sendable {
    public let type: String
    /// From 1, without gaps.
    public let version: Int
    /// The JSON Schema (the subset that `SchemaValidator` knows).
    public let schema: JSONValue

    public init(type: String, version: Int = 1, schema: JSONValue) {
        self.type = type
        self.version = version
        self.schema = schema
    }
}

/// A group of consumers that share one position, as the log knows it. The position that counts is in the consumer's own
/// store; this one tells the log what must be kept, and people how far behind the group is.
public struct ConsumerGroup: Equatable, Sendable {
    public let name: String
    /// The last offset whose effect is stored.
    public let offset: Int64
    /// Unix milliseconds.
    public let updatedAt: Int64

    public init(name: String, offset: Int64, updatedAt: Int64) {
        self.name = name
        self.offset = offset
        self.updatedAt = updatedAt
    }
}
