import Foundation
import Memory
import Telemetry
import Testing

private let names: AccessNames = {
    let routes = LabelTable(capacity: 8)
    let services = LabelTable(capacity: 8)
    let endpoints = LabelTable(capacity: 8)
    let listeners = LabelTable(capacity: 8)
    _ = routes.label(for: "documents")
    _ = services.label(for: "core")
    _ = endpoints.label(for: "127.0.0.1:9002")
    _ = listeners.label(for: "https")
    return AccessNames(
        routes: routes.names, services: services.names, endpoints: endpoints.names,
        listeners: listeners.names,
        reasons: NameTable(["no_route", "rate_limited"]))
}()

private struct Texts {
    var requestID = Array("0192f0c1-7e5b-7000-8000-000000000000".utf8)
    var traceID: [UInt8] = []
    var client = Array("192.0.2.7".utf8)
    var method = Array("GET".utf8)
    var host = Array("api.example.com".utf8)
    var path = Array("/api/v1/documents".utf8)
    var target = Array("/api/v1/documents?secret=1".utf8)
    var subject: [UInt8] = []
}

private func line(_ record: AccessRecord, _ texts: Texts) -> [UInt8] {
    let pool = BlockPool(limit: 1)
    guard var block = pool.take() else { return [] }
    var encoder = AccessLineEncoder(names: names)
    let isEncoded = encoder.encode(
        record, requestID: texts.requestID.rawSpan, traceID: texts.traceID.rawSpan,
        client: texts.client.rawSpan,
        method: texts.method.rawSpan, host: texts.host.rawSpan, path: texts.path.rawSpan,
        target: texts.target.rawSpan, subject: texts.subject.rawSpan, into: &block)
    #expect(isEncoded)
    return block.bytes.array
}

private func parsed(_ line: [UInt8]) throws -> [String: Any] {
    #expect(line.last == UInt8(ascii: "\n") && line.filter { $0 == UInt8(ascii: "\n") }.count == 1)
    #expect(line.allSatisfy { $0 == UInt8(ascii: "\n") || ($0 >= 0x20 && $0 != 0x7f) })
    let object = try JSONSerialization.jsonObject(with: Data(line))
    return try #require(object as? [String: Any])
}

private var fullRecord: AccessRecord {
    var record = AccessRecord()
    record.wallMilliseconds = 1_795_228_538_123
    record.clientPort = 51234
    record.route = 1
    record.service = 1
    record.endpoint = 1
    record.listener = 1
    record.status = 200
    record.httpVersion = .http2
    record.tlsVersion = .tls13
    record.bytesIn = 345
    record.bytesOut = 6789
    record.durationMicroseconds = 1500
    record.authMicroseconds = 20
    record.connectMicroseconds = 0
    record.firstByteMicroseconds = 1400
    record.generation = 3
    return record
}

@Suite("An access line") struct AccessLineTests {
    @Test("tells the exchange, and not its query") func whole() throws {
        var texts = Texts()
        texts.subject = Array("user-17".utf8)
        texts.traceID = Array("4bf92f3577b34da6a3ce929d0e0e4736".utf8)
        let text = String(decoding: line(fullRecord, texts), as: UTF8.self)
        let expected = #"""
            {"time":"2026-11-21T02:35:38.123Z","request_id":"0192f0c1-7e5b-7000-8000-000000000000",\#
            "trace_id":"4bf92f3577b34da6a3ce929d0e0e4736",\#
            "client":"192.0.2.7","client_port":51234,"method":"GET","host":"api.example.com",\#
            "path":"/api/v1/documents","route":"documents","service":"core","endpoint":"127.0.0.1:9002",\#
            "status":200,"protocol":"HTTP/2","tls":"TLSv1.3","bytes_in":345,"bytes_out":6789,\#
            "duration_us":1500,"auth_us":20,"connect_us":0,"first_byte_us":1400,"subject":"user-17",\#
            "listener":"https","generation":3}

            """#
        #expect(text == expected)
    }

    @Test("leaves out what is not there") func sparse() throws {
        var record = AccessRecord()
        record.status = 404
        record.reason = 0
        let texts = Texts(
            requestID: Array("x".utf8), traceID: [], client: [], method: [], host: [], path: [], target: [],
            subject: [])
        let text = String(decoding: line(record, texts), as: UTF8.self)
        let expected = #"""
            {"time":"1970-01-01T00:00:00.000Z","request_id":"x","status":404,"reason":"no_route",\#
            "protocol":"HTTP/1.1","bytes_in":0,"bytes_out":0,"duration_us":0,"generation":0}

            """#
        #expect(text == expected)
    }

    @Test("shows the raw target where it is not the path") func target() throws {
        var texts = Texts()
        texts.target = Array("/api//v1/./documents?x".utf8)
        let object = try parsed(line(fullRecord, texts))
        #expect(object["target"] as? String == "/api//v1/./documents")
        texts.target = Array("/api/v1/documents".utf8)
        #expect(try parsed(line(fullRecord, texts))["target"] == nil)
    }

    @Test("is one line of JSON whatever byte stands at whichever offset", arguments: UInt8.min...UInt8.max)
    func anyByte(byte: UInt8) throws {
        for offset in 0..<20 {
            var subject = Array(repeating: UInt8(ascii: "a"), count: 20)
            subject[offset] = byte
            var texts = Texts()
            texts.subject = subject
            let value = try #require(try parsed(line(fullRecord, texts))["subject"] as? String)
            let middle =
                byte < 0x80 ? String(UnicodeScalar(byte)) : "\\x" + String(byte, radix: 16)
            let expected =
                String(repeating: "a", count: offset) + middle + String(repeating: "a", count: 19 - offset)
            #expect(value == expected)
        }
    }

    @Test(
        "valid UTF-8 stays as it is, all else is spelled out (RFC 3629 §4)",
        arguments: [
            ([0xc3, 0xa9], "é"), ([0xe2, 0x82, 0xac], "€"), ([0xf0, 0x9f, 0x98, 0x80], "😀"),
            ([0xf4, 0x8f, 0xbf, 0xbf], "\u{10ffff}"), ([0xc2, 0x9b], "\u{9b}"), ([0xc2, 0xa0], "\u{a0}"),
            ([0xc0, 0xaf], "\\xc0\\xaf"), ([0xed, 0xa0, 0x80], "\\xed\\xa0\\x80"),
            ([0xf4, 0x90, 0x80, 0x80], "\\xf4\\x90\\x80\\x80"), ([0xe0, 0x80, 0xaf], "\\xe0\\x80\\xaf"),
            ([0xf0, 0x80, 0x80, 0xaf], "\\xf0\\x80\\x80\\xaf"), ([0xe2, 0x82], "\\xe2\\x82"),
            ([0xf0, 0x9f, 0x98], "\\xf0\\x9f\\x98"), ([0xc3], "\\xc3"), ([0x80], "\\x80"),
            ([0xff, 0xfe], "\\xff\\xfe"), ([0xe2, 0x28, 0xa1], "\\xe2(\\xa1"),
        ] as [([UInt8], String)])
    func unicode(bytes: [UInt8], expected: String) throws {
        for padding in 0..<9 {
            var texts = Texts()
            let before = Array(repeating: UInt8(ascii: "-"), count: padding)
            texts.host = before + bytes
            texts.path = bytes + before
            let object = try parsed(line(fullRecord, texts))
            let dashes = String(repeating: "-", count: padding)
            #expect(object["host"] as? String == dashes + expected)
            #expect(object["path"] as? String == expected + dashes)
        }
    }

    @Test("cuts long texts with a mark, and never inside an escape or a letter") func cut() throws {
        for filler in ["a", "\"", "\u{1}", "é", "😀", "\u{85}"] {
            for shift in 0..<7 {
                var texts = Texts()
                texts.subject = Array(
                    (String(repeating: "x", count: shift) + String(repeating: filler, count: 400)).utf8)
                let value = try #require(try parsed(line(fullRecord, texts))["subject"] as? String)
                #expect(value.hasSuffix("…") && value.dropLast().allSatisfy { "x\(filler)".contains($0) })
                #expect(value.utf8.count <= AccessLimits.subject + 3)
            }
        }
        var texts = Texts()
        texts.subject = Array(repeating: UInt8(ascii: "a"), count: AccessLimits.subject)
        let whole = try #require(try parsed(line(fullRecord, texts))["subject"] as? String)
        #expect(whole.utf8.count == AccessLimits.subject && !whole.hasSuffix("…"))
    }

    @Test("is never longer than its bound", arguments: [0x61, 0x22, 0x01, 0xff, 0xc3] as [UInt8])
    func bound(byte: UInt8) throws {
        let huge = Array(repeating: byte, count: 20000)
        let texts = Texts(
            requestID: huge, traceID: huge, client: huge, method: huge, host: huge, path: huge,
            target: huge + [0x62],
            subject: huge)
        var record = fullRecord
        for path in [
            \AccessRecord.clientPort, \.bytesIn, \.bytesOut, \.durationMicroseconds, \.authMicroseconds,
        ] {
            record[keyPath: path] = .max
        }
        record.wallMilliseconds = .max
        record.status = .max
        record.generation = .max
        let bytes = line(record, texts)
        #expect(bytes.count <= AccessLineEncoder.longestLine)
        #expect(try parsed(bytes)["time"] as? String == "9999-12-31T23:59:59.999Z")
    }

    @Test("is not begun in a block that may not hold it") func fullBlock() {
        let pool = BlockPool(blockBytes: AccessLineEncoder.longestLine + 63, limit: 1)
        guard var block = pool.take() else {
            Issue.record("no block")
            return
        }
        var encoder = AccessLineEncoder(names: names)
        let isEncoded = encoder.encode(
            AccessRecord(), requestID: RawSpan(), traceID: RawSpan(), client: RawSpan(), method: RawSpan(),
            host: RawSpan(),
            path: RawSpan(), target: RawSpan(), subject: RawSpan(), into: &block)
        let count = block.byteCount
        #expect(!isEncoded && count == 0)
    }

    @Test("has its time in RFC 3339 §5.6, on each day of four centuries") func time() throws {
        let pool = BlockPool(limit: 1)
        guard var block = pool.take() else {
            Issue.record("no block")
            return
        }
        var encoder = AccessLineEncoder(names: names)
        var calendar = Calendar(identifier: .gregorian)
        calendar.timeZone = try #require(TimeZone(secondsFromGMT: 0))
        for day in stride(from: 0, to: 146_097, by: 13) {
            let seconds = day * 86400 + day % 86400
            var record = AccessRecord()
            record.wallMilliseconds = UInt64(seconds * 1000 + day % 1000)
            block.removeAll()
            _ = encoder.encode(
                record, requestID: RawSpan(), traceID: RawSpan(), client: RawSpan(), method: RawSpan(),
                host: RawSpan(),
                path: RawSpan(), target: RawSpan(), subject: RawSpan(), into: &block)
            let text = String(block.bytes.text.dropFirst(9).prefix(24))
            let parts = calendar.dateComponents(
                [.year, .month, .day, .hour, .minute, .second],
                from: Date(timeIntervalSince1970: TimeInterval(seconds)))
            let numbers = [
                parts.year, parts.month, parts.day, parts.hour, parts.minute, parts.second, day % 1000,
            ]
            let found = text.dropLast().split(whereSeparator: { "-T:.".contains($0) }).map { Int($0) }
            #expect(found == numbers && text.utf8.count == 24)
        }
    }
}

@Suite("Correlation ids") struct CorrelationIDTests {
    @Test("RFC 9562 §5.7: the time, the version and the variant stand where they must") func layout() {
        var maker = CorrelationIDMaker()
        let id = maker.next(wallMilliseconds: 0x0192_f0c1_7e5b, random: 0xffff_ffff_ffff_f923)
        let text = id.withBytes { $0.text }
        #expect(text == "0192f0c1-7e5b-7123-bfff-fffffffffe48")
        let again = id.bytes.text
        #expect(again == text)
    }

    @Test("RFC 9562 §6.2: those of one worker sort as they were made, even when the clock goes back")
    func order() {
        var maker = CorrelationIDMaker()
        var last = ""
        var now: UInt64 = 1_000_000
        for step in 0..<30_000 {
            if step % 7000 == 6999 { now -= 50 }
            if step % 1000 == 0 { now += 1 }
            let random = UInt64(step) &* 0x9e37_79b9_7f4a_7c15
            let text = maker.next(wallMilliseconds: now, random: random).withBytes { $0.text }
            #expect(text > last)
            last = text
        }
    }

    @Test("a peer's value is taken if nothing in it can hurt") func accepted() {
        func isAcceptable(_ bytes: [UInt8]) -> Bool { CorrelationID.isAcceptable(bytes.rawSpan) }
        let letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._~:+/=-"
        for byte in UInt8.min...UInt8.max {
            let isAllowed = letters.utf8.contains(byte)
            #expect(isAcceptable([0x61, byte]) == isAllowed)
        }
        #expect(!isAcceptable([]))
        #expect(isAcceptable(Array(repeating: 0x61, count: 128)))
        #expect(!isAcceptable(Array(repeating: 0x61, count: 129)))
    }
}
