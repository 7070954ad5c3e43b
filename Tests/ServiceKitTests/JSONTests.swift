import ServiceKit
import Testing

@Suite("RFC 8259, read strictly") struct JSONTests {
    private static let good: [(String, JSONValue)] = [
        ("null", nil), (" true ", true), ("false", false), ("0", 0), ("-0", 0), ("17", 17), ("-1", -1),
        ("9223372036854775807", .integer(.max)), ("9223372036854775808", .number(9_223_372_036_854_775_808)),
        ("1.5", 1.5), ("1e2", 100.0), ("-2.5E-1", -0.25), ("\"\"", ""), ("\"a\\n\\u00e9\\\\\"", "a\né\\"),
        ("\"\\ud83d\\ude00x\"", "😀x"), ("\"é😀\"", "é😀"), ("[]", []), ("[1,[true],\"x\"]", [1, [true], "x"]),
        ("{}", [:]), ("{\"a\":{\"b\":[]},\"c\":null}", ["a": ["b": []], "c": nil]),
        ("\t{ \"a\" : 1 , \"b\" : [ 1 , 2 ] }\r\n", ["a": 1, "b": [1, 2]]),
    ]

    private static let bad: [String] = [
        "", " ", "nul", "tru", "True", "01", "-", "+1", "1.", ".5", "1e", "1e+", "0x1", "1e999", "NaN", "'a'",
        "\"", "\"\\x\"", "\"\\u12\"", "\"\\ud800\"", "\"\\ud800\\u0041\"", "\"\\udc00\"", "\"\u{1}\"",
        "\"a\nb\"",
        "[", "[1", "[1,", "[1,]", "[,1]", "[1 2]", "{", "{\"a\"", "{\"a\":", "{\"a\":1", "{\"a\":1,}", "{,}",
        "{a:1}", "{\"a\" 1}", "{\"a\":1 \"b\":2}", "1 2", "{}x", "[]]", "{]", "[}", "{\"a\":1,\"a\":1}",
        String(repeating: "[", count: 65) + String(repeating: "]", count: 65),
    ]

    @Test("Each good text stands for its value, and the value's own text for the same value", arguments: good)
    func read(text: String, value: JSONValue) throws {
        #expect(try JSONValue(parsing: text.utf8) == value)
        #expect(try JSONValue(parsing: value.json.utf8) == value)
        #expect(try JSONText(checking: text).value() == value)
    }

    @Test("No other text is read", arguments: bad)
    func refused(text: String) {
        #expect(throws: JSONReader.Failure.self) { try JSONValue(parsing: text.utf8) }
    }

    @Test("No prefix of a good text in brackets is one, wherever it is cut") func prefixes() {
        for (text, _) in Self.good {
            let whole = Array("[\(text)]".utf8)
            for end in 0..<whole.count {
                #expect(throws: JSONReader.Failure.self) { try JSONValue(parsing: whole[..<end]) }
            }
        }
    }

    @Test("Passing over a text refuses what reading it refuses, but for members that come twice")
    func passed() {
        for text in Self.bad where text != "{\"a\":1,\"a\":1}" {
            #expect(throws: JSONReader.Failure.self) { try JSONText(checking: text) }
        }
    }

    @Test("Bytes that are not UTF-8 are no text") func utf8() {
        for bytes: [UInt8] in [
            [0x22, 0xFF, 0x22], [0x22, 0xC0, 0x80, 0x22], [0x22, 0xED, 0xA0, 0x80, 0x22],
        ] {
            #expect(throws: JSONReader.Failure.self) { try JSONValue(parsing: bytes) }
        }
    }

    @Test("The number 1 is no truth value, and true is no number") func kinds() throws {
        #expect(try JSONValue(parsing: "1".utf8) == .integer(1))
        #expect(try JSONValue(parsing: "true".utf8).asInteger == nil)
        #expect(try JSONValue(parsing: "1.0".utf8).asInteger == 1)
        #expect(try JSONValue(parsing: "1.5".utf8).asInteger == nil)
    }

    @Test("Members come in the order of their names, and what must be escaped is") func written() {
        let value: JSONValue = ["b": 1, "a": "q\"\\\n\u{1}é", "c": [1.5, nil, false]]
        #expect(value.json == "{\"a\":\"q\\\"\\\\\\n\\u0001é\",\"b\":1,\"c\":[1.5,null,false]}")
    }

    @Test("A text with something to escape at any place, of any length, is written so that it is read again")
    func places() throws {
        for special in ["\"", "\\", "\u{0}", "\u{1F}", "\u{20}", "\u{7F}", "é", "\u{80}"] {
            for length in 0..<20 {
                for place in 0...length {
                    let text =
                        String(repeating: "x", count: place) + special
                        + String(repeating: "!", count: length - place)
                    let json = JSONValue.text(text).json
                    #expect(try JSONValue(parsing: json.utf8) == .text(text))
                    let mustBeEscaped = ["\"", "\\", "\u{0}", "\u{1F}"].contains(special)
                    #expect((json.utf8.count > text.utf8.count + 2) == mustBeEscaped)
                    // As it is, what must be escaped ends the string or is refused.
                    let raw = "\"\(text)\""
                    #expect((JSONValue(text: raw) == .text(text)) == !mustBeEscaped, "\(raw)")
                }
            }
        }
    }

    private static let integers: [(String, Int64?)] = [
        ("0", 0), ("-0", 0), ("7", 7), ("-12", -12), ("999999999999999999", 999_999_999_999_999_999),
        ("9223372036854775807", .max), ("-9223372036854775808", .min), ("9223372036854775808", nil),
        ("1.0", 1), ("1e2", 100), ("1.5", nil), ("01", nil), ("-", nil), ("-01", nil), ("", nil), ("+1", nil),
        ("1x", nil), ("\"1\"", nil),
    ]

    @Test("A whole number is read however it is written, and nothing else is", arguments: integers)
    func integer(text: String, value: Int64?) {
        let bytes = Array(" \(text)".utf8)
        let read = bytes.withUnsafeBufferPointer { buffer -> Int64? in
            var reader = JSONReader(buffer)
            guard let number = try? reader.integer(), (try? reader.end()) != nil else { return nil }
            return number
        }
        #expect(read == value)
        if let value { #expect(JSONValue.integer(value).json == String(value)) }
    }

    @Test("A member's name is compared as what it stands for, and is no other's beginning") func names()
        throws
    {
        let bytes = Array(#"{"id":1,"i\u0064":2,"i":3,"idx":4,"":5}"#.utf8)
        let found = try bytes.withUnsafeBufferPointer { buffer in
            var reader = JSONReader(buffer)
            var found: [Int64] = []
            try reader.enter()
            while let name = try reader.nextName() {
                let value = try reader.integer()
                if "id" ~= name { found.append(value) }
            }
            return found
        }
        #expect(found == [1, 2])
    }
}

@Suite("W3C Trace Context") struct TraceTests {
    @Test(
        "§3.2: what is no traceparent of version 00 is dropped",
        arguments: [
            "", "00", "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
        ])
    func dropped(text: String) { #expect(Trace(requestID: "r", traceparent: text).traceparent == nil) }

    @Test("A trace that came goes on, and one is begun where none came") func begun() {
        let came = Trace(
            requestID: "r", traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
        #expect(came.begun == came)
        #expect(came.traceID == "0af7651916cd43dd8448eb211c80319c")
        #expect(Trace(requestID: "r", traceparent: nil).begun.traceID?.count == 32)
    }
}
