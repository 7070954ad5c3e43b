internal import Foundation
internal import GRDB
internal import Hummingbird
internal import ServiceKit

/// What is asked for.
struct SearchQuery: Sendable {
    static let textLimitBytes = 256
    static let typeLimitBytes = 64
    static let pageLimit = 50
    static let usualPage = 10

    /// The words, as a pattern that nobody's text can break out of.
    let words: FTS5Pattern
    /// Whose documents; `nil` for everybody's.
    let owner: String?
    let type: String?
    /// Unix milliseconds.
    let updatedAfter: Int64?
    let limit: Int
    let cursor: SearchCursor?

    init(
        words: FTS5Pattern, owner: String?, type: String? = nil, updatedAfter: Int64? = nil,
        limit: Int = usualPage, cursor: SearchCursor? = nil
    ) {
        self.words = words
        self.owner = owner
        self.type = type
        self.updatedAfter = updatedAfter
        self.limit = limit
        self.cursor = cursor
    }

    /// Reads it from a request. Throws 400, and 403 for what is another's.
    init(_ request: Request, by caller: Caller) throws {
        let text = request.queryText("q") ?? ""
        guard text.utf8.count <= Self.textLimitBytes else {
            throw Self.refused("q may have at most \(Self.textLimitBytes) bytes.")
        }
        // The one way from a stranger's text to a MATCH: raw text is a query language with errors of its own.
        guard let words = FTS5Pattern(matchingAllTokensIn: text) else {
            throw Self.refused("q must hold at least one word.")
        }
        self.words = words

        let asked = request.queryText("owner")
        guard caller.isAdministrator || asked == nil || asked == caller.subject else {
            throw Problem(.forbidden, "not_owner", "These are another account's documents.")
        }
        owner = caller.isAdministrator ? asked : caller.subject

        type = request.queryText("type")
        guard (type ?? "a").utf8.count <= Self.typeLimitBytes, type != "" else {
            throw Self.refused("type must have from 1 to \(Self.typeLimitBytes) bytes.")
        }
        updatedAfter = try request.queryText("updatedAfter").map { text in
            guard let time = Timestamp.milliseconds(text) else {
                throw Self.refused("updatedAfter must be a time as 2026-01-02T03:04:05Z.")
            }
            return time
        }
        limit = try request.queryNumber("limit", in: 1...Self.pageLimit, fallback: Self.usualPage)
        cursor = try request.queryText("cursor").map { text in
            guard let cursor = SearchCursor(text: text) else { throw SearchCursor.refusal }
            return cursor
        }
    }

    /// What the index is asked for. The words are held to title and body, so that they cannot name the owner's bucket.
    var match: String {
        let words = "{title body} : (\(words.rawPattern))"
        return owner.map { "bucket : \(SearchStore.bucket(owner: $0)) AND \(words)" } ?? words
    }

    /// Tells whether a cursor belongs to this question.
    /// `generation`: After a rebuild the order is another.
    func fingerprint(generation: Int64) -> [UInt8] {
        let parts = [
            words.rawPattern, owner ?? "", owner == nil ? "all" : "one", type ?? "",
            updatedAfter.map(String.init) ?? "", String(generation),
        ]
        return Array(Bytes.sha256(parts.joined(separator: "\u{0}").utf8).prefix(8))
    }

    private static func refused(_ detail: String) -> Problem { Problem(.badRequest, "invalid_query", detail) }
}

/// Where the next page begins: after a document, in the order of one question.
///
/// It holds no rank: how rare a word is among everybody's documents is in it, and that is nobody's to know.
struct SearchCursor: Equatable, Sendable {
    static let refusal = Problem(
        .badRequest, "invalid_cursor",
        "The cursor is of another search, or what it names is gone: begin anew.")

    let document: String
    let fingerprint: [UInt8]

    init(after document: String, fingerprint: [UInt8]) {
        self.document = document
        self.fingerprint = fingerprint
    }

    init?(text: String) {
        guard text.utf8.count <= 128, let bytes = Bytes.fromBase64url(text), bytes.count == 8 + 36 else {
            return nil
        }
        fingerprint = Array(bytes.prefix(8))
        document = String(decoding: bytes.dropFirst(8), as: UTF8.self)
        guard Identifier.isValid(document) else { return nil }
    }

    var text: String { Bytes.base64url(fingerprint + Array(document.utf8)) }
}
