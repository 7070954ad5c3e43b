import Memory

/// CRC-32 (ISO-HDLC, the one of zlib and gzip), eight bytes at a step.
struct Checksum: ~Copyable {
    private let table: FixedArray<UInt32>

    /// What no bytes at all come to.
    static var empty: UInt32 { 0 }

    init() {
        var rows = [UInt32](repeating: 0, count: 8 * 256)
        for index in 0..<256 {
            var value = UInt32(index)
            for _ in 0..<8 { value = value & 1 == 1 ? value >> 1 ^ 0xedb8_8320 : value >> 1 }
            rows[index] = value
        }
        // Row n is what a byte comes to when n zeros follow it.
        for index in 256..<rows.count {
            let before = rows[index - 256]
            rows[index] = before >> 8 ^ rows[Int(before & 0xff)]
        }
        table = FixedArray(rows)
    }

    /// `sum` of what came before, with `bytes` behind it.
    func adding(_ bytes: RawSpan, to sum: UInt32) -> UInt32 {
        var value = ~sum
        var offset = 0
        while offset &+ 8 <= bytes.byteCount {
            let word = UInt64(littleEndian: bytes.word(at: offset)) ^ UInt64(value)
            value = 0
            for index in 0..<8 {
                let byte = Int(truncatingIfNeeded: word &>> UInt64(index &* 8) & 0xff)
                value ^= table[(7 &- index) &* 256 &+ byte]
            }
            offset &+= 8
        }
        while offset < bytes.byteCount {
            value = value &>> 8 ^ table[Int((value ^ UInt32(bytes[offset])) & 0xff)]
            offset &+= 1
        }
        return ~value
    }
}
