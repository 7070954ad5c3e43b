internal import GRDB
internal import ServiceKit

/// Endpoints and the log of deliveries, in the worker's store. Each function is a part of the caller's transaction.
struct WebhookTables: Sendable {
    var limits = WebhookLimits()

    static func register(in migrator: inout DatabaseMigrator) {
        migrator.registerMigration("worker.webhooks.1") { db in
            // Deliveries are counted as they come and go: counting them at each attempt would cost more the more there are.
            try db.execute(
                sql: """
                    CREATE TABLE webhook_endpoint (
                        id TEXT PRIMARY KEY, owner TEXT NOT NULL, url TEXT NOT NULL, description TEXT NOT NULL,
                        types TEXT NOT NULL, secret TEXT NOT NULL, previous_secret TEXT, previous_until INTEGER,
                        disabled_reason TEXT, disabled_at INTEGER, failing_since INTEGER,
                        failures INTEGER NOT NULL DEFAULT 0, created_at INTEGER NOT NULL,
                        updated_at INTEGER NOT NULL
                    ) STRICT;
                    CREATE INDEX webhook_endpoint_owner ON webhook_endpoint (owner, id);
                    CREATE INDEX webhook_endpoint_disabled ON webhook_endpoint (id) WHERE disabled_reason NOT NULL;
                    CREATE TABLE webhook_delivery (
                        seq INTEGER PRIMARY KEY AUTOINCREMENT,
                        endpoint TEXT NOT NULL REFERENCES webhook_endpoint (id) ON DELETE CASCADE,
                        message TEXT NOT NULL, type TEXT NOT NULL, attempt INTEGER NOT NULL, status INTEGER,
                        error TEXT, duration INTEGER NOT NULL, at INTEGER NOT NULL
                    ) STRICT;
                    CREATE INDEX webhook_delivery_endpoint ON webhook_delivery (endpoint, seq);
                    CREATE TABLE webhook_count (
                        id INTEGER PRIMARY KEY CHECK (id = 1), endpoints INTEGER NOT NULL, deliveries INTEGER NOT NULL
                    ) STRICT;
                    INSERT INTO webhook_count VALUES (1, 0, 0);
                    CREATE TRIGGER webhook_endpoint_in AFTER INSERT ON webhook_endpoint
                        BEGIN UPDATE webhook_count SET endpoints = endpoints + 1; END;
                    CREATE TRIGGER webhook_endpoint_out AFTER DELETE ON webhook_endpoint
                        BEGIN UPDATE webhook_count SET endpoints = endpoints - 1; END;
                    CREATE TRIGGER webhook_delivery_in AFTER INSERT ON webhook_delivery
                        BEGIN UPDATE webhook_count SET deliveries = deliveries + 1; END;
                    CREATE TRIGGER webhook_delivery_out AFTER DELETE ON webhook_delivery
                        BEGIN UPDATE webhook_count SET deliveries = deliveries - 1; END;
                    """)
        }
        migrator.registerMigration("worker.webhooks.2") { db in
            try db.execute(sql: "ALTER TABLE webhook_endpoint ADD COLUMN tested_at INTEGER")
        }
        migrator.registerMigration("worker.webhooks.3") { db in
            try db.execute(sql: "ALTER TABLE webhook_endpoint ADD COLUMN resting_until INTEGER")
        }
    }

    // MARK: - For who delivers

    /// The owner's endpoints that want to be told of events of that type, in the order in which they were made.
    func matching(_ db: Database, owner: String, type: String, now: Int64) throws -> [WebhookEndpoint] {
        try Row.fetchAll(
            db.cachedStatement(
                sql: "SELECT * FROM webhook_endpoint WHERE owner = ? AND disabled_reason IS NULL ORDER BY id"),
            arguments: [owner]
        ).map { Self.endpoint($0, now: now) }.filter { $0.wants(type) }
    }

    /// `nil` when there is none; one that is disabled is given too.
    func endpoint(_ db: Database, id: String, now: Int64) throws -> WebhookEndpoint? {
        try Row.fetchOne(
            db.cachedStatement(sql: "SELECT * FROM webhook_endpoint WHERE id = ?"), arguments: [id]
        ).map { Self.endpoint($0, now: now) }
    }

    /// Remembers an attempt. Returns the endpoint when this one was the last straw: it is disabled now, and its owner is to
    /// be told.
    func record(_ db: Database, _ attempt: WebhookAttempt) throws -> WebhookEndpoint? {
        guard let before = try endpoint(db, id: attempt.endpoint, now: attempt.at) else { return nil }
        try log(db, attempt)
        switch attempt.outcome {
        case .delivered:
            if before.failingSince != nil {
                try db.execute(
                    sql: "UPDATE webhook_endpoint SET failing_since = NULL, failures = 0 WHERE id = ?",
                    arguments: [before.id])
            }
            return nil
        case .gone:
            return try disable(db, id: before.id, .gone, now: attempt.at)
        case .failed, .refused:
            try rest(db, attempt)
            let since = before.failingSince ?? attempt.at
            let failures = try Int.fetchOne(
                db,
                sql: """
                    UPDATE webhook_endpoint SET failing_since = ?, failures = failures + 1 WHERE id = ?
                    RETURNING failures
                    """, arguments: [since, before.id])
            guard attempt.at - since >= limits.failingMilliseconds, (failures ?? 0) >= limits.failures else {
                return nil
            }
            return try disable(db, id: before.id, .failing, now: attempt.at)
        }
    }

    /// A receiver that said when to come back has said it of all its messages, not of this one.
    private func rest(_ db: Database, _ attempt: WebhookAttempt) throws {
        guard case .failed(_, _, let seconds) = attempt.outcome, seconds > 0 else { return }
        try db.execute(
            sql:
                "UPDATE webhook_endpoint SET resting_until = max(coalesce(resting_until, 0), ?) WHERE id = ?",
            arguments: [attempt.at + seconds * 1_000, attempt.endpoint])
    }

    /// Nothing more is sent to it. Returns the endpoint as it is now, `nil` when it was disabled already or is none.
    func disable(
        _ db: Database, id: String, _ reason: WebhookEndpoint.Disabling, now: Int64
    ) throws -> WebhookEndpoint? {
        try Row.fetchOne(
            db,
            sql: """
                UPDATE webhook_endpoint SET disabled_reason = :reason, disabled_at = :now, updated_at = :now
                WHERE id = :id AND disabled_reason IS NULL RETURNING *
                """, arguments: ["reason": reason.rawValue, "now": now, "id": id]
        ).map { Self.endpoint($0, now: now) }
    }

    /// All that an account has and that are not disabled yet. Returns those that were disabled by this.
    func disable(
        _ db: Database, owner: String, _ reason: WebhookEndpoint.Disabling, now: Int64
    ) throws -> [WebhookEndpoint] {
        try String.fetchAll(
            db,
            sql: "SELECT id FROM webhook_endpoint WHERE owner = ? AND disabled_reason IS NULL ORDER BY id",
            arguments: [owner]
        ).compactMap { try disable(db, id: $0, reason, now: now) }
    }

    private func log(_ db: Database, _ attempt: WebhookAttempt) throws {
        try db.execute(
            sql: """
                INSERT INTO webhook_delivery (endpoint, message, type, attempt, status, error, duration, at)
                VALUES (?, ?, ?, ?, ?, ?, ?, ?)
                """,
            arguments: [
                attempt.endpoint, attempt.message, attempt.type, attempt.number, attempt.status,
                attempt.error,
                attempt.durationMilliseconds, attempt.at,
            ])
        try db.execute(
            sql: """
                DELETE FROM webhook_delivery WHERE endpoint = :endpoint AND seq <=
                    (SELECT seq FROM webhook_delivery WHERE endpoint = :endpoint
                     ORDER BY seq DESC LIMIT 1 OFFSET :limit)
                """, arguments: ["endpoint": attempt.endpoint, "limit": limits.deliveriesPerEndpoint])
        let inAll = try counts(db).deliveries
        guard inAll > limits.deliveries else { return }
        try db.execute(
            sql: """
                DELETE FROM webhook_delivery WHERE seq IN
                    (SELECT seq FROM webhook_delivery ORDER BY seq LIMIT ?)
                """, arguments: [inAll - limits.deliveries])
    }

    // MARK: - Counts

    func counts(_ db: Database) throws -> (endpoints: Int, disabled: Int, deliveries: Int) {
        let row = try Row.fetchOne(
            db.cachedStatement(
                sql: """
                    SELECT endpoints, deliveries,
                        (SELECT count(*) FROM webhook_endpoint WHERE disabled_reason NOT NULL) AS disabled
                    FROM webhook_count
                    """))
        return (row?["endpoints"] ?? 0, row?["disabled"] ?? 0, row?["deliveries"] ?? 0)
    }

    // MARK: - Rows

    static func endpoint(_ row: Row, now: Int64) -> WebhookEndpoint {
        var secrets = [WebhookSecret(row["secret"])].compactMap { $0 }
        if let previous: String = row["previous_secret"], let until: Int64 = row["previous_until"],
            now < until,
            let secret = WebhookSecret(previous)
        {
            secrets.append(secret)
        }
        let types: String = row["types"]
        let reason: String? = row["disabled_reason"]
        return WebhookEndpoint(
            id: row["id"], owner: row["owner"], url: row["url"], description: row["description"],
            types: types.split(separator: " ").map(String.init), secrets: secrets,
            disabled: reason.map { WebhookEndpoint.Disabling(rawValue: $0) ?? .owner },
            disabledAt: row["disabled_at"], failingSince: row["failing_since"],
            restingUntil: (row["resting_until"] as Int64?).flatMap { $0 > now ? $0 : nil },
            createdAt: row["created_at"], updatedAt: row["updated_at"])
    }

    static func delivery(_ row: Row) -> WebhookDelivery {
        WebhookDelivery(
            seq: row["seq"], endpoint: row["endpoint"], message: row["message"], type: row["type"],
            attempt: row["attempt"], status: row["status"], error: row["error"],
            durationMilliseconds: row["duration"], at: row["at"])
    }
}
