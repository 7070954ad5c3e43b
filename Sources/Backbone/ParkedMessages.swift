public import Foundation
internal import GRDB
public import ServiceKit

/// What a service has set aside, looked at from beside it: what the backbone refused of its outbox, and what it could make
/// nothing of in the log.
public struct ParkedMessages: Sendable {
    /// One of them.
    public struct Message: Equatable, Sendable {
        /// `outbox`, or the group that read it.
        public let place: String
        /// Its number in the outbox, or its offset in the log.
        public let number: Int64
        /// The event or the job, as JSON.
        public let text: String
        public let error: String
        /// Unix milliseconds.
        public let parkedAt: Int64
    }

    private let store: DatabaseQueue

    /// `directory`, `name`: as in `Store.open`. The file must be there, and of a service of this version.
    /// Throws `FileFailure`.
    public init(directory: URL, name: String) throws {
        let file = directory.appending(path: "\(name).sqlite", directoryHint: .notDirectory)
        do {
            guard FileManager.default.fileExists(atPath: file.path(percentEncoded: false)) else {
                throw POSIXError(.ENOENT)
            }
            var configuration = Configuration()
            configuration.busyMode = .timeout(5)
            store = try DatabaseQueue(path: file.path(percentEncoded: false), configuration: configuration)
            _ = try all()
        } catch {
            throw FileFailure(file, error)
        }
    }

    /// The outbox's first, each place's oldest first.
    public func all() throws -> [Message] {
        try store.read { db in
            var parts: [String] = []
            if try db.tableExists("outbox_parked") {
                parts.append("SELECT 'outbox', seq, message, error, parked_at, 0 FROM outbox_parked")
            }
            if try db.tableExists("consumer_parked") {
                parts.append(
                    "SELECT group_name, event_offset, event, error, parked_at, 1 FROM consumer_parked")
            }
            guard !parts.isEmpty else { return [] }
            return try Row.fetchAll(db, sql: parts.joined(separator: " UNION ALL ") + " ORDER BY 6, 1, 2").map
            {
                Message(place: $0[0], number: $0[1], text: $0[2], error: $0[3], parkedAt: $0[4])
            }
        }
    }

    /// All of them are tried once more, by the service if it runs, within half a minute, and else when it is started.
    /// Returns how many.
    public func putBack() throws -> Int {
        try store.write { db in
            var count = 0
            if try db.tableExists("outbox_parked") { count += try Outbox().unpark(db) }
            if try db.tableExists("consumer_parked") {
                try db.execute(sql: "UPDATE consumer_parked SET is_due = 1")
                count += db.changesCount
            }
            return count
        }
    }
}
