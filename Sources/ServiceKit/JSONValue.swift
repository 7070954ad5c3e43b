internal import Foundation

/// Any JSON value. An own type, because `JSONSerialization` on Linux takes the number 1 for a truth value.
public enum JSONValue: Equatable, Sendable {
    case null
    case truth(Bool)
    /// A number written without fraction and exponent that fits.
    case integer(Int64)
    /// Any other number; finite when it was read.
    case number(Double)
    case text(String)
    case list([JSONValue])
    case object([String: JSONValue])

    /// Reads a JSON text (RFC 8259) strictly: UTF-8, no duplicate member, nothing after the value.
    /// `depthLimit`: Lists and objects may be nested so deep.
    /// Throws `JSONReader.Failure`.
    public init(parsing bytes: some Sequence<UInt8>, depthLimit: Int = 64) throws {
        let bytes = [UInt8](bytes)
        self = try bytes.withUnsafeBufferPointer { buffer in
            var reader = JSONReader(buffer, depthLimit: depthLimit)
            let value = try reader.value()
            try reader.end()
            return value
        }
    }

    /// The value that a JSON text stands for, or `nil`.
    public init?(text: String) {
        guard let value = try? JSONValue(parsing: text.utf8) else { return nil }
        self = value
    }

    /// Its JSON text, members in the order of their names.
    public var json: String {
        var writer = JSONWriter()
        writer.value(self)
        return writer.text
    }

    /// The member of that name; `nil` when there is none or this is no object.
    public subscript(_ name: String) -> JSONValue? {
        if case .object(let members) = self { members[name] } else { nil }
    }

    /// The text, when it is one.
    public var asText: String? { if case .text(let text) = self { text } else { nil } }

    /// The number, when it is a whole one that fits, however it was written (1.0 is 1).
    public var asInteger: Int64? {
        switch self {
        case .integer(let number): number
        case .number(let number): Int64(exactly: number)
        case .null, .truth, .text, .list, .object: nil
        }
    }

    /// The truth value, when it is one.
    public var asTruth: Bool? { if case .truth(let value) = self { value } else { nil } }

    /// The items, when it is a list.
    public var asList: [JSONValue]? { if case .list(let items) = self { items } else { nil } }

    /// The members, when it is an object.
    public var asObject: [String: JSONValue]? {
        if case .object(let members) = self { members } else { nil }
    }
}

extension JSONValue: Codable {
    public init(from decoder: any Decoder) throws {
        let container = try decoder.singleValueContainer()
        if container.decodeNil() {
            self = .null
        } else if let value = try? container.decode(Bool.self) {
            self = .truth(value)
        } else if let value = try? container.decode(Int64.self) {
            self = .integer(value)
        } else if let value = try? container.decode(Double.self) {
            self = .number(value)
        } else if let value = try? container.decode(String.self) {
            self = .text(value)
        } else if let value = try? container.decode([JSONValue].self) {
            self = .list(value)
        } else {
            self = .object(try container.decode([String: JSONValue].self))
        }
    }

    public func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        switch self {
        case .null: try container.encodeNil()
        case .truth(let value): try container.encode(value)
        case .integer(let value): try container.encode(value)
        case .number(let value): try container.encode(value)
        case .text(let value): try container.encode(value)
        case .list(let value): try container.encode(value)
        case .object(let value): try container.encode(value)
        }
    }
}

extension JSONValue: ExpressibleByDictionaryLiteral, ExpressibleByArrayLiteral, ExpressibleByStringLiteral,
    ExpressibleByIntegerLiteral, ExpressibleByFloatLiteral, ExpressibleByBooleanLiteral,
    ExpressibleByNilLiteral
{
    public init(dictionaryLiteral members: (String, JSONValue)...) {
        self = .object(Dictionary(members, uniquingKeysWith: { _, last in last }))
    }
    public init(arrayLiteral items: JSONValue...) { self = .list(items) }
    public init(stringLiteral text: String) { self = .text(text) }
    public init(integerLiteral number: Int64) { self = .integer(number) }
    public init(floatLiteral number: Double) { self = .number(number) }
    public init(booleanLiteral value: Bool) { self = .truth(value) }
    public init(nilLiteral: ()) { self = .null }
}

/// A text that is known to be valid JSON. It is handed on as it is: what a service only carries, it does not take apart.
public struct JSONText: Equatable, Hashable, Sendable, CustomStringConvertible {
    /// The text itself.
    public let text: String

    public init(_ value: JSONValue) { text = value.json }

    /// Throws `JSONReader.Failure` for a text that is not strict JSON.
    public init(checking text: String, depthLimit: Int = 64) throws {
        var text = text
        try text.withUTF8 { buffer in
            var reader = JSONReader(buffer, depthLimit: depthLimit)
            try reader.skip()
            try reader.end()
        }
        self.text = text
    }

    /// The JSON of any encodable value, members in the order of their names.
    public init(encoding value: some Encodable) throws {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        text = String(decoding: try encoder.encode(value), as: UTF8.self)
    }

    /// A text that was checked before: out of a store, or by a reader that has just passed over it.
    package init(checked text: String) { self.text = text }

    public var description: String { text }

    /// The value that it stands for. Throws only where duplicate members were put in by an encoder of another make.
    public func value() throws -> JSONValue { try JSONValue(parsing: text.utf8) }

    /// Reads it as that type. Throws `DecodingError`.
    public func decoded<Value: Decodable>(as type: Value.Type) throws -> Value {
        try JSONDecoder().decode(type, from: Data(text.utf8))
    }
}

extension JSONText: Codable {
    public init(from decoder: any Decoder) throws { self.init(try JSONValue(from: decoder)) }
    public func encode(to encoder: any Encoder) throws { try value().encode(to: encoder) }
}
