internal import Backbone
internal import Hummingbird
internal import Logging
internal import ServiceKit

/// Events, groups and schemas over HTTP.
extension BusService {
    func publish(_ request: Request, _ call: Call) async throws -> Response {
        let events = try await Self.body(request) { reader in
            try Wire.readList("events", &reader, limit: EventLimits.batch) { try Wire.event(&$0).event }
        }
        let outcomes = try await store.publish(events)
        Self.tell("events taken", events.map(\.trace), call)
        for case (let event, .refused(let refusal)) in zip(events, outcomes) {
            call.logger.warning(
                "event refused",
                metadata: [
                    "type": .string(String(event.type.prefix(128))), "reason": .string(refusal.reason),
                    "request_id": .string(event.trace.requestID),
                ])
        }
        return Self.json(Wire.listBody("outcomes", outcomes) { Wire.write($0, to: &$1) })
    }

    func events(_ request: Request, _ call: Call) async throws -> Response {
        guard let after = Int64(request.queryText("after") ?? "0") else {
            throw Problem(.badRequest, "invalid_query", "after must be a whole number.")
        }
        let limit = try request.queryNumber("limit", in: 1...EventLimits.page, fallback: 100)
        let wait = try request.queryNumber("wait", in: 0...EventLimits.waitSeconds, fallback: 0)
        let types = request.queryText("types").map { $0.split(separator: ",").map(String.init) }
        call.notes.isRoutine = true
        let page = try await Self.waiting(wait) {
            try await store.eventPageText(after: after, limit: limit, types: types, waitSeconds: wait)
        }
        return Self.json(page)
    }

    func putGroup(_ request: Request, _ call: Call) async throws -> Response {
        call.notes.isRoutine = true
        try await store.putGroup(
            call.parameters.require("name"), offset: try await Self.body(request) { try Wire.offset(&$0) })
        return Reply.noContent
    }

    func group(_ request: Request, _ call: Call) async throws -> Response {
        guard let group = try await store.group(call.parameters.require("name")) else {
            throw Problem.notFound("group")
        }
        return Self.json { Wire.write(group, to: &$0) }
    }

    func removeGroup(_ request: Request, _ call: Call) async throws -> Response {
        try await store.removeGroup(call.parameters.require("name"))
        return Reply.noContent
    }

    func register(_ request: Request, _ call: Call) async throws -> Response {
        try await store.register(try await Self.body(request) { try Wire.schema(&$0) })
        return Reply.noContent
    }

    func schemas(_ request: Request, _ call: Call) async throws -> Response {
        let schemas = try await store.schemas()
        return Self.json(Wire.listBody("schemas", schemas) { Wire.write($0, to: &$1) })
    }
}
