public import YAML

/// A value with the place in the file that it came from; a default has the place of the mapping that left it out.
public struct Located<Value: Sendable>: Sendable {
    public let value: Value
    public let place: Place

    public init(_ value: Value, at place: Place) {
        self.value = value
        self.place = place
    }
}

extension Located: Equatable where Value: Equatable {}
extension Located: Hashable where Value: Hashable {}

/// One error in the configuration file: where, and what is allowed there.
public struct Diagnostic: Sendable, Hashable {
    public let place: Place
    public let message: String

    public init(at place: Place, _ message: String) {
        self.place = place
        self.message = message
    }
}

/// All errors of one configuration file, in the order of their places. Never empty as a failure of `ConfigLoader.load`.
public struct Diagnostics: Error, Sendable, Hashable, CustomStringConvertible {
    /// The most lines that are printed; the rest is counted.
    public static let printedAtMost = 100

    /// The file as the user named it.
    public let file: String
    public let errors: [Diagnostic]

    /// Sorts by place. Errors at one place keep the order they were found in.
    public init(file: String, errors: [Diagnostic]) {
        self.file = file
        self.errors = errors.enumerated()
            .sorted { ($0.element.place, $0.offset) < ($1.element.place, $1.offset) }
            .map { $0.element }
    }

    /// One line an error, `file:line:column: error: message`, without a line break at the end.
    public var description: String {
        var lines = errors.prefix(Self.printedAtMost).map {
            "\(file):\($0.place.line):\($0.place.column): error: \($0.message)"
        }
        if errors.count > Self.printedAtMost {
            lines.append("\(file): error: \(errors.count - Self.printedAtMost) more errors are not shown")
        }
        return lines.joined(separator: "\n")
    }
}
