import COpenSSL

/// SHA-1 (FIPS 180-4), for what a protocol asks for it and no secret hangs on: the answer to a WebSocket handshake
/// (RFC 6455 §4.2.2). Nothing may be signed or verified by it. With a state that is made once; for one thread.
///
/// Invariant that makes it safe: both pointers are owned, and live as long as the value.
@safe public struct SHA1: ~Copyable {
    private let algorithm: OpaquePointer
    private let state: OpaquePointer

    public init() {
        guard let algorithm = unsafe EVP_MD_fetch(nil, "SHA1", nil), let state = unsafe EVP_MD_CTX_new()
        else { preconditionFailure("OpenSSL has no SHA-1 or no memory") }
        unsafe self.algorithm = algorithm
        unsafe self.state = state
    }

    deinit {
        unsafe EVP_MD_CTX_free(state)
        unsafe EVP_MD_free(algorithm)
    }

    /// Of `first` and `second`, one behind the other.
    public mutating func hash(_ first: RawSpan, _ second: RawSpan) -> InlineArray<20, UInt8> {
        var digest = InlineArray<20, UInt8>(repeating: 0)
        let isDone = unsafe withUnsafeMutableBytes(of: &digest) { output in
            let target = unsafe output.baseAddress?.assumingMemoryBound(to: UInt8.self)
            let isBegun = unsafe EVP_DigestInit_ex(state, algorithm, nil) == 1
            return unsafe isBegun && update(first) && update(second)
                && EVP_DigestFinal_ex(state, target, nil) == 1
        }
        precondition(isDone, "SHA-1 failed")
        return digest
    }

    private func update(_ bytes: RawSpan) -> Bool {
        unsafe bytes.withUnsafeBytes { unsafe EVP_DigestUpdate(state, $0.baseAddress, $0.count) == 1 }
    }
}
