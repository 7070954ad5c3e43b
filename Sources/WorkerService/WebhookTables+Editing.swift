internal import GRDB
internal import ServiceKit

/// What an owner says of an endpoint.
struct WebhookDraft: Equatable, Sendable {
    var url: String
    var types: [String]
    var description: String
}

/// What an owner changes of an endpoint; `nil` leaves as it is.
struct WebhookChange: Equatable, Sendable {
    var url: String?
    var types: [String]?
    var description: String?
    var isEnabled: Bool?
}

/// Whether something new was taken.
enum WebhookAdmission: Sendable {
    case added(WebhookEndpoint)
    /// The owner has as many as one may have.
    case ownerFull
    /// There are as many as there may be.
    case full
}

extension WebhookTables {
    func add(
        _ db: Database, owner: String, _ draft: WebhookDraft, secret: WebhookSecret = .random(), now: Int64
    ) throws -> WebhookAdmission {
        let own = try Int.fetchOne(
            db, sql: "SELECT count(*) FROM webhook_endpoint WHERE owner = ?", arguments: [owner])
        guard (own ?? 0) < limits.endpointsPerOwner else { return .ownerFull }
        guard try counts(db).endpoints < limits.endpoints else { return .full }
        let row = try Row.fetchOne(
            db,
            sql: """
                INSERT INTO webhook_endpoint (id, owner, url, description, types, secret, created_at, updated_at)
                VALUES (:id, :owner, :url, :description, :types, :secret, :now, :now) RETURNING *
                """,
            arguments: [
                "id": Identifier.make(at: now), "owner": owner, "url": draft.url,
                "description": draft.description,
                "types": draft.types.joined(separator: " "), "secret": secret.text, "now": now,
            ])
        return row.map { .added(Self.endpoint($0, now: now)) } ?? .full
    }

    /// The newest first.
    /// `owner`: `nil` lists everybody's.
    /// `before`: Only those made before the one with this id.
    func list(
        _ db: Database, owner: String?, before: String?, limit: Int, now: Int64
    ) throws -> [WebhookEndpoint] {
        try RowFilter.newest(db, of: "webhook_endpoint", owner: owner, before: before, limit: limit).map {
            Self.endpoint($0, now: now)
        }
    }

    /// Returns it as it is now; `nil` when there is none.
    func change(_ db: Database, id: String, _ change: WebhookChange, now: Int64) throws -> WebhookEndpoint? {
        let changed = try Row.fetchOne(
            db,
            sql: """
                UPDATE webhook_endpoint SET
                    resting_until = iif(coalesce(:url, url) = url, resting_until, NULL),
                    url = coalesce(:url, url), types = coalesce(:types, types),
                    description = coalesce(:description, description), updated_at = :now
                WHERE id = :id RETURNING *
                """,
            arguments: [
                "url": change.url, "types": change.types?.joined(separator: " "),
                "description": change.description,
                "now": now, "id": id,
            ])
        guard let changed else { return nil }
        switch change.isEnabled {
        case nil: return Self.endpoint(changed, now: now)
        case true?: return try enable(db, id: id, now: now)
        case false?:
            // One that was disabled for another reason stays so: that is what its owner wants to read.
            return try disable(db, id: id, .owner, now: now) ?? Self.endpoint(changed, now: now)
        }
    }

    /// It is told of events again, and its failures are forgotten.
    private func enable(_ db: Database, id: String, now: Int64) throws -> WebhookEndpoint? {
        try Row.fetchOne(
            db,
            sql: """
                UPDATE webhook_endpoint SET disabled_reason = NULL, disabled_at = NULL, failing_since = NULL,
                    failures = 0, resting_until = NULL
                WHERE id = ? RETURNING *
                """, arguments: [id]
        ).map { Self.endpoint($0, now: now) }
    }

    /// Its deliveries go with it.
    func remove(_ db: Database, id: String) throws {
        try db.execute(sql: "DELETE FROM webhook_endpoint WHERE id = ?", arguments: [id])
    }

    /// A new secret; that of before signs besides for a while. One from before that is forgotten.
    func rotate(
        _ db: Database, id: String, secret: WebhookSecret = .random(), now: Int64
    ) throws -> (endpoint: WebhookEndpoint, previousUntil: Int64)? {
        let until = now + limits.previousSecretMilliseconds
        return try Row.fetchOne(
            db,
            sql: """
                UPDATE webhook_endpoint SET previous_secret = secret, previous_until = :until, secret = :secret,
                    updated_at = :now
                WHERE id = :id RETURNING *
                """, arguments: ["until": until, "secret": secret.text, "now": now, "id": id]
        ).map { (Self.endpoint($0, now: now), until) }
    }

    /// Whether an endpoint may be tried out now; then the next may only after a pause.
    func beginTest(_ db: Database, id: String, now: Int64) throws -> Bool {
        // A clock that was put back must not lock the owner out.
        try db.execute(
            sql: """
                UPDATE webhook_endpoint SET tested_at = :now WHERE id = :id
                    AND (tested_at IS NULL OR tested_at <= :now - :pause OR tested_at > :now)
                """, arguments: ["now": now, "id": id, "pause": limits.testPauseMilliseconds])
        return db.changesCount == 1
    }

    /// The newest first, each with the URL that its endpoint has now.
    /// `owner`: `nil` lists everybody's.
    /// `before`: Only those with a lower number.
    func deliveries(
        _ db: Database, owner: String?, endpoint: String?, before: Int64?, limit: Int
    ) throws -> [(delivery: WebhookDelivery, url: String)] {
        var filter = RowFilter()
        filter.require("e.owner = ?", owner)
        filter.require("d.endpoint = ?", endpoint)
        filter.require("d.seq < ?", before)
        return try Row.fetchAll(
            db,
            sql: """
                SELECT d.*, e.url FROM webhook_delivery d JOIN webhook_endpoint e ON e.id = d.endpoint
                \(filter.sql) ORDER BY d.seq DESC LIMIT ?
                """, arguments: filter.arguments(limit: limit)
        ).map { (Self.delivery($0), $0["url"]) }
    }
}
