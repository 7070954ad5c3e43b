import Testing
import YAML

/// The node as one line: `text@line:column`, `[..]@`, `{key@: value}@`, `!` for what was refused.
private func outline(_ node: Node?) -> String {
    guard let node else { return "nil" }
    let place = "@\(node.place.line):\(node.place.column)"
    switch node.content {
    case .scalar(let text, let isPlain): return (isPlain ? text : text.shown) + place
    case .sequence(let items): return "[" + items.map(outline).joined(separator: ", ") + "]" + place
    case .mapping(let entries):
        let inside = entries.map {
            "\($0.key)@\($0.keyPlace.line):\($0.keyPlace.column): " + outline($0.value)
        }
        return "{" + inside.joined(separator: ", ") + "}" + place
    case .refused: return "!" + place
    }
}

private func read(_ text: String, bounds: Bounds = Bounds()) -> Reading {
    Reading(of: Array(text.utf8), bounds: bounds)
}

private func lines(_ reading: Reading) -> [String] {
    reading.problems.map { "\($0.place.line):\($0.place.column): \($0.message)" }
}

@Suite("YAML 1.2 text as nodes") struct ReadingTests {
    static let good: [(String, String)] = [
        ("a: 1", "{a@1:1: 1@1:4}@1:1"),
        ("# c\nkey:\n  - x\n  - \"y z\"\n", "{key@2:1: [x@3:5, 'y z'@4:5]@3:3}@2:1"),
        ("{a: [b, 'no'], c: {}}", "{a@1:2: [b@1:6, 'no'@1:9]@1:5, c@1:16: {}@1:19}@1:1"),
        ("é: ü", "{é@1:1: ü@1:4}@1:1"),
        ("a:", "{a@1:1: @1:3}@1:1"),
        ("a: \"\\u00e9\\n\"", "{a@1:1: 'é\\u{a}'@1:4}@1:1"),
        ("a: |\n  two\n  lines\n", "{a@1:1: 'two\\u{a}lines\\u{a}'@1:4}@1:1"),
        ("%YAML 1.2\n---\na: no\n", "{a@3:1: no@3:4}@3:1"),
        ("'<<': 1", "{<<@1:1: 1@1:7}@1:1"),
    ]

    @Test("A good text gives its nodes, each with line and column", arguments: good)
    func nodes(text: String, expected: String) {
        let reading = read(text)
        #expect(reading.problems.isEmpty)
        #expect(outline(reading.root) == expected)
    }

    @Test(
        "What can be abused or misread is refused where it stands, and the rest is still read",
        arguments: [
            ("a: &x 1", "1:4: anchors ('&name') are refused", "{a@1:1: 1@1:4}@1:1"),
            ("a: *x", "1:4: aliases ('*name') are refused; write the value out", "{a@1:1: !@1:4}@1:1"),
            ("a: !!int 1", "1:4: tags ('!name') are refused", "{a@1:1: 1@1:4}@1:1"),
            ("a: ! 1", "1:4: tags ('!name') are refused", "{a@1:1: 1@1:4}@1:1"),
            ("%TAG ! tag:x,2000:\n---\na: 1", "1:1: tags are refused", "{a@3:1: 1@3:4}@3:1"),
            ("<<: {a: 1}\nb: 2", "1:1: merges ('<<') are refused; write the keys out", "{b@2:1: 2@2:4}@1:1"),
            (
                "a: 1\nb: 2\na: 3", "3:1: duplicate key 'a'; it stands at 1:1 already",
                "{a@1:1: 1@1:4, b@2:1: 2@2:4}@1:1"
            ),
            ("a: 1\n'a': 3", "2:1: duplicate key 'a'; it stands at 1:1 already", "{a@1:1: 1@1:4}@1:1"),
            ("[a]: 1\nb: 2", "1:1: a key must be text", "{b@2:1: 2@2:4}@1:1"),
            ("a: 1\n---\nb: 2", "2:1: a second document begins here; one is allowed", "{a@1:1: 1@1:4}@1:1"),
        ])
    func refused(text: String, problem: String, expected: String) {
        let reading = read(text)
        #expect(lines(reading) == [problem])
        #expect(outline(reading.root) == expected)
    }

    @Test(
        "A text that is not YAML has no nodes and one problem at its place",
        arguments: [
            ("", "1:1: the file is empty"),
            ("# only a comment\n", "2:1: the file is empty"),
            ("a: b: c", "1:5: not valid YAML: mapping values are not allowed in this context"),
            (
                "a: [1, 2\n",
                "2:1: not valid YAML: while parsing a flow sequence: did not find expected ',' or ']'"
            ),
            (
                "a: 1\n\tb: 2",
                "2:1: not valid YAML: while scanning a plain scalar: found a tab character that violates indentation"
            ),
            (
                "a: \"\\ud800\"",
                "1:7: not valid YAML: while parsing a quoted scalar: found invalid Unicode character escape code"
            ),
            ("a: \u{7}", "1:4: not valid YAML: control characters are not allowed"),
            ("a: 1\nbé: \u{1}", "2:5: not valid YAML: control characters are not allowed"),
        ])
    func notYAML(text: String, problem: String) {
        let reading = read(text)
        #expect(lines(reading) == [problem])
        #expect(reading.root == nil)
    }

    @Test("Bytes that are not UTF-8 are refused at their place")
    func notUTF8() {
        let invalid = Reading(of: Array("a: 1\nb: ".utf8) + [0xC3, 0x28])
        #expect(lines(invalid) == ["2:5: not valid YAML: invalid trailing UTF-8 octet"])
        let utf16 = Reading(of: [0xFF, 0xFE, 0x61, 0x00])
        #expect(lines(utf16) == ["1:1: not valid YAML: invalid leading UTF-8 octet"])
    }

    @Test("Each bound stops the reading with a problem that names it")
    func bounds() {
        #expect(
            lines(read("[a, b, c]", bounds: Bounds(nodes: 3))) == [
                "1:8: more than 3 values; the rest is not read"
            ])
        #expect(read("[a, b]", bounds: Bounds(nodes: 3)).root != nil)
        #expect(lines(read("[[[a]]]", bounds: Bounds(depth: 2))) == ["1:3: nested more than 2 deep"])
        #expect(read("[[a]]", bounds: Bounds(depth: 2)).root != nil)
        #expect(
            lines(read("a: 1234", bounds: Bounds(textBytes: 6))) == [
                "1:1: the text has 7 bytes; at most 6 are read"
            ])
        #expect(read("a: 123", bounds: Bounds(textBytes: 6)).root != nil)
        let deep = String(repeating: "[", count: 100_000)
        #expect(lines(read(deep)) == ["1:33: nested more than 32 deep"])
    }

    @Test("Each prefix of a good text is read or refused, with places inside it")
    func prefixes() {
        for (text, _) in Self.good {
            let bytes = Array(text.utf8)
            for length in 0...bytes.count {
                let reading = Reading(of: Array(bytes.prefix(length)))
                #expect(reading.root != nil || !reading.problems.isEmpty)
                let lineCount = bytes.prefix(length).count { $0 == UInt8(ascii: "\n") } + 1
                // libyaml says of a text that ends too early that it fails on the line after its last.
                for problem in reading.problems {
                    #expect((1...lineCount + 1).contains(problem.place.line))
                    #expect((1...length + 1).contains(problem.place.column))
                }
            }
        }
    }

    @Test("Text in a message is one printable line of bounded length")
    func shown() {
        #expect("a\nb\u{1B}[0m\u{202E}".shown == "'a\\u{a}b\\u{1b}[0m\\u{202e}'")
        #expect(String(repeating: "x", count: 1000).shown.utf8.count == 69)
    }
}
