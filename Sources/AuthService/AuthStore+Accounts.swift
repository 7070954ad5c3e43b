internal import Backbone
internal import Foundation
internal import GRDB
internal import ServiceKit

extension AuthStore {
    /// Adds an account and sends it the letter that verifies its address, or returns `nil` when the address is taken.
    /// Throws `Problem` 503 `outbox_full`, and then there is no account.
    func addAccount(email: String, passwordHash: String, now: Int64, trace: Trace) async throws -> Account? {
        try await pool.write { db in
            let id = Identifier.make(at: now)
            try db.execute(
                sql: """
                    INSERT INTO account (id, email, password_hash, roles, created_at) VALUES (?, ?, ?, 'user', ?)
                    ON CONFLICT (email) DO NOTHING
                    """,
                arguments: [id, email, passwordHash, now])
            guard db.changesCount == 1 else { return nil }
            let token = try Self.issue(db, .verification, account: id, now: now)
            try outbox.append(
                db, events: [Told.userCreated(id: id, email: email, now: now, trace: trace)],
                jobs: [Told.letter(.verification, to: email, token: token, trace: trace)])
            return try Self.account(db, id: id)
        }
    }

    func account(email: String) async throws -> Account? {
        try await pool.read { db in
            try Row.fetchOne(db, sql: "SELECT * FROM account WHERE email = ?", arguments: [email])
                .map(Account.init)
        }
    }

    func account(id: String) async throws -> Account? {
        try await pool.read { db in try Self.account(db, id: id) }
    }

    /// Accounts in the order they were made.
    /// `after`: The id of the last one seen.
    func accounts(after: String?, email: String?, limit: Int) async throws -> [Account] {
        try await pool.read { db in
            try Row.fetchAll(
                db,
                sql: """
                    SELECT * FROM account WHERE id > ? AND (? IS NULL OR email = ?) ORDER BY id LIMIT ?
                    """, arguments: [after ?? "", email, email, limit]
            ).map(Account.init)
        }
    }

    /// Gives an account one more role, or returns `false` when there is no such account.
    func addRole(_ role: String, email: String) throws -> Bool {
        try pool.write { db in
            guard
                let row = try Row.fetchOne(
                    db, sql: "SELECT * FROM account WHERE email = ?", arguments: [email])
            else { return false }
            let account = Account(row)
            let roles = account.roles.filter { $0 != role } + [role]
            try db.execute(
                sql: "UPDATE account SET roles = ? WHERE id = ?",
                arguments: [roles.joined(separator: " "), account.id])
            return true
        }
    }

    func setDisplayName(_ name: String, account: String) async throws {
        try await pool.write { db in
            try db.execute(
                sql: "UPDATE account SET display_name = ? WHERE id = ?", arguments: [name, account])
        }
    }

    /// Gives an account another password, and ends every session but `session`: whoever knew the old one is out. A
    /// letter on its way that would set yet another one is worth nothing any more.
    /// Returns `false` when the password was changed meanwhile.
    func setPassword(_ hash: String, of account: Account, keeping session: String) async throws -> Bool {
        try await pool.write { db in
            try db.execute(
                sql: "UPDATE account SET password_hash = ? WHERE id = ? AND password_hash = ?",
                arguments: [hash, account.id, account.passwordHash])
            guard db.changesCount == 1 else { return false }
            try Self.endSessions(db, account: account.id, except: session)
            try Self.endTokens(db, account: account.id, purpose: .reset)
            return true
        }
    }

    /// What an administrator changes. A disabled account has no session and no one-time token left.
    /// `roles`, `isDisabled`: `nil` to leave them. Returns `nil` when there is no such account.
    /// Throws `Problem` 503 `outbox_full` where one is to be enabled, and then it stays disabled.
    func change(account id: String, roles: [String]?, isDisabled: Bool?, now: Int64, trace: Trace)
        async throws -> Account?
    {
        try await pool.write { db in
            guard let before = try Self.account(db, id: id) else { return nil }
            try db.execute(
                sql: "UPDATE account SET roles = ?, is_disabled = ? WHERE id = ?",
                arguments: [
                    (roles ?? before.roles).joined(separator: " "), isDisabled ?? before.isDisabled, id,
                ])
            guard let after = try Self.account(db, id: id) else { return nil }
            if after.isDisabled {
                try Self.endSessions(db, account: id)
                try Self.endTokens(db, account: id)
                if !before.isDisabled {
                    try tell(
                        db, orDrop: Told.userDisabled(id: id, now: now, trace: trace),
                        reserve: Self.disablingReserve)
                }
            } else if before.isDisabled {
                // Others go by it: an account that is enabled here alone would be barred there for ever.
                try outbox.append(db, events: [Told.userEnabled(id: id, now: now, trace: trace)])
            }
            return after
        }
    }

    static func account(_ db: Database, id: String) throws -> Account? {
        try Row.fetchOne(db, sql: "SELECT * FROM account WHERE id = ?", arguments: [id]).map(Account.init)
    }
}
