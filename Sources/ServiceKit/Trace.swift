/// What ties the log lines of one request together, across services, events and jobs.
public struct Trace: Equatable, Hashable, Sendable {
    /// The correlation id (`X-Request-ID`).
    public let requestID: String
    /// W3C Trace Context §3.2: version, trace id, parent id, flags. `nil` where nobody began a trace.
    public let traceparent: String?

    /// `traceparent`: Dropped when it does not have the form of version 00.
    public init(requestID: String, traceparent: String?) {
        self.requestID = requestID
        self.traceparent = traceparent.flatMap { Self.isValid($0) ? $0 : nil }
    }

    /// The 32 digits that all of a trace share.
    public var traceID: String? {
        traceparent.map { String($0.dropFirst(3).prefix(32)) }
    }

    /// A new request of its own: a schedule's tick, a start.
    public static func fresh() -> Trace { Trace(requestID: Identifier.make(), traceparent: nil).begun }

    /// Itself, or with a trace of its own where nobody began one.
    public var begun: Trace {
        guard traceparent == nil else { return self }
        return Trace(
            requestID: requestID,
            traceparent: "00-\(Bytes.hex(Bytes.random(16)))-\(Bytes.hex(Bytes.random(8)))-01")
    }

    /// The fields that carry it to the next service.
    public var fields: [(String, String)] {
        [("X-Request-ID", requestID)] + (traceparent.map { [("traceparent", $0)] } ?? [])
    }

    /// §3.2.2.2: `00-` 32 digits `-` 16 digits `-` 2 digits, lower case, neither id all zeros.
    static func isValid(_ text: String) -> Bool {
        var text = text
        return text.withUTF8(isValid)
    }

    private static func isValid(_ bytes: UnsafeBufferPointer<UInt8>) -> Bool {
        guard bytes.count == 55, bytes[0] == UInt8(ascii: "0"), bytes[1] == UInt8(ascii: "0") else {
            return false
        }
        for (index, byte) in bytes.enumerated() {
            switch (index, byte) {
            case (2, UInt8(ascii: "-")), (35, UInt8(ascii: "-")), (52, UInt8(ascii: "-")): continue
            case (2, _), (35, _), (52, _): return false
            case (_, UInt8(ascii: "0")...UInt8(ascii: "9")), (_, UInt8(ascii: "a")...UInt8(ascii: "f")):
                continue
            default: return false
            }
        }
        return bytes[3..<35].contains { $0 != UInt8(ascii: "0") }
            && bytes[36..<52].contains { $0 != UInt8(ascii: "0") }
    }
}
