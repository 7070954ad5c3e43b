public import Memory
internal import Synchronization

/// Names that log lines and metrics know by a number: of routes, services, endpoints, listeners. One a kind in the
/// process; it outlives reloads, so that a number means the same for ever. Cold: numbers are given when a
/// configuration is compiled; workers hold `names` and the numbers.
public final class LabelTable: Sendable {
    /// The number of every name that found no room.
    public static let other = 0
    /// How many names there are room for by default, `other` among them.
    public static let defaultCapacity = 4096
    /// Of routes: those of the largest configuration, and room for the names that reloads bring.
    public static let routeCapacity = 16_384

    /// For workers. Names in brackets are ours: a configuration's are `[a-z0-9-]+`.
    public let names: NameTable
    private let isGiving = Mutex(())

    public init(capacity: Int = LabelTable.defaultCapacity) {
        names = NameTable(capacity: capacity)
        _ = names.append(Array("(other)".utf8).rawSpan)
    }

    /// The number of `name`: the one it always had, else a new one; `other` when the table is full. Names are told
    /// apart by their first 127 bytes. Any thread.
    public func label(for name: String) -> Int {
        isGiving.withLock { _ in
            let bytes = Array(name.utf8)
            return names.index(of: bytes.rawSpan) ?? names.append(bytes.rawSpan) ?? LabelTable.other
        }
    }
}

extension NameTable {
    /// A table of these names, in their order, with no room for more. For closed lists, such as reasons.
    public init(_ names: [String]) {
        self.init(capacity: max(names.count, 1))
        for name in names { _ = append(Array(name.utf8).rawSpan) }
    }
}
