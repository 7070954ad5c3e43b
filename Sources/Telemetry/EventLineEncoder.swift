public import Memory

/// Writes what a worker has to say beside its access lines, in the form of the error log: one JSON object a line.
public struct EventLineEncoder: Sendable {
    private let names: AccessNames
    private var timestamp = Timestamp()

    /// No line is longer.
    @inlinable public static var longestLine: Int { 2048 }

    public init(names: AccessNames) { self.names = names }

    /// A warning about an endpoint of a service, both by their labels; `reason` may hold any bytes. `false`, with nothing
    /// appended, when `block` has less than `longestLine` bytes of room.
    public mutating func encode(
        warning event: StaticString, wallMilliseconds: UInt64, service: Int, endpoint: Int, reason: RawSpan,
        into block: inout Block
    ) -> Bool {
        guard block.freeCount >= Self.longestLine else { return false }
        block.append("{\"time\":\"")
        timestamp.append(milliseconds: wallMilliseconds, to: &block)
        block.append("\",\"level\":\"warning\",\"event\":\"")
        block.append(event)
        block.append("\"")
        put(",\"service\":", service, in: names.services, &block)
        put(",\"endpoint\":", endpoint, in: names.endpoints, &block)
        block.append(",\"reason\":")
        block.append(jsonString: reason, limit: 512)
        block.append("}\n")
        return true
    }

    private func put(_ key: StaticString, _ label: Int, in names: NameTable, _ block: inout Block) {
        guard label >= 0, label < names.capacity else { return }
        block.append(key)
        block.append(jsonString: names.name(label), limit: 256)
    }
}
