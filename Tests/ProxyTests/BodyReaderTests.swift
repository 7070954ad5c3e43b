import HTTP
import Memory
import Testing

@testable import Proxy

@Suite("RFC 9112 §6 Message Body") struct BodyReaderTests {
    private struct Outcome: Equatable {
        var body: [UInt8]
        var rest: [UInt8]
        var last: BodyReader.Step
        var isEnded: Bool
        var byteCount: Int
    }

    /// Feeds `pieces` one after another, reading all that can be read of each before the next.
    private func read(
        _ framing: BodyFraming, _ pieces: [[UInt8]], limit: Int = .max, blockBytes: Int = 128
    ) -> Outcome {
        let pool = BlockPool(blockBytes: blockBytes, limit: 4096)
        var reader = BodyReader(framing)
        var input = ByteQueue()
        var output = ByteQueue()
        var trailers = ByteQueue()
        var step = BodyReader.Step.needsMore
        for piece in pieces {
            _ = input.append(piece.rawSpan, from: pool)
            repeat {
                step = reader.move(from: &input, to: &output, trailers: &trailers, pool: pool, limit: limit)
            } while step == .limitReached && !input.isEmpty
        }
        return Outcome(
            body: output.array, rest: input.array, last: step, isEnded: reader.isEnded,
            byteCount: reader.byteCount)
    }

    private let body = (0..<700).map { UInt8(truncatingIfNeeded: $0 &* 7) }
    private let next = Array("GET / HTTP/1.1\r\n".utf8)

    private func chunked(_ sizes: [Int]) -> [UInt8] {
        var bytes: [UInt8] = []
        var offset = 0
        for size in sizes {
            bytes += Array("\(String(size, radix: 16))\r\n".utf8) + body[offset..<offset + size] + [13, 10]
            offset += size
        }
        return bytes + Array("0\r\n\r\n".utf8)
    }

    @Test(
        "§6.3: a body of a length ends after so many bytes, wherever they were split",
        arguments: [1, 2, 63, 64, 65, 700])
    func length(count: Int) {
        let whole = Array(body.prefix(count)) + next
        let expected = Outcome(
            body: Array(body.prefix(count)), rest: next, last: .ended, isEnded: true, byteCount: count)
        for split in stride(from: 0, through: whole.count, by: count > 100 ? 13 : 1) {
            let pieces = [Array(whole[..<split]), Array(whole[split...])]
            #expect(read(.length(count), pieces) == expected)
        }
        #expect(read(.length(count), whole.map { [$0] }) == expected)
    }

    @Test("§7.1: a chunked body ends with its last chunk, wherever it was split") func chunks() {
        let whole = chunked([1, 200, 64, 99]) + next
        let expected = Outcome(
            body: Array(body.prefix(364)), rest: next, last: .ended, isEnded: true, byteCount: 364)
        for split in 0...whole.count {
            let pieces = [Array(whole[..<split]), Array(whole[split...])]
            #expect(read(.chunked, pieces) == expected)
        }
        for limit in [1, 7, 64, 1000] { #expect(read(.chunked, [whole], limit: limit) == expected) }
    }

    @Test("§6.3: a body that ends with its connection takes all, and is whole only then") func close() {
        let outcome = read(.close, [Array(body.prefix(100)), Array(body.dropFirst(100))])
        #expect(outcome.body == body && outcome.last == .needsMore && !outcome.isEnded)
        var reader = BodyReader(.close)
        let isWhole = reader.sourceEnded()
        #expect(isWhole && reader.isEnded)
    }

    @Test(
        "§8: a body of a length, or in chunks, whose source ends early is not whole",
        arguments: [
            BodyFraming.length(5), .chunked, .stream,
        ])
    func cut(framing: BodyFraming) {
        var reader = BodyReader(framing)
        let isWhole = reader.sourceEnded()
        #expect(!isWhole)
    }

    @Test(
        "no body, or one of length 0, has ended before it began", arguments: [BodyFraming.none, .length(0)])
    func empty(framing: BodyFraming) {
        #expect(
            read(framing, [next])
                == Outcome(body: [], rest: next, last: .ended, isEnded: true, byteCount: 0))
        #expect(BodyReader(framing).remainingLength == 0)
    }

    @Test(
        "§7.1: a body whose framing is broken has no end, however often it is read on",
        arguments: [
            "x\r\n0\r\n\r\n", "1\r\nab\r\n0\r\n\r\n", "0\r\nX-A: \u{1}\r\n\r\n",
            // The line that is one too many stops the scan behind a CRLF, which read again would be the empty line.
            "0\r\n" + String(repeating: "a:b\r\n", count: 40) + "\r\n",
        ])
    func broken(text: String) {
        for cut in 0..<text.utf8.count {
            let pool = BlockPool(limit: 4)
            var reader = BodyReader(.chunked)
            var input = ByteQueue()
            var output = ByteQueue()
            var trailers = ByteQueue()
            _ = input.append(Array(text.utf8.prefix(cut)).rawSpan, from: pool)
            _ = reader.move(from: &input, to: &output, trailers: &trailers, pool: pool, limit: 100)
            _ = input.append(Array(text.utf8.dropFirst(cut)).rawSpan, from: pool)
            for _ in 0..<5 {
                let step = reader.move(
                    from: &input, to: &output, trailers: &trailers, pool: pool, limit: 100)
                let isEnded = reader.isEnded
                #expect(step == .refused && !isEnded, "cut at \(cut)")
            }
        }
    }

    @Test(
        "a chunked body is longer than a limit when a chunk says that it will be",
        arguments: [
            ("5\r\n", 5, false), ("6\r\n", 5, true), ("5\r\nabcde\r\n0\r\n\r\n", 5, false),
            ("5\r\nabcde\r\n1\r\n", 5, true), ("3\r\nab", 2, true), ("7fffffffffffffff\r\n", .max, false),
            ("2\r\nab\r\n7fffffffffffffff\r\n", .max, true),
        ])
    func announced(text: String, limit: Int, isLonger: Bool) {
        let pool = BlockPool(limit: 4)
        var reader = BodyReader(.chunked)
        var input = ByteQueue()
        var output = ByteQueue()
        var trailers = ByteQueue()
        _ = input.append(Array(text.utf8).rawSpan, from: pool)
        _ = reader.move(from: &input, to: &output, trailers: &trailers, pool: pool, limit: 100)
        let answer = reader.isLonger(than: limit)
        #expect(answer == isLonger)
    }

    @Test("what is still to come is known for a length, and for nothing else") func remaining() {
        let pool = BlockPool(limit: 4)
        var reader = BodyReader(.length(10))
        var input = ByteQueue()
        var output = ByteQueue()
        var trailers = ByteQueue()
        _ = input.append("abc", from: pool)
        let step = reader.move(from: &input, to: &output, trailers: &trailers, pool: pool, limit: 100)
        #expect(step == .needsMore && reader.remainingLength == 7 && reader.byteCount == 3)
        #expect(BodyReader(.chunked).remainingLength == nil)
        #expect(BodyReader(.close).remainingLength == nil)
    }

    @Test("a call moves no more than it may", arguments: [BodyFraming.length(700), .close]) func limit(
        framing: BodyFraming
    ) {
        let pool = BlockPool(blockBytes: 128, limit: 64)
        for limit in [1, 63, 64, 65, 500] {
            var reader = BodyReader(framing)
            var input = ByteQueue()
            var output = ByteQueue()
            var trailers = ByteQueue()
            _ = input.append(body.rawSpan, from: pool)
            let step = reader.move(from: &input, to: &output, trailers: &trailers, pool: pool, limit: limit)
            #expect(step == .limitReached)
            #expect(output.byteCount == limit && reader.byteCount == limit)
        }
    }

    @Test(
        "an exhausted pool loses nothing: the call can be made again when blocks have come back",
        arguments: [
            BodyFraming.length(100), .chunked, .close,
        ])
    func exhausted(framing: BodyFraming) {
        let source = BlockPool(blockBytes: 4096, limit: 4)
        let pool = BlockPool(blockBytes: 128, limit: 1)
        let text = framing == .chunked ? chunked([100]) + next : Array(body.prefix(100)) + next
        var reader = BodyReader(framing)
        var input = ByteQueue()
        var output = ByteQueue()
        var trailers = ByteQueue()
        _ = input.append(text.rawSpan, from: source)
        var read: [UInt8] = []
        do {
            let block = pool.take()
            let step = reader.move(from: &input, to: &output, trailers: &trailers, pool: pool, limit: 50)
            let isTaken = block != nil
            #expect(isTaken && step == .outOfBlocks && output.isEmpty)
        }
        for _ in 0..<100 where read.count < 100 {
            _ = reader.move(from: &input, to: &output, trailers: &trailers, pool: pool, limit: 50)
            read += output.array
            output.removeAll()
        }
        #expect(read.prefix(100) == body.prefix(100))
    }

    @Test(
        "§7.1: a chunked body that is broken is refused",
        arguments: ["x\r\n", "1\r\nab\r\n", "1\nA\r\n", "-1\r\n"])
    func refused(text: String) {
        let outcome = read(.chunked, [Array(text.utf8)])
        #expect(outcome.last == .refused && !outcome.isEnded)
    }

    @Test("RFC 9113 §8.1: a body of a stream ends when its last piece says so") func stream() {
        var reader = BodyReader(.stream)
        reader.took(10, isLast: false)
        #expect(!reader.isEnded && reader.byteCount == 10)
        reader.took(0, isLast: true)
        #expect(reader.isEnded && reader.byteCount == 10)
    }
}
