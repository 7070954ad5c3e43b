/// A YAML text as nodes. What can be abused or misread is refused: anchors, aliases, tags, merges, equal keys in one
/// mapping, keys that are not scalars, and a second document.
public struct Reading: Sendable {
    /// The document; `nil` when the text is not YAML or is beyond a bound.
    public let root: Node?
    /// Everything that was found wrong, in no order. Where `root` is there, the rest of it may be judged as well.
    public let problems: [Problem]

    public init(of bytes: [UInt8], bounds: Bounds = Bounds()) {
        guard bytes.count <= bounds.textBytes else {
            root = nil
            problems = [
                Problem(
                    at: Place(line: 1, column: 1),
                    "the text has \(bytes.count) bytes; at most \(bounds.textBytes) are read")
            ]
            return
        }
        guard let events = EventStream(bytes) else {
            root = nil
            problems = [Problem(at: Place(line: 1, column: 1), "out of memory")]
            return
        }
        var composer = Composer(events: events, bounds: bounds)
        root = composer.document()
        problems = composer.problems
    }
}

/// Events -> nodes. Recursion is bounded by `Bounds.depth`.
private struct Composer: ~Copyable {
    private(set) var problems: [Problem] = []
    private var events: EventStream
    private let bounds: Bounds
    private var nodesRead = 0

    init(events: consuming EventStream, bounds: Bounds) {
        self.events = events
        self.bounds = bounds
    }

    mutating func document() -> Node? {
        do throws(Problem) {
            return try wholeStream()
        } catch {
            problems.append(error)
            return nil
        }
    }

    private mutating func wholeStream() throws(Problem) -> Node? {
        _ = try events.next()
        let start = try events.next()
        guard case .documentStart(let hasTagDirectives) = start.kind else {
            throw Problem(at: start.place, "the file is empty")
        }
        if hasTagDirectives { problems.append(Problem(at: start.place, "tags are refused")) }
        let root = try node(at: try events.next(), depth: 0)
        _ = try events.next()
        let end = try events.next()
        if case .streamEnd = end.kind { return root }
        problems.append(Problem(at: end.place, "a second document begins here; one is allowed"))
        return root
    }

    private mutating func node(at event: Event, depth: Int) throws(Problem) -> Node {
        nodesRead += 1
        guard nodesRead <= bounds.nodes else {
            throw Problem(at: event.place, "more than \(bounds.nodes) values; the rest is not read")
        }
        if case .alias = event.kind {
            problems.append(Problem(at: event.place, "aliases ('*name') are refused; write the value out"))
            return Node(place: event.place, content: .refused)
        }
        if event.hasAnchor { problems.append(Problem(at: event.place, "anchors ('&name') are refused")) }
        if event.hasTag { problems.append(Problem(at: event.place, "tags ('!name') are refused")) }
        switch event.kind {
        case .scalar(let text, let isPlain):
            return Node(place: event.place, content: .scalar(text, isPlain: isPlain))
        case .sequenceStart:
            try checkDepth(depth, at: event.place)
            return Node(place: event.place, content: .sequence(try items(depth: depth + 1)))
        case .mappingStart:
            try checkDepth(depth, at: event.place)
            return Node(place: event.place, content: .mapping(try entries(depth: depth + 1)))
        case .alias, .streamStart, .streamEnd, .documentStart, .documentEnd, .sequenceEnd, .mappingEnd:
            // libyaml's grammar never begins a node so; were it to, the text is refused rather than guessed at.
            throw Problem(at: event.place, "not valid YAML: a value is missing")
        }
    }

    private func checkDepth(_ depth: Int, at place: Place) throws(Problem) {
        guard depth < bounds.depth else {
            throw Problem(at: place, "nested more than \(bounds.depth) deep")
        }
    }

    private mutating func items(depth: Int) throws(Problem) -> [Node] {
        var items: [Node] = []
        while true {
            let event = try events.next()
            if case .sequenceEnd = event.kind { return items }
            items.append(try node(at: event, depth: depth))
        }
    }

    private mutating func entries(depth: Int) throws(Problem) -> [Node.Entry] {
        var entries: [Node.Entry] = []
        var seen: [String: Place] = [:]
        while true {
            let event = try events.next()
            if case .mappingEnd = event.kind { return entries }
            let key = try node(at: event, depth: depth)
            let value = try node(at: try events.next(), depth: depth)
            switch key.content {
            case .scalar("<<", isPlain: true):
                problems.append(Problem(at: key.place, "merges ('<<') are refused; write the keys out"))
            case .scalar(let text, _):
                if let first = seen[text] {
                    problems.append(
                        Problem(
                            at: key.place,
                            "duplicate key \(text.shown); it stands at \(first.line):\(first.column) already")
                    )
                } else {
                    seen[text] = key.place
                    entries.append(Node.Entry(key: text, keyPlace: key.place, value: value))
                }
            case .sequence, .mapping:
                problems.append(Problem(at: key.place, "a key must be text"))
            case .refused: break
            }
        }
    }
}

extension String {
    /// The text in quotes, fit for one line of a message: control characters escaped, long text cut.
    public var shown: String {
        let most = 64
        var shown = "'"
        for (index, scalar) in unicodeScalars.enumerated() {
            if index == most {
                shown += "..."
                break
            }
            switch scalar.value {
            case 0..<0x20, 0x7F..<0xA0, 0x2028...0x202E, 0x2066...0x2069, 0xFEFF:
                shown += "\\u{\(String(scalar.value, radix: 16))}"
            default: shown.unicodeScalars.append(scalar)
            }
        }
        return shown + "'"
    }
}
