/// A head of HTTP/1: its first line, and its field lines with names in lower case.
struct Head {
    let first: String
    let fields: [(name: String, value: String)]

    func values(_ name: String) -> [String] {
        var found: [String] = []
        for field in fields where field.name == name { found.append(field.value) }
        return found
    }

    func value(_ name: String) -> String? {
        for field in fields where field.name == name { return field.value }
        return nil
    }
}

/// Reads messages of HTTP/1 as strictly as it can, with code that has nothing in common with the gateway's.
struct MessageReader {
    enum Step {
        case more
        case head(Head)
        case body(Range<Int>)
        case end
        /// Not HTTP.
        case broken(String)
    }

    private enum Stage {
        case head
        case length(Int)
        case chunkSize
        case chunk(Int)
        case chunkEnd
        case trailers
        case untilEnd
        case ended
    }

    private(set) var buffer: [UInt8] = []
    private var position = 0
    private var stage = Stage.head
    private(set) var trailers: [(name: String, value: String)] = []

    /// Whether the last byte so far was the last of a message.
    var isBetweenMessages: Bool {
        if case .head = stage { position == buffer.count } else { false }
    }
    var isInHead: Bool { if case .head = stage { true } else { false } }
    var isUntilEnd: Bool { if case .untilEnd = stage { true } else { false } }

    /// The room for what comes next.
    mutating func withBuffer(_ fill: (inout [UInt8]) -> Void) {
        if position == buffer.count {
            buffer.removeAll(keepingCapacity: true)
            position = 0
        }
        fill(&buffer)
    }

    mutating func expectNothing() { stage = .ended }
    mutating func expectLength(_ length: Int) { stage = length == 0 ? .ended : .length(length) }
    mutating func expectChunks() { stage = .chunkSize }
    mutating func expectUntilEnd() { stage = .untilEnd }

    /// After a head, one of `expect…` must be called. 1xx heads are followed by another head.
    mutating func expectHead() { stage = .head }

    mutating func next() -> Step {
        switch stage {
        case .head:
            guard position < buffer.count else { return .more }
            guard let end = endOfHead() else {
                return buffer.count - position > 200_000 ? .broken("an endless head") : .more
            }
            return readHead(end)
        case .length(let left):
            guard let range = piece(left) else { return .more }
            stage = left == range.count ? .ended : .length(left - range.count)
            return .body(range)
        case .untilEnd:
            guard let range = piece(.max) else { return .more }
            return .body(range)
        case .chunkSize: return readChunkSize()
        case .chunk(let left):
            guard let range = piece(left) else { return .more }
            stage = left == range.count ? .chunkEnd : .chunk(left - range.count)
            return .body(range)
        case .chunkEnd:
            guard buffer.count - position >= 2 else { return .more }
            guard buffer[position] == 0x0d, buffer[position + 1] == 0x0a else {
                return .broken("no line end behind a chunk")
            }
            position += 2
            stage = .chunkSize
            return next()
        case .trailers:
            guard let line = line() else { return .more }
            if line.isEmpty {
                stage = .ended
                return next()
            }
            guard let field = MessageReader.field(buffer[line]) else { return .broken("a bad trailer") }
            trailers.append(field)
            return next()
        case .ended:
            stage = .head
            return .end
        }
    }

    private mutating func piece(_ most: Int) -> Range<Int>? {
        let count = min(most, buffer.count - position)
        guard count > 0 else { return nil }
        position += count
        return position - count..<position
    }

    /// The next line without its end; `nil` when it is not there whole.
    private mutating func line() -> Range<Int>? {
        guard let feed = buffer[position...].firstIndex(of: 0x0a) else { return nil }
        guard feed > position, buffer[feed - 1] == 0x0d else {
            // A bare LF: no line that anybody understands; the reader gets stuck on it and the judge sees it.
            return nil
        }
        defer { position = feed + 1 }
        return position..<feed - 1
    }

    private mutating func readChunkSize() -> Step {
        guard let line = line() else {
            return buffer.count - position > 64 ? .broken("no chunk size") : .more
        }
        var size = 0
        guard !line.isEmpty, line.count < 8 else { return .broken("a chunk size of \(line.count) digits") }
        for byte in buffer[line] {
            switch byte {
            case 0x30...0x39: size = size * 16 + Int(byte - 0x30)
            case 0x61...0x66: size = size * 16 + Int(byte - 0x57)
            case 0x41...0x46: size = size * 16 + Int(byte - 0x37)
            default: return .broken("a chunk size with byte \(byte)")
            }
        }
        trailers = []
        stage = size == 0 ? .trailers : .chunk(size)
        return next()
    }

    private func endOfHead() -> Int? {
        var index = position + 3
        while index < buffer.count {
            if buffer[index] == 0x0a, buffer[index - 1] == 0x0d, buffer[index - 2] == 0x0a,
                buffer[index - 3] == 0x0d
            {
                return index + 1
            }
            index += 1
        }
        return nil
    }

    private mutating func readHead(_ end: Int) -> Step {
        var first: String?
        var fields: [(name: String, value: String)] = []
        while position < end {
            guard let line = line() else { return .broken("a bare line feed") }
            if line.isEmpty { break }
            if first == nil {
                first = buffer[line].text
            } else {
                guard let field = MessageReader.field(buffer[line]) else {
                    return .broken("a bad field line: \(buffer[line].text)")
                }
                fields.append(field)
            }
        }
        guard position == end, let first else { return .broken("an empty head") }
        return .head(Head(first: first, fields: fields))
    }

    private static func field(_ line: ArraySlice<UInt8>) -> (name: String, value: String)? {
        guard let colon = line.firstIndex(of: 0x3a), colon > line.startIndex, !line.contains(0x0d) else {
            return nil
        }
        var name: [UInt8] = []
        for byte in line[..<colon] {
            guard byte > 0x20, byte < 0x7f else { return nil }
            name.append(byte >= 0x41 && byte <= 0x5a ? byte | 0x20 : byte)
        }
        var value = line[(colon + 1)...]
        while value.first == 0x20 { value.removeFirst() }
        while value.last == 0x20 { value.removeLast() }
        return (String(decoding: name, as: UTF8.self), value.text)
    }
}
