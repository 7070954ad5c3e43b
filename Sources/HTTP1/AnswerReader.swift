import HTTP
public import Memory

/// What an `AnswerReader` takes at most.
public struct AnswerLimits: Sendable {
    public let headBytes: Int
    public let fields: Int
    /// Heads of 1xx before the final one (RFC 9110 §15.2).
    public let interimHeads: Int
    public let bodyBytes: Int

    public init(headBytes: Int, fields: Int, interimHeads: Int, bodyBytes: Int) {
        self.headBytes = headBytes
        self.fields = fields
        self.interimHeads = interimHeads
        self.bodyBytes = bodyBytes
    }
}

/// Whether more bytes of an answer can come.
public enum AnswerInput: Equatable, Sendable {
    case open
    /// The peer said that it has ended.
    case ended
    /// The connection is no more, and nobody said why: whoever cuts it may have wanted to shorten the answer (RFC 9112 §9.8).
    case cut
}

/// Puts one whole answer to a GET together from its bytes, in whatever pieces they come. For answers that the gateway asks for
/// itself and keeps whole; those that it forwards are never whole in memory.
public struct AnswerReader: ~Copyable {
    public enum Failure: Error, Equatable, Sendable {
        /// Another final status than 200. Redirects are not followed.
        case status(Int)
        /// Not HTTP, or not framed so that its end is certain.
        case notHTTP
        case truncated
        case tooLarge
        case outOfBlocks
    }

    public enum Step: Equatable, Sendable {
        case more
        case done
        case failed(Failure)
    }

    private let limits: AnswerLimits
    private var head: ResponseHead
    private var hasHead = false
    private var interimHeads = 0
    private var scanned = 0
    /// Of a body whose length was said.
    private var remaining = 0
    private var decoder = ChunkedDecoder()
    private var trailers = ByteQueue()
    /// The body, as far as it has come, once the answer is done the whole of it. Copied out of the blocks, of which a sender that
    /// drips could otherwise fill one with each byte.
    public private(set) var body: [UInt8] = []
    /// Seconds, of `Cache-Control: max-age`; 0 where it must not be kept; `nil` where nothing is said.
    public private(set) var maxAgeSeconds: Int?

    public init(limits: AnswerLimits) {
        self.limits = limits
        head = ResponseHead(fieldCapacity: limits.fields)
    }

    /// Takes from `bytes` what belongs to the answer. A block of `pool` must hold a head. Not to be called again once it has said
    /// `done` or `failed`.
    public mutating func read(
        _ bytes: inout ByteQueue, _ input: AnswerInput, from pool: borrowing BlockPool
    ) -> Step {
        while !hasHead {
            switch readHead(&bytes, from: pool) {
            case .more: return input == .open ? .more : .failed(.truncated)
            case .interim: continue
            case .final: hasHead = true
            case .failed(let failure): return .failed(failure)
            }
        }
        return readBody(&bytes, input, from: pool)
    }

    private enum HeadStep { case more, interim, final, failed(Failure) }

    private mutating func readHead(_ bytes: inout ByteQueue, from pool: borrowing BlockPool) -> HeadStep {
        guard !bytes.isEmpty else { return .more }
        // What came before a head may have left it in two blocks.
        guard bytes.gatherFirst(in: pool) else { return .failed(.outOfBlocks) }
        let step = ResponseParser.parse(
            bytes.firstBytes,
            limits: HeadLimits(requestLine: limits.headBytes, head: limits.headBytes, fields: limits.fields),
            scanned: &scanned, into: &head, requestMethod: .get)
        switch step {
        case .incomplete: return .more
        case .refused(.headTooLarge), .refused(.tooManyFields): return .failed(.tooLarge)
        case .refused: return .failed(.notHTTP)
        case .complete(let count):
            scanned = 0
            if head.isInterim {
                interimHeads += 1
                bytes.consume(count)
                return interimHeads <= limits.interimHeads ? .interim : .failed(.notHTTP)
            }
            if let failure = judgeHead(bytes.firstBytes) { return .failed(failure) }
            bytes.consume(count)
            return .final
        }
    }

    private mutating func judgeHead(_ bytes: RawSpan) -> Failure? {
        guard head.status == 200 else { return .status(head.status) }
        maxAgeSeconds = CacheControl.maxAge(of: head.fields, in: bytes)
        switch head.framing {
        case .length(let length):
            guard length <= limits.bodyBytes else { return .tooLarge }
            remaining = length
        case .none, .chunked, .close: break
        case .stream: return .notHTTP
        }
        return nil
    }

    private mutating func readBody(
        _ bytes: inout ByteQueue, _ input: AnswerInput, from pool: borrowing BlockPool
    ) -> Step {
        switch head.framing {
        case .none: return .done
        case .length:
            let count = min(remaining, bytes.byteCount)
            keep(count, of: &bytes)
            remaining -= count
            if remaining == 0 { return .done }
        case .chunked:
            var decoded = ByteQueue()
            let step = decoder.decode(
                &bytes, into: &decoded, trailers: &trailers, pool: pool,
                limit: limits.bodyBytes + 1 - body.count)
            keep(decoded.byteCount, of: &decoded)
            switch step {
            case .ended: return body.count > limits.bodyBytes ? .failed(.tooLarge) : .done
            case .needsMore: break
            case .limitReached: return .failed(.tooLarge)
            case .refused: return .failed(.notHTTP)
            case .outOfBlocks: return .failed(.outOfBlocks)
            }
        case .close:
            keep(min(limits.bodyBytes + 1 - body.count, bytes.byteCount), of: &bytes)
            if input == .ended, body.count <= limits.bodyBytes { return .done }
        case .stream: return .failed(.notHTTP)
        }
        guard body.count <= limits.bodyBytes else { return .failed(.tooLarge) }
        return input == .open ? .more : .failed(.truncated)
    }

    private mutating func keep(_ count: Int, of bytes: inout ByteQueue) {
        var left = count
        while left > 0 {
            let piece = min(left, bytes.firstBytes.byteCount)
            body += bytes.firstBytes.extracting(0..<piece).array
            bytes.consume(piece)
            left -= piece
        }
    }
}
