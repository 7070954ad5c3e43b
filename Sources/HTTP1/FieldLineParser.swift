import HTTP
import Memory

/// Parses one field line (RFC 9112 §5), for requests and responses alike.
enum FieldLineParser {
    enum Step {
        case line
        /// The empty line: the head ends before the cursor.
        case end
        case incomplete
        case badName
        case badValue
        case fold
        case bareLineEnd
    }

    /// Parses the line at `cursor` and moves the cursor behind it when the answer is `.line` or `.end`.
    @inline(__always)
    static func next(_ bytes: RawSpan, _ cursor: inout Int, into line: inout FieldLine) -> Step {
        let nameStart = cursor
        // Every head has one such line, which needs no look for a name.
        if bytes.pair(ifAt: nameStart) == lineEnd {
            cursor = nameStart &+ 2
            return .end
        }
        let nameEnd = bytes.endOfToken(from: nameStart)
        guard nameEnd < bytes.byteCount else { return .incomplete }
        // §5.1: no whitespace between name and colon, and no line without one.
        guard bytes[nameEnd] == 0x3a, nameEnd > nameStart else {
            return withoutName(bytes, nameStart, nameEnd)
        }
        var valueStart = nameEnd &+ 1
        while let byte = bytes.byte(ifAt: valueStart), byte == 0x20 || byte == 0x09 { valueStart &+= 1 }
        let textEnd = bytes.endOfFieldText(from: valueStart)
        guard let end = bytes.pair(ifAt: textEnd) else { return atTheEdge(bytes, textEnd) }
        guard end == lineEnd else { return badEnd(UInt8(truncatingIfNeeded: end)) }
        var valueEnd = textEnd
        while valueEnd > valueStart, bytes[valueEnd &- 1] == 0x20 || bytes[valueEnd &- 1] == 0x09 {
            valueEnd &-= 1
        }
        // No range can be too long for its words: heads are held to limits far below.
        line.name.start = UInt32(truncatingIfNeeded: nameStart)
        line.name.count = UInt32(truncatingIfNeeded: nameEnd &- nameStart)
        line.value.start = UInt32(truncatingIfNeeded: valueStart)
        line.value.count = UInt32(truncatingIfNeeded: valueEnd &- valueStart)
        line.known = FieldNames.classify(line.name, of: bytes)
        cursor = textEnd &+ 2
        return .line
    }

    /// CR LF.
    private static var lineEnd: UInt16 { 0x0a0d }

    /// The answer where a line does not begin with a name and a colon.
    private static func withoutName(_ bytes: RawSpan, _ nameStart: Int, _ nameEnd: Int) -> Step {
        guard nameEnd == nameStart else { return .badName }
        switch bytes[nameEnd] {
        case 0x0d:
            guard nameEnd &+ 1 < bytes.byteCount else { return .incomplete }
            return .bareLineEnd
        case 0x0a: return .bareLineEnd
        // §5.2: obs-fold, which some join to the line before and some take for a line of its own.
        case 0x20, 0x09: return .fold
        default: return .badName
        }
    }

    /// The answer where the bytes end before the line does, or one byte behind its value.
    private static func atTheEdge(_ bytes: RawSpan, _ lineEnd: Int) -> Step {
        if lineEnd >= bytes.byteCount || bytes[lineEnd] == 0x0d { return .incomplete }
        return badEnd(bytes[lineEnd])
    }

    private static func badEnd(_ byte: UInt8) -> Step {
        byte == 0x0d || byte == 0x0a ? .bareLineEnd : .badValue
    }
}

/// The search for the end of a head that came in pieces.
enum HeadEnd {
    /// Whether the bytes from `scanned` on show that a parse has something to say: the empty line, or a LF without CR.
    /// Moves `scanned` on when not.
    static func isWorthParsing(_ bytes: RawSpan, from scanned: inout Int) -> Bool {
        var offset = scanned
        while true {
            offset = bytes.firstIndex(of: 0x0a, from: offset)
            guard offset < bytes.byteCount else {
                noteIncomplete(bytes, &scanned)
                return false
            }
            guard offset > 0, bytes[offset &- 1] == 0x0d else { return true }
            // The head ends when this LF ends an empty line.
            if offset >= 3, bytes[offset &- 2] == 0x0a { return true }
            offset &+= 1
        }
    }

    /// Everything so far has been looked at; never 0, which stands for a first call.
    static func noteIncomplete(_ bytes: RawSpan, _ scanned: inout Int) { scanned = max(bytes.byteCount, 1) }
}
