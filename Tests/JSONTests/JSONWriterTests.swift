import JSON
import Memory
import Testing

@Suite("RFC 8259 §7 Strings, written") struct JSONWriterTests {
    private func written(_ bytes: [UInt8]) -> String {
        let pool = BlockPool(blockBytes: 4096, limit: 4)
        guard var block = pool.take() else { return "no block" }
        let isWritten = JSONWriter.append(bytes.rawSpan, to: &block)
        let inBlock = block.bytes.array
        var queue = ByteQueue()
        let isQueued = JSONWriter.append(bytes.rawSpan, to: &queue, from: pool)
        let inQueue = queue.array
        let count = JSONWriter.byteCount(bytes.rawSpan)
        #expect(isWritten && isQueued && inBlock == inQueue && count == inBlock.count)
        return String(decoding: inBlock, as: UTF8.self)
    }

    @Test(
        "what could end the string, the line or the trust in a terminal is escaped",
        arguments: [
            ("", #""""#), ("plain", #""plain""#), ("a\"b\\c/", #""a\"b\\c/""#), ("\n\r\t", #""\n\r\t""#),
            ("\u{0}\u{1}\u{1b}\u{1f}\u{7f}", #""\u0000\u0001\u001b\u001f\u007f""#),
            ("\u{80}\u{9b}\u{9f}\u{a0}", "\"\\u0080\\u009b\\u009f\u{a0}\""), ("é日😀", "\"é日😀\""),
        ])
    func escaped(text: String, expected: String) { #expect(written(Array(text.utf8)) == expected) }

    @Test(
        "each byte that is not UTF-8 becomes U+FFFD",
        arguments: [
            ([0xff], #""\ufffd""#), ([0x61, 0xc2], #""a\ufffd""#), ([0xc0, 0x80], #""\ufffd\ufffd""#),
            ([0xed, 0xa0, 0x80], #""\ufffd\ufffd\ufffd""#), ([0xe2, 0x28, 0x61], #""\ufffd(a""#),
            ([0xc2, 0x22], #""\ufffd\"""#), ([0xf0, 0x9f, 0x98, 0x0a], #""\ufffd\ufffd\ufffd\n""#),
        ] as [([UInt8], String)])
    func invalid(bytes: [UInt8], expected: String) { #expect(written(bytes) == expected) }

    @Test("any two bytes written are one string to the reader") func pairs() throws {
        for first in UInt8.min...UInt8.max {
            for second in [0x00, 0x0a, 0x22, 0x41, 0x5c, 0x75, 0x80, 0x9f, 0xa0, 0xbf, 0xff] as [UInt8] {
                #expect(try words(written([first, second])).count == 1)
            }
        }
    }

    @Test("a block without room is left as it was, at every size of room") func room() {
        let pool = BlockPool(blockBytes: 64 + 24, limit: 1)
        let bytes = Array("ab\n\u{1}\"".utf8)
        let needed = JSONWriter.byteCount(bytes.rawSpan)
        for filled in 0...24 {
            guard var block = pool.take() else { return }
            for _ in 0..<filled { block.append(UInt8(ascii: "x")) }
            let isWritten = JSONWriter.append(bytes.rawSpan, to: &block)
            let count = block.byteCount
            #expect(isWritten == (filled + needed <= 24))
            #expect(count == (isWritten ? filled + needed : filled))
        }
    }

    @Test("a queue whose pool is spent says so") func spent() {
        let pool = BlockPool(blockBytes: 64 + 8, limit: 1)
        var queue = ByteQueue()
        let bytes = Array("0123456789".utf8)
        let isWritten = JSONWriter.append(bytes.rawSpan, to: &queue, from: pool)
        #expect(!isWritten)
    }
}
