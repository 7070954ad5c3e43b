internal import Foundation
public import ServiceKit

/// The bus, asked over HTTP.
public struct BusClient: Backbone {
    /// Bytes of one request, but for a single item that is larger; what is longer goes in several, in order.
    private static let requestBytes = 2 << 20
    /// The longest page: its data, one event more, and what is written around them.
    private static let answerLimitBytes = 16 << 20
    private let timeout: Duration
    private let origin: Origin
    private let token: ServiceToken
    private let client: OutboundClient

    /// `timeout`: A write may stand behind others, and behind a slow disk.
    public init(
        origin: Origin, token: ServiceToken, timeout: Duration = .seconds(15),
        connectTimeout: Duration = .seconds(2)
    ) {
        self.origin = origin
        self.token = token
        self.timeout = timeout
        client = OutboundClient(
            timeout: timeout, connectTimeout: connectTimeout, answerLimitBytes: Self.answerLimitBytes)
    }

    // MARK: Events

    public func publish(_ events: [Event]) async throws -> [PublishOutcome] {
        try Self.require(events.count <= EventLimits.batch, EventLimits.batch)
        var outcomes: [PublishOutcome] = []
        for part in Self.parts(events, bytes: { $0.data.text.utf8.count }) {
            outcomes += try await post(
                "/events", Wire.listBody("events", Array(part)) { Wire.write($0, to: &$1) },
                trace: Self.shared(part.lazy.map(\.trace)), isRepeatable: true
            ) { reader in
                try Wire.readList("outcomes", &reader, limit: part.count) { try Wire.publishOutcome(&$0) }
            }
        }
        return try Self.complete(outcomes, events.count)
    }

    public func events(
        after offset: Int64, limit: Int, types: [String]?, waitSeconds: Int
    ) async throws -> EventPage {
        let wait = max(0, min(waitSeconds, EventLimits.waitSeconds))
        var path = "/events?after=\(offset)&limit=\(max(1, min(limit, EventLimits.page)))&wait=\(wait)"
        if let types { path += "&types=" + types.map(Self.escaped).joined(separator: ",") }
        return try await ask("GET", path, waitSeconds: wait) { try Wire.eventPage(&$0) }
    }

    public func putGroup(_ name: String, offset: Int64) async throws {
        try await tell("PUT", "/groups/\(Self.escaped(name))", Array("{\"offset\":\(offset)}".utf8))
    }

    public func group(_ name: String) async throws -> ConsumerGroup? {
        try await Self.found { try await ask("GET", "/groups/\(Self.escaped(name))") { try Wire.group(&$0) } }
    }

    public func removeGroup(_ name: String) async throws {
        try await tell("DELETE", "/groups/\(Self.escaped(name))")
    }

    public func register(_ schema: EventSchema) async throws {
        var writer = JSONWriter()
        Wire.write(schema, to: &writer)
        try await tell("POST", "/schemas", writer.bytes, isRepeatable: true)
    }

    public func schemas() async throws -> [EventSchema] {
        try await ask("GET", "/schemas") { reader in
            try Wire.readList("schemas", &reader, limit: .max) { try Wire.schema(&$0) }
        }
    }

    // MARK: Jobs

    public func enqueue(_ jobs: [NewJob]) async throws -> [EnqueueOutcome] {
        try Self.require(jobs.count <= JobLimits.batch, JobLimits.batch)
        var outcomes: [EnqueueOutcome] = []
        for part in Self.parts(jobs, bytes: { $0.payload.text.utf8.count }) {
            outcomes += try await post(
                "/jobs", Wire.listBody("jobs", Array(part)) { Wire.write($0, to: &$1) },
                trace: Self.shared(part.lazy.map(\.trace)), isRepeatable: true
            ) { reader in
                try Wire.readList("outcomes", &reader, limit: part.count) { try Wire.enqueueOutcome(&$0) }
            }
        }
        return try Self.complete(outcomes, jobs.count)
    }

    public func lease(queue: String, limit: Int, seconds: Int, worker: String) async throws -> [LeasedJob] {
        var writer = JSONWriter()
        Wire.write(Wire.LeaseCall(limit: limit, seconds: seconds, worker: worker), to: &writer)
        // Not repeatable: the first may have been heard, and its jobs would wait for their leases to run out.
        return try await post("/queues/\(Self.escaped(queue))/lease", writer.bytes, isRepeatable: false) {
            try Wire.readList("jobs", &$0, limit: JobLimits.batch) { try Wire.leasedJob(&$0) }
        }
    }

    public func waitForJobs(queue: String, waitSeconds: Int) async throws -> Bool {
        let wait = max(0, min(waitSeconds, EventLimits.waitSeconds))
        return try await ask(
            "GET", "/queues/\(Self.escaped(queue))/wait?wait=\(wait)", waitSeconds: wait
        ) { reader in
            var mayBeDue = false
            try reader.enter()
            while let member = try reader.nextName() {
                if "mayBeDue" ~= member { mayBeDue = try reader.truth() } else { try reader.skip() }
            }
            return mayBeDue
        }
    }

    public func finish(_ jobs: [(lease: Lease, result: JSONText?)]) async throws -> [LeaseOutcome] {
        try Self.require(jobs.count <= JobLimits.batch, JobLimits.batch)
        var outcomes: [LeaseOutcome] = []
        for part in Self.parts(jobs, bytes: { $0.result?.text.utf8.count ?? 0 }) {
            let body = Wire.listBody("jobs", Array(part)) { Wire.write($0.lease, result: $0.result, to: &$1) }
            outcomes += try await leaseOutcomes("/jobs/ack", body, count: part.count)
        }
        return outcomes
    }

    public func setBack(_ jobs: [(lease: Lease, setback: JobSetback)]) async throws -> [LeaseOutcome] {
        try Self.require(jobs.count <= JobLimits.batch, JobLimits.batch)
        let body = Wire.listBody("jobs", jobs) { Wire.write($0.lease, $0.setback, to: &$1) }
        return try await leaseOutcomes("/jobs/nack", body, count: jobs.count)
    }

    public func extend(_ leases: [Lease], seconds: Int) async throws -> [LeaseOutcome] {
        try Self.require(leases.count <= JobLimits.batch, JobLimits.batch)
        return try await leaseOutcomes(
            "/jobs/extend", Wire.extendBody(leases, seconds: seconds), count: leases.count, isRepeatable: true
        )
    }

    /// A word about a lease is not repeated by itself: the second would be told that the lease is lost.
    private func leaseOutcomes(
        _ path: String, _ body: [UInt8], count: Int, isRepeatable: Bool = false
    ) async throws -> [LeaseOutcome] {
        let outcomes = try await post(path, body, isRepeatable: isRepeatable) { reader in
            try Wire.readList("outcomes", &reader, limit: count) { try Wire.leaseOutcome(&$0) }
        }
        return try Self.complete(outcomes, count)
    }

    public func job(id: String) async throws -> Job? {
        try await Self.found { try await ask("GET", "/jobs/\(Self.escaped(id))") { try Wire.job(&$0) } }
    }

    public func deadJobs(queue: String, before: String?, limit: Int) async throws -> [Job] {
        var path = "/queues/\(Self.escaped(queue))/dead?limit=\(max(1, min(limit, JobLimits.batch)))"
        if let before { path += "&before=\(Self.escaped(before))" }
        return try await ask("GET", path) { reader in
            try Wire.readList("jobs", &reader, limit: JobLimits.batch) { try Wire.job(&$0) }
        }
    }

    public func redrive(id: String) async throws {
        try await tell("POST", "/jobs/\(Self.escaped(id))/redrive")
    }

    public func stats() async throws -> BackboneStats {
        try await ask("GET", "/stats") { try Wire.stats(&$0) }
    }

    // MARK: Asking

    private func post<Value>(
        _ path: String, _ body: [UInt8], trace: Trace? = nil, isRepeatable: Bool,
        _ read: (inout JSONReader) throws -> Value
    ) async throws -> Value {
        try await ask("POST", path, body, trace: trace, isRepeatable: isRepeatable, read)
    }

    private func ask<Value>(
        _ method: String, _ path: String, _ body: [UInt8]? = nil, trace: Trace? = nil, waitSeconds: Int = 0,
        isRepeatable: Bool? = nil, _ read: (inout JSONReader) throws -> Value
    ) async throws -> Value {
        let answer = try await send(
            method, path, body, trace: trace, waitSeconds: waitSeconds, isRepeatable: isRepeatable)
        do {
            return try Wire.read(answer.body, read)
        } catch let failure as Wire.Failure {
            throw BackboneError.unavailable("an answer that is not the bus's: \(failure)")
        }
    }

    /// A call that is answered with nothing but its success.
    private func tell(
        _ method: String, _ path: String, _ body: [UInt8]? = nil, isRepeatable: Bool? = nil
    ) async throws {
        _ = try await send(
            method, path, body, trace: nil, waitSeconds: 0, isRepeatable: isRepeatable)
    }

    private func send(
        _ method: String, _ path: String, _ body: [UInt8]?, trace: Trace?, waitSeconds: Int,
        isRepeatable: Bool?
    ) async throws -> OutboundClient.Answer {
        var fields = [("Authorization", token.field)]
        if body != nil { fields.append(("Content-Type", "application/json")) }
        // An event that came from elsewhere may carry an id that no field can hold.
        if let trace, !trace.requestID.isEmpty,
            trace.requestID.utf8.allSatisfy({ (0x21...0x7E).contains($0) })
        {
            fields += trace.fields
        }
        let answer: OutboundClient.Answer
        do {
            answer = try await client.send(
                method, origin, "/bus/v1" + path, fields: fields, body: body.map { Data($0) },
                timeout: timeout + .seconds(waitSeconds), isRepeatable: isRepeatable)
        } catch let error as CancellationError {
            throw error
        } catch {
            throw BackboneError.unavailable("the bus does not answer: \(error)")
        }
        guard (200..<300).contains(answer.status) else {
            let told = Wire.problem(answer.body)
            throw BackboneError(status: answer.status, reason: told.reason, detail: told.detail)
        }
        return answer
    }

    // MARK: Small parts

    /// `nil` for what is not there.
    private static func found<Value>(_ body: () async throws -> Value) async throws -> Value? {
        do {
            return try await body()
        } catch BackboneError.notFound {
            return nil
        }
    }

    private static func require(_ isRight: Bool, _ limit: Int) throws {
        guard isRight else { throw BackboneError.refused(Refusal("too_many", "At most \(limit) at once.")) }
    }

    /// One outcome an item, or the answer is not to be relied on.
    private static func complete<Outcome>(_ outcomes: [Outcome], _ count: Int) throws -> [Outcome] {
        guard outcomes.count == count else {
            throw BackboneError.unavailable("\(outcomes.count) outcomes for \(count)")
        }
        return outcomes
    }

    /// Neighbours of which each part goes into one request.
    private static func parts<Item>(_ items: [Item], bytes: (Item) -> Int) -> [ArraySlice<Item>] {
        var parts: [ArraySlice<Item>] = []
        var start = 0
        var sum = 0
        for (index, item) in items.enumerated() {
            let size = bytes(item)
            if index > start, sum + size > requestBytes {
                parts.append(items[start..<index])
                start = index
                sum = 0
            }
            sum += size
        }
        if start < items.count { parts.append(items[start...]) }
        return parts
    }

    /// The trace that all have, so that the request is logged under it; `nil` when they have several.
    private static func shared(_ traces: some Collection<Trace>) -> Trace? {
        guard let first = traces.first, traces.allSatisfy({ $0 == first }) else { return nil }
        return first
    }

    /// As it stands in a path or a query.
    private static func escaped(_ text: String) -> String {
        text.addingPercentEncoding(withAllowedCharacters: unreserved) ?? ""
    }

    /// RFC 3986 §2.3.
    private static let unreserved = CharacterSet(
        charactersIn: "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
}
