import Cryptography
import Memory
import Testing

@Suite("RFC 4648 §5 base64url, RFC 7515 §2") struct Base64URLTests {
    private static let alphabet = Array(
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_".utf8)

    /// What the RFC's own words make of a text, a bit at a time.
    private static func plain(_ text: [UInt8], values: [UInt8?]) -> [UInt8]? {
        var bytes: [UInt8] = []
        var (bits, count): (UInt32, UInt32) = (0, 0)
        for character in text {
            guard let value = values[Int(character)] else { return nil }
            bits = bits << 6 | UInt32(value)
            count += 6
            guard count >= 8 else { continue }
            count -= 8
            bytes.append(UInt8(truncatingIfNeeded: bits >> count))
            bits &= (1 << count) - 1
        }
        return bits == 0 && count < 6 ? bytes : nil
    }

    /// Each length up to two and a bit of the sixteen characters that are read at once.
    @Test(
        "§5: every byte at every place of a text of any length stands for its own six bits, or for none",
        arguments: 0...38)
    func places(length: Int) {
        var values = [UInt8?](repeating: nil, count: 256)
        for (value, character) in Self.alphabet.enumerated() { values[Int(character)] = UInt8(value) }
        // The last character leaves no bits over, whatever the length.
        let sound = (0..<length).map { $0 == length - 1 ? 0x41 : Self.alphabet[($0 * 29 + 7) % 64] }
        var target = FixedBytes(count: 48)
        var failures: [String] = []
        for place in 0..<max(length, 1) {
            for byte in UInt8.min...UInt8.max {
                var text = sound
                if length > 0 { text[place] = byte }
                for index in 0..<target.count { target[index] = 0xa5 }
                let expected = Self.plain(text, values: values)
                let count = Base64URL.decode(text.rawSpan, into: &target, at: 3)
                guard count == expected?.count else {
                    failures.append("\(byte) at \(place): \(count ?? -1)")
                    continue
                }
                let written = expected ?? []
                let room = length * 3 / 4
                for index in 0..<target.count {
                    let isInside = index >= 3 && index < 3 + (expected == nil ? room : written.count)
                    if isInside, expected == nil { continue }
                    if target[index] != (isInside ? written[index - 3] : 0xa5) {
                        failures.append("\(byte) at \(place): \(target[index]) at \(index)")
                    }
                }
            }
        }
        #expect(failures == [])
    }

    private func decode(_ text: [UInt8], room: Int = 64, at offset: Int = 0) -> [UInt8]? {
        var target = FixedBytes(count: room)
        guard let count = Base64URL.decode(text.rawSpan, into: &target, at: offset) else { return nil }
        return target.bytes(offset..<(offset + count)).array
    }
    private func decode(_ text: String) -> [UInt8]? { decode(Array(text.utf8)) }

    @Test(
        "RFC 4648 §10: the test vectors come out",
        arguments: [
            ("", ""), ("Zg", "f"), ("Zm8", "fo"), ("Zm9v", "foo"), ("Zm9vYg", "foob"), ("Zm9vYmE", "fooba"),
            ("Zm9vYmFy", "foobar"),
        ])
    func vectors(text: String, expected: String) { #expect(decode(text) == Array(expected.utf8)) }

    @Test("RFC 7515 C: the example with both special characters comes out") func special() {
        #expect(decode("A-z_4ME") == [3, 236, 255, 224, 193])
    }

    @Test(
        "padding, the other alphabet, white space and impossible lengths are refused",
        arguments: [
            "Z", "Zm9vY", "Zg==", "Zg=", "Zm8=", "Zm9v\n", " Zm9v", "Zm 9v", "Zm+v", "Zm/v", "Zm.v",
            "Zm9v====",
            "Zm9\u{0}", "Zmé",
        ])
    func refused(text: String) { #expect(decode(text) == nil) }

    @Test("RFC 4648 §3.5: of all texts for one and two bytes, exactly one spells each") func canonical() {
        let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_".utf8)
        var ones: [[UInt8]] = []
        for first in alphabet {
            for second in alphabet {
                if let bytes = decode([first, second]) { ones.append(bytes) }
            }
        }
        #expect(ones.count == 256 && Set(ones).count == 256)
        var thirds = 0
        for third in alphabet where decode([alphabet[7], alphabet[9], third]) != nil { thirds += 1 }
        #expect(thirds == 16)
    }

    @Test("every byte outside the alphabet is refused at every place") func alphabet() {
        let alphabet = Set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_".utf8)
        for byte in UInt8.min...UInt8.max {
            for place in 0..<8 {
                var text = Array("AAAAAAAA".utf8)
                text[place] = byte
                #expect((decode(text) != nil) == alphabet.contains(byte))
            }
        }
    }

    @Test("what does not fit is refused, and nothing is written past the end") func room() {
        let text = Array("Zm9vYmFy".utf8)
        #expect(decode(text, room: 6) != nil)
        #expect(decode(text, room: 5) == nil)
        #expect(decode(text, room: 8, at: 2) != nil)
        #expect(decode(text, room: 8, at: 3) == nil)
        #expect(decode(text, room: 8, at: 9) == nil)
    }
}

@Suite("FIPS 180-4 SHA-256") struct SHA256Tests {
    private func hex(_ bytes: [UInt8]) -> String {
        bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
    }

    @Test("the standard's examples come out, with one state for all") func examples() {
        var sha = SHA256()
        let digests = ["", "abc", "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"].map { text in
            let bytes = Array(text.utf8)
            let digest = sha.hash(bytes.rawSpan)
            return hex(digest.array)
        }
        #expect(
            digests == [
                "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
                "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
                "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1",
            ])
    }

    @Test("digests are equal exactly if the bytes are") func equality() {
        var sha = SHA256()
        let (some, other): ([UInt8], [UInt8]) = ([1, 2, 3], [1, 2, 4])
        let first = sha.hash(some.rawSpan)
        let second = sha.hash(other.rawSpan)
        let third = sha.hash(some.rawSpan)
        #expect(first == third)
        #expect(first != second)
    }
}

@Suite("Random words") struct RandomTests {
    @Test("no word comes twice, over many refills") func words() {
        var random = Random()
        var seen: Set<UInt64> = []
        for _ in 0..<10_000 { seen.insert(random.next()) }
        #expect(seen.count == 10_000)
    }

    @Test("a state is filled whole, each time anew") func state() {
        var random = Random()
        var seen: Set<UInt64> = []
        for _ in 0..<100 {
            var state = InlineArray<8, UInt64>(repeating: 0)
            random.fill(&state)
            for index in 0..<8 { seen.insert(state[index]) }
        }
        #expect(seen.count == 800)
    }

    @Test("two keyed hashes differ") func keys() {
        var random = Random()
        let first = random.sipHash()
        let second = random.sipHash()
        let bytes: [UInt8] = [1, 2, 3]
        #expect(first.hash64(bytes.rawSpan) != second.hash64(bytes.rawSpan))
    }
}
