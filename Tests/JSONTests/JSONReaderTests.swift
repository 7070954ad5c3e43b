import JSON
import Memory
import Testing

/// All tokens of a text, as words; throws what the reader throws.
func words(_ text: String, maxDepth: Int = 16) throws -> [String] {
    try words(Array(text.utf8), maxDepth: maxDepth)
}

func words(_ bytes: [UInt8], maxDepth: Int = 16, maxBytes: Int = 1 << 20) throws -> [String] {
    var reader = JSONReader(bytes.rawSpan, maxDepth: maxDepth, maxBytes: maxBytes)
    var found: [String] = []
    while true {
        switch try reader.next() {
        case .objectStart: found.append("{")
        case .objectEnd: found.append("}")
        case .arrayStart: found.append("[")
        case .arrayEnd: found.append("]")
        case .name(let text): found.append("name " + resolved(text, in: bytes))
        case .string(let text): found.append("text " + resolved(text, in: bytes))
        case .number(let number): found.append("number " + reader.raw(number).text)
        case .bool(let value): found.append("\(value)")
        case .null: found.append("null")
        case .end: return found
        }
    }
}

private func resolved(_ text: JSONText, in bytes: [UInt8]) -> String {
    var target = FixedBytes(count: bytes.count)
    guard let count = text.resolve(in: bytes.rawSpan, into: &target, at: 0, limit: target.count) else {
        return "does not fit"
    }
    let result = target.bytes(0..<count).array
    let isSame = text.equals(result.rawSpan, in: bytes.rawSpan)
    #expect(isSame)
    return String(decoding: result, as: UTF8.self)
}

@Suite("RFC 8259 The JavaScript Object Notation") struct JSONReaderTests {
    static let good: [(String, [String])] = [
        ("{}", ["{", "}"]), ("[]", ["[", "]"]), (" \t\r\n1 \t\r\n", ["number 1"]), ("true", ["true"]),
        ("false", ["false"]), ("null", ["null"]), ("\"\"", ["text "]),
        (
            "[1,-0,0.5,1e9,1E+2,1e-2,-12.25e3]",
            [
                "[", "number 1", "number -0", "number 0.5", "number 1e9", "number 1E+2", "number 1e-2",
                "number -12.25e3", "]",
            ]
        ),
        (
            #"{"a":1,"b":{"a":[{"a":null}]}}"#,
            [
                "{", "name a", "number 1", "name b", "{", "name a", "[", "{", "name a", "null", "}", "]", "}",
                "}",
            ]
        ),
        (#"[{"a":1},{"a":2}]"#, ["[", "{", "name a", "number 1", "}", "{", "name a", "number 2", "}", "]"]),
        (#""\"\\\/\b\f\n\r\t\u00e9\u65E5\ud83d\uDE00""#, ["text \"\\/\u{8}\u{c}\n\r\té日😀"]),
        ("\"é日😀\u{7f}\"", ["text é日😀\u{7f}"]),
        (#"{"":{"":[]}}"#, ["{", "name ", "{", "name ", "[", "]", "}", "}"]),
        (#"{"\u0061":1,"A":2}"#, ["{", "name a", "number 1", "name A", "number 2", "}"]),
    ]

    @Test("§2 to §7: texts of the grammar are read", arguments: good) func accepted(
        text: String, expected: [String]
    )
        throws
    {
        #expect(try words(text) == expected)
    }

    @Test("no prefix of a text is one, but for those of a bare number", arguments: good)
    func prefixes(text: String, expected: [String]) {
        let bytes = Array(text.utf8)
        guard expected.count > 1 || !expected[0].hasPrefix("number") else { return }
        for count in bytes.indices {
            #expect(throws: JSONError.self) { try words(Array(bytes.prefix(count))) }
        }
    }

    @Test("§2: no text may have anything behind it but white space", arguments: good)
    func behind(text: String, expected: [String]) throws {
        #expect(try words(text + " \n") == expected)
        for more in ["x", ",", "{}", "]", "\"", "null", "\u{0}", "//"] {
            #expect(throws: JSONError.self) { try words(text + " " + more) }
        }
    }

    @Test(
        "what is not of the grammar is refused, with the place",
        arguments: [
            ("", .unfinished), (" ", .unfinished), ("nul", .unfinished), ("nulL", .badByte(offset: 3)),
            ("True", .badByte(offset: 0)), ("NaN", .badByte(offset: 0)), ("Infinity", .badByte(offset: 0)),
            ("'a'", .badByte(offset: 0)), ("\u{feff}1", .badByte(offset: 0)),
            ("\u{a0}1", .badByte(offset: 0)),
            ("[1,]", .badByte(offset: 3)), ("[,1]", .badByte(offset: 1)), ("[1 2]", .badByte(offset: 3)),
            ("[1}", .badByte(offset: 2)), ("{1:2}", .badByte(offset: 1)), ("{a:1}", .badByte(offset: 1)),
            (#"{"a"}"#, .badByte(offset: 4)), (#"{"a" 1}"#, .badByte(offset: 5)),
            (#"{"a":}"#, .badByte(offset: 5)), (#"{"a":1,}"#, .badByte(offset: 7)),
            (#"{"a":1 "b":2}"#, .badByte(offset: 7)), (#"{"a":1]"#, .badByte(offset: 6)),
            (#"{,"a":1}"#, .badByte(offset: 1)), ("]", .badByte(offset: 0)), ("}", .badByte(offset: 0)),
            (":", .badByte(offset: 0)), ("[1]]", .badByte(offset: 3)), ("/*x*/1", .badByte(offset: 0)),
            ("01", .badNumber(offset: 0)), ("-01", .badNumber(offset: 0)), ("1.", .unfinished),
            ("[1.]", .badNumber(offset: 3)), (".5", .badByte(offset: 0)), ("+1", .badByte(offset: 0)),
            ("[-]", .badNumber(offset: 2)), ("[1e]", .badNumber(offset: 3)), ("[1e+]", .badNumber(offset: 4)),
            ("0x10", .badByte(offset: 1)), ("1_000", .badByte(offset: 1)), ("--1", .badNumber(offset: 1)),
            ("\"\u{1f}\"", .badString(offset: 1)), ("\"\n\"", .badString(offset: 1)),
            ("\"\u{0}\"", .badString(offset: 1)), (#""\x""#, .badString(offset: 1)),
            (#""\u12g4""#, .badString(offset: 1)), (#""\U0041""#, .badString(offset: 1)),
            (#""\ud800""#, .unfinished), (#""\ud800abcdef""#, .badString(offset: 1)),
            (#""\udc00""#, .badString(offset: 1)), (#""\ud800\ud800""#, .badString(offset: 1)),
            (#""\ud800\u0041""#, .badString(offset: 1)), (#""\"#, .unfinished),
        ] as [(String, JSONError)])
    func refused(text: String, error: JSONError) {
        #expect(throws: error) { try words(text) }
    }

    @Test(
        "§8.1: a string that is not UTF-8 is refused",
        arguments: [
            [0x80], [0xbf], [0xc0, 0x80], [0xc1, 0xbf], [0xc2], [0xe0, 0x80, 0x80], [0xe0, 0x9f, 0xbf],
            [0xed, 0xa0, 0x80], [0xed, 0xbf, 0xbf], [0xef, 0xbf], [0xf0, 0x80, 0x80, 0x80],
            [0xf0, 0x8f, 0xbf, 0xbf], [0xf4, 0x90, 0x80, 0x80], [0xf5, 0x80, 0x80, 0x80], [0xff], [0xfe],
            [0xe2, 0x28, 0xa1], [0xf0, 0x9f, 0x98],
        ] as [[UInt8]])
    func notUTF8(bytes: [UInt8]) {
        #expect(throws: JSONError.notUTF8(offset: 1)) { try words([0x22] + bytes + [0x22]) }
        #expect(throws: JSONError.notUTF8(offset: 2)) {
            try words([0x7b, 0x22] + bytes + Array("\":1}".utf8))
        }
    }

    @Test("all characters of Unicode pass, at the edges of each length") func edges() throws {
        for scalar in [
            "\u{80}", "\u{7ff}", "\u{800}", "\u{d7ff}", "\u{e000}", "\u{ffff}", "\u{10000}", "\u{10ffff}",
        ] {
            #expect(try words("\"\(scalar)\"") == ["text \(scalar)"])
        }
    }

    @Test(
        "§4: an object with the same name twice is refused, however it is written and however deep",
        arguments: [
            (#"{"a":1,"a":1}"#, 7), (#"{"a":1,"b":2,"a":3}"#, 13), (#"{"a":1,"\u0061":2}"#, 7),
            (#"{"\u0061":1,"a":2}"#, 12), (#"{"\u0061b":1,"a\u0062":2}"#, 13), (#"{"":1,"":2}"#, 6),
            (#"[{"x":{"a":[],"a":{}}}]"#, 14), (#"{"a":{"b":1,"c":2},"b":3,"a":4}"#, 25),
            (#"{"é":1,"\u00e9":2}"#, 8), (#"{"\/":1,"/":2}"#, 8),
        ])
    func duplicates(text: String, offset: Int) {
        #expect(throws: JSONError.duplicateName(offset: offset)) { try words(text) }
    }

    @Test("§4: a name of any length is the same with any of its characters escaped", arguments: 1...20)
    func escapedDuplicates(length: Int) throws {
        let letters = (0..<length).map { String(UnicodeScalar(UInt8(97 + $0))) }
        for escaped in 0..<length {
            var spelled = letters
            spelled[escaped] = "\\u00" + String(97 + escaped, radix: 16)
            for (first, second) in [(letters, spelled), (spelled, letters), (spelled, spelled)] {
                let text = "{\"\(first.joined())\":1,\"\(second.joined())\":2}"
                #expect(throws: JSONError.duplicateName(offset: first.joined().count + 6)) { try words(text) }
            }
            // Another name is another one.
            var other = letters
            other[escaped] = "~"
            #expect(try words("{\"\(spelled.joined())\":1,\"\(other.joined())\":2}").count == 6)
        }
    }

    @Test(
        "§7: every byte at every place of a string is itself, ends it, or is refused",
        arguments: [1, 7, 8, 9, 15, 16, 21])
    func everyByte(length: Int) throws {
        for place in 0..<length {
            // What a backslash begins has its own tests.
            for byte in UInt8.min...UInt8.max where byte != UInt8(ascii: "\\") {
                var inside = Array("abcdefghijklmnopqrstu".utf8.prefix(length))
                inside[place] = byte
                // Behind the string too, where bytes of all kinds must not count.
                let text = [0x5b, 0x22] + inside + Array("\",0]".utf8)
                var found: JSONError?
                do { _ = try words(text) } catch let thrown as JSONError { found = thrown }
                let offset = 2 + place
                let expected: JSONError? =
                    switch byte {
                    case 0..<0x20: .badString(offset: offset)
                    case 0x80...: .notUTF8(offset: offset)
                    case UInt8(ascii: "\""): .badByte(offset: offset + 1)
                    default: nil
                    }
                if found != expected { Issue.record("\(byte) at \(place): \(String(describing: found))") }
            }
        }
    }

    @Test("depth, length and open members are bounded") func bounds() throws {
        let deep = String(repeating: "[", count: 4) + String(repeating: "]", count: 4)
        #expect(try words(deep, maxDepth: 4).count == 8)
        #expect(throws: JSONError.tooDeep(offset: 3)) { try words(deep, maxDepth: 3) }
        #expect(throws: JSONError.tooDeep(offset: 0)) { try words("{}", maxDepth: 0) }
        #expect(try words("1", maxDepth: 0) == ["number 1"])
        let full = String(repeating: "[", count: 32) + String(repeating: "]", count: 32)
        #expect(try words(full, maxDepth: 32).count == 64)
        #expect(throws: JSONError.tooLong) { try words([0x31, 0x31], maxBytes: 1) }
        func object(_ count: Int) -> String {
            "{" + (0..<count).map { "\"\($0)\":0" }.joined(separator: ",") + "}"
        }
        #expect(try words(object(128)).count == 258)
        #expect(throws: JSONError.self) { try words(object(129)) }
        // Members of objects that have ended are forgotten.
        #expect(try words("[" + object(128) + "," + object(128) + "]").count == 518)
    }

    @Test("an error stays: the reader does not go on behind it") func sticky() {
        let bytes = Array("[x]".utf8)
        var reader = JSONReader(bytes.rawSpan)
        var errors: [JSONError] = []
        for _ in 0..<4 {
            do { _ = try reader.next() } catch { errors.append(error) }
        }
        #expect(errors == [.badByte(offset: 1), .badByte(offset: 1), .badByte(offset: 1)])
    }

    @Test("a value that is passed over is held to the same rules") func skip() throws {
        let bytes = Array(#"[{"a":[1,{"b":2}]},3]"#.utf8)
        var reader = JSONReader(bytes.rawSpan)
        _ = try reader.next()
        let first = try reader.next()
        try reader.skipValue(from: first)
        let next = try reader.next()
        guard case .number(let number) = next else {
            Issue.record("not behind the object")
            return
        }
        let text = reader.raw(number).text
        #expect(text == "3")
        let wrong = Array(#"[{"a":1,"a":2}]"#.utf8)
        var second = JSONReader(wrong.rawSpan)
        _ = try second.next()
        _ = try second.next()
        var error: JSONError?
        do { try second.skipContainer() } catch let thrown { error = thrown }
        #expect(error == .duplicateName(offset: 8))
    }

    @Test("a resolved string that does not fit is told, and nothing is written past the limit") func limit()
        throws
    {
        let bytes = Array(#""a\u00e9b""#.utf8)
        var reader = JSONReader(bytes.rawSpan)
        guard case .string(let text) = try reader.next() else {
            Issue.record("no string")
            return
        }
        var target = FixedBytes(count: 8)
        for limit in 0...8 {
            let count = text.resolve(in: bytes.rawSpan, into: &target, at: 1, limit: max(limit, 1))
            #expect(count == (limit >= 5 ? 4 : nil))
        }
        let equal = [
            text.equals("aéb", in: bytes.rawSpan), text.equals("aé", in: bytes.rawSpan),
            text.equals("aébc", in: bytes.rawSpan),
        ]
        #expect(equal == [true, false, false])
    }

    @Test(
        "§6: numbers become whole ones, rounded as asked and held within the bound",
        arguments: [
            ("0", 0, 0), ("-0", 0, 0), ("7", 7, 7), ("-7", -7, -7), ("1.5", 1, 2), ("-1.5", -2, -1),
            ("1.0", 1, 1), ("0.001", 0, 1), ("-0.001", -1, 0), ("1e3", 1000, 1000), ("12.345e2", 1234, 1235),
            ("12.345e3", 12345, 12345), ("12345e-2", 123, 124), ("12300e-2", 123, 123), ("5e-1", 0, 1),
            ("1e-400", 0, 1), ("0e400", 0, 0), ("1e400", 1_000_000, 1_000_000),
            ("-1e400", -1_000_000, -1_000_000), ("999999.5", 999_999, 1_000_000),
            ("1000000", 1_000_000, 1_000_000),
            ("99999999999999999999999999", 1_000_000, 1_000_000),
            ("1e99999999999999999999", 1_000_000, 1_000_000),
            ("1e-99999999999999999999", 0, 1), ("0.00000000000000000000000001e26", 1, 1),
            ("100000000000000000000000000e-26", 1, 1),
        ] as [(String, Int64, Int64)])
    func numbers(text: String, down: Int64, up: Int64) throws {
        #expect(try words(text) == ["number " + text])
        let bytes = Array(text.utf8)
        let lower = JSONNumber.whole(bytes.rawSpan, isRoundedUp: false, bound: 1_000_000)
        let upper = JSONNumber.whole(bytes.rawSpan, isRoundedUp: true, bound: 1_000_000)
        #expect(lower == down)
        #expect(upper == up)
    }

    @Test(
        "§6: what is beyond a double is no finite number, however it is written",
        arguments: [
            ("0", true), ("-7", true), ("1e307", true), ("9.9e307", true), ("1e308", false),
            ("-1e400", false),
            ("0e999999999999", true), ("0.000e400", true), ("0.0001e311", true), ("0.0001e312", false),
            ("1e-400", true), ("1e99999999999999999999", false), ("1e-99999999999999999999", true),
            ("0." + String(repeating: "0", count: 400) + "1e500", true),
            (String(repeating: "9", count: 308), true), (String(repeating: "9", count: 309), false),
        ])
    func finite(text: String, isFinite: Bool) {
        let bytes = Array(text.utf8)
        let found = JSONNumber.isFinite(bytes.rawSpan)
        #expect(found == isFinite)
    }
}
