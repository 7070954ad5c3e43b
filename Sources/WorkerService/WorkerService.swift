public import Backbone
internal import Foundation
internal import GRDB
internal import Hummingbird
public import Logging
public import ServiceKit
internal import ServiceLifecycle

/// Jobs that the platform's services and users order: mails, webhooks, and work on texts; and what follows from events.
public struct WorkerService: Sendable {
    private let store: WorkerStore
    private let backbone: any Backbone
    private let verifier: TokenVerifier
    private let tables = WebhookTables()
    private let schedules = ScheduleTables()
    private let scheduleBell = Doorbell()
    private let addresses: AddressGuard
    private let kinds: [String: JobKind]
    private let executors: [JobExecutor]
    private let deathWatch: DeathWatch
    private let consumer: EventConsumer
    private let log: Logger

    /// `verifier`: Of the tokens of users.
    public init(
        _ settings: WorkerSettings, backbone: any Backbone, verifier: TokenVerifier, log: Logger
    ) throws {
        try self.init(
            settings, backbone: backbone, verifier: verifier, log: log, kinds: nil,
            limits: .standard(leaseSeconds: settings.leaseSeconds))
    }

    /// For tests. `kinds`: In place of those that it has as it is delivered; their names must differ.
    init(
        _ settings: WorkerSettings, backbone: any Backbone, verifier: TokenVerifier, log: Logger,
        kinds: [JobKind]?, limits: JobExecutor.Limits, deathPause: Duration = .seconds(10)
    ) throws {
        let store = try WorkerStore(directory: settings.directory)
        self.store = store
        self.backbone = backbone
        self.verifier = verifier
        self.log = log
        addresses = settings.webhookAddresses
        let known = kinds ?? Self.kinds(settings, store, tables)
        let byName = Dictionary(known.map { ($0.name, $0) }, uniquingKeysWith: { first, _ in first })
        self.kinds = byName
        let deaths = JobDeaths(store: store, backbone: backbone)
        deathWatch = DeathWatch(deaths: deaths, pause: deathPause, log: log)
        let name =
            "\(ProcessInfo.processInfo.hostName.prefix(64))/\(ProcessInfo.processInfo.processIdentifier)"
        let places = [
            (MailOrder.queue, settings.concurrency.mail), (WebhookOrder.queue, settings.concurrency.webhooks),
            (JobKind.workQueue, settings.concurrency.work),
        ]
        executors = places.map { queue, count in
            JobExecutor(
                queue: queue, kinds: byName.filter { $0.value.queue == queue }, places: Places(count),
                backbone: backbone, deaths: deaths, worker: name, limits: limits, log: log)
        }
        consumer = EventConsumer(
            group: FanOut.group, types: FanOut.types, backbone: backbone, store: store.pool, log: log,
            // A mail cannot be taken back. The bus knows the key of each job for days after its end, and not for ever.
            otherLog: .readRecent(marginMilliseconds: FanOut.rereadMilliseconds), startsWhereGroupStood: true,
            effect: FanOut(outbox: store.outbox, tables: tables, schedules: schedules, store: store.id).effect
        )
    }

    private static func kinds(
        _ settings: WorkerSettings, _ store: WorkerStore, _ tables: WebhookTables
    ) -> [JobKind] {
        // Mails have threads of their own: receivers of webhooks that hang hold up no mail.
        let mail = MailSender(
            threads: BlockingThreads(count: settings.concurrency.mail), settings: settings.mail)
        let webhooks = WebhookSender(
            threads: BlockingThreads(count: settings.concurrency.webhooks),
            addresses: settings.webhookAddresses)
        return JobKind.open + [
            .email(mail), .webhook(webhooks, store: store, tables: tables), .licence(store),
        ]
    }

    /// What it is run from.
    public var parts: ServiceParts {
        let relay = OutboxRelay(
            store.outbox, store: store.pool, backbone: backbone,
            schemas: [JobKind.webhookDisabledSchema, JobDeaths.schema, FanOut.paymentSchema], log: log)
        // Stopped in the opposite order: nothing is begun any more, and what was done is still brought away.
        var background: [any Service] = [relay, deathWatch]
        background += executors
        background.append(consumer)
        background.append(ScheduleLoop(store: store, bell: scheduleBell, log: log, tables: schedules))
        return ServiceParts(
            name: "worker", openAPI: PackageResources.openapi_json, background: background,
            hindrances: {
                var reasons: [String] = []
                if !(await verifier.prepare()) { reasons.append("keys") }
                if (try? await gauges()) == nil { reasons.append("store") }
                return reasons
            },
            gauges: { (try? await gauges()) ?? [:] },
            addRoutes: { router in
                JobRoutes(backbone: backbone, store: store, verifier: verifier, kinds: kinds).add(to: router)
                ScheduleRoutes(
                    store: store, verifier: verifier, kinds: kinds.values.filter(\.isOpen).map(\.name),
                    bell: scheduleBell, tables: schedules
                ).add(to: router)
                WebhookRoutes(store: store, verifier: verifier, addresses: addresses, tables: tables)
                    .add(to: router)
            })
    }

    private func gauges() async throws -> [String: Int] {
        var gauges = try await store.pool.read { db in
            var gauges = try store.outbox.gauges(db)
            gauges["events_parked"] = try EventConsumer.parkedCount(db, group: FanOut.group)
            gauges["jobs_in_doubt"] = try JobDeaths.count(db)
            let webhooks = try tables.counts(db)
            gauges["webhook_endpoints"] = webhooks.endpoints
            gauges["webhook_endpoints_disabled"] = webhooks.disabled
            gauges["schedules"] = try schedules.count(db)
            gauges["accounts_disabled"] = try DisabledAccounts.count(db)
            return gauges
        }
        for executor in executors { gauges["jobs_in_hand_\(executor.queue)"] = executor.places.inHand }
        return gauges
    }
}
