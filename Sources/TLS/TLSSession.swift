internal import COpenSSL
public import Memory

/// One connection's TLS: ciphertext in and out as queues, plaintext in and out as queues. It owns no block of its own, so an
/// idle connection holds none. One thread at a time.
///
/// Each call may append to `output` (handshake messages, alerts, answers to key updates), so flush that afterwards whatever the
/// answer was. When blocks run out in the middle, nothing is lost: call again with the same queues once there are some.
///
/// Invariant that makes it safe: `handle` owns `bio`, and the BIO's data points at the queues of a call only while that call runs.
@safe public struct TLSSession: ~Copyable {
    let handle: OpaquePointer
    private let bio: OpaquePointer
    /// Set once; OpenSSL does not go on after a failure either.
    private var failure: TLSFailure?
    /// How many plaintext bytes the write that ran out of blocks was given; the next one must be given the same.
    private var unfinishedBytes = 0

    /// What a handshake has come to.
    public enum HandshakeStep: Equatable, Sendable {
        /// Both sides are agreed; what is left in `ciphertext` is for `read`.
        case done
        /// More ciphertext, please.
        case wantsRead
        /// The pool is exhausted: call again when there are blocks, ciphertext or not.
        case outOfBlocks
        case failed(TLSFailure)
    }

    /// Why a read stopped. How far it came is what `plaintext` has gained.
    public enum ReadStep: Equatable, Sendable {
        /// So many bytes were appended, 0 or more: `limit` is reached (`hasPendingPlaintext`, or ciphertext is left), or the
        /// ciphertext is used up.
        case progress(Int)
        /// The peer said `close_notify` behind what `plaintext` holds now: a clean end.
        case closed
        /// The pool is exhausted. `plaintext` may have gained.
        case outOfBlocks
        /// `plaintext` may have gained; what it gained was authentic.
        case failed(TLSFailure)
    }

    /// Why a write stopped. What is not yet encrypted is still in `plaintext`.
    public enum WriteStep: Equatable, Sendable {
        /// So many bytes were encrypted: all, or `limit`.
        case progress(Int)
        /// The pool is exhausted. Some of `plaintext` may have been encrypted; its rest must stay as it is (more may be appended).
        case outOfBlocks
        case failed(TLSFailure)
    }

    /// How the stream ended, asked when the transport has ended (`recv` gave 0).
    public enum InputEnd: Equatable, Sendable {
        /// After `close_notify`.
        case clean
        /// Without it (RFC 8446 §6.1): what was received may have been cut short by anybody.
        case truncated
    }

    private let isClient: Bool
    /// Whether the first byte of the peer was looked at.
    private var hasBegun = false

    init(handle: OpaquePointer, bio: OpaquePointer, isClient: Bool = false) {
        unsafe self.handle = handle
        unsafe self.bio = bio
        self.isClient = isClient
    }

    deinit {
        // Or OpenSSL takes a client's session for broken off, and marks it as not to be resumed.
        if isClient { unsafe SSL_set_shutdown(handle, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN) }
        unsafe SSL_free(handle)
    }

    /// Goes on with the handshake as far as `ciphertext` allows, which it consumes.
    public mutating func handshake(
        ciphertext: inout ByteQueue, output: inout ByteQueue, pool: borrowing BlockPool
    ) -> HandshakeStep {
        if let failure { return .failed(failure) }
        if !hasBegun, !ciphertext.isEmpty {
            hasBegun = true
            // A record begins with its type, 20 to 24 (RFC 8446 §5.1), a request with a method. OpenSSL knows some of them.
            if !isClient, ciphertext.firstBytes[0] &- 0x41 < 26 {
                failure = .plainHTTP
                return .failed(.plainHTTP)
            }
        }
        let handle = unsafe self.handle
        let status = unsafe withWires(bio, &ciphertext, &output, pool) { _ in
            clearStaleErrors()
            let result = unsafe SSL_do_handshake(handle)
            return result == 1 ? SSL_ERROR_NONE : unsafe SSL_get_error(handle, result)
        }
        switch status {
        case SSL_ERROR_NONE:
            guard !isClient, let flaw = takeClientCertificate() else { return .done }
            failure = flaw
            return .failed(flaw)
        case SSL_ERROR_WANT_READ: return .wantsRead
        case SSL_ERROR_WANT_WRITE: return .outOfBlocks
        case SSL_ERROR_ZERO_RETURN:
            failure = .closedEarly
            return .failed(.closedEarly)
        default: return .failed(fail())
        }
    }

    /// Decrypts `ciphertext`, which it consumes, to the end of `plaintext`, at most `limit` bytes of it. After the handshake.
    public mutating func read(
        ciphertext: inout ByteQueue, plaintext: inout ByteQueue, output: inout ByteQueue,
        pool: borrowing BlockPool, limit: Int
    ) -> ReadStep {
        if let failure { return .failed(failure) }
        let handle = unsafe self.handle
        // What a service sends may go on in frames.
        let headroom = isClient ? ByteQueue.headroom : 0
        var done = 0
        let status = unsafe withWires(bio, &ciphertext, &output, pool) { input in
            clearStaleErrors()
            while done < limit {
                var status = SSL_ERROR_NONE
                var isFull = false
                let left = limit &- done
                // Into the last block if it has some room: crumbs of one record each would fill the pool.
                let count = unsafe plaintext.fillUnsafely(
                    minimum: TLSSession.leastRoom, headroom: headroom, from: pool
                ) { space in
                    var count = 0
                    let wanted = min(space.count, left)
                    let result = unsafe SSL_read_ex(handle, space.baseAddress, wanted, &count)
                    if result != 1 {
                        status = unsafe SSL_get_error(handle, result)
                        return 0
                    }
                    isFull = count == wanted
                    return count
                }
                guard let count else { return SSL_ERROR_WANT_WRITE }
                done &+= count
                if status != SSL_ERROR_NONE { return status }
                // Without read-ahead OpenSSL holds at most the rest of a record: a call that can only fail is saved.
                if unsafe input.pointee.isEmpty, unsafe !isFull || SSL_pending(handle) == 0 { break }
            }
            return SSL_ERROR_NONE
        }
        switch status {
        case SSL_ERROR_NONE, SSL_ERROR_WANT_READ: return .progress(done)
        case SSL_ERROR_WANT_WRITE: return .outOfBlocks
        case SSL_ERROR_ZERO_RETURN: return .closed
        default: return .failed(fail())
        }
    }

    /// Room in the last plaintext block below which a fresh one is taken.
    private static var leastRoom: Int { 512 }

    /// Whether decrypted bytes are left over from a `read` that reached its limit: no event will announce them.
    public var hasPendingPlaintext: Bool { unsafe SSL_pending(handle) > 0 }

    /// How the stream ended, when the transport has.
    public var inputEnd: InputEnd {
        unsafe SSL_get_shutdown(handle) & SSL_RECEIVED_SHUTDOWN != 0 ? .clean : .truncated
    }

    /// Whether the peer has sent anything.
    public var hasHeard: Bool { hasBegun }

    /// Whether the handshake is done.
    public var isEstablished: Bool { unsafe SSL_is_init_finished(handle) == 1 }
}

// MARK: Writing

extension TLSSession {
    /// The most plaintext of one record (RFC 8446 §5.1).
    private static var recordLimit: Int { 16384 }
    /// More than a record adds (5 + 8 + 1 + 16) together with an alert or key update that goes before it.
    private static var recordOverhead: Int { 128 }

    /// Encrypts `plaintext`, which it consumes, at most `limit` bytes of it. Small blocks are put together in one record; a large
    /// one is encrypted from where it lies. After the handshake.
    public mutating func write(
        plaintext: inout ByteQueue, output: inout ByteQueue, pool: borrowing BlockPool, limit: Int
    ) -> WriteStep {
        if let failure { return .failed(failure) }
        // The caller dropped what an unfinished write was given: one connection is lost, not the process.
        guard unfinishedBytes <= plaintext.byteCount else { return .failed(fail()) }
        var done = 0
        while !plaintext.isEmpty, done < limit {
            // A block is not cut in two records for the limit's sake.
            if done > 0, min(plaintext.firstBytes.byteCount, TLSSession.recordLimit) > limit &- done { break }
            let count = recordLength(of: plaintext, after: output, pool: pool, limit: limit &- done)
            guard count > 0 else { return .outOfBlocks }
            let status = writeRecord(count, of: plaintext, to: &output, pool: pool)
            switch status {
            case SSL_ERROR_NONE:
                unfinishedBytes = 0
                plaintext.consume(count)
                done &+= count
            case SSL_ERROR_WANT_WRITE, SSL_ERROR_WANT_READ:
                unfinishedBytes = count
                return .outOfBlocks
            default: return .failed(fail())
            }
        }
        return .progress(done)
    }

    /// How many bytes the next record takes: whole blocks as long as they fit, or a part of the first. 0 when there is no room
    /// for what it becomes. A record is begun only when there is, so that OpenSSL never has to keep one.
    private func recordLength(
        of plaintext: borrowing ByteQueue, after output: borrowing ByteQueue, pool: borrowing BlockPool,
        limit: Int
    ) -> Int {
        if unfinishedBytes > 0 { return unfinishedBytes }
        let most = min(limit, TLSSession.recordLimit)
        let count = min(plaintext.firstBytes.byteCount, most)
        if plaintext.blockCount > 1 {
            // Put together in a block of the pool: no more than that holds.
            let gathered = min(most, pool.blockCapacity)
            var sum = 0
            plaintext.forEachBlock { bytes in
                guard sum &+ bytes.byteCount <= gathered else { return false }
                sum &+= bytes.byteCount
                return true
            }
            // One block more than the ciphertext needs: the one they are put together in.
            if sum > count, pool.canTake(1 &+ blocks(for: sum, after: output, pool: pool)) { return sum }
        }
        if pool.canTake(blocks(for: count, after: output, pool: pool)) { return count }
        let room = output.tailRoom &+ (pool.canTake(1) ? pool.blockCapacity : 0) &- TLSSession.recordOverhead
        return max(0, min(plaintext.firstBytes.byteCount, most, room))
    }

    /// How many blocks a record of `count` bytes of plaintext needs at most behind what `output` holds.
    private func blocks(for count: Int, after output: borrowing ByteQueue, pool: borrowing BlockPool) -> Int {
        let needed = count &+ TLSSession.recordOverhead &- output.tailRoom
        return needed <= 0 ? 0 : (needed &+ pool.blockCapacity &- 1) / pool.blockCapacity
    }

    private func writeRecord(
        _ count: Int, of plaintext: borrowing ByteQueue, to output: inout ByteQueue, pool: borrowing BlockPool
    ) -> CInt {
        if plaintext.firstBytes.byteCount >= count {
            return encrypt(plaintext.firstBytes.extracting(0..<count), to: &output, pool: pool)
        }
        guard var record = pool.take(), record.freeCount >= count else {
            // Only when an unfinished write is gone on with: a new record is not begun without that block.
            return SSL_ERROR_WANT_WRITE
        }
        var left = count
        plaintext.forEachBlock { bytes in
            left &-= record.append(bytes.extracting(0..<min(left, bytes.byteCount)))
            return left > 0
        }
        return encrypt(record.bytes, to: &output, pool: pool)
    }

    private func encrypt(_ bytes: RawSpan, to output: inout ByteQueue, pool: borrowing BlockPool) -> CInt {
        let handle = unsafe self.handle
        return unsafe withWires(bio, nil, &output, pool) {
            clearStaleErrors()
            return unsafe bytes.withUnsafeBytes { buffer in
                var written = 0
                let result = unsafe SSL_write_ex(handle, buffer.baseAddress, buffer.count, &written)
                return result == 1 ? SSL_ERROR_NONE : unsafe SSL_get_error(handle, result)
            }
        }
    }
}

extension TLSSession {
    /// Says `close_notify`. `false` when the pool is exhausted and it has to be called again; `true` when it is in `output`, or
    /// when there is nothing to say: no session yet, or no longer.
    @discardableResult
    public mutating func shutdown(output: inout ByteQueue, pool: borrowing BlockPool) -> Bool {
        if failure != nil || !isEstablished { return true }
        guard pool.canTake(blocks(for: 0, after: output, pool: pool)) else { return false }
        let handle = unsafe self.handle
        let status = unsafe withWires(bio, nil, &output, pool) {
            clearStaleErrors()
            // 0: ours is sent and the peer's has not come, which is not waited for (RFC 8446 §6.1).
            let result = unsafe SSL_shutdown(handle)
            return result >= 0 ? SSL_ERROR_NONE : unsafe SSL_get_error(handle, result)
        }
        switch status {
        case SSL_ERROR_NONE: return true
        case SSL_ERROR_WANT_WRITE, SSL_ERROR_WANT_READ: return false
        default:
            _ = fail()
            return true
        }
    }

    /// Remembers why, and that there is no way on.
    @inline(never) private mutating func fail() -> TLSFailure {
        var reason = TLSFailure.fromErrorQueue()
        if case .untrusted = reason {
            reason = unsafe .untrusted(code: Int32(truncatingIfNeeded: SSL_get_verify_result(handle)))
        }
        failure = reason
        return reason
    }
}

// MARK: What was agreed

extension TLSSession {
    /// What ALPN chose. After the handshake.
    public var applicationProtocol: ApplicationProtocol {
        var name: UnsafePointer<UInt8>?
        var length: UInt32 = 0
        unsafe SSL_get0_alpn_selected(handle, &name, &length)
        guard let name = unsafe name else { return .none }
        let bytes = unsafe RawSpan(_unsafeStart: UnsafeRawPointer(name), byteCount: Int(length))
        if bytes.equals("h2") { return .h2 }
        return bytes.equals("http/1.1") ? .http11 : .none
    }

    /// The version in use. After the handshake.
    public var version: TLSVersion { unsafe SSL_version(handle) == TLS1_2_VERSION ? .tls12 : .tls13 }

    /// Whether a ticket made a full handshake unnecessary.
    public var isResumed: Bool { unsafe SSL_session_reused(handle) == 1 }

    /// The name that the client asked for (SNI, RFC 6066 §3), at most 255 bytes as it was sent, without a zero; empty if it named
    /// none. After the handshake. OpenSSL keeps it as long as the session, so nothing is copied.
    public var serverName: RawSpan {
        @_lifetime(borrow self) get {
            guard let name = unsafe SSL_get_servername(handle, TLSEXT_NAMETYPE_host_name) else {
                return RawSpan()
            }
            var length = 0
            while length < 255, unsafe name[length] != 0 { length &+= 1 }
            let bytes = unsafe RawSpan(_unsafeStart: UnsafeRawPointer(name), byteCount: length)
            return unsafe _overrideLifetime(bytes, borrowing: self)
        }
    }
}
