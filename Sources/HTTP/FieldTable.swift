public import Memory

/// A field whose meaning the gateway acts on. Told apart once, when the head is parsed.
@frozen public enum KnownField: UInt8, Sendable {
    case other
    case authorization, connection, contentLength, cookie, date, expect, forwarded, host, http2Settings,
        keepAlive
    case proxyAuthenticate, proxyAuthorization, proxyConnection, server, te, trailer, transferEncoding,
        upgrade
    case via, xForwardedFor, xForwardedHost, xForwardedProto

    /// Its place in a set of meanings.
    @inlinable @inline(__always) var bit: UInt32 { 1 &<< UInt32(rawValue) }
}

/// One field line of a head, as offsets into the bytes of that head.
@frozen public struct FieldLine: Sendable {
    public var name: ByteRange
    /// Without the whitespace around it (RFC 9110 §5.5).
    public var value: ByteRange
    public var known: KnownField
    /// Set by whoever decides that the line is not forwarded.
    public var isDropped = false

    @inlinable public init(name: ByteRange, value: ByteRange, known: KnownField) {
        self.name = name
        self.value = value
        self.known = known
    }

    @inlinable public init() { self.init(name: .empty, value: .empty, known: .other) }
}

/// The field lines of one head, in order. Made once with room for a fixed number and used again for each head.
@frozen public struct FieldTable: ~Copyable {
    @usableFromInline var lines: FixedArray<FieldLine>
    @usableFromInline var used = 0
    /// Which meanings its lines have, dropped ones too, as bits; not that of `other`.
    @usableFromInline var kinds: UInt32 = 0

    /// Room for `capacity` lines; one more is refused.
    @inlinable public init(capacity: Int) { lines = FixedArray(count: capacity) { _ in FieldLine() } }

    @inlinable public var count: Int { used }
    @inlinable public var capacity: Int { lines.count }

    @inlinable public mutating func removeAll() {
        used = 0
        kinds = 0
    }

    /// Whether there may be a line of a meaning in `kinds`, without a walk.
    @inlinable @inline(__always) func mayHold(_ kinds: UInt32) -> Bool { self.kinds & kinds != 0 }

    /// `false` when the table is full.
    @inlinable public mutating func append(_ line: FieldLine) -> Bool {
        guard used < lines.count else { return false }
        lines[used] = line
        used &+= 1
        if line.known != .other { kinds |= line.known.bit }
        return true
    }

    @inlinable public subscript(_ index: Int) -> FieldLine {
        get {
            precondition(index < used)
            return lines[index]
        }
        set {
            precondition(index < used)
            lines[index] = newValue
            kinds |= newValue.known.bit
        }
    }

    @inlinable public mutating func drop(_ index: Int) {
        precondition(index < used)
        lines[index].isDropped = true
    }

    /// The index of the first line of that meaning that is not dropped, `nil` when there is none.
    @inlinable public func firstIndex(of known: KnownField) -> Int? {
        guard known == .other || mayHold(known.bit) else { return nil }
        for index in 0..<used where lines[index].known == known && !lines[index].isDropped { return index }
        return nil
    }
}

extension FieldTable {
    /// The value of the first Content-Type (RFC 9110 §8.3), `nil` without one.
    public borrowing func contentType(in bytes: RawSpan) -> ByteRange? {
        for index in 0..<count where self[index].name.count == 12 {
            if bytes[self[index].name].equalsIgnoringCase("content-type") { return self[index].value }
        }
        return nil
    }

    /// Whether the first Content-Type begins so; what follows may be a suffix, a parameter, or a longer name.
    public borrowing func hasContentType(_ prefix: StaticString, in bytes: RawSpan) -> Bool {
        let count = prefix.utf8CodeUnitCount
        guard let value = contentType(in: bytes), Int(value.count) >= count else { return false }
        return bytes[value].extracting(0..<count).equalsIgnoringCase(prefix)
    }
}
