import Foundation
import Memory
import Synchronization
import Testing

@Suite("Blocks and queues") struct BlockTests {
    private func filled(_ text: String, times: Int = 1) -> [UInt8] {
        Array(String(repeating: text, count: times).utf8)
    }

    @Test("a pool hands out no more than its limit, and takes blocks back") func limit() {
        let pool = BlockPool(blockBytes: 128, limit: 2)
        do {
            let first = pool.take()
            let second = pool.take()
            let third = pool.take()
            let answers = (first != nil, second != nil, third == nil, pool.outstanding)
            #expect(answers == (true, true, true, 2))
        }
        #expect(pool.outstanding == 0)
    }

    /// How many a pool keeps when all of `count` that were out at once have come back.
    private func use(_ count: Int, of pool: borrowing BlockPool) -> Int {
        var queue = ByteQueue()
        let block = filled("x", times: 64)
        for _ in 0..<count { _ = queue.append(block.rawSpan, from: pool) }
        queue.removeAll()
        return pool.kept
    }

    @Test("blocks that were needed since the last look are kept, the others go back, but for a few")
    func trim() {
        let pool = BlockPool(blockBytes: 128, limit: 100, keep: 2, most: 8)
        let before = (use(2, of: pool), pool.hasSurplus)
        #expect(before == (2, false))
        let many = (use(20, of: pool), pool.hasSurplus)
        #expect(many == (8, true))
        pool.trim()
        let atFirst = pool.kept
        #expect(atFirst == 8)
        // Five of them are needed again; of the three that were not, two are kept for good.
        _ = use(5, of: pool)
        pool.trim()
        let needed = pool.kept
        #expect(needed == 7)
        pool.trim()
        let idle = (pool.kept, pool.hasSurplus, pool.outstanding)
        #expect(idle == (2, false, 0))
    }

    @Test("where memory is short no unused block is kept beyond those few") func trimShort() {
        let pool = BlockPool(blockBytes: 128, limit: 100, keep: 2, most: 8)
        let many = use(8, of: pool)
        pool.trim(isShort: true)
        let left = pool.kept
        #expect((many, left) == (8, 2))
    }

    @Test("one trim gives back a bounded number") func trimBound() {
        let pool = BlockPool(blockBytes: 128, limit: 3000, keep: 0, most: 3000)
        let many = use(2500, of: pool)
        pool.trim(isShort: true)
        let left = pool.kept
        #expect((many, left) == (2500, 2500 - BlockPool.trimmedAtOnce))
    }

    @Test(
        "a queue gives back the bytes it was given, in order, across blocks",
        arguments: [1, 63, 64, 65, 1000])
    func order(count: Int) {
        let pool = BlockPool(blockBytes: 128, limit: 100)
        var queue = ByteQueue()
        let bytes = (0..<count).map { UInt8(truncatingIfNeeded: $0) }
        let isTaken = queue.append(bytes.rawSpan, from: pool)
        #expect(isTaken)
        var read: [UInt8] = []
        while !queue.isEmpty {
            let piece = queue.firstBytes.array
            read += piece.prefix(7)
            queue.consume(min(7, piece.count))
        }
        #expect(read == bytes)
        let left = pool.outstanding
        #expect(left == 0)
    }

    @Test("an exhausted pool refuses an append whole") func exhausted() {
        let pool = BlockPool(blockBytes: 128, limit: 1)
        var queue = ByteQueue()
        let isTaken = queue.append(filled("x", times: 65).rawSpan, from: pool)
        #expect(!isTaken)
        let count = queue.byteCount
        #expect(count == 0)
    }

    @Test("moving a part of a queue moves exactly that part", arguments: [0, 1, 64, 100, 128, 200])
    func part(count: Int) {
        let pool = BlockPool(blockBytes: 128, limit: 100)
        var source = ByteQueue()
        var sink = ByteQueue()
        let bytes = (0..<200).map { UInt8(truncatingIfNeeded: $0) }
        let isFilled = source.append(bytes.rawSpan, from: pool)
        let isMoved = sink.append(first: count, of: &source, from: pool)
        let halves = (sink.array, source.array)
        #expect(isFilled && isMoved)
        #expect(halves.0 == Array(bytes.prefix(count)))
        #expect(halves.1 == Array(bytes.dropFirst(count)))
    }

    @Test(
        "bytes go in front of the first where its block has room, and only there", arguments: [0, 8, 9, 20])
    func inFront(readAway: Int) {
        let pool = BlockPool(blockBytes: 128, limit: 100)
        var queue = ByteQueue()
        let bytes = (0..<100).map { UInt8(truncatingIfNeeded: $0) }
        let isFilled = queue.append(bytes.rawSpan, from: pool)
        queue.consume(readAway)
        let nine = [UInt8](repeating: 0xff, count: 9)
        let isPut = queue.prepend(nine.rawSpan)
        let all = queue.array
        let counts = (queue.byteCount, queue.blockCount)
        #expect(isFilled && isPut == (readAway >= 9))
        #expect(all == (isPut ? nine : []) + Array(bytes.dropFirst(readAway)))
        #expect(counts == (all.count, 2))
        var empty = ByteQueue()
        let isPutInNone = empty.prepend(nine.rawSpan)
        #expect(!isPutInNone)
    }

    @Test(
        "whole blocks are counted up to a limit",
        arguments: [(0, 0), (63, 0), (64, 64), (191, 128), (192, 192), (200, 200), (.max, 200)])
    func wholeBlocks(limit: Int, count: Int) {
        let pool = BlockPool(blockBytes: 128, limit: 100)
        var queue = ByteQueue()
        let isFilled = queue.append([UInt8](repeating: 1, count: 200).rawSpan, from: pool)
        let counted = queue.byteCount(ofBlocksWithin: limit)
        #expect(isFilled && counted == count)
    }

    @Test("four blocks are filled at once, with room in front of each", arguments: [1, 16256, 16257, 65024])
    func fourBlocks(count: Int) {
        let pool = BlockPool(limit: 4)
        var queue = ByteQueue()
        let filled = unsafe queue.fillFourUnsafely(from: pool) { spaces, number in
            var left = count
            for index in 0..<number {
                let part = unsafe min(left, spaces[index].count)
                for offset in 0..<part {
                    unsafe spaces[index][offset] = UInt8(truncatingIfNeeded: left &- offset)
                }
                left -= part
            }
            return count
        }
        let all = queue.array
        let blocks = queue.blockCount
        let out = pool.outstanding
        #expect(filled == count && blocks == (count + 16255) / 16256 && out == blocks)
        #expect(all == (0..<count).map { UInt8(truncatingIfNeeded: count &- $0) })
        let isPut = queue.prepend([UInt8](repeating: 2, count: ByteQueue.headroom).rawSpan)
        let isPutAgain = queue.prepend([3].rawSpan)
        #expect(isPut && !isPutAgain)
    }

    @Test("scattered bytes come together in one larger block") func contiguous() {
        let pool = BlockPool(blockBytes: 128, limit: 100)
        let large = BlockPool(blockBytes: 1024, limit: 1)
        var queue = ByteQueue()
        let bytes = (0..<300).map { UInt8(truncatingIfNeeded: $0) }
        let isFilled = queue.append(bytes.rawSpan, from: pool)
        let isJoined = queue.makeContiguous(in: large)
        let whole = queue.firstBytes.array
        #expect(isFilled && isJoined)
        #expect(whole == bytes)
    }

    @Test(
        "the first bytes come together, and those that do not fit stay behind them",
        arguments: [300, 961, 3000])
    func gathered(count: Int) {
        let pool = BlockPool(blockBytes: 128, limit: 100)
        let large = BlockPool(blockBytes: 1024, limit: 1)
        var queue = ByteQueue()
        let bytes = (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 7) }
        let isFilled = queue.append(bytes.rawSpan, from: pool)
        let isGathered = queue.gatherFirst(in: large)
        let first = queue.firstBytes.array
        let isGatheredAgain = queue.isContiguous || queue.gatherFirst(in: large)
        let all = queue.array
        #expect(isFilled && isGathered)
        #expect(first == Array(bytes.prefix(960)))
        #expect(isGatheredAgain == (count <= 960), "the pool had one block")
        #expect(all == bytes)
    }

    @Test("bytes of any length are copied into a block whole, with nothing beside them", arguments: 0...100)
    func copied(count: Int) {
        let pool = BlockPool(blockBytes: 256, limit: 1)
        guard var block = pool.take() else { return }
        let bytes = (0..<count).map { UInt8($0 + 1) }
        let isTaken = block.append("<") && block.append(whole: bytes.rawSpan) && block.append(">")
        let got = block.bytes.array
        #expect(isTaken)
        #expect(got == [0x3c] + bytes + [0x3e])
        let room = block.freeCount
        let fitting = [UInt8](repeating: 0x2e, count: room)
        let isTooLong = !block.append(whole: (fitting + [0x2e]).rawSpan)
        let isSame = block.bytes.array == got
        let isExact = block.append(whole: fitting.rawSpan)
        #expect((isTooLong, isSame, isExact, block.freeCount) == (true, true, true, 0))
    }

    @Test(
        "a field line is written whole or not at all",
        arguments: [(0, 0), (1, 0), (3, 5), (12, 36), (60, 60)])
    func fieldLine(name: Int, value: Int) {
        let line = filled("n", times: name) + Array(": ".utf8) + filled("v", times: value) + [0x0d, 0x0a]
        for room in 0...(line.count + 1) {
            let pool = BlockPool(blockBytes: 64 + 200, limit: 1)
            guard var block = pool.take() else { return }
            _ = block.append(whole: filled(".", times: 200 - room).rawSpan)
            let isWritten = block.append(
                field: filled("n", times: name).rawSpan, filled("v", times: value).rawSpan)
            let got = Array(block.bytes.array.dropFirst(200 - room))
            #expect(isWritten == (room >= line.count), "room for \(room)")
            #expect(got == (isWritten ? line : []), "room for \(room)")
        }
    }

    @Test("a queue from which all is consumed holds no block") func consumed() {
        let pool = BlockPool(blockBytes: 128, limit: 10)
        for count in [1, 64, 65, 640] {
            var queue = ByteQueue()
            _ = queue.append(filled("x", times: count).rawSpan, from: pool)
            queue.consume(count)
            let left = (queue.byteCount, queue.blockCount, queue.isEmpty, pool.outstanding)
            #expect(left == (0, 0, true, 0))
        }
    }

    @Test("numbers are written in decimal and hexadecimal", arguments: [0, 9, 10, 255, 4096, Int.max])
    func numbers(value: Int) {
        var decimal = NumberText(value)
        var hexadecimal = NumberText(value, radix: 16)
        let texts = (decimal.withBytes { $0.text }, hexadecimal.withBytes { $0.text })
        #expect(texts.0 == String(value))
        #expect(texts.1 == String(value, radix: 16))
    }
}

@Suite("Slabs") struct SlabTests {
    private struct Tenant: ~Copyable { var number: Int }

    @Test("a name goes stale when its tenant leaves, even if the slot is let again") func stale() {
        var slab = Slab<Tenant>(capacity: 2)
        let first = slab.insert(Tenant(number: 1))
        slab[first].number += 10
        let left = slab.remove(first)
        let second = slab.insert(Tenant(number: 2))
        let facts = (left.number, slab.contains(first), slab.contains(second), second.index == first.index)
        #expect(facts == (11, false, true, true))
        let count = slab.count
        #expect(count == 1)
    }

    @Test("no name, whatever its generation, leads to a slot that is free") func free() {
        var slab = Slab<Tenant>(capacity: 2)
        let tenant = slab.insert(Tenant(number: 1))
        let index = tenant.index
        func held(_ slab: borrowing Slab<Tenant>) -> [UInt32] {
            var found: [UInt32] = []
            for low in UInt32(0)..<64 {
                for high: UInt32 in [0, 0xFF_FFC0, 0x100_0000, 0x8000_0000, 0xFFFF_FFC0] {
                    let name = SlabID(index: index, generation: high | low)
                    if slab.contains(name) { found.append(high | low) }
                }
            }
            return found
        }
        let taken = Set(held(slab).map { $0 & 0xFF_FFFF })
        _ = slab.remove(tenant)
        let none = held(slab)
        #expect(taken == [tenant.generation])
        #expect(none == [])
    }

    @Test("a slab is full at its capacity and walks over what it holds") func full() {
        var slab = Slab<Tenant>(capacity: 3)
        let names = (0..<3).map { slab.insert(Tenant(number: $0)) }
        let isFull = slab.isFull
        _ = slab.remove(names[1])
        var seen: [Int] = []
        for index in 0..<slab.walkCount {
            if let name = slab.name(at: index) { seen.append(slab[name].number) }
        }
        #expect(isFull)
        #expect(seen == [0, 2])
    }
}

@Suite("Bytes") struct BytesTests {
    @Test("a control byte is found at every offset of every length, and tab is none") func controls() {
        var wrong: [String] = []
        for count in 0..<100 {
            var bytes = [UInt8](repeating: 0x09, count: count)
            for index in 0..<count where index % 3 == 1 { bytes[index] = index % 2 == 0 ? 0xff : 0x20 }
            for from in [0, 1, 15, 33] where from <= count {
                let span = bytes.rawSpan
                if span.firstControl(from: from) != count { wrong.append("\(count)") }
            }
            for place in 0..<count {
                for byte: UInt8 in [0x00, 0x08, 0x0a, 0x0d, 0x1f, 0x7f] {
                    var broken = bytes
                    // Another one behind it is not the first.
                    broken[count - 1] = 0x0d
                    broken[place] = byte
                    let span = broken.rawSpan
                    let found = (span.firstControl(from: 0), span.firstControl(from: place))
                    let behind = span.firstControl(from: place + 1)
                    if found != (place, place) || behind != max(count - 1, place + 1) {
                        wrong.append("\(place) of \(count)")
                    }
                }
            }
        }
        #expect(wrong == [])
    }

    @Test("a scan finds the first byte at every offset") func scan() {
        for length in 0..<40 {
            for hit in 0...length {
                var bytes = [UInt8](repeating: 0x61, count: length)
                if hit < length { bytes[hit] = 0x0A }
                let found = bytes.rawSpan.firstIndex(of: 0x0A, from: 0)
                #expect(found == hit)
            }
        }
    }

    @Test("a byte set holds exactly what it was told") func set() {
        let set = ByteSet { $0 % 3 == 0 }
        for value in UInt8.min...UInt8.max { #expect(set.contains(value) == (value % 3 == 0)) }
    }

    @Test("a part of a word holds its bytes and nothing else") func partialWords() {
        let bytes: [UInt8] = (1...20).map { $0 }
        for length in 0...20 {
            let span = bytes.rawSpan.extracting(0..<length)
            for offset in 0...length {
                for count in 0...min(7, length - offset) {
                    var expected: UInt64 = 0
                    for index in 0..<count { expected |= UInt64(bytes[offset + index]) << UInt64(index * 8) }
                    let found = span.word(at: offset, count: count)
                    #expect(found == expected)
                }
            }
        }
    }

    @Test("bytes of any length are equal when each is, by case or without", arguments: 0...40)
    func equality(length: Int) {
        let letters = (0..<length).map { UInt8(ascii: "A") + UInt8($0 % 26) }
        let lower = letters.map(\.lowercased)
        let same = letters.map { $0 }
        let answers = (
            letters.rawSpan.equals(same.rawSpan), letters.rawSpan.equalsIgnoringCase(lower.rawSpan),
            letters.rawSpan.equals(lower.rawSpan), letters.rawSpan.equals((same + [0]).rawSpan)
        )
        #expect(answers == (true, true, length == 0, false))
        for place in 0..<length {
            var other = letters
            // Another byte, and no letter of another case.
            other[place] ^= 0x80
            let isEqual = letters.rawSpan.equals(other.rawSpan)
            let isEqualWithoutCase = lower.rawSpan.equalsIgnoringCase(other.rawSpan)
            #expect(!isEqual && !isEqualWithoutCase)
        }
    }

    @Test("every byte has one lower case, alone and in a word") func lowerCase() {
        for byte in UInt8.min...UInt8.max {
            let expected = UInt8(ascii: "A") <= byte && byte <= UInt8(ascii: "Z") ? byte + 32 : byte
            for place in 0..<8 {
                let word =
                    UInt64(byte) << UInt64(place * 8) | ~(0xff << UInt64(place * 8)) & 0x5a41_5b40_617a_ff80
                let found = UInt8(truncatingIfNeeded: word.lowercasedBytes >> UInt64(place * 8))
                #expect(found == expected && byte.lowercased == expected)
            }
        }
    }

    @Test("comparison ignores the case of letters alone") func comparison() {
        let bytes = Array("Content-Length[".utf8)
        let same = bytes.rawSpan.equalsIgnoringCase("content-length[")
        let other = bytes.rawSpan.equalsIgnoringCase("content-length{")
        #expect(same && !other)
    }
}

@Suite("Shared tables") struct SharedTableTests {
    @Test("a pair changes only from what was expected") func pair() {
        let table = WordPairTable(count: 4)
        let first = table.exchange(2, from: WordPair(first: 0, second: 0), to: WordPair(first: 1, second: 2))
        let again = table.exchange(2, from: WordPair(first: 0, second: 0), to: WordPair(first: 9, second: 9))
        #expect(first.isExchanged && !again.isExchanged)
        #expect(again.original.first == 1 && table.load(2).second == 2)
    }

    @Test("three counters that follow each other are added to, and no other") func three() {
        let block = CounterBlock(count: 5)
        block.add(1, 2, 3, from: 0)
        block.add(10, 20, 30, from: 2)
        #expect((0..<5).map { block.load($0) } == [1, 2, 13, 20, 30])
    }

    @Test("the words of a pair can be looked at alone") func words() {
        let table = WordPairTable(count: 8)
        _ = table.exchange(5, from: WordPair(first: 0, second: 0), to: WordPair(first: 7, second: 9))
        #expect(table.first(5) == 7 && table.second(5) == 9 && table.first(4) == 0 && table.second(6) == 0)
    }

    @Test("a large table is not resident before it is used") func laziness() throws {
        func residentBytes() throws -> Int {
            let text = try String(contentsOfFile: "/proc/self/statm", encoding: .utf8)
            return try #require(Int(text.split(separator: " ")[1])) * 4096
        }
        let before = try residentBytes()
        let table = WordPairTable(count: 16_000_000)
        let after = try residentBytes()
        // 256 MB; other tests run beside this one and take some memory of their own.
        #expect(after - before < 128_000_000)
        #expect(table.load(15_999_999).first == 0)
    }

    @Test("a name is read back by the index it was given") func names() {
        let table = NameTable(capacity: 2)
        let first = table.append(Array("core".utf8).rawSpan)
        let second = table.append(Array(repeating: UInt8(ascii: "x"), count: 200).rawSpan)
        let third = table.append(Array("full".utf8).rawSpan)
        #expect(first == 0 && second == 1 && third == nil && table.count == 2)
        #expect(table.name(0).text == "core" && table.name(1).byteCount == NameTable.longestName)
        #expect(table.index(of: Array("core".utf8).rawSpan) == 0)
        #expect(table.index(of: Array("cor".utf8).rawSpan) == nil)
    }

    @Test(
        "a table that is full finds each of its names, the first of two that are alike, and none that it lacks"
    )
    func manyNames() {
        let table = NameTable(capacity: 5000)
        for number in 0..<4999 { _ = table.append(Array("route-\(number)".utf8).rawSpan) }
        let again = table.append(Array("route-7".utf8).rawSpan)
        #expect(again == 4999)
        for number in 0..<4999 where table.index(of: Array("route-\(number)".utf8).rawSpan) != number {
            Issue.record("route-\(number) is not where it was put")
        }
        for number in 4999..<6000 where table.index(of: Array("route-\(number)".utf8).rawSpan) != nil {
            Issue.record("route-\(number) was never given")
        }
        #expect(table.index(of: Array(repeating: UInt8(ascii: "x"), count: 200).rawSpan) == nil)
    }

    @Test("a block takes literals and numbers whole or not at all") func literals() {
        let pool = BlockPool(blockBytes: 96, limit: 1)
        guard var taken = pool.take() else {
            Issue.record("no block")
            return
        }
        for value in [0, 9, 10, 99, 12345, 9_999_999_999] as [Int] {
            taken.append(number: value)
            taken.append(" ")
        }
        let text = taken.bytes.text
        #expect(text == "0 9 10 99 12345 9999999999 ")
        let answers = (taken.append("123456"), taken.append(number: 123456), taken.append("12345"))
        #expect(answers == (false, false, true))
        let room = taken.freeCount
        #expect(room == 0)
        for value in [
            0, 1, 10, 101, 1000, 10_001, 99_999, 100_000, 1_000_000, 12_345_678, 99_999_999, 100_000_000,
        ] {
            taken.removeAll()
            taken.append(number: value)
            let digits = taken.bytes.text
            #expect(digits == String(value))
        }
        taken.removeAll()
        taken.append(number: .max)
        let largest = taken.bytes.text
        #expect(largest == "9223372036854775807")
    }
}
