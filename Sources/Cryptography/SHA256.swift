import COpenSSL

/// 32 bytes that SHA-256 gave (FIPS 180-4), as words in the machine's order.
@frozen public struct SHA256Digest: Equatable, Sendable {
    public let words: InlineArray<4, UInt64>

    init(words: InlineArray<4, UInt64>) { self.words = words }

    public static func == (left: SHA256Digest, right: SHA256Digest) -> Bool {
        var difference: UInt64 = 0
        for index in 0..<4 { difference |= left.words[index] ^ right.words[index] }
        return difference == 0
    }

    /// The bytes, for cold paths and tests.
    public var array: [UInt8] {
        var bytes: [UInt8] = []
        for index in 0..<4 { unsafe withUnsafeBytes(of: words[index]) { unsafe bytes += $0 } }
        return bytes
    }
}

/// SHA-256 with a state that is made once, so that hashing allocates nothing. For one thread.
///
/// Invariant that makes it safe: both pointers are owned, and live as long as the value.
@safe public struct SHA256: ~Copyable, @unchecked Sendable {
    private let algorithm: OpaquePointer
    private let state: OpaquePointer

    public init() {
        guard let algorithm = unsafe EVP_MD_fetch(nil, "SHA256", nil), let state = unsafe EVP_MD_CTX_new()
        else { preconditionFailure("OpenSSL has no SHA-256 or no memory") }
        unsafe self.algorithm = algorithm
        unsafe self.state = state
    }

    deinit {
        unsafe EVP_MD_CTX_free(state)
        unsafe EVP_MD_free(algorithm)
    }

    public mutating func hash(_ bytes: RawSpan) -> SHA256Digest {
        var words = InlineArray<4, UInt64>(repeating: 0)
        let isDone = unsafe withUnsafeMutableBytes(of: &words) { output in
            let target = unsafe output.baseAddress?.assumingMemoryBound(to: UInt8.self)
            return unsafe bytes.withUnsafeBytes { input in
                unsafe EVP_DigestInit_ex(state, algorithm, nil) == 1
                    && EVP_DigestUpdate(state, input.baseAddress, input.count) == 1
                    && EVP_DigestFinal_ex(state, target, nil) == 1
            }
        }
        precondition(isDone, "SHA-256 failed")
        return SHA256Digest(words: words)
    }
}
