public import Memory

/// Writes log lines, for one worker: each exchange is one JSON object (RFC 8259) on a line of its own, whatever bytes a
/// stranger sent.
public struct AccessLineEncoder: Sendable {
    private let names: AccessNames
    private var timestamp = Timestamp()

    /// No line is longer. A block must have so much room before a line is written, so that none is ever torn.
    @inlinable public static var longestLine: Int { 8192 }

    public init(names: AccessNames) { self.names = names }

    /// Appends the line of an exchange; `false`, with nothing appended, when `block` has less than `longestLine` bytes
    /// of room. (Hand it over, and come with a fresh one.)
    ///
    /// Texts may hold any bytes; an empty one leaves its field out. `path` is the normal form, without query; `target`
    /// is the raw one, of which only what stands before `?` is told, and only where it is not the path.
    public mutating func encode(
        _ record: AccessRecord, requestID: RawSpan, traceID: RawSpan, client: RawSpan, method: RawSpan,
        host: RawSpan,
        path: RawSpan, target: RawSpan, subject: RawSpan, into block: inout Block
    ) -> Bool {
        guard block.freeCount >= Self.longestLine else { return false }
        block.append("{\"time\":\"")
        timestamp.append(milliseconds: record.wallMilliseconds, to: &block)
        block.append(UInt8(ascii: "\""))
        Self.put(",\"request_id\":", requestID, AccessLimits.requestID, &block)
        Self.put(",\"trace_id\":", traceID, AccessLimits.traceID, &block)
        Self.put(",\"client\":", client, AccessLimits.client, &block)
        if record.clientPort > 0 { Self.put(",\"client_port\":", record.clientPort, &block) }
        Self.put(",\"method\":", method, AccessLimits.method, &block)
        Self.put(",\"host\":", host, AccessLimits.host, &block)
        Self.put(",\"path\":", path, AccessLimits.path, &block)
        let raw = target.extracting(0..<target.firstIndex(of: UInt8(ascii: "?"), from: 0))
        if !raw.equals(path) { Self.put(",\"target\":", raw, AccessLimits.target, &block) }
        Self.put(",\"route\":", record.route, in: names.routes, &block)
        Self.put(",\"service\":", record.service, in: names.services, &block)
        Self.put(",\"endpoint\":", record.endpoint, in: names.endpoints, &block)
        Self.put(",\"status\":", record.status, &block)
        if record.reason != AccessRecord.noReason {
            Self.put(",\"reason\":", Int(record.reason), in: names.reasons, &block)
        }
        block.append(Self.text(record.httpVersion))
        block.append(Self.text(record.tlsVersion))
        Self.put(",\"bytes_in\":", record.bytesIn, &block)
        Self.put(",\"bytes_out\":", record.bytesOut, &block)
        Self.put(",\"duration_us\":", record.durationMicroseconds, &block)
        Self.put(",\"auth_us\":", record.authMicroseconds, &block)
        Self.put(",\"connect_us\":", record.connectMicroseconds, &block)
        Self.put(",\"first_byte_us\":", record.firstByteMicroseconds, &block)
        Self.put(",\"subject\":", subject, AccessLimits.subject, &block)
        Self.put(",\"listener\":", record.listener, in: names.listeners, &block)
        Self.put(",\"generation\":", record.generation, &block)
        block.append("}\n")
        return true
    }

    private static func text(_ version: AccessRecord.HTTPVersion) -> StaticString {
        switch version {
        case .http10: ",\"protocol\":\"HTTP/1.0\""
        case .http11: ",\"protocol\":\"HTTP/1.1\""
        case .http2: ",\"protocol\":\"HTTP/2\""
        }
    }

    private static func text(_ version: AccessRecord.TLSVersion) -> StaticString {
        switch version {
        case .none: ""
        case .tls12: ",\"tls\":\"TLSv1.2\""
        case .tls13: ",\"tls\":\"TLSv1.3\""
        }
    }

    private static func put(_ key: StaticString, _ number: Int, _ block: inout Block) {
        guard number >= 0 else { return }
        block.append(key)
        block.append(number: number)
    }

    private static func put(_ key: StaticString, _ value: RawSpan, _ limit: Int, _ block: inout Block) {
        guard value.byteCount > 0 else { return }
        block.append(key)
        block.append(jsonString: value, limit: limit)
    }

    private static func put(_ key: StaticString, _ label: Int, in names: NameTable, _ block: inout Block) {
        guard label >= 0, label < names.capacity else { return }
        let name = names.name(label)
        guard names.isPlain(label), name.byteCount > 0 else {
            return put(key, name, AccessLimits.name, &block)
        }
        block.append(key)
        block.append(UInt8(ascii: "\""))
        block.append(name)
        block.append(UInt8(ascii: "\""))
    }
}
