/// One frame of HTTP/2 (RFC 9113 §4.1), by where it lies in what was read.
struct Frame {
    static let data: UInt8 = 0
    static let headers: UInt8 = 1
    static let reset: UInt8 = 3
    static let settings: UInt8 = 4
    static let goAway: UInt8 = 7
    static let continuation: UInt8 = 9

    let kind: UInt8
    let flags: UInt8
    let stream: Int32
    let all: Range<Int>

    var payload: Range<Int> { all.lowerBound + 9..<all.upperBound }
    var hasEndStream: Bool { flags & 1 != 0 && (kind == Frame.data || kind == Frame.headers) }
    var hasEndHeaders: Bool { flags & 4 != 0 && (kind == Frame.headers || kind == Frame.continuation) }
}

/// Cuts what came into frames, with code that has nothing in common with the gateway's.
struct FrameReader {
    private(set) var buffer: [UInt8] = []
    private var position = 0

    var isBetweenFrames: Bool { position == buffer.count }

    /// The room for what comes next.
    mutating func withBuffer(_ fill: (inout [UInt8]) -> Void) {
        if position == buffer.count {
            buffer.removeAll(keepingCapacity: true)
            position = 0
        }
        fill(&buffer)
    }

    /// Passes over the first bytes of a client (RFC 9113 §3.4); `nil` while they are not all there.
    mutating func preface(_ text: StaticString) -> Range<Int>? {
        let count = text.utf8CodeUnitCount
        guard buffer.count - position >= count else { return nil }
        position += count
        return position - count..<position
    }

    mutating func next() -> Frame? {
        guard buffer.count - position >= 9 else { return nil }
        let length = Int(buffer[position]) << 16 | Int(buffer[position + 1]) << 8 | Int(buffer[position + 2])
        guard buffer.count - position >= 9 + length else { return nil }
        let frame = Frame(
            kind: buffer[position + 3], flags: buffer[position + 4],
            stream: Int32(truncatingIfNeeded: word(at: position + 5) & 0x7fff_ffff),
            all: position..<position + 9 + length)
        position += 9 + length
        return frame
    }

    func word(at index: Int) -> UInt32 {
        UInt32(buffer[index]) << 24 | UInt32(buffer[index + 1]) << 16 | UInt32(buffer[index + 2]) << 8
            | UInt32(buffer[index + 3])
    }
}

/// Frames that no session of nghttp2 would write.
enum OddFrames {
    static func frame(_ kind: UInt8, flags: UInt8 = 0, stream: UInt32, _ payload: [UInt8]) -> [UInt8] {
        let length = payload.count
        var bytes: [UInt8] = [
            UInt8(length >> 16), UInt8(length >> 8 & 255), UInt8(length & 255), kind, flags,
        ]
        for shift in [24, 16, 8, 0] as [UInt32] { bytes.append(UInt8(stream >> shift & 255)) }
        return bytes + payload
    }

    /// Each ends the connection (RFC 9113 §5.4.1), or must do nothing at all. `stream` is one that its sender may use.
    static func all(stream: UInt32) -> [[UInt8]] {
        [
            // DATA and HEADERS of no stream, HEADERS that end none and refer to an entry of no table.
            frame(0, stream: 0, [1, 2, 3]), frame(1, flags: 5, stream: 0, [0x82]),
            frame(1, flags: 5, stream: stream + 2, [0x80]),
            frame(1, flags: 5, stream: stream + 2, [0xff, 0xff, 0xff, 0xff, 0x7f]),
            // DATA of a stream that is idle, an end of one, credit for one; a stream of the other side's.
            frame(0, stream: stream + 400, [1]), frame(3, stream: stream + 400, [0, 0, 0, 8]),
            frame(8, stream: stream + 400, [0, 0, 0, 9]), frame(1, flags: 5, stream: stream + 1, [0x82]),
            // Lengths that those frames do not have.
            frame(4, stream: 0, [0, 1, 2, 3, 4]), frame(6, stream: 0, [1, 2, 3, 4, 5, 6, 7]),
            frame(8, stream: 0, [0, 0, 1]), frame(3, stream: stream, [0, 0, 1]), frame(7, stream: 0, [0]),
            frame(0, stream: stream, [UInt8](repeating: 7, count: 20_000)),
            // No credit, too much of it, settings out of their range.
            frame(8, stream: 0, [0, 0, 0, 0]), frame(8, stream: 0, [0x7f, 255, 255, 255]),
            frame(4, stream: 0, [0, 4, 0xff, 255, 255, 255]), frame(4, stream: 0, [0, 5, 0, 0, 0, 1]),
            // CONTINUATION of nothing, a push, padding longer than its frame.
            frame(9, flags: 4, stream: stream, [0x82]),
            frame(5, flags: 4, stream: stream, [0, 0, 0, 2, 0x82]),
            frame(0, flags: 8, stream: stream, [9, 1, 2]),
            // Of a kind that nobody knows: to be passed over (RFC 9113 §4.1).
            frame(0xfa, stream: 0, [1, 2, 3, 4]), frame(0x2, stream: stream, [0, 0, 0, 0, 9]),
            // GOAWAY with a reason, which does not say that anything was left undone.
            frame(7, stream: 0, [0x7f, 255, 255, 255, 0, 0, 0, 2]),
            Array("GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n".utf8),
        ]
    }
}
