internal import CNghttp2
public import HTTP
public import Memory

// The client's side of a connection: requests go out, responses come in. Events and flow control are those of the
// server's side.
extension HTTP2Session {
    /// Interim heads that a stream may hold unread (RFC 9110 §15.2 sets no limit; a service that sends more is reset).
    static var interimLimit: Int { 16 }

    /// The client's side of a fresh connection: the preface and SETTINGS wait to be written. Server push is off.
    public init(client settings: HTTP2Settings, workspace: borrowing HTTP2Workspace) {
        self.init(settings: settings, workspace: workspace, isClient: true)
    }

    /// Whether the peer's first SETTINGS have come: before them it is not known how many streams it takes, nor that it
    /// speaks HTTP/2 at all (RFC 9113 §3.4).
    public var hasPeerSettings: Bool { unsafe state.pointee.hasPeerSettings }

    /// How many more requests the peer's SETTINGS, our own bound and its GOAWAY allow.
    public var requestRoom: Int {
        guard unsafe state.pointee.failure == nil, unsafe state.pointee.hasPeerSettings,
            unsafe !state.pointee.isTerminated,
            unsafe nghttp2_session_check_request_allowed(state.pointee.handle) != 0
        else { return 0 }
        let granted = unsafe Int(
            nghttp2_session_get_remote_settings(
                state.pointee.handle, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS))
        // Places of streams that the peer has closed and the caller has not released count here too.
        let places = unsafe state.pointee.slotLimit &- state.pointee.knownStreams
        let bound = unsafe min(granted, state.pointee.streamLimit) &- state.pointee.openStreams
        return max(min(bound, places), 0)
    }

    /// Whether no further request can be sent on this connection, ever: the peer said GOAWAY, or it broke.
    public var isClosing: Bool {
        unsafe state.pointee.failure != nil || state.pointee.isTerminated
            || nghttp2_session_check_request_allowed(state.pointee.handle) == 0
    }

    /// Sends a request: the four pseudo-fields (RFC 9113 §8.3.1), then the lines of `fields` (into `bytes`) that are not
    /// dropped; names are lower-cased on the way. With `endsStream` there is neither body nor trailers. `nil` when the
    /// peer takes no more requests. Look at `requestRoom` first.
    public mutating func submitRequest(
        method: RawSpan, isSecure: Bool, authority: RawSpan, path: RawSpan, fields: borrowing FieldTable,
        bytes: RawSpan, endsStream: Bool
    ) -> StreamID? {
        guard requestRoom > 0, let stream = unsafe SessionState.makeStream(number: 0, in: state) else {
            return nil
        }
        unsafe state.pointee.workspace.pointee.scratch.removeAll()
        addField(":method", method)
        addField(":scheme", isSecure ? "https" as StaticString : "http")
        addField(":authority", authority)
        addField(":path", path, isIndexed: false)
        let handle = unsafe state.pointee.handle
        let workspace = unsafe state.pointee.workspace
        let number: Int32 = unsafe withPairs(workspace, fields, bytes, leading: 4) { pairs, count in
            if endsStream {
                return unsafe nghttp2_submit_request(
                    handle, nil, pairs, count, nil, UnsafeMutableRawPointer(stream))
            }
            var source = unsafe nghttp2_data_source()
            unsafe source.ptr = UnsafeMutableRawPointer(stream)
            var provider = unsafe nghttp2_data_provider(source: source, read_callback: onReadData)
            return unsafe nghttp2_submit_request(
                handle, nil, pairs, count, &provider, UnsafeMutableRawPointer(stream))
        }
        guard number > 0 else {
            unsafe SessionState.freeStream(stream, in: state)
            return nil
        }
        unsafe stream.pointee.number = number
        unsafe stream.pointee.marks.formUnion(
            endsStream ? [.isAnnounced, .responded, .outboundEnded] : [.isAnnounced, .responded])
        unsafe state.pointee.knownStreams &+= 1
        unsafe state.pointee.openStreams &+= 1
        return unsafe SessionState.name(of: stream, in: state)
    }

    /// Whether any byte of the request has been written: before that it surely did not arrive.
    public func wasWritten(_ stream: StreamID) -> Bool {
        unsafe SessionState.stream(stream, in: state).pointee.has(.headSent)
    }

    /// Whether anything of an answer has come on the stream: a head, be it an interim one.
    public func hasAnswered(_ stream: StreamID) -> Bool {
        let found = unsafe SessionState.stream(stream, in: state)
        return unsafe found.pointee.has(.finalHead) || found.pointee.interimCount > 0
    }

    /// Whether the stream was reset by the peer, and not by us for a mistake of its.
    public func wasResetByPeer(_ stream: StreamID) -> Bool {
        unsafe SessionState.stream(stream, in: state).pointee.has(.resetByPeer)
    }

    /// Whether `closed` was told, so that nothing but `release` is left to do.
    public func wasToldClosed(_ stream: StreamID) -> Bool {
        let marks = unsafe SessionState.stream(stream, in: state).pointee.marks
        return marks.contains(.isClosed) && !marks.contains(.tellClosed)
    }

    /// Whether trailers have arrived.
    public func hasTrailers(_ stream: StreamID) -> Bool {
        unsafe SessionState.stream(stream, in: state).pointee.has(.hasTrailers)
    }

    /// Fills `head` from the final head: ranges into `headBytes(stream)`. As strict as with a response of HTTP/1; what
    /// nghttp2 has checked (RFC 9113 §8.2, §8.3.2: fields of a connection, pseudo-fields, DATA against content-length) ends
    /// the stream instead.
    public func readResponse(_ stream: StreamID, requestMethod: Method, into head: inout ResponseHead)
        -> ResponseHeadError?
    {
        let found = unsafe SessionState.stream(stream, in: state)
        return unsafe ResponseReading.read(found, requestMethod, into: &head)
    }

    /// Fills `head` from the next interim head, with ranges into `bytes`, to which its bytes are appended. `false` when there
    /// is none left, or the block has no room for it; it is used up all the same.
    public mutating func takeInterim(
        _ stream: StreamID, into head: inout ResponseHead, bytes: inout Block
    ) -> Bool {
        let found = unsafe SessionState.stream(stream, in: state)
        return unsafe ResponseReading.takeInterim(found, into: &head, bytes: &bytes)
    }

    // MARK: Health

    /// Asks for a sign of life (RFC 9113 §6.7).
    public mutating func sendPing() {
        unsafe state.pointee.isPingWaiting = true
        _ = unsafe nghttp2_submit_ping(state.pointee.handle, 0, nil)
    }

    /// Whether a PING of ours has not been answered yet.
    public var isPingWaiting: Bool { unsafe state.pointee.isPingWaiting }
}

/// From the lines that nghttp2 handed over to the head of a response.
enum ResponseReading {
    static func read(_ stream: StreamPointer, _ method: Method, into head: inout ResponseHead)
        -> ResponseHeadError?
    {
        head.reset()
        head.version = .http2
        let marks = unsafe stream.pointee.marks
        if marks.contains(.headTooLarge) { return .headTooLarge }
        if marks.contains(.badName) { return .badFieldName }
        if marks.contains(.badValue) { return .badFieldValue }
        guard let base = unsafe stream.pointee.head.base else { return .badStatusLine }
        let bytes = unsafe RawSpan(
            _unsafeStart: UnsafeRawPointer(base), byteCount: stream.pointee.head.byteCount)
        var offset = 0
        var length: Int?
        for _ in 0..<(unsafe stream.pointee.head.count) {
            let line = unsafe stream.pointee.head.line(at: offset)
            offset = line.next
            if !line.name.isEmpty, bytes[line.name.lowerBound] == UInt8(ascii: ":") {
                guard bytes[line.name].equals(":status"), let status = status(bytes[line.value]) else {
                    return .badStatusLine
                }
                head.status = status
                continue
            }
            let known = FieldNames.classify(line.name, of: bytes)
            if known == .contentLength {
                guard length == nil else { return .conflictingContentLength }
                guard case .bytes(let count) = ContentLength(bytes[line.value]) else {
                    return .badContentLength
                }
                length = count
            }
            guard head.fields.append(FieldLine(name: line.name, value: line.value, known: known)) else {
                return .tooManyFields
            }
        }
        guard head.status >= 200 else { return .badStatusLine }
        let endsHere = marks.contains(.inboundEnded) && marks.isDisjoint(with: [.hasData, .hasTrailers])
        if endsHere || method == .head || !StatusText.mayHaveBody(head.status) {
            head.framing = .none
        } else if let length {
            head.framing = .length(length)
        } else {
            head.framing = .stream
        }
        if head.status == 204, let index = head.fields.firstIndex(of: .contentLength) {
            head.fields.drop(index)
        }
        return nil
    }

    static func takeInterim(_ stream: StreamPointer, into head: inout ResponseHead, bytes: inout Block)
        -> Bool
    {
        head.reset()
        head.version = .http2
        var offset = unsafe stream.pointee.interimOffset
        guard let base = unsafe stream.pointee.interims.base,
            unsafe offset < stream.pointee.interims.byteCount
        else { return false }
        let source = unsafe RawSpan(
            _unsafeStart: UnsafeRawPointer(base), byteCount: stream.pointee.interims.byteCount)
        let start = offset
        let shift = bytes.byteCount &- start
        var isWhole = true
        while unsafe offset < stream.pointee.interims.byteCount {
            let line = unsafe stream.pointee.interims.line(at: offset)
            let isStatus = !line.name.isEmpty && source[line.name.lowerBound] == UInt8(ascii: ":")
            // The next head begins.
            if isStatus, offset > start { break }
            offset = line.next
            if isStatus {
                head.status = status(source[line.value]) ?? 0
                continue
            }
            let moved = FieldLine(
                name: shifted(line.name, by: shift), value: shifted(line.value, by: shift),
                known: FieldNames.classify(line.name, of: source))
            if !head.fields.append(moved) { isWhole = false }
        }
        unsafe stream.pointee.interimOffset = offset
        let part = source.extracting(start..<offset)
        return bytes.append(part) == part.byteCount && isWhole && head.isInterim
    }

    private static func shifted(_ range: ByteRange, by shift: Int) -> ByteRange {
        ByteRange(start: range.lowerBound &+ shift, end: range.upperBound &+ shift)
    }

    /// Three digits, 100 to 599 (RFC 9110 §15); `nil` for anything else.
    static func status(_ text: RawSpan) -> Int? {
        guard text.byteCount == 3, text[0].isDigit, text[1].isDigit, text[2].isDigit else { return nil }
        let status = Int(text[0] &- 0x30) &* 100 &+ Int(text[1] &- 0x30) &* 10 &+ Int(text[2] &- 0x30)
        return status >= 100 && status <= 599 ? status : nil
    }
}

/// A head of a response is whole: an interim one is laid beside those before it, a final one is told. Called from within
/// nghttp2.
func finishResponseHead(of stream: StreamPointer, in session: SessionPointer) {
    guard let base = unsafe stream.pointee.head.base else { return }
    let bytes = unsafe RawSpan(_unsafeStart: UnsafeRawPointer(base), byteCount: stream.pointee.head.byteCount)
    // nghttp2 lets :status come first and once (RFC 9113 §8.3).
    let first = unsafe stream.pointee.head.line(at: 0)
    let status = ResponseReading.status(bytes[first.value]) ?? 0
    guard status >= 100, status < 200, status != 101 else {
        unsafe stream.pointee.marks.insert(.finalHead)
        unsafe SessionState.tell(.tellRequest, of: stream, in: session)
        return
    }
    let isOver =
        unsafe stream.pointee.interimCount >= HTTP2Session.interimLimit
        || stream.pointee.interims.byteCount &+ stream.pointee.head.byteCount
            > session.pointee.headLimits.head
        || !stream.pointee.marks.isDisjoint(with: [.headTooLarge, .badName, .badValue])
    guard !isOver else {
        // Once; more may come before the reset is written.
        guard unsafe !stream.pointee.has(.isMalformed) else { return }
        unsafe stream.pointee.marks.insert(.isMalformed)
        _ = unsafe nghttp2_submit_rst_stream(
            session.pointee.handle, 0, stream.pointee.number, HTTP2ErrorCode.enhanceYourCalm)
        return
    }
    unsafe stream.pointee.interimCount &+= 1
    let workspace = unsafe session.pointee.workspace
    var offset = 0
    for _ in 0..<(unsafe stream.pointee.head.count) {
        let line = unsafe stream.pointee.head.line(at: offset)
        offset = line.next
        unsafe stream.pointee.interims.append(
            name: UnsafeRawPointer(base + line.name.lowerBound), Int(line.name.count),
            value: UnsafeRawPointer(base + line.value.lowerBound), Int(line.value.count), in: workspace)
    }
    unsafe SessionState.tell(.tellInterim, of: stream, in: session)
}

/// Whether a request field goes into the peer's HPACK table. Only what repeats from request to request and is nobody's
/// secret: the connection is shared by all clients, and what one of them sends must not show in the size of another's
/// request (RFC 7541 §7.1).
func isIndexedInRequests(_ name: RawSpan) -> Bool {
    switch name.byteCount {
    case 2: name.equalsIgnoringCase("te")
    case 6: name.equalsIgnoringCase("accept")
    case 10: name.equalsIgnoringCase("user-agent")
    case 12: name.equalsIgnoringCase("content-type")
    case 15: name.equalsIgnoringCase("accept-encoding") || name.equalsIgnoringCase("accept-language")
    case 16: name.equalsIgnoringCase("x-forwarded-host")
    case 17: name.equalsIgnoringCase("x-forwarded-proto")
    case 20: name.equalsIgnoringCase("grpc-accept-encoding")
    default: false
    }
}
