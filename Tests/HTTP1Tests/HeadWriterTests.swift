import HTTP
import HTTP1
import Memory
import Testing

/// The request of `text`, parsed, with what `edit` did to it, written again.
private func forwarded(
    _ text: String, isText: Bool = true, blockBytes: Int = 4096, _ edit: (inout FieldTable, RawSpan) -> Void
) -> String? {
    let bytes = Array(text.utf8)
    let span = bytes.rawSpan
    var head = RequestHead(fieldCapacity: 100)
    var scanned = 0
    guard
        case .complete = RequestParser.parse(span, limits: testLimits, scanned: &scanned, into: &head)
    else { return nil }
    edit(&head.fields, span)
    let pool = BlockPool(blockBytes: blockBytes, limit: 1)
    var queue = ByteQueue()
    guard var writer = HeadWriter(from: pool) else { return nil }
    writer.requestLine(
        method: span[head.methodBytes], path: span[head.path], query: span[head.query],
        hasQuery: head.hasQuery)
    writer.fields(head.fields, of: span, isText: isText)
    writer.field("X-Forwarded-Proto: ", Array("https".utf8).rawSpan)
    writer.field("Content-Length: ", number: 1234567)
    writer.end()
    let isFinished = writer.finish(into: &queue)
    return isFinished ? String(decoding: queue.array, as: UTF8.self) : nil
}

@Suite("RFC 9112 §3, §4, §5: heads written") struct HeadWriterTests {
    private static let lines = ["a: 1", "B-b:\t two \t", "Host: h", "c:", "D: 4 4"]
    private static let head = "GET /p?q HTTP/1.1\r\n" + lines.joined(separator: "\r\n") + "\r\n\r\n"
    private static let added = "X-Forwarded-Proto: https\r\nContent-Length: 1234567\r\n\r\n"

    @Test("any choice of dropped lines leaves the others byte for byte, in order", arguments: 0..<32)
    func dropped(mask: Int) {
        let written = forwarded(Self.head) { table, _ in
            for index in 0..<5 where mask >> index & 1 == 1 { table.drop(index) }
        }
        let kept = (0..<5).filter { mask >> $0 & 1 == 0 }.map { Self.lines[$0] + "\r\n" }.joined()
        #expect(written == "GET /p?q HTTP/1.1\r\n" + kept + Self.added)
    }

    @Test("lines that are not HTTP/1 text are put together from name and value")
    func pieces() {
        let written = forwarded(Self.head, isText: false) { table, _ in table.drop(0) }
        #expect(written == "GET /p?q HTTP/1.1\r\nB-b: two\r\nHost: h\r\nc: \r\nD: 4 4\r\n" + Self.added)
    }

    @Test("a query that is empty keeps its question mark, one that is absent gets none")
    func query() {
        let empty = forwarded("GET /? HTTP/1.1\r\nHost: a\r\n\r\n") { _, _ in }
        #expect(empty?.hasPrefix("GET /? HTTP/1.1\r\nHost: a\r\nX-") == true)
        let none = forwarded("GET / HTTP/1.1\r\nHost: a\r\n\r\n") { _, _ in }
        #expect(none?.hasPrefix("GET / HTTP/1.1\r\nHost: a\r\nX-") == true)
    }

    @Test(
        "a target that is path and query alone is written as it stands with its method",
        arguments: [
            ("GET /p?q=? HTTP/1.1\r\nHost: a\r\n\r\n", "GET /p?q=?"),
            ("\r\nBREW / HTTP/1.0\r\n\r\n", "BREW /"), ("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "OPTIONS *"),
            ("GET /? HTTP/1.1\r\nHost: a\r\n\r\n", "GET /?"),
            ("GET http://a/p HTTP/1.1\r\nHost: a\r\n\r\n", nil),
            ("GET http://a HTTP/1.1\r\nHost: a\r\n\r\n", nil),
        ])
    func line(text: String, expected: String?) {
        let bytes = Array(text.utf8)
        var head = RequestHead(fieldCapacity: 100)
        var scanned = 0
        let step = RequestParser.parse(bytes.rawSpan, limits: testLimits, scanned: &scanned, into: &head)
        #expect(step == .complete(byteCount: bytes.count))
        let line = head.line.map { bytes.rawSpan[$0].text }
        #expect(line == expected)
        head.version = .http2
        let isNone = head.line == nil
        #expect(isNone)
    }

    @Test("a head that does not fit its block is refused whole, wherever it ends")
    func overrun() {
        let full = forwarded(Self.head) { _, _ in }?.utf8.count ?? 0
        for room in 1...full {
            let written = forwarded(Self.head, blockBytes: 64 + room) { _, _ in }
            #expect((written != nil) == (room == full))
        }
    }

    @Test("no writer without a block")
    func exhausted() {
        let pool = BlockPool(blockBytes: 128, limit: 1)
        let held = pool.take()
        let hasWriter = HeadWriter(from: pool) != nil
        let isHeld = held != nil
        #expect(isHeld && !hasWriter)
    }

    @Test(
        "a status line has the registered words, or none",
        arguments: [(200, "200 OK"), (404, "404 Not Found"), (103, "103 Early Hints"), (599, "599 ")])
    func status(status: Int, words: String) {
        let pool = BlockPool(blockBytes: 256, limit: 1)
        var queue = ByteQueue()
        guard var writer = HeadWriter(from: pool) else { return }
        writer.statusLine(status)
        writer.end()
        let isFinished = writer.finish(into: &queue)
        #expect(isFinished)
        #expect(String(decoding: queue.array, as: UTF8.self) == "HTTP/1.1 \(words)\r\n\r\n")
    }

    @Test("what ChunkWriter writes, ChunkedDecoder reads", arguments: [1, 9, 10, 15, 16, 255, 4096])
    func chunks(size: Int) {
        let pool = BlockPool(blockBytes: 256, limit: 1000)
        var queue = ByteQueue()
        var output = ByteQueue()
        var trailers = ByteQueue()
        let body = [UInt8](repeating: 0x79, count: size)
        var isWritten = ChunkWriter.header(size: size, into: &queue, from: pool)
        isWritten = isWritten && queue.append(body.rawSpan, from: pool)
        isWritten = isWritten && ChunkWriter.end(into: &queue, from: pool)
        isWritten = isWritten && ChunkWriter.last(hasTrailers: false, into: &queue, from: pool)
        var decoder = ChunkedDecoder()
        let step = decoder.decode(&queue, into: &output, trailers: &trailers, pool: pool, limit: 1 << 20)
        let read = output.array
        #expect(isWritten && step == .ended && read == body)
    }
}
