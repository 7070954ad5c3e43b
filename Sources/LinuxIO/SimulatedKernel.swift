#if SIMULATION
    internal import CLinux
    internal import Memory

    /// Numbers that look like chance and follow from a seed (splitmix64).
    package struct Chance: Sendable {
        private var state: UInt64

        package init(_ seed: UInt64) { state = seed }

        package mutating func next() -> UInt64 {
            state &+= 0x9e37_79b9_7f4a_7c15
            var word = state
            word = (word ^ (word &>> 30)) &* 0xbf58_476d_1ce4_e5b9
            word = (word ^ (word &>> 27)) &* 0x94d0_49bb_1331_11eb
            return word ^ (word &>> 31)
        }

        /// From 0 to `bound` - 1.
        package mutating func below(_ bound: Int) -> Int {
            Int(truncatingIfNeeded: (next() &>> 33) % UInt64(max(bound, 1)))
        }

        /// True once in `count` times; never for 0.
        package mutating func oneIn(_ count: Int) -> Bool { count > 0 && below(count) == 0 }

        /// From 1 to `most`: one byte and all of it are likelier than what lies between.
        package mutating func piece(of most: Int) -> Int {
            guard most > 1 else { return most }
            switch below(8) {
            case 0: return 1
            case 1: return 1 + below(min(most, 64))
            case 2, 3: return 1 + below(most)
            default: return most
            }
        }
    }

    /// How the kernel of one schedule behaves: each number is one in how many calls, 0 for never.
    package struct KernelManners: Sendable {
        package var blockedSends = 0
        package var shortSends = 0
        /// How likely a wire moves while a call is made, not only between turns.
        package var movesDuringCalls = 0
        /// How likely a wire is held up when bytes are carried.
        package var heldUp = 0
        package var failedAccepts = 0
        package var failedConnects = 0
        package var failedWatches = 0
        package init() {}
    }

    /// One open descriptor.
    struct SimulatedSocket {
        enum Kind { case free, poller, wakeUp, listener, stream }
        var kind = Kind.free
        var isWatched = false
        var interest: UInt32 = 0
        var token: UInt64 = 0
        /// In the list of those that have something to tell.
        var isReady = false
        var wire: Wire?
        var signals = 0
        var backlog: [Wire] = []
    }

    /// The kernel, in memory: what `LinuxIO` calls when it is built with `SIMULATION` (see SimulatedCalls.swift). Wires lead
    /// to the other ends, which the test holds. Nothing in it is random but by its seed. One thread.
    package final class SimulatedKernel: @unchecked Sendable {
        package static let shared = SimulatedKernel()

        /// Far from the numbers of real descriptors: a call that is not simulated fails.
        static let firstNumber: Int32 = 1_000_000

        var chance = Chance(0)
        package var manners = KernelManners()
        /// Monotonic nanoseconds.
        package var now: UInt64 = 1_000_000_000
        /// Added to `now` for the wall clock.
        package var wallOffset: UInt64 = 1_790_000_000_000_000_000
        /// The most that one wait may take, in nanoseconds.
        package var patience: UInt64 = 0
        package var isTracing = false
        package private(set) var turn = 0
        /// Whether the last wait found nothing and would have waited.
        package private(set) var isIdle = false
        /// Waits in a row that did not wait, and after which nothing moved.
        package private(set) var idleTurns = 0
        /// What the program under test did that no kernel would take, such as closing a descriptor twice.
        package var faults: [String] = []
        /// Connects that nobody has decided about.
        package var connecting: [Wire] = []

        var sockets: [SimulatedSocket] = []
        private(set) var wires: [Wire] = []
        private var ready: [Int] = []
        private var progress = 0
        private var progressAtWait = 0
        private var wireCount = 0

        /// A fresh start: nothing may be open.
        package func begin(seed: UInt64) {
            chance = Chance(seed)
            manners = KernelManners()
            wires.removeAll()
            connecting.removeAll()
            faults.removeAll()
            wireCount = 0
            turn = 0
            idleTurns = 0
        }

        /// Forgets all descriptors and what time it is, for a new worker: a replay begins with it.
        package func forgetAll() {
            now = 1_000_000_000
            wallOffset = 1_790_000_000_000_000_000
            sockets.removeAll()
            ready.removeAll()
            wires.removeAll()
        }

        package var openCount: Int { sockets.reduce(0) { $0 + ($1.kind == .free ? 0 : 1) } }

        /// Clients whom nobody has accepted yet.
        package var unaccepted: Int { sockets.reduce(0) { $0 + $1.backlog.count } }

        package func trace(_ text: @autoclosure () -> String) {
            if isTracing { print("      kernel: " + text()) }
        }

        // MARK: The other ends

        package func listen() -> Int32 { open(.listener) }

        package func closeListener(_ number: Int32) {
            let index = Int(number - SimulatedKernel.firstNumber)
            for wire in sockets[index].backlog { wire.gatewayResets(&chance) }
            sockets[index] = SimulatedSocket()
        }

        /// A client connects; its bytes may come before it is accepted.
        package func connect(to listener: Int32, address: SocketAddress) -> Wire {
            let wire = makeWire(address)
            wire.state = .established
            sockets[Int(listener - SimulatedKernel.firstNumber)].backlog.append(wire)
            return wire
        }

        package func accept(_ wire: Wire) {
            guard wire.state == .connecting else { return }
            wire.state = .established
            connecting.removeAll { $0 === wire }
            wake(wire)
        }

        package func refuse(_ wire: Wire) {
            guard wire.state == .connecting else { return }
            wire.state = .failed
            wire.failure = ECONNREFUSED
            connecting.removeAll { $0 === wire }
            wake(wire)
        }

        /// Moves what is on the wires, some of it or, where `isAll`, everything.
        package func carry(isAll: Bool = false) {
            for wire in wires { if isAll || !chance.oneIn(manners.heldUp) { carry(wire, isAll: isAll) } }
            wires.removeAll { $0.isOver }
        }

        /// Brings all that is on its way to the gateway at once.
        package func carryWhole(_ wire: Wire) {
            wire.window = max(wire.window, wire.inFlight.count + wire.arrived.count)
            carry(wire, isAll: true)
        }

        func carry(_ wire: Wire, isAll: Bool) {
            guard wire.state == .established else { return }
            if wire.isClosedByGateway {
                // Bytes that come to a closed socket are answered with a reset.
                if !wire.inFlight.isEmpty { wire.gatewayResets(&chance) }
                wire.inFlight.removeAll()
                return
            }
            var hasMoved = false
            let room = min(wire.inFlight.count, wire.window - wire.arrived.count)
            if room < wire.inFlight.count, chance.oneIn(3) { wire.window = min(wire.window * 4, 1 << 22) }
            if room > 0 {
                let count = isAll ? room : chance.piece(of: room)
                wire.arrived.append(first: count, of: &wire.inFlight)
                hasMoved = true
            }
            if wire.inFlight.isEmpty, wire.inFlightEnd != .none {
                // As Linux has it: a reset behind an end is a broken pipe. The next call hears of it, once.
                if wire.inFlightEnd == .reset, wire.arrivedEnd != .reset {
                    wire.failure = wire.arrivedEnd == .fin ? EPIPE : ECONNRESET
                }
                wire.arrivedEnd = wire.inFlightEnd
                wire.inFlightEnd = .none
                hasMoved = true
            }
            if wire.isHeldUp || wire.needsSpace, wire.outgoing.count < wire.capacity {
                wire.isHeldUp = false
                wire.needsSpace = false
                hasMoved = true
            }
            if hasMoved { wake(wire) }
        }

        private func makeWire(_ address: SocketAddress) -> Wire {
            wireCount += 1
            let wire = Wire(number: wireCount, address: address)
            wires.append(wire)
            return wire
        }

        // MARK: What the calls do

        func open(_ kind: SimulatedSocket.Kind, _ wire: Wire? = nil) -> Int32 {
            var socket = SimulatedSocket()
            socket.kind = kind
            socket.wire = wire
            progress += 1
            // The lowest free number, as every kernel gives it: stale numbers are found out.
            let index = sockets.firstIndex { $0.kind == .free } ?? sockets.count
            if index == sockets.count { sockets.append(socket) } else { sockets[index] = socket }
            wire?.socket = index
            return SimulatedKernel.firstNumber + Int32(index)
        }

        /// The place of a descriptor of that kind; a wrong one is noted.
        func index(_ number: Int32, _ kind: SimulatedSocket.Kind, _ call: StaticString) -> Int? {
            let index = Int(number) - Int(SimulatedKernel.firstNumber)
            guard index >= 0, index < sockets.count, sockets[index].kind == kind else {
                faults.append("\(call) on a descriptor that is not open: \(index)")
                return nil
            }
            return index
        }

        func wire(_ number: Int32, _ call: StaticString) -> Wire? {
            guard let index = index(number, .stream, call) else { return nil }
            return sockets[index].wire
        }

        func moved() { progress += 1 }

        func mayMove() {
            guard chance.oneIn(manners.movesDuringCalls), !wires.isEmpty else { return }
            carry(wires[chance.below(wires.count)], isAll: false)
        }

        func beginConnect(_ address: SocketAddress) -> Int32 {
            if chance.oneIn(manners.failedConnects) { return -(chance.oneIn(2) ? ENETUNREACH : EMFILE) }
            let wire = makeWire(address)
            connecting.append(wire)
            let number = open(.stream, wire)
            trace("connect wire \(wire.number) to port \(address.port)")
            return number
        }

        func close(_ number: Int32) -> Int32 {
            let index = Int(number) - Int(SimulatedKernel.firstNumber)
            guard index >= 0, index < sockets.count, sockets[index].kind != .free else {
                faults.append("close of a descriptor that is not open: \(index)")
                return -EBADF
            }
            progress += 1
            if let wire = sockets[index].wire {
                trace("close wire \(wire.number)")
                connecting.removeAll { $0 === wire }
                wire.socket = -1
                wire.isClosedByGateway = true
                // Unread bytes make the close a reset (RFC 1122 §4.2.2.13).
                if wire.resetsOnClose || !wire.arrived.isEmpty {
                    wire.gatewayResets(&chance)
                } else if wire.outgoingEnd == .none {
                    wire.outgoingEnd = .fin
                }
            }
            if sockets[index].isReady { ready.removeAll { $0 == index } }
            sockets[index] = SimulatedSocket()
            return 0
        }

        func watch(_ operation: Int32, _ number: Int32, _ interest: UInt32, _ token: UInt64) -> Int32 {
            let index = Int(number) - Int(SimulatedKernel.firstNumber)
            guard index >= 0, index < sockets.count, sockets[index].kind != .free else {
                faults.append("epoll_ctl on a descriptor that is not open: \(index)")
                return -EBADF
            }
            progress += 1
            switch operation {
            case EPOLL_CTL_ADD:
                guard !sockets[index].isWatched else { return -EEXIST }
                if sockets[index].kind == .stream, chance.oneIn(manners.failedWatches) { return -ENOSPC }
                sockets[index].isWatched = true
            case EPOLL_CTL_MOD:
                guard sockets[index].isWatched else { return -ENOENT }
            default:
                guard sockets[index].isWatched else { return -ENOENT }
                sockets[index].isWatched = false
                return 0
            }
            sockets[index].interest = interest | CL_EPOLLERR | CL_EPOLLHUP
            sockets[index].token = token
            // Whatever is ready already is told (epoll(7)).
            if sockets[index].kind == .stream { wake(index) }
            return 0
        }

        func wake(_ wire: Wire) { if wire.socket >= 0 { wake(wire.socket) } }

        private func wake(_ index: Int) {
            guard sockets[index].isWatched, !sockets[index].isReady else { return }
            sockets[index].isReady = true
            ready.append(index)
        }

        private func readiness(_ index: Int) -> UInt32 {
            switch sockets[index].kind {
            case .free, .poller: return 0
            case .wakeUp: return sockets[index].signals > 0 ? CL_EPOLLIN : 0
            case .listener: return sockets[index].backlog.isEmpty ? 0 : CL_EPOLLIN
            case .stream: return sockets[index].wire?.readiness ?? 0
            }
        }

        /// Calls `tell` with each event, at most `most` of them; returns how many there were.
        func wait(milliseconds: Int32, most: Int, _ tell: (Int, UInt64, UInt32) -> Void) -> Int {
            turn += 1
            mayMove()
            var count = 0
            for index in sockets.indices
            where sockets[index].isWatched && sockets[index].kind != .stream && count < most {
                let bits = readiness(index) & sockets[index].interest
                guard bits != 0 else { continue }
                tell(count, sockets[index].token, bits)
                count += 1
            }
            let start = chance.below(ready.count)
            for offset in 0..<ready.count {
                let index = ready[(start + offset) % ready.count]
                sockets[index].isReady = false
                let bits = readiness(index) & sockets[index].interest
                guard sockets[index].isWatched, bits != 0, count < most else { continue }
                trace("wire \(sockets[index].wire?.number ?? 0) is ready: \(String(bits, radix: 16))")
                tell(count, sockets[index].token, bits)
                count += 1
            }
            ready.removeAll(keepingCapacity: true)
            isIdle = count == 0 && milliseconds != 0
            if isIdle {
                let most = milliseconds < 0 ? 1_000_000 : UInt64(milliseconds) * 1_000_000
                now += min(most, patience)
                idleTurns = 0
            } else {
                idleTurns = progress == progressAtWait ? idleTurns + 1 : 0
                now += UInt64(chance.below(100_000))
            }
            progressAtWait = progress
            return count
        }
    }
#endif
