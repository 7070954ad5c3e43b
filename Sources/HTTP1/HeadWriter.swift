public import HTTP
public import Memory

/// Writes one head of HTTP/1.1 into one block. Room is looked at for each piece, but failure only shows at the end, so
/// that a head is a few calls and one check.
///
/// A request: `requestLine`, then `fields` and `field`, `end`, `finish`. A response: `statusLine` in place of the first.
@frozen public struct HeadWriter: ~Copyable {
    @usableFromInline var block: Block
    @usableFromInline var isOverrun = false

    /// A writer with an empty block of `pool`; `nil` when the pool is exhausted. A head longer than a block of the pool
    /// fails at `finish`.
    @inlinable @inline(__always) public init?(from pool: borrowing BlockPool) {
        guard let block = pool.take() else { return nil }
        self.block = block
    }

    /// How many bytes have been written.
    @inlinable public var byteCount: Int { block.byteCount }

    /// `method SP path[?query] SP HTTP/1.1 CRLF`. A query that is there and empty keeps its `?`.
    @inlinable @inline(__always) public mutating func requestLine(
        method: RawSpan, path: RawSpan, query: RawSpan, hasQuery: Bool
    ) {
        bytes(method)
        byte(0x20)
        bytes(path)
        if hasQuery {
            byte(0x3f)
            bytes(query)
        }
        text(" HTTP/1.1\r\n")
    }

    /// The same for a line that stands in the source as it is to be written: `line` is its method, space and target.
    @inlinable @inline(__always) public mutating func requestLine(_ line: RawSpan) {
        text("", line, " HTTP/1.1\r\n")
    }

    /// `HTTP/1.1 SP status SP reason CRLF`; `status` has three digits.
    @inlinable public mutating func statusLine(_ status: Int) {
        if status == 200 {
            text("HTTP/1.1 200 OK\r\n")
        } else {
            otherStatusLine(status)
        }
    }

    @usableFromInline mutating func otherStatusLine(_ status: Int) {
        text("HTTP/1.1 ")
        number(status)
        byte(0x20)
        text(StatusText.reason(status))
        text("\r\n")
    }

    /// The lines of `table` that are not dropped, in their order, with their case and their bytes.
    ///
    /// `isText`: `source` is HTTP/1 text and the table is as its parser made it, but for lines marked as dropped; runs of
    /// lines are then copied whole, with the whitespace around their values. Otherwise (heads of HTTP/2) each line is put
    /// together from its name and value.
    @inlinable public mutating func fields(
        _ table: borrowing FieldTable, of source: RawSpan, isText: Bool
    ) {
        guard isText else { return eachField(table, of: source) }
        let count = table.count
        var index = 0
        while index < count {
            let first = table[index]
            index &+= 1
            if first.isDropped { continue }
            let start = first.name.lowerBound
            var valueEnd = first.value.upperBound
            while index < count, !table[index].isDropped {
                valueEnd = table[index].value.upperBound
                index &+= 1
            }
            // Up to and with the LF behind the last value: at most some whitespace and the CR stand between, and nearly
            // always the CR alone.
            let isNext = valueEnd &+ 1 < source.byteCount && source[valueEnd &+ 1] == 0x0a
            let end = isNext ? valueEnd &+ 2 : source.firstIndex(of: 0x0a, from: valueEnd) &+ 1
            guard start < end, end <= source.byteCount else {
                isOverrun = true
                return
            }
            bytes(source.extracting(start..<end))
        }
    }

    @usableFromInline mutating func eachField(_ table: borrowing FieldTable, of source: RawSpan) {
        for index in 0..<table.count where !table[index].isDropped {
            field(source[table[index].name], source[table[index].value])
        }
    }

    @inlinable public mutating func field(_ name: RawSpan, _ value: RawSpan) {
        if !block.append(field: name, value) { isOverrun = true }
    }

    /// `name` ends with a colon and a space.
    @inlinable public mutating func field(_ name: StaticString, _ value: RawSpan) {
        text(name, value, "\r\n")
    }

    /// `name` ends with a colon and a space; `value` is not negative.
    @inlinable public mutating func field(_ name: StaticString, number value: Int) {
        text(name)
        number(value)
        text("\r\n")
    }

    /// The empty line.
    @inlinable public mutating func end() { text("\r\n") }

    // Pieces, for lines whose value is put together; the caller writes the CRLF too.

    @inlinable @inline(__always) public mutating func text(_ text: StaticString) {
        if !block.append(text) { isOverrun = true }
    }

    /// `bytes` between two literals, either of which may be empty: all three, or none of them.
    @inlinable @inline(__always) public mutating func text(
        _ before: StaticString, _ bytes: RawSpan, _ after: StaticString
    ) {
        if !block.append(before, bytes, after) { isOverrun = true }
    }

    /// A short text between two literals: all three, or none of them.
    @inlinable @inline(__always) public mutating func text(
        _ before: StaticString, _ text: borrowing ShortText, _ after: StaticString
    ) {
        if !block.append(before, text, after) { isOverrun = true }
    }

    @inlinable public mutating func bytes(_ bytes: RawSpan) {
        if !block.append(whole: bytes) { isOverrun = true }
    }

    @inlinable public mutating func byte(_ byte: UInt8) {
        if !block.append(byte) { isOverrun = true }
    }

    /// `value` in decimal; not negative.
    @inlinable public mutating func number(_ value: Int) {
        if !block.append(number: value) { isOverrun = true }
    }

    /// Moves the head to the end of `queue`; `false`, with nothing moved, when it did not fit the block.
    @inlinable @inline(__always) public consuming func finish(into queue: inout ByteQueue) -> Bool {
        guard !isOverrun else { return false }
        queue.append(block)
        return true
    }
}

/// Writes what stands around the pieces of a chunked body (RFC 9112 §7.1). Each answers `false`, with nothing written,
/// when the pool is exhausted.
public enum ChunkWriter {
    /// The line before `size` bytes of body, which is above 0: 0 would end it.
    @inlinable public static func header(
        size: Int, into queue: inout ByteQueue, from pool: borrowing BlockPool
    ) -> Bool {
        precondition(size > 0)
        // 16 digits and CRLF at most: with room for them there is no failing halfway.
        guard queue.tailRoom >= 18 || pool.canTake(1) else { return false }
        return queue.append(number: size, radix: 16, from: pool) && queue.append("\r\n", from: pool)
    }

    /// The line end behind a chunk's bytes.
    @inlinable public static func end(into queue: inout ByteQueue, from pool: borrowing BlockPool) -> Bool {
        queue.append("\r\n", from: pool)
    }

    /// The last chunk, and the end of the message when no trailers follow.
    @inlinable public static func last(
        hasTrailers: Bool, into queue: inout ByteQueue, from pool: borrowing BlockPool
    ) -> Bool {
        queue.append(hasTrailers ? "0\r\n" : "0\r\n\r\n", from: pool)
    }
}
