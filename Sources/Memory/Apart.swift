/// Calls `body` with one stored property to change and another to look at.
///
/// Swift takes a look through an addressor (a slab's element, and what hangs on it) for a look at all of `self`, and so
/// refuses `a.change(b[i].bytes)`, though `a` and `b` lie apart. As arguments of one call they are told apart.
@discardableResult @inlinable @inline(__always)
public func apart<First: ~Copyable, Second: ~Copyable, Result: ~Copyable>(
    _ first: inout First, _ second: borrowing Second, _ body: (inout First, borrowing Second) -> Result
) -> Result { body(&first, second) }

/// The same with two to change.
@discardableResult @inlinable @inline(__always)
public func apart<First: ~Copyable, Second: ~Copyable, Result: ~Copyable>(
    _ first: inout First, _ second: inout Second, _ body: (inout First, inout Second) -> Result
) -> Result { body(&first, &second) }

/// The same with two to look at.
@discardableResult @inlinable @inline(__always)
public func apart<
    First: ~Copyable, Second: ~Copyable, Third: ~Copyable, Result: ~Copyable
>(
    _ first: inout First, _ second: borrowing Second, _ third: borrowing Third,
    _ body: (inout First, borrowing Second, borrowing Third) -> Result
) -> Result { body(&first, second, third) }
