import Backbone
import BusService
import Foundation
import ServiceKit
import Synchronization
import Testing

/// A time that moves when a test says so.
final class HandClock: Sendable {
    private let cell = Mutex<Int64>(1_800_000_000_000)
    var now: Int64 { cell.withLock { $0 } }
    func advance(milliseconds: Int64) { cell.withLock { $0 += milliseconds } }
}

/// What each engine must keep. It asks the protocol only, so that the next engine is judged by the same tests.
@Suite("What a backbone promises") struct BackboneConformance {
    private struct World: Sendable {
        let directory: URL
        let clock: HandClock
        let backbone: BusStore

        /// The same store once more, as after a restart.
        func reopened() throws -> BusStore {
            try BusStore(directory: directory, clock: { [clock] in clock.now })
        }
    }

    private static let schema = EventSchema(
        type: "document.created",
        schema: ["type": "object", "required": ["n"], "properties": ["n": ["type": "integer"]]])

    private func withBackbone(
        limits: BusStore.Limits = .init(), _ body: (World) async throws -> Void
    ) async throws {
        let directory = FileManager.default.temporaryDirectory.appending(
            path: "gatehouse-\(Identifier.make())")
        defer { try? FileManager.default.removeItem(at: directory) }
        let clock = HandClock()
        let store = try BusStore(directory: directory, limits: limits, clock: { clock.now })
        try await store.register(Self.schema)
        try await body(World(directory: directory, clock: clock, backbone: store))
    }

    private static func event(_ number: Int64, subject: String = "d", type: String = "document.created")
        -> Event
    {
        Event(
            type, subject: subject, data: JSONText(["n": .integer(number)]), producer: "test",
            trace: Trace(requestID: "r\(number)", traceparent: nil))
    }

    private static func job(
        _ number: Int64 = 0, priority: Int = 0, runAt: Int64 = 0, failureLimit: Int = 5, key: String? = nil,
        owner: String? = nil
    ) -> NewJob {
        NewJob(
            queue: "q", kind: "k", payload: JSONText(["n": .integer(number)]),
            trace: Trace(requestID: "r", traceparent: nil), owner: owner, priority: priority, runAt: runAt,
            failureLimit: failureLimit, idempotencyKey: key)
    }

    private static func lease(_ backbone: any Backbone, _ limit: Int = 1) async throws -> [LeasedJob] {
        try await backbone.lease(queue: "q", limit: limit, seconds: 10, worker: "w")
    }

    // MARK: Events

    @Test("Events are read in the order in which they were appended, from any offset, and after a restart")
    func replay() async throws {
        try await withBackbone { world in
            let events = (1...25).map { Self.event(Int64($0)) }
            let outcomes = try await world.backbone.publish(events)
            let store = try world.reopened()
            var read: [LoggedEvent] = []
            var next: Int64 = 0
            while true {
                let page = try await store.events(after: next, limit: 10, types: nil, waitSeconds: 0)
                if page.events.isEmpty { break }
                read += page.events
                next = page.next
            }
            #expect(read.map(\.event) == events)
            #expect(read.map { PublishOutcome.appended(offset: $0.offset) } == outcomes)
            let tail = try await store.events(after: read[9].offset, limit: 100, types: nil, waitSeconds: 0)
            #expect(tail.events == Array(read[10...]))
        }
    }

    @Test("An event that is sent again has its first offset, and is in the log once") func duplicateEvent()
        async throws
    {
        try await withBackbone { world in
            let event = Self.event(1)
            let first = try await world.backbone.publish([event])
            guard case .appended(let offset) = first[0] else {
                Issue.record("not appended")
                return
            }
            #expect(
                try await world.reopened().publish([event, event]) == [
                    .duplicate(offset: offset), .duplicate(offset: offset),
                ])
            let page = try await world.backbone.events(after: 0, limit: 10, types: nil, waitSeconds: 0)
            #expect(page.events.count == 1)
        }
    }

    @Test("What breaks its schema or has none is refused by itself; its neighbours are stored") func refused()
        async throws
    {
        try await withBackbone { world in
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

    @Test("A reader of some types gets those, and goes on behind the others") func types() async throws {
        try await withBackbone { world in
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

    @Test("A wait for events ends when one comes, however close behind the look, and when it is cancelled")
    func longPoll() async throws {
        try await withBackbone { world in
            let backbone = world.backbone
            for number in 1...50 as ClosedRange<Int64> {
                async let page = backbone.events(after: number - 1, limit: 1, types: nil, waitSeconds: 30)
                _ = try await backbone.publish([Self.event(number)])
                #expect(try await page.events.count == 1)
            }
            let parked = Task { try await backbone.events(after: 50, limit: 1, types: nil, waitSeconds: 30) }
            parked.cancel()
            await #expect(throws: CancellationError.self) { try await parked.value }
        }
    }

    @Test(
        "Old events go once every group has read them, unasked never before; the latest of a document stays")
    func retention() async throws {
        try await withBackbone(limits: .init(keptEventMilliseconds: 1_000)) { world in
            let backbone = world.backbone
            try await backbone.register(EventSchema(type: "user.created", schema: [:]))
            _ = try await backbone.publish([
                Self.event(1), Self.event(2, type: "user.created"), Self.event(3),
                Self.event(4, type: "user.created"),
            ])
            try await backbone.putGroup("slow", offset: 2)
            world.clock.advance(milliseconds: 2_000)
            #expect(try await backbone.retain() == 1)
            let kept = try await backbone.events(after: 0, limit: 10, types: nil, waitSeconds: 0)
            #expect(kept.events.map(\.event.trace.requestID) == ["r1", "r3", "r4"])
            #expect(kept.horizon == 2)
            // Now it has read all: the first of the document's two events gives way to the second.
            try await backbone.putGroup("slow", offset: 4)
            #expect(try await backbone.retain() == 2)
            let left = try await backbone.events(after: 0, limit: 10, types: nil, waitSeconds: 0)
            #expect(left.events.map(\.event.trace.requestID) == ["r3"])
            #expect(left.last == 4)
        }
    }

    @Test("People may let events go that a group has not read") func retentionAsked() async throws {
        try await withBackbone(limits: .init(keptEventMilliseconds: 1_000, compactedTopics: [])) { world in
            _ = try await world.backbone.publish([Self.event(1), Self.event(2)])
            try await world.backbone.putGroup("gone", offset: 0)
            world.clock.advance(milliseconds: 2_000)
            #expect(try await world.backbone.retain() == 0)
            #expect(try await world.backbone.retain(ignoringGroups: true) == 2)
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

    @Test("A schema that cannot read what the one before allowed is refused", arguments: narrower)
    func backward(schema: JSONValue, reason: String) async throws {
        try await withBackbone { world in
            do {
                try await world.backbone.register(
                    EventSchema(type: "document.created", version: 2, schema: schema))
                Issue.record("registered")
            } catch BackboneError.refused(let refusal) {
                #expect(refusal.reason == reason)
            }
            // Wider is not narrower, and the same again is no change.
            let wider = EventSchema(
                type: "document.created", version: 2,
                schema: ["properties": ["n": ["type": "number"], "m": [:]]])
            try await world.backbone.register(wider)
            try await world.reopened().register(wider)
            #expect(try await world.backbone.schemas() == [Self.schema, wider])
        }
    }

    // MARK: Jobs

    @Test("A job is leased once, done once, and its result is kept") func once() async throws {
        try await withBackbone { world in
            let job = Self.job(7)
            #expect(try await world.backbone.enqueue([job]) == [.queued])
            let leased = try await Self.lease(world.backbone)
            #expect(leased.map(\.job.id) == [job.id])
            #expect(leased[0].job.payload == job.payload)
            #expect(leased[0].job.attempts == 1)
            #expect(try await Self.lease(world.backbone).isEmpty)
            try await world.backbone.finish(leased[0].lease, result: JSONText(["ok": true]))
            let done = try await world.reopened().job(id: job.id)
            #expect(done?.state == .done)
            #expect(done?.result == JSONText(["ok": true]))
            await #expect(throws: BackboneError.leaseLost) {
                try await world.backbone.finish(leased[0].lease)
            }
        }
    }

    @Test("Ten workers at once get each of a hundred jobs once") func race() async throws {
        try await withBackbone { world in
            let backbone = world.backbone
            _ = try await backbone.enqueue((0..<100).map { Self.job($0) })
            let taken = try await withThrowingTaskGroup(of: [String].self) { group in
                for _ in 0..<10 {
                    group.addTask {
                        var mine: [String] = []
                        while case let some = try await Self.lease(backbone, 3), !some.isEmpty {
                            mine += some.map(\.job.id)
                        }
                        return mine
                    }
                }
                return try await group.reduce(into: []) { $0 += $1 }
            }
            #expect(taken.count == 100)
            #expect(Set(taken).count == 100)
        }
    }

    @Test("A worker that died loses its job after the lease, and the late word of a slow one is lost")
    func fencing() async throws {
        try await withBackbone { world in
            _ = try await world.backbone.enqueue([Self.job()])
            let slow = try await Self.lease(world.backbone)[0]
            world.clock.advance(milliseconds: 9_999)
            #expect(try await Self.lease(world.backbone).isEmpty)
            world.clock.advance(milliseconds: 1)
            #expect(try await world.backbone.finish([(slow.lease, nil)]) == [.lost])
            let second = try await Self.lease(world.reopened())[0]
            #expect(second.job.attempts == 2 && second.job.expiries == 1 && second.job.failures == 0)
            #expect(try await world.backbone.finish([(slow.lease, nil)]) == [.lost])
            #expect(try await world.backbone.setBack([(slow.lease, .fatal("x"))]) == [.lost])
            #expect(try await world.backbone.extend([slow.lease], seconds: 10) == [.lost])
            #expect(try await world.backbone.finish([(second.lease, nil)]) == [.done])
        }
    }

    @Test("A lease that is extended in time goes on") func extended() async throws {
        try await withBackbone { world in
            _ = try await world.backbone.enqueue([Self.job()])
            let leased = try await Self.lease(world.backbone)[0]
            for _ in 0..<3 {
                world.clock.advance(milliseconds: 9_000)
                try await world.backbone.extend(leased.lease, seconds: 10)
            }
            try await world.backbone.finish(leased.lease)
        }
    }

    @Test("Failures pause longer and longer, then the job is dead, is listed, and can be driven again")
    func failures() async throws {
        try await withBackbone { world in
            let job = Self.job(failureLimit: 3)
            _ = try await world.backbone.enqueue([job])
            for attempt in 1...3 {
                let leased = try await Self.lease(world.backbone)[0]
                try await world.backbone.setBack(leased.lease, .failed("no \(attempt)"))
                #expect(try await Self.lease(world.backbone).isEmpty)
                // At least half of the full pause.
                let full = Int64(500 << (attempt - 1))
                world.clock.advance(milliseconds: full / 2 - 1)
                #expect(try await Self.lease(world.backbone).isEmpty)
                world.clock.advance(milliseconds: full / 2 + 1)
            }
            let dead = try await world.backbone.deadJobs(queue: "q", before: nil, limit: 10)
            #expect(dead.map(\.id) == [job.id])
            #expect(dead[0].lastError == "no 3" && dead[0].failures == 3)
            #expect(try await world.backbone.deadJobs(queue: "q", before: job.id, limit: 10).isEmpty)
            try await world.backbone.redrive(id: job.id)
            let again = try await Self.lease(world.backbone)[0]
            #expect(again.job.failures == 0)
            await #expect(throws: BackboneError.notFound) { try await world.backbone.redrive(id: job.id) }
        }
    }

    @Test("A fatal failure is dead at once, a pause that was asked for is kept, a release is no failure")
    func setbacks() async throws {
        try await withBackbone { world in
            let jobs = [Self.job(), Self.job(), Self.job()]
            _ = try await world.backbone.enqueue(jobs)
            let leased = try await Self.lease(world.backbone, 3)
            _ = try await world.backbone.setBack([
                (leased[0].lease, .fatal("410")),
                (leased[1].lease, .failedFor("503", pauseMilliseconds: 60_000)),
                (leased[2].lease, .released),
            ])
            #expect(try await world.backbone.job(id: leased[0].job.id)?.state == .dead)
            let now = try await Self.lease(world.backbone, 3)
            #expect(now.map(\.job.id) == [leased[2].job.id])
            #expect(now[0].job.failures == 0)
            world.clock.advance(milliseconds: 60_000)
            #expect(try await Self.lease(world.backbone, 3).map(\.job.id).contains(leased[1].job.id))
        }
    }

    @Test("A job that outlives no worker is dead after ten leases") func poison() async throws {
        try await withBackbone { world in
            let job = Self.job()
            _ = try await world.backbone.enqueue([job])
            for _ in 0..<JobLimits.expiries {
                #expect(try await Self.lease(world.backbone).count == 1)
                world.clock.advance(milliseconds: 10_000)
            }
            #expect(try await Self.lease(world.backbone).isEmpty)
            let dead = try await world.backbone.job(id: job.id)
            #expect(dead?.state == .dead && dead?.failures == 0)
        }
    }

    @Test("The greater priority goes first, then the longest due; a delayed job waits") func order()
        async throws
    {
        try await withBackbone { world in
            let now = world.clock.now
            let jobs = [
                Self.job(1), Self.job(2, priority: 9), Self.job(3),
                Self.job(4, priority: 10, runAt: now + 500),
            ]
            _ = try await world.backbone.enqueue(jobs)
            let first = try await Self.lease(world.backbone, 10)
            #expect(first.map(\.job.id) == [jobs[1].id, jobs[0].id, jobs[2].id])
            world.clock.advance(milliseconds: 500)
            #expect(try await Self.lease(world.backbone, 10).map(\.job.id) == [jobs[3].id])
        }
    }

    @Test("A job that is sent again, by its id or its key, is stored once") func duplicateJob() async throws {
        try await withBackbone { world in
            let first = Self.job(1, key: "tick")
            let second = Self.job(2, key: "tick")
            let outcomes = try await world.backbone.enqueue([first, first, second])
            #expect(outcomes == [.queued, .duplicate(id: first.id), .duplicate(id: first.id)])
            let leased = try await Self.lease(world.backbone, 10)
            #expect(leased.count == 1)
        }
    }

    @Test("A wait leases nothing: whoever was parked and died holds no job") func noPhantom() async throws {
        try await withBackbone { world in
            let backbone = world.backbone
            let parked = Task { try await backbone.waitForJobs(queue: "q", waitSeconds: 30) }
            _ = try await backbone.enqueue([Self.job()])
            #expect(try await parked.value)
            #expect(try await Self.lease(backbone).count == 1)
            let dead = Task { try await backbone.waitForJobs(queue: "other", waitSeconds: 30) }
            dead.cancel()
            await #expect(throws: CancellationError.self) { try await dead.value }
        }
    }

    @Test("An owner and the whole have bounds") func bounds() async throws {
        try await withBackbone(limits: .init(waitingJobs: 3, jobsPerOwner: 2)) { world in
            let outcomes = try await world.backbone.enqueue((0..<3).map { Self.job($0, owner: "ada") })
            #expect(outcomes[1] == .queued)
            guard case .refused(let refusal) = outcomes[2] else {
                Issue.record("no bound")
                return
            }
            #expect(refusal.reason == "too_many_jobs")
            await #expect(throws: BackboneError.self) { try await world.backbone.enqueue([Self.job()]) }
        }
    }

    @Test("Jobs that ended long ago go") func dropped() async throws {
        try await withBackbone(limits: .init(keptJobMilliseconds: 1_000)) { world in
            let job = Self.job()
            _ = try await world.backbone.enqueue([job, Self.job()])
            try await world.backbone.finish(try await Self.lease(world.backbone)[0].lease)
            world.clock.advance(milliseconds: 2_000)
            #expect(try await world.backbone.dropEnded() == 1)
        }
    }

    @Test("Counts tell what waits, what is leased, what is dead, and how far the groups are") func stats()
        async throws
    {
        try await withBackbone { world in
            _ = try await world.backbone.enqueue([Self.job(), Self.job(), Self.job()])
            let leased = try await Self.lease(world.backbone, 2)
            try await world.backbone.setBack(leased[0].lease, .fatal("x"))
            _ = try await world.backbone.publish([Self.event(1)])
            try await world.backbone.putGroup("g", offset: 1)
            let stats = try await world.backbone.stats()
            #expect(stats.queues == [.init(name: "q", ready: 1, leased: 1, dead: 1)])
            #expect(stats.groups.map(\.name) == ["g"])
            #expect(stats.lastOffset == 1)
        }
    }

    @Test("64 producers at once: each answer is stored, in few commits") func together() async throws {
        try await withBackbone { world in
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
            let page = try await world.reopened().events(after: 0, limit: 100, types: nil, waitSeconds: 0)
            #expect(Set(page.events.map(\.offset)) == offsets)
        }
    }
}
