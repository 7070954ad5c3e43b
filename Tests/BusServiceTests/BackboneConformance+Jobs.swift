import Backbone
import ServiceKit
import Testing

extension BackboneConformance {
    @Test("A job is leased once, done once, and its result is kept", arguments: Engine.allCases) func once(
        engine: Engine
    ) async throws {
        try await withBackbone(engine) { world in
            let job = Self.job(7)
            #expect(try await world.backbone.enqueue([job]) == [.queued])
            let leased = try await Self.lease(world.backbone)
            #expect(leased.map(\.job.id) == [job.id])
            #expect(leased[0].job.payload == job.payload)
            #expect(leased[0].job.attempts == 1)
            #expect(try await Self.lease(world.backbone).isEmpty)
            try await world.backbone.finish(leased[0].lease, result: JSONText(["ok": true]))
            let done = try await world.reopened { try await $0.job(id: job.id) }
            #expect(done?.state == .done)
            #expect(done?.result == JSONText(["ok": true]))
            await #expect(throws: BackboneError.leaseLost) {
                try await world.backbone.finish(leased[0].lease)
            }
        }
    }

    @Test("Ten workers at once get each of a hundred jobs once", arguments: Engine.allCases) func race(
        engine: Engine
    ) async throws {
        try await withBackbone(engine) { world in
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

    @Test(
        "A worker that died loses its job after the lease, and the late word of a slow one is lost",
        arguments: Engine.allCases)
    func fencing(engine: Engine) async throws {
        try await withBackbone(engine) { world in
            _ = try await world.backbone.enqueue([Self.job()])
            let slow = try await Self.lease(world.backbone)[0]
            world.clock.advance(milliseconds: 9_999)
            #expect(try await Self.lease(world.backbone).isEmpty)
            world.clock.advance(milliseconds: 1)
            #expect(try await world.backbone.finish([(slow.lease, nil)]) == [.lost])
            let second = try await world.reopened { try await Self.lease($0)[0] }
            #expect(second.job.attempts == 2 && second.job.expiries == 1 && second.job.failures == 0)
            #expect(try await world.backbone.finish([(slow.lease, nil)]) == [.lost])
            #expect(try await world.backbone.setBack([(slow.lease, .fatal("x"))]) == [.lost])
            #expect(try await world.backbone.extend([slow.lease], seconds: 10) == [.lost])
            #expect(try await world.backbone.finish([(second.lease, nil)]) == [.done])
        }
    }

    @Test("A lease that is extended in time goes on", arguments: Engine.allCases) func extended(
        engine: Engine
    ) async throws {
        try await withBackbone(engine) { world in
            _ = try await world.backbone.enqueue([Self.job()])
            let leased = try await Self.lease(world.backbone)[0]
            for _ in 0..<3 {
                world.clock.advance(milliseconds: 9_000)
                try await world.backbone.extend(leased.lease, seconds: 10)
            }
            try await world.backbone.finish(leased.lease)
        }
    }

    @Test(
        "Failures pause longer and longer, then the job is dead, is listed, and can be driven again",
        arguments: Engine.allCases)
    func failures(engine: Engine) async throws {
        try await withBackbone(engine) { world in
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

    @Test(
        "A fatal failure is dead at once, a pause that was asked for is kept, a release is no failure",
        arguments: Engine.allCases)
    func setbacks(engine: Engine) async throws {
        try await withBackbone(engine) { world in
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

    @Test(
        "What is postponed waits its pause, and that is neither a failure nor an attempt",
        arguments: Engine.allCases)
    func postponed(engine: Engine) async throws {
        try await withBackbone(engine) { world in
            _ = try await world.backbone.enqueue([Self.job(failureLimit: 1)])
            for _ in 0..<3 {
                let leased = try await Self.lease(world.backbone)
                #expect(leased.map(\.job.attempts) == [1])
                guard let lease = leased.first?.lease else { return }
                try await world.backbone.setBack(lease, .postponed(pauseMilliseconds: 60_000))
                world.clock.advance(milliseconds: 59_999)
                #expect(try await Self.lease(world.backbone).isEmpty)
                world.clock.advance(milliseconds: 1)
            }
            let job = try await Self.lease(world.backbone)[0].job
            #expect((job.failures, job.expiries, job.lastError) == (0, 0, nil))
        }
    }

    @Test("No pause after a failure is longer than five minutes", arguments: Engine.allCases)
    func longestPause(engine: Engine) async throws {
        try await withBackbone(engine) { world in
            _ = try await world.backbone.enqueue([Self.job(failureLimit: 14)])
            for attempt in 1...13 {
                let leased = try await Self.lease(world.backbone)
                #expect(leased.map(\.job.failures) == [attempt - 1])
                guard let lease = leased.first?.lease else { return }
                try await world.backbone.setBack(lease, .failed("no"))
                world.clock.advance(milliseconds: JobLimits.longestPauseMilliseconds)
            }
        }
    }

    @Test("A job that outlives no worker is dead after ten leases", arguments: Engine.allCases) func poison(
        engine: Engine
    ) async throws {
        try await withBackbone(engine) { world in
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

    @Test(
        "The greater priority goes first, then the longest due; a delayed job waits",
        arguments: Engine.allCases) func order(engine: Engine)
        async throws
    {
        try await withBackbone(engine) { world in
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

    @Test(
        "A wait tells of a due job behind delayed ones of a greater priority, and a lease takes it at once",
        arguments: Engine.allCases)
    func delayed(engine: Engine) async throws {
        try await withBackbone(engine) { world in
            let now = world.clock.now
            let delayed = (0..<300).map { Self.job($0, priority: Int($0 % 3) + 1, runAt: now + 1_000) }
            _ = try await world.backbone.enqueue(delayed)
            #expect(try await !world.backbone.waitForJobs(queue: "q", waitSeconds: 0))
            let due = Self.job(7, priority: -1)
            _ = try await world.backbone.enqueue([due])
            #expect(try await world.backbone.waitForJobs(queue: "q", waitSeconds: 0))
            #expect(try await Self.lease(world.backbone, 10).map(\.job.id) == [due.id])
            world.clock.advance(milliseconds: 1_000)
            let rest = try await Self.lease(world.backbone, 300)
            #expect(rest.map(\.job.priority) == delayed.map(\.priority).sorted(by: >))
        }
    }

    @Test("A job that is sent again, by its id or its key, is stored once", arguments: Engine.allCases)
    func duplicateJob(engine: Engine) async throws {
        try await withBackbone(engine) { world in
            let first = Self.job(1, key: "tick")
            let second = Self.job(2, key: "tick")
            let outcomes = try await world.backbone.enqueue([first, first, second])
            #expect(outcomes == [.queued, .duplicate(id: first.id), .duplicate(id: first.id)])
            let leased = try await Self.lease(world.backbone, 10)
            #expect(leased.count == 1)
        }
    }

    @Test("A wait leases nothing: whoever was parked and died holds no job", arguments: Engine.allCases)
    func noPhantom(engine: Engine) async throws {
        try await withBackbone(engine) { world in
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

    @Test("An owner and the whole have bounds", arguments: Engine.allCases) func bounds(engine: Engine)
        async throws
    {
        try await withBackbone(engine, limits: .init(waitingJobs: 3, jobsPerOwner: 2)) { world in
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

    @Test("Jobs that ended long ago go", arguments: Engine.allCases) func dropped(engine: Engine) async throws
    {
        try await withBackbone(engine, limits: .init(keptJobMilliseconds: 1_000)) { world in
            let job = Self.job()
            _ = try await world.backbone.enqueue([job, Self.job()])
            try await world.backbone.finish(try await Self.lease(world.backbone)[0].lease)
            world.clock.advance(milliseconds: 2_000)
            #expect(try await world.upkeep.dropEnded() == 1)
        }
    }
}
