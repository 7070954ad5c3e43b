/// What the judge wants to know of an access line. Its values hold no quotes here, since no request brings any.
struct AccessLine {
    let text: ArraySlice<UInt8>
    private(set) var asking: Int?
    private(set) var status = 0
    private(set) var reason = ""
    private(set) var bytesOut = -1

    init(_ line: ArraySlice<UInt8>) {
        text = line
        var index = line.startIndex + 1
        while let key = AccessLine.word(line, from: index), key.endIndex + 2 < line.endIndex {
            let isText = line[key.endIndex + 2] == 0x22
            let start = key.endIndex + (isText ? 3 : 2)
            var end = start
            while end < line.endIndex, isText ? line[end] != 0x22 : line[end] != 0x2c && line[end] != 0x7d {
                end += 1
            }
            note(key, line[start..<end])
            index = end + (isText ? 2 : 1)
        }
    }

    /// What stands between the quotes from `index`.
    private static func word(_ line: ArraySlice<UInt8>, from index: Int) -> ArraySlice<UInt8>? {
        guard index < line.endIndex, line[index] == 0x22 else { return nil }
        var end = index + 1
        while end < line.endIndex, line[end] != 0x22 { end += 1 }
        return line[(index + 1)..<end]
    }

    private mutating func note(_ key: ArraySlice<UInt8>, _ value: ArraySlice<UInt8>) {
        switch key.count {
        // What is refused before its path is looked at has the target alone.
        case 4 where key.isText("path"), 6 where key.isText("target"):
            let parts = (value.split(separator: 0x3f).first ?? value).split(separator: 0x2f)
            if parts.count == 2 { asking = parts[1].number }
        case 6 where key.isText("status"): status = value.number ?? 0
        case 6 where key.isText("reason"): reason = value.text
        case 9 where key.isText("bytes_out"): bytesOut = value.number ?? -1
        default: break
        }
    }
}

extension World {
    /// Takes an access line to the request that it is about; `false` when it is about none.
    func note(_ line: AccessLine, isEarly: Bool) -> Bool {
        trace(line.text.text)
        guard let id = line.asking, id < askings.count else { return false }
        askings[id].lines += 1
        askings[id].wasLoggedEarly = isEarly
        askings[id].loggedStatus = line.status
        askings[id].loggedReason = line.reason
        askings[id].loggedBytesOut = line.bytesOut
        return true
    }
}
