/// Frames made and read by hand (RFC 9113 §4.1, §6), so that what nghttp2 would never write can be sent.
enum Wire {
    enum Kind: UInt8 {
        case data, headers, priority, reset, settings, pushPromise, ping, goAway, windowUpdate, continuation
    }

    static let endStream: UInt8 = 1
    static let endHeaders: UInt8 = 4
    static let ack: UInt8 = 1

    struct Frame: Equatable {
        var kind: Kind
        var flags: UInt8
        var stream: UInt32
        var payload: [UInt8]

        /// The error code of RST_STREAM or GOAWAY.
        var errorCode: UInt32 {
            let at = kind == .goAway ? 4 : 0
            return Wire.word(payload, at)
        }

        /// The increment of WINDOW_UPDATE, or the last stream of GOAWAY.
        var number: UInt32 { Wire.word(payload, 0) & 0x7FFF_FFFF }

        var endsStream: Bool { flags & Wire.endStream != 0 }
    }

    static func word(_ bytes: [UInt8], _ at: Int) -> UInt32 {
        bytes[at..<at + 4].reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
    }

    static func big(_ value: UInt32) -> [UInt8] {
        [UInt8(value >> 24), UInt8(value >> 16 & 255), UInt8(value >> 8 & 255), UInt8(value & 255)]
    }

    static func frame(_ kind: Kind, flags: UInt8 = 0, stream: UInt32 = 0, _ payload: [UInt8] = []) -> [UInt8]
    {
        var bytes: [UInt8] = Array(big(UInt32(payload.count)).dropFirst())
        bytes += [kind.rawValue, flags]
        bytes += big(stream)
        return bytes + payload
    }

    static func frames(_ bytes: [UInt8]) -> [Frame] {
        var frames: [Frame] = []
        var offset = 0
        while offset + 9 <= bytes.count {
            let length = Int(bytes[offset]) << 16 | Int(bytes[offset + 1]) << 8 | Int(bytes[offset + 2])
            let stream = word(bytes, offset + 5)
            guard let kind = Kind(rawValue: bytes[offset + 3]), offset + 9 + length <= bytes.count else {
                break
            }
            frames.append(
                Frame(
                    kind: kind, flags: bytes[offset + 4], stream: stream,
                    payload: Array(bytes[offset + 9..<offset + 9 + length])))
            offset += 9 + length
        }
        return frames
    }

    /// A number with a prefix of 7 bits (RFC 7541 §5.1).
    static func number(_ value: Int) -> [UInt8] {
        guard value >= 127 else { return [UInt8(value)] }
        var left = value - 127
        var bytes: [UInt8] = [127]
        while left >= 128 {
            bytes.append(UInt8(left & 127 | 128))
            left >>= 7
        }
        return bytes + [UInt8(left)]
    }

    /// Literal field lines without indexing or Huffman coding (RFC 7541 §6.2.2).
    static func block(_ fields: [(String, String)]) -> [UInt8] {
        var bytes: [UInt8] = []
        for (name, value) in fields {
            bytes.append(0)
            bytes += number(name.utf8.count) + Array(name.utf8)
            bytes += number(value.utf8.count) + Array(value.utf8)
        }
        return bytes
    }

    static func headers(_ stream: UInt32, _ fields: [(String, String)], endsStream: Bool = true) -> [UInt8] {
        frame(.headers, flags: endHeaders | (endsStream ? endStream : 0), stream: stream, block(fields))
    }

    static func data(_ stream: UInt32, _ text: String, endsStream: Bool = false) -> [UInt8] {
        frame(.data, flags: endsStream ? endStream : 0, stream: stream, Array(text.utf8))
    }

    static func reset(_ stream: UInt32, _ code: UInt32 = 8) -> [UInt8] {
        frame(.reset, stream: stream, big(code))
    }

    static func request(
        _ method: String = "GET", path: String = "/", authority: String = "a.example",
        _ more: [(String, String)] = []
    ) -> [(String, String)] {
        [(":method", method), (":scheme", "https"), (":authority", authority), (":path", path)] + more
    }
}
