import Testing

/// The tests that there are, by the names under which documents speak of them: `Suite/function`, and `test_file::test_function`.
struct TestNames {
    private(set) var all: Set<String> = []

    init(_ files: [HouseFile]) {
        for file in files where file.parts.first == "Tests" {
            if file.isSwift { addSwift(file) }
            if file.name.hasPrefix("test_"), file.name.hasSuffix(".py") { addPython(file) }
        }
    }

    private mutating func addSwift(_ file: HouseFile) {
        var suite: Substring?
        var isTest = false
        for line in file.lines {
            // Most lines are neither, and a look at a byte costs less than an expression.
            let first = line.utf8.first { $0 != UInt8(ascii: " ") }
            if let start = line.utf8.first, start != UInt8(ascii: " "), start != UInt8(ascii: "/"),
                let found = line.firstMatch(of: /\b(?:struct|extension|class) (\w+)/)
            {
                suite = found.1
            }
            if first == UInt8(ascii: "@"), line.contains("@Test") { isTest = true }
            if isTest, let suite, let found = line.firstMatch(of: /\bfunc (\w+)\(/) {
                all.insert("\(suite)/\(found.1)")
                isTest = false
            }
        }
    }

    private mutating func addPython(_ file: HouseFile) {
        for line in file.lines {
            if let found = line.firstMatch(of: /^def (test_\w+)\(/) {
                all.insert("\(file.name.dropLast(3))::\(found.1)")
            }
        }
    }

    /// The names of tests in a document that are none of these, and the rows of its tables that name no test.
    func missing(in document: HouseFile) -> [Violation] {
        document.lines.enumerated().flatMap { index, line -> [Violation] in
            let names = line.matches(of: /`((?:\w+\/\w+)|(?:test_\w+::test_\w+))`/).map { String($0.1) }
            var rules = names.filter { !all.contains($0) }.map { "there is no test \($0)" }
            if line.hasPrefix("| "), names.isEmpty, !document.isHead(ofTable: index) {
                rules.append("this row names no test")
            }
            return rules.map { Violation(path: document.path, line: index + 1, rule: $0) }
        }
    }
}

extension HouseFile {
    fileprivate func isHead(ofTable line: Int) -> Bool {
        line + 1 < lines.count && lines[line + 1].hasPrefix("|-")
    }
}

@Suite("Documents name tests that there are") struct TestNamesTests {
    @Test("What the reference services promise is shown by the tests that are named beside it")
    func guarantees() throws {
        let files = try Repository.all()
        let path = "Sources/gatehouse-services/Services.docc/Guarantees.md"
        let document = try #require(files.first { $0.path == path })
        #expect(document.lines.count { $0.hasPrefix("| ") } > 30)
        for violation in TestNames(files).missing(in: document) { Issue.record("\(violation)") }
    }

    @Test("A test that is gone, one of another suite, and a row without one are found")
    func missing() {
        let names = TestNames([
            HouseFile(
                path: "Tests/ATests/ATests.swift",
                text: """
                    @Suite("A") struct ATests {
                        func part() {}
                        @Test("x", arguments: [1])
                        func one(number: Int) {}
                    }
                    struct Other {
                        func part() {}
                    }
                    extension ATests {
                        @Test("y") func two() {}
                    }
                    """),
            HouseFile(path: "Tests/B/test_b.py", text: "def test_one():\n    pass\ndef part():\n    pass\n"),
        ])
        #expect(names.all == ["ATests/one", "ATests/two", "test_b::test_one"])
        let document = HouseFile(
            path: "d.md",
            text: """
                | what | test |
                |---|---|
                | good | `ATests/one`, `ATests/two`, `test_b::test_one` |
                | gone | `ATests/part`, `test_b::test_two` |
                | none | `POST` |
                """)
        #expect(names.missing(in: document).map(\.line) == [4, 4, 5])
    }
}
