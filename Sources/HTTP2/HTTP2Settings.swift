public import HTTP

/// What a listener grants to each HTTP/2 connection, and the bounds to which it holds it.
@frozen public struct HTTP2Settings: Sendable {
    /// SETTINGS_MAX_CONCURRENT_STREAMS (RFC 9113 §6.5.2); 1 to 4096.
    public var maxConcurrentStreams: Int
    /// SETTINGS_INITIAL_WINDOW_SIZE, bytes: the most that a stream can hold of a request body that nobody takes.
    public var streamWindow: Int
    /// Bytes of all streams together that may be under way; at least `streamWindow`.
    public var connectionWindow: Int
    /// The sizes to which each head and each trailer section is held.
    public var head: HeadLimits
    /// Streams a second that the peer may make and have reset (by itself, or by us because of its mistake) before
    /// it is told ENHANCE_YOUR_CALM; as many may come in one burst. Against rapid reset (CVE-2023-44487).
    public var resetsPerSecond: Int
    /// PING, SETTINGS, PRIORITY, empty DATA, unknown frames, and WINDOW_UPDATE frames beyond what was sent, a second; as
    /// many may come in one burst.
    public var controlFramesPerSecond: Int
    /// Acknowledgements of PING and SETTINGS that may wait to be written before the connection is given up.
    public var maxWaitingAcknowledgements: Int
    /// CONTINUATION frames that may follow one HEADERS frame (CVE-2024-27316).
    public var maxContinuations: Int
    /// Bytes of the HPACK table with which responses are written; the peer's SETTINGS_HEADER_TABLE_SIZE also binds. A head
    /// of 8 lines with a request id of its own costs 8,600 instructions and 126 bytes without a table, 5,500 and 49 with
    /// 4 KiB if the id is not indexed, 9,300 and 40 if it is (callgrind over `nghttp2_hd_deflate_hd`).
    public var encoderTable: Int
    /// SETTINGS_HEADER_TABLE_SIZE: bytes of the HPACK table with which requests are read.
    public var decoderTable: Int
    /// Bytes of a response that a stream holds before `isFull` is true for it.
    public var outboundBytes: Int

    /// 100 streams, 64 KiB a stream, 1 MiB a connection.
    @inlinable public init(head: HeadLimits) {
        maxConcurrentStreams = 100
        streamWindow = 65536
        connectionWindow = 1 << 20
        self.head = head
        resetsPerSecond = 100
        controlFramesPerSecond = 1000
        // More than the control frames of one burst and one receive: those end in ENHANCE_YOUR_CALM, this in silence.
        maxWaitingAcknowledgements = 4096
        maxContinuations = 8
        encoderTable = 4096
        decoderTable = 4096
        outboundBytes = 32768
    }
}

/// The name of a stream in its session: a slot, and a generation that tells this tenant from those before it. Not the
/// number that RFC 9113 calls the stream identifier.
@frozen public struct StreamID: Hashable, Sendable {
    @usableFromInline let word: UInt32

    @inlinable init(slot: Int, generation: UInt32) {
        word = UInt32(truncatingIfNeeded: slot) | generation &<< 12
    }

    @inlinable var slot: Int { Int(word & 0xFFF) }
    @inlinable var generation: UInt32 { word &>> 12 }
}

/// Error codes of RFC 9113 §7.
public enum HTTP2ErrorCode {
    @inlinable public static var noError: UInt32 { 0x0 }
    @inlinable public static var protocolError: UInt32 { 0x1 }
    @inlinable public static var internalError: UInt32 { 0x2 }
    @inlinable public static var flowControlError: UInt32 { 0x3 }
    @inlinable public static var streamClosed: UInt32 { 0x5 }
    @inlinable public static var frameSizeError: UInt32 { 0x6 }
    @inlinable public static var refusedStream: UInt32 { 0x7 }
    @inlinable public static var cancel: UInt32 { 0x8 }
    @inlinable public static var compressionError: UInt32 { 0x9 }
    @inlinable public static var enhanceYourCalm: UInt32 { 0xb }
    @inlinable public static var http11Required: UInt32 { 0xd }
}

/// What happened on a connection. Events of one stream come in the order of the cases; several DATA frames of one
/// stream are one event.
@frozen public enum HTTP2Event: Equatable, Sendable {
    /// All has been told that there was to tell.
    case none
    /// A head has arrived; `readHead` tells what it says. `endsStream`: no body and no trailers follow.
    case request(StreamID, endsStream: Bool)
    /// Of a client: interim heads (1xx) have arrived; `takeInterim` gives them one by one.
    case interim(StreamID)
    /// Of a client: the final head has arrived; `readResponse` tells what it says.
    case response(StreamID, endsStream: Bool)
    /// A head has arrived that is malformed (RFC 9113 §8.1.1), or far too large: RST_STREAM was sent and `closed` follows.
    /// Nothing can be answered; `readHead` tells, for a log, what was read before the mistake.
    case malformed(StreamID)
    /// Body bytes have arrived, or (with none to take) the body has ended.
    case data(StreamID, endsStream: Bool)
    /// Trailers have arrived, after all of the body: the request is whole.
    case trailers(StreamID)
    /// Body bytes were thrown away because the pool had no block for them: the request cannot be forwarded whole.
    /// What follows of its body is thrown away too; answer it or reset it.
    case starved(StreamID)
    /// Of a response that was full, less than half of the bound still waits: more may be appended.
    case drained(StreamID)
    /// The stream ended before its time: RST_STREAM of the peer, or of ours for a mistake of the peer, with the
    /// error code of RFC 9113 §7. Not sent for `resetStream`. `closed` follows.
    case reset(StreamID, errorCode: UInt32)
    /// The last event of a stream. Its bytes can still be read and taken until `release`, which must follow.
    case closed(StreamID)
    /// Of a client: SETTINGS have arrived, and with them perhaps room for more requests.
    case settings
    /// The peer sent GOAWAY: no new stream will come. A client's streams that it will not serve are reset with
    /// REFUSED_STREAM.
    case goAway(errorCode: UInt32)
}

/// Of what a peer has sent too much, and was told ENHANCE_YOUR_CALM for.
@frozen public enum HTTP2Flood: UInt8, Equatable, Sendable {
    case none
    /// Streams reset, by the peer or for its mistakes (CVE-2023-44487, CVE-2025-8671).
    case resets
    /// Frames that do nothing: PING, SETTINGS, PRIORITY, empty DATA, WINDOW_UPDATE beyond what was sent, unknown ones.
    case controlFrames
}

/// Why a connection must go at once: `writeLastFrame` says it to the peer, and nothing follows.
@frozen public enum HTTP2Failure: UInt8, Error, Equatable, Sendable {
    /// The first bytes are not the connection preface (RFC 9113 §3.4).
    case badPreface
    /// More PING or SETTINGS frames wait for acknowledgement, or more CONTINUATION frames came, than the settings allow.
    case flooded
    /// nghttp2 gave up: out of memory, or a state of ours that must not be.
    case broken
}

@frozen public enum ReceiveStep: Equatable, Sendable {
    /// All bytes were taken. Where the peer broke the protocol, GOAWAY waits to be written and `isFinished` is true
    /// once it was.
    case ok
    case failed(HTTP2Failure)
}

@frozen public enum WriteStep: Equatable, Sendable {
    /// All that may be sent is written.
    case done
    /// `limit` was reached; there may be more.
    case limitReached
    /// The pool has too few blocks for the next frame; nothing was lost, call again later.
    case outOfBlocks
    case failed(HTTP2Failure)
}
