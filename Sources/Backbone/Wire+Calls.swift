package import ServiceKit

/// The bodies of what the bus is asked and answers, beside events and jobs themselves.
extension Wire {
    /// An object with one list, as most bodies are: `{"name": [...]}`.
    package static func listBody<Item>(
        _ name: StaticString, _ items: [Item], _ body: (Item, inout JSONWriter) -> Void
    ) -> [UInt8] {
        var writer = JSONWriter(capacityBytes: 64 + items.count * 256)
        writer.beginObject()
        writeList(name, items, to: &writer, body)
        writer.endObject()
        return writer.bytes
    }

    private static func writeList<Item>(
        _ name: StaticString, _ items: [Item], to writer: inout JSONWriter,
        _ body: (Item, inout JSONWriter) -> Void
    ) {
        writer.name(name)
        writer.beginList()
        for item in items { body(item, &writer) }
        writer.endList()
    }

    /// Reads `{"name": [...]}`; other members are passed over.
    package static func readList<Item>(
        _ name: StaticString, _ reader: inout JSONReader, limit: Int,
        _ body: (inout JSONReader) throws -> Item
    ) throws -> [Item] {
        var items: [Item]?
        try reader.enter()
        while let found = try reader.nextName() {
            if name ~= found { items = try list(&reader, limit: limit, body) } else { try reader.skip() }
        }
        return try required(items, name.description)
    }

    // MARK: Leases

    /// What is asked of a queue.
    package struct LeaseCall: Equatable, Sendable {
        package let limit: Int
        package let seconds: Int
        package let worker: String

        package init(limit: Int, seconds: Int, worker: String) {
            self.limit = limit
            self.seconds = seconds
            self.worker = worker
        }
    }

    package static func write(_ call: LeaseCall, to writer: inout JSONWriter) {
        writer.beginObject()
        writer.member("limit", Int64(call.limit))
        writer.member("seconds", Int64(call.seconds))
        writer.member("worker", call.worker)
        writer.endObject()
    }

    package static func leaseCall(_ reader: inout JSONReader) throws -> LeaseCall {
        var limit: Int64 = 1
        var seconds: Int64?
        var worker = ""
        try reader.enter()
        while let name = try reader.nextName() {
            switch name {
            case "limit": limit = try reader.integer()
            case "seconds": seconds = try reader.integer()
            case "worker": worker = try reader.string()
            default: try reader.skip()
            }
        }
        return LeaseCall(
            limit: Int(clamping: limit), seconds: Int(clamping: try required(seconds, "seconds")),
            worker: worker)
    }

    package static func write(_ lease: Lease, result: JSONText?, to writer: inout JSONWriter) {
        writer.beginObject()
        writer.member("id", lease.jobID)
        writer.member("token", lease.token)
        writer.member("result", result)
        writer.endObject()
    }

    package static func write(_ lease: Lease, _ setback: JobSetback, to writer: inout JSONWriter) {
        writer.beginObject()
        writer.member("id", lease.jobID)
        writer.member("token", lease.token)
        switch setback {
        case .failed(let error):
            writer.member("setback", "failed")
            writer.member("error", error)
        case .failedFor(let error, let pause):
            writer.member("setback", "failed")
            writer.member("error", error)
            writer.member("pauseMilliseconds", pause)
        case .fatal(let error):
            writer.member("setback", "fatal")
            writer.member("error", error)
        case .released: writer.member("setback", "released")
        case .postponed(let pause):
            writer.member("setback", "postponed")
            writer.member("pauseMilliseconds", pause)
        }
        writer.endObject()
    }

    private struct LeaseWord {
        var lease: Lease
        var result: JSONText?
        var setback: String?
        var error: String?
        var pause: Int64?
    }

    private static func leaseWord(_ reader: inout JSONReader) throws -> LeaseWord {
        var id: String?
        var token: String?
        var word = LeaseWord(lease: Lease(jobID: "", token: ""))
        try reader.enter()
        while let name = try reader.nextName() {
            switch name {
            case "id": id = try reader.string()
            case "token": token = try reader.string()
            case "result": word.result = try reader.raw()
            case "setback": word.setback = try reader.string()
            case "error": word.error = try reader.string()
            case "pauseMilliseconds": word.pause = try reader.integer()
            default: try reader.skip()
            }
        }
        word.lease = Lease(jobID: try required(id, "id"), token: try required(token, "token"))
        return word
    }

    package static func lease(_ reader: inout JSONReader) throws -> Lease { try leaseWord(&reader).lease }

    package static func finished(_ reader: inout JSONReader) throws -> (lease: Lease, result: JSONText?) {
        let word = try leaseWord(&reader)
        return (word.lease, word.result)
    }

    package static func setBack(_ reader: inout JSONReader) throws -> (lease: Lease, setback: JobSetback) {
        let word = try leaseWord(&reader)
        switch word.setback {
        case "released": return (word.lease, .released)
        case "postponed":
            return (
                word.lease, .postponed(pauseMilliseconds: try required(word.pause, "pauseMilliseconds"))
            )
        case "fatal": return (word.lease, .fatal(try required(word.error, "error")))
        case "failed":
            let error = try required(word.error, "error")
            guard let pause = word.pause else { return (word.lease, .failed(error)) }
            return (word.lease, .failedFor(error, pauseMilliseconds: pause))
        default: throw Failure("the member 'setback' must be failed, fatal, postponed or released")
        }
    }

    package static func extendBody(_ leases: [Lease], seconds: Int) -> [UInt8] {
        var writer = JSONWriter(capacityBytes: 64 + leases.count * 128)
        writer.beginObject()
        writer.member("seconds", Int64(seconds))
        writeList("jobs", leases, to: &writer) { write($0, result: nil, to: &$1) }
        writer.endObject()
        return writer.bytes
    }

    package static func extendCall(_ reader: inout JSONReader) throws -> (leases: [Lease], seconds: Int) {
        var leases: [Lease]?
        var seconds: Int64?
        try reader.enter()
        while let name = try reader.nextName() {
            switch name {
            case "jobs": leases = try list(&reader, limit: JobLimits.batch) { try lease(&$0) }
            case "seconds": seconds = try reader.integer()
            default: try reader.skip()
            }
        }
        return (try required(leases, "jobs"), Int(clamping: try required(seconds, "seconds")))
    }

    package static func write(_ outcome: LeaseOutcome, to writer: inout JSONWriter) {
        switch outcome {
        case .done: writer.string("done")
        case .lost: writer.string("lost")
        }
    }

    package static func leaseOutcome(_ reader: inout JSONReader) throws -> LeaseOutcome {
        switch try reader.string() {
        case "done": .done
        case "lost": .lost
        default: throw Failure("an outcome must be done or lost")
        }
    }

    // MARK: Groups, schemas, counts

    package static func write(_ group: ConsumerGroup, to writer: inout JSONWriter) {
        writer.beginObject()
        writer.member("name", group.name)
        writer.member("offset", group.offset)
        writer.member("updatedAt", group.updatedAt)
        writer.endObject()
    }

    package static func group(_ reader: inout JSONReader) throws -> ConsumerGroup {
        var name: String?
        var offset: Int64?
        var updatedAt: Int64 = 0
        try reader.enter()
        while let member = try reader.nextName() {
            switch member {
            case "name": name = try reader.string()
            case "offset": offset = try reader.integer()
            case "updatedAt": updatedAt = try reader.integer()
            default: try reader.skip()
            }
        }
        return ConsumerGroup(
            name: try required(name, "name"), offset: try required(offset, "offset"), updatedAt: updatedAt)
    }

    /// `{"offset": n}`, as a group is told.
    package static func offset(_ reader: inout JSONReader) throws -> Int64 {
        var offset: Int64?
        try reader.enter()
        while let member = try reader.nextName() {
            if "offset" ~= member { offset = try reader.integer() } else { try reader.skip() }
        }
        return try required(offset, "offset")
    }

    package static func write(_ schema: EventSchema, to writer: inout JSONWriter) {
        writer.beginObject()
        writer.member("type", schema.type)
        writer.member("version", Int64(schema.version))
        writer.name("schema")
        writer.value(schema.schema)
        writer.endObject()
    }

    package static func schema(_ reader: inout JSONReader) throws -> EventSchema {
        var type: String?
        var version: Int64 = 1
        var schema: JSONValue?
        try reader.enter()
        while let member = try reader.nextName() {
            switch member {
            case "type": type = try reader.string()
            case "version": version = try reader.integer()
            case "schema": schema = try reader.value()
            default: try reader.skip()
            }
        }
        return EventSchema(
            type: try required(type, "type"), version: Int(clamping: version),
            schema: try required(schema, "schema"))
    }

    package static func write(_ stats: BackboneStats, to writer: inout JSONWriter) {
        writer.beginObject()
        writeList("queues", stats.queues, to: &writer) { queue, writer in
            writer.beginObject()
            writer.member("name", queue.name)
            writer.member("ready", Int64(queue.ready))
            writer.member("leased", Int64(queue.leased))
            writer.member("dead", Int64(queue.dead))
            writer.endObject()
        }
        writeList("groups", stats.groups, to: &writer) { write($0, to: &$1) }
        writer.member("lastOffset", stats.lastOffset)
        writer.member("horizon", stats.horizon)
        writer.endObject()
    }

    package static func stats(_ reader: inout JSONReader) throws -> BackboneStats {
        var queues: [BackboneStats.Queue] = []
        var groups: [ConsumerGroup] = []
        var last: Int64?
        var horizon: Int64 = 0
        try reader.enter()
        while let member = try reader.nextName() {
            switch member {
            case "queues": queues = try list(&reader, limit: .max) { try queue(&$0) }
            case "groups": groups = try list(&reader, limit: .max) { try group(&$0) }
            case "lastOffset": last = try reader.integer()
            case "horizon": horizon = try reader.integer()
            default: try reader.skip()
            }
        }
        return BackboneStats(
            queues: queues, groups: groups, lastOffset: try required(last, "lastOffset"), horizon: horizon)
    }

    private static func queue(_ reader: inout JSONReader) throws -> BackboneStats.Queue {
        var name: String?
        var ready: Int64 = 0
        var leased: Int64 = 0
        var dead: Int64 = 0
        try reader.enter()
        while let member = try reader.nextName() {
            switch member {
            case "name": name = try reader.string()
            case "ready": ready = try reader.integer()
            case "leased": leased = try reader.integer()
            case "dead": dead = try reader.integer()
            default: try reader.skip()
            }
        }
        return BackboneStats.Queue(
            name: try required(name, "name"), ready: Int(clamping: ready), leased: Int(clamping: leased),
            dead: Int(clamping: dead))
    }

    /// The reason and the sentence of a problem document (RFC 9457); empty where it is none.
    package static func problem(_ bytes: some Sequence<UInt8>) -> (reason: String, detail: String) {
        let read = try? read(bytes) { reader in
            var told = (reason: "", detail: "")
            try reader.enter()
            while let member = try reader.nextName() {
                switch member {
                case "reason": told.reason = try reader.string()
                case "detail": told.detail = try reader.string()
                default: try reader.skip()
                }
            }
            return told
        }
        return read ?? ("", "")
    }
}
