public import Memory

/// What field names mean to a gateway.
public enum FieldNames {
    /// The meaning of `name`, whose case does not matter. `name` must be a token: it has been checked by whoever parsed
    /// it, and bytes that are none could be taken for others here.
    @inlinable public static func classify(_ name: RawSpan) -> KnownField {
        let count = name.byteCount
        // No known name is shorter than 2 or longer than 19 bytes.
        guard count >= 2, count <= 19 else { return .other }
        if count < 8 {
            var word: UInt64 = 0
            var offset = count
            while offset > 0 {
                offset &-= 1
                word = word &<< 8 | UInt64(name[offset])
            }
            return classifyShort(word, count: count)
        }
        return classifyLong(name, first: name.word(at: 0))
    }

    /// The meaning of the name that is `range` of `bytes`, as above; reads past the name when bytes are there.
    @inlinable @inline(__always) public static func classify(_ range: ByteRange, of bytes: RawSpan)
        -> KnownField
    {
        let count = Int(range.count)
        guard range.lowerBound <= bytes.byteCount &- 8 else { return classify(bytes[range]) }
        guard count >= 2, count <= 19 else { return .other }
        let word = bytes.word(at: range.lowerBound)
        if count < 8 {
            return classifyShort(word & ~(UInt64.max &<< UInt64(count &* 8)), count: count)
        }
        // Most names begin like none that is known and as long, and are told by that.
        guard longInitials &>> (word & 31) & 1 == 1 else { return .other }
        return classifyLong(bytes[range], first: word)
    }

    /// The initials of the known names of 8 bytes and more, by their lowest five bits, which are the same in either case:
    /// a, c, f, h, k, p, t and x.
    @inlinable @inline(__always) static var longInitials: UInt64 {
        1 &<< 1 | 1 &<< 3 | 1 &<< 6 | 1 &<< 8 | 1 &<< 11 | 1 &<< 16 | 1 &<< 20 | 1 &<< 24
    }

    /// Whether `name` is `known` when case is ignored and `_` counts as `-`: what a service behind CGI or WSGI variables
    /// would take for the same field.
    @inlinable public static func equalsIgnoringCaseAndUnderscore(_ name: RawSpan, known: RawSpan) -> Bool {
        guard name.byteCount == known.byteCount else { return false }
        var offset = 0
        while offset < name.byteCount {
            if folded(name[offset]) != folded(known[offset]) { return false }
            offset &+= 1
        }
        return true
    }

    @inlinable @inline(__always) static func folded(_ byte: UInt8) -> UInt8 {
        byte == 0x5f ? 0x2d : byte.lowercased
    }

    /// Bit 5 of every byte: set, it makes lower case of upper case and leaves digits and `-` as they are.
    @inlinable static var caseBits: UInt64 { 0x2020_2020_2020_2020 }
}
