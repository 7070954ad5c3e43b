public import Synchronization

// What several threads share is immortal: it is made at the start of the process (or once a test) and never freed, so
// that a handle to it is a plain pointer, and reading through it costs no reference count. The one that was made last leads
// to all others, so that a leak checker sees them held. An atomic chain: ThreadSanitizer does not see the library's Mutex.
private let newest = Atomic<UInt>(0)

/// The address of something immortal, and of the link before.
private struct ImmortalLink {
    let address: UInt
    var earlier: UInt
}

func immortal(byteCount: Int) -> UnsafeMutableRawPointer {
    let memory = UnsafeMutableRawPointer.allocate(byteCount: byteCount, alignment: 64)
    unsafe clear(memory, byteCount: byteCount)
    let link = UnsafeMutablePointer<ImmortalLink>.allocate(capacity: 1)
    unsafe link.initialize(to: ImmortalLink(address: UInt(bitPattern: memory), earlier: 0))
    unsafe link.pointee.earlier = newest.exchange(UInt(bitPattern: link), ordering: .acquiringAndReleasing)
    return unsafe memory
}

/// Zeroes `memory`, but writes only where it is not zero already: a large allocation comes fresh from the kernel, whose
/// untouched pages read as zeros and are not resident until they are written. A table of a million slots thus costs
/// nothing before it is used. (`calloc` does the same, but this room calls no C.)
@inline(never) private func clear(_ memory: UnsafeMutableRawPointer, byteCount: Int) {
    let page = 4096
    var offset = 0
    while offset < byteCount {
        let count = min(page, byteCount - offset)
        var seen: UInt64 = 0
        var word = 0
        while word + 8 <= count {
            unsafe seen |= memory.load(fromByteOffset: offset + word, as: UInt64.self)
            word += 8
        }
        if seen != 0 || count < page {
            unsafe (memory + offset).initializeMemory(as: UInt8.self, repeating: 0, count: count)
        }
        offset += count
    }
}

/// Numbers that several threads read and write, one cache line each, relaxed. A handle: copies name the same cells.
///
/// Invariant that makes it safe: the memory is never freed and `count` cells long.
@frozen @safe public struct SharedCells: @unchecked Sendable {
    @usableFromInline let base: UnsafeMutableRawPointer
    public let count: Int

    /// `count` cells that hold 0.
    public init(count: Int) {
        precondition(count > 0)
        self.count = count
        unsafe base = immortal(byteCount: count * 64)
    }

    @inlinable func cell(_ index: Int) -> UnsafeMutablePointer<Atomic<Int>> {
        precondition(index >= 0 && index < count)
        return unsafe (base + index &* 64).assumingMemoryBound(to: Atomic<Int>.self)
    }

    @inlinable public func load(_ index: Int) -> Int {
        unsafe cell(index).pointee.load(ordering: .acquiring)
    }

    @inlinable public func store(_ value: Int, at index: Int) {
        unsafe cell(index).pointee.store(value, ordering: .releasing)
    }

    /// Adds with a locked instruction (20 cycles); returns the new value.
    @inlinable @discardableResult public func add(_ value: Int, at index: Int) -> Int {
        unsafe cell(index).pointee.wrappingAdd(value, ordering: .relaxed).newValue
    }
}

/// Numbers that one thread writes and any thread reads: plain moves. A handle: copies name the same counters.
///
/// Invariant that makes it safe: the memory is never freed and `count` words long.
@frozen @safe public struct CounterBlock: @unchecked Sendable {
    @usableFromInline let base: UnsafeMutablePointer<Atomic<Int>>
    public let count: Int

    /// `count` counters at 0.
    public init(count: Int) {
        precondition(count > 0)
        self.count = count
        unsafe base = immortal(byteCount: (count * 8 + 63) / 64 * 64).bindMemory(
            to: Atomic<Int>.self, capacity: count)
    }

    /// Adds; only the owning thread may.
    @inlinable public func add(_ value: Int, at index: Int) {
        precondition(index >= 0 && index < count)
        // A single writer needs no locked instruction.
        unsafe base[index].store(base[index].load(ordering: .relaxed) &+ value, ordering: .relaxed)
    }

    /// Adds to three that follow each other; only the owning thread may.
    @inlinable public func add(_ first: Int, _ second: Int, _ third: Int, from index: Int) {
        precondition(index >= 0 && index < count &- 2)
        unsafe base[index].store(base[index].load(ordering: .relaxed) &+ first, ordering: .relaxed)
        unsafe base[index &+ 1].store(base[index &+ 1].load(ordering: .relaxed) &+ second, ordering: .relaxed)
        unsafe base[index &+ 2].store(base[index &+ 2].load(ordering: .relaxed) &+ third, ordering: .relaxed)
    }

    @inlinable public func load(_ index: Int) -> Int {
        precondition(index >= 0 && index < count)
        return unsafe base[index].load(ordering: .relaxed)
    }
}

/// A table of pairs of words, each pair changed as one (`cmpxchg16b`), shared by all threads. A handle, as above.
///
/// Invariant that makes it safe: `pairs` points at `count` 16-byte aligned pairs that are never freed.
@frozen @safe public struct WordPairTable: @unchecked Sendable {
    @usableFromInline let pairs: UnsafeMutablePointer<Atomic<WordPair>>
    public let count: Int

    /// `count` pairs of zeros.
    public init(count: Int) {
        precondition(count > 0)
        self.count = count
        unsafe pairs = immortal(byteCount: count * 16).bindMemory(to: Atomic<WordPair>.self, capacity: count)
    }

    /// The pair at `index`.
    @inlinable public func load(_ index: Int) -> WordPair {
        precondition(index >= 0 && index < count)
        return unsafe pairs[index].load(ordering: .acquiring)
    }

    @inlinable func word(_ index: Int) -> UnsafeMutablePointer<Atomic<UInt>> {
        unsafe UnsafeMutableRawPointer(pairs).assumingMemoryBound(to: Atomic<UInt>.self) + index
    }

    /// The first word of the pair at `index`, by a plain load: a hint, to be confirmed by `exchange` or `load`, which
    /// cost a locked instruction each.
    @inlinable public func first(_ index: Int) -> UInt {
        precondition(index >= 0 && index < count)
        return unsafe word(index &* 2).pointee.load(ordering: .sequentiallyConsistent)
    }

    /// The second word, likewise; it may belong to another pair than the first word that was read before.
    @inlinable public func second(_ index: Int) -> UInt {
        precondition(index >= 0 && index < count)
        return unsafe word(index &* 2 &+ 1).pointee.load(ordering: .sequentiallyConsistent)
    }

    /// Replaces the pair at `index` if it still is `expected`; tells what it was. All exchanges and single-word loads
    /// of all threads have one order: who exchanges and then looks sees every exchange that came before its own.
    @inlinable public func exchange(_ index: Int, from expected: WordPair, to desired: WordPair) -> (
        isExchanged: Bool, original: WordPair
    ) {
        precondition(index >= 0 && index < count)
        let result = unsafe pairs[index].compareExchange(
            expected: expected, desired: desired, ordering: .sequentiallyConsistent)
        return (result.exchanged, result.original)
    }
}
