// Public, so that what is inlined elsewhere may call it.
public import CVector

/// A range of bytes in some buffer, as offsets. Holds no reference: whoever owns the buffer says what it means.
@frozen public struct ByteRange: Equatable, Sendable {
    public var start: UInt32
    public var count: UInt32

    @inlinable public init(start: Int, end: Int) {
        precondition(start >= 0 && end >= start && end <= Int(UInt32.max))
        self.start = UInt32(truncatingIfNeeded: start)
        self.count = UInt32(truncatingIfNeeded: end &- start)
    }

    @inlinable public static var empty: ByteRange { ByteRange(start: 0, end: 0) }

    @inlinable public var lowerBound: Int { Int(start) }
    @inlinable public var upperBound: Int { Int(start) &+ Int(count) }
    @inlinable public var isEmpty: Bool { count == 0 }
}

/// A set of byte values, as four words. Membership is a shift and a mask.
@frozen public struct ByteSet: Sendable {
    @usableFromInline let words: (UInt64, UInt64, UInt64, UInt64)

    /// The bytes that `isMember` names.
    @inlinable public init(where isMember: (UInt8) -> Bool) {
        var low: (UInt64, UInt64, UInt64, UInt64) = (0, 0, 0, 0)
        for value in 0..<64 {
            let bit = UInt64(1) << UInt64(value)
            if isMember(UInt8(value)) { low.0 |= bit }
            if isMember(UInt8(value + 64)) { low.1 |= bit }
            if isMember(UInt8(value + 128)) { low.2 |= bit }
            if isMember(UInt8(value + 192)) { low.3 |= bit }
        }
        words = low
    }

    /// The set with these bits: `words.0` holds bytes 0 to 63, and so on. For constants that must not be computed at run time.
    @inlinable public init(bits first: UInt64, _ second: UInt64, _ third: UInt64, _ fourth: UInt64) {
        words = (first, second, third, fourth)
    }

    @inlinable public func contains(_ byte: UInt8) -> Bool {
        let low = byte & 64 == 0 ? words.0 : words.1
        let high = byte & 64 == 0 ? words.2 : words.3
        return (byte & 128 == 0 ? low : high) &>> UInt64(byte & 63) & 1 == 1
    }
}

extension RawSpan {
    /// The byte at `offset`, checked: without its sign an offset below zero is above every count.
    @inlinable public subscript(_ offset: Int) -> UInt8 {
        @inline(__always) get {
            precondition(UInt(bitPattern: offset) < UInt(bitPattern: byteCount))
            return unsafe unsafeLoad(fromUncheckedByteOffset: offset, as: UInt8.self)
        }
    }

    /// The bytes of `range`, which must lie inside.
    @inlinable public subscript(_ range: ByteRange) -> RawSpan {
        @_lifetime(copy self) @inline(__always) get { extracting(range.lowerBound..<range.upperBound) }
    }

    /// Eight bytes from `offset`, in the machine's order; the offset and seven more must lie inside.
    @inlinable public func word(at offset: Int) -> UInt64 {
        precondition(offset >= 0 && offset <= byteCount &- 8)
        return unsafe unsafeLoadUnaligned(fromUncheckedByteOffset: offset, as: UInt64.self)
    }

    /// Eight bytes from `offset`, in the machine's order; `nil` when not all of them lie inside. For loops, whose condition this
    /// is: a check of the loop's own and that of `word(at:)` would both be made.
    @inlinable @inline(__always) public func word(ifAt offset: Int) -> UInt64? {
        guard offset >= 0, offset <= byteCount &- 8 else { return nil }
        return unsafe unsafeLoadUnaligned(fromUncheckedByteOffset: offset, as: UInt64.self)
    }

    /// The byte at `offset`, `nil` when it does not lie inside. For loops, as `word(ifAt:)`.
    @inlinable @inline(__always) public func byte(ifAt offset: Int) -> UInt8? {
        guard UInt(bitPattern: offset) < UInt(bitPattern: byteCount) else { return nil }
        return unsafe unsafeLoad(fromUncheckedByteOffset: offset, as: UInt8.self)
    }

    /// Two bytes from `offset`, the first in the lower place; `nil` when not both lie inside.
    @inlinable @inline(__always) public func pair(ifAt offset: Int) -> UInt16? {
        guard offset >= 0, offset <= byteCount &- 2 else { return nil }
        return UInt16(
            littleEndian: unsafe unsafeLoadUnaligned(fromUncheckedByteOffset: offset, as: UInt16.self))
    }

    /// `count` bytes (less than eight) from `offset`, the first in the lowest place, above them zeros. They must lie inside.
    @inlinable public func word(at offset: Int, count: Int) -> UInt64 {
        precondition(count >= 0 && count < 8 && offset >= 0 && offset <= byteCount &- count)
        let mask: UInt64 = (1 &<< UInt64(count &* 8)) &- 1
        if offset &+ 8 <= byteCount { return UInt64(littleEndian: word(at: offset)) & mask }
        if byteCount >= 8 {
            let last = UInt64(littleEndian: word(at: byteCount &- 8))
            // At least one of the eight lies before `offset`; for none of the last eight wanted, the shift may be 64.
            return (last >> UInt64((offset &+ 8 &- byteCount) &* 8)) & mask
        }
        // Two loads that share what they both have: of four to seven bytes, and of two or three.
        if count >= 4 {
            let high = UInt64(half(at: offset &+ count &- 4)) &<< UInt64((count &- 4) &* 8)
            return UInt64(half(at: offset)) | high
        }
        guard count > 0 else { return 0 }
        let middle = count &>> 1
        return UInt64(self[offset]) | UInt64(self[offset &+ middle]) &<< UInt64(middle &* 8)
            | UInt64(self[offset &+ count &- 1]) &<< UInt64((count &- 1) &* 8)
    }

    /// Four bytes from `offset`, the first in the lowest place; they must lie inside.
    @inlinable func half(at offset: Int) -> UInt32 {
        precondition(offset >= 0 && offset <= byteCount &- 4)
        return UInt32(
            littleEndian: unsafe unsafeLoadUnaligned(fromUncheckedByteOffset: offset, as: UInt32.self))
    }

    /// The first offset at or past `from` that holds `byte`; `byteCount` when none does.
    @inlinable public func firstIndex(of byte: UInt8, from: Int) -> Int {
        precondition(from >= 0)
        var offset = from
        let pattern = UInt64(byte) &* 0x0101_0101_0101_0101
        while offset &+ 8 <= byteCount {
            // The classic zero-byte test over a word; its lowest set bit marks the first hit (little-endian).
            // The condition above is the check of `word(at:)`, which the compiler makes again: 15 instructions a word, not 13.
            let word = unsafe unsafeLoadUnaligned(fromUncheckedByteOffset: offset, as: UInt64.self)
            let difference = word ^ pattern
            let hits = (difference &- 0x0101_0101_0101_0101) & ~difference & 0x8080_8080_8080_8080
            if hits != 0 { return offset &+ hits.trailingZeroBitCount &>> 3 }
            offset &+= 8
        }
        while offset < byteCount {
            if self[offset] == byte { return offset }
            offset &+= 1
        }
        return byteCount
    }

    /// The first offset at or past `from` that holds a control byte other than tab; `byteCount` when none does. For what is long:
    /// 32 bytes at a time, and a call.
    public func firstControl(from: Int) -> Int {
        precondition(from >= 0 && from <= byteCount)
        return unsafe withUnsafeBytes { bytes in
            guard let base = bytes.baseAddress else { return from }
            return unsafe from &+ Int(cvector_first_control(base + from, bytes.count &- from))
        }
    }

    /// The first offset at or past `from` whose byte is not in `set`; `byteCount` when all are.
    @inlinable public func firstIndex(notIn set: ByteSet, from: Int) -> Int {
        precondition(from >= 0)
        var offset = from
        while offset < byteCount, set.contains(self[offset]) { offset &+= 1 }
        return offset < byteCount ? offset : byteCount
    }

    /// Whether these are exactly the bytes of `text`.
    @inlinable public func equals(_ text: StaticString) -> Bool {
        guard text.utf8CodeUnitCount == byteCount else { return false }
        return text.utf8Span.equals(self)
    }

    /// Whether both hold the same bytes.
    @inlinable public func equals(_ other: RawSpan) -> Bool {
        let count = byteCount
        guard count == other.byteCount else { return false }
        // Bytes that are compared twice do no harm, here and below.
        if count < 4 {
            guard count > 0 else { return true }
            let middle = count &>> 1
            return self[0] == other[0] && self[middle] == other[middle]
                && self[count &- 1] == other[count &- 1]
        }
        if count < 8 {
            return half(at: 0) == other.half(at: 0) && half(at: count &- 4) == other.half(at: count &- 4)
        }
        var offset = 0
        while offset &+ 16 <= count {
            // The condition above is the check of `word(at:)`, which the compiler makes again for each of the four.
            let first = unsafe unsafeLoadUnaligned(fromUncheckedByteOffset: offset, as: UInt64.self)
            let second = unsafe unsafeLoadUnaligned(fromUncheckedByteOffset: offset &+ 8, as: UInt64.self)
            let otherFirst = unsafe other.unsafeLoadUnaligned(
                fromUncheckedByteOffset: offset, as: UInt64.self)
            let otherSecond = unsafe other.unsafeLoadUnaligned(
                fromUncheckedByteOffset: offset &+ 8, as: UInt64.self)
            if (first ^ otherFirst) | (second ^ otherSecond) != 0 { return false }
            offset &+= 16
        }
        if offset &+ 8 <= count, word(at: offset) != other.word(at: offset) { return false }
        return word(at: count &- 8) == other.word(at: count &- 8)
    }

    /// The same for what is long: libc's comparison, and a call.
    public func equalsLong(_ other: RawSpan) -> Bool {
        guard byteCount == other.byteCount else { return false }
        return unsafe withUnsafeBytes { bytes in
            unsafe other.withUnsafeBytes { others in
                guard let first = bytes.baseAddress, let second = others.baseAddress else { return true }
                return unsafe cvector_same(first, second, bytes.count)
            }
        }
    }

    /// Whether both are the same when the case of ASCII letters is ignored.
    ///
    /// Most are told apart by their length, without a call.
    @inlinable @inline(__always) public func equalsIgnoringCase(_ other: RawSpan) -> Bool {
        byteCount == other.byteCount && equalsAtLengthIgnoringCase(other)
    }

    @inlinable func equalsAtLengthIgnoringCase(_ other: RawSpan) -> Bool {
        let count = byteCount
        precondition(count == other.byteCount)
        guard count >= 8 else {
            return word(at: 0, count: count).lowercasedBytes
                == other.word(at: 0, count: count).lowercasedBytes
        }
        var offset = 0
        while offset &+ 8 <= count {
            if word(at: offset).lowercasedBytes != other.word(at: offset).lowercasedBytes { return false }
            offset &+= 8
        }
        guard offset < count else { return true }
        return word(at: count &- 8).lowercasedBytes == other.word(at: count &- 8).lowercasedBytes
    }

    /// Whether these are the bytes of `text` when the case of ASCII letters is ignored.
    @inlinable public func equalsIgnoringCase(_ text: StaticString) -> Bool {
        equalsIgnoringCase(text.utf8Span)
    }

    /// Whether the first bytes are those of `prefix`.
    @inlinable public func starts(with prefix: RawSpan) -> Bool {
        byteCount >= prefix.byteCount && extracting(0..<prefix.byteCount).equals(prefix)
    }

    /// A copy, for cold paths and tests.
    public var array: [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(byteCount)
        for offset in 0..<byteCount { bytes.append(self[offset]) }
        return bytes
    }

    /// A copy as text, invalid UTF-8 repaired; for cold paths and tests.
    public var text: String { String(decoding: array, as: UTF8.self) }
}

extension UInt64 {
    /// Eight bytes with ASCII upper-case letters made lower case.
    @inlinable public var lowercasedBytes: UInt64 {
        let ones: UInt64 = 0x0101_0101_0101_0101
        let low = self & (0x7f &* ones)
        // The top bit of a byte is set where the byte is at or past `A`, and where it is past `Z`.
        let isLetter = (low &+ (0x80 &- 0x41) &* ones) & ~(low &+ (0x7f &- 0x5a) &* ones)
        return self | (isLetter & ~self & (0x80 &* ones)) &>> 2
    }
}

extension UInt64 {
    /// The sixteen hexadecimal digits of the number, in lower case: each half with its first character in the lowest byte.
    @inlinable @inline(__always) public var hexadecimal: (first: UInt64, last: UInt64) {
        let digits = cvector_hexadecimal(self)
        return (digits.first, digits.last)
    }
}

extension UInt8 {
    /// The lower-case letter if this is an ASCII upper-case letter, else the byte itself.
    @inlinable public var lowercased: UInt8 { self &- 0x41 < 26 ? self | 0x20 : self }

    @inlinable public var isDigit: Bool { self &- 0x30 < 10 }

    /// The value of a hexadecimal digit of either case, `nil` for any other byte.
    @inlinable public var hexValue: UInt8? {
        if self &- 0x30 < 10 { return self &- 0x30 }
        let letter = lowercased
        return letter &- 0x61 < 6 ? letter &- 0x61 &+ 10 : nil
    }
}

extension StaticString {
    /// The bytes of the literal; they live for ever.
    @inlinable public var utf8Span: RawSpan {
        @_lifetime(immortal) get {
            precondition(hasPointerRepresentation)
            let span = unsafe RawSpan(_unsafeStart: utf8Start, byteCount: utf8CodeUnitCount)
            return unsafe _overrideLifetime(span, borrowing: ())
        }
    }
}

extension Array where Element == UInt8 {
    /// These bytes as a raw span. The `bytes` of `Span<UInt8>` is marked unsafe in Swift 6.3; it is wrapped once, here.
    @inlinable public var rawSpan: RawSpan {
        @_lifetime(borrow self) get {
            let raw = unsafe span.bytes
            return unsafe _overrideLifetime(raw, borrowing: self)
        }
    }
}

extension InlineArray where Element == UInt8 {
    /// These bytes as a raw span.
    @inlinable public var rawSpan: RawSpan {
        @_lifetime(borrow self) get {
            let raw = unsafe span.bytes
            return unsafe _overrideLifetime(raw, borrowing: self)
        }
    }
}

extension InlineArray where Element == UInt64 {
    /// The bytes of these words, in the machine's order.
    @inlinable public var rawSpan: RawSpan {
        @_lifetime(borrow self) get {
            let raw = unsafe span.bytes
            return unsafe _overrideLifetime(raw, borrowing: self)
        }
    }
}
