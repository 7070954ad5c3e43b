// Public, so that what is inlined elsewhere may call it; its functions get no pointer but those that are checked here.
public import CVector

/// Looks at sixteen bytes at once. Each answers an offset from the first of them, 16 when none is found, and `nil` when not all
/// sixteen lie inside: so that its answer is the whole condition of a loop.
extension RawSpan {
    /// The first that is a control byte other than tab.
    @inlinable @inline(__always) public func control(in16 offset: Int) -> Int? {
        guard holds16(offset) else { return nil }
        return unsafe Int(cvector_control_in_16(place(offset)))
    }

    /// The first that is no letter, no digit and not `-`.
    @inlinable @inline(__always) public func notName(in16 offset: Int) -> Int? {
        guard holds16(offset) else { return nil }
        return unsafe Int(cvector_not_name_in_16(place(offset)))
    }

    /// The first that is not visible ASCII, or is `#` or `stop`.
    @inlinable @inline(__always) public func notTarget(in16 offset: Int, stop: UInt8) -> Int? {
        guard holds16(offset) else { return nil }
        return unsafe Int(cvector_not_target_in_16(place(offset), stop))
    }

    /// The first at which a path is no longer surely in normal form: a byte that may not stand in one, `?`, `%`, `\`, or a `/` or `.`
    /// behind a `/`. One byte must stand before the sixteen.
    @inlinable @inline(__always) public func notPlainPath(in16 offset: Int) -> Int? {
        guard offset > 0, holds16(offset) else { return nil }
        return unsafe Int(cvector_not_plain_in_16(place(offset)))
    }

    /// The first that is none of a host name: no letter, no digit and none of `-._~`.
    @inlinable @inline(__always) public func notHostName(in16 offset: Int) -> Int? {
        guard holds16(offset) else { return nil }
        return unsafe Int(cvector_not_host_in_16(place(offset)))
    }

    /// Where the bytes from `offset` on are, of which there are some: so that there is an address of them.
    @inlinable @inline(__always) @unsafe func place(_ offset: Int) -> UnsafeRawPointer {
        unsafe withUnsafeBytes { unsafe $0.baseAddress.unsafelyUnwrapped + offset }
    }

    @inlinable @inline(__always) func holds16(_ offset: Int) -> Bool {
        offset >= 0 && offset <= byteCount &- 16
    }
}
