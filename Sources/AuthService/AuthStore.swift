internal import Foundation
internal import GRDB
internal import ServiceKit

/// An account.
struct Account: Sendable {
    let id: String
    let email: String
    let passwordHash: String
    let roles: [String]
    let isDisabled: Bool
    let createdAt: Int64
}

/// A session: a family of refresh tokens, each the successor of the one before.
struct Session: Sendable {
    let id: String
    let account: Account
    let scope: String
}

/// What became of a refresh token that was handed in.
enum Redemption: Sendable {
    case renewed(Session, refreshToken: String)
    /// Unknown, expired, or of an ended session or a disabled account.
    case refused
    /// It had been used before: somebody has a copy, so the whole family is ended (RFC 9700 §4.14.2).
    case reused(session: String)
    /// A wider scope than the session has was asked for; the token is still good.
    case scopeTooWide
}

/// The auth service's own store.
struct AuthStore: Sendable {
    static let refreshLifetimeMilliseconds: Int64 = 30 * 24 * 3_600 * 1_000
    /// The oldest session of an account makes room for one more.
    static let sessionLimit = 50

    private let pool: DatabasePool

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
        return migrator
    }

    /// The key that signs; made and kept at the first start.
    func activeSigner() throws -> TokenSigner {
        let pem = try pool.read { db in
            try String.fetchOne(db, sql: "SELECT pem FROM signing_key WHERE state = 'active'")
        }
        if let pem { return try TokenSigner(pem: pem) }
        let made = try TokenSigner()
        return try pool.write { db in
            // Another process may have been quicker; then its key is the one.
            if let pem = try String.fetchOne(db, sql: "SELECT pem FROM signing_key WHERE state = 'active'") {
                return try TokenSigner(pem: pem)
            }
            try db.execute(
                sql: "INSERT INTO signing_key (kid, pem, state, created_at) VALUES (?, ?, 'active', ?)",
                arguments: [made.kid, made.pem, Timestamp.now])
            return made
        }
    }

    /// Adds an account, or returns `nil` when the address is taken.
    func addAccount(email: String, passwordHash: String, now: Int64) async throws -> Account? {
        let account = Account(
            id: Identifier.make(at: now), email: email, passwordHash: passwordHash, roles: ["user"],
            isDisabled: false, createdAt: now)
        return try await pool.write { db in
            try db.execute(
                sql: """
                    INSERT INTO account (id, email, password_hash, roles, created_at) VALUES (?, ?, ?, ?, ?)
                    ON CONFLICT (email) DO NOTHING
                    """,
                arguments: [account.id, email, passwordHash, account.roles.joined(separator: " "), now])
            return db.changesCount == 1 ? account : nil
        }
    }

    func account(email: String) async throws -> Account? {
        try await pool.read { db in
            try Row.fetchOne(db, sql: "SELECT * FROM account WHERE email = ?", arguments: [email])
                .map(Self.account)
        }
    }

    /// The session while it lasts and its account may sign in.
    func session(id: String) async throws -> Session? {
        try await pool.read { db in try Self.session(db, id: id) }
    }

    /// Gives an account one more role, or returns `false` when there is no such account.
    func addRole(_ role: String, email: String) throws -> Bool {
        try pool.write { db in
            guard
                let row = try Row.fetchOne(
                    db, sql: "SELECT * FROM account WHERE email = ?", arguments: [email])
            else { return false }
            let account = Self.account(row)
            let roles = account.roles.filter { $0 != role } + [role]
            try db.execute(
                sql: "UPDATE account SET roles = ? WHERE id = ?",
                arguments: [roles.joined(separator: " "), account.id])
            return true
        }
    }

    /// Begins a session and makes its first refresh token.
    func beginSession(_ account: Account, scope: String, now: Int64) async throws -> (
        Session, refreshToken: String
    ) {
        let session = Session(id: Identifier.make(at: now), account: account, scope: scope)
        return try await pool.write { db in
            try Self.prune(db, account: account, now: now)
            try db.execute(
                sql: """
                    INSERT INTO session (id, account_id, scope, created_at, last_used_at) VALUES (?, ?, ?, ?, ?)
                    """, arguments: [session.id, account.id, scope, now, now])
            return (session, try Self.addRefreshToken(db, session: session.id, now: now))
        }
    }

    /// Takes a refresh token, which is good once, and makes its successor, in one transaction.
    /// `scope`: Must be within the session's; the session keeps its own (RFC 6749 §6).
    func redeem(_ refreshToken: String, scope: [String]?, now: Int64) async throws -> Redemption {
        let hash = Data(Bytes.sha256(refreshToken.utf8))
        return try await pool.write { db -> Redemption in
            guard
                let row = try Row.fetchOne(
                    db, sql: "SELECT session_id, expires_at, used_at FROM refresh_token WHERE hash = ?",
                    arguments: [hash])
            else { return .refused }
            let sessionID: String = row["session_id"]
            let usedAt: Int64? = row["used_at"]
            guard usedAt == nil else {
                try Self.end(db, session: sessionID)
                return .reused(session: sessionID)
            }
            guard row["expires_at"] > now, let session = try Self.session(db, id: sessionID) else {
                return .refused
            }
            let held = session.scope.split(separator: " ").map(String.init)
            if let scope, !scope.allSatisfy(held.contains) { return .scopeTooWide }
            try db.execute(
                sql: "UPDATE refresh_token SET used_at = ? WHERE hash = ?", arguments: [now, hash])
            try db.execute(
                sql: "UPDATE session SET last_used_at = ? WHERE id = ?", arguments: [now, sessionID])
            let narrowed = Session(
                id: session.id, account: session.account,
                scope: scope.map { $0.joined(separator: " ") } ?? session.scope)
            return .renewed(
                narrowed, refreshToken: try Self.addRefreshToken(db, session: sessionID, now: now))
        }
    }

    /// Ends a session: its refresh tokens are gone. Its access tokens last until they expire.
    func endSession(id: String) async throws {
        try await pool.write { db in try Self.end(db, session: id) }
    }

    /// Fails when the store cannot be read.
    func probe() async throws {
        _ = try await pool.read { db in try Int.fetchOne(db, sql: "SELECT 1") }
    }

    private static func end(_ db: Database, session: String) throws {
        try db.execute(sql: "DELETE FROM session WHERE id = ?", arguments: [session])
    }

    private static func addRefreshToken(_ db: Database, session: String, now: Int64) throws -> String {
        let token = Bytes.base64url(Bytes.random(32))
        try db.execute(
            sql: "INSERT INTO refresh_token (hash, session_id, expires_at) VALUES (?, ?, ?)",
            arguments: [Data(Bytes.sha256(token.utf8)), session, now + refreshLifetimeMilliseconds])
        return token
    }

    private static func prune(_ db: Database, account: Account, now: Int64) throws {
        // A session whose last token has expired is over; used tokens are kept till then, to know them again.
        try db.execute(
            sql: "DELETE FROM session WHERE account_id = ? AND last_used_at < ?",
            arguments: [account.id, now - refreshLifetimeMilliseconds])
        try db.execute(
            sql: """
                DELETE FROM session WHERE id IN (
                    SELECT id FROM session WHERE account_id = ? ORDER BY last_used_at DESC LIMIT -1 OFFSET ?)
                """, arguments: [account.id, sessionLimit - 1])
        try db.execute(sql: "DELETE FROM refresh_token WHERE expires_at < ?", arguments: [now])
    }

    private static func session(_ db: Database, id: String) throws -> Session? {
        guard
            let row = try Row.fetchOne(
                db,
                sql: """
                    SELECT account.*, session.scope AS session_scope FROM session
                    JOIN account ON account.id = session.account_id
                    WHERE session.id = ? AND account.is_disabled = 0
                    """, arguments: [id])
        else { return nil }
        return Session(id: id, account: account(row), scope: row["session_scope"])
    }

    private static func account(_ row: Row) -> Account {
        let roles: String = row["roles"]
        return Account(
            id: row["id"], email: row["email"], passwordHash: row["password_hash"],
            roles: roles.split(separator: " ").map(String.init), isDisabled: row["is_disabled"],
            createdAt: row["created_at"])
    }
}
