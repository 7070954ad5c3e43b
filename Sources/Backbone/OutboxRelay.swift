internal import Foundation
public import GRDB
public import Logging
internal import ServiceKit
public import ServiceLifecycle

/// Brings what waits in an outbox to the backbone, in order, in the background, and for as long as it takes.
public struct OutboxRelay: Service {
    /// Rows of one transaction of ours.
    private static let batch = 200
    /// Bytes of them, as many as are held in memory.
    private static let batchBytes = 4 << 20
    /// Bytes of one request; a single message may be larger.
    private static let requestBytes = 1 << 20
    private static let firstPauseMilliseconds = 50.0
    private static let longestPauseMilliseconds = 5_000.0

    private let outbox: Outbox
    private let store: any DatabaseWriter
    private let backbone: any Backbone
    private let schemas: [EventSchema]
    private let log: Logger

    /// `schemas`: Of the events that this service publishes; made known before the first event is sent.
    public init(
        _ outbox: Outbox, store: any DatabaseWriter, backbone: any Backbone, schemas: [EventSchema],
        log: Logger
    ) {
        self.outbox = outbox
        self.store = store
        self.backbone = backbone
        self.schemas = schemas
        self.log = log
    }

    public func run() async throws {
        // What is cut short is sent again at the next start; the backbone knows ids, so nothing is stored twice.
        await cancelWhenGracefulShutdown { await relay() }
    }

    private func relay() async {
        var failures = 0
        var areSchemasKnown = schemas.isEmpty
        /// They were made known, and nothing was taken since: what is refused now is refused with them.
        var areSchemasFresh = false
        while !Task.isCancelled {
            do {
                if !areSchemasKnown {
                    try await registerSchemas()
                    areSchemasKnown = true
                    areSchemasFresh = true
                }
                let rows = try await store.read { db in
                    try outbox.due(db, limit: Self.batch, limitBytes: Self.batchBytes)
                }
                if rows.isEmpty {
                    failures = 0
                    await outbox.bell.wait(upTo: .seconds(30))
                    continue
                }
                for run in Self.runs(rows) {
                    try await send(run, maySchemasBeGone: !areSchemasFresh)
                    areSchemasFresh = false
                }
                if failures > 0 { log.info("the backbone is back") }
                failures = 0
            } catch is CancellationError {
                return
            } catch is SchemasGone {
                log.error("the backbone has lost the schemas: they are made known anew")
                areSchemasKnown = false
            } catch {
                failures += 1
                // Once is enough: a backbone that is away for an hour must not fill the log.
                if failures == 1 {
                    log.warning(
                        "the backbone is away", metadata: ["error": .string(String(describing: error))])
                }
                try? await Task.sleep(for: Self.pause(failures: failures))
            }
        }
    }

    /// A schema that is refused is told of, and does not hold up the others: its events will be parked.
    private func registerSchemas() async throws {
        for schema in schemas {
            do {
                try await backbone.register(schema)
            } catch BackboneError.refused(let refusal) {
                log.error(
                    "schema refused",
                    metadata: [
                        "type": .string(schema.type), "version": .stringConvertible(schema.version),
                        "reason": .string(refusal.description),
                    ])
            }
        }
    }

    private enum Outcome {
        case taken
        case refused(Refusal)
    }

    /// The backbone's store was lost, or an older state of it was put back, while we ran on.
    private struct SchemasGone: Error {}

    /// `maySchemasBeGone`: Throws `SchemasGone`, and nothing is parked, where an event of ours is of no known type.
    private func send(_ rows: [Outbox.Row], maySchemasBeGone: Bool) async throws {
        let outcomes: [Outcome]
        do {
            outcomes = try await outcomesOf(rows)
        } catch BackboneError.refused(let refusal) {
            // The request as a whole: of several, one by one; of one, it is the one.
            guard rows.count == 1 else {
                for row in rows { try await send([row], maySchemasBeGone: maySchemasBeGone) }
                return
            }
            outcomes = [.refused(refusal)]
        } catch let failure as Wire.Failure {
            // A row of another version of this program, say. It will never be read otherwise, and must hold up no other.
            guard rows.count == 1 else {
                for row in rows { try await send([row], maySchemasBeGone: maySchemasBeGone) }
                return
            }
            outcomes = [.refused(Refusal("unreadable", "\(failure)"))]
        }
        if maySchemasBeGone, !schemas.isEmpty,
            outcomes.contains(where: {
                if case .refused(let why) = $0 { why.reason == "unknown_type" } else { false }
            })
        {
            throw SchemasGone()
        }
        let now = Timestamp.now
        try await store.write { db in
            var taken: [Int64] = []
            for (row, outcome) in zip(rows, outcomes) {
                switch outcome {
                case .taken: taken.append(row.seq)
                case .refused(let why): try outbox.park(db, row, error: why.description, now: now)
                }
            }
            try outbox.remove(db, taken)
        }
        for case (let row, .refused(let why)) in zip(rows, outcomes) {
            log.error(
                "message parked",
                metadata: [
                    "seq": .stringConvertible(row.seq), "message": .string(row.isJob ? "job" : "event"),
                    "reason": .string(why.description),
                ])
        }
    }

    private func outcomesOf(_ rows: [Outbox.Row]) async throws -> [Outcome] {
        if rows[0].isJob {
            let jobs = try rows.map { try Wire.job($0.message) }
            return try await backbone.enqueue(jobs).map {
                if case .refused(let refusal) = $0 { .refused(refusal) } else { .taken }
            }
        }
        let events = try rows.map { try Wire.event($0.message) }
        return try await backbone.publish(events).map {
            if case .refused(let refusal) = $0 { .refused(refusal) } else { .taken }
        }
    }

    /// Neighbours of one sort, as many as go into one request.
    static func runs(_ rows: [Outbox.Row]) -> [[Outbox.Row]] {
        var runs: [[Outbox.Row]] = []
        var bytes = 0
        for row in rows {
            bytes += row.message.utf8.count
            if let last = runs.last?.last, last.isJob == row.isJob, bytes <= requestBytes {
                runs[runs.count - 1].append(row)
            } else {
                runs.append([row])
                bytes = row.message.utf8.count
            }
        }
        return runs
    }

    /// Doubles up to five seconds, less up to half by chance, so that several services do not come back in step.
    static func pause(failures: Int) -> Duration {
        let full = min(longestPauseMilliseconds, firstPauseMilliseconds * Double(1 << min(failures, 10)))
        return .milliseconds(Int(full * Double.random(in: 0.5...1)))
    }
}
