import LinuxIO

/// Bodies whose every byte follows from the seed, the message and the position: who receives one can judge each byte by
/// itself, and a byte that is lost, doubled or another message's is found at its place.
struct Bodies {
    private static let table: [UInt8] = {
        var chance = Chance(0x6761_7465_686f_7573)
        return (0..<65536).map { _ in UInt8(truncatingIfNeeded: chance.next()) }
    }()

    let seed: UInt64

    /// Where in the table the body of a message begins.
    private func start(_ message: Int) -> Int {
        var chance = Chance(seed ^ UInt64(message) &* 0x9e37_79b9)
        return chance.below(Bodies.table.count)
    }

    func append(_ message: Int, from position: Int = 0, count: Int, to bytes: inout [UInt8]) {
        var offset = (start(message) + position) % Bodies.table.count
        var left = count
        while left > 0 {
            let piece = min(left, Bodies.table.count - offset)
            bytes += Bodies.table[offset..<offset + piece]
            offset = (offset + piece) % Bodies.table.count
            left -= piece
        }
    }

    func matches(_ message: Int, at position: Int, _ bytes: ArraySlice<UInt8>) -> Bool {
        var offset = (start(message) + position) % Bodies.table.count
        var from = bytes.startIndex
        while from < bytes.endIndex {
            let piece = min(bytes.endIndex - from, Bodies.table.count - offset)
            guard bytes[from..<from + piece] == Bodies.table[offset..<offset + piece] else { return false }
            offset = (offset + piece) % Bodies.table.count
            from += piece
        }
        return true
    }
}

extension [UInt8] {
    static func += (bytes: inout [UInt8], text: StaticString) {
        bytes.append(contentsOf: "\(text)".utf8)
    }

    mutating func add(_ text: String) { append(contentsOf: text.utf8) }
}

extension ArraySlice<UInt8> {
    var text: String { String(decoding: self, as: UTF8.self) }

    func isText(_ text: String) -> Bool { elementsEqual(text.utf8) }

    var number: Int? {
        guard !isEmpty, count < 16 else { return nil }
        var value = 0
        for byte in self {
            guard byte >= 0x30, byte <= 0x39 else { return nil }
            value = value * 10 + Int(byte - 0x30)
        }
        return value
    }
}
