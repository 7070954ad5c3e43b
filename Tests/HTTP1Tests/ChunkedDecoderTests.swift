import HTTP
import HTTP1
import Memory
import Testing

/// What became of a chunked body: its bytes, its trailer lines, what is left of the input, and the last answer.
private struct Decoded: Equatable {
    var body = ""
    var trailers = ""
    var rest = ""
    var step = ChunkStep.needsMore
}

/// Feeds `text` in pieces of `piece` bytes into small blocks, at most `limit` bytes of body a call.
private func decoded(_ bytes: [UInt8], piece: Int, limit: Int = 1000, blockBytes: Int = 64 + 32) -> Decoded {
    let pool = BlockPool(blockBytes: blockBytes, limit: 10000)
    var input = ByteQueue()
    var output = ByteQueue()
    var trailers = ByteQueue()
    var decoder = ChunkedDecoder()
    var answer = Decoded()
    var offset = 0
    var isStopped = false
    while !isStopped {
        let end = min(offset + piece, bytes.count)
        // A block of its own for each piece, as reads from a socket would leave them.
        if let block = pool.take() {
            var filled = block
            filled.append(bytes.rawSpan.extracting(offset..<end))
            if filled.byteCount < end - offset { return answer }
            input.append(filled)
        }
        offset = end
        repeat {
            let before = output.byteCount
            answer.step = decoder.decode(
                &input, into: &output, trailers: &trailers, pool: pool, limit: limit)
            if output.byteCount - before > limit { answer.body = "over the limit" }
        } while answer.step == .limitReached
        isStopped = answer.step != .needsMore || offset == bytes.count
    }
    while offset < bytes.count {
        let byte = bytes[offset]
        if !input.append(byte, from: pool) { return answer }
        offset += 1
    }
    answer.body += String(decoding: output.array, as: UTF8.self)
    answer.trailers = String(decoding: trailers.array, as: UTF8.self)
    answer.rest = String(decoding: input.array, as: UTF8.self)
    return answer
}

private let goodBodies: [(String, String, String)] = [
    ("0\r\n\r\n", "", ""),
    ("3\r\nabc\r\n0\r\n\r\n", "abc", ""),
    ("3\r\nabc\r\nA;x=y;z=\"a b\"\r\n0123456789\r\n00\r\n\r\n", "abc0123456789", ""),
    ("0003 \t;a\r\na\r\n\r\n0;last\r\nA: b\r\nC-D:\t e\r\n\r\n", "a\r\n", "A: b\r\nC-D:\t e\r\n"),
    ("0000000000000001\r\n\n\r\n0\r\nX:\r\n\r\n", "\n", "X:\r\n"),
    ("2d\r\n" + String(repeating: "x", count: 45) + "\r\n0\r\n\r\n", String(repeating: "x", count: 45), ""),
]

@Suite("RFC 9112 §7.1: chunked bodies") struct ChunkedDecoderTests {
    @Test(
        "a good body is decoded in pieces of any size, and what follows is left alone", arguments: goodBodies)
    func good(text: String, body: String, trailers: String) {
        let bytes = Array((text + "GET /").utf8)
        for piece in 1...32 {
            for limit in [1, 2, 7, 1000] {
                let answer = decoded(bytes, piece: piece, limit: limit)
                let expected = Decoded(body: body, trailers: trailers, rest: "GET /", step: .ended)
                #expect(answer == expected, "pieces of \(piece), limit \(limit)")
            }
        }
    }

    @Test("every prefix of a good body waits for more", arguments: goodBodies)
    func prefixes(text: String, body: String, trailers: String) {
        let bytes = Array(text.utf8)
        for end in 1..<bytes.count {
            let answer = decoded(Array(bytes[..<end]), piece: 16)
            let isPart = body.utf8.starts(with: answer.body.utf8)
            #expect(answer.step == .needsMore && isPart, "prefix of \(end) bytes")
        }
    }

    @Test(
        "a size or an end that two parsers might read in two ways is refused",
        arguments: [
            ("\r\n", ChunkError.badSize), (" 3\r\nabc", .badSize), ("+3\r\nabc", .badSize),
            ("-3\r\nabc", .badSize),
            ("0x3\r\nabc", .badSize), ("3g\r\nabc", .badSize), (";a\r\n", .badSize), ("g\r\n", .badSize),
            ("8000000000000000\r\n", .badSize), ("FFFFFFFFFFFFFFFF\r\n", .badSize),
            ("00000000000000001\r\na", .badSize), ("3_0\r\n", .badSize), ("3,3\r\n", .badSize),
            ("3 \r\nabc", .badExtension), ("3 3\r\nabc", .badExtension), ("3;\0\r\n", .badExtension),
            ("3;\u{7f}\r\n", .badExtension), ("3\nabc\r\n", .bareLineEnd), ("3;a\nabc\r\n", .bareLineEnd),
            ("\n3\r\nabc\r\n", .bareLineEnd), ("3\r\r\nabc", .bareLineEnd), ("3\rabc\r\n", .bareLineEnd),
            ("3\r\nabcd\r\n", .badChunkEnd), ("3\r\nabc\n", .badChunkEnd), ("3\r\nabc\r\r", .badChunkEnd),
            ("3\r\nabc0\r\n\r\n", .badChunkEnd), ("0\r\n\n", .bareLineEnd), ("0\r\n\r\r", .bareLineEnd),
            ("0\r\n A: b\r\n\r\n", .badTrailer), ("0\r\nA: b\r\n c\r\n\r\n", .badTrailer),
            ("0\r\nA : b\r\n\r\n", .badTrailer), ("0\r\n: b\r\n\r\n", .badTrailer),
            ("0\r\nAb\r\n\r\n", .badTrailer),
            ("0\r\nA: \0\r\n\r\n", .badTrailer), ("0\r\nA: b\n\r\n", .bareLineEnd),
            ("0\r\nA: b\rc\r\n", .bareLineEnd),
        ])
    func refused(text: String, expected: ChunkError) {
        for piece in [1, 2, 3, 32] {
            let answer = decoded(Array(text.utf8), piece: piece)
            #expect(answer.step == .refused(expected), "pieces of \(piece)")
        }
    }

    @Test("the largest size that an Int holds is taken as it is")
    func largest() {
        #expect(decoded(Array("7FFFFFFFFFFFFFFF\r\nabc".utf8), piece: 32).step == .needsMore)
    }

    @Test("extensions and trailers without end are refused")
    func endless() {
        let line = "1;" + String(repeating: "a", count: ChunkedDecoder.lineExtensionLimit)
        #expect(decoded(Array((line + "\r\n").utf8), piece: 30).step == .refused(.extensionTooLong))
        let chunk = "1;" + String(repeating: "a", count: ChunkedDecoder.lineExtensionLimit - 1) + "\r\nx\r\n"
        let count = ChunkedDecoder.extensionLimit / ChunkedDecoder.lineExtensionLimit
        let fits = String(repeating: chunk, count: count)
        #expect(decoded(Array((fits + "0\r\n\r\n").utf8), piece: 30).step == .ended)
        #expect(decoded(Array((fits + "0;\r\n\r\n").utf8), piece: 30).step == .refused(.extensionTooLong))
        let lines = "0\r\n" + String(repeating: "a:\r\n", count: ChunkedDecoder.trailerLineLimit)
        #expect(decoded(Array((lines + "\r\n").utf8), piece: 30).step == .ended)
        #expect(decoded(Array((lines + "a:\r\n\r\n").utf8), piece: 30).step == .refused(.trailersTooLong))
        let long = "0\r\na:" + String(repeating: "x", count: ChunkedDecoder.trailerByteLimit - 6)
        #expect(decoded(Array((long + "\r\n\r\n").utf8), piece: 30).step == .ended)
        #expect(decoded(Array((long + "x\r\n\r\n").utf8), piece: 30).step == .refused(.trailersTooLong))
    }

    @Test("without blocks nothing is lost: the next call goes on")
    func exhausted() {
        let pool = BlockPool(blockBytes: 64 + 32, limit: 2)
        let source = BlockPool(blockBytes: 64 + 64, limit: 10)
        var input = ByteQueue()
        var output = ByteQueue()
        var trailers = ByteQueue()
        let text = "28\r\n" + String(repeating: "b", count: 40) + "\r\n0\r\nA: b\r\n\r\n"
        let isFed = input.append(Array(text.utf8).rawSpan, from: source)
        var decoder = ChunkedDecoder()
        var body = ""
        var refusals = 0
        // One block is held by somebody else now and then.
        for turn in 0..<100 where !decoder.isEnded {
            let first = turn % 2 == 0 ? pool.take() : nil
            let second = turn % 2 == 0 ? pool.take() : nil
            let step = decoder.decode(&input, into: &output, trailers: &trailers, pool: pool, limit: 5)
            if step == .outOfBlocks { refusals += 1 }
            let isHeld = first != nil || second != nil
            if !isHeld || step == .ended {
                body += String(decoding: output.array, as: UTF8.self)
                output.removeAll()
            }
        }
        let lines = String(decoding: trailers.array, as: UTF8.self)
        #expect(isFed && decoder.isEnded && refusals > 0)
        #expect(body == String(repeating: "b", count: 40) && lines == "A: b\r\n")
    }

    @Test("whole blocks of body are moved, not copied")
    func moved() {
        let pool = BlockPool(limit: 100)
        var input = ByteQueue()
        var output = ByteQueue()
        var trailers = ByteQueue()
        var decoder = ChunkedDecoder()
        let isSized = ChunkWriter.header(size: 3 * pool.blockCapacity, into: &input, from: pool)
        var step = decoder.decode(&input, into: &output, trailers: &trailers, pool: pool, limit: 1 << 20)
        let blocks = pool.outstanding
        for _ in 0..<3 {
            guard var block = pool.take() else { continue }
            while block.append(0x78) {}
            input.append(block)
        }
        step = decoder.decode(&input, into: &output, trailers: &trailers, pool: pool, limit: 1 << 20)
        let counts = (output.byteCount, output.blockCount, pool.outstanding - blocks)
        #expect(isSized && step == .needsMore)
        #expect(counts == (3 * 16320, 3, 3))
    }
}

@Suite("RFC 9110 §6.5: trailer fields") struct TrailersTests {
    @Test("what frames, routes, authenticates or changes the reading of a message is not passed on")
    func allowed() {
        let text =
            "X-Checksum: a\r\nContent-Length: 5\r\ntransfer-encoding: chunked\r\nHost: b\r\nAuthorization: c\r\n"
            + "Set-Cookie: d\r\nContent-Encoding: gzip\r\nCache-Control: e\r\nTrailer: f\r\ngrpc-status: 0\r\n"
            + "Server-Timing: g\r\nContent-Type: h\r\nWWW-Authenticate: i\r\nExpires: j\r\nAge: 1\r\nVary: k\r\n"
        let bytes = Array(text.utf8)
        var table = FieldTable(capacity: 32)
        let isParsed = Trailers.parse(bytes.rawSpan, into: &table)
        let lines = fieldLines(table, bytes.rawSpan)
        #expect(isParsed)
        #expect(lines == ["X-Checksum: a", "grpc-status: 0", "Server-Timing: g"])
    }

    @Test(
        "bytes that are no field lines are refused",
        arguments: ["a", "a: b", "a: b\r", " a: b\r\n", "a: b\r\n\r\n"])
    func refused(text: String) {
        let bytes = Array(text.utf8)
        var table = FieldTable(capacity: 32)
        let isParsed = Trailers.parse(bytes.rawSpan, into: &table)
        #expect(!isParsed)
    }
}
