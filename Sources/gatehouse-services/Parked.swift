import ArgumentParser
import Backbone
import Foundation
import ServiceKit

/// What was set aside by a service, for people.
struct Parked: ParsableCommand {
    private static let services = ["auth", "core", "worker", "search"]

    static let configuration = CommandConfiguration(
        abstract: "Lists what a service could not tell the bus, or make anything of, one JSON object a line.",
        discussion:
            "With --put-back each is tried once more, by the service if it runs, within half a minute.")

    @Option(help: "The data directory of the service.") var data = "data"
    @Argument(help: "auth, core, worker or search.") var service: String
    @Flag(help: "Tries all of them once more.") var putBack = false

    func validate() throws {
        guard Self.services.contains(service) else {
            throw ValidationError("the service must be one of \(Self.services.joined(separator: ", "))")
        }
    }

    func run() throws {
        let parked = try ParkedMessages(
            directory: URL(filePath: data, directoryHint: .isDirectory), name: service)
        for message in try parked.all() {
            print(
                JSONValue.object([
                    "place": .text(message.place), "number": .integer(message.number),
                    "error": .text(message.error), "parkedAt": .text(Timestamp.text(message.parkedAt)),
                    "message": (try? JSONValue(parsing: message.text.utf8)) ?? .text(message.text),
                ]).json)
        }
        if putBack { print("\(try parked.putBack()) put back") }
    }
}

/// Jobs that ended badly, for people.
struct Dead: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Lists the dead jobs of a queue of the bus, the newest first, one JSON object a line.",
        discussion: "With --redrive each is made ready again, as if it had never failed.")

    @OptionGroup var bus: BusOptions
    @Option(help: "mail, webhooks or work.") var queue: String
    @Flag(help: "Makes each of them ready again.") var redrive = false

    func run() async throws {
        let backbone = try bus.backbone()
        var count = 0
        var before: String?
        while true {
            let jobs = try await backbone.deadJobs(queue: queue, before: before, limit: JobLimits.batch)
            guard let last = jobs.last else { break }
            for job in jobs {
                print(
                    JSONValue.object([
                        "id": .text(job.id), "kind": .text(job.kind),
                        "owner": job.owner.map { .text($0) } ?? .null,
                        "failures": .integer(Int64(job.failures)),
                        "error": job.lastError.map { .text($0) } ?? .null,
                        "request_id": .text(job.trace.requestID),
                        "diedAt": .text(Timestamp.text(job.updatedAt)),
                    ]).json)
                guard redrive else { continue }
                do {
                    try await backbone.redrive(id: job.id)
                    count += 1
                } catch BackboneError.notFound {
                    // Somebody else was quicker, or it was too old to be kept.
                }
            }
            before = last.id
        }
        if redrive { print("\(count) redriven") }
    }
}
