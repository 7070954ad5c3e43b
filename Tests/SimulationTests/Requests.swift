import LinuxIO

/// Makes requests as bytes.
extension World {
    /// Values that make heads long: of some bytes, and around one block and two.
    static let fillers = [1, 300, 2100, 8900, 16_200, 20_000].map { String(repeating: "f", count: $0) }

    static let malformed: [String] = [
        "GET  / HTTP/1.1\r\nHost: a\r\n\r\n", "GET / HTTP/1.1\r\n\r\n", "GET / HTTP/3.0\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "GET / HTTP/1.1\r\nHost : a\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\nhello",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\n folded\r\n\r\n", "GET / HTTP/1.1\nHost: a\n\n",
        "GET /\u{0} HTTP/1.1\r\nHost: a\r\n\r\n", "\r\nnonsense\r\n\r\n",
        "CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n",
    ]

    /// A request that a client will make; `isLast` on its connection.
    func ask(isLast: Bool) -> Int {
        let id = askings.count
        var asking = Asking(id: id)
        asking.service = chance.oneIn(24) ? 2 : chance.below(2)
        switch chance.below(10) {
        case 0...3: asking.method = "GET"
        case 4: asking.method = "HEAD"
        case 5: asking.method = "PUT"
        case 6: asking.method = "DELETE"
        default: asking.method = "POST"
        }
        asking.isVersion10 = isLast && chance.oneIn(6)
        if asking.method == "PUT" || asking.method == "POST" || chance.oneIn(8) {
            asking.framing = asking.isVersion10 || chance.oneIn(2) ? .length : .chunked
            asking.bodyLength = length()
        }
        asking.closes = isLast && (asking.isVersion10 || chance.oneIn(3))
        asking.expects = asking.framing != .none && !asking.isVersion10 && chance.oneIn(6)
        if mood == .rough, isLast, chance.oneIn(10) { asking.isMalformed = true }
        if mood == .rough, isLast, asking.framing == .chunked, asking.bodyLength > 0, chance.oneIn(6) {
            asking.hasBrokenBody = true
        }
        askings.append(asking)
        writeRequest(id)
        return id
    }

    func path(_ id: Int) -> String {
        switch askings[id].service {
        case 0: "/a/\(id)"
        case 1: "/b/\(id)"
        default: "/nowhere/\(id)"
        }
    }

    private func writeRequest(_ id: Int) {
        let asking = askings[id]
        if asking.isMalformed {
            askings[id].image = Array(World.malformed[chance.below(World.malformed.count)].utf8)
            askings[id].headEnd = askings[id].image.count
            return
        }
        var head = "\(asking.method) \(path(id))\(chance.oneIn(3) ? "?x=1&y" : "")"
        head += asking.isVersion10 ? " HTTP/1.0\r\n" : " HTTP/1.1\r\n"
        head += "Host: sim.example\r\nX-Asking: \(id)\r\n"
        if chance.oneIn(12) { head += "X-Filler: \(World.fillers[chance.below(4)])\r\n" }
        if asking.expects { head += "Expect: 100-continue\r\n" }
        if asking.closes && !asking.isVersion10 { head += "Connection: close\r\n" }
        if asking.isVersion10, !asking.closes { head += "Connection: keep-alive\r\n" }
        switch asking.framing {
        case .none: break
        case .length: head += "Content-Length: \(asking.bodyLength)\r\n"
        case .chunked: head += "Transfer-Encoding: chunked\r\n"
        }
        var image = Array((head + "\r\n").utf8)
        askings[id].headEnd = image.count
        switch asking.framing {
        case .none: break
        case .length: bodies.append(asking.bodyKey, count: asking.bodyLength, to: &image)
        case .chunked:
            appendChunks(asking.bodyKey, asking.bodyLength, isBroken: asking.hasBrokenBody, to: &image)
        }
        askings[id].image = image
    }

    /// A body in chunks of chance sizes, some with extensions, some with trailers behind. A broken one breaks somewhere.
    func appendChunks(_ key: Int, _ length: Int, isBroken: Bool, to image: inout [UInt8]) {
        var position = 0
        let breaksAt = isBroken ? chance.below(length) : -1
        while position < length {
            let piece = chance.piece(of: length - position)
            if isBroken, position + piece > breaksAt {
                image.add(["-1\r\n", "g\r\n", "ffffffffffffffffff\r\n", "0x5\r\n"][chance.below(4)])
                image.add("rubbish\r\n\r\n")
                return
            }
            image.add(String(piece, radix: 16, uppercase: chance.oneIn(2)))
            if chance.oneIn(8) { image.add(";name=value") }
            image += "\r\n"
            bodies.append(key, from: position, count: piece, to: &image)
            image += "\r\n"
            position += piece
        }
        image += chance.oneIn(8) ? "0\r\nX-Trailer: t\r\n\r\n" : "0\r\n\r\n"
    }
}
