import Backbone
import BusService
import Foundation
import GRDB
import Logging
import ServiceKit
import Synchronization
import Testing

@testable import AuthService

/// A clock that the test moves on.
final class Clock: Sendable {
    private let ahead = Mutex<Int64>(0)

    var now: Int64 { Timestamp.now + ahead.withLock { $0 } }

    func advance(seconds: Int64) { ahead.withLock { $0 += seconds * 1_000 } }
}

/// A bus that is away when the test says so.
final class SwitchedBus: Backbone, Sendable {
    let store: BusStore
    private let away = Mutex(false)

    init(directory: URL) throws { store = try BusStore(directory: directory) }

    var isAway: Bool {
        get { away.withLock { $0 } }
        set { away.withLock { $0 = newValue } }
    }

    private func reached() throws -> BusStore {
        if isAway { throw BackboneError.unavailable("away") }
        return store
    }

    func publish(_ events: [Event]) async throws -> [PublishOutcome] { try await reached().publish(events) }
    func events(after offset: Int64, limit: Int, types: [String]?, waitSeconds: Int) async throws -> EventPage
    {
        try await reached().events(after: offset, limit: limit, types: types, waitSeconds: waitSeconds)
    }
    func putGroup(_ name: String, offset: Int64) async throws {
        try await reached().putGroup(name, offset: offset)
    }
    func group(_ name: String) async throws -> ConsumerGroup? { try await reached().group(name) }
    func removeGroup(_ name: String) async throws { try await reached().removeGroup(name) }
    func register(_ schema: EventSchema) async throws { try await reached().register(schema) }
    func schemas() async throws -> [EventSchema] { try await reached().schemas() }
    func enqueue(_ jobs: [NewJob]) async throws -> [EnqueueOutcome] { try await reached().enqueue(jobs) }
    func lease(queue: String, limit: Int, seconds: Int, worker: String) async throws -> [LeasedJob] {
        try await reached().lease(queue: queue, limit: limit, seconds: seconds, worker: worker)
    }
    func waitForJobs(queue: String, waitSeconds: Int) async throws -> Bool {
        try await reached().waitForJobs(queue: queue, waitSeconds: waitSeconds)
    }
    func finish(_ jobs: [(lease: Lease, result: JSONText?)]) async throws -> [LeaseOutcome] {
        try await reached().finish(jobs)
    }
    func setBack(_ jobs: [(lease: Lease, setback: JobSetback)]) async throws -> [LeaseOutcome] {
        try await reached().setBack(jobs)
    }
    func extend(_ leases: [Lease], seconds: Int) async throws -> [LeaseOutcome] {
        try await reached().extend(leases, seconds: seconds)
    }
    func job(id: String) async throws -> Job? { try await reached().job(id: id) }
    func deadJobs(queue: String, before: String?, limit: Int) async throws -> [Job] {
        try await reached().deadJobs(queue: queue, before: before, limit: limit)
    }
    func redrive(id: String) async throws { try await reached().redrive(id: id) }
    func stats() async throws -> BackboneStats { try await reached().stats() }
}

/// Who takes the letters off the bus.
actor Postbox {
    private let bus: BusStore
    private var letters: [Job] = []

    init(_ bus: BusStore) { self.bus = bus }

    /// The next letter of that template to that address; waits for it.
    func letter(_ template: String, to address: String) async throws -> Job {
        for _ in 0..<30 {
            if let index = letters.firstIndex(where: { Self.fits($0, template, address) }) {
                return letters.remove(at: index)
            }
            _ = try await bus.waitForJobs(queue: "mail", waitSeconds: 1)
            try await empty()
        }
        throw Missing(template: template, address: address)
    }

    /// How many letters to that address came and were not taken.
    func count(to address: String) async throws -> Int {
        try await empty()
        return letters.filter { Self.fits($0, nil, address) }.count
    }

    private func empty() async throws {
        for leased in try await bus.lease(queue: "mail", limit: 100, seconds: 60, worker: "test") {
            letters.append(leased.job)
            try await bus.finish(leased.lease)
        }
    }

    private static func fits(_ job: Job, _ template: String?, _ address: String) -> Bool {
        let payload = try? job.payload.value()
        return job.kind == "email" && payload?["to"]?.asText == address
            && (template == nil || payload?["template"]?.asText == template)
    }

    struct Missing: Error {
        let template: String
        let address: String
    }
}

extension Job {
    /// The token that a letter brings.
    var token: String { (try? payload.value())?["values"]?["token"]?.asText ?? "" }
}

/// What was logged.
final class LogLines: Sendable {
    private let cell = Mutex<[String]>([])

    var all: [String] { cell.withLock { $0 } }
    func add(_ line: [UInt8]) { cell.withLock { $0.append(String(decoding: line, as: UTF8.self)) } }
}

/// A store with its keys, made once: making two keys costs more than the rest of a test.
private enum Template {
    static let file = Task {
        let directory = House.directory()
        let store = try AuthStore(directory: directory)
        _ = try store.keys(now: Timestamp.now)
        try store.pool.close()
        let bytes = try Data(contentsOf: directory.appending(path: "auth.sqlite"))
        try FileManager.default.removeItem(at: directory)
        return bytes
    }

    /// Puts one where none is.
    static func put(into directory: URL) async throws {
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        let place = directory.appending(path: "auth.sqlite")
        guard !FileManager.default.fileExists(atPath: place.path(percentEncoded: false)) else { return }
        try await file.value.write(to: place)
    }
}

/// The auth service, running, with its store, its clock and its bus.
struct House: Sendable {
    static let password = "correct horse battery"
    static let issuer = "https://auth.test"
    static let serviceSecret = "the-secret-of-the-services"

    let origin: Origin
    let directory: URL
    let clock: Clock
    let service: AuthService
    let bus: SwitchedBus
    let post: Postbox
    let lines: LogLines

    static func directory() -> URL {
        FileManager.default.temporaryDirectory.appending(path: "gatehouse-\(Identifier.make())")
    }

    func ask(
        _ method: String, _ path: String, token: String? = nil, json: String? = nil, form: String? = nil,
        from address: String? = nil, fields: [(String, String)] = []
    ) async throws -> OutboundClient.Answer {
        var fields = fields
        if let token { fields.append(("Authorization", "Bearer \(token)")) }
        if json != nil { fields.append(("Content-Type", "application/json")) }
        if form != nil { fields.append(("Content-Type", "application/x-www-form-urlencoded")) }
        if let address { fields.append(("X-Forwarded-For", address)) }
        let answer = try await OutboundClient(timeout: .seconds(600), connectTimeout: .seconds(600)).send(
            method, origin, path, fields: fields, body: (json ?? form).map { Data($0.utf8) })
        // Whatever a test provokes must be in the interface's description.
        let statuses = Interface.statuses(method, path)
        #expect(statuses?.contains(answer.status) ?? true, "\(method) \(path) \(answer.status)")
        return answer
    }

    @discardableResult
    func register(_ email: String, prefix: String = "/auth") async throws -> OutboundClient.Answer {
        try await ask(
            "POST", "\(prefix)/register", json: "{\"email\":\"\(email)\",\"password\":\"\(Self.password)\"}")
    }

    func tokens(_ form: String, from address: String? = nil) async throws -> OutboundClient.Answer {
        try await ask("POST", "/auth/token", form: form, from: address)
    }

    func signIn(
        _ email: String, password: String = House.password, from address: String? = nil,
        fields: [(String, String)] = []
    ) async throws -> OutboundClient.Answer {
        let form =
            "grant_type=password&username=\(email)&password=\(password.replacingOccurrences(of: " ", with: "+"))"
        return try await ask("POST", "/auth/token", form: form, from: address, fields: fields)
    }

    func renew(_ refreshToken: String, from address: String? = nil) async throws -> OutboundClient.Answer {
        try await tokens("grant_type=refresh_token&refresh_token=\(refreshToken)", from: address)
    }

    /// A new account, signed in.
    func newcomer(_ email: String) async throws -> (id: String, access: String, refresh: String) {
        let id = try await register(email).text("id")
        let answer = try await signIn(email)
        return (
            try #require(id), try #require(answer.text("access_token")),
            try #require(answer.text("refresh_token"))
        )
    }

    /// A new account with the role `admin`, signed in.
    func administrator() async throws -> (id: String, access: String) {
        let id = try await register("root@example.com").text("id")
        #expect(try AuthService.grant(role: "admin", email: "root@example.com", directory: directory))
        return (
            try #require(id), try #require(try await signIn("root@example.com").text("access_token"))
        )
    }

    /// The token of the next letter.
    func token(_ template: String, to address: String) async throws -> String {
        try await post.letter(template, to: address).token
    }

    func verify(_ token: String) async throws -> OutboundClient.Answer {
        try await ask("POST", "/auth/email/verify", json: JSONText(["token": .text(token)]).text)
    }

    func forget(_ email: String, from address: String? = nil) async throws -> OutboundClient.Answer {
        try await ask(
            "POST", "/auth/password/forgot", json: JSONText(["email": .text(email)]).text, from: address)
    }

    func reset(_ token: String, _ password: String) async throws -> OutboundClient.Answer {
        try await ask(
            "POST", "/auth/password/reset",
            json: JSONText(["token": .text(token), "password": .text(password)]).text)
    }

    /// The events of the log, once nothing waits any more.
    func events() async throws -> [Event] {
        try await untilToldAll()
        return try await bus.store.events(after: 0, limit: 100, types: nil, waitSeconds: 0).events.map(
            \.event)
    }

    /// Returns when nothing waits to be looked at or to be told.
    func untilToldAll() async throws {
        while true {
            let gauges = try await service.store.gauges()
            if gauges["outbox_waiting"] == 0, gauges["reset_requests_waiting"] == 0 { return }
            try await Task.sleep(for: .milliseconds(2))
        }
    }

    func introspect(_ token: String, secret: String = House.serviceSecret) async throws
        -> OutboundClient.Answer
    {
        try await ask("POST", "/auth/introspect", token: secret, form: "token=\(token)")
    }
}

func withHouse<Outcome: Sendable>(
    directory: URL? = nil, change: (inout AuthSettings) -> Void = { _ in },
    _ body: @escaping @Sendable (House) async throws -> Outcome
) async throws -> Outcome {
    let lines = LogLines()
    var log = Logger(label: "auth") { ServiceLog(service: $0, write: lines.add) }
    log.logLevel = .trace
    let place = directory ?? House.directory()
    defer { if directory == nil { try? FileManager.default.removeItem(at: place) } }
    try await Template.put(into: place)
    let clock = Clock()
    var settings = AuthSettings(
        directory: place, issuer: House.issuer, audience: "test",
        serviceToken: ServiceToken(House.serviceSecret), clock: { clock.now })
    change(&settings)
    let bus = try SwitchedBus(directory: place)
    let service = try await AuthService(settings, backbone: bus, log: log)
    return try await withRunning(service.parts, log: log) { origin in
        try await body(
            House(
                origin: origin, directory: place, clock: clock, service: service, bus: bus,
                post: Postbox(bus.store), lines: lines))
    }
}

extension OutboundClient.Answer {
    /// The body as a JSON object; empty when it is none.
    var object: [String: Any] {
        (try? JSONSerialization.jsonObject(with: body)) as? [String: Any] ?? [:]
    }

    func text(_ name: String) -> String? { object[name] as? String }
    func list(_ name: String) -> [[String: Any]] { object[name] as? [[String: Any]] ?? [] }
}
