internal import CNghttp2
internal import HTTP
internal import Memory

/// A place for a stream, with the generation of its tenant.
@unsafe struct StreamSlot {
    var stream: UnsafeMutablePointer<StreamState>?
    var generation: UInt32
    var nextFree: Int32
}

/// So many a second, as many in one burst (GCRA: one time stamp).
struct FloodGate {
    let interval: UInt64
    let burst: UInt64
    var arrival: UInt64 = 0

    init(perSecond: Int) {
        let count = UInt64(max(perSecond, 1))
        interval = max(1_000_000_000 / count, 1)
        burst = interval &* count
    }

    /// Whether one more is allowed at `now` (nanoseconds); it then counts.
    mutating func admits(now: UInt64) -> Bool {
        let start = max(arrival, now)
        guard start &- now <= burst &- interval else { return false }
        arrival = start &+ interval
        return true
    }
}

/// What nghttp2's callbacks see of a session. It never moves: nghttp2 holds its address.
///
/// Only single fields of it are accessed, never the whole, so that a callback which runs inside a call of ours into
/// nghttp2 does not overlap an access in progress.
@unsafe struct SessionState {
    var handle: OpaquePointer?
    let workspace: UnsafeMutablePointer<WorkspaceState>
    let headLimits: HeadLimits
    /// The pages that nghttp2's memory of this session lies in, and how much of them it takes; -1 without any.
    var arena = -1
    var arenaUsed = 0
    /// While it naps: which words of them are not zero, a bit each, and those words.
    var asleep: UnsafeMutablePointer<UInt64>?
    let outboundBytes: Int
    let slotLimit: Int
    var slots: UnsafeMutablePointer<StreamSlot>?
    var slotCapacity = 0
    var slotsUsed = 0
    var firstFree: Int32 = -1
    /// Streams that the caller knows and has not released.
    var knownStreams = 0
    var firstListed: UnsafeMutablePointer<StreamState>?
    var lastListed: UnsafeMutablePointer<StreamState>?
    var goAwayCode: UInt32?
    let isClient: Bool
    /// Most streams that a client opens.
    let streamLimit: Int
    /// Streams of a client that nghttp2 has not closed.
    var openStreams = 0
    /// The peer's SETTINGS have come, for the first time or again, and that was not told.
    var hasPeerSettings = false
    var tellsSettings = false
    var isPingWaiting = false
    /// Bytes of all responses that wait to be written.
    var outboundTotal = 0
    /// WINDOW_UPDATE and PING frames that what we have sent entitles the peer to.
    var updateAllowance = 0
    var refusedHeads = 0
    /// Heads of responses that were begun.
    var responseCount: UInt32 = 0
    var resetGate: FloodGate
    var controlGate: FloodGate
    /// nghttp2 gave up: it is not called any more.
    var failure: HTTP2Failure?
    /// The stream whose head has begun to arrive and is not whole; 0 without one.
    var headStream: Int32 = 0
    /// That stream, where it was found: nghttp2 looks for it anew at each field.
    var headState: UnsafeMutablePointer<StreamState>?
    var isCalmAsked = false
    var flood = HTTP2Flood.none
    /// An error of the whole connection that nghttp2 lets pass and the RFC does not: nothing more is read.
    var connectionError: UInt32?
    /// The highest stream that the peer has opened.
    var lastOpened: Int32 = -1
    /// Ranges of streams that the peer has passed over: the last few of them.
    var passedOver: (ClosedRange<Int32>?, ClosedRange<Int32>?, ClosedRange<Int32>?, ClosedRange<Int32>?)
    var isTerminated = false
    var hasSentNotice = false
    /// Nanoseconds, as told by the last `receive`.
    var now: UInt64 = 0

    // For the time of one call only.
    var pool: UnsafePointer<BlockPool>?
    var output: UnsafeMutablePointer<ByteQueue>?
    var outputEnd = 0
    var isOutOfBlocks = false

    init(settings: HTTP2Settings, workspace: UnsafeMutablePointer<WorkspaceState>, isClient: Bool) {
        unsafe self.isClient = isClient
        unsafe streamLimit = settings.maxConcurrentStreams
        unsafe self.workspace = workspace
        unsafe headLimits = settings.head
        unsafe outboundBytes = max(settings.outboundBytes, 1)
        // Streams that nghttp2 has closed and the caller has not yet released take a place too.
        unsafe slotLimit = min(settings.maxConcurrentStreams &+ 64, 4096)
        unsafe passedOver = (nil, nil, nil, nil)
        unsafe resetGate = FloodGate(perSecond: settings.resetsPerSecond)
        unsafe controlGate = FloodGate(perSecond: settings.controlFramesPerSecond)
    }
}

extension SessionState {
    /// How many WINDOW_UPDATE frames may be saved up: what a peer with a window of 16 MiB may owe.
    static var mostUpdates: Int { 16384 }
}

typealias SessionPointer = UnsafeMutablePointer<SessionState>
typealias StreamPointer = UnsafeMutablePointer<StreamState>

// Streams: made, named, listed, freed.
extension SessionState {
    /// A new stream in a free slot; `nil` when there is none.
    static func makeStream(number: Int32, in session: SessionPointer) -> StreamPointer? {
        let index: Int
        if unsafe session.pointee.firstFree >= 0, let slots = unsafe session.pointee.slots {
            index = unsafe Int(session.pointee.firstFree)
            unsafe session.pointee.firstFree = slots[index].nextFree
        } else {
            guard unsafe session.pointee.slotsUsed < session.pointee.slotLimit else { return nil }
            if unsafe session.pointee.slotsUsed == session.pointee.slotCapacity { unsafe growSlots(session) }
            index = unsafe session.pointee.slotsUsed
            unsafe session.pointee.slotsUsed &+= 1
        }
        guard let slots = unsafe session.pointee.slots else { return nil }
        let memory = unsafe WorkspaceState.allocate(
            MemoryLayout<StreamState>.size, in: session.pointee.workspace)
        let stream = unsafe memory.bindMemory(to: StreamState.self, capacity: 1)
        unsafe stream.initialize(to: StreamState(number: number, slot: index))
        unsafe slots[index].stream = stream
        unsafe slots[index].generation = (slots[index].generation &+ 1) & 0xF_FFFF
        return unsafe stream
    }

    private static func growSlots(_ session: SessionPointer) {
        let capacity = unsafe min(max(session.pointee.slotCapacity &* 2, 4), session.pointee.slotLimit)
        let memory = unsafe WorkspaceState.allocate(
            capacity &* MemoryLayout<StreamSlot>.stride, in: session.pointee.workspace)
        let slots = unsafe memory.bindMemory(to: StreamSlot.self, capacity: capacity)
        let used = unsafe session.pointee.slotsUsed
        if let old = unsafe session.pointee.slots {
            unsafe slots.moveInitialize(from: old, count: used)
            unsafe WorkspaceState.free(UnsafeMutableRawPointer(old), in: session.pointee.workspace)
        }
        for index in used..<capacity {
            unsafe (slots + index).initialize(to: StreamSlot(stream: nil, generation: 0, nextFree: -1))
        }
        unsafe session.pointee.slots = slots
        unsafe session.pointee.slotCapacity = capacity
    }

    /// The stream of that name; a stale name is our mistake and traps.
    @inline(__always) static func stream(_ id: StreamID, in session: SessionPointer) -> StreamPointer {
        guard let stream = unsafe find(id, in: session) else {
            preconditionFailure("a stream was used after its release")
        }
        return unsafe stream
    }

    @inline(__always) static func find(_ id: StreamID, in session: SessionPointer) -> StreamPointer? {
        let index = id.slot
        guard unsafe index < session.pointee.slotsUsed, let slots = unsafe session.pointee.slots,
            unsafe slots[index].generation == id.generation
        else { return nil }
        return unsafe slots[index].stream
    }

    static func name(of stream: StreamPointer, in session: SessionPointer) -> StreamID {
        let index = unsafe stream.pointee.slot
        guard let slots = unsafe session.pointee.slots else {
            preconditionFailure("a stream has a slot")
        }
        return unsafe StreamID(slot: index, generation: slots[index].generation)
    }

    /// Takes the slot back and frees what the stream holds.
    static func freeStream(_ stream: StreamPointer, in session: SessionPointer) {
        let index = unsafe stream.pointee.slot
        if unsafe session.pointee.headState == stream { unsafe session.pointee.headState = nil }
        if let slots = unsafe session.pointee.slots {
            unsafe slots[index].stream = nil
            unsafe slots[index].nextFree = session.pointee.firstFree
            unsafe session.pointee.firstFree = Int32(truncatingIfNeeded: index)
        }
        unsafe destroy(stream, in: session.pointee.workspace)
    }

    static func destroy(_ stream: StreamPointer, in workspace: UnsafeMutablePointer<WorkspaceState>) {
        unsafe stream.pointee.head.free(in: workspace)
        unsafe stream.pointee.trailers.free(in: workspace)
        unsafe stream.pointee.interims.free(in: workspace)
        unsafe stream.pointee.outTrailers.free(in: workspace)
        unsafe stream.deinitialize(count: 1)
        unsafe WorkspaceState.free(UnsafeMutableRawPointer(stream), in: workspace)
    }

    /// Notes an event of the stream and lists the stream if it is not.
    static func tell(_ event: StreamMarks, of stream: StreamPointer, in session: SessionPointer) {
        unsafe stream.pointee.marks.formUnion(event)
        guard unsafe !stream.pointee.has(.isListed) else { return }
        unsafe stream.pointee.marks.insert(.isListed)
        unsafe stream.pointee.nextListed = nil
        if let last = unsafe session.pointee.lastListed {
            unsafe last.pointee.nextListed = stream
        } else {
            unsafe session.pointee.firstListed = stream
        }
        unsafe session.pointee.lastListed = stream
    }

    /// Takes the first stream off the list.
    static func unlistFirst(_ stream: StreamPointer, in session: SessionPointer) {
        unsafe session.pointee.firstListed = stream.pointee.nextListed
        if unsafe session.pointee.firstListed == nil { unsafe session.pointee.lastListed = nil }
        unsafe stream.pointee.nextListed = nil
        unsafe stream.pointee.marks.remove(.isListed)
    }

    /// Takes the stream off the list, wherever it stands.
    static func unlist(_ stream: StreamPointer, in session: SessionPointer) {
        guard unsafe stream.pointee.has(.isListed) else { return }
        if unsafe session.pointee.firstListed == stream {
            unsafe unlistFirst(stream, in: session)
            return
        }
        var before = unsafe session.pointee.firstListed
        while let candidate = unsafe before {
            if unsafe candidate.pointee.nextListed == stream {
                unsafe candidate.pointee.nextListed = stream.pointee.nextListed
                if unsafe session.pointee.lastListed == stream {
                    unsafe session.pointee.lastListed = candidate
                }
                break
            }
            unsafe before = candidate.pointee.nextListed
        }
        unsafe stream.pointee.nextListed = nil
        unsafe stream.pointee.marks.remove(.isListed)
    }

    /// Tells the peer of its error, or to calm down, once; all ends with that GOAWAY.
    static func terminateIfAsked(_ session: SessionPointer) {
        let isAsked = unsafe session.pointee.isCalmAsked || session.pointee.connectionError != nil
        guard isAsked, unsafe !session.pointee.isTerminated else { return }
        unsafe session.pointee.isTerminated = true
        let code = unsafe session.pointee.connectionError ?? HTTP2ErrorCode.enhanceYourCalm
        _ = unsafe nghttp2_session_terminate_session(session.pointee.handle, code)
    }

    /// Whether HEADERS on that stream may stand: it is the next one, or was opened before. A stream that the peer passed over
    /// is closed for good (RFC 9113 §5.1.1); nghttp2 ignores what comes on it, as it must on streams that were reset here.
    static func mayOpen(_ number: Int32, in session: SessionPointer) -> Bool {
        let last = unsafe session.pointee.lastOpened
        if number == last &+ 2 {
            unsafe session.pointee.lastOpened = number
            return true
        }
        // Even ones and 0 are nghttp2's to refuse.
        guard number != last, number & 1 == 1 else { return true }
        let ranges = unsafe session.pointee.passedOver
        if number > last {
            unsafe session.pointee.passedOver = (last &+ 1...number &- 1, ranges.0, ranges.1, ranges.2)
            unsafe session.pointee.lastOpened = number
            return true
        }
        return ranges.0?.contains(number) != true && ranges.1?.contains(number) != true
            && ranges.2?.contains(number) != true && ranges.3?.contains(number) != true
    }
}
