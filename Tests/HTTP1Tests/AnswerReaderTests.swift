import HTTP1
import Memory
import Testing

@Suite("A whole answer, kept") struct AnswerReaderTests {
    private static let limits = AnswerLimits(headBytes: 512, fields: 8, interimHeads: 2, bodyBytes: 1000)

    private struct Outcome: Equatable {
        var step: AnswerReader.Step
        var body = ""
        var maxAge: Int?
    }

    /// What comes of an answer in pieces of so many bytes.
    private func outcome(_ text: String, pieces: Int = .max, _ end: AnswerInput = .ended, blocks: Int = 8)
        -> Outcome
    {
        let bytes = Array(text.utf8)
        let pool = BlockPool(blockBytes: 1024, limit: blocks)
        var reader = AnswerReader(limits: Self.limits)
        var queue = ByteQueue()
        var step = AnswerReader.Step.more
        var offset = 0
        while step == .more {
            let next = bytes.count - offset <= pieces ? bytes.count : offset + pieces
            let isAppended = queue.append(bytes.rawSpan.extracting(offset..<next), from: pool)
            #expect(isAppended)
            offset = next
            step = reader.read(&queue, offset == bytes.count ? end : .open, from: pool)
        }
        guard step == .done else { return Outcome(step: step) }
        return Outcome(
            step: step, body: String(decoding: reader.body, as: UTF8.self), maxAge: reader.maxAgeSeconds)
    }

    private static let good: [(String, Outcome)] = [
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nCache-Control: max-age=60\r\n\r\nabcdef",
            .init(step: .done, body: "abc", maxAge: 60)
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\nX: y\r\n\r\n",
            .init(step: .done, body: "abc")
        ),
        ("HTTP/1.0 200 OK\r\n\r\nabc", .init(step: .done, body: "abc")),
        ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", .init(step: .done)),
        (
            "HTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx",
            .init(step: .done, body: "x")
        ),
    ]

    @Test("the body is the same in whatever pieces it comes", arguments: good.indices) func pieces(index: Int)
    {
        let (text, expected) = Self.good[index]
        for size in [1, 2, 3, 7, 50, Int.max] { #expect(outcome(text, pieces: size) == expected) }
    }

    @Test("a prefix of an answer is none, however the connection ends", arguments: good.indices)
    func prefixes(index: Int) {
        let text = Self.good[index].0
        let isUntilClose = text.hasPrefix("HTTP/1.0")
        for count in 0..<(isUntilClose ? text.utf8.count - 3 : Self.whole(text)) {
            let prefix = String(decoding: Array(text.utf8).prefix(count), as: UTF8.self)
            let headEnd = isUntilClose && prefix.hasSuffix("\r\n\r\n")
            for end in [AnswerInput.ended, .cut] {
                #expect(
                    outcome(prefix, pieces: 5, end)
                        == Outcome(step: headEnd && end == .ended ? .done : .failed(.truncated)))
            }
        }
        // RFC 9112 §9.8: what lasts until the end of the connection needs one that was said.
        if isUntilClose { #expect(outcome(text, .cut) == Outcome(step: .failed(.truncated))) }
    }

    /// Where the answer ends; only the first one has more behind it.
    private static func whole(_ text: String) -> Int {
        text.hasSuffix("abcdef") ? text.utf8.count - 3 : text.utf8.count
    }

    @Test(
        "what is not to be taken is refused by its name",
        arguments: [
            ("HTTP/1.1 301 Moved\r\nLocation: /\r\nContent-Length: 0\r\n\r\n", .status(301)),
            ("HTTP/1.1 404 Not Found\r\n\r\n", .status(404)), ("HTTP/1.1 206 Partial\r\n\r\n", .status(206)),
            ("hello", .notHTTP), ("HTTP/2 200 OK\r\n\r\n", .notHTTP),
            ("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", .notHTTP),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n", .notHTTP),
            ("HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n", .tooLarge),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3e9\r\n"
                    + String(repeating: "x", count: 1001) + "\r\n0\r\n\r\n", .tooLarge
            ),
            ("HTTP/1.1 200 OK\r\n\r\n" + String(repeating: "x", count: 1001), .tooLarge),
            ("HTTP/1.1 200 OK\r\nX: " + String(repeating: "x", count: 512) + "\r\n\r\n", .tooLarge),
            ("HTTP/1.1 200 OK\r\n" + String(repeating: "X: y\r\n", count: 9) + "\r\n", .tooLarge),
            (String(repeating: "HTTP/1.1 102 Processing\r\n\r\n", count: 3), .notHTTP),
        ] as [(String, AnswerReader.Failure)])
    func refused(text: String, failure: AnswerReader.Failure) {
        for size in [11, Int.max] { #expect(outcome(text, pieces: size) == Outcome(step: .failed(failure))) }
    }

    @Test(
        "a body of the most bytes is taken in each framing, and a sender that drips it fills no block with each byte"
    )
    func dripped() {
        let body = String(repeating: "x", count: 1000)
        let chunks = String(repeating: "1\r\nx\r\n", count: 1000) + "0\r\n\r\n"
        for text in [
            "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + body,
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks,
            "HTTP/1.0 200 OK\r\n\r\n" + body,
        ] {
            #expect(outcome(text, pieces: 1, blocks: 3) == Outcome(step: .done, body: body))
        }
    }

    @Test("a head that heads of 1xx have left in two blocks is read like any other") func straddling() {
        let interim = "HTTP/1.1 103 Early Hints\r\nLink: " + String(repeating: "a", count: 400) + "\r\n\r\n"
        let final =
            "HTTP/1.1 200 OK\r\nX: " + String(repeating: "b", count: 400) + "\r\nContent-Length: 2\r\n\r\nok"
        #expect(outcome(interim + interim + final) == Outcome(step: .done, body: "ok"))
    }
}
