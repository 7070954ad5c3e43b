import COpenSSL
import Memory
import TLS
import Testing

@Suite("RFC 8446 §5: what is sent through a session") struct RecordTests {
    private func established(_ version: CInt, pool: consuming BlockPool? = nil) throws -> Line {
        let server = try makeServer()
        var line = try Line(server, ClientOffer(minimum: version, maximum: version), pool: pool)
        let step = line.handshake()
        try #require(step == .done)
        _ = line.read()
        line.plaintext.removeAll()
        return line
    }

    @Test("1 MiB arrives both ways", arguments: [TLS1_2_VERSION, TLS1_3_VERSION]) func bulk(version: CInt)
        throws
    {
        var line = try established(version)
        let bytes = pattern(1 << 20)
        line.peer.write(bytes)
        line.receive(line.peer.drain())
        let step = line.read()
        #expect(step == .progress(1 << 20))
        let isSame = line.plaintext.array == bytes
        #expect(isSame)
        line.plaintext.removeAll()
        let idle = line.pool.outstanding
        #expect(idle == 0)
        let written = line.write(bytes)
        #expect(written == .progress(1 << 20))
        let isBack = line.peer.read() == bytes
        #expect(isBack)
    }

    @Test("records may be cut anywhere", arguments: [TLS1_2_VERSION, TLS1_3_VERSION]) func split(
        version: CInt
    ) throws {
        var line = try established(version)
        let bytes = pattern(700)
        line.peer.write(Array(bytes.prefix(300)))
        line.peer.write(Array(bytes.dropFirst(300)))
        var sum = 0
        for byte in line.peer.drain() {
            line.receive([byte])
            guard case .progress(let count) = line.read() else {
                Issue.record("a byte more is an error")
                return
            }
            sum += count
            let isUsedUp = line.ciphertext.isEmpty
            #expect(isUsedUp)
        }
        #expect(sum == 700)
        let isSame = line.plaintext.array == bytes
        #expect(isSame)
    }

    @Test("a read stops at its limit and says what is left") func limit() throws {
        var line = try established(TLS1_3_VERSION)
        line.peer.write(pattern(1000))
        line.receive(line.peer.drain())
        let first = line.read(limit: 600)
        let hasMore = line.session.hasPendingPlaintext
        let second = line.read(limit: 600)
        let hasRest = line.session.hasPendingPlaintext
        #expect(first == .progress(600) && hasMore && second == .progress(400) && !hasRest)
        let isSame = line.plaintext.array == pattern(1000)
        #expect(isSame)
        let nothing = line.read(limit: 0)
        #expect(nothing == .progress(0))
    }

    @Test("§5.1: small blocks travel in one record, a record holds at most 2^14 bytes") func gathered() throws
    {
        var line = try established(TLS1_3_VERSION)
        var queue = ByteQueue()
        for piece in 0..<10 {
            guard var block = line.pool.take() else { return }
            block.append([UInt8](repeating: UInt8(piece), count: 100).rawSpan)
            queue.append(block)
        }
        let step = line.session.write(plaintext: &queue, output: &line.output, pool: line.pool, limit: .max)
        // 5 of header, 1 of content type, 16 of tag.
        let sent = line.output.byteCount
        #expect(step == .progress(1000) && sent == 1022)
        line.deliver()
        #expect(line.peer.read() == (0..<10).flatMap { [UInt8](repeating: UInt8($0), count: 100) })

        let large = BlockPool(blockBytes: 65536, limit: 4)
        let isFilled = queue.append(pattern(40000).rawSpan, from: large)
        #expect(isFilled)
        let second = line.session.write(plaintext: &queue, output: &line.output, pool: line.pool, limit: .max)
        let sentLarge = line.output.byteCount
        #expect(second == .progress(40000) && sentLarge == 40000 + 3 * 22)
    }

    @Test(
        "a write takes no more than its limit, and begins no block that it cannot take whole but the first",
        arguments: [
            (1000, 1000), (16320, 16320), (20000, 16320), (32640, 32640), (40000, 32640), (.max, 50000),
        ])
    func writeLimit(limit: Int, taken: Int) throws {
        var line = try established(TLS1_3_VERSION)
        var queue = ByteQueue()
        let isFilled = queue.append(pattern(50000).rawSpan, from: line.pool)
        #expect(isFilled)
        let step = line.session.write(plaintext: &queue, output: &line.output, pool: line.pool, limit: limit)
        let left = queue.byteCount
        #expect(step == .progress(taken) && left == 50000 - taken)
    }

    @Test(
        "an exhausted pool loses nothing, whatever its limit", arguments: [TLS1_2_VERSION, TLS1_3_VERSION],
        [4, 5, 6, 7, 9, 12])
    func starved(version: CInt, limit: Int) throws {
        var line = try established(version, pool: BlockPool(blockBytes: 512, limit: limit * 4))
        // The plaintext to send lies in a pool of its own; the ciphertext has to make do with what is left in the other.
        let elsewhere = BlockPool(blockBytes: 300, limit: 1000)
        let bytes = pattern(20000)
        var queue = ByteQueue()
        let isFilled = queue.append(bytes.rawSpan, from: elsewhere)
        #expect(isFilled)
        var starvedCount = 0
        var received: [UInt8] = []
        while !queue.isEmpty {
            let step = line.session.write(
                plaintext: &queue, output: &line.output, pool: line.pool, limit: .max)
            if step == .outOfBlocks { starvedCount += 1 }
            let isProgress = !line.output.isEmpty
            try #require(isProgress)
            line.deliver()
            received += line.peer.read()
        }
        #expect(starvedCount > 0)
        #expect(received == bytes)
        // And the other way: plaintext in the small pool.
        line.peer.write(bytes)
        var ciphertext = ByteQueue()
        let isGiven = ciphertext.append(line.peer.drain().rawSpan, from: elsewhere)
        #expect(isGiven)
        var read: [UInt8] = []
        while read.count < bytes.count {
            let step = line.session.read(
                ciphertext: &ciphertext, plaintext: &line.plaintext, output: &line.output, pool: line.pool,
                limit: .max)
            if step != .outOfBlocks, step != .progress(line.plaintext.byteCount) { Issue.record("\(step)") }
            let hasGained = !line.plaintext.isEmpty
            try #require(hasGained)
            read += line.plaintext.array
            line.plaintext.removeAll()
        }
        #expect(read == bytes)
    }

    @Test("§4.6.3: a key update is answered before the next write, which waits for blocks as a whole")
    func keyUpdate() throws {
        var line = try established(TLS1_3_VERSION, pool: BlockPool(blockBytes: 2048, limit: 4))
        line.peer.updateKeys()
        line.peer.write(Array("new keys".utf8))
        line.receive(line.peer.drain())
        let step = line.read()
        #expect(step == .progress(8))
        let text = line.plaintext.array
        #expect(text == Array("new keys".utf8))
        var queue = ByteQueue()
        let elsewhere = BlockPool(limit: 2)
        let isFilled = queue.append("answer", from: elsewhere)
        #expect(isFilled)
        var hoard = FixedArray<Block?>(count: 4) { _ in nil }
        for index in 0..<4 { hoard[index] = line.pool.take() }
        let starved = line.session.write(
            plaintext: &queue, output: &line.output, pool: line.pool, limit: .max)
        let isUnsent = line.output.isEmpty && queue.byteCount == 6
        #expect(starved == .outOfBlocks && isUnsent)
        for index in 0..<4 { hoard[index] = nil }
        let written = line.session.write(
            plaintext: &queue, output: &line.output, pool: line.pool, limit: .max)
        #expect(written == .progress(6))
        // The record of the key update, then that of the text: header, content, content type, tag.
        let sent = line.output.byteCount
        #expect(sent == 5 + 5 + 1 + 16 + 5 + 6 + 1 + 16)
        line.deliver()
        #expect(line.peer.read() == Array("answer".utf8))
        line.peer.write(Array("again".utf8))
        line.receive(line.peer.drain())
        let last = line.read()
        #expect(last == .progress(5))
    }

    @Test("§6.1: an end with close_notify is clean, one without is truncated") func end() throws {
        var line = try established(TLS1_3_VERSION)
        line.peer.write(Array("last words".utf8))
        line.receive(line.peer.drain())
        let step = line.read()
        let end = line.session.inputEnd
        #expect(step == .progress(10) && end == .truncated)
        line.peer.write(Array("!".utf8))
        line.peer.close()
        line.receive(line.peer.drain())
        let closed = line.read()
        let cleanEnd = line.session.inputEnd
        #expect(closed == .closed && cleanEnd == .clean)
        let text = line.plaintext.array
        #expect(text == Array("last words!".utf8))
        // Half-closed: we may still answer.
        let written = line.write(Array("bye".utf8))
        #expect(written == .progress(3))
        #expect(line.peer.read() == Array("bye".utf8))
    }

    @Test("§6.1: a shutdown says close_notify, and nothing before the handshake") func shutdown() throws {
        var line = try established(TLS1_3_VERSION)
        let isSaid = line.session.shutdown(output: &line.output, pool: line.pool)
        line.deliver()
        _ = line.peer.read()
        #expect(isSaid && line.peer.sawClose)
        let server = try makeServer()
        var early = try Line(server)
        let isDone = early.session.shutdown(output: &early.output, pool: early.pool)
        let isSilent = early.output.isEmpty
        #expect(isDone && isSilent)
    }

    @Test("§5.2: a record that was changed is refused", arguments: [TLS1_2_VERSION, TLS1_3_VERSION])
    func forged(version: CInt) throws {
        var line = try established(version)
        line.peer.write(Array("pay 100".utf8))
        var bytes = line.peer.drain()
        bytes[bytes.count - 1] ^= 1
        line.receive(bytes)
        let step = line.read()
        let nothing = line.plaintext.isEmpty
        #expect(step == .failed(.badRecord) && nothing)
        let again = line.write([1])
        #expect(again == .failed(.badRecord))
    }

    @Test("§5.1: bytes that are no record are refused") func garbage() throws {
        for version in [TLS1_2_VERSION, TLS1_3_VERSION] {
            for seed in 0..<20 {
                var line = try established(version)
                line.receive(Array(pattern(20000).dropFirst(seed * 3)))
                let step = line.read()
                guard case .failed = step else {
                    Issue.record("\(seed): \(step)")
                    continue
                }
            }
        }
    }
}
