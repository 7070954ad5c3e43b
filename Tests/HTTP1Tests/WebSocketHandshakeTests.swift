import HTTP
import HTTP1
import Memory
import Testing

private let key = "dGhlIHNhbXBsZSBub25jZQ=="

/// The key that the parser took from a handshake of these lines, fed in pieces of `step` bytes.
private func askedKey(_ lines: [String], start: String = "GET /ws HTTP/1.1", step: Int = 0) -> String? {
    let bytes = Array(([start, "Host: a"] + lines).joined(separator: "\r\n").utf8) + Array("\r\n\r\n".utf8)
    var head = RequestHead(fieldCapacity: 32)
    // What the head before said must not stay.
    head.asksWebSocket = true
    var scanned = 0
    var end = step == 0 ? bytes.count : 0
    while true {
        end = min(end + max(step, 1), bytes.count)
        let span = bytes.rawSpan.extracting(0..<end)
        let result = RequestParser.parse(span, limits: testLimits, scanned: &scanned, into: &head)
        guard case .complete = result else {
            if end < bytes.count { continue }
            return "not a head"
        }
        return head.asksWebSocket ? span[head.webSocketKey].text : nil
    }
}

private let whole = [
    "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Key: \(key)", "Sec-WebSocket-Version: 13",
]

@Suite("RFC 6455 §4 Opening Handshake, the heads") struct WebSocketHandshakeTests {
    @Test(
        "§4.2.1: a whole handshake is known, in any order, spelling and split",
        arguments: [
            whole, whole.reversed(),
            [
                "connection: keep-alive, UPGRADE", "UPGRADE: h2c", "upgrade: foo/1, WebSocket",
                "sec-websocket-key:\t\(key) ", "SEC-WEBSOCKET-VERSION: 8", "Sec-WebSocket-Protocol: a, b",
            ],
            whole + ["Content-Length: 0"], whole + ["Origin: x", "Sec-WebSocket-Extensions: y"],
        ] as [[String]])
    func known(lines: [String]) {
        for step in 0..<40 { #expect(askedKey(lines, step: step) == key) }
    }

    @Test("§4.2.1: without any one of its lines it is an ordinary request", arguments: 0..<4)
    func missing(index: Int) {
        var lines = whole
        lines.remove(at: index)
        #expect(askedKey(lines) == nil)
    }

    @Test(
        "RFC 9110 §7.8, RFC 6455 §4.2.1: what is not wholly a handshake upgrades nothing",
        arguments: [
            (1, "Upgrade: h2c"), (1, "Upgrade: websockets"), (1, "Upgrade: websocket/13"), (1, "Upgrade:"),
            (0, "Connection: keep-alive"), (0, "Connection: upgraded"), (2, "Sec-WebSocket-Key:"),
            (2, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ="),
            (2, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==="),
            (2, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQA="),
            (2, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZ-=="),
            (2, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25j@Q=="), (3, "Sec-WebSocket-Version:"),
            (2, "Sec-WebSocket-Key2: \(key)"),
        ] as [(Int, String)])
    func ordinary(index: Int, line: String) {
        var lines = whole
        lines[index] = line
        #expect(askedKey(lines) == nil)
    }

    @Test(
        "a repeated line, another method or version, or a body upgrades nothing",
        arguments: [
            (whole + ["Sec-WebSocket-Key: \(key)"], "GET / HTTP/1.1"),
            (whole + ["Sec-WebSocket-Version: 13"], "GET / HTTP/1.1"),
            (whole, "POST / HTTP/1.1"), (whole, "HEAD / HTTP/1.1"), (whole, "get / HTTP/1.1"),
            (whole, "GET / HTTP/1.0"), (whole + ["Content-Length: 1"], "GET / HTTP/1.1"),
            (whole + ["Transfer-Encoding: chunked"], "GET / HTTP/1.1"),
        ] as [([String], String)])
    func other(lines: [String], start: String) { #expect(askedKey(lines, start: start) == nil) }

    private func acceptedProof(_ text: String) -> String? {
        let bytes = Array(text.utf8)
        var head = ResponseHead(fieldCapacity: 32)
        var scanned = 0
        let step = ResponseParser.parse(
            bytes.rawSpan, limits: testLimits, scanned: &scanned, into: &head, requestMethod: .get)
        guard case .complete = step else { return nil }
        let line = WebSocketHandshake.acceptLine(of: head, bytes: bytes.rawSpan)
        return line.map { bytes.rawSpan[head.fields[$0].value].text }
    }

    @Test(
        "§4.1: a 101 with Connection, Upgrade and one proof opens",
        arguments: [
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: p\r\n\r\n",
            "HTTP/1.1 101 \r\nsec-websocket-accept:  p \r\nupgrade: WebSocket\r\nConnection: x\r\nconnection: y, UPGRADE\r\n\r\n",
        ])
    func opens(text: String) { #expect(acceptedProof(text) == "p") }

    @Test(
        "§4.1: anything else does not",
        arguments: [
            "HTTP/1.1 200 OK\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: p\r\n\r\n",
            "HTTP/1.0 101 x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: p\r\n\r\n",
            "HTTP/1.1 101 x\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: p\r\n\r\n",
            "HTTP/1.1 101 x\r\nConnection: close\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: p\r\n\r\n",
            "HTTP/1.1 101 x\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: p\r\n\r\n",
            "HTTP/1.1 101 x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nSec-WebSocket-Accept: p\r\n\r\n",
            "HTTP/1.1 101 x\r\nConnection: Upgrade\r\nUpgrade: websocket, h2c\r\nSec-WebSocket-Accept: p\r\n\r\n",
            "HTTP/1.1 101 x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: p\r\n\r\n",
            "HTTP/1.1 101 x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
            "HTTP/1.1 101 x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: p\r\nSec-WebSocket-Accept: p\r\n\r\n",
            "HTTP/1.1 101 x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: p\r\nTransfer-Encoding: chunked\r\n\r\n",
        ])
    func opensNothing(text: String) { #expect(acceptedProof(text) == nil) }
}
