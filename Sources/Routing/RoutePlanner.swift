internal import Memory

/// Rules on their way into flat arrays. Cold.
struct RoutePlanner {
    private struct Draft {
        var children: [[UInt8]: Int] = [:]
        var entries: [(listener: Int, position: Int, route: Int)] = []
    }

    private var drafts = [Draft()]
    private var groupByName: [[UInt8]: Int] = [:]
    private(set) var groups = [Group(root: 0, parent: -1)]
    private(set) var hasWildcards = false
    private(set) var text: [UInt8] = []
    private(set) var hostSlots: [HostSlot] = []
    private(set) var edgeSlots: [Edge] = []
    private(set) var flatNodes: [Node] = []
    private(set) var flatEntries: [Entry] = []

    mutating func add(_ rule: RouteRule, at position: Int) throws(RouteTableError) {
        guard rule.prefix.first == UInt8(ascii: "/") else { throw .badPrefix(rule: rule.index) }
        var rest = rule.prefix.dropFirst()
        if rest.last == UInt8(ascii: "/") { rest = rest.dropLast() }
        let segments =
            rest.isEmpty ? [] : rest.split(separator: UInt8(ascii: "/"), omittingEmptySubsequences: false)
        var rules = [0]
        if !rule.hosts.isEmpty {
            rules = []
            for host in rule.hosts { rules.append(try group(for: host, of: rule)) }
        }
        for group in Set(rules).sorted() {
            let node = node(under: Int(groups[group].root), segments.map { Array($0) })
            let listeners = rule.listeners.isEmpty ? [-1] : Set(rule.listeners).sorted()
            for listener in listeners { try enter(rule, at: position, listener: listener, node: node) }
        }
    }

    private mutating func enter(
        _ rule: RouteRule, at position: Int, listener: Int, node: Int
    ) throws(RouteTableError) {
        for other in drafts[node].entries where other.position != position {
            if other.listener == -1 || listener == -1 || other.listener == listener {
                throw .tie(first: other.route, second: rule.index)
            }
        }
        drafts[node].entries.append((listener, position, rule.index))
    }

    private mutating func group(for host: [UInt8], of rule: RouteRule) throws(RouteTableError) -> Int {
        var name = host.map(\.lowercased)
        let isWildcard = name.starts(with: [UInt8(ascii: "*"), UInt8(ascii: ".")])
        // An ending keeps its dot: it is what tells it from a name.
        if isWildcard { name.removeFirst() }
        if name.last == UInt8(ascii: ".") { name.removeLast() }
        guard name.count > (isWildcard ? 1 : 0), name.count <= HostName.longest,
            !name.contains(UInt8(ascii: "*")), isWildcard || name.first != UInt8(ascii: ".")
        else { throw .badHost(rule: rule.index) }
        if let known = groupByName[name] { return known }
        if isWildcard { hasWildcards = true }
        drafts.append(Draft())
        groups.append(Group(root: UInt32(drafts.count - 1), parent: 0))
        groupByName[name] = groups.count - 1
        return groups.count - 1
    }

    private mutating func node(under root: Int, _ segments: [[UInt8]]) -> Int {
        var node = root
        for segment in segments {
            if let child = drafts[node].children[segment] {
                node = child
            } else {
                drafts.append(Draft())
                drafts[node].children[segment] = drafts.count - 1
                node = drafts.count - 1
            }
        }
        return node
    }

    mutating func finish() {
        for (name, group) in groupByName { groups[group].parent = Int32(parent(of: name)) }
        placeHosts()
        placeNodes()
    }

    /// The group of the longest ending that holds for every host that `name` holds for, besides its own.
    private func parent(of name: [UInt8]) -> Int {
        for offset in name.indices.dropFirst() where name[offset] == UInt8(ascii: ".") {
            if let group = groupByName[Array(name[offset...])] { return group }
        }
        return 0
    }

    private mutating func place(_ bytes: [UInt8]) -> ByteRange {
        let start = text.count
        text += bytes
        return ByteRange(start: start, end: text.count)
    }

    private static func slotCount(for count: Int) -> Int {
        var slots = 2
        while slots < count * 2 { slots *= 2 }
        return slots
    }

    private mutating func placeHosts() {
        guard !groupByName.isEmpty else { return }
        hostSlots = Array(repeating: HostSlot(), count: Self.slotCount(for: groupByName.count))
        let mask = hostSlots.count - 1
        for (name, group) in groupByName.sorted(by: { $0.value < $1.value }) {
            var hash = EndingHash()
            for byte in name.reversed() { hash.take(byte) }
            var slot = hash.slot(mask: mask)
            while hostSlots[slot].group >= 0 { slot = (slot + 1) & mask }
            hostSlots[slot] = HostSlot(hash: hash.value, name: place(name), group: Int32(group))
        }
    }

    private mutating func placeNodes() {
        let edgeCount = drafts.reduce(0) { $0 + $1.children.count }
        edgeSlots = Array(repeating: Edge(), count: Self.slotCount(for: edgeCount))
        let mask = edgeSlots.count - 1
        for (index, draft) in drafts.enumerated() {
            flatNodes.append(
                Node(
                    firstEntry: UInt32(flatEntries.count), entryCount: UInt32(draft.entries.count),
                    hasChildren: !draft.children.isEmpty))
            flatEntries += draft.entries.map { Entry(listener: $0.listener, route: $0.route) }
            for (segment, child) in draft.children.sorted(by: { $0.value < $1.value }) {
                let hash = SegmentHash.value(parent: index, segment.rawSpan, 0, segment.count)
                var slot = Int(truncatingIfNeeded: hash) & mask
                while edgeSlots[slot].child >= 0 { slot = (slot + 1) & mask }
                edgeSlots[slot] = Edge(
                    hash: hash, segment: place(segment), parent: UInt32(index), child: Int32(child))
            }
        }
    }
}
