internal import Foundation
internal import ServiceKit

/// The part of JSON Schema (2020-12) in which events are described. A keyword that is not known is refused when the schema
/// is registered: what looks like a rule must be one.
struct SchemaValidator: Sendable {
    static let depthLimit = 16
    private static let annotations: Set = ["title", "description", "$schema", "$id", "examples", "default"]
    private static let types: Set = ["null", "boolean", "integer", "number", "string", "array", "object"]

    private let schema: JSONValue

    /// Throws `Fault`.
    init(_ schema: JSONValue) throws {
        try Self.check(schema, place: "", depth: 0)
        self.schema = schema
    }

    struct Fault: Error, Equatable, CustomStringConvertible {
        let description: String
    }

    /// The first rule that the value breaks, or `nil`.
    func fault(_ value: JSONValue) -> String? { Self.fault(value, schema, place: "") }

    /// Why data of `older` could not be read by this one, or `nil` when all could (BACKWARD).
    func incompatibility(with older: SchemaValidator) -> String? {
        Self.incompatibility(schema, older.schema, place: "")
    }

    // MARK: The schema itself

    private static func check(_ schema: JSONValue, place: String, depth: Int) throws {
        guard depth < depthLimit else { throw Fault(description: "\(place): nested too deep") }
        guard let members = schema.asObject else {
            throw Fault(description: "\(place.isEmpty ? "/" : place): a schema must be an object")
        }
        for (name, rule) in members {
            let here = "\(place)/\(name)"
            switch name {
            case "type":
                let names = rule.asText.map { [$0] } ?? rule.asList?.compactMap(\.asText) ?? []
                guard !names.isEmpty, names.count == rule.asList?.count ?? 1, types.isSuperset(of: names)
                else {
                    throw Fault(description: "\(here): no type of JSON Schema")
                }
            case "required":
                guard let list = rule.asList, list.allSatisfy({ $0.asText != nil }) else {
                    throw Fault(description: "\(here): must be a list of names")
                }
            case "properties":
                guard let properties = rule.asObject else {
                    throw Fault(description: "\(here): must be an object")
                }
                for (property, inner) in properties {
                    try check(inner, place: "\(here)/\(property)", depth: depth + 1)
                }
            case "additionalProperties" where rule.asTruth != nil: break
            case "additionalProperties", "items": try check(rule, place: here, depth: depth + 1)
            case "enum":
                guard rule.asList?.isEmpty == false else {
                    throw Fault(description: "\(here): must be a list that is not empty")
                }
            case "minimum", "maximum":
                guard number(rule) != nil else { throw Fault(description: "\(here): must be a number") }
            case "minLength", "maxLength", "minItems", "maxItems":
                guard let count = rule.asInteger, count >= 0 else {
                    throw Fault(description: "\(here): must be a whole number, not negative")
                }
            case "format":
                guard let format = rule.asText, ["uuid", "date-time"].contains(format) else {
                    throw Fault(description: "\(here): the formats are uuid and date-time")
                }
            case _ where annotations.contains(name): break
            default: throw Fault(description: "\(here): this keyword is not known here")
            }
        }
    }

    // MARK: A value

    private static func fault(_ value: JSONValue, _ schema: JSONValue, place: String) -> String? {
        let told = place.isEmpty ? "/" : place
        let allowed = typeNames(schema)
        if let allowed, !allowed.contains(where: { isOf($0, value) }) {
            return "\(told): must be \(allowed.sorted().joined(separator: " or "))"
        }
        if let choices = schema["enum"]?.asList, !choices.contains(where: { isSame($0, value) }) {
            return "\(told): is none of the values allowed"
        }
        switch value {
        case .integer, .number: return numberFault(value, schema, told)
        case .text(let text): return textFault(text, schema, told)
        case .list(let items):
            if let least = schema["minItems"]?.asInteger, items.count < least {
                return "\(told): too few items"
            }
            if let most = schema["maxItems"]?.asInteger, items.count > most {
                return "\(told): too many items"
            }
            guard let inner = schema["items"] else { return nil }
            for (index, item) in items.enumerated() {
                if let fault = fault(item, inner, place: "\(place)/\(index)") { return fault }
            }
            return nil
        case .object(let members): return objectFault(members, schema, place: place)
        case .null, .truth: return nil
        }
    }

    private static func objectFault(
        _ members: [String: JSONValue], _ schema: JSONValue, place: String
    ) -> String? {
        let told = place.isEmpty ? "/" : place
        for name in schema["required"]?.asList ?? [] {
            if let name = name.asText, members[name] == nil {
                return "\(told): the member '\(name)' is missing"
            }
        }
        let properties = schema["properties"]?.asObject ?? [:]
        let additional = schema["additionalProperties"]
        for (name, member) in members.sorted(by: { $0.key < $1.key }) {
            if let inner = properties[name] {
                if let fault = fault(member, inner, place: "\(place)/\(name)") { return fault }
            } else if additional?.asTruth == false {
                return "\(told): there is no member '\(name.prefix(64))'"
            } else if let additional, additional.asObject != nil,
                let fault = fault(member, additional, place: "\(place)/\(name)")
            {
                return fault
            }
        }
        return nil
    }

    private static func numberFault(_ value: JSONValue, _ schema: JSONValue, _ told: String) -> String? {
        if let least = schema["minimum"], isLess(value, least) { return "\(told): too small" }
        if let most = schema["maximum"], isLess(most, value) { return "\(told): too great" }
        return nil
    }

    private static func textFault(_ text: String, _ schema: JSONValue, _ told: String) -> String? {
        // Characters are code points there (Validation §6.3).
        if let least = schema["minLength"]?.asInteger, text.unicodeScalars.count < least {
            return "\(told): too short"
        }
        if let most = schema["maxLength"]?.asInteger, text.unicodeScalars.count > most {
            return "\(told): too long"
        }
        switch schema["format"]?.asText {
        case "uuid"? where !Identifier.isValid(text.lowercased()): return "\(told): must be a UUID"
        case "date-time"? where !isDateTime(text): return "\(told): must be a date and time (RFC 3339)"
        default: return nil
        }
    }

    /// RFC 3339 §5.6.
    static func isDateTime(_ text: String) -> Bool {
        guard let match = text.wholeMatch(of: dateTime) else { return false }
        guard let year = Int(match.1), let month = Int(match.2), let day = Int(match.3),
            let hour = Int(match.4), let minute = Int(match.5), let second = Int(match.6)
        else { return false }
        let isLeap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
        let days = [31, isLeap ? 29 : 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
        guard (1...12).contains(month), (1...days[month - 1]).contains(day), hour < 24, minute < 60,
            second < 60
        else { return false }
        guard let zoneHour = match.7.flatMap({ Int($0) }), let zoneMinute = match.8.flatMap({ Int($0) })
        else {
            return true
        }
        return zoneHour < 24 && zoneMinute < 60
    }

    nonisolated(unsafe) private static let dateTime =
        /([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt]([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.[0-9]+)?(?:[Zz]|[+-]([0-9]{2}):([0-9]{2}))/

    // MARK: Two versions

    private static func incompatibility(_ newer: JSONValue, _ older: JSONValue, place: String) -> String? {
        let told = place.isEmpty ? "/" : place
        if let new = typeNames(newer) {
            guard let old = typeNames(older),
                old.allSatisfy({ new.contains($0) || ($0 == "integer" && new.contains("number")) })
            else { return "\(told): the type was narrowed" }
        }
        if let choices = newer["enum"]?.asList {
            guard let old = older["enum"]?.asList,
                old.allSatisfy({ value in choices.contains { isSame($0, value) } })
            else { return "\(told): the values allowed were narrowed" }
        }
        for name in ["minimum", "minLength", "minItems"] {
            guard let new = newer[name] else { continue }
            guard let old = older[name], !isLess(old, new) else { return "\(told): \(name) was raised" }
        }
        for name in ["maximum", "maxLength", "maxItems"] {
            guard let new = newer[name] else { continue }
            guard let old = older[name], !isLess(new, old) else { return "\(told): \(name) was lowered" }
        }
        if let format = newer["format"], older["format"] != format {
            return "\(told): the format was narrowed"
        }
        let wasRequired = Set(older["required"]?.asList?.compactMap(\.asText) ?? [])
        for name in newer["required"]?.asList?.compactMap(\.asText) ?? [] where !wasRequired.contains(name) {
            return "\(told): '\(name)' is newly required"
        }
        return innerIncompatibility(newer, older, place: place)
    }

    private static func innerIncompatibility(
        _ newer: JSONValue, _ older: JSONValue, place: String
    ) -> String? {
        let told = place.isEmpty ? "/" : place
        let new = newer["properties"]?.asObject ?? [:]
        for (name, old) in (older["properties"]?.asObject ?? [:]).sorted(by: { $0.key < $1.key }) {
            guard let kept = new[name] else { return "\(told): the member '\(name)' was removed" }
            if let fault = incompatibility(kept, old, place: "\(place)/\(name)") { return fault }
        }
        if let additional = newer["additionalProperties"], additional.asTruth != true {
            let before = older["additionalProperties"] ?? true
            if before.asTruth != false {
                guard additional.asObject != nil, before.asObject != nil else {
                    return "\(told): further members were allowed"
                }
                if let fault = incompatibility(additional, before, place: "\(place)/*") { return fault }
            }
        }
        guard let items = newer["items"] else { return nil }
        return incompatibility(items, older["items"] ?? [:], place: "\(place)/items")
    }

    // MARK: Values

    private static func typeNames(_ schema: JSONValue) -> [String]? {
        guard let rule = schema["type"] else { return nil }
        return rule.asText.map { [$0] } ?? rule.asList?.compactMap(\.asText)
    }

    private static func isOf(_ type: String, _ value: JSONValue) -> Bool {
        switch (type, value) {
        case ("null", .null), ("boolean", .truth), ("string", .text), ("array", .list), ("object", .object),
            ("number", .integer), ("number", .number), ("integer", .integer):
            true
        // 1.0 is an integer (Core §6.1); so is 1e300.
        case ("integer", .number(let number)): number.rounded() == number
        default: false
        }
    }

    private static func number(_ value: JSONValue) -> Double? {
        switch value {
        case .integer(let number): Double(number)
        case .number(let number): number
        case .null, .truth, .text, .list, .object: nil
        }
    }

    private static func isLess(_ left: JSONValue, _ right: JSONValue) -> Bool {
        if case .integer(let left) = left, case .integer(let right) = right { return left < right }
        guard let left = number(left), let right = number(right) else { return false }
        return left < right
    }

    /// Numbers are the same when their values are (Core §4.2.2).
    private static func isSame(_ left: JSONValue, _ right: JSONValue) -> Bool {
        switch (left, right) {
        case (.list(let left), .list(let right)):
            left.count == right.count && zip(left, right).allSatisfy { isSame($0, $1) }
        case (.object(let left), .object(let right)):
            left.count == right.count
                && left.allSatisfy { name, value in right[name].map { isSame(value, $0) } ?? false }
        case (.integer, .number), (.number, .integer): number(left) == number(right)
        default: left == right
        }
    }
}
