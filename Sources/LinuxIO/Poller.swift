internal import CLinux

/// What the kernel says of a descriptor.
@frozen public struct Readiness: Sendable {
    public let bits: UInt32

    @inlinable public init(bits: UInt32) { self.bits = bits }

    @inlinable public var isReadable: Bool { bits & 0x001 != 0 }
    @inlinable public var isWritable: Bool { bits & 0x004 != 0 }
    /// The peer will send no more, or the connection is broken: read on to the end, even after a short read.
    @inlinable public var isEnding: Bool { bits & (0x2000 | 0x010 | 0x008) != 0 }
}

/// What a descriptor is watched for. Connections are edge-triggered.
@frozen public enum Interest: Sendable {
    case reading
    case readingAndWriting
    /// Level-triggered reading: listeners, wake-ups, signals.
    case level
    /// Level-triggered reading by one thread of several (EPOLLEXCLUSIVE).
    case levelExclusive

    var bits: UInt32 {
        switch self {
        case .reading: CL_EPOLLIN | CL_EPOLLRDHUP | CL_EPOLLET
        case .readingAndWriting: CL_EPOLLIN | CL_EPOLLOUT | CL_EPOLLRDHUP | CL_EPOLLET
        case .level: CL_EPOLLIN
        case .levelExclusive: CL_EPOLLIN | CL_EPOLLEXCLUSIVE
        }
    }
}

/// One epoll instance and the events of its last wait. `epoll_wait(2)`.
@safe public struct Poller: ~Copyable {
    private let descriptor: Descriptor
    private let events: UnsafeMutablePointer<epoll_event>
    private let capacity: Int
    private var found = 0

    /// `capacity` is how many events one wait can bring.
    public init(capacity: Int = 256) throws(SystemError) {
        precondition(capacity > 0)
        descriptor = Descriptor(owning: try SystemError.check(cl_epoll_create()))
        self.capacity = capacity
        unsafe events = .allocate(capacity: capacity)
        unsafe events.initialize(repeating: epoll_event(), count: capacity)
    }

    deinit { unsafe events.deallocate() }

    public func add(_ number: Int32, token: UInt64, interest: Interest) throws(SystemError) {
        _ = try SystemError.check(
            cl_epoll_ctl(descriptor.number, EPOLL_CTL_ADD, number, interest.bits, token))
    }

    public func modify(_ number: Int32, token: UInt64, interest: Interest) throws(SystemError) {
        _ = try SystemError.check(
            cl_epoll_ctl(descriptor.number, EPOLL_CTL_MOD, number, interest.bits, token))
    }

    public func remove(_ number: Int32) { _ = cl_epoll_ctl(descriptor.number, EPOLL_CTL_DEL, number, 0, 0) }

    /// Waits at most `milliseconds` (-1: for ever); returns how many events there are. A signal ends it with none.
    public mutating func wait(milliseconds: Int32) -> Int {
        let result = unsafe cl_epoll_wait(descriptor.number, events, Int32(capacity), milliseconds)
        found = max(Int(result), 0)
        return found
    }

    public func token(_ index: Int) -> UInt64 {
        precondition(index >= 0 && index < found)
        return unsafe cl_epoll_token(events + index)
    }

    public func readiness(_ index: Int) -> Readiness {
        precondition(index >= 0 && index < found)
        return unsafe Readiness(bits: events[index].events)
    }
}

/// Wakes a poller from another thread (`eventfd(2)`).
public struct WakeUp: ~Copyable, Sendable {
    private let descriptor: Descriptor

    public init() throws(SystemError) { descriptor = Descriptor(owning: try SystemError.check(cl_eventfd())) }

    public var number: Int32 { descriptor.number }
    public func signal() { _ = cl_eventfd_add(descriptor.number) }
    /// Signals the wake-up with this number, whoever owns it.
    public static func signal(number: Int32) { _ = cl_eventfd_add(number) }
    public func clear() { _ = cl_eventfd_take(descriptor.number) }
}

/// The signals that a server answers to, read as events (`signalfd(2)`).
public struct SignalSource: ~Copyable, Sendable {
    public enum Name: Sendable { case hangUp, terminate, interrupt, user1, other }

    private let descriptor: Descriptor

    /// Blocks the signals in this thread; call it before any other thread is started, since those inherit the mask.
    public init() throws(SystemError) {
        _ = cl_ignore_sigpipe()
        let signals = [SIGHUP, SIGTERM, SIGINT, SIGUSR1]
        let result = unsafe signals.withUnsafeBufferPointer { list in
            unsafe cl_signalfd(list.baseAddress, Int32(list.count))
        }
        descriptor = Descriptor(owning: try SystemError.check(result))
    }

    public var number: Int32 { descriptor.number }

    /// Whether the process, with its signals blocked, has been told to end. All signals stay where they are, for `take`.
    public static var isEndPending: Bool { cl_signal_pending(SIGTERM, SIGINT) > 0 }

    /// The next signal that came, `nil` when none did.
    public func take() -> Name? {
        let number = cl_signalfd_take(descriptor.number)
        switch number {
        case SIGHUP: return .hangUp
        case SIGTERM: return .terminate
        case SIGINT: return .interrupt
        case SIGUSR1: return .user1
        default: return number < 0 ? nil : .other
        }
    }
}
