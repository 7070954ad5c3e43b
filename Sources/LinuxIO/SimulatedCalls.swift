// swift-format-ignore-file: AlwaysUseLowerCamelCase

#if SIMULATION
    internal import CLinux
    internal import Memory

    // The calls of the C door by which the loop and its sockets reach the kernel, under the same names and with the same
    // types: a module's own declaration hides an imported one, so that the callers need not know, and a build without
    // `SIMULATION` is the same to the byte.

    private var kernel: SimulatedKernel { SimulatedKernel.shared }

    func cl_epoll_create() -> Int32 { kernel.open(.poller) }

    func cl_epoll_ctl(
        _ poller: Int32, _ operation: Int32, _ descriptor: Int32, _ events: UInt32, _ token: UInt64
    ) -> Int32 { kernel.watch(operation, descriptor, events, token) }

    func cl_epoll_wait(
        _ poller: Int32, _ events: UnsafeMutablePointer<epoll_event>?, _ count: Int32, _ milliseconds: Int32
    ) -> Int32 {
        guard let events = unsafe events else { return -EFAULT }
        let found = kernel.wait(milliseconds: milliseconds, most: Int(count)) { index, token, bits in
            unsafe events[index].data.u64 = token
            unsafe events[index].events = bits
        }
        return Int32(found)
    }

    func cl_recv(_ descriptor: Int32, _ bytes: UnsafeMutableRawPointer?, _ count: Int) -> Int {
        unsafe receive(descriptor, [UnsafeMutableRawBufferPointer(start: bytes, count: count)])
    }

    func cl_readv(_ descriptor: Int32, _ parts: UnsafePointer<iovec>?, _ count: Int32) -> Int {
        guard let parts = unsafe parts else { return -Int(EFAULT) }
        return unsafe receive(
            descriptor,
            (0..<Int(count)).map {
                unsafe UnsafeMutableRawBufferPointer(start: parts[$0].iov_base, count: parts[$0].iov_len)
            })
    }

    private func receive(_ descriptor: Int32, _ spaces: [UnsafeMutableRawBufferPointer]) -> Int {
        guard let wire = kernel.wire(descriptor, "recv") else { return -Int(EBADF) }
        kernel.mayMove()
        defer { kernel.mayMove() }
        guard !wire.arrived.isEmpty else {
            if wire.failure != 0 {
                let code = wire.failure
                wire.failure = 0
                kernel.moved()
                return -Int(code)
            }
            return wire.arrivedEnd == .none ? -Int(EAGAIN) : 0
        }
        var total = 0
        for index in unsafe 0..<spaces.count { total += unsafe wire.arrived.fill(spaces[index]) }
        kernel.moved()
        kernel.trace("recv wire \(wire.number): \(total) bytes")
        return total
    }

    func cl_send(_ descriptor: Int32, _ bytes: UnsafeRawPointer?, _ count: Int) -> Int {
        unsafe send(descriptor, [UnsafeRawBufferPointer(start: bytes, count: count)])
    }

    func cl_sendv(_ descriptor: Int32, _ parts: UnsafeMutablePointer<iovec>?, _ count: Int32) -> Int {
        guard let parts = unsafe parts else { return -Int(EFAULT) }
        return unsafe send(
            descriptor,
            (0..<Int(count)).map {
                unsafe UnsafeRawBufferPointer(start: parts[$0].iov_base, count: parts[$0].iov_len)
            })
    }

    private func send(_ descriptor: Int32, _ parts: [UnsafeRawBufferPointer]) -> Int {
        guard let wire = kernel.wire(descriptor, "send") else { return -Int(EBADF) }
        kernel.mayMove()
        defer { kernel.mayMove() }
        if wire.failure != 0 {
            let code = wire.failure
            wire.failure = 0
            kernel.moved()
            return -Int(code)
        }
        if wire.isShutDown || wire.arrivedEnd == .reset || wire.state != .established { return -Int(EPIPE) }
        let isStuck = wire.outgoing.count >= wire.capacity || wire.isHeldUp
        if isStuck || kernel.chance.oneIn(kernel.manners.blockedSends) {
            wire.needsSpace = true
            // Buffers grow, as those of a kernel do; else a byte at a time would be all that a schedule sees.
            if kernel.chance.oneIn(3) { wire.capacity = min(wire.capacity * 4, 1 << 22) }
            wire.isHeldUp = wire.isHeldUp || !isStuck
            return -Int(EAGAIN)
        }
        let total = unsafe parts.reduce(0) { $0 + $1.count }
        var room = min(total, wire.isLeft ? total : wire.capacity - wire.outgoing.count)
        if kernel.chance.oneIn(kernel.manners.shortSends) { room = kernel.chance.piece(of: room) }
        var left = room
        for index in unsafe 0..<parts.count where left > 0 {
            let piece = unsafe min(left, parts[index].count)
            unsafe wire.outgoing.append(UnsafeRawBufferPointer(rebasing: parts[index][0..<piece]))
            left -= piece
        }
        if wire.firstTakenTurn == 0 { wire.firstTakenTurn = kernel.turn }
        wire.takenBytes += room
        // Nobody is there: a reset comes back.
        if wire.isLeft, wire.inFlightEnd != .reset { wire.inFlightEnd = .reset }
        kernel.moved()
        kernel.trace("send wire \(wire.number): \(room) of \(total) bytes")
        return room
    }

    func cl_close(_ descriptor: Int32) -> Int32 { kernel.close(descriptor) }

    func cl_shutdown_write(_ descriptor: Int32) -> Int32 {
        guard let wire = kernel.wire(descriptor, "shutdown") else { return -EBADF }
        wire.isShutDown = true
        if wire.outgoingEnd == .none { wire.outgoingEnd = .fin }
        kernel.moved()
        return 0
    }

    func cl_reset_on_close(_ descriptor: Int32) -> Int32 {
        guard let wire = kernel.wire(descriptor, "setsockopt") else { return -EBADF }
        wire.resetsOnClose = true
        return 0
    }

    func cl_no_delay(_ descriptor: Int32) -> Int32 { 0 }

    func cl_accept(
        _ listener: Int32, _ isV6: UnsafeMutablePointer<Int32>?, _ bytes: UnsafeMutablePointer<UInt8>?,
        _ port: UnsafeMutablePointer<UInt16>?
    ) -> Int32 {
        guard let index = kernel.index(listener, .listener, "accept") else { return -EBADF }
        guard !kernel.sockets[index].backlog.isEmpty else { return -EAGAIN }
        if kernel.chance.oneIn(kernel.manners.failedAccepts) {
            return -(kernel.chance.oneIn(2) ? EMFILE : EINTR)
        }
        let wire = kernel.sockets[index].backlog.removeFirst()
        unsafe isV6?.pointee = wire.address.isV6 ? 1 : 0
        unsafe port?.pointee = wire.address.port
        wire.address.withAddressBytes { source in
            for offset in 0..<16 { unsafe bytes?[offset] = source[offset] }
        }
        kernel.trace("accept wire \(wire.number)")
        return kernel.open(.stream, wire)
    }

    func cl_connect(_ isV6: Int32, _ bytes: UnsafePointer<UInt8>?, _ port: UInt16) -> Int32 {
        kernel.beginConnect(SocketAddress(high: 0, low: 0, port: port, isV6: isV6 != 0))
    }

    func cl_socket_error(_ descriptor: Int32) -> Int32 {
        guard let wire = kernel.wire(descriptor, "getsockopt") else { return EBADF }
        let code = wire.failure
        wire.failure = 0
        kernel.moved()
        return code
    }

    func cl_eventfd() -> Int32 { kernel.open(.wakeUp) }

    func cl_eventfd_add(_ descriptor: Int32) -> Int32 {
        guard let index = kernel.index(descriptor, .wakeUp, "write") else { return -EBADF }
        kernel.sockets[index].signals += 1
        return 8
    }

    func cl_eventfd_take(_ descriptor: Int32) -> Int32 {
        guard let index = kernel.index(descriptor, .wakeUp, "read") else { return -EBADF }
        kernel.sockets[index].signals = 0
        kernel.moved()
        return 8
    }

    func cl_clock(_ clock: Int32) -> UInt64 {
        clock == Int32(CL_CLOCK_MONOTONIC) ? kernel.now : kernel.now &+ kernel.wallOffset
    }
#endif
