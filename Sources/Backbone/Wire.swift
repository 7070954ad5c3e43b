package import ServiceKit

/// The one JSON form of events and jobs: between the services, and in their outboxes.
///
/// Read and written by hand: it is the hot path of the bus, and what is only carried, the data
/// of an event, is never taken apart.
package enum Wire {
    /// What was read is not what was agreed.
    package struct Failure: Error, Equatable, CustomStringConvertible {
        package let description: String
        /// More items than a request may hold: its own reason, since a shorter request would be answered.
        package let isOverLimit: Bool

        package init(_ description: String, isOverLimit: Bool = false) {
            self.description = description
            self.isOverLimit = isOverLimit
        }
    }

    package static func text(_ body: (inout JSONWriter) -> Void) -> String {
        var writer = JSONWriter()
        body(&writer)
        return writer.text
    }

    /// Reads a whole text by `body`. Throws `Failure` for any fault.
    package static func read<Value>(
        _ bytes: some Sequence<UInt8>, _ body: (inout JSONReader) throws -> Value
    ) throws -> Value {
        func whole(_ buffer: UnsafeBufferPointer<UInt8>) throws -> Value {
            var reader = JSONReader(buffer)
            let value = try body(&reader)
            try reader.end()
            return value
        }
        do {
            // Where they lie in one piece, which is nearly always, they are read there.
            return try bytes.withContiguousStorageIfAvailable(whole)
                ?? Array(bytes).withUnsafeBufferPointer(whole)
        } catch let failure as JSONReader.Failure {
            throw Failure("not the JSON that was expected: \(failure)")
        }
    }

    package static func event(_ text: String) throws -> Event {
        try read(text.utf8) { try event(&$0).event }
    }

    package static func job(_ text: String) throws -> NewJob {
        try read(text.utf8) { try newJob(&$0) }
    }

    /// Reads a list of `body`s, at most `limit`.
    package static func list<Item>(
        _ reader: inout JSONReader, limit: Int, _ body: (inout JSONReader) throws -> Item
    ) throws -> [Item] {
        var items: [Item] = []
        try reader.enter()
        while try reader.nextItem() {
            guard items.count < limit else { throw Failure("At most \(limit) at once.", isOverLimit: true) }
            items.append(try body(&reader))
        }
        return items
    }

    // MARK: Events

    package static func write(_ event: Event, offset: Int64? = nil, to writer: inout JSONWriter) {
        writer.beginObject()
        if let offset { writer.member("offset", offset) }
        writer.member("id", event.id)
        writer.member("type", event.type)
        writer.member("schemaVersion", Int64(event.schemaVersion))
        writer.member("subject", event.subject)
        writer.member("time", event.time)
        writer.member("producer", event.producer)
        writer.member("correlationId", event.trace.requestID)
        writer.member("traceparent", event.trace.traceparent)
        writer.member("data", event.data)
        writer.endObject()
    }

    /// An event; its offset is 0 where it has none yet. What is missing but may be is put in: an id, a version, a time.
    package static func event(_ reader: inout JSONReader) throws -> LoggedEvent {
        var offset: Int64 = 0
        var id: String?
        var type: String?
        var version: Int64 = 1
        var subject: String?
        var time: Int64?
        var producer = ""
        var correlationID: String?
        var traceparent: String?
        var data: JSONText?
        try reader.enter()
        while let name = try reader.nextName() {
            switch name {
            case "offset": offset = try reader.integer()
            case "id": id = try reader.string()
            case "type": type = try reader.string()
            case "schemaVersion": version = try reader.integer()
            case "subject": subject = try reader.string()
            case "time": time = try reader.integer()
            case "producer": producer = try reader.string()
            case "correlationId": correlationID = try reader.string()
            case "traceparent": traceparent = try optionalString(&reader)
            case "data": data = try reader.raw()
            default: try reader.skip()
            }
        }
        let event = Event(
            try required(type, "type"), schemaVersion: Int(clamping: version),
            subject: try required(subject, "subject"), data: try required(data, "data"), producer: producer,
            trace: Trace(requestID: correlationID ?? "", traceparent: traceparent),
            id: id ?? Identifier.make(), time: time ?? Timestamp.now)
        return LoggedEvent(offset: offset, event: event)
    }

    package static func write(_ page: EventPage, to writer: inout JSONWriter) {
        beginEventPage(&writer)
        for logged in page.events { write(logged.event, offset: logged.offset, to: &writer) }
        endEventPage(&writer, next: page.next, last: page.last, horizon: page.horizon)
    }

    /// For an engine that writes the events between the two by itself, each as `write` does.
    package static func beginEventPage(_ writer: inout JSONWriter) {
        writer.beginObject()
        writer.name("events")
        writer.beginList()
    }

    package static func endEventPage(
        _ writer: inout JSONWriter, next: Int64, last: Int64, horizon: Int64
    ) {
        writer.endList()
        writer.member("next", next)
        writer.member("last", last)
        writer.member("horizon", horizon)
        writer.endObject()
    }

    package static func eventPage(_ reader: inout JSONReader) throws -> EventPage {
        var events: [LoggedEvent] = []
        var next: Int64?
        var last: Int64 = 0
        var horizon: Int64 = 0
        try reader.enter()
        while let name = try reader.nextName() {
            switch name {
            case "events": events = try list(&reader, limit: EventLimits.page) { try event(&$0) }
            case "next": next = try reader.integer()
            case "last": last = try reader.integer()
            case "horizon": horizon = try reader.integer()
            default: try reader.skip()
            }
        }
        return EventPage(events: events, next: try required(next, "next"), last: last, horizon: horizon)
    }

    package static func write(_ outcome: PublishOutcome, to writer: inout JSONWriter) {
        switch outcome {
        case .appended(let offset): writeTaken("appended", offset, to: &writer)
        case .duplicate(let offset): writeTaken("duplicate", offset, to: &writer)
        case .refused(let refusal): write(refusal, to: &writer)
        }
    }

    private static func writeTaken(_ outcome: String, _ offset: Int64, to writer: inout JSONWriter) {
        writer.beginObject()
        writer.member("outcome", outcome)
        writer.member("offset", offset)
        writer.endObject()
    }

    private static func write(_ refusal: Refusal, to writer: inout JSONWriter) {
        writer.beginObject()
        writer.member("outcome", "refused")
        writer.member("reason", refusal.reason)
        writer.member("detail", refusal.detail)
        writer.endObject()
    }

    package static func publishOutcome(_ reader: inout JSONReader) throws -> PublishOutcome {
        let told = try outcome(&reader)
        switch told.outcome {
        case "appended": return .appended(offset: told.offset)
        case "duplicate": return .duplicate(offset: told.offset)
        default: return .refused(Refusal(told.reason, told.detail))
        }
    }

    private struct Told {
        var outcome = ""
        var offset: Int64 = 0
        var id = ""
        var reason = ""
        var detail = ""
    }

    private static func outcome(_ reader: inout JSONReader) throws -> Told {
        var told = Told()
        try reader.enter()
        while let name = try reader.nextName() {
            switch name {
            case "outcome": told.outcome = try reader.string()
            case "offset": told.offset = try reader.integer()
            case "id": told.id = try reader.string()
            case "reason": told.reason = try reader.string()
            case "detail": told.detail = try reader.string()
            default: try reader.skip()
            }
        }
        return told
    }

    // MARK: Jobs

    package static func write(_ job: NewJob, to writer: inout JSONWriter) {
        writer.beginObject()
        writer.member("id", job.id)
        writer.member("queue", job.queue)
        writer.member("kind", job.kind)
        writer.member("payload", job.payload)
        writer.member("owner", job.owner)
        if job.priority != 0 { writer.member("priority", Int64(job.priority)) }
        if job.runAt != 0 { writer.member("runAt", job.runAt) }
        if job.failureLimit != JobLimits.failures { writer.member("failureLimit", Int64(job.failureLimit)) }
        writer.member("idempotencyKey", job.idempotencyKey)
        writer.member("correlationId", job.trace.requestID)
        writer.member("traceparent", job.trace.traceparent)
        writer.endObject()
    }

    package static func newJob(_ reader: inout JSONReader) throws -> NewJob {
        let read = try jobMembers(&reader)
        return NewJob(
            queue: try required(read.queue, "queue"), kind: try required(read.kind, "kind"),
            payload: read.payload ?? JSONText(.null), trace: read.trace, owner: read.owner,
            priority: Int(clamping: read.priority), runAt: read.runAt,
            failureLimit: Int(clamping: read.failureLimit), idempotencyKey: read.idempotencyKey,
            id: read.id ?? Identifier.make())
    }

    package static func write(_ job: Job, to writer: inout JSONWriter) {
        writer.beginObject()
        writeMembers(job, to: &writer)
        writer.endObject()
    }

    private static func writeMembers(_ job: Job, to writer: inout JSONWriter) {
        writer.member("id", job.id)
        writer.member("queue", job.queue)
        writer.member("kind", job.kind)
        writer.member("payload", job.payload)
        writer.member("owner", job.owner)
        writer.member("priority", Int64(job.priority))
        writer.member("runAt", job.runAt)
        writer.member("failureLimit", Int64(job.failureLimit))
        writer.member("correlationId", job.trace.requestID)
        writer.member("traceparent", job.trace.traceparent)
        writer.member("state", job.state.rawValue)
        writer.member("attempts", Int64(job.attempts))
        writer.member("failures", Int64(job.failures))
        writer.member("expiries", Int64(job.expiries))
        writer.member("lastError", job.lastError)
        writer.member("result", job.result)
        writer.member("createdAt", job.createdAt)
        writer.member("updatedAt", job.updatedAt)
    }

    package static func write(_ leased: LeasedJob, to writer: inout JSONWriter) {
        writer.beginObject()
        writer.member("token", leased.lease.token)
        writer.member("until", leased.until)
        writeMembers(leased.job, to: &writer)
        writer.endObject()
    }

    package static func job(_ reader: inout JSONReader) throws -> Job {
        try job(try jobMembers(&reader))
    }

    package static func leasedJob(_ reader: inout JSONReader) throws -> LeasedJob {
        let read = try jobMembers(&reader)
        let job = try job(read)
        return LeasedJob(
            job: job, lease: Lease(jobID: job.id, token: try required(read.token, "token")), until: read.until
        )
    }

    private static func job(_ read: JobMembers) throws -> Job {
        guard let state = read.state.flatMap({ JobState(rawValue: $0) }) else {
            throw Failure("the member 'state' is missing or none that is known")
        }
        return Job(
            id: try required(read.id, "id"), queue: try required(read.queue, "queue"),
            kind: try required(read.kind, "kind"), payload: read.payload ?? JSONText(.null),
            owner: read.owner,
            priority: Int(clamping: read.priority), runAt: read.runAt,
            failureLimit: Int(clamping: read.failureLimit), trace: read.trace, state: state,
            attempts: Int(clamping: read.attempts), failures: Int(clamping: read.failures),
            expiries: Int(clamping: read.expiries), lastError: read.lastError, result: read.result,
            createdAt: read.createdAt, updatedAt: read.updatedAt)
    }

    private struct JobMembers {
        var id: String?
        var queue: String?
        var kind: String?
        var payload: JSONText?
        var owner: String?
        var priority: Int64 = 0
        var runAt: Int64 = 0
        var failureLimit = Int64(JobLimits.failures)
        var idempotencyKey: String?
        var correlationID = ""
        var traceparent: String?
        var state: String?
        var attempts: Int64 = 0
        var failures: Int64 = 0
        var expiries: Int64 = 0
        var lastError: String?
        var result: JSONText?
        var createdAt: Int64 = 0
        var updatedAt: Int64 = 0
        var token: String?
        var until: Int64 = 0

        var trace: Trace { Trace(requestID: correlationID, traceparent: traceparent) }
    }

    private static func jobMembers(_ reader: inout JSONReader) throws -> JobMembers {
        var read = JobMembers()
        try reader.enter()
        while let name = try reader.nextName() {
            switch name {
            case "id": read.id = try reader.string()
            case "queue": read.queue = try reader.string()
            case "kind": read.kind = try reader.string()
            case "payload": read.payload = try reader.raw()
            case "owner": read.owner = try optionalString(&reader)
            case "priority": read.priority = try reader.integer()
            case "runAt": read.runAt = try reader.integer()
            case "failureLimit": read.failureLimit = try reader.integer()
            case "idempotencyKey": read.idempotencyKey = try optionalString(&reader)
            case "correlationId": read.correlationID = try reader.string()
            case "traceparent": read.traceparent = try optionalString(&reader)
            case "state": read.state = try reader.string()
            case "attempts": read.attempts = try reader.integer()
            case "failures": read.failures = try reader.integer()
            case "expiries": read.expiries = try reader.integer()
            case "lastError": read.lastError = try optionalString(&reader)
            case "result": read.result = try reader.raw()
            case "createdAt": read.createdAt = try reader.integer()
            case "updatedAt": read.updatedAt = try reader.integer()
            case "token": read.token = try reader.string()
            case "until": read.until = try reader.integer()
            default: try reader.skip()
            }
        }
        return read
    }

    package static func write(_ outcome: EnqueueOutcome, to writer: inout JSONWriter) {
        switch outcome {
        case .queued:
            writer.beginObject()
            writer.member("outcome", "queued")
            writer.endObject()
        case .duplicate(let id):
            writer.beginObject()
            writer.member("outcome", "duplicate")
            writer.member("id", id)
            writer.endObject()
        case .refused(let refusal): write(refusal, to: &writer)
        }
    }

    package static func enqueueOutcome(_ reader: inout JSONReader) throws -> EnqueueOutcome {
        let told = try outcome(&reader)
        switch told.outcome {
        case "queued": return .queued
        case "duplicate": return .duplicate(id: told.id)
        default: return .refused(Refusal(told.reason, told.detail))
        }
    }

    package static func optionalString(_ reader: inout JSONReader) throws -> String? {
        try reader.isNull() ? nil : try reader.string()
    }

    package static func required<Value>(_ value: Value?, _ name: String) throws -> Value {
        guard let value else { throw Failure("the member '\(name)' is missing") }
        return value
    }
}
