/// The name of a slot in a slab: an index, and the generation that tells this tenant from those before it.
@frozen public struct SlabID: Hashable, Sendable {
    public let index: UInt32
    /// 24 bits are used, so that an index, a generation and a kind fit one word; odd while the slot is taken.
    public let generation: UInt32

    @inlinable public init(index: UInt32, generation: UInt32) {
        self.index = index
        self.generation = generation & SlabID.generations
    }

    @inlinable static var generations: UInt32 { 0xFF_FFFF }

    /// A name that no slab ever gives.
    @inlinable public static var none: SlabID { SlabID(index: .max, generation: 0) }
    @inlinable public var isNone: Bool { index == .max }
}

/// Slots for a fixed number of values, named by `SlabID`. A name whose tenant has gone is known to be stale.
///
/// Memory is touched only as far as slots were ever used. Invariant that makes it safe: a slot below `highWater` is
/// initialised exactly if its generation is odd, and slots never move. The generation of a free slot has a bit besides that
/// no name has, so that one comparison tells a name that holds: every use of a slot makes it.
@frozen @safe public struct Slab<Element: ~Copyable>: ~Copyable {
    @usableFromInline let slots: UnsafeMutablePointer<Element>
    @usableFromInline let generations: UnsafeMutablePointer<UInt32>
    @usableFromInline let nextFree: UnsafeMutablePointer<UInt32>
    @usableFromInline var firstFree = UInt32.max
    @usableFromInline var highWater: UInt32 = 0
    public let capacity: Int
    @usableFromInline var used = 0

    /// How many values are held.
    @inlinable public var count: Int { used }

    @inlinable public init(capacity: Int) {
        precondition(capacity > 0 && capacity < Int(UInt32.max))
        self.capacity = capacity
        unsafe slots = .allocate(capacity: capacity)
        unsafe generations = .allocate(capacity: capacity)
        unsafe nextFree = .allocate(capacity: capacity)
    }

    @inlinable public var isFull: Bool { count == capacity }

    /// Moves `element` into a free slot. There must be one: look at `isFull` first.
    ///
    /// Inlined, so that a large value is made in its slot, and not made elsewhere and copied.
    @inlinable @inline(__always) public mutating func insert(_ element: consuming Element) -> SlabID {
        precondition(count < capacity)
        let index: UInt32
        if firstFree != .max {
            index = firstFree
            firstFree = unsafe nextFree[Int(index)]
        } else {
            index = highWater
            highWater &+= 1
            unsafe (generations + Int(index)).initialize(to: Self.freeBit)
            unsafe (nextFree + Int(index)).initialize(to: .max)
        }
        let generation = unsafe (generations[Int(index)] &+ 1) & SlabID.generations
        unsafe generations[Int(index)] = generation
        unsafe (slots + Int(index)).initialize(to: element)
        used &+= 1
        return SlabID(index: index, generation: generation)
    }

    @inlinable static var freeBit: UInt32 { 0x8000_0000 }

    /// Whether `id` names a value that is still here.
    @inlinable public func contains(_ id: SlabID) -> Bool {
        guard id.index < highWater else { return false }
        return unsafe generations[Int(id.index)] == id.generation
    }

    /// Takes the value out; the name is stale from now on.
    @inlinable public mutating func remove(_ id: SlabID) -> Element {
        precondition(contains(id))
        let index = Int(id.index)
        unsafe generations[index] = (id.generation &+ 1) & SlabID.generations | Self.freeBit
        unsafe nextFree[index] = firstFree
        firstFree = id.index
        used &-= 1
        return unsafe (slots + index).move()
    }

    /// The value that `id` names; a stale name is our mistake and traps, so look with `contains` first where it can be.
    @inlinable public subscript(_ id: SlabID) -> Element {
        @inline(__always) unsafeAddress {
            precondition(contains(id))
            return unsafe UnsafePointer(slots + Int(id.index))
        }
        @inline(__always) unsafeMutableAddress {
            precondition(contains(id))
            return unsafe slots + Int(id.index)
        }
    }

    /// How many slots were ever used: the bound of a walk with `name(at:)`.
    @inlinable public var walkCount: Int { Int(highWater) }

    /// The name of the value in slot `index`, `nil` when the slot is free. For walks on cold paths.
    @inlinable public func name(at index: Int) -> SlabID? {
        precondition(index >= 0 && index < Int(highWater))
        let generation = unsafe generations[index]
        return generation & 1 == 1 ? SlabID(index: UInt32(index), generation: generation) : nil
    }

    deinit {
        for index in 0..<Int(highWater) where unsafe generations[index] & 1 == 1 {
            unsafe (slots + index).deinitialize(count: 1)
        }
        unsafe slots.deallocate()
        unsafe generations.deallocate()
        unsafe nextFree.deallocate()
    }
}

// Whoever may send the elements may send their owner: there is no other reference to them.
extension Slab: @unchecked Sendable where Element: Sendable & ~Copyable {}
