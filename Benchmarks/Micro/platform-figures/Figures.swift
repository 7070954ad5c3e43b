import Backbone
import Foundation
import ServiceKit

/// What a backbone does in a second, one kind of call after the other.
struct Figures {
    let backbone: any Backbone
    /// How it is asked, for whoever reads the table.
    let way: String

    private static let schema = EventSchema(
        type: "figure.counted",
        schema: [
            "type": "object", "required": ["number", "text"],
            "properties": ["number": ["type": "integer"], "text": ["type": "string", "maxLength": 1000]],
        ])

    private struct Line: Encodable {
        let figure: String
        let way: String
        let unit: String
        let rate: Int
        let items: Int
        let seconds: Double
    }

    func measure() async throws {
        try await backbone.register(Self.schema)
        try await enqueue(
            "enqueue, 1 a call, 1 producer", queue: "single", jobs: 4_000, batch: 1, producers: 1)
        try await drain("lease + ack singly, 1 worker", queue: "single", jobs: 4_000, by: 1, workers: 1)
        try await enqueue(
            "enqueue, 1 a call, 64 producers", queue: "many", jobs: 16_000, batch: 1, producers: 64)
        try await drain("lease + ack singly, 16 workers", queue: "many", jobs: 16_000, by: 1, workers: 16)
        try await enqueue(
            "enqueue, 100 a call, 1 producer", queue: "ten", jobs: 40_000, batch: 100, producers: 1)
        try await drain("lease + ack by 10, 1 worker", queue: "ten", jobs: 40_000, by: 10, workers: 1)
        try await enqueue(
            "enqueue, 100 a call, 4 producers", queue: "tens", jobs: 80_000, batch: 100, producers: 4)
        try await drain("lease + ack by 10, 8 workers", queue: "tens", jobs: 80_000, by: 10, workers: 8)
        try await enqueue(
            "enqueue, 100 a call, 16 producers", queue: "crowd", jobs: 80_000, batch: 100, producers: 16)
        try await drain("lease + ack by 10, 64 workers", queue: "crowd", jobs: 80_000, by: 10, workers: 64)

        let start = try await backbone.stats().lastOffset
        try await append("append, 1 a call, 1 producer", events: 4_000, batch: 1, producers: 1)
        try await append("append, 1 a call, 64 producers", events: 32_000, batch: 1, producers: 64)
        try await append("append, 100 a call, 1 producer", events: 64_000, batch: 100, producers: 1)
        try await append("append, 100 a call, 4 producers", events: 64_000, batch: 100, producers: 4)
        try await replay("replay, 1000 a page", after: start, events: 164_000)
    }

    private func tell(_ figure: String, _ unit: String, _ items: Int, _ elapsed: Duration) throws {
        let seconds = Double(elapsed.microseconds) / 1_000_000
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys]
        let line = try encoder.encode(
            Line(
                figure: figure, way: way, unit: unit, rate: Int(Double(items) / seconds), items: items,
                seconds: seconds))
        FileHandle.standardOutput.write(line + Data("\n".utf8))
    }

    /// Runs `body` for so many tasks at once.
    private func timed(_ tasks: Int, _ body: @escaping @Sendable (Int) async throws -> Void) async throws
        -> Duration
    {
        let begin = ContinuousClock.now
        try await withThrowingTaskGroup(of: Void.self) { group in
            for task in 0..<tasks { group.addTask { try await body(task) } }
            try await group.waitForAll()
        }
        return begin.duration(to: .now)
    }

    private func enqueue(
        _ figure: String, queue: String, jobs: Int, batch: Int, producers: Int
    ) async throws {
        let calls = jobs / batch / producers
        let payload = JSONText(["text": .text(String(repeating: "x", count: 100))])
        let elapsed = try await timed(producers) { [backbone] _ in
            for _ in 0..<calls {
                let made = (0..<batch).map { _ in
                    NewJob(queue: queue, kind: "counted", payload: payload, trace: Trace.fresh())
                }
                guard try await backbone.enqueue(made).allSatisfy({ $0 == .queued }) else {
                    throw Broken(description: "a job was not queued")
                }
            }
        }
        try tell(figure, "jobs/s", jobs, elapsed)
    }

    /// Leases and finishes until the queue is empty; each job must come once.
    private func drain(_ figure: String, queue: String, jobs: Int, by size: Int, workers: Int) async throws {
        let done = Tally()
        let elapsed = try await timed(workers) { [backbone] worker in
            while true {
                let leased = try await backbone.lease(
                    queue: queue, limit: size, seconds: 60, worker: "w\(worker)")
                if leased.isEmpty { return }
                guard try await backbone.finish(leased.map { ($0.lease, nil) }).allSatisfy({ $0 == .done })
                else { throw Broken(description: "a lease was lost") }
                await done.add(leased.count)
            }
        }
        guard await done.count == jobs else {
            throw Broken(description: "\(await done.count) of \(jobs) jobs came")
        }
        try tell(figure, "jobs/s", jobs, elapsed)
    }

    private func append(_ figure: String, events: Int, batch: Int, producers: Int) async throws {
        let calls = events / batch / producers
        let text = String(repeating: "x", count: 100)
        let elapsed = try await timed(producers) { [backbone] producer in
            for call in 0..<calls {
                let made = (0..<batch).map { number in
                    Event(
                        "figure.counted", subject: "s\(producer)",
                        data: JSONText([
                            "number": .integer(Int64(call * batch + number)), "text": .text(text),
                        ]),
                        producer: "figures", trace: Trace.fresh())
                }
                for outcome in try await backbone.publish(made) {
                    guard case .appended = outcome else { throw Broken(description: "\(outcome)") }
                }
            }
        }
        try tell(figure, "events/s", events, elapsed)
    }

    private func replay(_ figure: String, after start: Int64, events: Int) async throws {
        var count = 0
        var next = start
        let begin = ContinuousClock.now
        while true {
            let page = try await backbone.events(after: next, limit: 1_000, types: nil, waitSeconds: 0)
            if page.events.isEmpty { break }
            count += page.events.count
            next = page.next
        }
        let elapsed = begin.duration(to: .now)
        guard count == events else { throw Broken(description: "\(count) of \(events) events came") }
        try tell(figure, "events/s", count, elapsed)
    }
}

/// What must not be counted as a success.
struct Broken: Error, CustomStringConvertible {
    let description: String
}

private actor Tally {
    private(set) var count = 0
    func add(_ more: Int) { count += more }
}
