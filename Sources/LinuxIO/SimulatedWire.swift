#if SIMULATION
    internal import CLinux
    internal import Memory

    /// Bytes on their way, first in first out.
    struct ByteLine {
        private(set) var bytes: [UInt8] = []
        private(set) var head = 0

        var count: Int { bytes.count - head }
        var isEmpty: Bool { head == bytes.count }
        var all: ArraySlice<UInt8> { bytes[head...] }

        mutating func append(_ more: ArraySlice<UInt8>) { bytes += more }

        mutating func append(_ more: UnsafeRawBufferPointer) { unsafe bytes.append(contentsOf: more) }

        mutating func append(first count: Int, of other: inout ByteLine) {
            bytes += other.bytes[other.head..<other.head + count]
            other.removeFirst(count)
        }

        mutating func removeFirst(_ count: Int) {
            head += count
            if head == bytes.count { removeAll() }
        }

        mutating func removeLast(_ count: Int) { bytes.removeLast(count) }

        mutating func removeAll() {
            bytes.removeAll(keepingCapacity: true)
            head = 0
        }

        /// Moves bytes to `space`; returns how many.
        mutating func fill(_ space: UnsafeMutableRawBufferPointer) -> Int {
            let moving = min(space.count, count)
            guard moving > 0, let to = space.baseAddress else { return 0 }
            unsafe bytes.withUnsafeBytes { from in
                guard let base = from.baseAddress else { return }
                unsafe to.copyMemory(from: base + head, byteCount: moving)
            }
            removeFirst(moving)
            return moving
        }
    }

    /// One connection between the gateway and a peer of the test, who holds this end of it. It behaves as TCP over the
    /// loopback does, but slower and in smaller pieces.
    package final class Wire {
        package enum End { case none, fin, reset }
        package enum State { case connecting, established, failed }

        package let number: Int
        /// Who connects, or where to.
        package let address: SocketAddress
        package internal(set) var state = State.connecting

        // Towards the gateway.
        var inFlight = ByteLine()
        var inFlightEnd = End.none
        var arrived = ByteLine()
        var arrivedEnd = End.none
        /// What the gateway's next call hears once, as SO_ERROR.
        var failure: Int32 = 0
        package var window = 262_144

        // From the gateway.
        var outgoing = ByteLine()
        var outgoingEnd = End.none
        /// How many bytes the kernel takes before the peer reads.
        package var capacity = 262_144
        var needsSpace = false
        var isHeldUp = false
        var isShutDown = false
        var resetsOnClose = false
        package var isClosedByGateway = false
        /// The peer has closed: what the gateway still sends is answered with a reset.
        var isLeft = false
        var socket = -1
        /// Bytes that the kernel took from the gateway, ever.
        package internal(set) var takenBytes = 0
        /// The turn in which the first byte of those since `noteLease` was taken; 0 before.
        package var firstTakenTurn = 0

        init(number: Int, address: SocketAddress) {
            self.number = number
            self.address = address
        }

        var isOver: Bool { (isClosedByGateway || state == .failed) && inFlight.isEmpty }

        var readiness: UInt32 {
            switch state {
            case .connecting: return 0
            case .failed: return CL_EPOLLIN | CL_EPOLLOUT | CL_EPOLLERR | CL_EPOLLHUP | CL_EPOLLRDHUP
            case .established: break
            }
            var bits: UInt32 = 0
            if !arrived.isEmpty || arrivedEnd != .none { bits |= CL_EPOLLIN }
            if arrivedEnd != .none { bits |= CL_EPOLLRDHUP }
            if arrivedEnd == .reset || (arrivedEnd == .fin && isShutDown) { bits |= CL_EPOLLHUP }
            if failure != 0 { bits |= CL_EPOLLERR }
            if arrivedEnd == .reset || (!needsSpace && !isHeldUp && outgoing.count < capacity) {
                bits |= CL_EPOLLOUT
            }
            return bits
        }

        /// A reset goes out; what was on its way before it may be lost.
        func gatewayResets(_ chance: inout Chance) {
            isClosedByGateway = true
            guard outgoingEnd != .reset else { return }
            outgoingEnd = .reset
            outgoing.removeLast(chance.oneIn(2) ? chance.below(outgoing.count + 1) : 0)
        }

        // MARK: The peer's side

        /// How much the peer may send before it has to wait.
        package var sendRoom: Int { 131_072 - inFlight.count }
        package var isSending: Bool { inFlightEnd == .none && arrivedEnd == .none && !isLeft }
        /// Whether all that the peer sent has been read or has come to nothing.
        package var isQuiet: Bool { inFlight.isEmpty && (arrived.isEmpty || isClosedByGateway) }

        package func send(_ bytes: ArraySlice<UInt8>) { if isSending { inFlight.append(bytes) } }

        /// Sends no more, and reads on.
        package func finish() { if isSending { inFlightEnd = .fin } }

        /// Unread bytes make the close a reset (RFC 1122 §4.2.2.13).
        package func close() {
            if isSending { inFlightEnd = outgoing.isEmpty ? .fin : .reset }
            isLeft = true
        }

        /// Bytes that were on their way may be lost.
        package func reset(_ chance: inout Chance) {
            guard inFlightEnd != .reset, arrivedEnd != .reset else { return }
            inFlight.removeLast(chance.oneIn(2) ? chance.below(inFlight.count + 1) : 0)
            inFlightEnd = .reset
            isLeft = true
        }

        package var waitingBytes: Int { outgoing.count }

        /// What the kernel took and the peer has not read: for judging what may have arrived.
        package var unreadBytes: ArraySlice<UInt8> { outgoing.all }

        /// Reads at most `most` bytes behind `buffer`.
        package func take(_ most: Int, into buffer: inout [UInt8]) {
            let count = min(most, outgoing.count)
            guard count > 0 else { return }
            buffer += outgoing.all.prefix(count)
            outgoing.removeFirst(count)
            if needsSpace, !isHeldUp, outgoing.count < capacity {
                needsSpace = false
                SimulatedKernel.shared.wake(self)
            }
        }

        /// How the gateway's side ended, once all before the end has been read.
        package var end: End { outgoing.isEmpty ? outgoingEnd : .none }
    }
#endif
