import Foundation
import ServiceKit
import Testing

@testable import BusService

@Suite("Schemas") struct SchemaTests {
    /// Made by `Tests/Fixtures/schemas/make`, which asks another implementation.
    private static func cases() throws -> JSONValue {
        let file = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .appending(path: "Fixtures/schemas/cases.json")
        return try JSONValue(parsing: Data(contentsOf: file))
    }

    @Test("Each of some hundred pairs of a schema and a value is judged as Python's jsonschema judges it")
    func judged() throws {
        let table = try Self.cases()
        let values = try #require(table["values"]?.asList)
        let cases = try #require(table["cases"]?.asList)
        #expect(values.count * cases.count > 700)
        for one in cases {
            let schema = try #require(one["schema"])
            let validator = try SchemaValidator(schema)
            for (value, isValid) in zip(values, try #require(one["valid"]?.asList)) {
                #expect(
                    (validator.fault(value) == nil) == isValid.asTruth, "\(schema.json) of \(value.json)")
            }
        }
    }

    @Test(
        "RFC 3339 §5.6: dates and times",
        arguments: [
            ("2026-11-27T05:00:00Z", true), ("2026-11-27t05:00:00.123+01:30", true),
            ("2024-02-29T00:00:00Z", true),
            ("2026-02-29T00:00:00Z", false), ("2026-13-01T00:00:00Z", false), ("2026-11-27T24:00:00Z", false),
            ("2026-11-27T05:00:00", false), ("2026-11-27", false), ("2026-11-27T05:00:00+24:00", false),
            ("", false),
        ])
    func dateTime(text: String, isValid: Bool) { #expect(SchemaValidator.isDateTime(text) == isValid) }

    @Test(
        "A keyword that would not be judged is refused",
        arguments: [
            "{\"pattern\":\"x\"}", "{\"type\":\"text\"}", "{\"type\":[]}", "{\"required\":\"a\"}",
            "{\"enum\":[]}",
            "{\"minLength\":-1}", "{\"format\":\"email\"}", "{\"properties\":{\"a\":{\"oneOf\":[]}}}", "[]",
            "true",
        ])
    func refused(text: String) throws {
        let schema = try JSONValue(parsing: text.utf8)
        #expect(throws: SchemaValidator.Fault.self) { try SchemaValidator(schema) }
    }
}
