/// A run of bytes whose length is settled at the start, for slots of a table and for scratch space.
///
/// Pages are touched only where something was written, so a large and mostly unused table costs no resident memory.
/// A byte that was never written reads as any value: whoever uses this keeps track of what was written.
/// Invariant that makes it safe: `base` is `count` bytes long and owned by this value alone.
@frozen @safe public struct FixedBytes: ~Copyable {
    @usableFromInline let base: UnsafeMutableRawPointer
    public let count: Int

    @inlinable public init(count: Int) {
        precondition(count >= 0)
        self.count = count
        unsafe base = .allocate(byteCount: max(count, 1), alignment: 64)
    }

    deinit { unsafe base.deallocate() }

    /// All bytes.
    @inlinable public var bytes: RawSpan {
        @_lifetime(borrow self) get {
            let span = unsafe RawSpan(_unsafeStart: base, byteCount: count)
            return unsafe _overrideLifetime(span, borrowing: self)
        }
    }

    /// The bytes of `range`, which must lie inside.
    @_lifetime(borrow self) @inlinable public func bytes(_ range: Range<Int>) -> RawSpan {
        let span = bytes.extracting(range)
        return unsafe _overrideLifetime(span, borrowing: self)
    }

    /// The byte at `offset`, checked.
    @inlinable public subscript(_ offset: Int) -> UInt8 {
        get {
            precondition(offset >= 0 && offset < count)
            return unsafe base.load(fromByteOffset: offset, as: UInt8.self)
        }
        set {
            precondition(offset >= 0 && offset < count)
            unsafe base.storeBytes(of: newValue, toByteOffset: offset, as: UInt8.self)
        }
    }

    /// The eight bytes from `offset` as a word in the machine's order, checked.
    @inlinable public func word(at offset: Int) -> UInt64 {
        precondition(offset >= 0 && offset <= count &- 8)
        return unsafe base.loadUnaligned(fromByteOffset: offset, as: UInt64.self)
    }

    /// Writes the eight bytes of `word` from `offset` in the machine's order, checked.
    @inlinable public mutating func store(_ word: UInt64, at offset: Int) {
        precondition(offset >= 0 && offset <= count &- 8)
        unsafe base.storeBytes(of: word, toByteOffset: offset, as: UInt64.self)
    }

    /// Copies `source` to `offset`; it must fit.
    @inlinable public mutating func copy(_ source: RawSpan, to offset: Int) {
        precondition(offset >= 0 && offset <= count && source.byteCount <= count &- offset)
        let target = unsafe base + offset
        unsafe source.withUnsafeBytes { buffer in
            guard let start = buffer.baseAddress else { return }
            unsafe target.copyMemory(from: start, byteCount: buffer.count)
        }
    }

    /// Lets `fill` write to the bytes of `range`, which must lie inside. For what C writes: the pointer must not be kept.
    @inlinable @unsafe public mutating func fillUnsafely<Result>(
        _ range: Range<Int>, _ fill: (UnsafeMutableRawPointer) -> Result
    ) -> Result {
        precondition(range.lowerBound >= 0 && range.upperBound <= count)
        return unsafe fill(base + range.lowerBound)
    }
}

// Whoever may send an owner may send its bytes: there is no other reference to them.
extension FixedBytes: @unchecked Sendable {}
