internal import Foundation
internal import GRDB
internal import ServiceKit

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

/// Where a session is, as its owner's list of sessions tells it.
struct Whereabouts: Sendable {
    static let agentLimitBytes = 200

    let address: String
    /// The `User-Agent` field, cut short.
    let agent: String

    init(address: String, agent: String?) {
        self.address = address
        self.agent = String(decoding: (agent ?? "").utf8.prefix(Self.agentLimitBytes), as: UTF8.self)
    }
}

/// One line of the list of sessions.
struct SessionEntry: Sendable {
    let id: String
    let scope: String
    let address: String
    let agent: String
    let createdAt: Int64
    let lastUsedAt: Int64
}

/// A refresh token as introspection tells it.
struct KnownRefreshToken: Sendable {
    let session: Session
    let expiresAt: Int64
}

extension AuthStore {
    static let refreshLifetimeMilliseconds: Int64 = 30 * 24 * 3_600 * 1_000
    /// The oldest session of an account makes room for one more.
    static let sessionLimit = 50
    /// A client whose answer was lost may ask once more for so long.
    static let graceMilliseconds: Int64 = 10_000
    /// How many successors one token may have in that time, each in place of the one before.
    static let successorLimit = 3
    /// How many used tokens of a session are kept, to know them again. An older one is refused like an unknown one.
    static let usedTokenLimit = 4_096

    /// The session while it lasts and its account may sign in.
    func session(id: String) async throws -> Session? {
        try await pool.read { db in try Self.session(db, id: id) }
    }

    /// Begins a session and makes its first refresh token. `nil` when the account was disabled, or its password changed,
    /// since it was read: a sign-in that was slow must not outlive the change.
    func beginSession(_ account: Account, scope: String, at place: Whereabouts, now: Int64) async throws
        -> (Session, refreshToken: String)?
    {
        let session = Session(id: Identifier.make(at: now), account: account, scope: scope)
        return try await pool.write { db in
            guard
                try Bool.fetchOne(
                    db,
                    sql: """
                        SELECT EXISTS (
                            SELECT 1 FROM account WHERE id = ? AND is_disabled = 0 AND password_hash = ?)
                        """, arguments: [account.id, account.passwordHash]) == true
            else { return nil }
            try Self.prune(db, account: account.id, now: now)
            try db.execute(
                sql: """
                    INSERT INTO session (id, account_id, scope, created_at, last_used_at, address, agent)
                    VALUES (?, ?, ?, ?, ?, ?, ?)
                    """,
                arguments: [session.id, account.id, scope, now, now, place.address, place.agent])
            let token = Bytes.base64url(Bytes.random(32))
            try Self.addRefreshToken(db, token, session: session.id, number: 1, now: now)
            return (session, token)
        }
    }

    /// Takes a refresh token, which is good once, and makes its successor, in one transaction.
    ///
    /// For `graceMilliseconds` it may be handed in again, until its successor is used: who lost an answer need not sign in
    /// again. The same address gets the same successor. Another one (a telephone that has left the house) gets a new one
    /// in its place: if two have the token, each holds a successor of his own, and whoever comes with the one that was
    /// replaced ends the family, however close behind the other he comes.
    /// `scope`: Must be within the session's; the session keeps its own (RFC 6749 §6).
    func redeem(
        _ refreshToken: String, scope: [String]?, from address: String, now: Int64, trace: Trace
    ) async throws -> Redemption {
        let hash = Data(Bytes.sha256(refreshToken.utf8))
        return try await pool.write { db -> Redemption in
            guard
                let row = try Row.fetchOne(
                    db, sql: "SELECT * FROM refresh_token WHERE hash = ?", arguments: [hash])
            else { return .refused }
            let sessionID: String = row["session_id"]
            let session = try Self.session(db, id: sessionID)
            let held = session?.scope.split(separator: " ").map(String.init) ?? []
            let isTooWide = scope.map { !$0.allSatisfy(held.contains) } ?? false

            if row["used_at"] as Int64? != nil {
                guard let unused = try Self.unusedSuccessor(db, of: refreshToken, row, now: now) else {
                    return try endReused(db, session: sessionID, now: now, trace: trace)
                }
                guard let session else { return .refused }
                if isTooWide { return .scopeTooWide }
                let isSameAddress = row["used_from"] as String? == address
                guard
                    let successor = isSameAddress
                        ? unused
                        : try Self.replacement(
                            db, of: unused, refreshToken: refreshToken, row, for: address, now: now)
                else {
                    return try endReused(db, session: sessionID, now: now, trace: trace)
                }
                return .renewed(session.narrowed(to: scope), refreshToken: successor)
            }

            guard row["expires_at"] > now, let session else { return .refused }
            if isTooWide { return .scopeTooWide }
            let salt = Bytes.random(32)
            let successor = Self.successor(of: refreshToken, salt: salt)
            let number: Int = row["number"]
            try db.execute(
                sql: "UPDATE refresh_token SET used_at = ?, used_from = ?, salt = ? WHERE hash = ?",
                arguments: [now, address, Data(salt), hash])
            // The one before has no grace left: from its text nothing more is to be made.
            try db.execute(
                sql: "UPDATE refresh_token SET salt = NULL WHERE session_id = ? AND number = ?",
                arguments: [sessionID, number - 1])
            try Self.addRefreshToken(db, successor, session: sessionID, number: number + 1, now: now)
            try db.execute(
                sql: "DELETE FROM refresh_token WHERE session_id = ? AND number <= ?",
                arguments: [sessionID, number - Self.usedTokenLimit])
            try db.execute(
                sql: "UPDATE session SET last_used_at = ? WHERE id = ?", arguments: [now, sessionID])
            return .renewed(session.narrowed(to: scope), refreshToken: successor)
        }
    }

    /// The sessions of an account that can still be renewed, the last used first.
    func sessions(account: String, now: Int64) async throws -> [SessionEntry] {
        try await pool.read { db in
            try Row.fetchAll(
                db,
                sql: """
                    SELECT * FROM session WHERE account_id = ? AND last_used_at > ?
                    ORDER BY last_used_at DESC, id DESC LIMIT ?
                    """,
                arguments: [account, now - Self.refreshLifetimeMilliseconds, Self.sessionLimit]
            ).map { row in
                SessionEntry(
                    id: row["id"], scope: row["scope"], address: row["address"], agent: row["agent"],
                    createdAt: row["created_at"], lastUsedAt: row["last_used_at"])
            }
        }
    }

    /// Ends a session: its refresh tokens are gone. Its access tokens last until they expire.
    /// `account`: Whose session it must be. Returns `false` when that account has no such session.
    func endSession(id: String, account: String) async throws -> Bool {
        try await pool.write { db in
            try db.execute(
                sql: "DELETE FROM session WHERE id = ? AND account_id = ?", arguments: [id, account])
            return db.changesCount == 1
        }
    }

    /// Ends the session that a refresh token belongs to, be it used or not.
    func endSession(refreshToken: String) async throws {
        let hash = Data(Bytes.sha256(refreshToken.utf8))
        try await pool.write { db in
            try db.execute(
                sql: """
                    DELETE FROM session WHERE id = (SELECT session_id FROM refresh_token WHERE hash = ?)
                    """, arguments: [hash])
        }
    }

    /// A refresh token that would be renewed now.
    func known(refreshToken: String, now: Int64) async throws -> KnownRefreshToken? {
        let hash = Data(Bytes.sha256(refreshToken.utf8))
        return try await pool.read { db in
            guard
                let row = try Row.fetchOne(
                    db,
                    sql: """
                        SELECT session_id, expires_at FROM refresh_token
                        WHERE hash = ? AND used_at IS NULL AND expires_at > ?
                        """, arguments: [hash, now]),
                let session = try Self.session(db, id: row["session_id"])
            else { return nil }
            return KnownRefreshToken(session: session, expiresAt: row["expires_at"])
        }
    }

    /// Ends a session of which a refresh token was used twice, and tells it.
    private func endReused(_ db: Database, session: String, now: Int64, trace: Trace) throws -> Redemption {
        let account = try String.fetchOne(
            db, sql: "DELETE FROM session WHERE id = ? RETURNING account_id", arguments: [session])
        if let account {
            try tell(
                db, orDrop: Told.refreshReuse(session: session, account: account, now: now, trace: trace))
        }
        return .reused(session: session)
    }

    /// `except`: A session that goes on.
    static func endSessions(_ db: Database, account: String, except: String? = nil) throws {
        try db.execute(
            sql: "DELETE FROM session WHERE account_id = ? AND id IS NOT ?", arguments: [account, except])
    }

    /// Made from the token's own text and a salt, so that it can be told again while nothing that is stored tells it.
    private static func successor(of refreshToken: String, salt: [UInt8]) -> String {
        Bytes.base64url(Bytes.hmacSHA256(key: Array(refreshToken.utf8), salt))
    }

    private static func unusedSuccessor(
        _ db: Database, of refreshToken: String, _ row: Row, now: Int64
    ) throws -> String? {
        // A clock that was set back a little is no thief.
        guard let usedAt = row["used_at"] as Int64?,
            (-graceMilliseconds...graceMilliseconds).contains(now - usedAt), let salt = row["salt"] as Data?
        else { return nil }
        let successor = successor(of: refreshToken, salt: [UInt8](salt))
        let isUnused = try Bool.fetchOne(
            db, sql: "SELECT EXISTS (SELECT 1 FROM refresh_token WHERE hash = ? AND used_at IS NULL)",
            arguments: [Data(Bytes.sha256(successor.utf8))])
        return isUnused == true ? successor : nil
    }

    /// Another successor in place of `unused`, which counts as used from now on. The time for it runs from the first use
    /// of the token. Returns `nil` when there were too many.
    private static func replacement(
        _ db: Database, of unused: String, refreshToken: String, _ row: Row, for address: String, now: Int64
    ) throws -> String? {
        let session: String = row["session_id"]
        let number: Int = row["number"] + 1
        let count = try Int.fetchOne(
            db, sql: "SELECT count(*) FROM refresh_token WHERE session_id = ? AND number = ?",
            arguments: [session, number])
        guard count ?? 0 < successorLimit else { return nil }
        try db.execute(
            sql: "UPDATE refresh_token SET used_at = ? WHERE hash = ?",
            arguments: [now, Data(Bytes.sha256(unused.utf8))])
        let salt = Bytes.random(32)
        try db.execute(
            sql: "UPDATE refresh_token SET used_from = ?, salt = ? WHERE hash = ?",
            arguments: [address, Data(salt), row["hash"] as Data])
        let successor = successor(of: refreshToken, salt: salt)
        try addRefreshToken(db, successor, session: session, number: number, now: now)
        return successor
    }

    private static func addRefreshToken(
        _ db: Database, _ token: String, session: String, number: Int, now: Int64
    ) throws {
        try db.execute(
            sql: "INSERT INTO refresh_token (hash, session_id, expires_at, number) VALUES (?, ?, ?, ?)",
            arguments: [
                Data(Bytes.sha256(token.utf8)), session, now + refreshLifetimeMilliseconds, number,
            ])
    }

    private static func prune(_ db: Database, account: String, now: Int64) throws {
        // A session whose last token has expired is over; used tokens are kept till then, to know them again.
        try db.execute(
            sql: "DELETE FROM session WHERE account_id = ? AND last_used_at < ?",
            arguments: [account, now - refreshLifetimeMilliseconds])
        try db.execute(
            sql: """
                DELETE FROM session WHERE id IN (
                    SELECT id FROM session WHERE account_id = ? ORDER BY last_used_at DESC LIMIT -1 OFFSET ?)
                """, arguments: [account, sessionLimit - 1])
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
        return Session(id: id, account: Account(row), scope: row["session_scope"])
    }
}

extension Session {
    fileprivate func narrowed(to scope: [String]?) -> Session {
        guard let scope else { return self }
        return Session(id: id, account: account, scope: scope.joined(separator: " "))
    }
}
