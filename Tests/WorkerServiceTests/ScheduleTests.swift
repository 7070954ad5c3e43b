import Backbone
import BusService
import Foundation
import GRDB
import ServiceKit
import Synchronization
import Testing

@testable import WorkerService

@Suite("Schedules make one job a tick") struct ScheduleTests {
    /// 2026-03-28T00:00:00Z.
    private static let start: Int64 = 1_774_656_000_000

    /// A folder of its own, a time of its own.
    private final class Scene: Sendable {
        let directory = Harness.directory()
        let time = Mutex<Int64>(ScheduleTests.start)
        let tables: ScheduleTables

        init(limits: ScheduleLimits = ScheduleLimits()) { tables = ScheduleTables(limits: limits) }
        deinit { try? FileManager.default.removeItem(at: directory) }

        var now: Int64 {
            get { time.withLock { $0 } }
            set { time.withLock { $0 = newValue } }
        }

        func store(outboxLimit: Int = 1_000) throws -> WorkerStore {
            try WorkerStore(directory: directory, outbox: Outbox(limit: outboxLimit))
        }

        func loop(_ store: WorkerStore, bell: Doorbell = Doorbell()) -> ScheduleLoop {
            ScheduleLoop(store: store, bell: bell, log: Harness.log, tables: tables) { self.now }
        }

        func add(_ store: WorkerStore, _ form: ScheduleRule.Form, kind: String = "echo") async throws
            -> Schedule
        {
            let rule = try ScheduleRule(form)
            let now = now
            let admission = try await store.pool.write { [tables] db in
                try tables.add(db, owner: "ada", rule, kind: kind, payload: JSONText([1, 2]), now: now)
            }
            guard case .added(let schedule) = admission else { throw CancellationError() }
            return schedule
        }

        static func jobs(_ store: WorkerStore) async throws -> [NewJob] {
            try await store.pool.read { db in
                try String.fetchAll(db, sql: "SELECT message FROM outbox_message WHERE is_job ORDER BY seq")
            }.map { try Wire.job($0) }
        }
    }

    @Test("Each tick is one job, with the schedule's payload, owner and a key that says which tick")
    func ticks()
        async throws
    {
        let scene = Scene()
        let store = try scene.store()
        let schedule = try await scene.add(store, .every(seconds: 60), kind: "digest")
        #expect(schedule.nextAt == Self.start + 60_000)
        let loop = scene.loop(store)
        try await loop.orderWhatIsDue()
        #expect(try await Scene.jobs(store).isEmpty)
        for minute in 1...3 {
            // Late by some seconds: the next tick is where it would have been.
            scene.now = Self.start + Int64(minute) * 60_000 + 7_000
            try await loop.orderWhatIsDue()
            try await loop.orderWhatIsDue()
        }
        let jobs = try await Scene.jobs(store)
        #expect(
            jobs.map(\.idempotencyKey)
                == (1...3).map { "schedule/\(schedule.id)/\(Self.start + Int64($0) * 60_000)" })
        #expect(Set(jobs.map(\.trace.requestID)).count == 3)
        for job in jobs {
            #expect(job.queue == "work" && job.kind == "digest" && job.owner == "ada")
            #expect(job.payload.text == "[1,2]")
        }
        let after = try await store.pool.read { db in try scene.tables.schedule(db, id: schedule.id) }
        #expect(after?.lastJob == jobs[2].id && after?.lastAt == Self.start + 180_000)
        #expect(after?.nextAt == Self.start + 240_000)
    }

    @Test("Two loops over one file give one job a tick", arguments: [1, 40]) func twoLoops(schedules: Int)
        async throws
    {
        // Several transactions a turn, so that the two are in the midst of each other's work.
        let scene = Scene(limits: ScheduleLimits(perOwner: 40, batch: 3))
        let stores = [try scene.store(), try scene.store()]
        for _ in 0..<schedules { _ = try await scene.add(stores[0], .every(seconds: 10)) }
        for tick in 1...5 {
            scene.now = Self.start + Int64(tick) * 10_000
            try await withThrowingTaskGroup(of: Void.self) { group in
                for store in stores { group.addTask { try await scene.loop(store).orderWhatIsDue() } }
                try await group.waitForAll()
            }
        }
        let keys = try await Scene.jobs(stores[1]).map(\.idempotencyKey)
        #expect(keys.count == 5 * schedules)
        #expect(Set(keys).count == keys.count)
    }

    @Test(
        "A store that is looked at twice still gives one job a tick: the backbone knows the tick by its key")
    func copiedStore() async throws {
        let scene = Scene()
        let copy = Scene()
        let busDirectory = Harness.directory()
        defer { try? FileManager.default.removeItem(at: busDirectory) }
        _ = try await scene.add(try scene.store(), .cron("0 4 * * *", zone: "Europe/Berlin"))
        try await scene.store().pool.writeWithoutTransaction { db in _ = try db.checkpoint(.truncate) }
        try FileManager.default.copyItem(at: scene.directory, to: copy.directory)
        let bus = try BusStore(directory: busDirectory)
        var outcomes: [EnqueueOutcome] = []
        for one in [scene, copy] {
            one.now = Self.start + 86_400_000
            let store = try one.store()
            try await one.loop(store).orderWhatIsDue()
            outcomes += try await bus.enqueue(try await Scene.jobs(store))
        }
        #expect(outcomes.count == 2 && outcomes[0] == .queued)
        guard case .duplicate = outcomes[1] else {
            Issue.record("the tick was two jobs")
            return
        }
    }

    @Test("Ticks that went by while nobody looked are made up for by one") func missed() async throws {
        let scene = Scene()
        let interval: Schedule
        let daily: Schedule
        do {
            let store = try scene.store()
            interval = try await scene.add(store, .every(seconds: 10))
            daily = try await scene.add(store, .cron("30 2 * * *", zone: "Europe/Berlin"))
        }
        scene.now = Self.start + 10 * 86_400_000 + 5_000
        let store = try scene.store()
        try await scene.loop(store).orderWhatIsDue()
        #expect(try await Scene.jobs(store).count == 2)
        let (first, second) = try await store.pool.read { db in
            (try scene.tables.schedule(db, id: interval.id), try scene.tables.schedule(db, id: daily.id))
        }
        #expect(first?.nextAt == Self.start + 10 * 86_400_000 + 10_000)
        // 7 April, half past two in Berlin, where it is summer by now.
        #expect(second?.nextAt == Self.start + 10 * 86_400_000 + 1_800_000)
    }

    @Test("Over the change to summer time the tick that the clock skips is had once") func summerTime()
        async throws
    {
        let scene = Scene()
        let store = try scene.store()
        _ = try await scene.add(store, .cron("30 2 * * *", zone: "Europe/Berlin"))
        let loop = scene.loop(store)
        // Two days, ten minutes at a time.
        for step in 1...(2 * 144) {
            scene.now = Self.start + Int64(step) * 600_000
            if try await store.pool.read({ db in try scene.tables.nextDue(db) ?? .max }) <= scene.now {
                try await loop.orderWhatIsDue()
            }
        }
        let ticks = try await Scene.jobs(store).compactMap { $0.idempotencyKey?.split(separator: "/").last }
        // 01:30Z in winter, 01:00Z when the hour is skipped.
        #expect(
            ticks.map { Timestamp.text(Int64($0) ?? 0) } == [
                "2026-03-28T01:30:00.000Z", "2026-03-29T01:00:00.000Z",
            ])
    }

    @Test("While the outbox is full no schedule moves on, and none is lost") func outboxFull() async throws {
        let scene = Scene()
        let store = try scene.store(outboxLimit: 1)
        for _ in 0..<2 { _ = try await scene.add(store, .every(seconds: 10)) }
        scene.now = Self.start + 10_000
        await #expect(throws: Problem.self) { try await scene.loop(store).orderWhatIsDue() }
        #expect(try await Scene.jobs(store).isEmpty)
        let roomy = try scene.store()
        try await scene.loop(roomy).orderWhatIsDue()
        #expect(try await Scene.jobs(roomy).count == 2)
    }

    @Test("A schedule whose zone is gone ends, says why, and holds up no other") func zoneGone() async throws
    {
        let scene = Scene()
        let store = try scene.store()
        let gone = try await scene.add(store, .cron("* * * * *", zone: "Europe/Berlin"))
        _ = try await scene.add(store, .every(seconds: 60))
        try await store.pool.write { db in
            try db.execute(
                sql: "UPDATE schedule SET zone = 'Europe/Atlantis' WHERE id = ?", arguments: [gone.id])
        }
        scene.now = Self.start + 60_000
        try await scene.loop(store).orderWhatIsDue()
        #expect(try await Scene.jobs(store).count == 1)
        let ended = try await store.pool.read { db in try scene.tables.schedule(db, id: gone.id) }
        #expect(ended?.nextAt == nil && ended?.error?.contains("timeZone") == true)
    }

    @Test("The loop wakes for a schedule that was made while it waited, and stops when it is told to")
    func loop()
        async throws
    {
        let scene = Scene()
        let store = try scene.store()
        let bell = Doorbell()
        let loop = scene.loop(store, bell: bell)
        let running = Task { try await loop.run() }
        _ = try await scene.add(store, .every(seconds: 10))
        scene.now = Self.start + 10_000
        bell.ring()
        while try await Scene.jobs(store).isEmpty { await Task.yield() }
        running.cancel()
        try await running.value
    }

    @Test(
        "What is no rule is refused",
        arguments: [
            ScheduleRule.Form.every(seconds: 9), .every(seconds: 0), .every(seconds: .max),
            .cron("* * * *", zone: "UTC"), .cron("0 0 30 2 *", zone: "UTC"),
            .cron("* * * * *", zone: "Mars/Phobos"),
            .cron("* * * * *", zone: ""), .cron("* * * * *", zone: "../../etc/localtime"),
            .cron("* * * * *", zone: "GMT+25"),
        ])
    func refused(form: ScheduleRule.Form) {
        #expect(throws: ScheduleRule.Refusal.self) { try ScheduleRule(form) }
    }
}

@Suite("The interface of schedules") struct ScheduleRoutesTests {
    private func withRoutes(
        limits: ScheduleLimits = ScheduleLimits(), _ body: @escaping @Sendable (Origin) async throws -> Void
    ) async throws {
        let directory = Harness.directory()
        defer { try? FileManager.default.removeItem(at: directory) }
        let routes = ScheduleRoutes(
            store: try WorkerStore(directory: directory), verifier: try Harness.verifier(),
            kinds: ["echo", "digest"],
            bell: Doorbell(), tables: ScheduleTables(limits: limits), now: { 1_774_656_000_000 })
        let parts = ServiceParts(name: "worker") { router in routes.add(to: router) }
        try await withRunning(parts, log: Harness.log, body)
    }

    private static func ask(
        _ origin: Origin, _ method: String, _ path: String = "", as subject: String = "ada",
        json: String? = nil
    ) async throws -> OutboundClient.Answer {
        try await Harness.ask(
            origin, method, "/worker/schedules\(path)",
            token: Harness.token(subject, roles: subject == "root" ? ["admin"] : ["user"]), json: json)
    }

    @Test("A schedule is made, read, listed and deleted, by its owner or an administrator") func life()
        async throws
    {
        try await withRoutes { origin in
            let made = try await Self.ask(
                origin, "POST",
                json:
                    "{\"cron\":\"30 2 * * *\",\"timeZone\":\"Europe/Berlin\",\"kind\":\"echo\",\"payload\":{\"a\":1}}"
            )
            #expect(made.status == 201)
            let id = try #require(made.text("id"))
            #expect(made.field("Location") == "/worker/schedules/\(id)")
            #expect(made.text("nextAt") == "2026-03-28T01:30:00.000Z")
            #expect(made.object["payload"] as? [String: Int] == ["a": 1])
            let every = try await Self.ask(origin, "POST", json: "{\"every\":3600,\"kind\":\"digest\"}")
            #expect(every.status == 201 && every.text("nextAt") == "2026-03-28T01:00:00.000Z")
            #expect(every.object["every"] as? Int == 3_600 && every.text("cron") == nil)

            let read = try await Self.ask(origin, "GET", "/\(id)")
            #expect(read.text("cron") == "30 2 * * *" && read.text("timeZone") == "Europe/Berlin")
            for method in ["GET", "DELETE"] {
                #expect(try await Self.ask(origin, method, "/\(id)", as: "bob").status == 404)
                #expect(try await Harness.ask(origin, method, "/worker/schedules/\(id)").status == 401)
                let narrow = try Harness.token("ada", scope: "documents")
                #expect(
                    try await Harness.ask(origin, method, "/worker/schedules/\(id)", token: narrow).status
                        == 403)
            }
            #expect(try await Self.ask(origin, "GET", "/\(id)", as: "root").status == 200)
            let page = try await Self.ask(origin, "GET", "?limit=1")
            #expect((page.object["schedules"] as? [Any])?.count == 1)
            let rest = try await Self.ask(
                origin, "GET", "?limit=1&cursor=\(try #require(page.text("nextCursor")))")
            #expect((rest.object["schedules"] as? [Any])?.count == 1 && rest.text("nextCursor") == nil)
            let bobs = try await Self.ask(origin, "GET", as: "bob")
            #expect((bobs.object["schedules"] as? [Any])?.isEmpty == true)
            #expect(try await Self.ask(origin, "GET", "?owner=ada", as: "bob").status == 403)
            #expect(try await Self.ask(origin, "GET", "?cursor=1").status == 400)
            #expect(try await Self.ask(origin, "DELETE", "/\(id)").status == 204)
            #expect(try await Self.ask(origin, "GET", "/\(id)").status == 404)
        }
    }

    @Test(
        "What is no schedule is refused, with its reason",
        arguments: [
            ("{\"kind\":\"echo\"}", 422, "invalid_schedule"),
            ("{\"cron\":\"* * * * *\",\"every\":60,\"kind\":\"echo\"}", 422, "invalid_schedule"),
            ("{\"every\":60,\"timeZone\":\"UTC\",\"kind\":\"echo\"}", 422, "invalid_schedule"),
            ("{\"every\":9,\"kind\":\"echo\"}", 422, "invalid_schedule"),
            ("{\"cron\":\"61 * * * *\",\"kind\":\"echo\"}", 422, "invalid_schedule"),
            (
                "{\"cron\":\"* * * * *\",\"timeZone\":\"Mars/Phobos\",\"kind\":\"echo\"}", 422,
                "invalid_schedule"
            ),
            ("{\"every\":60,\"kind\":\"email\"}", 422, "unknown_kind"),
            ("{\"every\":60}", 400, "invalid_body"),
            (
                "{\"every\":60,\"kind\":\"echo\",\"payload\":\(String(repeating: "[", count: 40))\(String(repeating: "]", count: 40))}",
                422, "payload_too_deep"
            ),
            (
                "{\"every\":60,\"kind\":\"echo\",\"payload\":\"\(String(repeating: "x", count: 65_535))\"}",
                413,
                "body_too_large"
            ),
        ])
    func refusals(json: String, status: Int, reason: String) async throws {
        try await withRoutes { origin in
            let refused = try await Self.ask(origin, "POST", json: json)
            #expect(refused.status == status && refused.text("reason") == reason)
        }
    }

    @Test("An account may have so many schedules, and everybody together so many") func limits() async throws
    {
        try await withRoutes(limits: ScheduleLimits(perOwner: 1, inAll: 2)) { origin in
            let good = "{\"every\":60,\"kind\":\"echo\"}"
            #expect(try await Self.ask(origin, "POST", json: good).status == 201)
            let more = try await Self.ask(origin, "POST", json: good)
            #expect(more.status == 403 && more.text("reason") == "too_many_schedules")
            #expect(try await Self.ask(origin, "POST", as: "bob", json: good).status == 201)
            let full = try await Self.ask(origin, "POST", as: "carol", json: good)
            #expect(full.status == 503 && full.text("reason") == "schedules_full")
        }
    }
}
