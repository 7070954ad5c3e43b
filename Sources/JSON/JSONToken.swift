public import Memory

/// Why a text is not the JSON that is taken here.
public enum JSONError: Error, Equatable, Sendable {
    /// The text ends in the middle of a value.
    case unfinished
    /// A byte that the grammar does not have at `offset` (RFC 8259 §2), or anything behind the value.
    case badByte(offset: Int)
    /// A number that is not of the grammar (§6).
    case badNumber(offset: Int)
    /// A control byte, an unknown escape or half a surrogate pair in a string (§7, §8.2).
    case badString(offset: Int)
    /// Bytes in a string that are not UTF-8 (§8.1).
    case notUTF8(offset: Int)
    /// A name that the same object had before (§4: what readers make of it is unpredictable).
    case duplicateName(offset: Int)
    case tooDeep(offset: Int)
    case tooLong
    /// More members in the open objects together than are remembered to find duplicates.
    case tooManyMembers(offset: Int)
}

/// The inside of a string, as a range of the text that was read: between the quotes, escapes not yet resolved.
@frozen public struct JSONText: Equatable, Sendable {
    public let range: ByteRange
    /// Whether a backslash stands in it; if not, the bytes of the range are the string.
    public let isEscaped: Bool

    @inlinable public init(range: ByteRange, isEscaped: Bool) {
        self.range = range
        self.isEscaped = isEscaped
    }

    /// Whether the string is exactly `other`, its escapes resolved. `source` is the text that was read.
    @inlinable public func equals(_ other: RawSpan, in source: RawSpan) -> Bool {
        // Most names are told apart by their length alone; an escape only makes a text longer.
        let count = Int(range.count)
        if count < other.byteCount || !isEscaped && count != other.byteCount { return false }
        // And most of those that are as long as each other by their first byte.
        if !isEscaped, count > 0, source[range.lowerBound] != other[0] { return false }
        return isSame(as: other, in: source)
    }

    @usableFromInline func isSame(as other: RawSpan, in source: RawSpan) -> Bool {
        let raw = source[range]
        guard isEscaped else { return raw.equals(other) }
        var cursor = EscapeCursor()
        var compared = 0
        while let byte = cursor.next(in: raw) {
            guard compared < other.byteCount, other[compared] == byte else { return false }
            compared &+= 1
        }
        return compared == other.byteCount
    }

    /// Whether the string is exactly `literal`, its escapes resolved.
    @inlinable public func equals(_ literal: StaticString, in source: RawSpan) -> Bool {
        equals(literal.utf8Span, in: source)
    }

    /// Whether one of the words of the string, which spaces part, is exactly `word`, its escapes resolved.
    public func hasWord(_ word: RawSpan, in source: RawSpan) -> Bool {
        let raw = source[range]
        var cursor = EscapeCursor()
        var compared = 0
        var isSame = true
        while let byte = cursor.next(in: raw) {
            if byte == UInt8(ascii: " ") {
                if isSame, compared == word.byteCount, compared > 0 { return true }
                compared = 0
                isSame = true
            } else {
                isSame = isSame && compared < word.byteCount && word[compared] == byte
                compared &+= 1
            }
        }
        return isSame && compared == word.byteCount && compared > 0
    }

    /// Whether both strings of `source` are the same, their escapes resolved.
    func equals(_ other: JSONText, in source: RawSpan) -> Bool {
        guard other.isEscaped else { return equals(source[other.range], in: source) }
        let left = source[range]
        let right = source[other.range]
        var leftCursor = EscapeCursor()
        var rightCursor = EscapeCursor()
        while true {
            let byte = leftCursor.next(in: left)
            guard byte == rightCursor.next(in: right) else { return false }
            if byte == nil { return true }
        }
    }

    /// Writes the string with its escapes resolved to `offset` of `target`; returns how many bytes it is, or `nil`
    /// when they do not fit before `limit`. `target` must not hold `source`.
    public func resolve(
        in source: RawSpan, into target: inout FixedBytes, at offset: Int, limit: Int
    ) -> Int? {
        precondition(offset >= 0 && offset <= limit && limit <= target.count)
        let raw = source[range]
        guard isEscaped else {
            guard raw.byteCount <= limit &- offset else { return nil }
            target.copy(raw, to: offset)
            return raw.byteCount
        }
        var cursor = EscapeCursor()
        var end = offset
        while let byte = cursor.next(in: raw) {
            guard end < limit else { return nil }
            target[end] = byte
            end &+= 1
        }
        return end &- offset
    }
}

/// A number, as a range of the text that was read.
@frozen public struct JSONNumber: Equatable, Sendable {
    public let range: ByteRange

    @inlinable init(range: ByteRange) { self.range = range }
}

/// What a reader comes by, in the order of the text.
@frozen public enum JSONToken: Equatable, Sendable {
    case objectStart
    case objectEnd
    case arrayStart
    case arrayEnd
    /// The name of a member; its value follows.
    case name(JSONText)
    case string(JSONText)
    case number(JSONNumber)
    case bool(Bool)
    case null
    /// The one value is complete and only white space was behind it.
    case end
}
