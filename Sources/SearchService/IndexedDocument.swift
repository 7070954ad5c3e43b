internal import Foundation

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
