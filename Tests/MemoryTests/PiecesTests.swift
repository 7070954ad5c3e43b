import Memory
import Testing

/// What is put into a block piece by piece.
@Suite("Pieces of a head") struct PiecesTests {
    /// So many bytes, each unlike its neighbours.
    private func numbered(_ count: Int) -> [UInt8] {
        (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 7 &+ 1) }
    }

    @Test("bytes of every length are appended as they are, and nothing beside them") func copied() {
        let pool = BlockPool(blockBytes: 1024, limit: 1)
        guard var block = pool.take() else { return }
        var wrong: [Int] = []
        for length in 0...200 {
            for start in [0, 1, 5] {
                let source = numbered(start + length)
                block.removeAll()
                block.append("<")
                block.append(source.rawSpan.extracting(start..<(start + length)))
                block.append(">")
                let expected = Array("<".utf8) + source[start...] + Array(">".utf8)
                if block.bytes.array != expected { wrong.append(length) }
            }
        }
        #expect(wrong == [])
    }

    @Test(
        "three pieces are appended whole or not at all, wherever the block ends",
        arguments: [0, 3, 9, 20, 48])
    func three(length: Int) {
        let pool = BlockPool(blockBytes: 256, limit: 1)
        guard var block = pool.take(), let text = ShortText(numbered(length).rawSpan) else {
            Issue.record("no block or no text")
            return
        }
        let source = numbered(length)
        let whole = Array("name: ".utf8) + source + Array("\r\n".utf8)
        for room in 0...(length + 70) {
            for isShort in [false, true] {
                block.removeAll()
                while block.freeCount > room { block.append(0x78) }
                let before = block.byteCount
                let isAppended =
                    isShort
                    ? block.append("name: ", text, "\r\n") : block.append("name: ", source.rawSpan, "\r\n")
                let written = block.bytes.extracting(before..<block.byteCount).array
                let isRight =
                    room >= whole.count ? isAppended && written == whole : !isAppended && written == []
                #expect(isRight, "\(length) bytes in a room of \(room)")
            }
        }
    }

    @Test("what may lie outside is looked for, and is none there") func outside() {
        let bytes: [UInt8] = [1, 2, 3]
        let single = [-1, 0, 2, 3, .min, .max].map { bytes.rawSpan.byte(ifAt: $0) }
        #expect(single == [nil, 1, 3, nil, nil, nil])
        let pairs = [-1, 0, 1, 2, 3, .min, .max].map { bytes.rawSpan.pair(ifAt: $0) }
        #expect(pairs == [nil, 0x0201, 0x0302, nil, nil, nil, nil])
        let empty = (RawSpan().byte(ifAt: 0), RawSpan().pair(ifAt: 0))
        #expect(empty == (nil, nil))
    }

    @Test("a short text holds up to 48 bytes, and none that is longer") func short() {
        for length in 0...48 {
            let kept = ShortText(numbered(length).rawSpan)?.withBytes { $0.array }
            #expect(kept == numbered(length))
        }
        let isRefused = ShortText(numbered(49).rawSpan) == nil
        #expect(isRefused)
        let empty = ShortText().byteCount
        #expect(empty == 0)
    }

    @Test(
        "a number is told in sixteen hexadecimal digits",
        arguments: [0, 1, 0x0123_4567_89ab_cdef, UInt64.max])
    func hexadecimal(number: UInt64) {
        let digits = number.hexadecimal
        let words: InlineArray<2, UInt64> = [digits.first, digits.last]
        let plain = String(number, radix: 16)
        let text = words.rawSpan.text
        #expect(text == String(repeating: "0", count: 16 - plain.count) + plain)
    }
}
