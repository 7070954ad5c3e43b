public import Memory

/// What an event or a timer is about: a kind, which the handler gives meaning, and a name in one of its slabs.
/// One word, so that it travels through the kernel.
@frozen public struct Token: Equatable, Sendable {
    public let word: UInt64

    @inlinable public init(word: UInt64) { self.word = word }

    /// `kind` from 0 to 254; 255 is the loop's own.
    @inlinable public init(kind: UInt8, id: SlabID) {
        word = UInt64(kind) &<< 56 | UInt64(id.generation & 0xFF_FFFF) &<< 32 | UInt64(id.index)
    }

    @inlinable public var kind: UInt8 { UInt8(truncatingIfNeeded: word &>> 56) }

    @inlinable public var id: SlabID {
        SlabID(
            index: UInt32(truncatingIfNeeded: word),
            generation: UInt32(truncatingIfNeeded: word &>> 32) & 0xFF_FFFF)
    }

    @inlinable static var wakeUp: Token { Token(kind: 255, id: .none) }
}
