public import Foundation
internal import HTTPTypes
public import Hummingbird
internal import NIOCore

extension Request {
    /// The JSON body.
    /// `limitBytes`: A longer body is refused with 413 before it is read whole.
    /// Throws `Problem` with 413, 415, or 400 that names the member at fault.
    public func json<Value: Decodable>(_ type: Value.Type, limitBytes: Int) async throws -> Value {
        try requireMediaType("application/json")
        let data = try await bodyData(limitBytes: limitBytes)
        do {
            return try JSONDecoder().decode(type, from: data)
        } catch let error as DecodingError {
            throw Problem(.badRequest, "invalid_body", Self.told(error))
        }
    }

    /// The whole body, or 413.
    public func bodyData(limitBytes: Int) async throws -> Data {
        if let length = headers[.contentLength].flatMap({ Int($0) }), length > limitBytes {
            throw Self.tooLarge(limitBytes)
        }
        do {
            let buffer = try await body.collect(upTo: limitBytes)
            return Data(buffer.readableBytesView)
        } catch is NIOTooManyBytesError {
            throw Self.tooLarge(limitBytes)
        }
    }

    /// The media type without its parameters, compared without regard to case (RFC 9110 §8.3.1).
    public func requireMediaType(_ expected: String) throws {
        let found = headers[.contentType]?.split(separator: ";").first.map {
            $0.trimmingCharacters(in: .whitespaces).lowercased()
        }
        guard found == expected else {
            throw Problem(.unsupportedMediaType, "unsupported_media_type", "The body must be \(expected).")
        }
    }

    /// A whole number from the query within `range`, or `fallback` when it is not given.
    public func queryNumber(_ name: String, in range: ClosedRange<Int>, fallback: Int) throws -> Int {
        guard let text = queryText(name) else { return fallback }
        guard let number = Int(text), range.contains(number) else {
            throw Problem(
                .badRequest, "invalid_query",
                "\(name) must be a whole number from \(range.lowerBound) to \(range.upperBound).")
        }
        return number
    }

    /// A text from the query, form-decoded (`+` is a space), or `nil` when it is not given.
    public func queryText(_ name: String) -> String? {
        guard let query = uri.query else { return nil }
        return Form(query)?.first(name)
    }

    private static func tooLarge(_ limitBytes: Int) -> Problem {
        Problem(.contentTooLarge, "body_too_large", "The body may have at most \(limitBytes) bytes.")
    }

    private static func told(_ error: DecodingError) -> String {
        switch error {
        case .keyNotFound(let key, _): return "The member '\(key.stringValue)' is missing."
        case .typeMismatch(_, let place), .valueNotFound(_, let place):
            let path = place.codingPath.map(\.stringValue).joined(separator: ".")
            return path.isEmpty
                ? "The body must be a JSON object." : "The member '\(path)' has the wrong type."
        case .dataCorrupted: return "The body is not valid JSON."
        @unknown default: return "The body is not valid."
        }
    }
}

/// `application/x-www-form-urlencoded` (WHATWG URL §5.1), with at most 64 pairs.
public struct Form: Sendable {
    private let pairs: [(name: String, value: String)]

    /// `nil` when an escape is broken, the text is not UTF-8, or there are more than 64 pairs.
    public init?(_ text: String) {
        var pairs: [(name: String, value: String)] = []
        for piece in text.split(separator: "&") {
            let halves = piece.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            guard pairs.count < 64, let name = Self.decoded(halves[0]),
                let value = halves.count == 2 ? Self.decoded(halves[1]) : ""
            else { return nil }
            pairs.append((name, value))
        }
        self.pairs = pairs
    }

    /// The first value of that name.
    public func first(_ name: String) -> String? { pairs.first { $0.name == name }?.value }

    /// Whether a name comes twice, which RFC 6749 §3.2 forbids.
    public var hasDuplicates: Bool { Set(pairs.map(\.name)).count != pairs.count }

    private static func decoded(_ text: Substring) -> String? {
        text.replacingOccurrences(of: "+", with: " ").removingPercentEncoding
    }
}
