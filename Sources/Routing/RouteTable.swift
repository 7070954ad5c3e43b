internal import Memory

/// All routes of a configuration, compiled: a table of hosts, and for each host (and one for any) a tree of path
/// segments, all in flat arrays.
///
/// Which of several fitting routes takes a request: the one with the exact host before one with a wildcard (the
/// longest ending first) before one without hosts; among these the longest prefix. A route whose listeners or prefix do
/// not fit does not count at all, so a request falls through to a less special host. The order of the rules does not
/// matter, and what only order could decide is an error.
///
/// A lookup costs one pass over the host and one probe for each path segment down to the deepest that any route names;
/// the number of routes does not matter.
public struct RouteTable: ~Copyable, Sendable {
    /// Hosts by name, and endings with their leading dot; open addressing, at most half full.
    let hosts: FixedArray<HostSlot>
    let hasWildcards: Bool
    /// Group 0 is the one for any host.
    let groups: FixedArray<Group>
    /// Edges by parent and segment; open addressing, at most half full.
    let edges: FixedArray<Edge>
    let nodes: FixedArray<Node>
    let entries: FixedArray<Entry>
    /// The bytes of all names and segments.
    let text: FixedArray<UInt8>
    /// How many rules there are.
    public let count: Int

    /// Compiles the rules.
    public init(_ rules: [RouteRule]) throws(RouteTableError) {
        var plan = RoutePlanner()
        for position in rules.indices { try plan.add(rules[position], at: position) }
        plan.finish()
        hosts = FixedArray(plan.hostSlots)
        hasWildcards = plan.hasWildcards
        groups = FixedArray(plan.groups)
        edges = FixedArray(plan.edgeSlots)
        nodes = FixedArray(plan.flatNodes)
        entries = FixedArray(plan.flatEntries)
        text = FixedArray(plan.text)
        count = rules.count
    }

    /// The `index` of the rule that takes a request; `nil` when none does.
    ///
    /// `host` is the authority as the client sent it (a port and a dot at its end are left out of account), empty when
    /// there is none. `path` is in normal form and without query; whatever does not begin with `/` has no route.
    public func match(host: RawSpan, path: RawSpan, listener: Int) -> Int? {
        guard path.byteCount > 0, path[0] == UInt8(ascii: "/") else { return nil }
        var group = hosts.isEmpty ? 0 : group(of: HostName.name(in: host))
        while group >= 0 {
            let found = walk(from: Int(groups[group].root), path, listener)
            if found >= 0 { return entries[found].route }
            group = Int(groups[group].parent)
        }
        return nil
    }

    /// The most special group for a name; its parents are the less special ones.
    private func group(of name: RawSpan) -> Int {
        guard name.byteCount > 0, name.byteCount <= HostName.longest else { return 0 }
        var hash = EndingHash()
        var best = 0
        var offset = name.byteCount &- 1
        while offset >= 0 {
            let byte = name[offset].lowercased
            hash.take(byte)
            if byte == UInt8(ascii: "."), hasWildcards, offset > 0 {
                // Endings come in growing length: the last hit is the longest.
                let found = hostGroup(hash, name.extracting(offset..<name.byteCount))
                if found >= 0 { best = found }
            }
            offset &-= 1
        }
        // Endings are in the same table, and begin with a dot as no name does.
        guard name[0] != UInt8(ascii: ".") else { return best }
        let exact = hostGroup(hash, name)
        return exact >= 0 ? exact : best
    }

    private func hostGroup(_ hash: EndingHash, _ name: RawSpan) -> Int {
        let mask = hosts.count &- 1
        var slot = hash.slot(mask: mask)
        while hosts[slot].group >= 0 {
            if hosts[slot].hash == hash.value, text.rawSpan[hosts[slot].name].equalsIgnoringCase(name) {
                return Int(hosts[slot].group)
            }
            slot = (slot &+ 1) & mask
        }
        return -1
    }

    /// The entry of the deepest node on the path that has one for the listener; -1 when none has.
    private func walk(from root: Int, _ path: RawSpan, _ listener: Int) -> Int {
        var node = root
        var best = entry(at: node, listener)
        var offset = 1
        while nodes[node].hasChildren {
            let end = path.firstIndex(of: UInt8(ascii: "/"), from: offset)
            node = child(of: node, path, offset, end)
            guard node >= 0 else { break }
            let found = entry(at: node, listener)
            if found >= 0 { best = found }
            guard end < path.byteCount else { break }
            offset = end &+ 1
        }
        return best
    }

    private func entry(at node: Int, _ listener: Int) -> Int {
        var index = Int(nodes[node].firstEntry)
        let end = index &+ Int(nodes[node].entryCount)
        while index < end {
            let wanted = entries[index].listener
            if wanted < 0 || wanted == listener { return index }
            index &+= 1
        }
        return -1
    }

    private func child(of node: Int, _ path: RawSpan, _ start: Int, _ end: Int) -> Int {
        let mask = edges.count &- 1
        let hash = SegmentHash.value(parent: node, path, start, end)
        var slot = Int(truncatingIfNeeded: hash) & mask
        while edges[slot].child >= 0 {
            if edges[slot].hash == hash, Int(edges[slot].parent) == node,
                text.rawSpan[edges[slot].segment].equals(path.extracting(start..<end))
            {
                return Int(edges[slot].child)
            }
            slot = (slot &+ 1) & mask
        }
        return -1
    }
}

struct HostSlot: Sendable {
    var hash: UInt64 = 0
    var name = ByteRange.empty
    /// -1: the slot is empty.
    var group: Int32 = -1
}

struct Group: Sendable {
    var root: UInt32
    /// The group to fall through to; -1 after the one for any host.
    var parent: Int32
}

struct Edge: Sendable {
    var hash: UInt64 = 0
    var segment = ByteRange.empty
    var parent: UInt32 = 0
    /// -1: the slot is empty.
    var child: Int32 = -1
}

struct Node: Sendable {
    var firstEntry: UInt32
    var entryCount: UInt32
    var hasChildren: Bool
}

struct Entry: Sendable {
    /// -1: all.
    var listener: Int
    var route: Int
}

/// The hash of a path segment under its parent, eight bytes a step.
enum SegmentHash {
    static func value(parent: Int, _ path: RawSpan, _ start: Int, _ end: Int) -> UInt64 {
        var hash = (UInt64(truncatingIfNeeded: parent) &+ 1) &* 0x9e37_79b9_7f4a_7c15
        hash ^= UInt64(truncatingIfNeeded: end &- start)
        var offset = start
        while offset &+ 8 <= end {
            hash = mixed(hash, UInt64(littleEndian: path.word(at: offset)))
            offset &+= 8
        }
        return mixed(hash, path.word(at: offset, count: end &- offset))
    }

    private static func mixed(_ hash: UInt64, _ word: UInt64) -> UInt64 {
        let product = (hash ^ word) &* 0xff51_afd7_ed55_8ccd
        return product ^ (product &>> 32)
    }
}
