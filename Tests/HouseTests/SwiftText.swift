/// Swift source with the insides of comments and string literals blanked, line for line, so that a rule about code
/// is not broken by prose about it. What stands in an interpolation is code and stays.
struct SwiftText {
    /// Lines of code; index 0 is line 1.
    let code: [[UInt8]]

    init(_ text: String) {
        var lexer = Lexer(bytes: Array(text.utf8))
        lexer.run()
        code = lexer.out.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false).map(
            Array.init)
    }

    /// Identifiers of a line, keywords included, in order.
    func words(onLine index: Int) -> [String] {
        code[index].split { !Self.isWordByte($0) }.map { String(decoding: $0, as: UTF8.self) }
    }

    static func isWordByte(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "_"), UInt8(ascii: "@"), 0x80...0xFF:
            true
        default: false
        }
    }
}

private struct Lexer {
    let bytes: [UInt8]
    var out: [UInt8] = []
    private var at = 0

    init(bytes: [UInt8]) { self.bytes = bytes }

    mutating func run() {
        while at < bytes.count { code(endsAtParenthesis: false) }
    }

    private func starts(_ text: StaticString, at offset: Int) -> Bool {
        let wanted = Array("\(text)".utf8)
        guard offset + wanted.count <= bytes.count else { return false }
        return bytes[offset..<(offset + wanted.count)].elementsEqual(wanted)
    }

    private mutating func keep() {
        out.append(bytes[at])
        at += 1
    }

    private mutating func blank(_ count: Int = 1) {
        for _ in 0..<count where at < bytes.count {
            out.append(bytes[at] == UInt8(ascii: "\n") ? UInt8(ascii: "\n") : UInt8(ascii: " "))
            at += 1
        }
    }

    /// Code up to the end, or past the parenthesis that closes an interpolation.
    private mutating func code(endsAtParenthesis: Bool) {
        var depth = 0
        while at < bytes.count {
            if starts("//", at: at) {
                while at < bytes.count, bytes[at] != UInt8(ascii: "\n") { blank() }
            } else if starts("/*", at: at) {
                blockComment()
            } else if let hashes = hashesBeforeQuote() {
                string(hashes: hashes)
            } else {
                if bytes[at] == UInt8(ascii: "(") { depth += 1 }
                if bytes[at] == UInt8(ascii: ")") { depth -= 1 }
                if endsAtParenthesis, depth < 0 {
                    blank()
                    return
                }
                keep()
            }
        }
    }

    private mutating func blockComment() {
        var depth = 0
        while at < bytes.count {
            if starts("/*", at: at) {
                depth += 1
                blank(2)
            } else if starts("*/", at: at) {
                depth -= 1
                blank(2)
                if depth == 0 { return }
            } else {
                blank()
            }
        }
    }

    /// How many `#` stand before the quote of a string literal here; `nil` when none begins here.
    private func hashesBeforeQuote() -> Int? {
        var end = at
        while end < bytes.count, bytes[end] == UInt8(ascii: "#") { end += 1 }
        guard end < bytes.count, bytes[end] == UInt8(ascii: "\"") else { return nil }
        return end - at
    }

    private mutating func string(hashes: Int) {
        blank(hashes)
        let quotes = starts("\"\"\"", at: at) ? 3 : 1
        blank(quotes)
        while at < bytes.count {
            if hasRun(of: UInt8(ascii: "\""), quotes, at: at),
                hasRun(of: UInt8(ascii: "#"), hashes, at: at + quotes)
            {
                blank(quotes + hashes)
                return
            }
            if bytes[at] == UInt8(ascii: "\\"), hasRun(of: UInt8(ascii: "#"), hashes, at: at + 1) {
                let next = at + 1 + hashes
                if next < bytes.count, bytes[next] == UInt8(ascii: "(") {
                    blank(2 + hashes)
                    code(endsAtParenthesis: true)
                } else {
                    blank(2 + hashes)
                }
                continue
            }
            // A single-line literal cannot cross a line's end: a quote that was not one does no harm past it.
            if quotes == 1, bytes[at] == UInt8(ascii: "\n") { return }
            blank()
        }
    }

    private func hasRun(of byte: UInt8, _ count: Int, at offset: Int) -> Bool {
        guard offset + count <= bytes.count else { return false }
        return bytes[offset..<(offset + count)].allSatisfy { $0 == byte }
    }
}
