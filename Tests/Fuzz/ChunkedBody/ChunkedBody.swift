import HTTP
import HTTP1
import Memory

/// A chunked body, in whatever pieces it comes, is what a plain reader of the whole makes of it. The first three bytes
/// choose the pieces, the limit of a call and the size of blocks.
@_cdecl("LLVMFuzzerTestOneInput") public func fuzz(_ data: UnsafePointer<UInt8>, _ size: Int) -> CInt {
    guard size > 3 else { return 0 }
    let all = unsafe Array(UnsafeBufferPointer(start: data, count: size))
    let bytes = Array(all.dropFirst(3))
    let pool = BlockPool(blockBytes: 65 + Int(all[2]), limit: 100_000)
    let piece = 1 + Int(all[0])
    let limit = 1 + Int(all[1])
    var input = ByteQueue()
    var output = ByteQueue()
    var trailers = ByteQueue()
    var decoder = ChunkedDecoder()
    var step = ChunkStep.needsMore
    var offset = 0
    while offset < bytes.count, step == .needsMore {
        let end = min(offset + piece, bytes.count)
        guard input.append(bytes.rawSpan.extracting(offset..<end), from: pool) else {
            preconditionFailure("blocks leak")
        }
        offset = end
        repeat {
            let before = output.byteCount
            step = decoder.decode(&input, into: &output, trailers: &trailers, pool: pool, limit: limit)
            precondition(output.byteCount - before <= limit && step != .outOfBlocks)
        } while step == .limitReached
    }
    let plain = PlainReader.read(bytes)
    precondition(output.array == plain.body)
    // What lies behind the last whole line may be refused early; nothing else may differ.
    precondition((step == .ended) == (plain.end != nil))
    if plain.isBad, case .refused = step {} else { precondition(!plain.isBad) }
    if let end = plain.end {
        precondition(end == offset - input.byteCount)
        var fields = FieldTable(capacity: ChunkedDecoder.trailerLineLimit)
        let lines = trailers.array
        precondition(Trailers.parse(lines.rawSpan, into: &fields) && fields.count == plain.trailerLines)
    }
    return 0
}

/// Reads a whole chunked body the plain way: line by line, over an array.
private struct PlainReader {
    var body: [UInt8] = []
    /// Where the body ended; `nil` when it did not.
    var end: Int?
    var isBad = false
    var trailerLines = 0

    static func read(_ bytes: [UInt8]) -> PlainReader {
        var reader = PlainReader()
        var offset = 0
        var extensionBytes = 0
        while let line = line(bytes, &offset) {
            guard let size = size(of: line, &extensionBytes) else { return reader.bad() }
            if size == 0 { return reader.trailers(bytes, offset) }
            let available = bytes[offset...].prefix(size)
            reader.body += available
            offset += available.count
            let lineEnd = bytes[offset...].prefix(2)
            guard available.count == size, !lineEnd.isEmpty else { return reader }
            guard [0x0d, 0x0a].starts(with: lineEnd) else { return reader.bad() }
            offset += lineEnd.count
        }
        return reader
    }

    private func bad() -> PlainReader {
        var copy = self
        copy.isBad = true
        return copy
    }

    private func trailers(_ bytes: [UInt8], _ start: Int) -> PlainReader {
        var reader = self
        var offset = start
        while let line = PlainReader.line(bytes, &offset) {
            guard offset - start <= ChunkedDecoder.trailerByteLimit else { return bad() }
            if line.isEmpty {
                reader.end = offset
                return reader
            }
            let name = line.prefix { $0 != 0x3a }
            let value = line.dropFirst(name.count + 1)
            guard reader.trailerLines < ChunkedDecoder.trailerLineLimit, name.count < line.count,
                !name.isEmpty, name.allSatisfy({ ByteSet.token.contains($0) }),
                value.allSatisfy({ ByteSet.fieldText.contains($0) })
            else { return bad() }
            reader.trailerLines += 1
        }
        return reader
    }

    /// The line at `offset` without its CRLF, `nil` when it has none.
    private static func line(_ bytes: [UInt8], _ offset: inout Int) -> ArraySlice<UInt8>? {
        var end = offset
        while end + 1 < bytes.count {
            if bytes[end] == 0x0d, bytes[end + 1] == 0x0a {
                let line = bytes[offset..<end]
                offset = end + 2
                return line
            }
            end += 1
        }
        return nil
    }

    private static func size(of line: ArraySlice<UInt8>, _ extensionBytes: inout Int) -> Int? {
        let digits = line.prefix { $0.hexValue != nil }
        let rest = line.dropFirst(digits.count)
        extensionBytes += rest.count
        let behindSpace = rest.drop { $0 == 0x20 || $0 == 0x09 }
        guard !digits.isEmpty, digits.count <= 16, rest.isEmpty || behindSpace.first == 0x3b,
            rest.allSatisfy({ ByteSet.fieldText.contains($0) }),
            rest.count <= ChunkedDecoder.lineExtensionLimit, extensionBytes <= ChunkedDecoder.extensionLimit
        else { return nil }
        return Int(String(decoding: digits, as: UTF8.self), radix: 16)
    }
}
