import Backbone
import Foundation
import GRDB
import Logging
import ServiceKit
import Synchronization
import Testing

@testable import BusService

@Suite("What the bus writes without taking it apart, and what it logs") struct PageTests {
    private static let schema = EventSchema(type: "document.created", schema: ["type": "object"])

    @Test("A page written from the store is, byte for byte, the page that its events make") func page()
        async throws
    {
        try await Harness.withDirectory { directory in
            let store = try BusStore(directory: directory)
            try await store.register(Self.schema)
            let subjects = ["d", "\"quoted\" \\ and\nmore", "é\u{1}", String(repeating: "s", count: 200)]
            let traces = [Trace.fresh(), Trace(requestID: "r-1", traceparent: nil)]
            let events = subjects.flatMap { subject in
                traces.map { trace in
                    Event(
                        "document.created", subject: subject,
                        data: JSONText(["text": .text(subject), "n": 1.5, "list": [1, nil, true]]),
                        producer: "te\"st", trace: trace)
                }
            }
            _ = try await store.publish(events)
            for (after, limit, types) in [
                (0, 100, nil), (0, 3, nil), (2, 3, ["document.*"]), (8, 10, nil), (0, 10, ["user.created"]),
            ] as [(Int64, Int, [String]?)] {
                let page = try await store.events(
                    after: after, limit: limit, types: types, waitSeconds: 0)
                let text = try await store.eventPageText(
                    after: after, limit: limit, types: types, waitSeconds: 0)
                #expect(String(decoding: text, as: UTF8.self) == Wire.text { Wire.write(page, to: &$0) })
                #expect(try Wire.read(text) { try Wire.eventPage(&$0) } == page)
            }
            let all = try await store.events(after: 0, limit: 100, types: nil, waitSeconds: 0)
            #expect(all.events.map(\.event) == events)
        }
    }

    /// The lines of a log.
    private final class Lines: Sendable {
        private let held = Mutex<[JSONValue]>([])
        var all: [JSONValue] { held.withLock { $0 } }
        func add(_ line: [UInt8]) {
            held.withLock { $0.append((try? JSONValue(parsing: line)) ?? .null) }
        }
    }

    @Test("Each request whose events or jobs come in one call is found in the log by its id") func batches()
        async throws
    {
        try await Harness.withDirectory { directory in
            let lines = Lines()
            var log = Logger(label: "bus") { label in ServiceLog(service: label) { lines.add($0) } }
            log.logLevel = .info
            let service = try BusService(directory: directory, serviceToken: Harness.token, log: log)
            try await withRunning(service.parts, log: log) { origin in
                let client = Harness.client(origin)
                try await client.register(Self.schema)
                let traces = (0..<3).map { Trace(requestID: "request-\($0)", traceparent: nil) }
                _ = try await client.publish(
                    (traces + traces).map {
                        Event("document.created", subject: "d", data: JSONText([:]), producer: "t", trace: $0)
                    })
                _ = try await client.enqueue(
                    traces.map { NewJob(queue: "q", kind: "k", payload: JSONText([:]), trace: $0) })
                // Under its own id, as the call.
                let alone = Trace(requestID: "alone", traceparent: nil)
                _ = try await client.enqueue([
                    NewJob(queue: "q", kind: "k", payload: JSONText([:]), trace: alone)
                ])
            }
            let told = lines.all.filter { ["events taken", "jobs taken"].contains($0["event"]?.asText) }
            #expect(told.map { $0["count"]?.asInteger } == [6, 3])
            #expect(
                told.map { $0["request_ids"]?.asText }
                    == Array(repeating: "request-0 request-1 request-2", count: 2))
            #expect(lines.all.contains { $0["event"] == "request" && $0["request_id"] == "alone" })
        }
    }

    @Test("Writes that wait for a store that another holds fail together, after one wait, and are none")
    func held()
        async throws
    {
        try await Harness.withDirectory { directory in
            let store = try BusStore(directory: directory)
            try await store.register(Self.schema)
            var configuration = Configuration()
            configuration.allowsUnsafeTransactions = true
            let other = try DatabaseQueue(
                path: directory.appending(path: "bus.sqlite").path(percentEncoded: false),
                configuration: configuration)
            try await other.writeWithoutTransaction { db in try db.execute(sql: "BEGIN IMMEDIATE") }
            // No wait at all, so that the test has none.
            try await store.pool.writeWithoutTransaction { db in
                try db.execute(sql: "PRAGMA busy_timeout = 0")
            }
            try await withThrowingTaskGroup(of: Bool.self) { group in
                for number in 0..<20 {
                    group.addTask {
                        let event = Event(
                            "document.created", subject: "s\(number)", data: JSONText([:]), producer: "t",
                            trace: .fresh())
                        do {
                            _ = try await store.publish([event])
                            return false
                        } catch BackboneError.unavailable { return true }
                    }
                }
                for try await isRefused in group { #expect(isRefused) }
            }
            try await other.writeWithoutTransaction { db in try db.execute(sql: "ROLLBACK") }
            let event = Event(
                "document.created", subject: "d", data: JSONText([:]), producer: "t", trace: .fresh())
            #expect(try await store.publish([event]) == [.appended(offset: 1)])
        }
    }
}
