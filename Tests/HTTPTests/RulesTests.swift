import HTTP
import Memory
import Testing

/// A table of the lines of a text, told apart as a parser would.
private func withTable(_ text: String, _ body: (inout FieldTable, RawSpan) -> Void) {
    let bytes = Array(text.utf8)
    var table = FieldTable(capacity: 100)
    var start = 0
    for line in text.split(separator: "\n") {
        let colon = line.utf8.distance(from: line.startIndex, to: line.firstIndex(of: ":") ?? line.endIndex)
        let name = ByteRange(start: start, end: start + colon)
        let value = ByteRange(start: start + colon + 2, end: start + line.utf8.count)
        let isTaken = table.append(
            FieldLine(name: name, value: value, known: FieldNames.classify(bytes.rawSpan[name])))
        #expect(isTaken)
        start += line.utf8.count + 1
    }
    body(&table, bytes.rawSpan)
}

private func kept(_ text: String) -> [String]? {
    var names: [String]? = nil
    withTable(text) { table, bytes in
        guard HopByHop.drop(in: &table, bytes: bytes) else { return }
        names = []
        for index in 0..<table.count where !table[index].isDropped {
            names?.append(bytes[table[index].name].text)
        }
    }
    return names
}

private func listsFields(_ text: String) -> Bool {
    var answer = false
    withTable(text) { table, bytes in answer = HopByHop.listsFields(in: table, bytes: bytes) }
    return answer
}

@Suite("RFC 9110 §7.6.1: fields that end at a hop") struct HopByHopTests {
    @Test(
        "what is about the connection is dropped, and so is what Connection lists",
        arguments: [
            ("A: 1\nConnection: close\nB: 2", ["A", "B"]),
            ("A: 1\nB: 2\nConnection: x, a ,,\tb", []),
            ("X-A: 1\nConnection: close, X-a\nConnection: X-B\nx-b: 2\nX-C: 3", ["X-C"]),
            ("Keep-Alive: 1\nProxy-Connection: a\nTE: trailers\nTransfer-Encoding: chunked\nA: 1", ["A"]),
            ("Upgrade: h2c\nHTTP2-Settings: a\nProxy-Authenticate: a\nProxy-Authorization: a\nA: 1", ["A"]),
            (
                "Host: a\nContent-Length: 3\nConnection: host, content-length, x\nTrailer: x",
                ["Host", "Content-Length", "Trailer"]
            ),
            ("Authorization: a\nConnection: authorization", []),
        ])
    func dropped(text: String, expected: [String]) {
        #expect(kept(text) == expected)
    }

    @Test(
        "each of them is dropped where it stands alone, and nothing else is",
        arguments: [
            ("Connection: x", []), ("Keep-Alive: 1", []), ("Proxy-Connection: a", []), ("TE: trailers", []),
            ("Transfer-Encoding: chunked", []), ("Upgrade: h2c", []), ("HTTP2-Settings: a", []),
            ("Proxy-Authenticate: a", []), ("Proxy-Authorization: a", []), ("Host: a", ["Host"]),
            ("Authorization: a", ["Authorization"]), ("Content-Length: 1", ["Content-Length"]),
            ("Cookie: a", ["Cookie"]), ("Date: a", ["Date"]), ("Expect: a", ["Expect"]),
            ("Forwarded: a", ["Forwarded"]), ("Server: a", ["Server"]), ("Trailer: a", ["Trailer"]),
            ("Via: a", ["Via"]), ("X-Forwarded-For: a", ["X-Forwarded-For"]), ("A: 1", ["A"]),
        ])
    func alone(text: String, expected: [String]) {
        #expect(kept(text) == expected)
    }

    @Test("a table that was emptied, or whose line was changed, still tells what it has")
    func changed() {
        withTable("Connection: x\nX: 1") { table, bytes in
            table.removeAll()
            let name = ByteRange(start: 14, end: 15)
            _ = table.append(FieldLine(name: name, value: name, known: .other))
            let isKept = HopByHop.drop(in: &table, bytes: bytes) && !table[0].isDropped
            #expect(isKept)
            let places = (table.firstIndex(of: .te), table.firstIndex(of: .other))
            #expect(places == (nil, 0))
            table[0].known = .te
            let found = table.firstIndex(of: .te)
            #expect(found == 0)
            let isDropped = HopByHop.drop(in: &table, bytes: bytes) && table[0].isDropped
            #expect(isDropped)
        }
    }

    @Test(
        "fields that Connection lists are told from what it says of itself",
        arguments: [
            ("A: 1", false), ("Connection: close", false), ("Connection: Keep-Alive, ,close", false),
            ("Connection: Upgrade, HTTP2-Settings\nConnection: TE", false), ("Connection: x", true),
            ("Connection: close\nA: 1\nConnection: te, x", true), ("Connection: closed", true),
        ])
    func lists(text: String, expected: Bool) {
        #expect(listsFields(text) == expected)
    }

    @Test("a Connection field may list 64 options and no more")
    func bound() {
        #expect(kept("Connection: " + Array(repeating: "a", count: 64).joined(separator: ",")) == [])
        #expect(kept("Connection: " + Array(repeating: "a", count: 65).joined(separator: ",")) == nil)
    }
}

@Suite("RFC 9110 §7.2, RFC 3986 §3.2: authorities") struct AuthorityTests {
    @Test(
        "host and port are told apart",
        arguments: [
            ("a", "a", UInt16?.none), ("a.example:8080", "a.example", 8080), ("127.0.0.1:0", "127.0.0.1", 0),
            ("[::1]", "[::1]", nil), ("[2001:db8::1.2.3.4]:65535", "[2001:db8::1.2.3.4]", 65535),
            ("A_b~c-d.example.com", "A_b~c-d.example.com", nil), ("a:00080", "a", 80),
        ])
    func split(text: String, host: String, port: UInt16?) {
        let bytes = Array(text.utf8)
        let parts = Authority.split(bytes.rawSpan)
        #expect(parts?.port == port)
        #expect(parts.map { bytes.rawSpan[$0.host].text } == host)
    }

    @Test(
        "what is no authority is refused",
        arguments: [
            "", ":", ":80", "a:", "a:b", "a:-1", "a:65536", "a:000080", "a:8 ", "a b", "a,b", "a/b", "a@b",
            "a%41",
            "a\u{e9}", "[", "[]", "[:]", "[::1", "::1", "[::1]a", "[::1]:", "[v1.a]", "[fe80::1%25eth0]",
            "[1:2:3:4:5:6:7:8:9]", "abcdefgh@ijklmnop",
        ])
    func refused(text: String) {
        let bytes = Array(text.utf8)
        let isValid = Authority.isValid(bytes.rawSpan)
        #expect(!isValid)
    }
}

extension AuthorityTests {
    @Test("what stands around an authority changes nothing, whatever byte stands where in it")
    func surrounded() {
        var differing: [String] = []
        for length in [1, 2, 8, 15, 16, 17, 31, 32, 33, 511, 512, 513] {
            for place in 0..<min(length, 40) {
                for byte in UInt8.min...UInt8.max {
                    var authority = Array(repeating: UInt8(ascii: "a"), count: length)
                    authority[place] = byte
                    let alone = Authority.isValid(authority.rawSpan)
                    for behind in ["\r\nUser-Agent: aaaaaaaaaaaa", "aaaaaaaaaaaaaaaaaaaaaaaaa", "\r\n"] {
                        let all = Array("Host: ".utf8) + authority + Array(behind.utf8)
                        let range = ByteRange(start: 6, end: 6 + length)
                        let within = Authority.isValid(range, of: all.rawSpan)
                        if within != alone { differing.append("\(byte) at \(place) of \(length)") }
                    }
                }
            }
        }
        #expect(differing == [])
        let isEmptyValid = Authority.isValid(.empty, of: Array("aaaaaaaaaaaaaaaaaaaa".utf8).rawSpan)
        #expect(!isEmptyValid)
    }
}

@Suite("RFC 9112 §6.3: framing") struct FramingTests {
    @Test(
        "a response is framed by method, status and fields",
        arguments: [
            (
                HTTP.Method.get, 200, ContentLength.bytes(3), TransferCoding.absent, BodyFraming.length(3),
                false
            ),
            (.get, 200, .absent, .absent, .close, false), (.get, 200, .absent, .chunked, .chunked, false),
            (.head, 200, .bytes(3), .absent, .none, false), (.head, 200, .absent, .chunked, .none, false),
            (.get, 304, .bytes(3), .absent, .none, false), (.get, 304, .absent, .chunked, .none, false),
            (.get, 204, .absent, .absent, .none, false), (.get, 204, .bytes(0), .absent, .none, false),
            (.get, 204, .bytes(1), .absent, .none, true), (.get, 204, .absent, .chunked, .none, true),
            (.get, 101, .absent, .absent, .none, false), (.get, 103, .bytes(0), .absent, .none, false),
        ])
    func response(
        method: HTTP.Method, status: Int, length: ContentLength, coding: TransferCoding, framing: BodyFraming,
        isSuspect: Bool
    ) {
        let answer = Framing.response(
            to: method, status: status, contentLength: length, transferCoding: coding, version: .http11)
        #expect(answer == .framing(framing, isSuspect: isSuspect))
    }

    @Test(
        "an interim response that announces a body is refused: its bytes would be read as the next head",
        arguments: [
            (100, ContentLength.bytes(5), TransferCoding.absent, ResponseHeadError.badContentLength),
            (103, .absent, .chunked, .badTransferEncoding), (101, .bytes(1), .absent, .badContentLength),
        ])
    func interim(
        status: Int, length: ContentLength, coding: TransferCoding, expected: ResponseHeadError
    ) {
        let answer = Framing.response(
            to: .get, status: status, contentLength: length, transferCoding: coding, version: .http11)
        #expect(answer == .refused(expected))
    }

    @Test("every status has words or none, and three digits")
    func words() {
        #expect(StatusText.reason(200).description == "OK")
        #expect(StatusText.reason(431).description == "Request Header Fields Too Large")
        #expect(StatusText.reason(599).description == "")
        #expect(StatusText.reason(-1).description == "")
        let bodiless = (100..<600).filter { !StatusText.mayHaveBody($0) }
        #expect(bodiless == Array(100..<200) + [204, 304])
    }
}

@Suite("RFC 9110 §5.5, §5.6.2: classes of bytes, by words") struct ByteClassTests {
    private static let token = Set(
        "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ".utf8)

    @Test("a scan finds each byte value at each place, as a look at each byte does")
    func scans() {
        for value in 0...255 {
            let byte = UInt8(value)
            let isText = byte >= 0x20 && byte != 0x7f || byte == 0x09
            let isTarget = byte > 0x20 && byte < 0x7f && byte != 0x23
            let isHost =
                Self.token.contains(byte) && !"!#$%&'*+^`|".utf8.contains(byte)
            for place in 0..<40 {
                var bytes = [UInt8](repeating: 0x61, count: 40)
                bytes[place] = byte
                let span = bytes.rawSpan
                let found = [
                    span.endOfToken(from: 0), span.endOfFieldText(from: 0), span.endOfHostName(from: 0),
                    span.endOfTarget(from: 0, stop: 0x3f),
                ]
                let expected = [
                    Self.token.contains(byte) ? 40 : place, isText ? 40 : place, isHost ? 40 : place,
                    isTarget && byte != 0x3f ? 40 : place,
                ]
                guard found == expected else {
                    Issue.record("byte \(byte) at \(place): \(found), expected \(expected)")
                    return
                }
            }
        }
    }

    @Test("neighbours do not mislead a scan")
    func pairs() {
        for first in 0...255 {
            for second in 0...255 {
                let bytes = [0x61, UInt8(first), UInt8(second)] + [UInt8](repeating: 0x61, count: 13)
                let span = bytes.rawSpan
                let token = bytes.firstIndex { !Self.token.contains($0) } ?? 16
                let text = bytes.firstIndex { !ByteSet.fieldText.contains($0) } ?? 16
                let target = bytes.firstIndex { !ByteSet.target.contains($0) || $0 == 0x3f } ?? 16
                let host = bytes.firstIndex { !ByteSet.unreserved.contains($0) } ?? 16
                let found = [
                    span.endOfToken(from: 0), span.endOfFieldText(from: 0),
                    span.endOfTarget(from: 0, stop: 0x3f), span.endOfHostName(from: 0),
                ]
                guard found == [token, text, target, host] else {
                    Issue.record("bytes \(first) \(second): \(found)")
                    return
                }
            }
        }
    }
}
