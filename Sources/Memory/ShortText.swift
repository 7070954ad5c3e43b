/// At most 48 bytes of text, held in place: for what is said anew again and again, such as the address of a connection.
@frozen public struct ShortText: ~Copyable, Sendable {
    // A tuple, which is moved from where it lies: an array would be copied for each look at it.
    @usableFromInline var words: (UInt64, UInt64, UInt64, UInt64, UInt64, UInt64) = (0, 0, 0, 0, 0, 0)
    @usableFromInline var count: UInt8 = 0

    /// Most bytes that one holds.
    @inlinable public static var capacity: Int { 48 }

    /// An empty one.
    @inlinable public init() {}

    /// A copy of `text`; `nil` when that is longer than `capacity`.
    public init?(_ text: RawSpan) {
        guard text.byteCount <= ShortText.capacity else { return nil }
        func word(_ index: Int) -> UInt64 {
            let left = text.byteCount &- index &* 8
            return left >= 8
                ? text.word(at: index &* 8) : left > 0 ? text.word(at: index &* 8, count: left) : 0
        }
        words = (word(0), word(1), word(2), word(3), word(4), word(5))
        count = UInt8(truncatingIfNeeded: text.byteCount)
    }

    /// How many bytes it holds.
    @inlinable public var byteCount: Int { Int(count) }

    /// Calls `body` with the bytes of the text.
    @inlinable public func withBytes<Result>(_ body: (RawSpan) -> Result) -> Result {
        var copy = words
        return unsafe withUnsafeBytes(of: &copy) { buffer in
            let span = unsafe RawSpan(_unsafeBytes: buffer)
            return body(span.extracting(0..<Int(count)))
        }
    }
}

extension Block {
    /// Appends a short text between two literals if all three fit; `false`, with nothing appended, if they do not.
    ///
    /// Where there is room for the longest, all its words are written, however few of their bytes count: there is nothing to
    /// decide then. What lies behind the text is free space.
    @inlinable @inline(__always) @discardableResult
    public mutating func append(
        _ before: StaticString, _ text: borrowing ShortText, _ after: StaticString
    ) -> Bool {
        let first = before.utf8CodeUnitCount
        let last = after.utf8CodeUnitCount
        let end = unsafe header.pointee.end
        guard unsafe header.pointee.capacity &- end >= first &+ ShortText.capacity &+ last else {
            return appendNarrowly(before, text, after)
        }
        let target = unsafe base + end
        if first > 0 { unsafe target.copyMemory(from: before.utf8Start, byteCount: first) }
        unsafe (target + first).storeBytes(
            of: text.words, as: (UInt64, UInt64, UInt64, UInt64, UInt64, UInt64).self)
        // The count is never more than the capacity.
        let count = text.byteCount
        if last > 0 {
            unsafe (target + first + count).copyMemory(from: after.utf8Start, byteCount: last)
        }
        unsafe header.pointee.end = end &+ first &+ count &+ last
        return true
    }

    @usableFromInline @inline(never) mutating func appendNarrowly(
        _ before: StaticString, _ text: borrowing ShortText, _ after: StaticString
    ) -> Bool {
        guard freeCount >= before.utf8CodeUnitCount &+ text.byteCount &+ after.utf8CodeUnitCount else {
            return false
        }
        append(before)
        text.withBytes { _ = append($0) }
        append(after)
        return true
    }
}
