import Foundation
import Testing

@testable import GatehouseServer
@testable import Proxy

@Suite("The registry of reasons, as it is published") struct ReasonTableTests {
    private func file(_ path: String) throws -> String {
        let top = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent()
        return try String(contentsOf: top.appending(path: path), encoding: .utf8)
    }

    @Test("the article is the registry, word for word: `make reasons` writes it") func article() throws {
        let article = try file("Sources/Proxy/Proxy.docc/Reasons.md")
        #expect(article == ReasonTable.all(.markdown))
    }

    @Test("what users were promised stays: names and statuses are those of the tests' own table")
    func promised() throws {
        let table = try file("Tests/Integration/harness/names.py")
        let start = try #require(table.range(of: "REASONS = {")).upperBound
        let end = try #require(table.range(of: "\n}", range: start..<table.endIndex)).lowerBound
        var promised: [String: Int] = [:]
        for line in table[start..<end].split(separator: "\n") {
            let parts = line.split(separator: ":")
            let name = parts[0].filter { $0 != "\"" && $0 != " " }
            promised[name] = Int(parts[1].filter(\.isNumber)) ?? 0
        }
        for refusal in Refusal.allCases {
            #expect(promised.removeValue(forKey: "\(refusal.name)") == refusal.status, "\(refusal.name)")
        }
        #expect(promised.isEmpty, "no longer in the registry: \(promised.keys.sorted())")
    }

    @Test(
        "each reason is found by its name, and says all that the registry has of it",
        arguments: Refusal.allCases)
    func one(refusal: Refusal) throws {
        for format in ReasonTable.Format.allCases {
            let told = try #require(ReasonTable.one("\(refusal.name)", format))
            for part in [
                "\(refusal.name)", "\(refusal.status)", "\(refusal.told.title)", "\(refusal.told.advice)",
            ] {
                #expect(told.contains(part))
            }
        }
    }

    @Test("a name that is none is told the nearest") func unknown() {
        #expect(ReasonTable.one("rate_limit", .text) == nil)
        #expect(ReasonTable.suggestion(for: "rate_limit") == "; did you mean 'rate_limited'?")
        #expect(ReasonTable.suggestion(for: "completely_different").isEmpty)
    }
}
