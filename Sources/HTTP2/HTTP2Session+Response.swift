internal import CNghttp2
public import HTTP
public import Memory

// A head is built by `begin...`, any number of `addField`, and one `submit...`. The scratch for it is the workspace's,
// so nothing else may begin between; all is copied at `submit...`, which is when nghttp2 lower-cases the names.
extension HTTP2Session {
    /// Begins a response head, interim or final; `status` is from 100 to 999.
    public mutating func beginResponse(status: Int) {
        precondition(status >= 100 && status <= 999)
        let workspace = unsafe state.pointee.workspace
        unsafe workspace.pointee.scratch.removeAll()
        unsafe workspace.pointee.status = status
        unsafe state.pointee.responseCount &+= 1
    }

    /// Begins a trailer section.
    public mutating func beginTrailers() {
        unsafe state.pointee.workspace.pointee.scratch.removeAll()
    }

    /// Adds one field line after those of the table that `submit...` is given. `isIndexed` false keeps it out of the
    /// peer's HPACK table: for what is secret (RFC 7541 §7.1.3) and what never repeats.
    public mutating func addField(_ name: RawSpan, _ value: RawSpan, isIndexed: Bool = true) {
        let workspace = unsafe state.pointee.workspace
        unsafe name.withUnsafeBytes { name in
            unsafe value.withUnsafeBytes { value in
                unsafe workspace.pointee.scratch.append(
                    name: name.baseAddress, name.count, value: value.baseAddress, value.count,
                    isSensitive: !isIndexed, in: workspace)
            }
        }
    }

    public mutating func addField(_ name: StaticString, _ value: RawSpan, isIndexed: Bool = true) {
        addField(name.utf8Span, value, isIndexed: isIndexed)
    }

    public mutating func addField(_ name: StaticString, _ value: StaticString, isIndexed: Bool = true) {
        addField(name.utf8Span, value.utf8Span, isIndexed: isIndexed)
    }

    /// Adds a field whose value is another in each response: a request id.
    ///
    /// In the peer's table its value would only push out what repeats. But a name that is not in the table is coded anew each
    /// time, so one response in 64 is let in for its name. None of the first few, or a connection with no more would pay for it.
    public mutating func addUniqueField(_ name: RawSpan, _ value: RawSpan) {
        addField(name, value, isIndexed: unsafe state.pointee.responseCount & 63 == 4)
    }

    public mutating func addUniqueField(_ name: StaticString, _ value: RawSpan) {
        addUniqueField(name.utf8Span, value)
    }

    /// Sends the final response head: the status, the lines of `fields` (into `bytes`) that are not dropped, then the
    /// lines added. Fields that are about one connection are left out (RFC 9113 §8.2.2). `false` when the stream is closed
    /// or was answered.
    @discardableResult public mutating func submitResponse(
        _ stream: StreamID, fields: borrowing FieldTable, bytes: RawSpan, endsStream: Bool
    ) -> Bool {
        let found = unsafe SessionState.stream(stream, in: state)
        guard unsafe found.pointee.marks.isDisjoint(with: [.isClosed, .responded]) else { return false }
        unsafe found.pointee.marks.insert(.responded)
        if endsStream { unsafe found.pointee.marks.insert(.outboundEnded) }
        let handle = unsafe state.pointee.handle
        let workspace = unsafe state.pointee.workspace
        return unsafe withPairs(workspace, fields, bytes, leading: 0, isResponse: true) { pairs, count in
            if endsStream {
                return unsafe nghttp2_submit_response(handle, found.pointee.number, pairs, count, nil) == 0
            }
            var source = unsafe nghttp2_data_source()
            unsafe source.ptr = UnsafeMutableRawPointer(found)
            var provider = unsafe nghttp2_data_provider(source: source, read_callback: onReadData)
            return unsafe nghttp2_submit_response(handle, found.pointee.number, pairs, count, &provider) == 0
        }
    }

    /// The same with nothing but the lines added.
    @discardableResult public mutating func submitResponse(_ stream: StreamID, endsStream: Bool) -> Bool {
        let workspace = unsafe state.pointee.workspace
        return unsafe submitResponse(
            stream, fields: workspace.pointee.noFields, bytes: RawSpan(), endsStream: endsStream)
    }

    /// Sends an interim response head (1xx but 101, RFC 9110 §15.2); any number may come before the final one.
    @discardableResult public mutating func submitInterim(
        _ stream: StreamID, fields: borrowing FieldTable, bytes: RawSpan
    ) -> Bool {
        let found = unsafe SessionState.stream(stream, in: state)
        guard unsafe found.pointee.marks.isDisjoint(with: [.isClosed, .responded]) else { return false }
        let handle = unsafe state.pointee.handle
        let workspace = unsafe state.pointee.workspace
        return unsafe withPairs(workspace, fields, bytes, leading: 0, isResponse: true) { pairs, count in
            unsafe nghttp2_submit_headers(handle, 0, found.pointee.number, nil, pairs, count, nil) == 0
        }
    }

    /// An interim response of only what was added; 100 Continue.
    @discardableResult public mutating func submitInterim(_ stream: StreamID) -> Bool {
        let workspace = unsafe state.pointee.workspace
        return unsafe submitInterim(stream, fields: workspace.pointee.noFields, bytes: RawSpan())
    }

    /// Ends the response with trailers, after the body that was appended. Without any line it is `endBody`.
    @discardableResult public mutating func submitTrailers(
        _ stream: StreamID, fields: borrowing FieldTable, bytes: RawSpan
    ) -> Bool {
        let found = unsafe SessionState.stream(stream, in: state)
        guard unsafe canSend(found) else { return false }
        let workspace = unsafe state.pointee.workspace
        unsafe keepTrailers(found, workspace, fields, bytes)
        if unsafe found.pointee.outTrailers.count > 0 { unsafe found.pointee.marks.insert(.hasOutTrailers) }
        unsafe found.pointee.marks.insert(.outboundEnded)
        unsafe resume(found)
        return true
    }

    /// Moves all of `queue` behind what the stream still has to send. `false`, with `queue` emptied, when the stream can
    /// take no more: closed, reset, or ended.
    @discardableResult public mutating func appendBody(_ stream: StreamID, from queue: inout ByteQueue)
        -> Bool
    {
        let found = unsafe SessionState.stream(stream, in: state)
        guard unsafe canSend(found) else {
            queue.removeAll()
            return false
        }
        guard !queue.isEmpty else { return true }
        let wasEmpty = unsafe found.pointee.outbound.isEmpty
        unsafe state.pointee.outboundTotal &+= queue.byteCount
        unsafe found.pointee.outbound.append(contentsOf: &queue)
        unsafe noteAppended(found, wasEmpty: wasEmpty)
        return true
    }

    /// Copies `bytes` behind what the stream still has to send; `false` also when the pool has no block for them.
    @discardableResult public mutating func appendBody(
        _ stream: StreamID, _ bytes: RawSpan, pool: borrowing BlockPool
    ) -> Bool {
        let found = unsafe SessionState.stream(stream, in: state)
        guard unsafe canSend(found) else { return false }
        let wasEmpty = unsafe found.pointee.outbound.isEmpty
        guard unsafe found.pointee.outbound.append(bytes, from: pool) else { return false }
        unsafe state.pointee.outboundTotal &+= bytes.byteCount
        unsafe noteAppended(found, wasEmpty: wasEmpty)
        return true
    }

    /// The response ends with what was appended.
    public mutating func endBody(_ stream: StreamID) {
        let found = unsafe SessionState.stream(stream, in: state)
        guard unsafe canSend(found) else { return }
        unsafe found.pointee.marks.insert(.outboundEnded)
        unsafe resume(found)
    }

    /// Says that what was answered is a tunnel (RFC 8441 §4): its bytes are still read when ours have ended.
    public mutating func openTunnel(_ stream: StreamID) {
        unsafe SessionState.stream(stream, in: state).pointee.marks.insert(.isTunnel)
    }

    /// Bytes of the response that wait to be written.
    public func outboundCount(_ stream: StreamID) -> Int {
        unsafe SessionState.stream(stream, in: state).pointee.outbound.byteCount
    }

    /// Whether any response holds bytes that could not be written yet.
    public var holdsOutbound: Bool { unsafe state.pointee.outboundTotal > 0 }

    /// Notes what a stream has sent so far, if it holds bytes now; whether it does. Not looked at where `isJudged` is `false`.
    public mutating func markOutbound(_ stream: StreamID, isJudged: Bool) -> Bool {
        let found = unsafe SessionState.stream(stream, in: state)
        unsafe found.pointee.marks.remove(.holdsSinceMark)
        guard unsafe !found.pointee.outbound.isEmpty else { return false }
        if isJudged {
            unsafe found.pointee.sentMark = found.pointee.sentBytes
            unsafe found.pointee.marks.insert(.holdsSinceMark)
        }
        return true
    }

    /// Whether a stream has held bytes ever since the mark and has sent fewer than `least` of them.
    public func isOutboundSlow(_ stream: StreamID, least: Int) -> Bool {
        let found = unsafe SessionState.stream(stream, in: state)
        return unsafe found.pointee.has(.holdsSinceMark)
            && found.pointee.sentBytes &- found.pointee.sentMark < least
    }

    /// Whether the source of the response should pause; `drained` tells when to go on.
    public func isFull(_ stream: StreamID) -> Bool {
        unsafe outboundCount(stream) >= state.pointee.outboundBytes
    }

    private func canSend(_ stream: StreamPointer) -> Bool {
        unsafe stream.pointee.has(.responded)
            && stream.pointee.marks.isDisjoint(with: [.isClosed, .outboundEnded, .resetHere])
    }

    private func noteAppended(_ stream: StreamPointer, wasEmpty: Bool) {
        if unsafe stream.pointee.outbound.byteCount >= state.pointee.outboundBytes {
            unsafe stream.pointee.marks.insert(.wasFull)
        }
        // Only an empty queue lets the provider defer.
        if wasEmpty { unsafe resume(stream) }
    }

    /// Tells nghttp2 to ask again, if it waits for that: mostly all of a short answer is there before it asks first.
    private func resume(_ stream: StreamPointer) {
        guard unsafe stream.pointee.isDeferred else { return }
        unsafe stream.pointee.isDeferred = false
        _ = unsafe nghttp2_session_resume_data(state.pointee.handle, stream.pointee.number)
    }
}

/// Lines that a response must not carry in HTTP/2 (RFC 9113 §8.2.2).
private func isConnectionField(_ known: KnownField) -> Bool {
    switch known {
    case .connection, .keepAlive, .proxyConnection, .transferEncoding, .upgrade, .http2Settings, .te: true
    default: false
    }
}

private func pair(
    _ base: UnsafeRawPointer, _ name: ByteRange, _ value: ByteRange, isSensitive: Bool
) -> nghttp2_nv {
    let bytes = unsafe UnsafeMutablePointer(mutating: base.assumingMemoryBound(to: UInt8.self))
    return unsafe nghttp2_nv(
        name: bytes + name.lowerBound, value: bytes + value.lowerBound, namelen: Int(name.count),
        valuelen: Int(value.count),
        flags: isSensitive ? UInt8(NGHTTP2_NV_FLAG_NO_INDEX.rawValue) : 0)
}

/// The status of the head under construction. Both name and value outlive every head, so nghttp2 need not copy them.
private func statusPair(_ workspace: UnsafeMutablePointer<WorkspaceState>) -> nghttp2_nv {
    let name: StaticString = ":status"
    let status = unsafe workspace.pointee.status
    precondition(status >= 100 && status <= 999)
    return unsafe nghttp2_nv(
        name: UnsafeMutablePointer(mutating: name.utf8Start),
        value: workspace.pointee.statusDigits + (status &- 100) &* 3, namelen: 7, valuelen: 3,
        flags: UInt8(NGHTTP2_NV_FLAG_NO_COPY_NAME.rawValue | NGHTTP2_NV_FLAG_NO_COPY_VALUE.rawValue))
}

/// Calls `body` with the pairs of a head: its pseudo-fields (the status of a response, or the first `leading` lines of the
/// scratch: the four of a request), the lines of `fields`, the rest of the scratch.
func withPairs<Result>(
    _ workspace: UnsafeMutablePointer<WorkspaceState>, _ fields: borrowing FieldTable, _ bytes: RawSpan,
    leading: Int, isResponse: Bool = false, _ body: (UnsafeMutablePointer<nghttp2_nv>, Int) -> Result
) -> Result {
    let added = unsafe workspace.pointee.scratch.count
    unsafe WorkspaceState.reservePairs(added &+ fields.count &+ 1, in: workspace)
    return unsafe bytes.withUnsafeBytes { buffer in
        let pairs = unsafe workspace.pointee.pairs
        var used = 0
        var offset = 0
        if isResponse {
            unsafe pairs.initialize(to: statusPair(workspace))
            used = 1
        }
        if leading > 0 { unsafe addScratch(min(added, leading), workspace, pairs, &used, &offset) }
        let isRequest = leading > 0
        if let base = buffer.baseAddress {
            for index in 0..<fields.count {
                let line = fields[index]
                // The TE of a request is `trailers`, or was dropped.
                guard !line.isDropped, !isConnectionField(line.known) || (isRequest && line.known == .te),
                    !line.name.isEmpty
                else { continue }
                precondition(
                    line.name.upperBound <= buffer.count && line.value.upperBound <= buffer.count)
                let name = bytes[line.name]
                let isSensitive = isRequest ? !isIndexedInRequests(name) : isSecret(name)
                unsafe (pairs + used).initialize(
                    to: pair(base, line.name, line.value, isSensitive: isSensitive))
                if let name = lastingName(line.known) {
                    unsafe (pairs + used).pointee.name = UnsafeMutablePointer(mutating: name.utf8Start)
                    unsafe (pairs + used).pointee.flags |= UInt8(NGHTTP2_NV_FLAG_NO_COPY_NAME.rawValue)
                }
                used &+= 1
            }
        }
        unsafe addScratch(max(added &- leading, 0), workspace, pairs, &used, &offset)
        return unsafe body(pairs, used)
    }
}

/// Adds the next `count` lines of the scratch, from `offset` on. No local function that captures: its variables would
/// be checked for exclusivity at run time.
private func addScratch(
    _ count: Int, _ workspace: UnsafeMutablePointer<WorkspaceState>,
    _ pairs: UnsafeMutablePointer<nghttp2_nv>,
    _ used: inout Int, _ offset: inout Int
) {
    guard let base = unsafe workspace.pointee.scratch.base else { return }
    for _ in 0..<count {
        let line = unsafe workspace.pointee.scratch.line(at: offset)
        offset = line.next
        unsafe (pairs + used).initialize(
            to: pair(UnsafeRawPointer(base), line.name, line.value, isSensitive: line.isSensitive))
        used &+= 1
    }
}

/// The name of what stands in most heads, in lower case and in memory that outlives them, so that nghttp2 need not copy it. As
/// long as the one that came, which it was told by.
private func lastingName(_ known: KnownField) -> StaticString? {
    switch known {
    case .contentLength: "content-length"
    case .date: "date"
    case .server: "server"
    default: nil
    }
}

/// Fields whose value lets somebody in: never in the peer's table (RFC 7541 §7.1.3).
private func isSecret(_ name: RawSpan) -> Bool {
    name.byteCount == 10 && name.equalsIgnoringCase("set-cookie")
}

private func keepTrailers(
    _ stream: StreamPointer, _ workspace: UnsafeMutablePointer<WorkspaceState>,
    _ fields: borrowing FieldTable, _ bytes: RawSpan
) {
    unsafe withPairs(workspace, fields, bytes, leading: 0) { pairs, count in
        for index in 0..<count {
            let pair = unsafe pairs[index]
            unsafe stream.pointee.outTrailers.append(
                name: UnsafeRawPointer(pair.name), pair.namelen, value: UnsafeRawPointer(pair.value),
                pair.valuelen, in: workspace)
        }
    }
}

/// Called when the last byte of the body is on its way, from within nghttp2's asking for it.
func submitStoredTrailers(of stream: StreamPointer, in session: SessionPointer) {
    let workspace = unsafe session.pointee.workspace
    let count = unsafe stream.pointee.outTrailers.count
    guard count > 0, let base = unsafe stream.pointee.outTrailers.base else { return }
    unsafe WorkspaceState.reservePairs(count, in: workspace)
    let pairs = unsafe workspace.pointee.pairs
    var offset = 0
    for index in 0..<count {
        let line = unsafe stream.pointee.outTrailers.line(at: offset)
        offset = line.next
        unsafe (pairs + index).initialize(
            to: pair(UnsafeRawPointer(base), line.name, line.value, isSensitive: false))
    }
    _ = unsafe nghttp2_submit_trailer(session.pointee.handle, stream.pointee.number, pairs, count)
}
