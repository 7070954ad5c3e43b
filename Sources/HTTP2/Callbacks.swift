internal import CNghttp2
internal import HTTP
internal import Memory

// What nghttp2 calls. These functions note what happened and return; nothing here decides, and nothing calls up.

func makeCallbacks() -> OpaquePointer? {
    var callbacks: OpaquePointer?
    let result = unsafe nghttp2_session_callbacks_new(&callbacks)
    precondition(result == 0, "no memory for the callbacks")
    unsafe nghttp2_session_callbacks_set_on_begin_frame_callback(callbacks, onBeginFrame)
    unsafe nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, onBeginHeaders)
    unsafe nghttp2_session_callbacks_set_on_header_callback(callbacks, onHeader)
    unsafe nghttp2_session_callbacks_set_on_invalid_header_callback(callbacks, onInvalidHeader)
    unsafe nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, onDataChunk)
    unsafe nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, onFrame)
    unsafe nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, onStreamClose)
    unsafe nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, onFrameSent)
    unsafe nghttp2_session_callbacks_set_on_frame_not_send_callback(callbacks, onFrameNotSent)
    unsafe nghttp2_session_callbacks_set_unpack_extension_callback(callbacks, onExtension)
    unsafe nghttp2_session_callbacks_set_send_data_callback(callbacks, onSendData)
    return unsafe callbacks
}

private func sessionState(_ argument: UnsafeMutableRawPointer?) -> SessionPointer {
    guard let argument = unsafe argument else { preconditionFailure("nghttp2 lost our session") }
    return unsafe argument.assumingMemoryBound(to: SessionState.self)
}

private func streamState(_ handle: OpaquePointer?, _ number: Int32) -> StreamPointer? {
    unsafe nghttp2_session_get_stream_user_data(handle, number)?.assumingMemoryBound(to: StreamState.self)
}

/// The stream of a frame of a head.
private func headState(_ handle: OpaquePointer?, _ number: Int32, _ session: SessionPointer)
    -> StreamPointer?
{
    if let stream = unsafe session.pointee.headState, unsafe stream.pointee.number == number {
        return unsafe stream
    }
    let stream = unsafe streamState(handle, number)
    unsafe session.pointee.headState = stream
    return unsafe stream
}

private let isFine: Int32 = 0
private var resetsStream: Int32 { NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE.rawValue }

private func onBeginHeaders(
    _ handle: OpaquePointer?, _ frame: UnsafePointer<nghttp2_frame>?, _ argument: UnsafeMutableRawPointer?
) -> Int32 {
    guard let frame = unsafe frame, unsafe frame.pointee.hd.type == NGHTTP2_HEADERS.rawValue else {
        return isFine
    }
    let session = unsafe sessionState(argument)
    guard unsafe frame.pointee.headers.cat == NGHTTP2_HCAT_REQUEST else {
        // A head of a response begins where an interim one may have been.
        if unsafe session.pointee.isClient,
            let stream = unsafe streamState(handle, frame.pointee.hd.stream_id),
            unsafe !stream.pointee.has(.finalHead)
        {
            unsafe stream.pointee.head.removeAll()
        }
        return isFine
    }
    let number = unsafe frame.pointee.hd.stream_id
    guard let stream = unsafe SessionState.makeStream(number: number, in: session) else {
        // Streams that the caller has not released fill the slots. The peer may try again.
        _ = unsafe nghttp2_submit_rst_stream(handle, 0, number, HTTP2ErrorCode.refusedStream)
        return resetsStream
    }
    _ = unsafe nghttp2_session_set_stream_user_data(handle, number, UnsafeMutableRawPointer(stream))
    unsafe session.pointee.headState = stream
    // Streams take turns, frame by frame. Without this nghttp2 takes the default of RFC 9218 §4.2 by its word: one download
    // after the other, and an API call behind a large file waits for all of it.
    var turns = nghttp2_extpri(urgency: UInt32(NGHTTP2_EXTPRI_DEFAULT_URGENCY), inc: 1)
    _ = unsafe nghttp2_session_change_extpri_stream_priority(handle, number, &turns, 1)
    return isFine
}

private func onHeader(
    _ handle: OpaquePointer?, _ frame: UnsafePointer<nghttp2_frame>?, _ name: UnsafePointer<UInt8>?,
    _ nameCount: Int, _ value: UnsafePointer<UInt8>?, _ valueCount: Int, _ flags: UInt8,
    _ argument: UnsafeMutableRawPointer?
) -> Int32 {
    let session = unsafe sessionState(argument)
    guard let frame = unsafe frame,
        let stream = unsafe headState(handle, frame.pointee.hd.stream_id, session)
    else { return isFine }
    let isSensitive = flags & UInt8(NGHTTP2_NV_FLAG_NO_INDEX.rawValue) != 0
    let limits = unsafe session.pointee.headLimits
    if unsafe frame.pointee.headers.cat == NGHTTP2_HCAT_REQUEST
        || (session.pointee.isClient && !stream.pointee.has(.finalHead))
    {
        let isOver =
            unsafe stream.pointee.head.weight &+ nameCount &+ valueCount &+ 4 > limits.head
            // Four pseudo-fields are no field lines.
            || stream.pointee.head.count >= limits.fields &+ 4
        if unsafe isOver || stream.pointee.has(.headTooLarge) {
            return unsafe drop(nameCount &+ valueCount, .headTooLarge, of: stream, in: session)
        }
        if nameCount == 6, unsafe isCookie(name) { unsafe stream.pointee.cookieCount &+= 1 }
        unsafe stream.pointee.head.append(
            name: UnsafeRawPointer(name), nameCount, value: UnsafeRawPointer(value), valueCount,
            isSensitive: isSensitive, in: session.pointee.workspace)
    } else {
        let isOver =
            unsafe stream.pointee.trailers.weight &+ nameCount &+ valueCount &+ 4 > limits.head
            || stream.pointee.trailers.count >= limits.fields
        if unsafe isOver || stream.pointee.has(.trailersTooLarge) {
            return unsafe drop(nameCount &+ valueCount, .trailersTooLarge, of: stream, in: session)
        }
        unsafe stream.pointee.trailers.append(
            name: UnsafeRawPointer(name), nameCount, value: UnsafeRawPointer(value), valueCount,
            isSensitive: isSensitive, in: session.pointee.workspace)
    }
    return isFine
}

/// Keeps counting what is not kept, so that the head can be answered with 431. A peer that sends far more than that
/// (a small block can name a large entry of the HPACK table thousands of times) loses the stream.
private func drop(
    _ byteCount: Int, _ mark: StreamMarks, of stream: StreamPointer, in session: SessionPointer
) -> Int32 {
    unsafe stream.pointee.marks.insert(mark)
    unsafe stream.pointee.droppedBytes &+= byteCount &+ 32
    let bound = unsafe max(session.pointee.headLimits.head &* 4, 1 << 18)
    guard unsafe stream.pointee.droppedBytes > bound else { return isFine }
    _ = unsafe nghttp2_submit_rst_stream(
        session.pointee.handle, 0, stream.pointee.number, HTTP2ErrorCode.enhanceYourCalm)
    return resetsStream
}

private func isCookie(_ name: UnsafePointer<UInt8>?) -> Bool {
    guard let name = unsafe name else { return false }
    let bytes = unsafe RawSpan(_unsafeStart: UnsafeRawPointer(name), byteCount: 6)
    return bytes.equals("cookie")
}

/// A field of a bad name or value that nghttp2 would drop in silence. A gateway that drops what others may see helps
/// nobody: the head is refused (RFC 9113 §8.2.1).
private func onInvalidHeader(
    _ handle: OpaquePointer?, _ frame: UnsafePointer<nghttp2_frame>?, _ name: UnsafePointer<UInt8>?,
    _ nameCount: Int, _ value: UnsafePointer<UInt8>?, _ valueCount: Int, _ flags: UInt8,
    _ argument: UnsafeMutableRawPointer?
) -> Int32 {
    guard let frame = unsafe frame, let stream = unsafe streamState(handle, frame.pointee.hd.stream_id)
    else { return isFine }
    let isHead =
        unsafe frame.pointee.headers.cat == NGHTTP2_HCAT_REQUEST
        || (sessionState(argument).pointee.isClient && !stream.pointee.has(.finalHead))
    guard isHead else {
        unsafe stream.pointee.marks.insert(.badTrailers)
        return resetsStream
    }
    guard let name = unsafe name else { return isFine }
    let bytes = unsafe RawSpan(_unsafeStart: UnsafeRawPointer(name), byteCount: nameCount)
    unsafe stream.pointee.marks.insert(
        bytes.endOfToken(from: 0) == nameCount && nameCount > 0 ? .badValue : .badName)
    return isFine
}

private func onDataChunk(
    _ handle: OpaquePointer?, _ flags: UInt8, _ number: Int32, _ data: UnsafePointer<UInt8>?, _ count: Int,
    _ argument: UnsafeMutableRawPointer?
) -> Int32 {
    let session = unsafe sessionState(argument)
    // Connection credit goes back at receipt: one stalled upstream must not stop the other streams.
    _ = unsafe nghttp2_session_consume_connection(handle, count)
    guard let stream = unsafe streamState(handle, number), let data = unsafe data else { return isFine }
    guard unsafe !stream.pointee.has(.discardsInbound), let pool = unsafe session.pointee.pool else {
        unsafe discardAfterAnswer(handle, stream, count)
        return isFine
    }
    let bytes = unsafe RawSpan(_unsafeStart: UnsafeRawPointer(data), byteCount: count)
    if unsafe stream.pointee.inbound.append(bytes, from: pool.pointee) {
        unsafe stream.pointee.uncredited &+= count
    } else {
        unsafe stream.pointee.inbound.removeAll()
        unsafe stream.pointee.marks.insert(.discardsInbound)
        unsafe stream.pointee.hasLostBytes = true
        unsafe SessionState.tell(.tellStarved, of: stream, in: session)
    }
    return isFine
}

private func onFrame(
    _ handle: OpaquePointer?, _ frame: UnsafePointer<nghttp2_frame>?, _ argument: UnsafeMutableRawPointer?
) -> Int32 {
    guard let frame = unsafe frame else { return isFine }
    let session = unsafe sessionState(argument)
    let header = unsafe frame.pointee.hd
    let endsStream = header.flags & UInt8(NGHTTP2_FLAG_END_STREAM.rawValue) != 0
    switch UInt32(header.type) {
    case NGHTTP2_HEADERS.rawValue:
        unsafe session.pointee.headStream = 0
        guard let stream = unsafe headState(handle, header.stream_id, session) else { break }
        unsafe session.pointee.headState = nil
        if endsStream { unsafe stream.pointee.marks.insert(.inboundEnded) }
        if unsafe frame.pointee.headers.cat == NGHTTP2_HCAT_REQUEST {
            unsafe joinCookies(of: stream, in: session)
            unsafe stream.pointee.marks.insert(.isAnnounced)
            unsafe session.pointee.knownStreams &+= 1
            unsafe SessionState.tell(.tellRequest, of: stream, in: session)
        } else if unsafe session.pointee.isClient, unsafe !stream.pointee.has(.finalHead) {
            unsafe finishResponseHead(of: stream, in: session)
        } else {
            unsafe stream.pointee.marks.insert(.hasTrailers)
            unsafe SessionState.tell(.tellTrailers, of: stream, in: session)
        }
    case NGHTTP2_DATA.rawValue:
        guard let stream = unsafe streamState(handle, header.stream_id) else { break }
        if endsStream {
            unsafe stream.pointee.marks.insert(.inboundEnded)
        } else if unsafe header.length > 0 && header.length <= frame.pointee.data.padlen {
            // Nothing but padding does as little as nothing at all, which is counted where it begins.
            unsafe countControlFrame(session)
        }
        unsafe stream.pointee.marks.insert(.hasData)
        unsafe SessionState.tell(.tellData, of: stream, in: session)
    case NGHTTP2_RST_STREAM.rawValue:
        if let stream = unsafe streamState(handle, header.stream_id) {
            unsafe stream.pointee.marks.insert(.resetByPeer)
            // A service that answers early resets each such request (RFC 9113 §8.1): one client's uploads must not end the
            // connection of all. There are no more of them than requests of ours.
            if unsafe session.pointee.isClient { break }
        }
        unsafe countReset(session)
    case NGHTTP2_GOAWAY.rawValue:
        unsafe session.pointee.goAwayCode = frame.pointee.goaway.error_code
    case NGHTTP2_SETTINGS.rawValue:
        guard unsafe session.pointee.isClient, header.flags & UInt8(NGHTTP2_FLAG_ACK.rawValue) == 0 else {
            break
        }
        unsafe session.pointee.hasPeerSettings = true
        unsafe session.pointee.tellsSettings = true
    case NGHTTP2_PING.rawValue:
        if header.flags & UInt8(NGHTTP2_FLAG_ACK.rawValue) != 0 {
            unsafe session.pointee.isPingWaiting = false
        }
    default: break
    }
    return isFine
}

/// Counts frames that do no work for anybody, and finds the errors that nghttp2 lets pass. Here, since nghttp2 does not
/// report the frames that it skips.
private func onBeginFrame(
    _ handle: OpaquePointer?, _ header: UnsafePointer<nghttp2_frame_hd>?, _ argument: UnsafeMutableRawPointer?
) -> Int32 {
    guard let header = unsafe header?.pointee else { return isFine }
    // Whatever is no part of a head stands behind the end of the last one (RFC 9113 §4.3).
    let kind = UInt32(header.type)
    let isHead = kind == NGHTTP2_HEADERS.rawValue || kind == NGHTTP2_CONTINUATION.rawValue
    unsafe sessionState(argument).pointee.headStream = isHead ? header.stream_id : 0
    if kind != NGHTTP2_CONTINUATION.rawValue { unsafe sessionState(argument).pointee.headState = nil }
    switch UInt32(header.type) {
    case NGHTTP2_DATA.rawValue:
        guard header.length == 0, header.flags & UInt8(NGHTTP2_FLAG_END_STREAM.rawValue) == 0 else {
            return isFine
        }
    case NGHTTP2_HEADERS.rawValue:
        let session = unsafe sessionState(argument)
        // A client's peer opens none, and nghttp2 refuses what is not of our own.
        if unsafe session.pointee.isClient { return isFine }
        if unsafe SessionState.mayOpen(header.stream_id, in: session) { return isFine }
        return unsafe stop(session, HTTP2ErrorCode.protocolError)
    case NGHTTP2_CONTINUATION.rawValue:
        // nghttp2 looks at the size of every other frame (RFC 9113 §4.2).
        guard header.length > HTTP2Session.frameLimit else { return isFine }
        return unsafe stop(sessionState(argument), HTTP2ErrorCode.frameSizeError)
    case NGHTTP2_PRIORITY.rawValue:
        // Told that priorities mean nothing, nghttp2 does not look at them; RFC 9113 §6.3 still asks for this.
        if header.stream_id == 0 { return unsafe stop(sessionState(argument), HTTP2ErrorCode.protocolError) }
    case NGHTTP2_PUSH_PROMISE.rawValue:
        // Push is off for services; nghttp2 would take a promise until they have acknowledged that (RFC 9113 §8.4).
        guard unsafe sessionState(argument).pointee.isClient else { return isFine }
        return unsafe stop(sessionState(argument), HTTP2ErrorCode.protocolError)
    case NGHTTP2_RST_STREAM.rawValue, NGHTTP2_GOAWAY.rawValue:
        return isFine
    case NGHTTP2_WINDOW_UPDATE.rawValue, NGHTTP2_PING.rawValue:
        let session = unsafe sessionState(argument)
        guard unsafe session.pointee.updateAllowance == 0 else {
            unsafe session.pointee.updateAllowance &-= 1
            return isFine
        }
    case NGHTTP2_SETTINGS.rawValue:
        guard header.flags & UInt8(NGHTTP2_FLAG_ACK.rawValue) == 0 else { return isFine }
    default: break
    }
    unsafe countControlFrame(sessionState(argument))
    return isFine
}

/// Ends all reading with an error of the connection (RFC 9113 §5.4.1).
private func stop(_ session: SessionPointer, _ errorCode: UInt32) -> Int32 {
    unsafe session.pointee.connectionError = errorCode
    return NGHTTP2_ERR_CALLBACK_FAILURE.rawValue
}

/// A frame of a type that nobody knows: it means nothing (RFC 9113 §5.5), and was counted when it began.
private func onExtension(
    _ handle: OpaquePointer?, _ payload: UnsafeMutablePointer<UnsafeMutableRawPointer?>?,
    _ header: UnsafePointer<nghttp2_frame_hd>?, _ argument: UnsafeMutableRawPointer?
) -> Int32 {
    NGHTTP2_ERR_CANCEL.rawValue
}

private func countReset(_ session: SessionPointer) {
    let now = unsafe session.pointee.now
    if unsafe !session.pointee.resetGate.admits(now: now) { unsafe askForCalm(session, .resets) }
}

private func countControlFrame(_ session: SessionPointer) {
    let now = unsafe session.pointee.now
    if unsafe !session.pointee.controlGate.admits(now: now) { unsafe askForCalm(session, .controlFrames) }
}

private func askForCalm(_ session: SessionPointer, _ flood: HTTP2Flood) {
    guard unsafe !session.pointee.isCalmAsked else { return }
    unsafe session.pointee.isCalmAsked = true
    unsafe session.pointee.flood = flood
}

/// Cookie crumbs become one line, joined by "; " (RFC 9113 §8.2.3), since other protocols allow only one.
private func joinCookies(of stream: StreamPointer, in session: SessionPointer) {
    guard unsafe stream.pointee.cookieCount > 1 else { return }
    let workspace = unsafe session.pointee.workspace
    // No more than the head again, and the separators, which are less than what each line weighs.
    unsafe stream.pointee.head.reserve(stream.pointee.head.byteCount, in: workspace)
    let count = unsafe stream.pointee.head.count
    let start = unsafe stream.pointee.head.byteCount
    var offset = 0
    var isFirst = true
    for _ in 0..<count {
        let line = unsafe stream.pointee.head.line(at: offset)
        offset = line.next
        guard line.name.count == 6, let base = unsafe stream.pointee.head.base else { continue }
        guard unsafe isCookie((base + line.name.lowerBound).assumingMemoryBound(to: UInt8.self)) else {
            continue
        }
        if !isFirst {
            let separator = StaticString("; ")
            unsafe stream.pointee.head.appendLoose(
                UnsafeRawPointer(separator.utf8Start), 2, in: workspace)
        }
        isFirst = false
        // `reserve` above made room, so `base` has not moved.
        unsafe stream.pointee.head.appendLoose(
            base + line.value.lowerBound, Int(line.value.count), in: workspace)
    }
    unsafe stream.pointee.joinedCookie = ByteRange(start: start, end: stream.pointee.head.byteCount)
}

private func onStreamClose(
    _ handle: OpaquePointer?, _ number: Int32, _ errorCode: UInt32, _ argument: UnsafeMutableRawPointer?
) -> Int32 {
    let session = unsafe sessionState(argument)
    // A head that was refused in the middle: nothing else tells of its end.
    if unsafe session.pointee.headStream == number { unsafe session.pointee.headStream = 0 }
    guard let stream = unsafe streamState(handle, number) else { return isFine }
    if unsafe session.pointee.headState == stream { unsafe session.pointee.headState = nil }
    _ = unsafe nghttp2_session_set_stream_user_data(handle, number, nil)
    if unsafe session.pointee.isClient { unsafe session.pointee.openStreams &-= 1 }
    let isOurs = unsafe stream.pointee.has(.resetHere)
    let isPeers = unsafe stream.pointee.has(.resetByPeer)
    // A reset that the peer's mistake brought about costs as much as one that it asked for.
    if errorCode != 0, !isOurs, !isPeers { unsafe countReset(session) }
    guard unsafe stream.pointee.has(.isAnnounced) else {
        // The caller has not heard of it: a malformed head (RFC 9113 §8.1.1).
        unsafe session.pointee.refusedHeads &+= 1
        unsafe session.pointee.knownStreams &+= 1
        unsafe stream.pointee.marks.formUnion([.isAnnounced, .isMalformed, .isClosed])
        unsafe SessionState.tell([.tellRequest, .tellClosed], of: stream, in: session)
        return isFine
    }
    unsafe stream.pointee.marks.insert(.isClosed)
    unsafe session.pointee.outboundTotal &-= stream.pointee.outbound.byteCount
    unsafe stream.pointee.outbound.removeAll()
    unsafe stream.pointee.marks.subtract([.tellDrained, .wasFull])
    if isPeers || errorCode != 0, !isOurs {
        unsafe stream.pointee.errorCode = errorCode
        unsafe SessionState.tell([.tellReset, .tellClosed], of: stream, in: session)
    } else {
        unsafe SessionState.tell(.tellClosed, of: stream, in: session)
    }
    return isFine
}

private func onFrameSent(
    _ handle: OpaquePointer?, _ frame: UnsafePointer<nghttp2_frame>?, _ argument: UnsafeMutableRawPointer?
) -> Int32 {
    guard let frame = unsafe frame else { return isFine }
    let header = unsafe frame.pointee.hd
    if unsafe sessionState(argument).pointee.isClient {
        // A request that ends before its response does is how it should be.
        if UInt32(header.type) == NGHTTP2_HEADERS.rawValue,
            let stream = unsafe streamState(handle, header.stream_id)
        {
            unsafe stream.pointee.marks.insert(.headSent)
        }
        return isFine
    }
    if UInt32(header.type) == NGHTTP2_RST_STREAM.rawValue,
        unsafe streamState(handle, header.stream_id) == nil
    {
        // A stream that was refused before it was one, because there were too many: its peer made us reset it, and
        // `onStreamClose` does not hear of it.
        let session = unsafe sessionState(argument)
        if unsafe session.pointee.headStream == header.stream_id { unsafe session.pointee.headStream = 0 }
        unsafe countReset(session)
        return isFine
    }
    guard header.flags & UInt8(NGHTTP2_FLAG_END_STREAM.rawValue) != 0,
        UInt32(header.type) == NGHTTP2_DATA.rawValue || UInt32(header.type) == NGHTTP2_HEADERS.rawValue,
        let stream = unsafe streamState(handle, header.stream_id),
        unsafe stream.pointee.marks.isDisjoint(with: [.inboundEnded, .resetHere, .isTunnel])
    else { return isFine }
    // The answer is whole before the request was (RFC 9113 §8.1). RST_STREAM(NO_ERROR) waits: in one flight with the
    // answer it makes clients (curl 7.88 for one) throw the answer away.
    unsafe stream.pointee.marks.insert(.answeredEarly)
    unsafe SessionState.discardInbound(stream, handle)
    if unsafe stream.pointee.discarded > HTTP2Session.lingerBytes {
        unsafe stream.pointee.marks.insert(.resetHere)
        _ = unsafe nghttp2_submit_rst_stream(handle, 0, header.stream_id, HTTP2ErrorCode.noError)
    }
    return isFine
}

/// Body bytes behind an answer that is already whole: the peer may go on for a while, so that it comes to read the answer,
/// and is told to stop when it has sent so much that it must have.
private func discardAfterAnswer(_ handle: OpaquePointer?, _ stream: StreamPointer, _ count: Int) {
    guard unsafe !stream.pointee.has(.resetHere) else { return }
    unsafe stream.pointee.discarded &+= count
    if unsafe stream.pointee.discarded <= HTTP2Session.lingerBytes {
        _ = unsafe nghttp2_session_consume_stream(handle, stream.pointee.number, count)
    } else if unsafe stream.pointee.has(.answeredEarly) {
        unsafe stream.pointee.marks.insert(.resetHere)
        _ = unsafe nghttp2_submit_rst_stream(handle, 0, stream.pointee.number, HTTP2ErrorCode.noError)
    }
}

/// A head that nghttp2 would not write (larger than it allows): without this its stream would wait for ever.
private func onFrameNotSent(
    _ handle: OpaquePointer?, _ frame: UnsafePointer<nghttp2_frame>?, _ status: Int32,
    _ argument: UnsafeMutableRawPointer?
) -> Int32 {
    guard let header = unsafe frame?.pointee.hd, UInt32(header.type) == NGHTTP2_HEADERS.rawValue,
        unsafe streamState(handle, header.stream_id) != nil,
        // The stream of a request that could not be sent is closed by nghttp2, as one that was refused.
        unsafe !sessionState(argument).pointee.isClient
            || frame?.pointee.headers.cat != NGHTTP2_HCAT_REQUEST
    else { return isFine }
    _ = unsafe nghttp2_submit_rst_stream(handle, 0, header.stream_id, HTTP2ErrorCode.internalError)
    return isFine
}

/// Tells nghttp2 how many bytes of the response the next DATA frame carries. The bytes are moved by `onSendData`.
func onReadData(
    _ handle: OpaquePointer?, _ number: Int32, _ buffer: UnsafeMutablePointer<UInt8>?, _ limit: Int,
    _ flags: UnsafeMutablePointer<UInt32>?, _ source: UnsafeMutablePointer<nghttp2_data_source>?,
    _ argument: UnsafeMutableRawPointer?
) -> Int {
    guard let memory = unsafe source?.pointee.ptr, let flags = unsafe flags else {
        return Int(NGHTTP2_ERR_CALLBACK_FAILURE.rawValue)
    }
    let stream = unsafe memory.assumingMemoryBound(to: StreamState.self)
    let held = unsafe stream.pointee.outbound.byteCount
    // Whole blocks where they make a frame of some size: they are framed and encrypted where they lie. A frame that ends within a
    // block leaves crumbs, each of which becomes a record. A small window is used up, whatever the blocks are.
    let whole = unsafe stream.pointee.outbound.byteCount(ofBlocksWithin: limit)
    let count = whole > max(limit / 2, ByteQueue.mostCopied) ? whole : min(held, limit)
    let isLast = unsafe count == held && stream.pointee.has(.outboundEnded)
    if count == 0, !isLast {
        unsafe stream.pointee.isDeferred = true
        return Int(NGHTTP2_ERR_DEFERRED.rawValue)
    }
    unsafe flags.pointee |= NGHTTP2_DATA_FLAG_NO_COPY.rawValue
    if isLast {
        unsafe flags.pointee |= NGHTTP2_DATA_FLAG_EOF.rawValue
        if unsafe stream.pointee.has(.hasOutTrailers) {
            unsafe flags.pointee |= NGHTTP2_DATA_FLAG_NO_END_STREAM.rawValue
            let session = unsafe sessionState(argument)
            unsafe submitStoredTrailers(of: stream, in: session)
        }
    }
    return count
}

/// Writes one DATA frame: its header, then the blocks that hold its bytes, moved and not copied.
private func onSendData(
    _ handle: OpaquePointer?, _ frame: UnsafeMutablePointer<nghttp2_frame>?,
    _ frameHeader: UnsafePointer<UInt8>?, _ count: Int, _ source: UnsafeMutablePointer<nghttp2_data_source>?,
    _ argument: UnsafeMutableRawPointer?
) -> Int32 {
    let session = unsafe sessionState(argument)
    guard let memory = unsafe source?.pointee.ptr, let frame = unsafe frame,
        let output = unsafe session.pointee.output, let pool = unsafe session.pointee.pool
    else { return NGHTTP2_ERR_CALLBACK_FAILURE.rawValue }
    let stream = unsafe memory.assumingMemoryBound(to: StreamState.self)
    guard unsafe stream.pointee.outbound.byteCount >= count else { return resetsStream }
    let needed = unsafe blocksForOneFrame(pool.pointee.blockCapacity)
    guard unsafe pool.pointee.canTake(needed) else {
        unsafe session.pointee.isOutOfBlocks = true
        return NGHTTP2_ERR_WOULDBLOCK.rawValue
    }
    // Both have room: `needed` blocks hold the frame even if every byte of it were copied.
    guard
        unsafe appendFrame(
            frame.pointee.hd, payload: count, of: &stream.pointee.outbound, to: &output.pointee,
            from: pool.pointee)
    else { return NGHTTP2_ERR_CALLBACK_FAILURE.rawValue }
    if unsafe stream.pointee.has(.wasFull),
        unsafe stream.pointee.outbound.byteCount < session.pointee.outboundBytes / 2
    {
        unsafe stream.pointee.marks.remove(.wasFull)
        unsafe SessionState.tell(.tellDrained, of: stream, in: session)
    }
    unsafe noteSent(count, stream, session)
    let isLimitReached = unsafe output.pointee.byteCount >= session.pointee.outputEnd
    return isLimitReached ? NGHTTP2_ERR_PAUSE.rawValue : isFine
}

private func noteSent(
    _ count: Int, _ stream: StreamPointer, _ session: SessionPointer
) {
    unsafe session.pointee.outboundTotal &-= count
    unsafe stream.pointee.sentBytes &+= count
    if unsafe stream.pointee.outbound.isEmpty { unsafe stream.pointee.marks.remove(.holdsSinceMark) }
    // Clients give credit back for the stream and for the connection, some for each piece that their reader takes; those of
    // gRPC send a PING as well, to learn how long it takes. A frame of a few bytes, which a window of a few bytes draws from
    // us, entitles to nothing unless nothing is left behind it.
    if unsafe count >= 64 || stream.pointee.outbound.isEmpty {
        let allowance = unsafe session.pointee.updateAllowance &+ 3 &+ count &>> 10
        unsafe session.pointee.updateAllowance = min(allowance, SessionState.mostUpdates)
    }
}

/// The nine bytes before a frame's payload (RFC 9113 §4.1), and the payload. nghttp2 has laid the nine out too, but in the buffer
/// that all sessions share: when blocks ran out, another session may have written there since.
private func appendFrame(
    _ header: nghttp2_frame_hd, payload count: Int, of source: inout ByteQueue, to output: inout ByteQueue,
    from pool: borrowing BlockPool
) -> Bool {
    let stream = UInt32(bitPattern: header.stream_id)
    let length = UInt64(truncatingIfNeeded: header.length)
    let word =
        length &<< 40 | UInt64(header.type) &<< 32 | UInt64(header.flags) &<< 24 | UInt64(stream) &>> 8
    var bytes = (word.bigEndian, UInt8(truncatingIfNeeded: stream))
    return unsafe withUnsafeBytes(of: &bytes) { buffer in
        let nine = unsafe RawSpan(_unsafeBytes: buffer).extracting(0..<9)
        // A block that goes as it is takes its header in front, if it has the room: one piece to encrypt, and to send.
        let first = source.firstBytes.byteCount
        if first > ByteQueue.mostCopied, first <= count, source.prepend(nine) {
            return output.append(first: count &+ 9, of: &source, from: pool)
        }
        return output.append(nine, from: pool) && output.append(first: count, of: &source, from: pool)
    }
}

/// Blocks that a frame of 16 KiB with its header can need: as many as hold it, and one for the piece before.
func blocksForOneFrame(_ blockCapacity: Int) -> Int { (HTTP2Session.frameLimit &+ 10) / blockCapacity &+ 3 }
