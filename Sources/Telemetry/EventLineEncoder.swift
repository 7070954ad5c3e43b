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

    /// A handshake with a client that failed: not the gateway's trouble, so that it is information and no warning. `false`, with
    /// nothing appended, when `block` has less than `longestLine` bytes of room.
    public mutating func encode(
        handshakeAt wallMilliseconds: UInt64, listener: Int, client: RawSpan, serverName: RawSpan,
        reason: RawSpan, into block: inout Block
    ) -> Bool {
        guard block.freeCount >= Self.longestLine else { return false }
        block.append("{\"time\":\"")
        timestamp.append(milliseconds: wallMilliseconds, to: &block)
        block.append("\",\"level\":\"info\",\"event\":\"tls_handshake_failed\"")
        put(",\"listener\":", listener, in: names.listeners, &block)
        block.append(",\"client\":")
        block.append(jsonString: client, limit: 64)
        if serverName.byteCount > 0 {
            block.append(",\"server_name\":")
            block.append(jsonString: serverName, limit: 255)
        }
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
