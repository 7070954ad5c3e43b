public import Memory

// Constants, never computed: each is four literal words, in the order of `ByteSet(bits:)`.
extension ByteSet {
    /// `tchar` (RFC 9110 §5.6.2).
    @inlinable public static var token: ByteSet {
        ByteSet(bits: 0x03ff_6cfa_0000_0000, 0x57ff_ffff_c7ff_fffe, 0, 0)
    }

    /// `field-vchar`, space and tab: what may stand in a field value (RFC 9110 §5.5).
    @inlinable public static var fieldText: ByteSet {
        ByteSet(
            bits: 0xffff_ffff_0000_0200, 0x7fff_ffff_ffff_ffff, 0xffff_ffff_ffff_ffff, 0xffff_ffff_ffff_ffff)
    }

    /// What may stand in a request target: the visible ASCII bytes but `#`. Wider than RFC 3986, since browsers send
    /// `|`, `[` and `{` as they are; whatever could end the target or hide from a log is left out.
    @inlinable public static var target: ByteSet {
        ByteSet(bits: 0xffff_fff6_0000_0000, 0x7fff_ffff_ffff_ffff, 0, 0)
    }

    /// `unreserved` (RFC 3986 §2.3). Also the bytes of a host name: narrower than `reg-name`, whose percent-encodings,
    /// commas and parentheses no DNS name has, and which two parsers read in two ways.
    @inlinable public static var unreserved: ByteSet {
        ByteSet(bits: 0x03ff_6000_0000_0000, 0x47ff_fffe_87ff_fffe, 0, 0)
    }

    /// The bytes of an IPv6 address in text.
    @inlinable public static var ipv6Text: ByteSet {
        ByteSet(bits: 0x07ff_4000_0000_0000, 0x0000_007e_0000_007e, 0, 0)
    }
}

/// Eight bytes at a time. A mask has the high bit of each byte that is hit; its lowest set bit is exact, higher ones
/// may be spurious unless said otherwise (the machine is little-endian: lowest is first).
@frozen public enum ByteWord {
    @inlinable public static var ones: UInt64 { 0x0101_0101_0101_0101 }
    @inlinable public static var highs: UInt64 { 0x8080_8080_8080_8080 }

    /// Every byte is `byte`.
    @inlinable @inline(__always) public static func all(_ byte: UInt8) -> UInt64 { UInt64(byte) &* ones }

    /// Bytes equal to `byte`.
    @inlinable @inline(__always) public static func equal(_ word: UInt64, _ byte: UInt8) -> UInt64 {
        let difference = word ^ all(byte)
        return (difference &- ones) & ~difference & highs
    }

    /// Bytes equal to `byte`, which is below 0x80; exact in every byte.
    @inlinable @inline(__always) public static func exactly(_ word: UInt64, _ byte: UInt8) -> UInt64 {
        let low = word & ~highs
        return ~((low ^ all(byte)) &+ all(0x7f)) & ~word & highs
    }

    /// Bytes below `bound`, which is at most 0x80.
    @inlinable @inline(__always) public static func below(_ word: UInt64, _ bound: UInt8) -> UInt64 {
        (word &- all(bound)) & ~word & highs
    }

    /// Bytes that are not a letter, a digit or `-`; exact in every byte.
    @inlinable @inline(__always) public static func notNameByte(_ word: UInt64) -> UInt64 {
        let low = word & ~highs
        // Setting bit 5 makes lower case of upper case, and no letter of anything else.
        let folded = low | all(0x20)
        let letters = (folded &+ all(0x80 - 0x61)) & ~(folded &+ all(0x80 - 0x7b))
        let digits = (low &+ all(0x80 - 0x30)) & ~(low &+ all(0x80 - 0x3a))
        let hyphens = ~((low ^ all(0x2d)) &+ all(0x7f))
        return ~((letters | digits | hyphens) & ~word) & highs
    }

    /// The offset of the first hit of a mask that is not zero.
    @inlinable @inline(__always) public static func firstHit(_ mask: UInt64) -> Int {
        mask.trailingZeroBitCount &>> 3
    }
}

extension RawSpan {
    /// The first offset at or past `from` whose byte is not a `tchar`; `byteCount` when all are.
    @inlinable @inline(__always) public func endOfToken(from: Int) -> Int {
        var offset = from
        while let place = notName(in16: offset) {
            offset &+= place
            if place < 16 {
                // Most names hold letters, digits and hyphens only, and a colon ends them; the other token bytes are looked up
                // one by one.
                guard self[offset] != 0x3a, ByteSet.token.contains(self[offset]) else { return offset }
                offset &+= 1
            }
        }
        while let value = word(ifAt: offset) {
            let others = ByteWord.notNameByte(value)
            if others != 0 {
                offset &+= ByteWord.firstHit(others)
                guard ByteSet.token.contains(self[offset]) else { return offset }
                offset &+= 1
            } else {
                offset &+= 8
            }
        }
        return firstIndex(notIn: .token, from: offset)
    }

    /// The first offset at or past `from` whose byte may not stand in a field value (a control byte other than tab);
    /// `byteCount` when all may.
    @inlinable @inline(__always) public func endOfFieldText(from: Int) -> Int {
        var offset = from
        // Behind 32 bytes it is a token or a cookie, and goes on for long.
        let far = from &+ 32
        while let place = control(in16: offset) {
            offset &+= place
            if place < 16 { return offset }
            if offset >= far { return firstControl(from: offset) }
        }
        while let value = word(ifAt: offset) {
            let hits = ByteWord.below(value, 0x20) | ByteWord.equal(value, 0x7f)
            if hits != 0 {
                offset &+= ByteWord.firstHit(hits)
                guard self[offset] == 0x09 else { return offset }
                offset &+= 1
            } else {
                offset &+= 8
            }
        }
        return firstIndex(notIn: .fieldText, from: offset)
    }

    /// The first offset at or past `from` whose byte is none of a host name (letters, digits and `-._~`).
    @inlinable public func endOfHostName(from: Int) -> Int {
        var offset = from
        while let value = word(ifAt: offset) {
            let others = ByteWord.notNameByte(value) & ~ByteWord.exactly(value, 0x2e)
            if others == 0 {
                offset &+= 8
            } else {
                offset &+= ByteWord.firstHit(others)
                guard ByteSet.unreserved.contains(self[offset]) else { return offset }
                offset &+= 1
            }
        }
        return firstIndex(notIn: .unreserved, from: offset)
    }

    /// The first offset at or past `from` whose byte may not stand in a request target, or is `stop`.
    @inlinable @inline(__always) public func endOfTarget(from: Int, stop: UInt8) -> Int {
        var offset = from
        while let place = notTarget(in16: offset, stop: stop) {
            offset &+= place
            if place < 16 { return offset }
        }
        while let value = word(ifAt: offset) {
            let hits =
                ByteWord.below(value, 0x21) | ByteWord.equal(value, 0x7f) | ByteWord.equal(value, 0x23)
                | ByteWord.equal(value, stop) | (value & ByteWord.highs)
            // The lowest hit may be spurious for no mask of these: each is exact up to its own first hit.
            if hits != 0 { return offset &+ ByteWord.firstHit(hits) }
            offset &+= 8
        }
        while offset < byteCount, ByteSet.target.contains(self[offset]), self[offset] != stop { offset &+= 1 }
        return offset
    }
}
