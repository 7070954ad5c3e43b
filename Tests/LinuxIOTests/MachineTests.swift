import Foundation
import LinuxIO
import Memory
import Synchronization
import Testing

@Suite("The machine") struct MachineTests {
    @Test("the monotonic clock does not go back, and the wall clock is past 2020") func clocks() {
        var last = Clock.monotonic()
        for _ in 0..<1000 {
            let now = Clock.monotonic()
            #expect(now >= last)
            last = now
        }
        #expect(Clock.wall() > 1_577_836_800_000_000_000)
        #expect(Machine.usableCores >= 1)
    }

    @Test("a thread runs its body once, and join waits for it") func threads() throws {
        let count = SharedCells(count: 1)
        let thread = try WorkThread(name: "a name that is too long for the kernel") { count.store(1, at: 0) }
        thread.join()
        #expect(count.load(0) == 1)
    }

    @Test("a wake-up from another thread ends a wait, and is gone when cleared") func wakeUp() throws {
        let wakeUp = try WakeUp()
        let number = wakeUp.number
        var poller = try Poller()
        try poller.add(number, token: 42, interest: .level)
        let thread = try WorkThread(name: "waker") { WakeUp.signal(number: number) }
        let event = try eventOf(&poller)
        #expect(event.token == 42 && event.readiness.isReadable)
        thread.join()
        wakeUp.signal()
        wakeUp.clear()
        let left = poller.wait(milliseconds: 0)
        #expect(left == 0, "two signals, one clear")
    }

    @Test("a descriptor that was removed from a poller is silent") func removed() throws {
        let wakeUp = try WakeUp()
        var poller = try Poller()
        try poller.add(wakeUp.number, token: 1, interest: .level)
        wakeUp.signal()
        poller.remove(wakeUp.number)
        let found = poller.wait(milliseconds: 0)
        #expect(found == 0)
    }

    @Test("a file is read whole up to its limit, and past it not at all") func files() throws {
        let path = FileManager.default.temporaryDirectory.appendingPathComponent(UUID().uuidString).path
        defer { try? FileManager.default.removeItem(atPath: path) }
        let bytes = (0..<200_000).map { UInt8(truncatingIfNeeded: $0 &* 7) }
        do {
            let file = try Files.openToAppend(path)
            try file.writeAll(bytes.rawSpan.extracting(0..<1000))
        }
        let file = try Files.openToAppend(path)
        try file.writeAll(bytes.rawSpan.extracting(1000..<bytes.count))
        let read = try Files.read(path, limit: bytes.count)
        #expect(read == bytes)
        var words: [String] = []
        for (name, limit) in [(path, bytes.count - 1), (path + "/no", 10)] {
            do { _ = try Files.read(name, limit: limit) } catch { words.append(error.text) }
        }
        #expect(words == ["larger than 199999 bytes", "Not a directory"])
    }

    @Test("a number that is no error still has words") func words() {
        #expect(SystemError(code: 2).text == "No such file or directory")
        #expect(SystemError(code: 99_999).text == "error 99999")
    }
}

@Suite("Bytes between two threads") struct ByteRingThreadTests {
    @Test("what one thread writes, another reads, in order and whole, around the end of the ring many times")
    func twoThreads() throws {
        let ring = ByteRing(capacity: 256)
        let total = 60_000
        let writer = try WorkThread(name: "writer") {
            var next = 0
            while next < total {
                // Pieces of every size up to some, so that they straddle the end of the ring in every way.
                let count = min(1 + next % 97, total - next)
                let piece = (next..<next + count).map { UInt8(truncatingIfNeeded: $0 &* 131 >> 3) }
                while !ring.write(piece.rawSpan) {}
                next += count
            }
        }
        var read = 0
        var wrong = 0
        while read < total {
            ring.drain { span in
                for offset in 0..<span.byteCount {
                    if span[offset] != UInt8(truncatingIfNeeded: (read + offset) &* 131 >> 3) { wrong += 1 }
                }
                read += span.byteCount
            }
        }
        writer.join()
        #expect(wrong == 0 && read == total && ring.count == 0)
    }

    @Test("a full ring takes nothing of a piece that does not fit") func full() {
        let ring = ByteRing(capacity: 8)
        let isFirst = ring.write([1, 2, 3, 4, 5, 6].rawSpan)
        let isSecond = ring.write([7, 8, 9].rawSpan)
        let isThird = ring.write([7, 8].rawSpan)
        #expect(isFirst && !isSecond && isThird && ring.count == 8)
        var bytes: [UInt8] = []
        ring.drain { bytes += $0.array }
        #expect(bytes == [1, 2, 3, 4, 5, 6, 7, 8])
    }
}
