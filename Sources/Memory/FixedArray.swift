/// Elements whose number is settled at the start: no growth, no copy on write, no reference count.
///
/// Invariant that makes it safe: `base` holds `count` initialised elements, owned by this value alone.
@frozen @safe public struct FixedArray<Element: ~Copyable>: ~Copyable {
    @usableFromInline let base: UnsafeMutablePointer<Element>
    public let count: Int

    /// `make` is called once for each index, in order.
    @inlinable public init(count: Int, _ make: (Int) -> Element) {
        precondition(count >= 0)
        unsafe base = .allocate(capacity: max(count, 1))
        self.count = count
        for index in 0..<count { unsafe (base + index).initialize(to: make(index)) }
    }

    @inlinable public var isEmpty: Bool { count == 0 }

    // Addressors, not coroutines: the lifetime of a span into an element is then known to be the array's own. An index below
    // zero is above every count as a number without a sign, so that one comparison is the whole check.
    @inlinable public subscript(_ index: Int) -> Element {
        @inline(__always) unsafeAddress {
            precondition(UInt(bitPattern: index) < UInt(bitPattern: count))
            return unsafe UnsafePointer(base + index)
        }
        @inline(__always) unsafeMutableAddress {
            precondition(UInt(bitPattern: index) < UInt(bitPattern: count))
            return unsafe base + index
        }
    }

    deinit {
        unsafe base.deinitialize(count: count)
        unsafe base.deallocate()
    }
}

extension FixedArray {
    /// A copy of `elements`.
    @inlinable public init(_ elements: [Element]) { self.init(count: elements.count) { elements[$0] } }
}

extension FixedArray where Element == UInt8 {
    /// The elements as bytes.
    @inlinable public var rawSpan: RawSpan {
        @_lifetime(borrow self) get {
            let span = unsafe RawSpan(_unsafeStart: UnsafeRawPointer(base), byteCount: count)
            return unsafe _overrideLifetime(span, borrowing: self)
        }
    }
}

extension FixedArray where Element == UInt8 {
    /// The bytes as a raw span.
    @inlinable public var span: RawSpan {
        @_lifetime(borrow self) get {
            let span = unsafe RawSpan(_unsafeStart: base, byteCount: count)
            return unsafe _overrideLifetime(span, borrowing: self)
        }
    }
}

// Whoever may send the elements may send their owner: there is no other reference to them.
extension FixedArray: @unchecked Sendable where Element: Sendable & ~Copyable {}

/// A first-in first-out queue with room for a fixed number of elements.
@frozen @safe public struct FixedQueue<Element: ~Copyable>: ~Copyable {
    @usableFromInline let base: UnsafeMutablePointer<Element>
    public let capacity: Int
    @usableFromInline var head = 0
    @usableFromInline var used = 0

    @inlinable public var count: Int { used }

    public init(capacity: Int) {
        precondition(capacity > 0)
        unsafe base = .allocate(capacity: capacity)
        self.capacity = capacity
    }

    @inlinable public var isEmpty: Bool { count == 0 }
    @inlinable public var isFull: Bool { count == capacity }

    @inlinable func slot(_ offset: Int) -> Int {
        let index = head &+ offset
        return index >= capacity ? index &- capacity : index
    }

    /// Adds at the end; hands the element back when there is no room.
    @inlinable public mutating func push(_ element: consuming Element) -> Element? {
        guard count < capacity else { return element }
        unsafe (base + slot(count)).initialize(to: element)
        used &+= 1
        return nil
    }

    /// Takes the oldest.
    @inlinable public mutating func pop() -> Element? {
        guard count > 0 else { return nil }
        let element = unsafe (base + head).move()
        // From the front again: a queue that is emptied often touches only as much memory as it ever held at once.
        head = used == 1 ? 0 : slot(1)
        used &-= 1
        return element
    }

    deinit {
        for offset in 0..<count { unsafe (base + slot(offset)).deinitialize(count: 1) }
        unsafe base.deallocate()
    }
}
