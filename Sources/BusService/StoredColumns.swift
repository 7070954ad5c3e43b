internal import GRDB
internal import GRDBSQLite

/// The row that a statement stands at, its texts where SQLite keeps them: GRDB makes a `String` of each, which costs more than
/// the reading. Use it before the statement goes on.
struct StoredColumns {
    private let statement: SQLiteStatement

    init(_ statement: Statement) { self.statement = statement.sqliteStatement }

    func isNull(_ column: Int32) -> Bool { sqlite3_column_type(statement, column) == SQLITE_NULL }

    func integer(_ column: Int32) -> Int64 { sqlite3_column_int64(statement, column) }

    /// Empty where the column is `NULL`.
    func text(_ column: Int32) -> UnsafeBufferPointer<UInt8> {
        // In this order: the text may be made, and moved, by the asking.
        let start = sqlite3_column_text(statement, column)
        return UnsafeBufferPointer(start: start, count: Int(sqlite3_column_bytes(statement, column)))
    }
}
