import COpenSSL
import Foundation
import Testing

/// One piece of memory from the functions that OpenSSL calls, by its address.
private struct Piece: Equatable {
    let address: UInt

    init?(_ byteCount: Int) {
        guard let start = unsafe copenssl_place_malloc(byteCount, nil, 0) else { return nil }
        address = UInt(bitPattern: start)
    }

    private init(address: UInt) {
        self.address = address
    }

    private func bytes(_ count: Int) -> UnsafeMutableRawBufferPointer {
        unsafe UnsafeMutableRawBufferPointer(
            start: UnsafeMutableRawPointer(bitPattern: address), count: count)
    }

    func fill(_ count: Int, with byte: UInt8) {
        _ = unsafe bytes(count).initializeMemory(as: UInt8.self, repeating: byte)
    }

    func holds(_ count: Int, of byte: UInt8) -> Bool {
        unsafe bytes(count).allSatisfy { $0 == byte }
    }

    func grown(to byteCount: Int) -> Piece? {
        let start = unsafe copenssl_place_realloc(
            UnsafeMutableRawPointer(bitPattern: address), byteCount, nil, 0)
        return unsafe start.map { Piece(address: UInt(bitPattern: $0)) }
    }

    func giveBack() {
        unsafe copenssl_place_free(UnsafeMutableRawPointer(bitPattern: address), nil, 0)
    }
}

/// Of both sizes.
private func taken() -> Int {
    copenssl_places_taken(Int(COPENSSL_PLACE_BYTES)) + copenssl_places_taken(Int(COPENSSL_PART_PLACE_BYTES))
}

/// The places are the process's, so that what is counted here is counted by one test at a time.
@Suite("CRYPTO_set_mem_functions(3): places for sessions", .serialized) struct SessionPlacesTests {
    init() throws {
        try #require(copenssl_places_begin() == 1)
    }

    @Test("sizes near that of an SSL and of its parts get a place, all others memory of the allocator")
    func sizes() throws {
        let before = taken()
        for (size, isPlace) in [
            (1, false), (896, false), (897, true), (928, true), (960, true), (961, false), (7168, false),
            (7169, true), (7608, true), (7616, true), (7617, false),
        ] {
            let piece = try #require(Piece(size))
            #expect(taken() == before + (isPlace ? 1 : 0), "\(size)")
            piece.fill(size, with: 0xA5)
            piece.giveBack()
        }
        #expect(taken() == before)
    }

    @Test(
        "a thousand places are a thousand pieces of memory, and their groups go back empty",
        arguments: [7608, 928])
    func distinct(size: Int) throws {
        let before = taken()
        for round in 0..<3 {
            var pieces: [Piece] = []
            for number in 0..<1000 {
                let piece = try #require(Piece(size))
                piece.fill(size, with: UInt8(truncatingIfNeeded: number + round))
                pieces.append(piece)
            }
            for (number, piece) in pieces.enumerated() {
                #expect(piece.holds(size, of: UInt8(truncatingIfNeeded: number + round)), "place \(number)")
                piece.giveBack()
            }
            #expect(taken() == before)
        }
    }

    @Test("a place that must grow keeps what it holds") func grows() throws {
        let before = taken()
        let piece = try #require(Piece(7200))
        piece.fill(7200, with: 7)
        #expect(piece.grown(to: 7616) == piece)
        let larger = try #require(piece.grown(to: 20_000))
        #expect(larger.holds(7200, of: 7))
        #expect(taken() == before)
        larger.giveBack()
    }

    @Test("four threads that take and give back never share a place") func threads() throws {
        let before = taken()
        let runs = (0..<4).map { number in
            let run = Run()
            Thread.detachNewThread {
                run.failures = Self.storm(UInt8(number + 1))
                run.done.signal()
            }
            return run
        }
        for run in runs {
            #expect(run.done.wait(timeout: .now() + 60) == .success)
            #expect(run.failures == 0)
        }
        #expect(taken() == before)
    }

    /// Takes and gives back at random; answers how many pieces no longer held what was put there.
    private static func storm(_ mark: UInt8) -> Int {
        var random = SystemRandomNumberGenerator()
        var held: [Piece] = []
        var failures = 0
        for step in 0..<20_000 {
            if held.count < 150, Bool.random(using: &random) || held.isEmpty {
                guard let piece = Piece(step % 3 == 0 ? 7608 : 960) else { continue }
                piece.fill(64, with: mark)
                held.append(piece)
            } else {
                let piece = held.remove(at: Int.random(in: 0..<held.count, using: &random))
                if !piece.holds(64, of: mark) { failures += 1 }
                piece.giveBack()
            }
            // Now and then all go, so that groups empty, and their pages are dropped beside the others' work.
            if step % 1000 == 999 {
                failures += held.count { !$0.holds(64, of: mark) }
                for piece in held { piece.giveBack() }
                held.removeAll()
            }
        }
        for piece in held { piece.giveBack() }
        return failures
    }

    /// Written by one thread, read after it has signalled.
    private final class Run: @unchecked Sendable {
        let done = DispatchSemaphore(value: 0)
        var failures = 0
    }
}
