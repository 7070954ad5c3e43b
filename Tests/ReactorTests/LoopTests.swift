import LinuxIO
import Memory
import Reactor
import Testing

@Suite("Tokens") struct TokenTests {
    @Test("a token gives back the kind and the name it was made of") func roundTrip() {
        for kind in [UInt8(0), 1, 127, 254] {
            for index in [UInt32(0), 1, 65_535, UInt32.max - 1] {
                for generation in [1, 3, 0x7f_ffff, 0xff_ffff] as [UInt32] {
                    let id = SlabID(index: index, generation: generation)
                    let token = Token(kind: kind, id: id)
                    #expect(token.kind == kind && token.id == id)
                    #expect(Token(word: token.word) == token)
                }
            }
        }
    }

    @Test("each name of a slab survives its way through a token, however often its slot is used") func names()
    {
        var slab = Slab<Int>(capacity: 3)
        for round in 0..<1000 {
            let id = slab.insert(round)
            let back = Token(kind: 9, id: id).id
            #expect(back == id)
            let isThere = slab.contains(back)
            _ = slab.remove(back)
            let isStale = !slab.contains(back)
            #expect(isThere && isStale)
        }
    }
}

/// Notes all that it is told.
private struct Recorder: EventHandler, ~Copyable {
    var told: [String] = []
    var turns = 0
    var stopsAfter = Int.max
    /// Puts its own token on the ready list again from each resume.
    var resumesAgain = false

    mutating func ready(_ token: Token, _ readiness: Readiness, _ loop: inout EventLoop) {
        told.append("ready \(token.word)")
    }

    mutating func resume(_ token: Token, _ loop: inout EventLoop) {
        told.append("resume \(token.word)")
        if resumesAgain { _ = loop.resumeLater(token) }
    }

    mutating func timerFired(_ token: Token, _ loop: inout EventLoop) { told.append("timer \(token.word)") }
    mutating func mail(_ loop: inout EventLoop) { told.append("mail") }

    mutating func turnEnded(_ loop: inout EventLoop) {
        told.append("end")
        turns += 1
        if turns == stopsAfter { loop.stop() }
    }
}

@Suite("The event loop") struct EventLoopTests {
    @Test("what is left in a turn is resumed in the next, once, and the list refuses what it has no room for")
    func resumes() throws {
        var loop = try EventLoop(timers: 4, pending: 2)
        var recorder = Recorder()
        recorder.resumesAgain = true
        var answers: [Bool] = []
        for word in 1...3 { answers.append(loop.resumeLater(Token(word: UInt64(word)))) }
        #expect(answers == [true, true, false])
        for _ in 0..<2 { _ = loop.turn(&recorder) }
        #expect(recorder.told == ["resume 1", "resume 2", "end", "resume 1", "resume 2", "end"])
    }

    @Test("a timer fires after its deadline, without any other event") func timer() throws {
        var loop = try EventLoop(timers: 4, pending: 2)
        var recorder = Recorder()
        let deadline = loop.now + 20_000_000
        _ = loop.timers.schedule(Token(word: 5), at: deadline)
        var turns = 0
        while !recorder.told.contains("timer 5"), turns < 100 {
            turns += 1
            _ = loop.turn(&recorder)
        }
        #expect(recorder.told.contains("timer 5"))
        #expect(loop.now >= deadline)
        #expect(turns < 10, "the loop slept instead of spinning")
    }

    @Test("run ends after the turn in which stop was called") func stops() throws {
        var loop = try EventLoop(timers: 4, pending: 2)
        var recorder = Recorder()
        recorder.resumesAgain = true
        recorder.stopsAfter = 3
        _ = loop.resumeLater(Token(word: 1))
        loop.run(&recorder)
        #expect(recorder.turns == 3)
    }
}

/// A message that cannot be copied: what is sent is what is received, or what comes back.
private struct Letter: ~Copyable, Sendable {
    let number: Int
}

/// Takes letters out of a box until it has as many as it waits for.
private struct Reader: EventHandler, ~Copyable {
    let box: Mailbox<Letter>
    let expected: Int
    var numbers: [Int] = []

    mutating func ready(_ token: Token, _ readiness: Readiness, _ loop: inout EventLoop) {}
    mutating func resume(_ token: Token, _ loop: inout EventLoop) {}
    mutating func timerFired(_ token: Token, _ loop: inout EventLoop) {}
    mutating func turnEnded(_ loop: inout EventLoop) {}

    mutating func mail(_ loop: inout EventLoop) {
        box.wakeUp.clear()
        while let letter = box.receive() { numbers.append(letter.number) }
        if numbers.count >= expected { loop.stop() }
    }
}

@Suite("Mailboxes") struct MailboxTests {
    @Test("all letters of another thread come, in order, though the box is small") func order() throws {
        let box = try Mailbox<Letter>(capacity: 16)
        let total = 5000
        var loop = try EventLoop(timers: 1, pending: 1)
        try loop.watch(box.wakeUp)
        let sender = try WorkThread(name: "sender") {
            for number in 0..<total {
                // A full box hands the letter back: it is sent again.
                while box.send(Letter(number: number)) != nil {}
            }
        }
        var reader = Reader(box: box, expected: total)
        loop.run(&reader)
        sender.join()
        let isWhole = reader.numbers == Array(0..<total)
        #expect(isWhole)
    }

    @Test("letters of two threads all come, each thread's in order") func twoSenders() throws {
        let box = try Mailbox<Letter>(capacity: 8)
        let total = 2000
        var loop = try EventLoop(timers: 1, pending: 1)
        try loop.watch(box.wakeUp)
        let senders = try [0, 1].map { parity in
            try WorkThread(name: "sender") {
                for number in 0..<total {
                    while box.send(Letter(number: number * 2 + parity)) != nil {}
                }
            }
        }
        var reader = Reader(box: box, expected: total * 2)
        loop.run(&reader)
        for sender in senders { sender.join() }
        let numbers = reader.numbers
        let evens = numbers.filter { $0 % 2 == 0 }
        let odds = numbers.filter { $0 % 2 == 1 }
        let isOrdered = evens == evens.sorted() && odds == odds.sorted() && numbers.count == total * 2
        #expect(isOrdered)
    }

    @Test("a full box hands back the very letter, and keeps those it had") func full() throws {
        let box = try Mailbox<Letter>(capacity: 2)
        var returned: [Int] = []
        for number in 1...3 {
            if let letter = box.send(Letter(number: number)) { returned.append(letter.number) }
        }
        var kept: [Int] = []
        while let letter = box.receive() { kept.append(letter.number) }
        #expect(returned == [3] && kept == [1, 2])
    }
}

/// Sends back what comes on every connection that it accepts.
private struct EchoServer: EventHandler, ~Copyable {
    let listener: Descriptor
    let client: Descriptor
    let pool = BlockPool(limit: 1024)
    var connections = Slab<Echoing>(capacity: 4)
    var unsent = ByteQueue()
    var received = ByteQueue()
    let expected: Int
    var isAnyTokenWrong = false

    struct Echoing: ~Copyable {
        let descriptor: Descriptor
        var bytes = ByteQueue()

        init(_ descriptor: consuming Descriptor) { self.descriptor = descriptor }

        mutating func echo(_ pool: borrowing BlockPool) {
            while case .bytes = descriptor.receive(into: &bytes, from: pool) {}
            while !bytes.isEmpty, case .bytes = descriptor.send(from: &bytes) {}
        }
    }

    init(listener: consuming Descriptor, client: consuming Descriptor, sending text: [UInt8]) {
        self.listener = listener
        self.client = client
        expected = text.count
        _ = unsent.append(text.rawSpan, from: pool)
    }

    mutating func ready(_ token: Token, _ readiness: Readiness, _ loop: inout EventLoop) {
        switch token.kind {
        case 0:
            guard case .connection(let descriptor, _) = Sockets.accept(from: listener.number) else { return }
            let number = descriptor.number
            let id = connections.insert(Echoing(descriptor))
            try? loop.add(number, Token(kind: 1, id: id), .readingAndWriting)
        case 1:
            guard connections.contains(token.id) else {
                isAnyTokenWrong = true
                return
            }
            connections[token.id].echo(pool)
        case 2:
            while !unsent.isEmpty, case .bytes = client.send(from: &unsent) {}
            while case .bytes = client.receiveBody(into: &received, from: pool) {}
            if received.byteCount >= expected { loop.stop() }
        default: isAnyTokenWrong = true
        }
    }

    mutating func resume(_ token: Token, _ loop: inout EventLoop) {}
    mutating func timerFired(_ token: Token, _ loop: inout EventLoop) { loop.stop() }
    mutating func mail(_ loop: inout EventLoop) {}
    mutating func turnEnded(_ loop: inout EventLoop) {}
}

@Suite("The loop over the loopback") struct LoopbackTests {
    @Test("more than any buffer holds goes to a peer and back, by edges alone") func echo() throws {
        let any = SocketAddress(
            bytes: [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 127, 0, 0, 1], port: 0, isV6: false)
        let listener = try Sockets.listen(at: any, sharesPort: false, backlog: 8)
        var address = any
        address.port = try Sockets.localPort(of: listener)
        let client = try Sockets.connect(to: address)
        let bytes = (0..<3_000_000).map { UInt8(truncatingIfNeeded: $0 &* 37 &+ $0 >> 9) }
        var loop = try EventLoop(timers: 4, pending: 4)
        try loop.add(listener.number, Token(kind: 0, id: .none), .level)
        try loop.add(client.number, Token(kind: 2, id: .none), .readingAndWriting)
        // So that a fault ends the test, and does not hang it.
        _ = loop.timers.schedule(Token(kind: 3, id: .none), at: loop.now + 60_000_000_000)
        var server = EchoServer(listener: listener, client: client, sending: bytes)
        loop.run(&server)
        let isSame = server.received.array == bytes
        let isWrong = server.isAnyTokenWrong
        #expect(isSame && !isWrong)
    }
}
