internal import Backbone
internal import Foundation
internal import ServiceKit

/// A failure that no second attempt can mend.
struct FatalJobFailure: Error, CustomStringConvertible, Sendable {
    let description: String

    init(_ description: String) {
        self.description = description
    }
}

/// A failure that is tried again when the kind says so, and not as the backbone would.
struct PassingJobFailure: Error, CustomStringConvertible, Sendable {
    let description: String
    let pause: Duration

    init(_ description: String, pause: Duration) {
        self.description = description
        self.pause = pause
    }
}

/// Its time has not come: it was not begun, and is looked at again after the pause.
struct PostponedJob: Error, CustomStringConvertible, Sendable {
    let description: String
    let pause: Duration

    init(_ description: String, pause: Duration) {
        self.description = description
        self.pause = pause
    }
}

/// One kind of job: its name, and what it does.
struct JobKind: Sendable {
    /// Of a job's work alone; what a kind asks of others has limits of its own.
    static let standardTimeout: Duration = .seconds(30)
    /// Where jobs go that wait for nobody outside.
    static let workQueue = "work"

    let name: String
    let queue: String
    /// Users may order it; the others are ordered by services.
    let isOpen: Bool
    /// Work that takes longer has failed.
    let timeout: Duration
    /// Does the work and returns its result. It may run again after a failure, a restart or a lease that ran out, so its
    /// effect must be the same when it is had twice. It ends soon after its task is cancelled.
    let work: @Sendable (Job) async throws -> JSONText?

    init(
        _ name: String, queue: String = JobKind.workQueue, isOpen: Bool = false,
        timeout: Duration = JobKind.standardTimeout,
        work: @escaping @Sendable (Job) async throws -> JSONText?
    ) {
        self.name = name
        self.queue = queue
        self.isOpen = isOpen
        self.timeout = timeout
        self.work = work
    }

    /// The kinds that users may order.
    static let open = [echo, digest, wordCount, process]

    /// Gives the payload back.
    static let echo = JobKind("echo", isOpen: true) { $0.payload }

    /// `{"text": ...}` to `{"sha256": ...}`, in hexadecimal, over the text's UTF-8.
    static let digest = JobKind("digest", isOpen: true) { job in
        JSONText(["sha256": .text(Bytes.hex(Bytes.sha256(try text(job).utf8)))])
    }

    /// `{"text": ...}` to the number of lines, words and characters in it. A word is what white space separates.
    static let wordCount = JobKind("word-count", isOpen: true) { job in
        let text = try text(job)
        return try JSONText(encoding: [
            "lines": text.split(omittingEmptySubsequences: false, whereSeparator: \.isNewline).count,
            "words": text.split(whereSeparator: \.isWhitespace).count, "characters": text.count,
        ])
    }

    /// `{"text": ...}` to the statistics of a document.
    static let process = JobKind("process", isOpen: true) { job in
        try JSONText(encoding: DocumentStatistics(try text(job)))
    }

    private static func text(_ job: Job) throws -> String {
        guard let text = try job.payload.value()["text"]?.asText else {
            throw FatalJobFailure("the payload must have a member 'text' that is a string")
        }
        return text
    }
}

extension Job {
    /// What was ordered, in the form that the kind expects. Throws `FatalJobFailure`.
    func order<Order: Decodable>(_ type: Order.Type) throws -> Order {
        do {
            return try payload.decoded(as: type)
        } catch {
            throw FatalJobFailure("the payload has not the form that a job of kind '\(kind)' needs")
        }
    }
}
