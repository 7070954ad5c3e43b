/// One value of a YAML text, with the place where it begins.
public struct Node: Sendable {
    public enum Content: Sendable {
        /// Text as it stands after unquoting and unescaping; it has no type until someone gives it one. `isPlain` = written
        /// without quotes, so that plain and empty means that nothing was written.
        case scalar(String, isPlain: Bool)
        case sequence([Node])
        /// In the order of the text; no two keys are equal.
        case mapping([Entry])
        /// Something stood here that is refused (an alias): it is among the problems already, nothing more is to be said.
        case refused
    }

    /// One key of a mapping with its value.
    public struct Entry: Sendable {
        public let key: String
        public let keyPlace: Place
        public let value: Node
    }

    public let place: Place
    public let content: Content

    public init(place: Place, content: Content) {
        self.place = place
        self.content = content
    }
}

/// What is wrong with a text, and where; for a text that ends too early that may be the line after its last.
public struct Problem: Error, Sendable, Hashable {
    public let place: Place
    public let message: String

    public init(at place: Place, _ message: String) {
        self.place = place
        self.message = message
    }
}

/// How large a text may be. Past any of these the reading stops with a problem that names the bound.
public struct Bounds: Sendable {
    public let textBytes: Int
    /// Scalars, sequences and mappings together; keys count.
    public let nodes: Int
    /// Sequences and mappings inside each other.
    public let depth: Int

    public init(textBytes: Int = 4 << 20, nodes: Int = 200_000, depth: Int = 32) {
        self.textBytes = textBytes
        self.nodes = nodes
        self.depth = depth
    }
}
