internal import Backbone
internal import Foundation
internal import GRDB
internal import ServiceKit
internal import Synchronization

/// An account.
struct Account: Sendable {
    let id: String
    let email: String
    let passwordHash: String
    let displayName: String
    let roles: [String]
    let isDisabled: Bool
    /// Whether somebody has read a letter to its address.
    let isEmailVerified: Bool
    let createdAt: Int64

    init(_ row: Row) {
        let roles: String = row["roles"]
        id = row["id"]
        email = row["email"]
        passwordHash = row["password_hash"]
        displayName = row["display_name"]
        self.roles = roles.split(separator: " ").map(String.init)
        isDisabled = row["is_disabled"]
        isEmailVerified = row["email_verified"]
        createdAt = row["created_at"]
    }

    var isAdministrator: Bool { roles.contains("admin") }
}

/// Counts events that found the outbox full, since the start.
private final class Untold: Sendable {
    private let cell = Mutex(0)

    var count: Int { cell.withLock { $0 } }
    func add() { cell.withLock { $0 &+= 1 } }
}

/// The auth service's own store. Each of its functions is one transaction.
struct AuthStore: Sendable {
    let pool: DatabasePool
    let outbox: Outbox
    /// Rings when a new password has been asked for.
    let resetBell = Doorbell()
    private let untold = Untold()

    init(directory: URL, outbox: Outbox = Outbox()) throws {
        self.outbox = outbox
        pool = try Store.open(directory: directory, name: "auth", migrations: Self.migrations)
    }

    private static var migrations: DatabaseMigrator {
        var migrator = DatabaseMigrator()
        migrator.registerMigration("1") { db in
            try db.execute(
                sql: """
                    CREATE TABLE account (
                        id TEXT PRIMARY KEY, email TEXT NOT NULL UNIQUE, password_hash TEXT NOT NULL,
                        roles TEXT NOT NULL, is_disabled INTEGER NOT NULL DEFAULT 0, created_at INTEGER NOT NULL
                    ) STRICT;
                    CREATE TABLE session (
                        id TEXT PRIMARY KEY, account_id TEXT NOT NULL REFERENCES account ON DELETE CASCADE,
                        scope TEXT NOT NULL, created_at INTEGER NOT NULL, last_used_at INTEGER NOT NULL
                    ) STRICT;
                    CREATE INDEX session_account ON session (account_id, last_used_at);
                    CREATE TABLE refresh_token (
                        hash BLOB PRIMARY KEY, session_id TEXT NOT NULL REFERENCES session ON DELETE CASCADE,
                        expires_at INTEGER NOT NULL, used_at INTEGER
                    ) STRICT;
                    CREATE INDEX refresh_token_session ON refresh_token (session_id);
                    CREATE INDEX refresh_token_expiry ON refresh_token (expires_at);
                    CREATE TABLE signing_key (
                        kid TEXT PRIMARY KEY, pem TEXT NOT NULL, state TEXT NOT NULL, created_at INTEGER NOT NULL
                    ) STRICT;
                    """)
        }
        migrator.registerMigration("2") { db in
            try db.execute(
                sql: """
                    ALTER TABLE account ADD COLUMN display_name TEXT NOT NULL DEFAULT '';
                    ALTER TABLE session ADD COLUMN address TEXT NOT NULL DEFAULT '';
                    ALTER TABLE session ADD COLUMN agent TEXT NOT NULL DEFAULT '';
                    ALTER TABLE refresh_token ADD COLUMN number INTEGER NOT NULL DEFAULT 0;
                    ALTER TABLE refresh_token ADD COLUMN used_from TEXT;
                    ALTER TABLE refresh_token ADD COLUMN salt BLOB;
                    DROP INDEX refresh_token_session;
                    CREATE INDEX refresh_token_session ON refresh_token (session_id, number);
                    ALTER TABLE signing_key ADD COLUMN published BLOB;
                    ALTER TABLE signing_key ADD COLUMN active_at INTEGER;
                    ALTER TABLE signing_key ADD COLUMN retired_at INTEGER;
                    CREATE UNIQUE INDEX signing_key_state ON signing_key (state) WHERE state <> 'retired';
                    """)
        }
        migrator.registerMigration("3") { db in
            try db.execute(
                sql: """
                    ALTER TABLE account ADD COLUMN email_verified INTEGER NOT NULL DEFAULT 0;
                    CREATE TABLE one_time_token (
                        hash BLOB PRIMARY KEY, purpose TEXT NOT NULL,
                        account_id TEXT NOT NULL REFERENCES account ON DELETE CASCADE,
                        created_at INTEGER NOT NULL, expires_at INTEGER NOT NULL
                    ) STRICT;
                    CREATE INDEX one_time_token_account ON one_time_token (account_id, purpose, created_at);
                    CREATE INDEX one_time_token_expiry ON one_time_token (expires_at);
                    CREATE TABLE reset_request (
                        seq INTEGER PRIMARY KEY AUTOINCREMENT, email TEXT NOT NULL, correlation TEXT NOT NULL,
                        traceparent TEXT
                    ) STRICT;
                    """)
        }
        Outbox.register(in: &migrator)
        return migrator
    }

    /// For what happens whether or not it can be told: a revocation that waited until the bus is back would be none. The
    /// log has it all the same.
    func tell(_ db: Database, orDrop event: Event, reserve: Int = 0) throws {
        if try !outbox.appendIfRoom(db, events: [event], reserve: reserve) { untold.add() }
    }

    /// Rows of the outbox beyond its limit, for the disabling of accounts: administrators do that by hand, and others go by it.
    static let disablingReserve = 1_000

    /// Values of this moment, for the metrics.
    func gauges() async throws -> [String: Int] {
        try await pool.read { [outbox, untold] db in
            var gauges = try outbox.gauges(db)
            gauges["events_dropped"] = untold.count
            gauges["reset_requests_waiting"] = try Int.fetchOne(db, sql: "SELECT count(*) FROM reset_request")
            return gauges
        }
    }

    /// Fails when the store cannot be read.
    func probe() async throws {
        _ = try await pool.read { db in try Int.fetchOne(db, sql: "SELECT 1") }
    }
}
