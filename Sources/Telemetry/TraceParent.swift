public import Memory

/// The value of `traceparent` (W3C Trace Context, level 1, §3.2): by which trace a request is known to those who follow it
/// through many services.
public enum TraceParent {
    /// Bytes of a value of version 00, and the fewest of any later one.
    @inlinable public static var byteCount: Int { 55 }

    /// Where the trace-id stands in a value that is valid; `nil` for one that is not.
    ///
    /// §3.2.2: lower case alone, ids that are not all zeros, a version that is not ff. §3.2.4: a later version is read as
    /// far as 00 goes, and whatever it adds begins with a dash.
    public static func traceID(of value: RawSpan) -> ByteRange? {
        guard value.byteCount >= byteCount, isHex(value, 0..<2) else { return nil }
        let isFirst = value[0] == 0x30 && value[1] == 0x30
        guard !(value[0] == 0x66 && value[1] == 0x66),
            value.byteCount == byteCount || !isFirst && value[byteCount] == 0x2d,
            value[2] == 0x2d, value[35] == 0x2d, value[52] == 0x2d,
            isID(value, 3..<35), isID(value, 36..<52), isHex(value, 53..<55)
        else { return nil }
        return ByteRange(start: 3, end: 35)
    }

    /// Appends a value of version 00 with these ids, and says where the trace-id stands. Not sampled (§3.2.2.5): whether to
    /// record is for those who record.
    public static func append(
        trace: (UInt64, UInt64), parent: UInt64, to block: inout Block
    ) -> ByteRange {
        block.append("00-")
        let start = block.byteCount
        // An id of all zeros is not valid; no random one is, but for two chances in 2^64.
        append(trace.0 | trace.1 == 0 ? 1 : trace.0, to: &block)
        append(trace.1, to: &block)
        let end = block.byteCount
        block.append("-")
        append(parent == 0 ? 1 : parent, to: &block)
        block.append("-00")
        return ByteRange(start: start, end: end)
    }

    private static func append(_ id: UInt64, to block: inout Block) {
        for digit in stride(from: 60, through: 0, by: -4) {
            let value = UInt8(truncatingIfNeeded: id >> UInt64(digit)) & 0xf
            block.append(value < 10 ? 0x30 &+ value : 0x57 &+ value)
        }
    }

    private static func isHex(_ value: RawSpan, _ range: Range<Int>) -> Bool {
        for offset in range {
            let byte = value[offset]
            guard byte >= 0x30 && byte <= 0x39 || byte >= 0x61 && byte <= 0x66 else { return false }
        }
        return true
    }

    private static func isID(_ value: RawSpan, _ range: Range<Int>) -> Bool {
        guard isHex(value, range) else { return false }
        for offset in range where value[offset] != 0x30 { return true }
        return false
    }
}
