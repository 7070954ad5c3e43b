import LinuxIO
import Memory
import Reactor
import TLS
import Upstreams

/// What one step of reading from a service has come to.
enum ServiceRead {
    /// So many bytes more, in the clear where that was asked for.
    case bytes(Int)
    /// The service sends no more.
    case ended
    /// Nothing is there, or the connection has had its share of the turn, or there is no block for it: it is come back to.
    case paused
    case broken
}

// The one way in which bytes of a service are read, whatever its connection carries.
extension Worker {
    /// One step: what has come encrypted, or else the socket. `isBody` reads more at once; what `isLong` is read only while
    /// there are blocks enough.
    @inline(__always) mutating func readService(
        _ id: SlabID, isBody: Bool, isLong: Bool, _ loop: inout EventLoop
    ) -> ServiceRead {
        if pools.connections[id].hasTLS {
            return readSealed(id, isBody: isBody, isLong: isLong, &loop)
        }
        let step = receiveFromService(id, isBody: isBody, isLong: isLong, &loop)
        if case .bytes(let count) = step { pools.connections[id].receivedBytes &+= count }
        return step
    }

    @inline(never) private mutating func readSealed(
        _ id: SlabID, isBody: Bool, isLong: Bool, _ loop: inout EventLoop
    ) -> ServiceRead {
        decryptService(id, &loop) ?? receiveFromService(id, isBody: isBody, isLong: isLong, &loop)
    }

    /// One read of the socket: into the clear, or to be decrypted.
    @inline(__always) mutating func receiveFromService(
        _ id: SlabID, isBody: Bool, isLong: Bool, _ loop: inout EventLoop
    ) -> ServiceRead {
        guard pools.connections[id].mayHaveMore else { return .paused }
        guard pools.connections[id].turnBytes < Worker.turnBytes else {
            queue(upstream: id, &loop)
            return .paused
        }
        guard mayRead || !isLong && blocks.canTake(Worker.keptBlocks) else {
            awaitBlocks(upstream: id, &loop)
            return .paused
        }
        switch pools.connections[id].receive(isBody: isBody, from: blocks) {
        case .bytes(let count):
            pools.connections[id].turnBytes &+= count
            // Edge-triggered: a short read has emptied the socket, unless the end of the stream stands behind it.
            if !pools.connections[id].wasReadFull, !pools.connections[id].isEnding {
                pools.connections[id].mayHaveMore = false
            }
            return .bytes(count)
        case .wouldBlock:
            pools.connections[id].mayHaveMore = false
            return .paused
        case .ended:
            pools.connections[id].mayHaveMore = false
            pools.connections[id].hasEnded = true
            return .ended
        case .outOfBlocks:
            awaitBlocks(upstream: id, &loop)
            return .paused
        case .failed:
            pools.connections[id].mayHaveMore = false
            return .broken
        }
    }

    /// Decrypts what has come; `nil` when the socket has to be read for more.
    @inline(never) private mutating func decryptService(
        _ id: SlabID, _ loop: inout EventLoop
    ) -> ServiceRead? {
        guard pools.connections[id].hasCiphertext else { return nil }
        let step = pools.connections[id].decrypt(limit: Worker.turnBytes, from: blocks)
        // A key update or an alert may have to be answered.
        if pools.connections[id].hasOutput { markDirty(upstream: id) }
        switch step {
        case .progress(let count):
            pools.connections[id].receivedBytes &+= count
            return count > 0 ? .bytes(count) : nil
        case .closed:
            pools.connections[id].mayHaveMore = false
            pools.connections[id].isEnding = true
            pools.connections[id].hasEnded = true
            return .ended
        case .outOfBlocks:
            awaitBlocks(upstream: id, &loop)
            return .paused
        case .failed:
            pools.connections[id].mayHaveMore = false
            return .broken
        }
    }
}
