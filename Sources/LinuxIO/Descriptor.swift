internal import CLinux
public import Memory

/// What came of one read or write.
@frozen public enum IOStep: Equatable, Sendable {
    case bytes(Int)
    /// Nothing now; the poller will say when.
    case wouldBlock
    /// The peer has closed its side (reads only).
    case ended
    /// The pool has no block to read into (reads only).
    case outOfBlocks
    case failed(SystemError)
}

/// An open file descriptor, owned; closed when its owner lets go.
@frozen public struct Descriptor: ~Copyable, Sendable {
    public let number: Int32

    /// Takes ownership of an open descriptor.
    @inlinable public init(owning number: Int32) { self.number = number }

    deinit { closeDescriptor(number) }

    /// Gives up ownership without closing.
    @inlinable public consuming func release() -> Int32 {
        let number = number
        discard self
        return number
    }

    private static func step(_ result: Int) -> IOStep {
        if result > 0 { return .bytes(result) }
        if result == 0 { return .ended }
        let code = Int32(truncatingIfNeeded: -result)
        return code == EAGAIN || code == EINTR ? .wouldBlock : .failed(SystemError(code: code))
    }

    /// One `recv` behind what `queue` holds, or into a fresh block when the last one has little room.
    public func receive(into queue: inout ByteQueue, from pool: borrowing BlockPool) -> IOStep {
        var result = 0
        let number = number
        let filled = unsafe queue.fillUnsafely(minimum: 2048, from: pool) { space in
            result = unsafe cl_recv(number, space.baseAddress, space.count)
            return max(result, 0)
        }
        return filled == nil ? .outOfBlocks : Descriptor.step(result)
    }

    /// One `readv` into up to four fresh blocks: what a body deserves, where small reads cost a call each.
    public func receiveBody(into queue: inout ByteQueue, from pool: borrowing BlockPool) -> IOStep {
        var result = 0
        let number = number
        let filled = unsafe queue.fillFourUnsafely(from: pool) { spaces, count in
            var parts = unsafe InlineArray<4, iovec>(repeating: iovec())
            for index in 0..<count {
                unsafe parts[index] = iovec(iov_base: spaces[index].baseAddress, iov_len: spaces[index].count)
            }
            result = unsafe withUnsafePointer(to: &parts) { list in
                unsafe list.withMemoryRebound(to: iovec.self, capacity: 4) { first in
                    unsafe cl_readv(number, first, Int32(count))
                }
            }
            return max(result, 0)
        }
        return filled == nil ? .outOfBlocks : Descriptor.step(result)
    }

    /// One `send` or `sendmsg` of what `queue` holds; what was taken by the kernel is consumed.
    public func send(from queue: inout ByteQueue) -> IOStep {
        guard !queue.isEmpty else { return .bytes(0) }
        let result: Int
        if queue.blockCount == 1 {
            let number = number
            result = unsafe queue.firstBytes.withUnsafeBytes { bytes in
                unsafe cl_send(number, bytes.baseAddress, bytes.count)
            }
        } else {
            result = sendMany(queue)
        }
        if result > 0 { queue.consume(result) }
        return result == 0 ? .wouldBlock : Descriptor.step(result)
    }

    /// One `send` of as much of `bytes` as the kernel takes.
    public func send(_ bytes: RawSpan) -> IOStep {
        guard bytes.byteCount > 0 else { return .bytes(0) }
        let number = number
        let result = unsafe bytes.withUnsafeBytes { unsafe cl_send(number, $0.baseAddress, $0.count) }
        return result == 0 ? .wouldBlock : Descriptor.step(result)
    }

    private func sendMany(_ queue: borrowing ByteQueue) -> Int {
        // 16 blocks are 256 KiB: more than a socket's buffer takes at once.
        let most = 16
        return unsafe withUnsafeTemporaryAllocation(of: iovec.self, capacity: most) { parts in
            var count = 0
            queue.forEachBlock { span in
                unsafe span.withUnsafeBytes { bytes in
                    unsafe parts[count] = iovec(
                        iov_base: UnsafeMutableRawPointer(mutating: bytes.baseAddress), iov_len: bytes.count)
                }
                count += 1
                return count < most
            }
            return unsafe cl_sendv(number, parts.baseAddress, Int32(count))
        }
    }

    /// Tells the peer that nothing more comes (`shutdown(SHUT_WR)`).
    public func shutdownWriting() { _ = cl_shutdown_write(number) }

    /// Makes the close that follows a reset instead of an end.
    public func resetOnClose() { _ = cl_reset_on_close(number) }

    /// Bytes that the kernel has taken from us and the peer's has not acknowledged (`SIOCOUTQ`); 0 where that cannot be told.
    public var unacknowledgedBytes: Int { max(Int(cl_unacknowledged(number)), 0) }

    /// What became of a connect: `nil` when it stands (`SO_ERROR`).
    public func connectError() -> SystemError? {
        let code = cl_socket_error(number)
        return code == 0 ? nil : SystemError(code: code)
    }

    /// Writes all of `bytes`, waiting as long as it takes; for log files and pipes, on threads that may wait.
    public func writeAll(_ bytes: RawSpan) throws(SystemError) {
        var offset = 0
        while offset < bytes.byteCount {
            let number = number
            let result = unsafe bytes.extracting(offset..<bytes.byteCount).withUnsafeBytes { part in
                unsafe cl_write(number, part.baseAddress, part.count)
            }
            if result >= 0 {
                offset += result
            } else if result != -Int(EINTR) {
                throw SystemError(code: Int32(-result))
            }
        }
    }
}

@usableFromInline func closeDescriptor(_ number: Int32) { _ = cl_close(number) }
