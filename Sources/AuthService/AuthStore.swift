internal import Foundation
internal import GRDB
internal import ServiceKit

/// An account.
struct Account: Sendable {
    let id: String
    let email: String
    let passwordHash: String
    let displayName: String
    let roles: [String]
    let isDisabled: Bool
    let createdAt: Int64

    init(_ row: Row) {
        let roles: String = row["roles"]
        id = row["id"]
        email = row["email"]
        passwordHash = row["password_hash"]
        displayName = row["display_name"]
        self.roles = roles.split(separator: " ").map(String.init)
        isDisabled = row["is_disabled"]
        createdAt = row["created_at"]
    }

    var isAdministrator: Bool { roles.contains("admin") }
}

/// The auth service's own store. Each of its functions is one transaction.
struct AuthStore: Sendable {
    let pool: DatabasePool

    init(directory: URL) throws {
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
        return migrator
    }

    /// Fails when the store cannot be read.
    func probe() async throws {
        _ = try await pool.read { db in try Int.fetchOne(db, sql: "SELECT 1") }
    }
}
