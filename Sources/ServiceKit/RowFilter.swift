public import GRDB

/// The conditions of a query that lists rows, as far as they were asked for.
public struct RowFilter: Sendable {
    private var conditions: [String] = []
    private var values: [DatabaseValue] = []

    public init() {}

    /// `condition`: SQL of ours with one `?`, never a stranger's text.
    /// `value`: `nil` when that was not asked for.
    public mutating func require(_ condition: String, _ value: (some DatabaseValueConvertible)?) {
        guard let value else { return }
        conditions.append(condition)
        values.append(value.databaseValue)
    }

    /// `WHERE` and the conditions; empty without any.
    public var sql: String { conditions.isEmpty ? "" : "WHERE " + conditions.joined(separator: " AND ") }

    /// In the order of the conditions, and after them the limit.
    public func arguments(limit: Int) -> StatementArguments {
        StatementArguments(values + [limit.databaseValue])
    }

    /// The rows of a table with the columns `id` and `owner`, the newest first: identifiers sort by the time they were made.
    /// `owner`: `nil` lists everybody's.
    /// `before`: Only those made before the one with this id.
    public static func newest(
        _ db: Database, of table: String, owner: String?, before: String?, limit: Int
    ) throws -> [Row] {
        var filter = RowFilter()
        filter.require("owner = ?", owner)
        filter.require("id < ?", before)
        return try Row.fetchAll(
            db, sql: "SELECT * FROM \(table) \(filter.sql) ORDER BY id DESC LIMIT ?",
            arguments: filter.arguments(limit: limit))
    }
}
