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
        asking.service = chance.oneIn(24) ? World.nowhere : chance.below(3)
        asking.method = method()
        if isLast, chance.oneIn(8) {
            askings.append(asking)
            askTunnel(id)
            return id
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

    private func method() -> String {
        switch chance.below(10) {
        case 0...3: "GET"
        case 4: "HEAD"
        case 5: "PUT"
        case 6: "DELETE"
        default: "POST"
        }
    }

    func path(_ id: Int) -> String { "/\(World.prefixes[askings[id].service])/\(id)" }

    static let prefixes = ["a", "b", "c", "nowhere"]

    /// The handshake of RFC 6455 §1.3, whose answer is known from there.
    private func askTunnel(_ id: Int) {
        askings[id].method = "GET"
        askings[id].isTunnel = true
        askings[id].bodyLength = length()
        askings[id].image = Array(
            """
            GET \(path(id)) HTTP/1.1\r
            Host: sim.example\r
            X-Asking: \(id)\r
            Connection: Upgrade\r
            Upgrade: websocket\r
            Sec-WebSocket-Version: 13\r
            Sec-WebSocket-Key: \(World.webSocketKey)\r
            \r

            """.utf8)
        askings[id].headEnd = askings[id].image.count
    }

    static let webSocketKey = "dGhlIHNhbXBsZSBub25jZQ=="
    static let webSocketAccept = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

    // MARK: HTTP/2

    /// A request that a client of HTTP/2 will make.
    func askStream() -> Int {
        let id = askings.count
        var asking = Asking(id: id)
        asking.isStream = true
        asking.service = chance.oneIn(24) ? World.nowhere : chance.below(3)
        asking.method = method()
        if asking.method == "PUT" || asking.method == "POST" || chance.oneIn(8) {
            asking.framing = chance.oneIn(2) ? .length : .chunked
            asking.bodyLength = length()
        }
        asking.expects = asking.framing != .none && chance.oneIn(6)
        if mood == .rough, chance.oneIn(16) { asking.isMalformed = true }
        if mood == .rough, asking.framing == .length, chance.oneIn(10) {
            // Longer or shorter than announced (RFC 9113 §8.1.1).
            let isLonger = asking.bodyLength > 0 && chance.oneIn(2)
            asking.announced = asking.bodyLength + (isLonger ? -1 : 1)
            asking.hasBrokenBody = true
        }
        askings.append(asking)
        return id
    }

    func streamPath(_ id: Int) -> String {
        askings[id].isMalformed && id % 8 == 0 ? "no-slash/\(id)" : path(id) + (id % 3 == 0 ? "?x=1&y" : "")
    }

    /// The fields of a request of HTTP/2. Those of a malformed one may stand in none (RFC 9113 §8.2, §8.3).
    func streamHead(_ id: Int) -> FieldText {
        let asking = askings[id]
        var head = FieldText()
        head.add("x-asking", "\(id)")
        if chance.oneIn(12) { head.add("x-filler", World.fillers[chance.below(4)]) }
        if asking.expects { head.add("expect", "100-continue") }
        if asking.framing == .length {
            head.add("content-length", "\(asking.announced ?? asking.bodyLength)")
        }
        if asking.isMalformed {
            let line = [
                ("connection", "close"), ("transfer-encoding", "chunked"), ("te", "gzip"),
                ("host", "other.example"), ("bad name", "x"), ("x-bad", "a\u{0}b"), (":status", "200"),
                ("content-length", "nonsense"),
            ][id % 8]
            head.add(line.0, line.1)
        }
        return head
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
