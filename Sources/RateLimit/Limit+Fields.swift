public import Memory

// The fields of draft-ietf-httpapi-ratelimit-headers: `RateLimit-Policy: "client";q=100;w=1` says what the limit is,
// `RateLimit: "client";r=0;t=1` how much of it is left and in how many seconds it is whole again. A name is
// [a-z0-9-]+ by the configuration, so that it needs no escapes in its quotes (RFC 9651 §3.3.3).

/// The bytes that a value may need besides the name.
private let fieldOverhead = 64

extension Limit {
    /// Appends the value of `RateLimit-Policy`; `false`, with nothing appended, when there is no room.
    public func appendPolicy(name: RawSpan, to block: inout Block) -> Bool {
        guard block.freeCount >= name.byteCount + fieldOverhead else { return false }
        block.append("\"")
        block.append(name)
        block.append("\";q=")
        block.append(number: quota)
        block.append(";w=")
        return block.append(number: windowSeconds)
    }

    /// The same, to the end of a queue.
    public func appendPolicy(
        name: RawSpan, to queue: inout ByteQueue, from pool: borrowing BlockPool
    ) -> Bool {
        guard hasRoom(for: name, in: queue, pool) else { return false }
        return queue.append("\"", from: pool) && queue.append(name, from: pool)
            && queue.append("\";q=", from: pool) && queue.append(number: quota, from: pool)
            && queue.append(";w=", from: pool) && queue.append(number: windowSeconds, from: pool)
    }
}

extension LimitAnswer {
    /// Appends the value of `RateLimit`; `false`, with nothing appended, when there is no room.
    public func appendState(name: RawSpan, to block: inout Block) -> Bool {
        guard block.freeCount >= name.byteCount + fieldOverhead else { return false }
        block.append("\"")
        block.append(name)
        block.append("\";r=")
        block.append(number: remaining)
        block.append(";t=")
        return block.append(number: resetSeconds)
    }

    /// The same, to the end of a queue.
    public func appendState(
        name: RawSpan, to queue: inout ByteQueue, from pool: borrowing BlockPool
    ) -> Bool {
        guard hasRoom(for: name, in: queue, pool) else { return false }
        return queue.append("\"", from: pool) && queue.append(name, from: pool)
            && queue.append("\";r=", from: pool) && queue.append(number: remaining, from: pool)
            && queue.append(";t=", from: pool) && queue.append(number: resetSeconds, from: pool)
    }

    /// Appends the value of `Retry-After`; `false`, with nothing appended, when there is no room.
    public func appendRetryAfter(to block: inout Block) -> Bool {
        block.append(number: retryAfterSeconds)
    }

    /// The same, to the end of a queue.
    public func appendRetryAfter(to queue: inout ByteQueue, from pool: borrowing BlockPool) -> Bool {
        queue.append(number: retryAfterSeconds, from: pool)
    }
}

private func hasRoom(for name: RawSpan, in queue: borrowing ByteQueue, _ pool: borrowing BlockPool) -> Bool {
    let needed = name.byteCount + fieldOverhead
    return queue.tailRoom >= needed || pool.canTake(needed / pool.blockCapacity + 1)
}
