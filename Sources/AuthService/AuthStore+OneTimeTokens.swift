internal import Backbone
internal import Foundation
internal import GRDB
internal import HTTPTypes
internal import ServiceKit

/// What a one-time token is good for; it also names the letter that brings it.
enum TokenPurpose: String, Sendable {
    case verification
    case reset

    /// A letter may lie for a day; one that opens the account may not.
    var lifetimeMilliseconds: Int64 {
        switch self {
        case .verification: 24 * 3_600 * 1_000
        case .reset: 3_600 * 1_000
        }
    }

    /// Attempts at the letter: with the pauses of whoever sends it (5 s, 30 s, 2, 10 and 30 min, then 1 h each) about as long
    /// as it is worth anything.
    var letterFailures: Int {
        switch self {
        case .verification: 12
        case .reset: 7
        }
    }
}

/// What became of a letter that was asked for.
enum LetterOutcome: Equatable, Sendable {
    case sent(account: String)
    /// The address is verified already.
    case needless
    /// The account has had enough letters: the seconds until the next.
    case tooMany(seconds: Int)
    /// There is no such account, or it is disabled.
    case noAccount
}

/// A new password that somebody has asked for, before anybody has looked whether there is such an account.
struct ResetRequest: Sendable {
    let email: String
    let trace: Trace

    init(_ row: Row) {
        email = row["email"]
        trace = Trace(requestID: row["correlation"], traceparent: row["traceparent"])
    }
}

/// One-time tokens: 32 random bytes, of which the store has only the digest, with their purpose, account and time. They are
/// random and not signed, because single use needs a row in any case, and what only its digest tells needs no key.
extension AuthStore {
    /// Letters of one purpose that an account gets within an hour. Counted in the store: a restart forgets nothing, and no
    /// crowd of addresses pushes a count out of a table.
    static let lettersPerHour = 3
    private static let hourMilliseconds: Int64 = 3_600 * 1_000
    /// Requests for a new password that wait to be looked at.
    static let resetRequestLimit = 1_000

    /// The letter that verifies the address, once more.
    func sendVerification(account id: String, now: Int64, trace: Trace) async throws -> LetterOutcome {
        try await pool.write { db in
            guard let account = try Self.account(db, id: id), !account.isDisabled else { return .noAccount }
            guard !account.isEmailVerified else { return .needless }
            return try send(db, .verification, to: account, now: now, trace: trace)
        }
    }

    /// Notes that somebody asks for a new password. It looks at no account, so that its time tells of none.
    /// Throws `Problem` 503 when too many wait.
    func askForReset(email: String, trace: Trace) async throws {
        try await pool.write { db in
            let count = try Int.fetchOne(db, sql: "SELECT count(*) FROM reset_request")
            guard count ?? 0 < Self.resetRequestLimit else {
                throw Problem.retryLater(
                    .serviceUnavailable, "too_many_resets", "Too many new passwords are asked for.",
                    afterSeconds: 5)
            }
            try db.execute(
                sql: "INSERT INTO reset_request (email, correlation, traceparent) VALUES (?, ?, ?)",
                arguments: [email, trace.requestID, trace.traceparent])
            db.afterNextTransaction { [resetBell] _ in resetBell.ring() }
        }
    }

    /// Answers the request that has waited longest: a letter, if there is such an account. Returns `nil` when none waits.
    /// Throws `Problem` 503 `outbox_full`, and then the request waits on.
    func answerResetRequest(now: Int64) async throws -> (ResetRequest, LetterOutcome)? {
        try await pool.write { db in
            guard
                let row = try Row.fetchOne(
                    db,
                    sql: """
                        DELETE FROM reset_request WHERE seq = (SELECT min(seq) FROM reset_request) RETURNING *
                        """)
            else { return nil }
            let request = ResetRequest(row)
            guard
                let account = try Row.fetchOne(
                    db, sql: "SELECT * FROM account WHERE email = ? AND is_disabled = 0",
                    arguments: [request.email]
                ).map(Account.init)
            else { return (request, .noAccount) }
            return (request, try send(db, .reset, to: account, now: now, trace: request.trace))
        }
    }

    /// The account that a token is for, which stays good.
    func account(of token: String, for purpose: TokenPurpose, now: Int64) async throws -> Account? {
        try await pool.read { db in
            try Row.fetchOne(
                db,
                sql: """
                    SELECT account.* FROM one_time_token JOIN account ON account.id = account_id
                    WHERE hash = ? AND purpose = ? AND expires_at > ? AND is_disabled = 0
                    """, arguments: [Self.digest(token), purpose.rawValue, now]
            ).map(Account.init)
        }
    }

    /// Spends a token: whoever has it can read the mail of its account. Returns `nil` when the token is good for nothing.
    func verifyEmail(_ token: String, now: Int64) async throws -> Account? {
        try await pool.write { db in
            guard let account = try Self.spend(db, token, .verification, now: now) else { return nil }
            try Self.endTokens(db, account: account.id, purpose: .verification)
            try db.execute(sql: "UPDATE account SET email_verified = 1 WHERE id = ?", arguments: [account.id])
            return try Self.account(db, id: account.id)
        }
    }

    /// Spends a token for another password. Every session and every token of the account ends, and its address is
    /// verified. Returns `nil` when the token is good for nothing: of two that come at once, one.
    func reset(_ token: String, passwordHash: String, now: Int64) async throws -> Account? {
        try await pool.write { db in
            guard let account = try Self.spend(db, token, .reset, now: now) else { return nil }
            try db.execute(
                sql: "UPDATE account SET password_hash = ?, email_verified = 1 WHERE id = ?",
                arguments: [passwordHash, account.id])
            try Self.endSessions(db, account: account.id)
            try Self.endTokens(db, account: account.id)
            return try Self.account(db, id: account.id)
        }
    }

    /// Makes a token. The caller has seen to it that there are not too many.
    static func issue(_ db: Database, _ purpose: TokenPurpose, account: String, now: Int64) throws -> String {
        try db.execute(sql: "DELETE FROM one_time_token WHERE expires_at <= ?", arguments: [now])
        let token = Bytes.base64url(Bytes.random(32))
        try db.execute(
            sql: """
                INSERT INTO one_time_token (hash, purpose, account_id, created_at, expires_at)
                VALUES (?, ?, ?, ?, ?)
                """,
            arguments: [
                digest(token), purpose.rawValue, account, now, now + purpose.lifetimeMilliseconds,
            ])
        return token
    }

    /// `purpose`: `nil` for all of them.
    static func endTokens(_ db: Database, account: String, purpose: TokenPurpose? = nil) throws {
        try db.execute(
            sql: "DELETE FROM one_time_token WHERE account_id = ? AND (? IS NULL OR purpose = ?)",
            arguments: [account, purpose?.rawValue, purpose?.rawValue])
    }

    private func send(
        _ db: Database, _ purpose: TokenPurpose, to account: Account, now: Int64, trace: Trace
    ) throws -> LetterOutcome {
        let recent = try Int64.fetchAll(
            db,
            sql: """
                SELECT created_at FROM one_time_token WHERE account_id = ? AND purpose = ? AND created_at > ?
                ORDER BY created_at DESC LIMIT ?
                """,
            arguments: [account.id, purpose.rawValue, now - Self.hourMilliseconds, Self.lettersPerHour])
        if recent.count == Self.lettersPerHour, let oldest = recent.last {
            return .tooMany(seconds: Int((oldest + Self.hourMilliseconds - now + 999) / 1_000))
        }
        let token = try Self.issue(db, purpose, account: account.id, now: now)
        try outbox.append(
            db, jobs: [Told.letter(purpose, to: account.email, token: token, trace: trace)])
        return .sent(account: account.id)
    }

    private static func spend(
        _ db: Database, _ token: String, _ purpose: TokenPurpose, now: Int64
    ) throws -> Account? {
        let id = try String.fetchOne(
            db,
            sql: """
                DELETE FROM one_time_token WHERE hash = ? AND purpose = ? AND expires_at > ?
                RETURNING account_id
                """, arguments: [digest(token), purpose.rawValue, now])
        guard let id, let account = try account(db, id: id), !account.isDisabled else { return nil }
        return account
    }

    private static func digest(_ token: String) -> Data { Data(Bytes.sha256(token.utf8)) }
}
