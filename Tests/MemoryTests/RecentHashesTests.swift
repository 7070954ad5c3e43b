import Memory
import Testing

@Suite("Hashes asked for lately") struct RecentHashesTests {
    private func bytes(_ word: UInt64) -> [UInt8] {
        (0..<8).map { UInt8(truncatingIfNeeded: word >> (8 * $0)) }
    }

    @Test("They are those of SipHash, asked for again or not, under whichever key")
    func same() {
        var recent = RecentHashes()
        let hashes = [SipHash(key0: 0, key1: 0), SipHash(key0: 1, key1: 2), SipHash(key0: 1, key1: 3)]
        // More keys than places, each twice in a row and once more when others have come between.
        for _ in 0..<2 {
            for index in 0..<1000 as Range<UInt64> {
                let key = (index &* 0x0101_0000_0000_0001, index & 7)
                for hash in hashes {
                    let truth = hash.hash128((bytes(key.0) + bytes(key.1)).rawSpan)
                    let first = recent.hash128(key, by: hash)
                    let again = recent.hash128(key, by: hash)
                    #expect(first == truth && again == truth, "\(index)")
                }
            }
        }
    }

    @Test("Long bytes are the same when all of them are")
    func long() {
        func isSame(_ one: [UInt8], _ other: [UInt8]) -> Bool { one.rawSpan.equalsLong(other.rawSpan) }
        for count in [0, 1, 31, 32, 33, 800] {
            let one = (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 7) }
            #expect(isSame(one, one) && !isSame(one, one + [0]))
            for place in 0..<count {
                var other = one
                other[place] ^= 1
                #expect(!isSame(one, other), "\(count) \(place)")
            }
        }
    }
}
