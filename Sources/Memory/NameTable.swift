import Synchronization

/// Names that are given once and never change, read by all threads by their index. A handle: copies name the same
/// table.
///
/// Invariant that makes it safe: the memory is never freed; entries below `count` are written before `count` says so,
/// and never again.
@frozen @safe public struct NameTable: @unchecked Sendable {
    @usableFromInline let base: UnsafeMutableRawPointer
    public let capacity: Int

    /// Bytes of the longest name.
    @inlinable public static var longestName: Int { 127 }
    /// An entry is a length of seven bits, a bit that says whether the name is plain, and the bytes.
    @inlinable static var entryBytes: Int { 128 }
    /// The count has a cache line of its own.
    @inlinable static var headerBytes: Int { 64 }
    /// Behind the entries: places for their indices and one more, found by a hash of the name; 0 is none. At most half are taken.
    private var slotCount: Int { NameTable.slotCount(capacity) }
    private static func slotCount(_ capacity: Int) -> Int {
        1 << (Int.bitWidth - (capacity &* 2 &- 1).leadingZeroBitCount)
    }

    /// An empty table with room for `capacity` names.
    public init(capacity: Int) {
        precondition(capacity > 0)
        self.capacity = capacity
        let slots = NameTable.slotCount(capacity) * MemoryLayout<Atomic<UInt32>>.stride
        unsafe base = immortal(byteCount: NameTable.headerBytes + capacity * NameTable.entryBytes + slots)
    }

    /// How many names there are.
    public var count: Int { unsafe published.pointee.load(ordering: .acquiring) }

    private var published: UnsafeMutablePointer<Atomic<Int>> {
        unsafe base.assumingMemoryBound(to: Atomic<Int>.self)
    }

    /// Adds a name, cut after `longestName` bytes; its index, or `nil` when the table is full. One thread at a time.
    public func append(_ name: RawSpan) -> Int? {
        let index = count
        guard index < capacity else { return nil }
        let length = min(name.byteCount, NameTable.longestName)
        let entry = unsafe base + NameTable.headerBytes + index * NameTable.entryBytes
        let plain = ByteSet {
            $0 >= 0x20 && $0 < 0x7f && $0 != UInt8(ascii: "\"") && $0 != UInt8(ascii: "\\")
        }
        let isPlain = name.extracting(0..<length).firstIndex(notIn: plain, from: 0) == length
        unsafe entry.storeBytes(of: UInt8(length) | (isPlain ? 0x80 : 0), as: UInt8.self)
        unsafe name.withUnsafeBytes { source in
            guard length > 0, let start = source.baseAddress else { return }
            unsafe (entry + 1).copyMemory(from: start, byteCount: length)
        }
        unsafe published.pointee.store(index + 1, ordering: .releasing)
        let place = firstPlace(name.extracting(0..<length)) { $0 == 0 }
        unsafe slots[place].store(UInt32(index + 1), ordering: .releasing)
        return index
    }

    private var slots: UnsafeMutablePointer<Atomic<UInt32>> {
        unsafe (base + NameTable.headerBytes + capacity * NameTable.entryBytes).assumingMemoryBound(
            to: Atomic<UInt32>.self)
    }

    /// The first place from where `name` belongs that is `wanted`. Half of all are 0, so that one which takes 0 is found. The names
    /// are those of a configuration: nobody else chooses them, so that the hash (FNV-1a) needs no key.
    private func firstPlace(_ name: RawSpan, _ isWanted: (UInt32) -> Bool) -> Int {
        var hash: UInt64 = 0xCBF2_9CE4_8422_2325
        for index in 0..<name.byteCount { hash = (hash ^ UInt64(name[index])) &* 0x100_0000_01B3 }
        var place = Int(truncatingIfNeeded: hash &>> 32) & (slotCount - 1)
        while unsafe !isWanted(slots[place].load(ordering: .acquiring)) {
            place = (place + 1) & (slotCount - 1)
        }
        return place
    }

    /// The name at `index`; empty for an index that was never given. It lives for ever.
    @_lifetime(immortal)
    @inlinable public func name(_ index: Int) -> RawSpan {
        // An entry that was not given yet has the length 0, for its memory began as zeros.
        precondition(index >= 0 && index < capacity)
        let entry = unsafe base + NameTable.headerBytes + index &* NameTable.entryBytes
        let length = unsafe Int(entry.load(as: UInt8.self) & 0x7f)
        let span = unsafe RawSpan(_unsafeStart: entry + 1, byteCount: length)
        return unsafe _overrideLifetime(span, borrowing: ())
    }

    /// Whether the name at `index` is printable ASCII without quote and backslash, so that it needs no escapes anywhere.
    @inlinable public func isPlain(_ index: Int) -> Bool {
        precondition(index >= 0 && index < capacity)
        let entry = unsafe base + NameTable.headerBytes + index &* NameTable.entryBytes
        return unsafe entry.load(as: UInt8.self) & 0x80 != 0
    }

    /// The index of `name`, the first if it was given twice, `nil` when it is not here. For cold paths.
    public func index(of name: RawSpan) -> Int? {
        let wanted = name.extracting(0..<min(name.byteCount, NameTable.longestName))
        let place = firstPlace(wanted) { $0 == 0 || self.name(Int($0) - 1).equals(wanted) }
        let found = unsafe Int(slots[place].load(ordering: .acquiring))
        return found == 0 ? nil : found - 1
    }
}
