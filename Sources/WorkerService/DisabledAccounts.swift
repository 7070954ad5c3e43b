internal import GRDB
internal import HTTPTypes
internal import Hummingbird
internal import ServiceKit

/// The accounts of which auth has told that they are disabled. Nothing is done for them here: none of their jobs is begun, no
/// endpoint of theirs is told of anything, no schedule of theirs is due, and their tokens, which verify for some minutes more,
/// are refused.
///
/// It is looked at where something is begun, not only where the event comes in: what was ordered in the moment between is not
/// done either. One row an account; administrators make them by hand.
enum DisabledAccounts {
    static let disablingType = "user.disabled"
    static let enablingType = "user.enabled"
    /// Why a job of theirs is dead, and a schedule at its end.
    static let reason = "the account is disabled"

    static func register(in migrator: inout DatabaseMigrator) {
        migrator.registerMigration("worker.accounts.1") { db in
            try db.execute(
                sql: """
                    CREATE TABLE disabled_account (
                        account TEXT PRIMARY KEY, disabled_at INTEGER NOT NULL
                    ) STRICT, WITHOUT ROWID;
                    """)
        }
    }

    static func add(_ db: Database, _ account: String, now: Int64) throws {
        try db.execute(
            sql: "INSERT INTO disabled_account VALUES (?, ?) ON CONFLICT DO NOTHING",
            arguments: [account, now])
    }

    static func remove(_ db: Database, _ account: String) throws {
        try db.execute(sql: "DELETE FROM disabled_account WHERE account = ?", arguments: [account])
    }

    static func count(_ db: Database) throws -> Int {
        try Int.fetchOne(db, sql: "SELECT count(*) FROM disabled_account") ?? 0
    }

    static func hold(_ db: Database, _ account: String) throws -> Bool {
        try Bool.fetchOne(
            db.cachedStatement(sql: "SELECT EXISTS (SELECT 1 FROM disabled_account WHERE account = ?)"),
            arguments: [account]) ?? false
    }
}

extension WorkerStore {
    func isDisabled(account: String) async throws -> Bool {
        try await pool.read { db in try DisabledAccounts.hold(db, account) }
    }
}

extension TokenVerifier {
    /// The caller of a request for the worker. Throws `Problem` 401, 403 or 503; 403 too for an account that is disabled.
    nonisolated func caller(_ request: Request, _ call: Call, knownTo store: WorkerStore) async throws
        -> Caller
    {
        let caller = try await caller(request, call, scope: "jobs")
        guard try await !store.isDisabled(account: caller.subject) else {
            throw Problem(.forbidden, "account_disabled", "The account is disabled.")
        }
        return caller
    }
}
