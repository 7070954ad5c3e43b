internal import HTTPTypes
internal import Hummingbird
internal import ServiceKit

/// The validator of a document: its version (RFC 9110 §8.8.3). Always strong.
enum EntityTag {
    static func text(version: Int64) -> String { "\"v\(version)\"" }
}

/// What `If-Match` or `If-None-Match` names (RFC 9110 §13.1.1, §13.1.2).
enum EntityTagList: Equatable, Sendable {
    case any
    /// As they were written, `W/` included.
    case tags([String])

    /// `nil` when the field is not there.
    init?(_ field: String?) {
        guard let field else { return nil }
        let members = field.split(separator: ",").map { $0.trimmed }
        self = members == ["*"] ? .any : .tags(members)
    }

    /// Strong comparison: a weak tag equals nothing (§8.8.3.2).
    func matchesStrongly(_ tag: String) -> Bool {
        switch self {
        case .any: true
        case .tags(let tags): tags.contains(tag)
        }
    }

    /// Weak comparison: `W/` does not count.
    func matchesWeakly(_ tag: String) -> Bool {
        switch self {
        case .any: true
        case .tags(let tags): tags.contains { $0 == tag || $0 == "W/" + tag }
        }
    }
}

extension Substring {
    fileprivate var trimmed: String {
        String(drop { $0 == " " || $0 == "\t" }.reversed().drop { $0 == " " || $0 == "\t" }.reversed())
    }
}
