internal import ServiceKit

/// What ties all that one request caused together: its id, and the trace of W3C Trace Context.
struct TraceFields: Equatable, Sendable {
    /// Plain enough for a header field, or empty.
    let requestID: String
    /// A well-formed `traceparent`, or `nil`.
    let traceparent: String?

    /// What is not fit for a header field is left out: both come from other services, and end in mails and requests.
    init(requestID: String, traceparent: String?) {
        let isPlain =
            requestID.utf8.count <= 128
            && requestID.utf8.allSatisfy { (0x21...0x7E).contains($0) }
        self.requestID = isPlain ? requestID : ""
        self.traceparent = traceparent.flatMap { Self.isTraceparent($0) ? $0 : nil }
    }

    /// As fields of a request or a mail.
    var fields: [(name: String, value: String)] {
        var fields: [(name: String, value: String)] = []
        if !requestID.isEmpty { fields.append(("X-Request-ID", requestID)) }
        if let traceparent { fields.append(("traceparent", traceparent)) }
        return fields
    }

    /// `00-` 32 hex digits `-` 16 hex digits `-` 2 hex digits, the ids not all zero (W3C Trace Context §3.2.2).
    static func isTraceparent(_ text: String) -> Bool {
        let parts = text.split(separator: "-", omittingEmptySubsequences: false)
        guard parts.count == 4, parts.map(\.utf8.count) == [2, 32, 16, 2], parts[0] == "00" else {
            return false
        }
        let isHex = parts.allSatisfy { part in
            part.utf8.allSatisfy { (0x30...0x39).contains($0) || (0x61...0x66).contains($0) }
        }
        return isHex && parts[1].contains { $0 != "0" } && parts[2].contains { $0 != "0" }
    }
}
