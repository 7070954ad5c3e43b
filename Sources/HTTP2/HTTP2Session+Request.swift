internal import CNghttp2
public import HTTP
public import Memory

// What the caller does with a stream on the side of the request.
extension HTTP2Session {
    /// Ties a value of the caller to the stream; 0 until then.
    public mutating func setToken(_ stream: StreamID, _ token: UInt64) {
        unsafe SessionState.stream(stream, in: state).pointee.token = token
    }

    public func token(_ stream: StreamID) -> UInt64 {
        unsafe SessionState.stream(stream, in: state).pointee.token
    }

    /// The stream identifier of RFC 9113, for logs.
    public func number(_ stream: StreamID) -> Int32 {
        unsafe SessionState.stream(stream, in: state).pointee.number
    }

    /// Whether `stream` names a stream that was not released.
    public func contains(_ stream: StreamID) -> Bool { unsafe SessionState.find(stream, in: state) != nil }

    /// Fills `head` from what arrived: ranges into `headBytes(stream)`. An error is to be answered with the status that
    /// belongs to it; what `head` holds by then (method and path, for a log) is true as far as it goes.
    ///
    /// RFC 9113 §8.2 and §8.3, beyond what nghttp2 has checked: forms of :path and :scheme, :authority against Host, no
    /// userinfo, no CONNECT but for a WebSocket, fields of a connection, Expect, sizes. Cookie crumbs are one line.
    public func readHead(_ stream: StreamID, into head: inout RequestHead) -> RequestHeadError? {
        let found = unsafe SessionState.stream(stream, in: state)
        let limits = unsafe state.pointee.headLimits
        return unsafe HeadReading.read(found, limits: limits, into: &head)
    }

    /// The bytes into which the ranges of `readHead` point; empty after `releaseHead`.
    @_lifetime(borrow self) public func headBytes(_ stream: StreamID) -> RawSpan {
        let found = unsafe SessionState.stream(stream, in: state)
        guard let base = unsafe found.pointee.head.base else { return RawSpan() }
        let span = unsafe RawSpan(
            _unsafeStart: UnsafeRawPointer(base), byteCount: found.pointee.head.byteCount)
        return unsafe _overrideLifetime(span, borrowing: self)
    }

    /// Gives the bytes of the head back; for streams that live long after it was forwarded.
    public mutating func releaseHead(_ stream: StreamID) {
        let found = unsafe SessionState.stream(stream, in: state)
        unsafe found.pointee.head.free(in: state.pointee.workspace)
        unsafe found.pointee.joinedCookie = .empty
        unsafe found.pointee.cookieCount = 0
    }

    /// Fills `fields` from the trailers: ranges into `trailerBytes(stream)`.
    public func readTrailers(_ stream: StreamID, into fields: inout FieldTable) -> RequestHeadError? {
        let found = unsafe SessionState.stream(stream, in: state)
        return unsafe HeadReading.readTrailers(found, into: &fields)
    }

    /// The bytes into which the ranges of `readTrailers` point.
    @_lifetime(borrow self) public func trailerBytes(_ stream: StreamID) -> RawSpan {
        let found = unsafe SessionState.stream(stream, in: state)
        guard let base = unsafe found.pointee.trailers.base else { return RawSpan() }
        let span = unsafe RawSpan(
            _unsafeStart: UnsafeRawPointer(base), byteCount: found.pointee.trailers.byteCount)
        return unsafe _overrideLifetime(span, borrowing: self)
    }

    /// Bytes of the request body that wait to be taken; at most the stream's window.
    public func bodyCount(_ stream: StreamID) -> Int {
        unsafe SessionState.stream(stream, in: state).pointee.inbound.byteCount
    }

    /// Whether the request has arrived to its end (what waits to be taken included). Never where bytes of it found no block:
    /// what is left of it must not pass for the whole.
    public func hasRequestEnded(_ stream: StreamID) -> Bool {
        let found = unsafe SessionState.stream(stream, in: state)
        return unsafe found.pointee.has(.inboundEnded) && !found.pointee.hasLostBytes
    }

    /// Moves at most `limit` bytes of the request body to the end of `queue`; answers how many. The peer gets their credit
    /// back only by `returnCredit`. Blocks are moved; `pool` is for a piece of one, and without a block for it fewer are
    /// taken.
    public mutating func takeBody(
        _ stream: StreamID, into queue: inout ByteQueue, limit: Int, pool: borrowing BlockPool
    ) -> Int {
        let found = unsafe SessionState.stream(stream, in: state)
        let before = unsafe found.pointee.inbound.byteCount
        if before <= limit {
            unsafe queue.append(contentsOf: &found.pointee.inbound)
        } else if limit > 0 {
            _ = unsafe queue.append(first: limit, of: &found.pointee.inbound, from: pool)
        }
        return unsafe before &- found.pointee.inbound.byteCount
    }

    /// Lets the peer send `byteCount` more bytes on the stream: those that were taken and have left the sink. More than
    /// was received is not given.
    public mutating func returnCredit(_ stream: StreamID, _ byteCount: Int) {
        let found = unsafe SessionState.stream(stream, in: state)
        let count = unsafe min(max(byteCount, 0), found.pointee.uncredited)
        guard count > 0 else { return }
        unsafe found.pointee.uncredited &-= count
        // A peer that has ended its request needs no credit.
        guard unsafe found.pointee.marks.isDisjoint(with: [.isClosed, .inboundEnded, .resetHere]) else {
            return
        }
        _ = unsafe nghttp2_session_consume_stream(state.pointee.handle, found.pointee.number, count)
    }

    /// Throws away what waits of the request body and what will come. For an answer before the request has ended: once
    /// that is written whole and the peer has sent `lingerBytes` more, RST_STREAM(NO_ERROR) follows by itself (RFC 9113
    /// §8.1).
    public mutating func discardBody(_ stream: StreamID) {
        let found = unsafe SessionState.stream(stream, in: state)
        unsafe SessionState.discardInbound(found, state.pointee.handle)
    }

    /// Sends RST_STREAM, unless the stream is closed or being reset. `closed` follows after `write`.
    public mutating func resetStream(_ stream: StreamID, errorCode: UInt32) {
        let found = unsafe SessionState.stream(stream, in: state)
        guard unsafe found.pointee.marks.isDisjoint(with: [.isClosed, .resetHere]) else { return }
        discardBody(stream)
        unsafe found.pointee.marks.formUnion([.resetHere, .responded])
        unsafe found.pointee.marks.subtract([.tellDrained, .wasFull])
        unsafe state.pointee.outboundTotal &-= found.pointee.outbound.byteCount
        unsafe found.pointee.outbound.removeAll()
        _ = unsafe nghttp2_submit_rst_stream(state.pointee.handle, 0, found.pointee.number, errorCode)
    }

    /// The connection is gone: what the stream still had to send is dropped, and so is whatever is appended from now on.
    public mutating func dropOutbound(_ stream: StreamID) {
        let found = unsafe SessionState.stream(stream, in: state)
        unsafe found.pointee.marks.insert(.outboundEnded)
        unsafe found.pointee.marks.subtract([.tellDrained, .wasFull])
        unsafe state.pointee.outboundTotal &-= found.pointee.outbound.byteCount
        unsafe found.pointee.outbound.removeAll()
    }

    /// Whether RST_STREAM came from the peer; without it a `reset` is ours, for a mistake of the peer or a failure here.
    public func isResetByPeer(_ stream: StreamID) -> Bool {
        unsafe SessionState.stream(stream, in: state).pointee.has(.resetByPeer)
    }

    /// Whether `closed` was told or waits to be.
    public func isClosed(_ stream: StreamID) -> Bool {
        unsafe SessionState.stream(stream, in: state).pointee.has(.isClosed)
    }

    /// Lets go of a stream that is closed; the name is stale from now on.
    public mutating func release(_ stream: StreamID) {
        let found = unsafe SessionState.stream(stream, in: state)
        unsafe precondition(found.pointee.has(.isClosed), "only a closed stream can be released")
        unsafe SessionState.unlist(found, in: state)
        unsafe state.pointee.knownStreams &-= 1
        unsafe SessionState.freeStream(found, in: state)
    }
}
