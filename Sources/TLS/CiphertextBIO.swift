internal import COpenSSL
internal import Memory

/// The two ends of a session's wire for the time of one call into OpenSSL: what has come from the peer, what goes to it,
/// and where blocks for the latter come from. A session borrows these from its caller and keeps nothing of them.
@unsafe struct CiphertextWires {
    /// `nil`: nothing to read in this call.
    let input: UnsafeMutablePointer<ByteQueue>?
    let output: UnsafeMutablePointer<ByteQueue>
    let pool: UnsafePointer<BlockPool>
}

// Measured: 43.2k instructions a request with a BIO of our own, 45.2k with memory BIOs, 46.4k with OpenSSL's
// socket BIO and read-ahead.
/// The BIO_METHOD of every session. Never freed: the BIOs of sessions point at it.
nonisolated(unsafe) let ciphertextMethod: OpaquePointer? = {
    let index = BIO_get_new_index()
    guard index > 0, let method = unsafe BIO_meth_new(index | BIO_TYPE_SOURCE_SINK, "gatehouse") else {
        return nil
    }
    unsafe BIO_meth_set_read_ex(method, readCiphertext)
    unsafe BIO_meth_set_write_ex(method, writeCiphertext)
    unsafe BIO_meth_set_ctrl(method, controlCiphertext)
    return unsafe method
}()

/// BIO_read_ex: takes from the input queue; "again later" when it is empty. The end of the connection is the caller's to
/// know, so this never answers end of file.
private func readCiphertext(
    _ bio: OpaquePointer?, _ buffer: UnsafeMutablePointer<CChar>?, _ wanted: Int,
    _ taken: UnsafeMutablePointer<Int>?
) -> CInt {
    unsafe copenssl_bio_clear_retry(bio)
    unsafe taken?.pointee = 0
    guard let data = unsafe BIO_get_data(bio), let buffer = unsafe buffer,
        let input = unsafe data.assumingMemoryBound(to: CiphertextWires.self).pointee.input,
        unsafe !input.pointee.isEmpty
    else {
        unsafe copenssl_bio_retry_read(bio)
        return 0
    }
    var done = 0
    while done < wanted, unsafe !input.pointee.isEmpty {
        let room = wanted &- done
        let count = unsafe input.pointee.firstBytes.withUnsafeBytes { bytes in
            let count = min(bytes.count, room)
            if let start = bytes.baseAddress {
                unsafe UnsafeMutableRawPointer(buffer + done).copyMemory(from: start, byteCount: count)
            }
            return count
        }
        unsafe input.pointee.consume(count)
        done &+= count
    }
    unsafe taken?.pointee = done
    return 1
}

/// BIO_write_ex: appends to the output queue; takes a part, or asks to be called again, when the pool is exhausted.
private func writeCiphertext(
    _ bio: OpaquePointer?, _ buffer: UnsafePointer<CChar>?, _ count: Int, _ taken: UnsafeMutablePointer<Int>?
) -> CInt {
    unsafe copenssl_bio_clear_retry(bio)
    unsafe taken?.pointee = 0
    guard let data = unsafe BIO_get_data(bio), let buffer = unsafe buffer, count > 0 else {
        unsafe copenssl_bio_retry_write(bio)
        return 0
    }
    let wires = unsafe data.assumingMemoryBound(to: CiphertextWires.self)
    let output = unsafe wires.pointee.output
    let bytes = unsafe RawSpan(_unsafeStart: UnsafeRawPointer(buffer), byteCount: count)
    var done = count
    if unsafe !output.pointee.append(bytes, from: wires.pointee.pool.pointee) {
        // Not all of it fits: take what one more block and the rest of the last can hold.
        let oneMore =
            unsafe wires.pointee.pool.pointee.canTake(1) ? wires.pointee.pool.pointee.blockCapacity : 0
        done = unsafe min(output.pointee.tailRoom &+ oneMore, count)
        guard done > 0,
            unsafe output.pointee.append(bytes.extracting(0..<done), from: wires.pointee.pool.pointee)
        else {
            unsafe copenssl_bio_retry_write(bio)
            return 0
        }
    }
    unsafe taken?.pointee = done
    return 1
}

/// BIO_ctrl: a flush succeeds, since the queue is the caller's; every other question is answered with 0.
private func controlCiphertext(
    _ bio: OpaquePointer?, _ command: CInt, _ number: Int, _ pointer: UnsafeMutableRawPointer?
) -> Int {
    command == BIO_CTRL_FLUSH ? 1 : 0
}

/// Lends the queues to the session's BIO while `call` runs; `call` may look at the input queue through the pointer.
@inline(__always) func withWires(
    _ bio: OpaquePointer, _ input: inout ByteQueue, _ output: inout ByteQueue, _ pool: borrowing BlockPool,
    _ call: (UnsafeMutablePointer<ByteQueue>) -> CInt
) -> CInt {
    unsafe withUnsafeMutablePointer(to: &input) { input in
        unsafe withWires(bio, input, &output, pool) { unsafe call(input) }
    }
}

@inline(__always) func withWires(
    _ bio: OpaquePointer, _ input: UnsafeMutablePointer<ByteQueue>?, _ output: inout ByteQueue,
    _ pool: borrowing BlockPool, _ call: () -> CInt
) -> CInt {
    unsafe withUnsafeMutablePointer(to: &output) { output in
        unsafe withUnsafePointer(to: pool) { pool in
            var wires = unsafe CiphertextWires(input: input, output: output, pool: pool)
            return unsafe withUnsafeMutablePointer(to: &wires) { wires in
                unsafe BIO_set_data(bio, wires)
                let status = call()
                unsafe BIO_set_data(bio, nil)
                return status
            }
        }
    }
}

/// OpenSSL's error queue is one a thread, not one a session: SSL_get_error would take a stale entry for ours. To look costs
/// less than to clear, which visits all sixteen places.
@inline(__always) func clearStaleErrors() {
    if ERR_peek_error() != 0 { ERR_clear_error() }
}
