/// Bytes in the order they came, in a chain of blocks: what a connection has read and not yet used, or owes its peer.
///
/// Invariant that makes it safe: the chain from `head` to `tail` is this queue's alone, ends in `nil`, and holds
/// `byteCount` bytes.
@frozen @safe public struct ByteQueue: ~Copyable {
    @usableFromInline var head: UnsafeMutablePointer<BlockHeader>?
    @usableFromInline var tail: UnsafeMutablePointer<BlockHeader>?
    @usableFromInline var bytes = 0
    @usableFromInline var blocks = 0

    @inlinable public init() {}

    @inlinable public var byteCount: Int { bytes }
    @inlinable public var blockCount: Int { blocks }
    @inlinable public var isEmpty: Bool { bytes == 0 }

    // Most queues end empty: those pay a look and no call.
    deinit { if let first = unsafe head { unsafe ByteQueue.release(first) } }

    @usableFromInline static func release(_ first: UnsafeMutablePointer<BlockHeader>?) {
        var next = unsafe first
        while let header = unsafe next {
            unsafe next = header.pointee.next
            unsafe BlockPool.giveBack(header)
        }
    }

    /// Gives all blocks back, used or not.
    @inlinable @inline(__always) public mutating func removeAll() {
        if let first = unsafe head { unsafe removeAll(from: first) }
    }

    @inlinable mutating func removeAll(from first: UnsafeMutablePointer<BlockHeader>) {
        if blocks == 1 { unsafe BlockPool.giveBack(first) } else { unsafe ByteQueue.release(first) }
        unsafe head = nil
        unsafe tail = nil
        bytes = 0
        blocks = 0
    }

    /// The bytes of the first block that holds any; empty when the queue is.
    @inlinable public var firstBytes: RawSpan {
        @_lifetime(borrow self) get {
            guard let header = unsafe head else { return RawSpan() }
            let base = unsafe UnsafeRawPointer(header) + BlockHeader.reserved
            let span = unsafe RawSpan(
                _unsafeStart: base + header.pointee.start,
                byteCount: header.pointee.end &- header.pointee.start)
            return unsafe _overrideLifetime(span, borrowing: self)
        }
    }

    /// Whether all bytes lie in one block, so that `firstBytes` is the whole.
    @inlinable public var isContiguous: Bool { blocks <= 1 }

    /// Drops the first `count` bytes; blocks that are used up go back to their pool.
    @inlinable public mutating func consume(_ count: Int) {
        precondition(count >= 0 && count <= bytes)
        // A message that was read whole, or written whole, is all there is.
        if count == bytes { return removeAll() }
        var left = count
        bytes &-= count
        while let header = unsafe head {
            let held = unsafe header.pointee.end &- header.pointee.start
            if left < held {
                unsafe header.pointee.start &+= left
                return
            }
            left &-= held
            unsafe dropFirst(header)
        }
    }

    @inlinable mutating func dropFirst(_ header: UnsafeMutablePointer<BlockHeader>) {
        unsafe head = header.pointee.next
        if unsafe head == nil { unsafe tail = nil }
        blocks &-= 1
        unsafe header.pointee.next = nil
        unsafe BlockPool.giveBack(header)
    }

    @inlinable @inline(__always) mutating func link(_ header: UnsafeMutablePointer<BlockHeader>) {
        unsafe header.pointee.next = nil
        if let last = unsafe tail { unsafe last.pointee.next = header } else { unsafe head = header }
        unsafe tail = header
        blocks &+= 1
        unsafe bytes &+= header.pointee.end &- header.pointee.start
    }

    /// Moves `block` to the end, without copying its bytes. An empty one goes back to its pool.
    @inlinable public mutating func append(_ block: consuming Block) {
        let header = unsafe block.release()
        if unsafe header.pointee.end == header.pointee.start {
            unsafe BlockPool.giveBack(header)
        } else {
            unsafe link(header)
        }
    }

    /// Copies `span` to the end. `false`, with nothing appended, when the pool has no block left for it.
    @inlinable public mutating func append(_ span: RawSpan, from pool: borrowing BlockPool) -> Bool {
        if let last = unsafe tail, unsafe last.pointee.capacity &- last.pointee.end >= span.byteCount {
            unsafe last.pointee.append(
                prefix: span.byteCount, of: span, at: UnsafeMutableRawPointer(last) + BlockHeader.reserved)
            bytes &+= span.byteCount
            return true
        }
        return appendSlowly(span, from: pool)
    }

    @usableFromInline mutating func appendSlowly(_ span: RawSpan, from pool: borrowing BlockPool) -> Bool {
        let missing = span.byteCount &- tailRoom
        let needed = missing <= 0 ? 0 : (missing &+ pool.blockCapacity &- 1) / pool.blockCapacity
        guard pool.canTake(needed) else { return false }
        var offset = 0
        while offset < span.byteCount {
            if tailRoom == 0 {
                guard let header = unsafe pool.takeHeader() else { return false }
                unsafe link(header)
            }
            guard let last = unsafe tail else { return false }
            let count = unsafe min(span.byteCount &- offset, last.pointee.capacity &- last.pointee.end)
            unsafe last.pointee.append(
                prefix: count, of: span.extracting(offset..<(offset &+ count)),
                at: UnsafeMutableRawPointer(last) + BlockHeader.reserved)
            bytes &+= count
            offset &+= count
        }
        return true
    }

    /// Copies the literal to the end.
    @inlinable public mutating func append(_ text: StaticString, from pool: borrowing BlockPool) -> Bool {
        append(text.utf8Span, from: pool)
    }

    /// Copies one byte to the end.
    @inlinable public mutating func append(_ byte: UInt8, from pool: borrowing BlockPool) -> Bool {
        var copy = byte
        return unsafe withUnsafeBytes(of: &copy) { buffer in
            unsafe append(RawSpan(_unsafeBytes: buffer), from: pool)
        }
    }

    /// Writes `value` in decimal (or hexadecimal, for chunk sizes) to the end.
    @inlinable public mutating func append(
        number value: Int, radix: Int = 10, from pool: borrowing BlockPool
    ) -> Bool {
        var digits = NumberText(value, radix: radix)
        return digits.withBytes { append($0, from: pool) }
    }

    /// Moves everything that `other` holds to the end, without copying.
    @inlinable public mutating func append(contentsOf other: inout ByteQueue) {
        guard let first = unsafe other.head, let last = unsafe other.tail else { return }
        if let end = unsafe tail { unsafe end.pointee.next = first } else { unsafe head = first }
        unsafe tail = last
        bytes &+= other.bytes
        blocks &+= other.blocks
        unsafe other.head = nil
        unsafe other.tail = nil
        other.bytes = 0
        other.blocks = 0
    }

    /// Most bytes of a block that are copied behind others instead of moving the block.
    public static var mostCopied: Int { 2048 }

    /// Moves the first `count` bytes of `other` to the end: whole blocks are moved, the piece of a block is copied.
    /// `false` when the pool has no block for that piece; what was moved by then stays moved.
    public mutating func append(
        first count: Int, of other: inout ByteQueue, from pool: borrowing BlockPool
    ) -> Bool {
        precondition(count >= 0 && count <= other.bytes)
        var left = count
        while left > 0, let header = unsafe other.head {
            let held = unsafe header.pointee.end &- header.pointee.start
            // A small piece is copied behind what the last block has: a chain of crumbs costs more than the copy.
            let isCrumb = held <= ByteQueue.mostCopied && tailRoom >= held
            if held <= left && !isCrumb {
                unsafe other.head = header.pointee.next
                if unsafe other.head == nil { unsafe other.tail = nil }
                other.blocks &-= 1
                other.bytes &-= held
                unsafe link(header)
                left &-= held
            } else {
                let piece = min(held, left)
                guard append(other.firstBytes.extracting(0..<piece), from: pool) else { return false }
                other.consume(piece)
                left &-= piece
            }
        }
        return true
    }

    /// Takes the first block out.
    @inlinable public mutating func takeFirst() -> Block? {
        guard let header = unsafe head else { return nil }
        unsafe head = header.pointee.next
        if unsafe head == nil { unsafe tail = nil }
        blocks &-= 1
        unsafe bytes &-= header.pointee.end &- header.pointee.start
        unsafe header.pointee.next = nil
        return unsafe Block(header: header)
    }

    /// Brings all bytes together in one block of `pool`, so that a head that straddles two can be parsed in place.
    /// `false` when they do not fit one block or the pool is exhausted.
    public mutating func makeContiguous(in pool: borrowing BlockPool) -> Bool {
        guard blocks > 1 else { return true }
        guard bytes <= pool.blockCapacity, var block = pool.take() else { return false }
        while !isEmpty {
            let count = block.append(firstBytes)
            consume(count)
        }
        append(block)
        return true
    }

    /// Brings the first bytes together in one block of `pool`, as many as it holds; what is behind them stays where it is.
    /// `false` when the pool is exhausted.
    public mutating func gatherFirst(in pool: borrowing BlockPool) -> Bool {
        guard blocks > 1 else { return true }
        guard var block = pool.take() else { return false }
        while !isEmpty, block.freeCount > 0 { consume(block.append(firstBytes)) }
        var rest = ByteQueue()
        swap(&rest, &self)
        append(block)
        append(contentsOf: &rest)
        return true
    }

    /// Free bytes behind the last byte, in the block that already is there.
    @inlinable public var tailRoom: Int {
        guard let last = unsafe tail else { return 0 }
        return unsafe last.pointee.capacity &- last.pointee.end
    }

    /// Lets `fill` write behind the last byte: into the last block's room if that is at least `minimum`, else into a
    /// fresh block, `headroom` behind its beginning where it is larger than a few of them. It returns how many bytes it wrote; a
    /// fresh block that got none goes back. `nil` when the pool is exhausted and `fill` was not called. For rooms that call C.
    @inlinable @inline(__always) @unsafe public mutating func fillUnsafely(
        minimum: Int, headroom: Int = 0, from pool: borrowing BlockPool,
        _ fill: (UnsafeMutableRawBufferPointer) -> Int
    ) -> Int? {
        if tailRoom < minimum || blocks == 0 {
            guard let header = unsafe pool.takeHeader() else { return nil }
            let headroom = pool.blockCapacity > 4 &* headroom ? headroom : 0
            let space = unsafe UnsafeMutableRawBufferPointer(
                start: UnsafeMutableRawPointer(header) + BlockHeader.reserved + headroom,
                count: header.pointee.capacity &- headroom)
            let written = unsafe fill(space)
            precondition(written >= 0 && written <= space.count)
            if written == 0 {
                unsafe BlockPool.giveBack(header)
            } else {
                unsafe header.pointee.start = headroom
                unsafe header.pointee.end = headroom &+ written
                unsafe link(header)
            }
            return written
        }
        guard let last = unsafe tail else { return nil }
        let space = unsafe UnsafeMutableRawBufferPointer(
            start: UnsafeMutableRawPointer(last) + BlockHeader.reserved + last.pointee.end, count: tailRoom)
        let written = unsafe fill(space)
        precondition(written >= 0 && written <= space.count)
        unsafe last.pointee.end &+= written
        bytes &+= written
        return written
    }

    /// Copies `bytes` in front of the first byte, into room that its block has there: some was left, or read away. `false`, with
    /// nothing written, when there is not enough.
    @inlinable public mutating func prepend(_ span: RawSpan) -> Bool {
        guard let first = unsafe head, unsafe first.pointee.start >= span.byteCount else { return false }
        unsafe first.pointee.start &-= span.byteCount
        bytes &+= span.byteCount
        unsafe span.withUnsafeBytes { source in
            guard let start = source.baseAddress else { return }
            unsafe (UnsafeMutableRawPointer(first) + BlockHeader.reserved + first.pointee.start)
                .copyMemory(from: start, byteCount: span.byteCount)
        }
        return true
    }

    /// How many bytes the first blocks hold together, as many of them as do not exceed `limit`.
    @inlinable public func byteCount(ofBlocksWithin limit: Int) -> Int {
        var sum = 0
        var next = unsafe head
        while let header = unsafe next {
            let held = unsafe header.pointee.end &- header.pointee.start
            guard held <= limit &- sum else { break }
            sum &+= held
            unsafe next = header.pointee.next
        }
        return sum
    }

    /// Room that is left in front of what may go on in frames: for the header of one, and so much that a block of
    /// payload, framed and encrypted, is a block again. The bytes still begin on a cache line.
    public static var headroom: Int { 64 }

    /// Lets `fill` write into up to four fresh blocks at once, `headroom` behind their beginnings; it gets their spaces and how
    /// many there are, and returns how many bytes it wrote, first block first. Blocks that got none go back. `nil` when the pool
    /// is exhausted.
    @unsafe public mutating func fillFourUnsafely(
        from pool: borrowing BlockPool,
        _ fill: (borrowing InlineArray<4, UnsafeMutableRawBufferPointer>, Int) -> Int
    ) -> Int? {
        // A pool of very small blocks has no room to leave.
        let headroom = pool.blockCapacity > 4 * ByteQueue.headroom ? ByteQueue.headroom : 0
        var headers = unsafe InlineArray<4, UnsafeMutablePointer<BlockHeader>?>(repeating: nil)
        var spaces = unsafe InlineArray<4, UnsafeMutableRawBufferPointer>(
            repeating: UnsafeMutableRawBufferPointer(start: nil, count: 0))
        var count = 0
        while count < 4, let header = unsafe pool.takeHeader() {
            unsafe headers[count] = header
            unsafe spaces[count] = UnsafeMutableRawBufferPointer(
                start: UnsafeMutableRawPointer(header) + BlockHeader.reserved + headroom,
                count: header.pointee.capacity - headroom)
            count += 1
        }
        guard count > 0 else { return nil }
        let written = unsafe fill(spaces, count)
        precondition(written >= 0 && written <= count * (pool.blockCapacity - headroom))
        var left = written
        for index in 0..<count {
            guard let header = unsafe headers[index] else { continue }
            let held = unsafe min(left, header.pointee.capacity - headroom)
            if held == 0 {
                unsafe BlockPool.giveBack(header)
            } else {
                unsafe header.pointee.start = headroom
                unsafe header.pointee.end = headroom + held
                unsafe link(header)
                left -= held
            }
        }
        return written
    }

    /// Calls `body` with each block's bytes in turn, until it answers `false`.
    @inlinable public func forEachBlock(_ body: (RawSpan) -> Bool) {
        var next = unsafe head
        while let header = unsafe next {
            let base = unsafe UnsafeRawPointer(header) + BlockHeader.reserved
            let span = unsafe RawSpan(
                _unsafeStart: base + header.pointee.start,
                byteCount: header.pointee.end &- header.pointee.start)
            guard body(span) else { return }
            unsafe next = header.pointee.next
        }
    }

    /// A copy of all bytes, for cold paths and tests.
    public var array: [UInt8] {
        var all: [UInt8] = []
        forEachBlock { span in
            all += span.array
            return true
        }
        return all
    }
}

/// The digits of a number, without a `String`.
@frozen @safe public struct NumberText {
    // 24 bytes hold any Int in radix 10 or 16, with its sign.
    @usableFromInline var digits: (UInt64, UInt64, UInt64) = (0, 0, 0)
    @usableFromInline var start = 24

    /// `value` must not be negative.
    @inlinable public init(_ value: Int, radix: Int = 10) {
        precondition(value >= 0 && (radix == 10 || radix == 16))
        var left = UInt(value)
        var offset = 24
        unsafe withUnsafeMutableBytes(of: &digits) { buffer in
            repeat {
                let digit = UInt8(truncatingIfNeeded: radix == 10 ? left % 10 : left & 15)
                left = radix == 10 ? left / 10 : left &>> 4
                offset &-= 1
                unsafe buffer[offset] = digit < 10 ? 0x30 &+ digit : 0x57 &+ digit
            } while left > 0
        }
        start = offset
    }

    /// Calls `body` with the digits.
    @inlinable public mutating func withBytes<Result>(_ body: (RawSpan) -> Result) -> Result {
        let first = start
        return unsafe withUnsafeBytes(of: &digits) { buffer in
            let span = unsafe RawSpan(_unsafeBytes: buffer)
            return body(span.extracting(first..<24))
        }
    }
}
