import Backbone
import ServiceKit
import Testing

/// What each engine must keep. It asks the protocol only, knows nothing of how an engine keeps it, and counts on no offset, so
/// that the next engine is judged by the same tests: it is a case of `Engine`.
@Suite("What a backbone promises") struct BackboneConformance {
    private static let schema = EventSchema(
        type: "document.created",
        schema: ["type": "object", "required": ["n"], "properties": ["n": ["type": "integer"]]])

    func withBackbone(
        _ engine: Engine, limits: EngineLimits = .init(),
        _ body: @escaping @Sendable (World) async throws -> Void
    ) async throws {
        try await engine.withWorld(limits: limits) { world in
            try await world.backbone.register(Self.schema)
            try await body(world)
        }
    }

    static func event(_ number: Int64, subject: String = "d", type: String = "document.created")
        -> Event
    {
        Event(
            type, subject: subject, data: JSONText(["n": .integer(number)]), producer: "test",
            trace: Trace(requestID: "r\(number)", traceparent: nil))
    }

    static func job(
        _ number: Int64 = 0, priority: Int = 0, runAt: Int64 = 0, failureLimit: Int = 5, key: String? = nil,
        owner: String? = nil
    ) -> NewJob {
        NewJob(
            queue: "q", kind: "k", payload: JSONText(["n": .integer(number)]),
            trace: Trace(requestID: "r", traceparent: nil), owner: owner, priority: priority, runAt: runAt,
            failureLimit: failureLimit, idempotencyKey: key)
    }

    static func lease(_ backbone: any Backbone, _ limit: Int = 1) async throws -> [LeasedJob] {
        try await backbone.lease(queue: "q", limit: limit, seconds: 10, worker: "w")
    }

    /// Appends events that are good and new. Their offsets.
    private static func append(_ backbone: any Backbone, _ events: [Event]) async throws -> [Int64] {
        try await backbone.publish(events).map { outcome in
            guard case .appended(let offset) = outcome else { throw NotAppended(outcome: outcome) }
            return offset
        }
    }

    private struct NotAppended: Error {
        let outcome: PublishOutcome
    }

    /// The reason for which a call is refused as a whole; `nil` when it is not.
    private static func refusal(_ call: () async throws -> Void) async throws -> String? {
        do {
            try await call()
            return nil
        } catch BackboneError.refused(let refusal) {
            return refusal.reason
        }
    }

    // MARK: Events

    @Test(
        "Events are read in the order in which they were appended, from any offset, and after a restart",
        arguments: Engine.allCases)
    func replay(engine: Engine) async throws {
        try await withBackbone(engine) { world in
            let events = (1...25).map { Self.event(Int64($0)) }
            let outcomes = try await world.backbone.publish(events)
            let read = try await world.reopened { backbone in
                var read: [LoggedEvent] = []
                while case let page = try await backbone.events(
                    after: read.last?.offset ?? 0, limit: 10, types: nil, waitSeconds: 0),
                    !page.events.isEmpty
                {
                    read += page.events
                }
                return read
            }
            #expect(read.map(\.event) == events)
            #expect(read.map { PublishOutcome.appended(offset: $0.offset) } == outcomes)
            let tail = try await world.backbone.events(
                after: read[9].offset, limit: 100, types: nil, waitSeconds: 0)
            #expect(tail.events == Array(read[10...]))
        }
    }

    @Test(
        "An event that is sent again has its first offset, and is in the log once", arguments: Engine.allCases
    ) func duplicateEvent(engine: Engine)
        async throws
    {
        try await withBackbone(engine) { world in
            let event = Self.event(1)
            let first = try await world.backbone.publish([event])
            guard case .appended(let offset) = first[0] else {
                Issue.record("not appended")
                return
            }
            #expect(
                try await world.reopened { try await $0.publish([event, event]) } == [
                    .duplicate(offset: offset), .duplicate(offset: offset),
                ])
            let page = try await world.backbone.events(after: 0, limit: 10, types: nil, waitSeconds: 0)
            #expect(page.events.count == 1)
        }
    }

    @Test(
        "What breaks its schema or has none is refused by itself; its neighbours are stored",
        arguments: Engine.allCases) func refused(engine: Engine)
        async throws
    {
        try await withBackbone(engine) { world in
            let broken = Event(
                "document.created", subject: "d", data: JSONText(["n": "1"]), producer: "t", trace: .fresh())
            let unknown = Self.event(1, type: "document.painted")
            let outcomes = try await world.backbone.publish([Self.event(1), broken, unknown, Self.event(2)])
            var reasons: [String] = []
            for case .refused(let refusal) in outcomes { reasons.append(refusal.reason) }
            #expect(reasons == ["schema_violation", "unknown_type"])
            let page = try await world.backbone.events(after: 0, limit: 10, types: nil, waitSeconds: 0)
            #expect(page.events.map(\.event.trace.requestID) == ["r1", "r2"])
        }
    }

    @Test("A reader of some types gets those, and goes on behind the others", arguments: Engine.allCases)
    func types(engine: Engine) async throws {
        try await withBackbone(engine) { world in
            let plain = EventSchema(type: "user.created", schema: [:])
            try await world.backbone.register(plain)
            _ = try await world.backbone.publish([
                Self.event(1), Self.event(2, type: "user.created"), Self.event(3),
            ])
            let some = try await world.backbone.events(
                after: 0, limit: 10, types: ["document.*"], waitSeconds: 0)
            #expect(some.events.map(\.event.trace.requestID) == ["r1", "r3"])
            #expect(some.next == some.last)
            let none = try await world.backbone.events(
                after: 0, limit: 10, types: ["user.*x"], waitSeconds: 0)
            #expect(none.events.isEmpty && none.next == none.last)
        }
    }

    @Test(
        "A wait for events ends when one comes, however close behind the look, and when it is cancelled",
        arguments: Engine.allCases)
    func longPoll(engine: Engine) async throws {
        try await withBackbone(engine) { world in
            let backbone = world.backbone
            var last: Int64 = 0
            for number in 1...50 as ClosedRange<Int64> {
                let after = last
                async let page = backbone.events(after: after, limit: 1, types: nil, waitSeconds: 30)
                let offset = try await Self.append(backbone, [Self.event(number)])[0]
                #expect(try await page.events.map(\.offset) == [offset])
                last = offset
            }
            let end = last
            let parked = Task { try await backbone.events(after: end, limit: 1, types: nil, waitSeconds: 30) }
            parked.cancel()
            await #expect(throws: CancellationError.self) { try await parked.value }
        }
    }

    @Test(
        "Old events go once every group has read them, unasked never before; the latest of a document stays",
        arguments: Engine.allCases)
    func retention(engine: Engine) async throws {
        try await withBackbone(engine, limits: .init(keptEventMilliseconds: 1_000)) { world in
            let backbone = world.backbone
            try await backbone.register(EventSchema(type: "user.created", schema: [:]))
            let offsets = try await Self.append(
                backbone,
                [
                    Self.event(1), Self.event(2, type: "user.created"), Self.event(3),
                    Self.event(4, type: "user.created"),
                ])
            try await backbone.putGroup("slow", offset: offsets[1])
            world.clock.advance(milliseconds: 2_000)
            #expect(try await world.upkeep.retain(false) == 1)
            let kept = try await backbone.events(after: 0, limit: 10, types: nil, waitSeconds: 0)
            #expect(kept.events.map(\.event.trace.requestID) == ["r1", "r3", "r4"])
            #expect(kept.horizon == offsets[1])
            // Now it has read all: the first of the document's two events gives way to the second.
            try await backbone.putGroup("slow", offset: offsets[3])
            #expect(try await world.upkeep.retain(false) == 2)
            let left = try await backbone.events(after: 0, limit: 10, types: nil, waitSeconds: 0)
            #expect(left.events.map(\.event.trace.requestID) == ["r3"])
            #expect(left.last == offsets[3])
        }
    }

    @Test("People may let events go that a group has not read", arguments: Engine.allCases)
    func retentionAsked(engine: Engine) async throws {
        try await withBackbone(engine, limits: .init(keptEventMilliseconds: 1_000, compactedTopics: [])) {
            world in
            _ = try await world.backbone.publish([Self.event(1), Self.event(2)])
            try await world.backbone.putGroup("gone", offset: 0)
            world.clock.advance(milliseconds: 2_000)
            #expect(try await world.upkeep.retain(false) == 0)
            #expect(try await world.upkeep.retain(true) == 2)
        }
    }

    private static let narrower: [(JSONValue, String)] = [
        (["required": ["n", "m"]], "incompatible"),
        (["properties": [:]], "incompatible"),
        (["properties": ["n": ["type": "string"]]], "incompatible"),
        (["properties": ["n": ["type": "integer", "minimum": 0]]], "incompatible"),
        (["properties": ["n": ["type": "integer"]], "additionalProperties": false], "incompatible"),
        (["pattern": "x"], "invalid_schema"),
    ]

    @Test(
        "A schema that cannot read what the one before allowed is refused", arguments: Engine.allCases,
        narrower)
    func backward(engine: Engine, narrower: (schema: JSONValue, reason: String)) async throws {
        try await withBackbone(engine) { world in
            do {
                try await world.backbone.register(
                    EventSchema(type: "document.created", version: 2, schema: narrower.schema))
                Issue.record("registered")
            } catch BackboneError.refused(let refusal) {
                #expect(refusal.reason == narrower.reason)
            }
            // Wider is not narrower, and the same again is no change.
            let wider = EventSchema(
                type: "document.created", version: 2,
                schema: ["properties": ["n": ["type": "number"], "m": [:]]])
            try await world.backbone.register(wider)
            try await world.reopened { try await $0.register(wider) }
            #expect(try await world.backbone.schemas() == [Self.schema, wider])
        }
    }

    // MARK: All

    @Test(
        "Counts tell what waits, what is leased, what is dead, and how far the groups are",
        arguments: Engine.allCases) func stats(engine: Engine)
        async throws
    {
        try await withBackbone(engine) { world in
            _ = try await world.backbone.enqueue([Self.job(), Self.job(), Self.job()])
            let leased = try await Self.lease(world.backbone, 2)
            try await world.backbone.setBack(leased[0].lease, .fatal("x"))
            let offset = try await Self.append(world.backbone, [Self.event(1)])[0]
            try await world.backbone.putGroup("g", offset: offset)
            let stats = try await world.backbone.stats()
            #expect(stats.queues == [.init(name: "q", ready: 1, leased: 1, dead: 1)])
            #expect(stats.groups.map(\.name) == ["g"])
            #expect(stats.groups.map(\.offset) == [offset])
            #expect(stats.lastOffset == offset)
        }
    }

    @Test("64 producers at once: each answer is stored, in few commits", arguments: Engine.allCases)
    func together(engine: Engine) async throws {
        try await withBackbone(engine) { world in
            let backbone = world.backbone
            let offsets = try await withThrowingTaskGroup(of: PublishOutcome.self) { group in
                for number in 0..<64 as Range<Int64> {
                    group.addTask { try await backbone.publish([Self.event(number)])[0] }
                }
                return try await group.reduce(into: Set<Int64>()) { found, outcome in
                    if case .appended(let offset) = outcome { found.insert(offset) }
                }
            }
            #expect(offsets.count == 64)
            let page = try await world.reopened {
                try await $0.events(after: 0, limit: 100, types: nil, waitSeconds: 0)
            }
            #expect(Set(page.events.map(\.offset)) == offsets)
        }
    }

    @Test(
        "Who follows the log while many append to it misses nothing: no event comes behind one that was read",
        arguments: Engine.allCases)
    func follow(engine: Engine) async throws {
        try await withBackbone(engine) { world in
            let backbone = world.backbone
            let (producers, each) = (8, 25)
            let follower = Task {
                var read: [Int64] = []
                var next: Int64 = 0
                while read.count < producers * each {
                    let page = try await backbone.events(after: next, limit: 7, types: nil, waitSeconds: 30)
                    // Whatever is missing by now never comes.
                    if page.events.isEmpty { break }
                    read += page.events.map(\.offset)
                    next = page.next
                }
                return read
            }
            let appended = try await withThrowingTaskGroup(of: [Int64].self) { group in
                for producer in 0..<producers {
                    group.addTask {
                        var mine: [Int64] = []
                        for number in 0..<each {
                            mine += try await Self.append(
                                backbone, [Self.event(Int64(producer * each + number))])
                        }
                        return mine
                    }
                }
                return try await group.reduce(into: []) { $0 += $1 }
            }
            #expect(try await follower.value == appended.sorted())
        }
    }

    @Test("More than one request may hold is refused as a whole", arguments: Engine.allCases)
    func batches(engine: Engine) async throws {
        try await withBackbone(engine) { world in
            let backbone = world.backbone
            let many = Array(repeating: Lease(jobID: "j", token: "t"), count: 501)
            let calls: [() async throws -> Void] = [
                { _ = try await backbone.publish((0...500).map { Self.event($0) }) },
                { _ = try await backbone.enqueue((0...500).map { Self.job($0) }) },
                { _ = try await backbone.finish(many.map { ($0, nil) }) },
                { _ = try await backbone.setBack(many.map { ($0, .released) }) },
                { _ = try await backbone.extend(many, seconds: 1) },
            ]
            for call in calls { #expect(try await Self.refusal(call) == "too_many") }
            await #expect(throws: BackboneError.self) { try await Self.lease(backbone, 501) }
            let stats = try await backbone.stats()
            #expect(stats.lastOffset == 0 && stats.queues.isEmpty)
        }
    }

    @Test(
        "A page of large events and a lease of large jobs end before their limits, and lose nothing",
        arguments: Engine.allCases)
    func large(engine: Engine) async throws {
        try await withBackbone(engine) { world in
            let backbone = world.backbone
            let filler = String(repeating: "x", count: 1_000_000)
            let events = (1...6).map { number in
                Event(
                    "document.created", subject: "d",
                    data: JSONText(["n": .integer(number), "f": .text(filler)]),
                    producer: "test", trace: Trace(requestID: "r", traceparent: nil))
            }
            #expect(try await backbone.publish(events).count == 6)
            let first = try await backbone.events(after: 0, limit: 100, types: nil, waitSeconds: 0)
            #expect(first.events.count == 5)
            let second = try await backbone.events(after: first.next, limit: 100, types: nil, waitSeconds: 0)
            #expect(first.events.map(\.event) + second.events.map(\.event) == events)

            let payload = JSONText(.text(String(filler.prefix(260_000))))
            let jobs = (0..<18).map { _ in
                NewJob(queue: "q", kind: "k", payload: payload, trace: .fresh())
            }
            #expect(try await backbone.enqueue(jobs) == Array(repeating: .queued, count: 18))
            let leased = try await Self.lease(backbone, 100)
            #expect(leased.count == 17)
            let rest = try await Self.lease(backbone, 100)
            #expect((leased + rest).map(\.job.id) == jobs.map(\.id))
        }
    }

    @Test("A group tells how far it is, until it is removed", arguments: Engine.allCases)
    func groups(engine: Engine) async throws {
        try await withBackbone(engine, limits: .init(groups: 2)) { world in
            let backbone = world.backbone
            #expect(try await backbone.group("g") == nil)
            try await backbone.putGroup("g", offset: 7)
            #expect(
                try await backbone.group("g")
                    == ConsumerGroup(name: "g", offset: 7, updatedAt: world.clock.now))
            try await backbone.putGroup("h", offset: 0)
            await #expect(throws: BackboneError.self) { try await backbone.putGroup("i", offset: 0) }
            await #expect(throws: BackboneError.self) { try await backbone.putGroup("a b", offset: 0) }
            await #expect(throws: BackboneError.self) { try await backbone.putGroup("g", offset: -1) }
            try await backbone.removeGroup("g")
            #expect(try await backbone.group("g") == nil)
            #expect(try await backbone.stats().groups.map(\.name) == ["h"])
        }
    }
}
