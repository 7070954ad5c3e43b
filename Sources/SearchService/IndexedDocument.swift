internal import Backbone
internal import ServiceKit

/// A document as the index keeps it.
struct IndexedDocument: Equatable, Sendable {
    var owner: String
    var type: String
    var title: String
    var body: String
    /// Grows with each change; an older one never replaces a newer one.
    var version: Int64
    /// Unix milliseconds.
    var updatedAt: Int64
}

/// What has happened to a document.
enum DocumentChange: Equatable, Sendable {
    case stored(IndexedDocument)
    /// `version`: Of the deletion, greater than that of any state before it.
    /// `at`: Unix milliseconds.
    case removed(version: Int64, at: Int64)
}

extension DocumentChange {
    /// The types of the events that tell of documents.
    static let types = ["document.*"]
    private static let documentType = "document"

    /// What an event tells of a document; `nil` for a type that is not known here.
    /// Throws `Unreadable` where its data is not as its schema says.
    init?(_ event: Event) throws {
        switch event.type {
        case "document.created", "document.updated":
            let data = try event.data.value()
            guard let owner = data["owner"]?.asText, let title = data["title"]?.asText,
                let body = data["body"]?.asText, let version = data["version"]?.asInteger
            else { throw Unreadable() }
            let updatedAt = data["updatedAt"]?.asText.flatMap(Timestamp.milliseconds)
            self = .stored(
                IndexedDocument(
                    owner: owner, type: Self.documentType, title: title, body: body, version: version,
                    updatedAt: updatedAt ?? event.time))
        case "document.deleted":
            guard let version = try event.data.value()["version"]?.asInteger else { throw Unreadable() }
            self = .removed(version: version, at: event.time)
        default: return nil
        }
    }

    /// An event that no version of ours has told: it is parked.
    struct Unreadable: Error {}
}
