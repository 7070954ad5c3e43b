internal import Foundation
internal import GRDB
internal import ServiceKit

/// The life of a signing key: published first, then used, then published until the last token it signed has expired.
enum KeyState: String, Sendable {
    case next
    case active
    case retired
}

/// A signing key as the store has it.
struct StoredKey: Sendable {
    let state: KeyState
    let published: PublishedKey
    /// `nil` once it is retired: the private half is gone.
    let signer: TokenSigner?
    /// When it was made, which is when its publication began.
    let createdAt: Int64
    let activeAt: Int64?
    let retiredAt: Int64?
}

/// What became of a rotation that was asked for.
enum Rotation: Sendable {
    case done([StoredKey])
    /// Verifiers may not have seen the next key yet: the seconds to wait.
    case tooSoon(Int)
}

extension AuthStore {
    /// For how long a verifier may keep the key set (the `max-age` of its answer).
    static let keySetMaximumAgeSeconds: Int64 = 300
    /// Clocks of two machines may differ by this much.
    static let skewSeconds: Int64 = 60
    /// A key is published for so long before it signs.
    static let keyLeadMilliseconds = (keySetMaximumAgeSeconds + skewSeconds) * 1_000
    /// A key is published for so long after it has signed last.
    static let keyTrailMilliseconds = (AuthService.accessLifetimeSeconds + 2 * skewSeconds) * 1_000

    /// All keys that are to be published. Makes the active and the next key where they are missing.
    func keys(now: Int64) throws -> [StoredKey] {
        let states = try pool.read { db in try Self.keys(db).map(\.state) }
        // Made outside of the transaction: a key takes up to a second.
        let missing = try [KeyState.active, .next].filter { !states.contains($0) }
            .map { ($0, try TokenSigner()) }
        return try pool.write { db in
            for (state, signer) in missing {
                try Self.add(db, signer, state, now: now)
            }
            try Self.publishFirstKey(db)
            try Self.dropOldKeys(db, now: now)
            return try Self.keys(db)
        }
    }

    /// The next key signs from now on, and `successor` is the next one.
    func rotate(successor: TokenSigner, now: Int64) async throws -> Rotation {
        try await pool.write { db in
            let createdAt =
                try Int64.fetchOne(db, sql: "SELECT created_at FROM signing_key WHERE state = 'next'") ?? now
            let waits = createdAt + Self.keyLeadMilliseconds - now
            guard waits <= 0 else { return .tooSoon(Int((waits + 999) / 1_000)) }
            // A key that signs no more is kept for checking only: what is not there cannot be stolen.
            try db.execute(
                sql: """
                    UPDATE signing_key SET state = 'retired', retired_at = ?, pem = '' WHERE state = 'active'
                    """, arguments: [now])
            try db.execute(
                sql: "UPDATE signing_key SET state = 'active', active_at = ? WHERE state = 'next'",
                arguments: [now])
            try Self.add(db, successor, .next, now: now)
            try Self.dropOldKeys(db, now: now)
            return .done(try Self.keys(db))
        }
    }

    private static func add(_ db: Database, _ signer: TokenSigner, _ state: KeyState, now: Int64) throws {
        try db.execute(
            sql: """
                INSERT INTO signing_key (kid, pem, state, created_at, published, active_at)
                VALUES (?, ?, ?, ?, ?, ?)
                """,
            arguments: [
                signer.kid, signer.pem, state.rawValue, now, try JSONEncoder().encode(signer.published()),
                state == .active ? now : nil,
            ])
    }

    /// A key that was made before keys could be rotated has no published half beside it.
    private static func publishFirstKey(_ db: Database) throws {
        let rows = try Row.fetchAll(db, sql: "SELECT kid, pem FROM signing_key WHERE published IS NULL")
        for row in rows {
            try db.execute(
                sql: "UPDATE signing_key SET published = ?, active_at = created_at WHERE kid = ?",
                arguments: [
                    try JSONEncoder().encode(TokenSigner(pem: row["pem"]).published()), row["kid"] as String,
                ])
        }
    }

    private static func dropOldKeys(_ db: Database, now: Int64) throws {
        try db.execute(
            sql: "DELETE FROM signing_key WHERE state = 'retired' AND retired_at <= ?",
            arguments: [now - keyTrailMilliseconds])
    }

    private static func keys(_ db: Database) throws -> [StoredKey] {
        try Row.fetchAll(db, sql: "SELECT * FROM signing_key ORDER BY created_at DESC, kid").compactMap {
            row in
            guard let state = KeyState(rawValue: row["state"]) else { return nil }
            let pem: String = row["pem"]
            guard let published = row["published"] as Data? else { return nil }
            return StoredKey(
                state: state, published: try JSONDecoder().decode(PublishedKey.self, from: published),
                signer: pem.isEmpty ? nil : try TokenSigner(pem: pem), createdAt: row["created_at"],
                activeAt: row["active_at"], retiredAt: row["retired_at"])
        }
    }
}
