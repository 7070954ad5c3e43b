public import LinuxIO
public import Memory
internal import Reactor

/// Where a connection to an endpoint stands.
@frozen public enum UpstreamPhase: UInt8, Sendable {
    /// The connect is under way.
    case connecting
    /// It carries the exchange of its holder.
    case leased
    /// It waits in its endpoint's pool.
    case idle
}

/// One connection to an endpoint. It owns no block while it is idle.
public struct UpstreamConnection: ~Copyable {
    public let descriptor: Descriptor
    public let endpoint: Int
    public let service: Int
    public internal(set) var phase: UpstreamPhase
    /// The exchange that has leased it, `none` while idle.
    public internal(set) var holder: SlabID
    /// Whether an exchange before this one was carried, so that the peer may have closed it meanwhile.
    public internal(set) var isReused = false

    /// Read and not yet used.
    public var inbound = ByteQueue()
    /// To be written.
    public var outbound = ByteQueue()
    /// Bytes that the kernel took since the lease; 0 means that the request surely did not arrive.
    public var sentBytes = 0
    /// Bytes that came since the lease; 0 on a kept connection that ends means that the service had closed it before.
    public var receivedBytes = 0
    /// How far the search for the end of the response head has come.
    public var scannedBytes = 0
    /// The kernel may hold more to read.
    public var mayHaveMore = false
    /// The peer has closed, or the connection is broken: read on to the end even after a short read.
    public var isEnding = false
    /// The end of the stream has been read.
    public var hasEnded = false
    /// On the list of those to be flushed at the end of the turn.
    public var isDirty = false
    /// On the ready list of the loop, for the next turn.
    public var isQueued = false
    /// Bytes read in this turn.
    public var turnBytes = 0
    /// The kernel takes no more for now.
    public var isBlocked = false

    /// When the current wait is over, monotonic nanoseconds; `.max` when nothing is waited for.
    public internal(set) var deadline = UInt64.max
    var timer = TimerID.none
    var timerFires = UInt64.max
    var previousIdle = SlabID.none
    var nextIdle = SlabID.none

    init(descriptor: consuming Descriptor, endpoint: Int, service: Int, holder: SlabID) {
        self.descriptor = descriptor
        self.endpoint = endpoint
        self.service = service
        self.holder = holder
        phase = .connecting
    }

    /// Reads once; the phase of the exchange says whether a body is expected.
    public mutating func receive(isBody: Bool, from pool: borrowing BlockPool) -> IOStep {
        isBody
            ? descriptor.receiveBody(into: &inbound, from: pool)
            : descriptor.receive(into: &inbound, from: pool)
    }

    /// The kernel takes nothing any more: what waits is dropped, but if nothing was ever taken it is kept for another try.
    public mutating func outboundFailed() { if sentBytes > 0 { outbound.removeAll() } }

    /// Writes what waits, as much as the kernel takes.
    public mutating func flush() -> IOStep {
        let step = descriptor.send(from: &outbound)
        if case .bytes(let count) = step { sentBytes &+= count }
        return step
    }
}
