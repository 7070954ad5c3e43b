import HTTP
import HTTP1
import Memory

/// Finds the end of one message's body in what a connection of HTTP/1 brings, and moves the body on.
struct BodyReader {
    enum Step: Equatable {
        /// All input is used; more is to come.
        case needsMore
        /// As many bytes as the call allowed.
        case limitReached
        case ended
        /// The framing is broken.
        case refused
        case outOfBlocks
    }

    private(set) var framing: BodyFraming
    private var remaining = 0
    private var decoder = ChunkedDecoder()
    private(set) var isEnded: Bool
    /// Once the framing is broken no byte behind means anything: read on, a decoder that stopped in the middle could take
    /// some of them for the end of the body.
    private var isBroken = false
    /// Body bytes that have come, without their framing.
    private(set) var byteCount = 0

    /// A stream of HTTP/2 says its end itself: behind a length of zero trailers may still come (RFC 9113 §8.1).
    init(_ framing: BodyFraming, isOfStream: Bool = false) {
        self.framing = framing
        switch framing {
        case .none: isEnded = true
        case .length(let length):
            remaining = length
            isEnded = length == 0 && !isOfStream
        case .chunked, .stream, .close: isEnded = false
        }
    }

    /// Bytes that are still to come, if the head told.
    var remainingLength: Int? {
        if case .length = framing { return remaining }
        return framing == .none ? 0 : nil
    }

    /// Whether the body is longer than `limit`, or has said so: a chunk is judged by its size line, not when the bytes
    /// have come and have been passed on.
    func isLonger(than limit: Int) -> Bool {
        byteCount > limit || framing == .chunked && decoder.announcedByteCount > limit &- byteCount
    }

    /// The source has ended: a body that ends with its connection is complete (RFC 9112 §6.3), any other is cut.
    mutating func sourceEnded() -> Bool {
        if framing == .close { isEnded = true }
        return isEnded
    }

    /// Bytes that another codec has found: of a stream of HTTP/2.
    mutating func took(_ count: Int, isLast: Bool) {
        byteCount &+= count
        if isLast { isEnded = true }
    }

    mutating func move(
        from input: inout ByteQueue, to output: inout ByteQueue, trailers: inout ByteQueue,
        pool: borrowing BlockPool, limit: Int
    ) -> Step {
        guard !isEnded else { return .ended }
        guard !isBroken else { return .refused }
        let before = output.byteCount
        defer { byteCount &+= output.byteCount &- before }
        switch framing {
        case .none: return .ended
        case .length:
            let count = min(remaining, limit, input.byteCount)
            let held = input.byteCount
            let isMoved = output.append(first: count, of: &input, from: pool)
            remaining &-= held &- input.byteCount
            guard isMoved else { return .outOfBlocks }
            isEnded = remaining == 0
            if isEnded { return .ended }
            return count == limit ? .limitReached : .needsMore
        case .close, .stream:
            let count = min(limit, input.byteCount)
            guard output.append(first: count, of: &input, from: pool) else { return .outOfBlocks }
            return count == limit ? .limitReached : .needsMore
        case .chunked:
            switch decoder.decode(&input, into: &output, trailers: &trailers, pool: pool, limit: limit) {
            case .needsMore: return .needsMore
            case .limitReached: return .limitReached
            case .ended:
                isEnded = true
                return .ended
            case .refused:
                isBroken = true
                return .refused
            case .outOfBlocks: return .outOfBlocks
            }
        }
    }
}
