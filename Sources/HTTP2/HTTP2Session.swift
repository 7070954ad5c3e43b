internal import CNghttp2
internal import HTTP
public import Memory

/// One HTTP/2 connection, as its server sees it or as its client does. It reads and writes no socket: bytes go in by `receive`, out by
/// `write`; what happened is asked for by `nextEvent`. Not shared between threads.
///
/// Invariant that makes it safe: `state` is owned, never moves, and outlives nghttp2's session; every stream that
/// nghttp2 knows points at a `StreamState` that lives until nghttp2 has closed it.
@safe public struct HTTP2Session: ~Copyable {
    let state: UnsafeMutablePointer<SessionState>

    /// How many body bytes are still read and thrown away behind an answer that came before their end.
    public static var lingerBytes: Int { 1 << 20 }

    /// The longest payload of a frame: SETTINGS_MAX_FRAME_SIZE as it is by itself (RFC 9113 §6.5.2), for either side.
    static var frameLimit: Int { 16384 }

    /// Bytes with which every HTTP/2 connection begins (RFC 9113 §3.4).
    public static var preface: StaticString { "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" }

    /// A session whose SETTINGS wait to be written. `workspace` is the worker's; it may go before the session does.
    public init(settings: HTTP2Settings, workspace: borrowing HTTP2Workspace) {
        self.init(settings: settings, workspace: workspace, isClient: false)
    }

    init(settings: HTTP2Settings, workspace: borrowing HTTP2Workspace, isClient: Bool) {
        precondition(settings.maxConcurrentStreams > 0 && settings.maxConcurrentStreams <= 4096)
        precondition(settings.streamWindow > 0 && settings.connectionWindow >= settings.streamWindow)
        precondition(settings.connectionWindow <= Int(Int32.max))
        let shared = unsafe workspace.state
        let memory = unsafe WorkspaceState.allocate(MemoryLayout<SessionState>.size, in: shared)
        unsafe state = memory.bindMemory(to: SessionState.self, capacity: 1)
        unsafe state.initialize(to: SessionState(settings: settings, workspace: shared, isClient: isClient))
        unsafe shared.pointee.sessionCount &+= 1
        unsafe state.pointee.handle = makeHandle(settings, state, shared)
    }

    deinit {
        let shared = unsafe state.pointee.workspace
        unsafe SessionState.beAwake(state)
        // nghttp2 does not report the streams that it drops here; ours are in the slots.
        unsafe nghttp2_session_del(state.pointee.handle)
        if let slots = unsafe state.pointee.slots {
            for index in 0..<(unsafe state.pointee.slotsUsed) {
                if let stream = unsafe slots[index].stream {
                    unsafe SessionState.destroy(stream, in: shared)
                }
            }
            unsafe WorkspaceState.free(UnsafeMutableRawPointer(slots), in: shared)
        }
        unsafe shared.pointee.arenas.giveBack(state.pointee.arena)
        unsafe state.deinitialize(count: 1)
        unsafe WorkspaceState.free(UnsafeMutableRawPointer(state), in: shared)
        unsafe shared.pointee.sessionCount &-= 1
        unsafe WorkspaceState.releaseIfUnused(shared)
    }

    /// Feeds what the peer sent, at `now` (nanoseconds, monotonic). All of `bytes` is used up, whatever the answer;
    /// what it meant is told by `nextEvent`. Body bytes take blocks of `pool`: at most one for each stream and one for
    /// each 16 KiB.
    public mutating func receive(_ bytes: RawSpan, now: UInt64, pool: borrowing BlockPool) -> ReceiveStep {
        if let failure = unsafe state.pointee.failure { return .failed(failure) }
        if unsafe state.pointee.connectionError != nil { return .ok }
        unsafe SessionState.beAwake(state)
        unsafe state.pointee.now = now
        let used = unsafe withUnsafePointer(to: pool) { pool in
            unsafe state.pointee.pool = pool
            let count = unsafe bytes.withUnsafeBytes { buffer in
                unsafe nghttp2_session_mem_recv(
                    state.pointee.handle, buffer.baseAddress?.assumingMemoryBound(to: UInt8.self),
                    buffer.count)
            }
            unsafe state.pointee.pool = nil
            return count
        }
        unsafe SessionState.terminateIfAsked(state)
        // Where nghttp2 was stopped in the middle of a frame, its GOAWAY can still be written.
        guard used < 0, unsafe state.pointee.connectionError == nil else { return .ok }
        let failure = HTTP2Failure(status: used)
        unsafe state.pointee.failure = failure
        return .failed(failure)
    }

    /// What happened since; `.none` when all was told.
    public mutating func nextEvent() -> HTTP2Event {
        if let code = unsafe state.pointee.goAwayCode {
            unsafe state.pointee.goAwayCode = nil
            return .goAway(errorCode: code)
        }
        if unsafe state.pointee.tellsSettings {
            unsafe state.pointee.tellsSettings = false
            return .settings
        }
        while let stream = unsafe state.pointee.firstListed {
            if unsafe stream.pointee.marks.isSuperset(of: [.tellRequest, .tellReset]),
                unsafe !state.pointee.isClient
            {
                // Cancelled before anybody looked: no exchange begins, and rapid reset gets no work out of us.
                unsafe SessionState.unlistFirst(stream, in: state)
                unsafe state.pointee.refusedHeads &+= 1
                unsafe state.pointee.knownStreams &-= 1
                unsafe SessionState.freeStream(stream, in: state)
                continue
            }
            let event = unsafe takeEvent(of: stream)
            if unsafe stream.pointee.marks.isDisjoint(with: .anyEvent) {
                unsafe SessionState.unlistFirst(stream, in: state)
            }
            if event != .none { return event }
        }
        return .none
    }

    private func takeEvent(of stream: StreamPointer) -> HTTP2Event {
        let id = unsafe SessionState.name(of: stream, in: state)
        let marks = unsafe stream.pointee.marks
        // An end that has been received is told by the last event that can tell it.
        let hasEnded = marks.contains(.inboundEnded)
        if marks.contains(.tellInterim) {
            unsafe stream.pointee.marks.remove(.tellInterim)
            return .interim(id)
        }
        if marks.contains(.tellRequest) {
            unsafe stream.pointee.marks.remove(.tellRequest)
            if marks.contains(.isMalformed) { return .malformed(id) }
            let endsStream = hasEnded && !marks.contains(.hasData) && !marks.contains(.hasTrailers)
            return unsafe state.pointee.isClient
                ? .response(id, endsStream: endsStream) : .request(id, endsStream: endsStream)
        }
        if marks.contains(.tellData) {
            unsafe stream.pointee.marks.remove(.tellData)
            if marks.contains(.discardsInbound) { return .none }
            return .data(id, endsStream: hasEnded && !marks.contains(.hasTrailers))
        }
        if marks.contains(.tellTrailers) {
            unsafe stream.pointee.marks.remove(.tellTrailers)
            return marks.contains(.discardsInbound) ? .none : .trailers(id)
        }
        if marks.contains(.tellStarved) {
            unsafe stream.pointee.marks.remove(.tellStarved)
            return .starved(id)
        }
        if marks.contains(.tellDrained) {
            unsafe stream.pointee.marks.remove(.tellDrained)
            return .drained(id)
        }
        if marks.contains(.tellReset) {
            unsafe stream.pointee.marks.remove(.tellReset)
            return unsafe .reset(id, errorCode: stream.pointee.errorCode)
        }
        if marks.contains(.tellClosed) {
            unsafe stream.pointee.marks.remove(.tellClosed)
            return .closed(id)
        }
        return .none
    }

    /// Writes what waits to `output`, until that holds about `limit` bytes more than before (one frame over at most).
    public mutating func write(into output: inout ByteQueue, pool: borrowing BlockPool, limit: Int)
        -> WriteStep
    {
        if let failure = unsafe state.pointee.failure { return .failed(failure) }
        unsafe SessionState.beAwake(state)
        let end = output.byteCount &+ max(limit, 1)
        unsafe state.pointee.outputEnd = end
        unsafe state.pointee.isOutOfBlocks = false
        let needed = blocksForOneFrame(pool.blockCapacity)
        let state = unsafe self.state
        let step: WriteStep = unsafe withUnsafePointer(to: pool) { pool in
            unsafe withUnsafeMutablePointer(to: &output) { output in
                unsafe state.pointee.pool = pool
                unsafe state.pointee.output = output
                let step = unsafe writeFrames(state, needed: needed, end: end)
                unsafe state.pointee.pool = nil
                unsafe state.pointee.output = nil
                return step
            }
        }
        unsafe SessionState.terminateIfAsked(state)
        if case .failed(let failure) = step { unsafe state.pointee.failure = failure }
        return step
    }

    /// Whether `write` has something to write, as far as the peer's windows let it.
    public var wantsWrite: Bool {
        unsafe SessionState.beAwake(state)
        return unsafe nghttp2_session_want_write(state.pointee.handle) != 0
    }

    /// Whether all was said: nothing more to read or write, so that the connection can be closed.
    public var isFinished: Bool {
        unsafe SessionState.beAwake(state)
        return unsafe state.pointee.failure != nil
            || (nghttp2_session_want_read(state.pointee.handle) == 0
                && nghttp2_session_want_write(state.pointee.handle) == 0)
    }

    /// Whether a head or trailers have begun to arrive and are not whole: in one frame, or in several.
    public var isInHead: Bool { unsafe state.pointee.headStream != 0 }

    /// Of what the peer has sent too much.
    public var flood: HTTP2Flood { unsafe state.pointee.flood }

    /// How many streams the caller was told of and has not released.
    public var activeStreams: Int { unsafe state.pointee.knownStreams }

    /// How many requests were answered with RST_STREAM before the caller heard of them: malformed, or cancelled at once.
    public var refusedHeads: Int { unsafe state.pointee.refusedHeads }

    /// The bound of a walk with `stream(inSlot:)`.
    public var slotCount: Int { unsafe state.pointee.slotsUsed }

    /// The stream in that slot, `nil` when the caller knows none there. For the end of a connection, when the streams
    /// that nghttp2 drops are not told by events.
    public func stream(inSlot slot: Int) -> StreamID? {
        precondition(slot >= 0 && slot < slotCount)
        guard let stream = unsafe state.pointee.slots?[slot].stream,
            unsafe stream.pointee.has(.isAnnounced),
            unsafe state.pointee.isClient || !stream.pointee.has(.tellRequest)
        else { return nil }
        return unsafe SessionState.name(of: stream, in: state)
    }

    /// Tells the peer that the connection will end soon; requests under way are still taken (RFC 9113 §6.8). Write, let
    /// a round trip pass, then call `goAway`.
    public mutating func shutdownNotice() {
        guard unsafe !state.pointee.hasSentNotice else { return }
        unsafe state.pointee.hasSentNotice = true
        unsafe SessionState.beAwake(state)
        _ = unsafe nghttp2_submit_shutdown_notice(state.pointee.handle)
    }

    /// Tells the peer the last stream that is served; streams above it are ignored. The connection `isFinished` when the
    /// served ones are.
    public mutating func goAway(errorCode: UInt32 = HTTP2ErrorCode.noError) {
        unsafe SessionState.beAwake(state)
        let last = unsafe nghttp2_session_get_last_proc_stream_id(state.pointee.handle)
        _ = unsafe nghttp2_submit_goaway(state.pointee.handle, 0, last, errorCode, nil, 0)
    }

    /// The last frame of a session that has failed: GOAWAY with what is to be said of the failure, since nghttp2 says no more.
    /// `false` when the pool has no block for it.
    public func writeLastFrame(into output: inout ByteQueue, pool: borrowing BlockPool) -> Bool {
        unsafe SessionState.beAwake(state)
        let code: UInt32
        switch unsafe state.pointee.failure {
        case .badPreface: code = HTTP2ErrorCode.protocolError
        case .flooded: code = HTTP2ErrorCode.enhanceYourCalm
        case .broken, nil: code = HTTP2ErrorCode.internalError
        }
        let last = UInt32(
            truncatingIfNeeded: unsafe nghttp2_session_get_last_proc_stream_id(state.pointee.handle))
        // Length 8, type GOAWAY, no flags, stream 0 (RFC 9113 §6.8).
        let words: (UInt32, UInt32, UInt32, UInt32, UInt8) = (
            UInt32(0x0000_0807).bigEndian, 0, (last &>> 8).bigEndian,
            (last &<< 24 | code &>> 8).bigEndian, UInt8(truncatingIfNeeded: code)
        )
        return unsafe withUnsafeBytes(of: words) { buffer in
            unsafe output.append(RawSpan(_unsafeBytes: buffer).extracting(0..<17), from: pool)
        }
    }

    /// Ends the connection with GOAWAY, whatever is under way: `isFinished` once that is written.
    public mutating func terminate(errorCode: UInt32) {
        guard unsafe !state.pointee.isTerminated else { return }
        unsafe state.pointee.isTerminated = true
        unsafe SessionState.beAwake(state)
        _ = unsafe nghttp2_session_terminate_session(state.pointee.handle, errorCode)
    }
}

extension HTTP2Failure {
    init(status: Int) {
        switch Int32(truncatingIfNeeded: status) {
        case NGHTTP2_ERR_BAD_CLIENT_MAGIC.rawValue: self = .badPreface
        case NGHTTP2_ERR_FLOODED.rawValue, NGHTTP2_ERR_TOO_MANY_CONTINUATIONS.rawValue: self = .flooded
        default: self = .broken
        }
    }
}

private func makeHandle(
    _ settings: HTTP2Settings, _ state: SessionPointer, _ workspace: UnsafeMutablePointer<WorkspaceState>
) -> OpaquePointer? {
    var options: OpaquePointer?
    var handle: OpaquePointer?
    let made = unsafe nghttp2_option_new(&options)
    precondition(made == 0, "no memory for an HTTP/2 session")
    // Credit is given back by us: that is the backpressure.
    unsafe nghttp2_option_set_no_auto_window_update(options, 1)
    unsafe nghttp2_option_set_no_closed_streams(options, 1)
    unsafe nghttp2_option_set_max_deflate_dynamic_table_size(options, max(settings.encoderTable, 0))
    unsafe nghttp2_option_set_max_send_header_block_length(options, 1 << 18)
    unsafe nghttp2_option_set_max_outbound_ack(options, max(settings.maxWaitingAcknowledgements, 1))
    // Frames of unknown types are reported only where they are asked for, and they are to be counted.
    for kind in UInt8(10)...255 { unsafe nghttp2_option_set_user_recv_extension_type(options, kind) }
    unsafe nghttp2_option_set_max_continuations(options, max(settings.maxContinuations, 1))
    // Ours counts with the caller's clock and answers ENHANCE_YOUR_CALM; nghttp2's own must not come before it.
    unsafe nghttp2_option_set_stream_reset_rate_limit(options, 1 << 62, 1 << 32)
    var memory = unsafe WorkspaceState.memory(of: workspace)
    let isClient = unsafe state.pointee.isClient
    unsafe workspace.pointee.isMakingSession = !isClient
    // A client's preface lies in its frame buffer from the start until it is written: others would write over it.
    unsafe workspace.pointee.lendsFrameBuffer = !isClient
    // Sessions with services are few: they do not nap, and have no pages of their own.
    unsafe workspace.pointee.arenaOfNew = isClient ? -1 : workspace.pointee.arenas.take()
    unsafe workspace.pointee.arenaUsed = 0
    let created =
        unsafe isClient
        ? nghttp2_session_client_new3(
            &handle, workspace.pointee.callbacks, UnsafeMutableRawPointer(state), options, &memory)
        : nghttp2_session_server_new3(
            &handle, workspace.pointee.callbacks, UnsafeMutableRawPointer(state), options, &memory)
    unsafe workspace.pointee.isMakingSession = false
    unsafe workspace.pointee.lendsFrameBuffer = false
    unsafe state.pointee.arena = workspace.pointee.arenaOfNew
    unsafe state.pointee.arenaUsed = workspace.pointee.arenaUsed
    unsafe nghttp2_option_del(options)
    precondition(created == 0, "no memory for an HTTP/2 session")
    unsafe submitSettings(settings, handle, isClient: isClient)
    return unsafe handle
}

private func submitSettings(_ settings: HTTP2Settings, _ handle: OpaquePointer?, isClient: Bool) {
    // A field costs 32 bytes more here than in our own count (RFC 9113 §6.5.2).
    let listSize = settings.head.head &+ 32 &* settings.head.fields
    let status = unsafe withUnsafeTemporaryAllocation(of: nghttp2_settings_entry.self, capacity: 6) {
        entries in
        // What a client says about streams is about pushed ones: there are none.
        unsafe entries[0] =
            isClient
            ? entry(NGHTTP2_SETTINGS_ENABLE_PUSH, 0)
            : entry(NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, settings.maxConcurrentStreams)
        unsafe entries[1] = entry(NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, settings.streamWindow)
        unsafe entries[2] = entry(NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, listSize)
        unsafe entries[3] = entry(NGHTTP2_SETTINGS_HEADER_TABLE_SIZE, settings.decoderTable)
        // The priority tree of RFC 7540 is deprecated (RFC 9113 §5.3.2), and walking it costs every frame.
        unsafe entries[4] = entry(NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1)
        // RFC 8441 §3. nghttp2 refuses `:protocol` from a client until this was submitted.
        unsafe entries[5] = entry(NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL, 1)
        return unsafe nghttp2_submit_settings(handle, 0, entries.baseAddress, entries.count)
    }
    precondition(status == 0, "the settings of HTTP/2 are out of range")
    let window = Int32(clamping: settings.connectionWindow)
    _ = unsafe nghttp2_session_set_local_window_size(handle, 0, 0, window)
}

private func entry(_ id: nghttp2_settings_id, _ value: Int) -> nghttp2_settings_entry {
    nghttp2_settings_entry(settings_id: Int32(id.rawValue), value: UInt32(clamping: value))
}

/// The loop of `write`: one frame a turn, until nothing is left, the limit is reached or blocks run short.
private func writeFrames(_ state: SessionPointer, needed: Int, end: Int) -> WriteStep {
    guard let output = unsafe state.pointee.output, let pool = unsafe state.pointee.pool else {
        return .failed(.broken)
    }
    while true {
        if unsafe output.pointee.byteCount >= end { return .limitReached }
        guard unsafe pool.pointee.canTake(needed) else { return .outOfBlocks }
        var data: UnsafePointer<UInt8>?
        let count = unsafe nghttp2_session_mem_send(state.pointee.handle, &data)
        if count < 0 { return .failed(HTTP2Failure(status: count)) }
        guard count > 0, let start = unsafe data else {
            if unsafe state.pointee.isOutOfBlocks { return .outOfBlocks }
            return unsafe output.pointee.byteCount >= end ? .limitReached : .done
        }
        let bytes = unsafe RawSpan(_unsafeStart: UnsafeRawPointer(start), byteCount: count)
        // nghttp2 hands out at most one frame buffer at a time, for which `needed` blocks are enough.
        guard unsafe output.pointee.append(bytes, from: pool.pointee) else { return .failed(.broken) }
    }
}
