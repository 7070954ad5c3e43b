import HTTP
import Memory

/// The JSON that tells what a request was: `method`, `target`, `version`, `fields` as pairs in order, `body_bytes`,
/// `body_crc32` (eight hexadecimal digits, zlib's), `trailers` as they stood. Bytes above 7f are told as the characters
/// of ISO 8859-1, so that none is lost. What the pool has no room for is missing.
enum Echo {
    static func begin(
        _ head: borrowing RequestHead, of bytes: RawSpan, into text: inout ByteQueue,
        from pool: borrowing BlockPool
    ) {
        _ = text.append("{\"method\":\"", from: pool)
        write(bytes[head.methodBytes], &text, pool)
        _ = text.append("\",\"target\":\"", from: pool)
        write(bytes[head.target], &text, pool)
        _ = text.append(
            head.version == .http10 ? "\",\"version\":\"1.0\"" : "\",\"version\":\"1.1\"", from: pool)
        _ = text.append(",\"fields\":[", from: pool)
        for index in 0..<head.fields.count {
            _ = text.append(index == 0 ? "[\"" : ",[\"", from: pool)
            write(bytes[head.fields[index].name], &text, pool)
            _ = text.append("\",\"", from: pool)
            write(bytes[head.fields[index].value], &text, pool)
            _ = text.append("\"]", from: pool)
        }
        _ = text.append("]", from: pool)
    }

    static func end(
        bodyCount: Int, sum: UInt32, trailers: borrowing ByteQueue, into text: inout ByteQueue,
        from pool: borrowing BlockPool
    ) {
        _ = text.append(",\"body_bytes\":", from: pool)
        _ = text.append(number: bodyCount, from: pool)
        _ = text.append(",\"body_crc32\":\"", from: pool)
        for digit in 0..<8 {
            let value = UInt8(truncatingIfNeeded: sum &>> UInt32((7 &- digit) &* 4) & 15)
            _ = text.append(hexDigit(value), from: pool)
        }
        _ = text.append("\",\"trailers\":\"", from: pool)
        trailers.forEachBlock { span in
            write(span, &text, pool)
            return true
        }
        _ = text.append("\"}\n", from: pool)
    }

    private static func hexDigit(_ value: UInt8) -> UInt8 { value < 10 ? 0x30 &+ value : 0x57 &+ value }

    /// Runs of plain bytes go as they are.
    private static func write(_ bytes: RawSpan, _ text: inout ByteQueue, _ pool: borrowing BlockPool) {
        var start = 0
        for offset in 0..<bytes.byteCount {
            let byte = bytes[offset]
            guard byte < 0x20 || byte > 0x7e || byte == 0x22 || byte == 0x5c else { continue }
            _ = text.append(bytes.extracting(start..<offset), from: pool)
            _ = text.append("\\u00", from: pool)
            _ = text.append(hexDigit(byte &>> 4), from: pool)
            _ = text.append(hexDigit(byte & 15), from: pool)
            start = offset &+ 1
        }
        _ = text.append(bytes.extracting(start..<bytes.byteCount), from: pool)
    }
}
