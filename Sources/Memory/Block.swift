// Public, so that what is inlined elsewhere may call it; its functions get no pointer but those that are checked here.
public import CVector

/// What stands before the bytes of a block. 64 bytes are kept for it so that the bytes begin on a cache line.
@usableFromInline @unsafe struct BlockHeader {
    @usableFromInline var next: UnsafeMutablePointer<BlockHeader>?
    @usableFromInline let pool: UnsafeMutablePointer<BlockPoolState>
    @usableFromInline let capacity: Int
    @usableFromInline var start = 0
    @usableFromInline var end = 0

    @usableFromInline init(pool: UnsafeMutablePointer<BlockPoolState>, capacity: Int) {
        unsafe self.pool = pool
        unsafe self.capacity = capacity
    }

    /// Bytes from the header's address to the first byte of content.
    @inlinable static var reserved: Int { 64 }
}

@usableFromInline @unsafe struct BlockPoolState {
    @usableFromInline var free: UnsafeMutablePointer<BlockHeader>?
    @usableFromInline var freeCount = 0
    @usableFromInline var outstanding = 0
    @usableFromInline let capacity: Int
    @usableFromInline let limit: Int
    @usableFromInline let keep: Int
    @usableFromInline let most: Int
    /// The fewest that were on the free list since it was last trimmed: so many were not needed.
    @usableFromInline var low = 0
    @usableFromInline var isAbandoned = false

    @usableFromInline init(capacity: Int, limit: Int, keep: Int, most: Int) {
        unsafe self.capacity = capacity
        unsafe self.limit = limit
        unsafe self.keep = keep
        unsafe self.most = most
    }
}

/// One worker's blocks of one size, kept on a free list. Not shared between threads.
///
/// Invariant that makes it safe: the state lives until the pool and its last block are gone.
@frozen @safe public struct BlockPool: ~Copyable {
    @usableFromInline let state: UnsafeMutablePointer<BlockPoolState>

    /// `blockBytes` is the size of a block in memory (its capacity is 64 less), `limit` how many may be out at once,
    /// `keep` how many unused ones are held back from the allocator for good, `most` how many until `trim` finds that they
    /// were not needed; as many as `keep` unless it is said.
    public init(blockBytes: Int = 16384, limit: Int, keep: Int = 256, most: Int = 0) {
        precondition(blockBytes > 64 && limit > 0 && keep >= 0 && most >= 0)
        unsafe state = .allocate(capacity: 1)
        unsafe state.initialize(
            to: BlockPoolState(
                capacity: blockBytes - BlockHeader.reserved, limit: limit, keep: keep, most: max(keep, most)))
    }

    /// How many bytes a block of this pool holds.
    @inlinable public var blockCapacity: Int { unsafe state.pointee.capacity }

    /// How many blocks are out.
    @inlinable public var outstanding: Int { unsafe state.pointee.outstanding }

    /// Whether no further block may be taken.
    @inlinable public var isExhausted: Bool { unsafe state.pointee.outstanding >= state.pointee.limit }

    /// Whether `count` more blocks may be taken.
    @inlinable public func canTake(_ count: Int) -> Bool {
        unsafe state.pointee.limit &- state.pointee.outstanding >= count
    }

    /// How many are kept unused.
    public var kept: Int { unsafe state.pointee.freeCount }

    /// Whether more are kept unused than for good, so that `trim` is to be called in a while.
    @inlinable public var hasSurplus: Bool { unsafe state.pointee.freeCount > state.pointee.keep }

    /// Most blocks that one `trim` gives back, so that it is no pause: some 0.5 ms.
    public static var trimmedAtOnce: Int { 1024 }

    /// Gives those back to the allocator that were not needed since the last call, but for those that are kept for good; or,
    /// where memory is short, those that are unused now.
    public func trim(isShort: Bool = false) {
        let unused = unsafe isShort ? state.pointee.freeCount : state.pointee.low
        var left = unsafe min(unused &- state.pointee.keep, BlockPool.trimmedAtOnce)
        while left > 0, let header = unsafe state.pointee.free {
            unsafe state.pointee.free = header.pointee.next
            unsafe state.pointee.freeCount &-= 1
            unsafe UnsafeMutableRawPointer(header).deallocate()
            left &-= 1
        }
        unsafe state.pointee.low = state.pointee.freeCount
    }

    /// An empty block; `nil` when the limit of the pool is reached.
    @inlinable public func take() -> Block? {
        guard let header = unsafe takeHeader() else { return nil }
        return unsafe Block(header: header)
    }

    @inlinable func takeHeader() -> UnsafeMutablePointer<BlockHeader>? {
        guard unsafe state.pointee.outstanding < state.pointee.limit else { return nil }
        unsafe state.pointee.outstanding &+= 1
        guard let header = unsafe state.pointee.free else { return unsafe BlockPool.grow(state) }
        unsafe state.pointee.free = header.pointee.next
        unsafe state.pointee.freeCount &-= 1
        unsafe state.pointee.low = min(state.pointee.low, state.pointee.freeCount)
        unsafe header.pointee.next = nil
        unsafe header.pointee.start = 0
        unsafe header.pointee.end = 0
        return unsafe header
    }

    @usableFromInline @inline(never)
    static func grow(_ state: UnsafeMutablePointer<BlockPoolState>) -> UnsafeMutablePointer<BlockHeader> {
        let capacity = unsafe state.pointee.capacity
        let raw = unsafe UnsafeMutableRawPointer.allocate(
            byteCount: capacity + BlockHeader.reserved, alignment: 64)
        let header = unsafe raw.bindMemory(to: BlockHeader.self, capacity: 1)
        unsafe header.initialize(to: BlockHeader(pool: state, capacity: capacity))
        return unsafe header
    }

    @inlinable static func giveBack(_ header: UnsafeMutablePointer<BlockHeader>) {
        let state = unsafe header.pointee.pool
        unsafe state.pointee.outstanding &-= 1
        if unsafe state.pointee.freeCount < state.pointee.most, unsafe !state.pointee.isAbandoned {
            unsafe header.pointee.next = state.pointee.free
            unsafe state.pointee.free = header
            unsafe state.pointee.freeCount &+= 1
        } else {
            unsafe shrink(header, state)
        }
    }

    @usableFromInline @inline(never)
    static func shrink(
        _ header: UnsafeMutablePointer<BlockHeader>, _ state: UnsafeMutablePointer<BlockPoolState>
    ) {
        unsafe UnsafeMutableRawPointer(header).deallocate()
        if unsafe state.pointee.isAbandoned, unsafe state.pointee.outstanding == 0 {
            unsafe state.deallocate()
        }
    }

    deinit {
        while let header = unsafe state.pointee.free {
            unsafe state.pointee.free = header.pointee.next
            unsafe UnsafeMutableRawPointer(header).deallocate()
        }
        if unsafe state.pointee.outstanding == 0 {
            unsafe state.deallocate()
        } else {
            // Blocks are still out: the last one frees the state.
            unsafe state.pointee.isAbandoned = true
            unsafe state.pointee.freeCount = 0
        }
    }
}

/// A buffer of a pool, owned by exactly one holder; it goes back to its pool when that holder lets go.
///
/// Invariant that makes it safe: `start <= end <= capacity`, and the header is nobody else's.
@frozen @safe public struct Block: ~Copyable {
    @usableFromInline let header: UnsafeMutablePointer<BlockHeader>

    @inlinable init(header: UnsafeMutablePointer<BlockHeader>) { unsafe self.header = header }

    deinit { unsafe BlockPool.giveBack(header) }

    @inlinable var base: UnsafeMutableRawPointer {
        unsafe UnsafeMutableRawPointer(header) + BlockHeader.reserved
    }

    /// Gives up the block without giving it back.
    @inlinable consuming func release() -> UnsafeMutablePointer<BlockHeader> {
        let owned = unsafe header
        discard self
        return unsafe owned
    }

    /// How many bytes are held.
    @inlinable public var byteCount: Int { unsafe header.pointee.end &- header.pointee.start }

    /// How many bytes can still be appended.
    @inlinable public var freeCount: Int { unsafe header.pointee.capacity &- header.pointee.end }

    @inlinable public var isEmpty: Bool { byteCount == 0 }

    /// The bytes held.
    @inlinable public var bytes: RawSpan {
        @_lifetime(borrow self) get {
            let span = unsafe RawSpan(_unsafeStart: base + header.pointee.start, byteCount: byteCount)
            return unsafe _overrideLifetime(span, borrowing: self)
        }
    }

    /// Drops the first `count` bytes.
    @inlinable public mutating func consume(_ count: Int) {
        precondition(count >= 0 && count <= byteCount)
        unsafe header.pointee.start &+= count
    }

    /// Drops the last `count` bytes.
    @inlinable public mutating func removeLast(_ count: Int) {
        precondition(count >= 0 && count <= byteCount)
        unsafe header.pointee.end &-= count
    }

    @inlinable public mutating func removeAll() {
        unsafe header.pointee.start = 0
        unsafe header.pointee.end = 0
    }

    /// Appends what fits of `bytes`; returns how many were taken.
    @inlinable @discardableResult public mutating func append(_ bytes: RawSpan) -> Int {
        let count = min(bytes.byteCount, freeCount)
        unsafe header.pointee.append(prefix: count, of: bytes, at: base)
        return count
    }

    /// Appends `bytes` if they fit whole; `false`, with nothing appended, if they do not.
    @inlinable public mutating func append(whole bytes: RawSpan) -> Bool {
        guard freeCount >= bytes.byteCount else { return false }
        unsafe header.pointee.append(bytes, at: base)
        return true
    }

    /// Appends a field line, with the colon and the end; `false`, with nothing appended, if it does not fit whole.
    @inlinable public mutating func append(field name: RawSpan, _ value: RawSpan) -> Bool {
        let room = freeCount
        // One after the other, so that no sum can overflow.
        guard room >= 4, room &- 4 >= name.byteCount, room &- 4 &- name.byteCount >= value.byteCount else {
            return false
        }
        unsafe header.pointee.append(name, at: base)
        unsafe base.storeBytes(
            of: UInt16(0x203a).littleEndian, toByteOffset: header.pointee.end, as: UInt16.self)
        unsafe header.pointee.end &+= 2
        unsafe header.pointee.append(value, at: base)
        unsafe base.storeBytes(
            of: UInt16(0x0a0d).littleEndian, toByteOffset: header.pointee.end, as: UInt16.self)
        unsafe header.pointee.end &+= 2
        return true
    }

    /// Appends one byte; `false` when there is no room.
    @inlinable @discardableResult public mutating func append(_ byte: UInt8) -> Bool {
        guard freeCount > 0 else { return false }
        unsafe base.storeBytes(of: byte, toByteOffset: header.pointee.end, as: UInt8.self)
        unsafe header.pointee.end &+= 1
        return true
    }

    /// Appends the literal if it fits whole; `false`, with nothing appended, if it does not.
    ///
    /// Where the literal is, its length is known: inlined, the copy is a few moves and no call.
    @inlinable @inline(__always) @discardableResult
    public mutating func append(_ text: StaticString) -> Bool {
        let count = text.utf8CodeUnitCount
        guard freeCount >= count else { return false }
        unsafe (base + header.pointee.end).copyMemory(from: text.utf8Start, byteCount: count)
        unsafe header.pointee.end &+= count
        return true
    }

    /// Appends `bytes` between two literals if all three fit; `false`, with nothing appended, if they do not. One look at the
    /// room, and one note of how far it is filled, are enough for the three.
    @inlinable @inline(__always) @discardableResult
    public mutating func append(_ before: StaticString, _ bytes: RawSpan, _ after: StaticString) -> Bool {
        let first = before.utf8CodeUnitCount
        let last = after.utf8CodeUnitCount
        let count = bytes.byteCount
        let end = unsafe header.pointee.end
        // Two lengths of literals together, and no sum with another's.
        guard unsafe header.pointee.capacity &- end &- (first &+ last) >= count else { return false }
        let target = unsafe base + end
        if first > 0 { unsafe target.copyMemory(from: before.utf8Start, byteCount: first) }
        unsafe bytes.withUnsafeBytes { source in
            guard let start = source.baseAddress else { return }
            unsafe cvector_copy(target + first, start, count)
        }
        if last > 0 {
            unsafe (target + first + count).copyMemory(from: after.utf8Start, byteCount: last)
        }
        unsafe header.pointee.end = end &+ first &+ count &+ last
        return true
    }

    /// Appends the lowest `count` bytes of `word`, which are 8 at most, the lowest first; `false`, with nothing appended, when
    /// there is no room for eight.
    @inlinable @discardableResult public mutating func append(word: UInt64, count: Int) -> Bool {
        precondition(count >= 0 && count <= 8)
        guard freeCount >= 8 else { return false }
        unsafe base.storeBytes(of: word.littleEndian, toByteOffset: header.pointee.end, as: UInt64.self)
        unsafe header.pointee.end &+= count
        return true
    }

    /// Appends `value`, which must not be negative, in decimal if it fits whole.
    @inlinable @discardableResult public mutating func append(number value: Int) -> Bool {
        // Many are a zero or a one.
        if value >= 0, value < 10 { return append(0x30 &+ UInt8(truncatingIfNeeded: value)) }
        guard value >= 0, value < 100_000_000, freeCount >= 8 else { return append(longNumber: value) }
        // Eight digits at once, each in a byte: split by 10,000, then by 100, then by 10.
        let high = UInt64(value) / 10000
        var digits = high | (UInt64(value) &- high &* 10000) &<< 32
        let hundreds = (digits &* 10486) &>> 20 & 0x0000_007f_0000_007f
        digits = hundreds | (digits &- hundreds &* 100) &<< 16
        let tens = (digits &* 103) &>> 10 & 0x000f_000f_000f_000f
        digits = tens | (digits &- tens &* 10) &<< 8
        // Leading zeros are in the lowest bytes; the last digit stays even when it is one.
        let zeros = min(digits.trailingZeroBitCount &>> 3, 7)
        let text = (digits | 0x3030_3030_3030_3030) &>> UInt64(zeros &* 8)
        unsafe base.storeBytes(of: text.littleEndian, toByteOffset: header.pointee.end, as: UInt64.self)
        unsafe header.pointee.end &+= 8 &- zeros
        return true
    }

    @usableFromInline mutating func append(longNumber value: Int) -> Bool {
        var number = NumberText(max(value, 0))
        var bytes = InlineArray<24, UInt8>(repeating: 0)
        let count = number.withBytes { span in
            for offset in 0..<span.byteCount { bytes[offset] = span[offset] }
            return span.byteCount
        }
        guard freeCount >= count else { return false }
        append(bytes.rawSpan.extracting(0..<count))
        return true
    }

    /// Lets `fill` write into the free space; it returns how many bytes it wrote. For rooms that call C.
    @inlinable @unsafe public mutating func fillUnsafely(_ fill: (UnsafeMutableRawBufferPointer) -> Int)
        -> Int
    {
        let space = unsafe UnsafeMutableRawBufferPointer(start: base + header.pointee.end, count: freeCount)
        let written = unsafe fill(space)
        precondition(written >= 0 && written <= freeCount)
        unsafe header.pointee.end &+= written
        return written
    }
}

extension BlockHeader {
    /// Appends all of `bytes`, for which there must be room.
    @inlinable @inline(__always) mutating func append(_ bytes: RawSpan, at base: UnsafeMutableRawPointer) {
        let offset = unsafe end
        unsafe bytes.withUnsafeBytes { source in
            guard let start = source.baseAddress else { return }
            unsafe cvector_copy(base + offset, start, source.count)
        }
        unsafe end = offset &+ bytes.byteCount
    }

    @inlinable mutating func append(prefix count: Int, of bytes: RawSpan, at base: UnsafeMutableRawPointer) {
        let offset = unsafe end
        unsafe bytes.withUnsafeBytes { source in
            guard count > 0, let start = source.baseAddress else { return }
            unsafe (base + offset).copyMemory(from: start, byteCount: count)
        }
        unsafe end &+= count
    }
}
