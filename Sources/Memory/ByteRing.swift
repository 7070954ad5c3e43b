public import Synchronization

/// Bytes from one thread to another without a lock: one writes, one reads. A handle: copies name the same ring.
///
/// Invariant that makes it safe: the memory is never freed; `tail` is moved by the writer alone and `head` by the
/// reader alone, each after its copy (release), and read by the other with acquire.
@frozen @safe public struct ByteRing: @unchecked Sendable {
    @usableFromInline let bytes: UnsafeMutableRawPointer
    @usableFromInline let head: UnsafeMutablePointer<Atomic<Int>>
    @usableFromInline let tail: UnsafeMutablePointer<Atomic<Int>>
    public let capacity: Int

    /// A ring of `capacity` bytes, a power of two. Memory is touched as it is used.
    public init(capacity: Int) {
        precondition(capacity > 0 && capacity & (capacity - 1) == 0)
        self.capacity = capacity
        // Each index has a cache line of its own, or the threads would take it from each other at each move.
        let indices = unsafe immortal(byteCount: 128)
        unsafe head = indices.bindMemory(to: Atomic<Int>.self, capacity: 1)
        unsafe tail = (indices + 64).bindMemory(to: Atomic<Int>.self, capacity: 1)
        unsafe bytes = immortal(byteCount: capacity)
    }

    /// Bytes that wait for the reader.
    @inlinable public var count: Int {
        unsafe tail.pointee.load(ordering: .acquiring) &- head.pointee.load(ordering: .acquiring)
    }

    /// Appends all of `span`, or nothing and `false` when there is no room. The writer's thread only.
    @inlinable public func write(_ span: RawSpan) -> Bool {
        let end = unsafe tail.pointee.load(ordering: .relaxed)
        let start = unsafe head.pointee.load(ordering: .acquiring)
        let length = span.byteCount
        guard length <= capacity &- (end &- start) else { return false }
        let offset = end & (capacity &- 1)
        let first = min(length, capacity &- offset)
        unsafe span.withUnsafeBytes { source in
            guard let from = source.baseAddress else { return }
            unsafe (bytes + offset).copyMemory(from: from, byteCount: first)
            if first < length { unsafe bytes.copyMemory(from: from + first, byteCount: length &- first) }
        }
        unsafe tail.pointee.store(end &+ length, ordering: .releasing)
        return true
    }

    /// Gives `body` what waits, in one or two pieces, and drops it. The reader's thread only.
    public func drain(_ body: (RawSpan) -> Void) {
        let start = unsafe head.pointee.load(ordering: .relaxed)
        let end = unsafe tail.pointee.load(ordering: .acquiring)
        guard end > start else { return }
        let offset = start & (capacity - 1)
        let first = min(end - start, capacity - offset)
        unsafe body(RawSpan(_unsafeStart: bytes + offset, byteCount: first))
        if first < end - start { unsafe body(RawSpan(_unsafeStart: bytes, byteCount: end - start - first)) }
        unsafe head.pointee.store(end, ordering: .releasing)
    }
}
