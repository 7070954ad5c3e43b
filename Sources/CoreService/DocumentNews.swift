internal import Backbone
internal import HTTPTypes
internal import ServiceKit

/// What core tells others of a change: an event for whoever follows documents, and a job that counts what is in one.
enum DocumentNews {
    enum Kind: String, CaseIterable {
        case created = "document.created"
        case updated = "document.updated"
        case deleted = "document.deleted"
    }

    /// Of the events, as they are made known to the backbone. More members may come: none is closed.
    static let schemas = Kind.allCases.map { kind in
        EventSchema(
            type: kind.rawValue, schema: schema(kind == .deleted ? deletionMembers : documentMembers))
    }

    private static let deletionMembers: [String: JSONValue] = [
        "owner": ["type": "string"], "version": ["type": "integer", "minimum": 1],
    ]

    private static let documentMembers = deletionMembers.merging([
        "title": ["type": "string"], "body": ["type": "string"],
        "createdAt": ["type": "string", "format": "date-time"],
        "updatedAt": ["type": "string", "format": "date-time"],
    ]) { $1 }

    private static func schema(_ members: [String: JSONValue]) -> JSONValue {
        [
            "type": "object", "required": .list(members.keys.sorted().map { .text($0) }),
            "properties": .object(members),
        ]
    }

    /// The event of a change. The whole document is in it, so that an index can be made anew of the log alone.
    ///
    /// Throws 413 for a document that has no room in an event. It is judged here, where its writer can be told, and by
    /// what the event's JSON takes: a control character has one byte in a store, and six there.
    static func event(_ kind: Kind, _ document: Document, _ origin: ChangeOrigin) throws -> Event {
        var data: [String: JSONValue] = [
            "owner": .text(document.owner), "version": .integer(document.version),
        ]
        if kind != .deleted {
            data["title"] = .text(document.title)
            data["body"] = .text(document.body)
            data["createdAt"] = .text(Timestamp.text(document.createdAt))
            data["updatedAt"] = .text(Timestamp.text(document.updatedAt))
        }
        let text = JSONText(.object(data))
        let lengthBytes = text.text.utf8.count
        guard lengthBytes <= EventLimits.dataBytes else {
            throw Problem(
                .contentTooLarge, "document_too_large",
                """
                As JSON, in which a control character takes up to six bytes, the document has \(lengthBytes) bytes; it \
                may have \(EventLimits.dataBytes).
                """)
        }
        return Event(
            kind.rawValue, subject: document.id, data: text, producer: "core", trace: origin.trace,
            time: origin.at)
    }

    /// The job that counts what is in the document; `nil` for a text that has no room in a job. Its statistics are a
    /// service to the reader, and no reason to refuse a long document.
    static func job(_ document: Document, _ origin: ChangeOrigin) -> NewJob? {
        let payload = JSONText(["document": .text(document.id), "text": .text(document.body)])
        guard payload.text.utf8.count <= JobLimits.payloadBytes else { return nil }
        return NewJob(
            queue: "work", kind: "process", payload: payload, trace: origin.trace, owner: document.owner,
            idempotencyKey: "process/\(document.id)/\(document.version)")
    }
}
