internal import CNghttp2
internal import HTTP
internal import Memory

/// What a stream has reached, and which of its events wait to be told.
struct StreamMarks: OptionSet {
    let rawValue: UInt32

    // Events that wait.
    static let tellRequest = StreamMarks(rawValue: 1 << 0)
    static let tellData = StreamMarks(rawValue: 1 << 1)
    static let tellTrailers = StreamMarks(rawValue: 1 << 2)
    static let tellStarved = StreamMarks(rawValue: 1 << 3)
    static let tellDrained = StreamMarks(rawValue: 1 << 4)
    static let tellReset = StreamMarks(rawValue: 1 << 5)
    static let tellClosed = StreamMarks(rawValue: 1 << 6)
    static let anyEvent = StreamMarks(rawValue: (1 << 7) - 1 | 1 << 28)

    /// Linked into the session's list of streams with events.
    static let isListed = StreamMarks(rawValue: 1 << 7)
    /// The head was whole and the stream is known to the caller.
    static let isAnnounced = StreamMarks(rawValue: 1 << 8)
    static let inboundEnded = StreamMarks(rawValue: 1 << 9)
    /// DATA was received, be it empty.
    static let hasData = StreamMarks(rawValue: 1 << 10)
    static let hasTrailers = StreamMarks(rawValue: 1 << 11)
    /// Body bytes are thrown away as they come.
    static let discardsInbound = StreamMarks(rawValue: 1 << 12)
    /// nghttp2 has forgotten the stream.
    static let isClosed = StreamMarks(rawValue: 1 << 13)
    static let responded = StreamMarks(rawValue: 1 << 14)
    static let outboundEnded = StreamMarks(rawValue: 1 << 15)
    static let hasOutTrailers = StreamMarks(rawValue: 1 << 16)
    static let wasFull = StreamMarks(rawValue: 1 << 17)
    /// RST_STREAM was asked for by the caller, or follows a whole response.
    static let resetHere = StreamMarks(rawValue: 1 << 18)
    static let headTooLarge = StreamMarks(rawValue: 1 << 19)
    static let badName = StreamMarks(rawValue: 1 << 20)
    static let badValue = StreamMarks(rawValue: 1 << 21)
    static let trailersTooLarge = StreamMarks(rawValue: 1 << 22)
    static let badTrailers = StreamMarks(rawValue: 1 << 23)
    /// A client's stream holds interim heads.
    static let tellInterim = StreamMarks(rawValue: 1 << 28)
    /// The final head of a response has come: what follows are trailers.
    static let finalHead = StreamMarks(rawValue: 1 << 29)
    /// The head of our request has been written.
    static let headSent = StreamMarks(rawValue: 1 << 30)
    /// The answer was written whole before the request had ended.
    static let answeredEarly = StreamMarks(rawValue: 1 << 25)
    /// The bytes of both directions are a tunnel's: the end of one says nothing about the other.
    static let isTunnel = StreamMarks(rawValue: 1 << 26)
    /// The response has held bytes ever since `sentMark` was taken.
    static let holdsSinceMark = StreamMarks(rawValue: 1 << 31)
    /// RST_STREAM came from the peer.
    static let resetByPeer = StreamMarks(rawValue: 1 << 24)
    /// nghttp2 refused the head: `tellRequest` tells of that.
    static let isMalformed = StreamMarks(rawValue: 1 << 27)
}

/// One stream. Lives from its HEADERS until both nghttp2 and the caller have let go of it.
@unsafe struct StreamState: ~Copyable {
    /// The stream identifier of RFC 9113; settled for life once nghttp2 knows the stream.
    var number: Int32
    let slot: Int
    var marks: StreamMarks = []
    var errorCode: UInt32 = 0
    var nextListed: UnsafeMutablePointer<StreamState>?
    var token: UInt64 = 0
    var head = unsafe PackedFields()
    /// Number of cookie lines in `head`, and where they were joined (RFC 9113 §8.2.3).
    var cookieCount = 0
    var joinedCookie = ByteRange.empty
    var trailers = unsafe PackedFields()
    /// Interim heads of a response, one behind the other, and how far they were taken.
    var interims = unsafe PackedFields()
    var interimOffset = 0
    var interimCount = 0
    var outTrailers = unsafe PackedFields()
    var inbound = ByteQueue()
    var outbound = ByteQueue()
    /// Bytes received whose credit was not given back to the peer.
    var uncredited = 0
    /// Body bytes found no block: what there is of the body is not the whole.
    var hasLostBytes = false
    /// nghttp2 was told that there is nothing to send yet, and waits to be told that there is.
    var isDeferred = false
    /// Body bytes that were thrown away.
    var discarded = 0
    /// Bytes of the response that were written, and how many when the caller last marked that.
    var sentBytes = 0
    var sentMark = 0
    /// Bytes of fields that were dropped since the head was too large.
    var droppedBytes = 0

    init(number: Int32, slot: Int) {
        unsafe self.number = number
        unsafe self.slot = slot
    }

    func has(_ mark: StreamMarks) -> Bool { unsafe marks.contains(mark) }
}

extension SessionState {
    /// Throws away what waits of a request's body, and all that will come. What was received gives its credit back, so
    /// that the peer can go on and come to read its answer.
    static func discardInbound(_ stream: StreamPointer, _ handle: OpaquePointer?) {
        unsafe stream.pointee.marks.insert(.discardsInbound)
        unsafe stream.pointee.marks.subtract([.tellData, .tellTrailers, .tellStarved])
        unsafe stream.pointee.inbound.removeAll()
        let owed = unsafe stream.pointee.uncredited
        unsafe stream.pointee.uncredited = 0
        unsafe stream.pointee.discarded &+= owed
        guard owed > 0, unsafe stream.pointee.marks.isDisjoint(with: [.isClosed, .inboundEnded, .resetHere])
        else { return }
        _ = unsafe nghttp2_session_consume_stream(handle, stream.pointee.number, owed)
    }
}
