/// One broken rule, as an editor can jump to it.
struct Violation: Equatable, CustomStringConvertible {
    let path: String
    let line: Int
    let rule: String

    var description: String { "\(path):\(line): \(rule)" }
}

/// A file of the repository, by its path from the top.
struct HouseFile {
    let path: String
    let text: String

    var parts: [String] { path.split(separator: "/").map(String.init) }
    var name: String { parts.last ?? path }
    var isSwift: Bool { path.hasSuffix(".swift") }
    var lines: [Substring] { text.split(separator: "\n", omittingEmptySubsequences: false) }

    /// The room that the file stands in, or tests; `nil` outside of rooms and their tests.
    var room: String? {
        guard parts.count > 2 else { return nil }
        if parts[0] == "Sources" { return parts[1] }
        if isMicro { return parts[2] }
        if parts[0] == "Tests", parts[1].hasSuffix("Tests") {
            return String(parts[1].dropLast("Tests".count))
        }
        return nil
    }
    var isSource: Bool { parts.first == "Sources" || isMicro }
    /// The parts that are counted alone stand beside the benchmarks, and are rooms like all others.
    private var isMicro: Bool { parts.count > 3 && parts[0] == "Benchmarks" && parts[1] == "Micro" }
    /// Fuzz targets are handed a pointer by libFuzzer, in whatever room they test.
    var isFuzzTarget: Bool { path.hasPrefix("Tests/Fuzz/") }
}

/// The rules themselves, each from one file to what breaks it there.
enum Rules {
    static func all(_ file: HouseFile) -> [Violation] {
        var found = unknownRoom(file) + lengths(file) + leftovers(file) + machinePaths(file)
        guard file.isSwift else { return found }
        let text = SwiftText(file.text)
        found += unsafeCode(file, text) + imports(file, text) + bannedWords(file, text)
        return found
    }

    /// A folder that has no row has no rules, so it is refused.
    static func unknownRoom(_ file: HouseFile) -> [Violation] {
        guard file.isSource, let room = file.room, House.row(room) == nil else { return [] }
        return [
            Violation(path: file.path, line: 1, rule: "\(room) has no row in Tests/HouseTests/House.swift")
        ]
    }

    static func unsafeCode(_ file: HouseFile, _ text: SwiftText) -> [Violation] {
        guard let room = file.room, !file.isFuzzTarget, House.row(room)?.mayBeUnsafe != true else {
            return []
        }
        return text.code.indices.flatMap { index in
            text.words(onLine: index)
                .filter { $0 == "unsafe" || $0 == "@unsafe" || $0 == "@safe" }
                .map { Violation(path: file.path, line: index + 1, rule: "`\($0)` is not for \(room)") }
        }
    }

    /// C modules outside the rooms whose row names them, and arrows that the table does not have. Tests of a room
    /// may import what the room may, the room itself and Foundation.
    static func imports(_ file: HouseFile, _ text: SwiftText) -> [Violation] {
        guard let room = file.room, let row = House.row(room) else { return [] }
        var found: [Violation] = []
        for index in text.code.indices {
            guard let module = importedModule(text.words(onLine: index)) else { continue }
            let isOfHouse = House.row(module).map { $0.kind != .door } ?? false
            let rule: String
            if isOfHouse {
                if row.imports.contains(module) || (!file.isSource && module == room) { continue }
                // The bus is what the other services are tested with.
                if !file.isSource, row.kind == .outbuilding, module == "BusService" { continue }
                rule = "the table has no arrow from \(room) to \(module)"
            } else {
                guard House.doorModules.contains(module), row.kind != .outbuilding else { continue }
                let isTestsOwn = !file.isSource && module.hasPrefix("Foundation")
                if row.doors.contains(module) || isTestsOwn { continue }
                rule = "\(room) may not import \(module)"
            }
            found.append(Violation(path: file.path, line: index + 1, rule: rule))
        }
        return found
    }

    /// `public import struct Memory.Block`, `@testable import Proxy`, `import HTTP`: the module's name.
    private static func importedModule(_ words: [String]) -> String? {
        guard let at = words.firstIndex(of: "import"), at + 1 < words.count else { return nil }
        let modifiers: Set = [
            "public", "package", "internal", "fileprivate", "private", "@testable", "@preconcurrency",
            "@_exported",
            "@_implementationOnly", "@_spi",
        ]
        guard words[..<at].allSatisfy({ modifiers.contains($0) || !$0.hasPrefix("@") && at > 1 }) else {
            return nil
        }
        let kinds: Set = ["struct", "class", "enum", "protocol", "typealias", "func", "let", "var"]
        let name = kinds.contains(words[at + 1]) && at + 2 < words.count ? words[at + 2] : words[at + 1]
        return name
    }

    static func bannedWords(_ file: HouseFile, _ text: SwiftText) -> [Violation] {
        var found: [Violation] = []
        let stem = file.name.split(separator: ".").first.map(String.init) ?? file.name
        for part in stem.split(separator: "+") {
            if let word = bannedWord(in: String(part), room: file.room) {
                found.append(Violation(path: file.path, line: 1, rule: "'\(word)' in the file's name"))
            }
        }
        let declarators: Set = ["struct", "class", "enum", "protocol", "actor", "typealias"]
        for index in text.code.indices {
            let words = text.words(onLine: index)
            guard let at = words.firstIndex(where: declarators.contains), at + 1 < words.count else {
                continue
            }
            let name = words[at + 1]
            // `class func` and `import struct X.Y` declare no type.
            guard name != "func", name != "var", importedModule(words) == nil else { continue }
            if let word = bannedWord(in: name, room: file.room) {
                let rule = "'\(word)' in the type name \(name)"
                found.append(Violation(path: file.path, line: index + 1, rule: rule))
            }
        }
        return found
    }

    private static func bannedWord(in name: String, room: String?) -> String? {
        for word in camelWords(name) {
            if House.bannedWords.contains(word) { return word }
            if let home = House.wordsOfOneRoom[word], home != room { return word }
        }
        return nil
    }

    /// `HTTPPluginHost` -> `HTTP`, `Plugin`, `Host`. The first word counts as if it were capitalised.
    static func camelWords(_ name: String) -> [String] {
        let letters = Array(name)
        var words: [String] = []
        var word = ""
        for (index, letter) in letters.enumerated() {
            guard letter.isLetter else {
                if !word.isEmpty { words.append(word) }
                word = ""
                continue
            }
            let next = index + 1 < letters.count ? letters[index + 1] : nil
            let afterLower = word.last?.isLowercase == true
            let beforeLower = word.last?.isUppercase == true && next?.isLowercase == true
            if letter.isUppercase, afterLower || beforeLower {
                words.append(word)
                word = ""
            }
            word.append(word.isEmpty ? Character(letter.uppercased()) : letter)
        }
        if !word.isEmpty { words.append(word) }
        return words
    }

    static func lengths(_ file: HouseFile) -> [Violation] {
        let isCode = [".swift", ".h", ".c", ".py", ".sh"].contains { file.path.hasSuffix($0) }
        let count = file.lines.count - (file.text.hasSuffix("\n") ? 1 : 0)
        guard isCode, count > House.lineLimit else { return [] }
        let rule = "\(count) lines, \(House.lineLimit) are the most"
        return [Violation(path: file.path, line: House.lineLimit + 1, rule: rule)]
    }

    /// A leftover word, written in capitals as one whole word: the rest of an unfinished thought.
    static func leftovers(_ file: HouseFile) -> [Violation] {
        file.lines.enumerated().flatMap { index, line in
            let words = line.utf8.split { !SwiftText.isWordByte($0) }.map {
                String(decoding: $0, as: UTF8.self)
            }
            return House.leftovers.filter(words.contains)
                .map { Violation(path: file.path, line: index + 1, rule: "'\($0)' is left over") }
        }
    }

    /// A path of the machine that a file happened to be written on.
    static func machinePaths(_ file: HouseFile) -> [Violation] {
        file.lines.enumerated().flatMap { index, line in
            House.machinePaths.filter { line.contains($0) }
                .map { Violation(path: file.path, line: index + 1, rule: "'\($0)' is a path of one machine") }
        }
    }
}
