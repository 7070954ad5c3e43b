internal import Backbone
internal import Hummingbird
internal import Logging
internal import ServiceKit

/// Jobs over HTTP.
extension BusService {
    func enqueue(_ request: Request, _ call: Call) async throws -> Response {
        let jobs = try await Self.body(request) { reader in
            try Wire.readList("jobs", &reader, limit: JobLimits.batch) { try Wire.newJob(&$0) }
        }
        let outcomes = try await store.enqueue(jobs)
        Self.tell("jobs taken", jobs.map(\.trace), call)
        for case (let job, .refused(let refusal)) in zip(jobs, outcomes) {
            call.logger.warning(
                "job refused",
                metadata: [
                    "kind": .string(String(job.kind.prefix(128))), "reason": .string(refusal.reason),
                    "request_id": .string(job.trace.requestID),
                ])
        }
        return Self.json(Wire.listBody("outcomes", outcomes) { Wire.write($0, to: &$1) })
    }

    func lease(_ request: Request, _ call: Call) async throws -> Response {
        call.notes.isRoutine = true
        let asked = try await Self.body(request) { try Wire.leaseCall(&$0) }
        let jobs = try await store.lease(
            queue: call.parameters.require("queue"), limit: asked.limit, seconds: asked.seconds,
            worker: asked.worker)
        return Self.json(Wire.listBody("jobs", jobs) { Wire.write($0, to: &$1) })
    }

    /// Answers when a job may be due. It never leases: the one who waited may be dead by now.
    func waitForJobs(_ request: Request, _ call: Call) async throws -> Response {
        call.notes.isRoutine = true
        let wait = try request.queryNumber("wait", in: 0...EventLimits.waitSeconds, fallback: 0)
        let queue = try call.parameters.require("queue")
        let mayBeDue = try await Self.waiting(wait) {
            try await store.waitForJobs(queue: queue, waitSeconds: wait)
        }
        return Self.json { writer in
            writer.beginObject()
            writer.member("mayBeDue", mayBeDue)
            writer.endObject()
        }
    }

    func finish(_ request: Request, _ call: Call) async throws -> Response {
        call.notes.isRoutine = true
        let jobs = try await Self.body(request) { reader in
            try Wire.readList("jobs", &reader, limit: JobLimits.batch) { try Wire.finished(&$0) }
        }
        return Self.json(try await store.finish(jobs))
    }

    func setBack(_ request: Request, _ call: Call) async throws -> Response {
        let jobs = try await Self.body(request) { reader in
            try Wire.readList("jobs", &reader, limit: JobLimits.batch) { try Wire.setBack(&$0) }
        }
        return Self.json(try await store.setBack(jobs))
    }

    func extend(_ request: Request, _ call: Call) async throws -> Response {
        call.notes.isRoutine = true
        let asked = try await Self.body(request) { try Wire.extendCall(&$0) }
        return Self.json(try await store.extend(asked.leases, seconds: asked.seconds))
    }

    func job(_ request: Request, _ call: Call) async throws -> Response {
        guard let job = try await store.job(id: call.parameters.require("id")) else {
            throw Problem.notFound("job")
        }
        return Self.json { Wire.write(job, to: &$0) }
    }

    func deadJobs(_ request: Request, _ call: Call) async throws -> Response {
        let jobs = try await store.deadJobs(
            queue: call.parameters.require("queue"), before: request.queryText("before"),
            limit: try request.queryNumber("limit", in: 1...JobLimits.batch, fallback: 100))
        return Self.json(Wire.listBody("jobs", jobs) { Wire.write($0, to: &$1) })
    }

    func redrive(_ request: Request, _ call: Call) async throws -> Response {
        try await store.redrive(id: call.parameters.require("id"))
        return Reply.noContent
    }

    private static func json(_ outcomes: [LeaseOutcome]) -> Response {
        json(Wire.listBody("outcomes", outcomes) { Wire.write($0, to: &$1) })
    }
}
