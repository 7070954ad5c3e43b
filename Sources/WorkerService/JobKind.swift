internal import Foundation
internal import ServiceKit

/// A failure that no second attempt can mend.
public struct FatalJobFailure: Error, CustomStringConvertible, Sendable {
    public let description: String

    public init(_ description: String) {
        self.description = description
    }
}

/// One kind of job: its name, and what it does.
public struct JobKind: Sendable {
    public let name: String
    /// Works on the job's payload and returns its result, both JSON texts. It may run again after a failure or a restart,
    /// so its effect must be the same when it is had twice. A `FatalJobFailure` is not tried again.
    public let work: @Sendable (_ payload: String) async throws -> String

    public init(_ name: String, work: @escaping @Sendable (_ payload: String) async throws -> String) {
        self.name = name
        self.work = work
    }

    /// The kinds of a service as it is delivered.
    public static let standard = [echo, digest, wordCount, process]

    /// Gives the payload back.
    public static let echo = JobKind("echo") { $0 }

    /// `{"text": ...}` to `{"sha256": ...}`, in hexadecimal, over the text's UTF-8.
    public static let digest = JobKind("digest") { payload in
        let text = try text(payload)
        return try json(["sha256": Bytes.hex(Bytes.sha256(text.utf8))])
    }

    /// `{"text": ...}` to the number of lines, words and characters in it. A word is what white space separates.
    public static let wordCount = JobKind("word-count") { payload in
        let text = try text(payload)
        return try json([
            "lines": text.split(omittingEmptySubsequences: false, whereSeparator: \.isNewline).count,
            "words": text.split(whereSeparator: \.isWhitespace).count, "characters": text.count,
        ])
    }

    /// `{"text": ...}` to the statistics of a document.
    public static let process = JobKind("process") { payload in
        try json(DocumentStatistics(try text(payload)))
    }

    private struct TextPayload: Decodable {
        let text: String
    }

    private static func text(_ payload: String) throws -> String {
        guard let payload = try? JSONDecoder().decode(TextPayload.self, from: Data(payload.utf8)) else {
            throw FatalJobFailure("the payload must have a member 'text' that is a string")
        }
        return payload.text
    }

    private static func json(_ value: some Encodable) throws -> String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys]
        return String(decoding: try encoder.encode(value), as: UTF8.self)
    }
}
