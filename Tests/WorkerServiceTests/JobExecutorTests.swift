import Backbone
import Foundation
import ServiceKit
import Synchronization
import Testing

@testable import WorkerService

@Suite("Running jobs of the backbone", .timeLimit(.minutes(10))) struct JobExecutorTests {
    private struct Broken: Error {}

    /// Counts, and lets those through who wait for a number.
    private final class Gate: Sendable {
        private let count = Mutex(0)
        let bell = Doorbell()

        var passed: Int { count.withLock { $0 } }

        @discardableResult
        func pass() -> Int {
            defer { bell.ring() }
            return count.withLock { count in
                count += 1
                return count
            }
        }

        func waitFor(_ number: Int) async {
            while passed < number, !Task.isCancelled { await bell.wait(upTo: .seconds(60)) }
        }
    }

    /// Begins, and ends when it is told to or cancelled.
    private static func held(_ begun: Gate, _ end: Doorbell, cancelled: Gate? = nil) -> JobKind {
        JobKind("held") { _ in
            begun.pass()
            await end.wait(upTo: .seconds(60))
            if Task.isCancelled { cancelled?.pass() }
            try Task.checkCancellation()
            return nil
        }
    }

    @Test("A lease is extended while the job is at work, however long that is") func extended() async throws {
        let shop = try Workshop()
        let begun = Gate()
        let end = Doorbell()
        try await shop.whileRunning([shop.executor([Self.held(begun, end)])]) {
            let id = try await shop.order("held")
            await begun.waitFor(1)
            for _ in 0..<3 {
                // Two more: the first may have been on its way before.
                let heard = shop.bus.extensions
                try await until { shop.bus.extensions >= heard + 2 }
                shop.bus.advance(seconds: 25)
            }
            end.ring()
            let job = try await shop.ended(id)
            #expect(job.state == .done)
            #expect((job.attempts, job.expiries) == (1, 0))
        }
    }

    @Test("Work whose lease was lost is cancelled, and begun anew by who leases it next") func lost()
        async throws
    {
        let shop = try Workshop()
        let (begun, cancelled) = (Gate(), Gate())
        let end = Doorbell()
        try await shop.whileRunning([shop.executor([Self.held(begun, end, cancelled: cancelled)])]) {
            let id = try await shop.order("held")
            await begun.waitFor(1)
            shop.bus.advance(seconds: 31)
            await cancelled.waitFor(1)
            await begun.waitFor(2)
            end.ring()
            let job = try await shop.ended(id)
            #expect(job.state == .done)
            #expect((job.attempts, job.failures, job.expiries) == (2, 0, 1))
        }
    }

    @Test(
        "A worker that was killed says nothing: its job goes to another as attempt 2, and that was no failure"
    )
    func killed() async throws {
        let shop = try Workshop()
        let begun = Gate()
        let end = Doorbell()
        var id = ""
        try await shop.whileRunning([shop.executor([Self.held(begun, end)])]) {
            id = try await shop.order("held")
            await begun.waitFor(1)
            // Nothing that it says is heard any more.
            shop.bus.isAway = true
        }
        shop.bus.isAway = false
        #expect(try await shop.bus.job(id: id)?.state == .leased)
        try await shop.whileRunning([shop.executor([Self.held(begun, end)])]) {
            #expect(try await shop.bus.job(id: id)?.state == .leased)
            shop.bus.advance(seconds: 31)
            await begun.waitFor(2)
            end.ring()
            let job = try await shop.ended(id)
            #expect((job.state, job.attempts, job.failures) == (.done, 2, 0))
        }
    }

    @Test("A job in hand at the stop is given back at once, and that was no failure") func stopped()
        async throws
    {
        let shop = try Workshop()
        let begun = Gate()
        var id = ""
        try await shop.whileRunning([shop.executor([Self.held(begun, Doorbell())])]) {
            id = try await shop.order("held")
            await begun.waitFor(1)
        }
        let job = try #require(try await shop.bus.job(id: id))
        #expect((job.state, job.attempts, job.failures, job.expiries) == (.ready, 1, 0, 0))
    }

    @Test("What was done when the stop came is told as done") func doneAtTheStop() async throws {
        let shop = try Workshop()
        let begun = Gate()
        let stubborn = JobKind("stubborn") { _ in
            begun.pass()
            try? await Task.sleep(for: .seconds(60))
            return JSONText(1)
        }
        var id = ""
        try await shop.whileRunning([shop.executor([stubborn])]) {
            id = try await shop.order("stubborn")
            await begun.waitFor(1)
        }
        let job = try #require(try await shop.bus.job(id: id))
        #expect(job.state == .done)
        #expect(job.result == JSONText(1))
    }

    @Test("A bus that is away when a job ends is told as soon as it is back, and the work is not done again")
    func away() async throws {
        let shop = try Workshop()
        let begun = Gate()
        let end = Doorbell()
        try await shop.whileRunning([shop.executor([Self.held(begun, end)])]) {
            let id = try await shop.order("held")
            await begun.waitFor(1)
            shop.bus.isAway = true
            end.ring()
            try await until { shop.bus.missedWords >= 2 }
            shop.bus.isAway = false
            let job = try await shop.ended(id)
            #expect((job.state, job.attempts) == (.done, 1))
        }
    }

    @Test(
        "A failure is tried again after the pause that the kind names; the last one ends the job, and is told once"
    )
    func failures() async throws {
        let shop = try Workshop()
        let attempts = Gate()
        let flaky = JobKind("flaky") { _ in
            if attempts.pass() < 3 { throw PassingJobFailure("not yet", pause: .milliseconds(1)) }
            return nil
        }
        let broken = JobKind("broken") { _ in throw PassingJobFailure("never", pause: .milliseconds(1)) }
        let slow = JobKind("slow", timeout: .milliseconds(1)) { _ in
            try await Task.sleep(for: .seconds(60))
            return nil
        }
        try await shop.whileRunning([shop.executor([flaky, broken, slow])]) {
            let mended = try await shop.ended(try await shop.order("flaky"))
            #expect((mended.state, mended.attempts, mended.failures) == (.done, 3, 2))
            let id = try await shop.order("broken", failureLimit: 4)
            let dead = try await shop.ended(id)
            #expect((dead.state, dead.failures, dead.lastError) == (.dead, 4, "never"))
            let late = try await shop.ended(try await shop.order("slow", failureLimit: 1))
            #expect((late.state, late.lastError) == (.dead, "the job took too long"))
            try await until { try await shop.outbox().events.count >= 2 }
            let told = try await shop.outbox().events
            #expect(told.map(\.type) == ["job.dead", "job.dead"])
            #expect(told.map(\.subject) == [id, late.id])
            #expect(told[0].trace == dead.trace)
            #expect(
                try told[0].data.value() == ["queue": "work", "kind": "broken", "error": "never"])
        }
    }

    @Test("An unknown kind, and a payload that its kind cannot read, are dead at once")
    func fatal() async throws {
        let shop = try Workshop()
        try await shop.whileRunning([shop.executor([.digest])]) {
            for (kind, payload) in [("magic", JSONValue.null), ("digest", ["text": 1])] {
                let job = try await shop.ended(try await shop.order(kind, payload))
                #expect((job.state, job.attempts) == (.dead, 1))
            }
        }
    }

    @Test("A result that the bus refuses ends the job") func tooLarge() async throws {
        let shop = try Workshop()
        let long = JobKind("long") { _ in
            JSONText(.text(String(repeating: "x", count: JobLimits.payloadBytes)))
        }
        try await shop.whileRunning([shop.executor([long])]) {
            let job = try await shop.ended(try await shop.order("long"))
            #expect(job.state == .dead)
            #expect(job.lastError?.contains("result_too_large") == true)
        }
    }

    @Test("A bus that says again and again that jobs are due, and has none, is not asked without a pause")
    func wolf() async throws {
        let shop = try Workshop()
        shop.bus.isCryingWolf = true
        let begin = ContinuousClock.now
        try await shop.whileRunning([shop.executor([.echo])]) {
            try await until { shop.bus.leases >= 7 }
        }
        // Pauses of 100, 200 and 400 ms lie between the seven.
        #expect(begin.duration(to: .now) >= .milliseconds(700))
    }

    @Test("Places bound how many run at once, and one that becomes free is taken") func places() async throws
    {
        let shop = try Workshop()
        let begun = Gate()
        let end = Doorbell()
        try await shop.whileRunning([shop.executor([Self.held(begun, end)], places: 1)]) {
            let first = try await shop.order("held")
            let second = try await shop.order("held")
            await begun.waitFor(1)
            #expect(try await shop.bus.job(id: second)?.state == .ready)
            end.ring()
            await begun.waitFor(2)
            end.ring()
            #expect(try await shop.ended(first).state == .done)
            #expect(try await shop.ended(second).state == .done)
        }
    }
}

@Suite("Deaths of jobs are told, whoever was there", .timeLimit(.minutes(10))) struct JobDeathsTests {
    private func dead(_ shop: Workshop) async throws -> Job {
        let id = try await shop.order("any")
        let leased = try #require(
            try await shop.bus.lease(queue: "work", limit: 1, seconds: 30, worker: "w").first)
        try await shop.deaths.note(leased.job)
        try await shop.bus.setBack(leased.lease, .fatal("over"))
        return try #require(try await shop.bus.job(id: id))
    }

    @Test("A worker that died between its last word and the event: the event is told later, once")
    func between() async throws {
        let shop = try Workshop()
        let job = try await dead(shop)
        #expect(try await shop.outbox().events.isEmpty)
        #expect(try await shop.deaths.look() == 1)
        #expect(try await shop.deaths.look() == 0)
        try await shop.deaths.tell(job, error: "over")
        let told = try await shop.outbox().events
        #expect(told.map(\.subject) == [job.id])
        #expect(try told.first?.data.value()["error"] == "over")
    }

    @Test(
        "A worker that died before its last word: the job lives, is kept in mind, and forgotten once it is done"
    )
    func before() async throws {
        let shop = try Workshop()
        _ = try await shop.order("any")
        let leased = try #require(
            try await shop.bus.lease(queue: "work", limit: 1, seconds: 30, worker: "w").first)
        try await shop.deaths.note(leased.job)
        #expect(try await shop.deaths.look() == 1)
        #expect(try await shop.deaths.look() == 1)
        try await shop.bus.finish(leased.lease)
        #expect(try await shop.deaths.look() == 1)
        #expect(try await shop.deaths.look() == 0)
        #expect(try await shop.outbox().events.isEmpty)
    }

    @Test("A job that ends each worker that takes it is dead after its tenth lease, and that is told")
    func expired() async throws {
        let shop = try Workshop()
        let id = try await shop.order("mute")
        for _ in 1..<JobLimits.expiries {
            _ = try await shop.bus.lease(queue: "work", limit: 1, seconds: 30, worker: "w")
            shop.bus.advance(seconds: 31)
        }
        let begun = Doorbell()
        let mute = JobKind("mute") { _ in
            begun.ring()
            try await Task.sleep(for: .seconds(60))
            return nil
        }
        try await shop.whileRunning([shop.executor([mute])]) {
            await begun.wait(upTo: .seconds(60))
            shop.bus.isAway = true
        }
        shop.bus.isAway = false
        shop.bus.advance(seconds: 31)
        _ = try await shop.bus.lease(queue: "work", limit: 1, seconds: 30, worker: "w")
        #expect(try await shop.bus.job(id: id)?.state == .dead)
        #expect(try await shop.deaths.look() == 1)
        #expect(try await shop.outbox().events.map(\.subject) == [id])
    }
}
