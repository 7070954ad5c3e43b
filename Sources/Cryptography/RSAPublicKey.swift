import COpenSSL
import Memory

/// Why bytes are no RSA key that signatures are verified with.
public enum RSAKeyError: Error, Equatable, Sendable {
    /// The PEM text does not parse as a public key.
    case unreadable
    /// The PEM text holds a private key, which has no business at a verifier.
    case isPrivate
    /// A public key of another kind.
    case notRSA
    /// The modulus has `bits` bits, less than 2048 or more than 8192.
    case size(bits: Int)
    /// The exponent is even, below 3 or above 64 bits; or the modulus is even or has a small factor.
    case weak
}

/// An RSA public key that verifies RS256 signatures (RSASSA-PKCS1-v1_5 with SHA-256, RFC 7518 §3.3). For one thread.
///
/// Invariant that makes it safe: the three pointers are owned, and live as long as the value.
@safe public struct RSAPublicKey: ~Copyable, @unchecked Sendable {
    /// RFC 7518 §3.3 asks for 2048 bits or more; the upper bound is for the price of one verification.
    public static let smallestBits = 2048
    public static let largestBits = 8192

    private let key: OpaquePointer
    /// Set up for the key and the digest once: a copy costs 11% less than a fresh start of each verification.
    private let prepared: OpaquePointer
    private let working: OpaquePointer
    /// The length of every signature of this key.
    public let signatureByteCount: Int
    public let bits: Int

    /// Takes ownership of `key`, whatever comes of it.
    private init(owning key: OpaquePointer) throws(RSAKeyError) {
        if let flaw = unsafe RSAPublicKey.flaw(in: key) {
            unsafe EVP_PKEY_free(key)
            throw flaw
        }
        guard let prepared = unsafe EVP_MD_CTX_new(), let working = unsafe EVP_MD_CTX_new() else {
            preconditionFailure("no memory for a key")
        }
        let isReady = unsafe EVP_DigestVerifyInit_ex(prepared, nil, "SHA256", nil, nil, key, nil) == 1
        precondition(isReady, "OpenSSL has no RSA with SHA-256")
        unsafe self.key = key
        unsafe self.prepared = prepared
        unsafe self.working = working
        bits = unsafe Int(EVP_PKEY_get_bits(key))
        signatureByteCount = unsafe Int(EVP_PKEY_get_size(key))
    }

    deinit {
        unsafe EVP_MD_CTX_free(working)
        unsafe EVP_MD_CTX_free(prepared)
        unsafe EVP_PKEY_free(key)
    }

    private static func flaw(in key: OpaquePointer) -> RSAKeyError? {
        guard unsafe EVP_PKEY_is_a(key, "RSA") == 1 else { return .notRSA }
        let bits = unsafe Int(EVP_PKEY_get_bits(key))
        guard bits >= smallestBits, bits <= largestBits else { return .size(bits: bits) }
        var exponent: OpaquePointer?
        let hasExponent = unsafe EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_RSA_E, &exponent) == 1
        defer { unsafe BN_free(exponent) }
        // A long exponent makes each verification dear, and nobody uses one.
        guard hasExponent, unsafe BN_num_bits(exponent) <= 64 else { return .weak }
        guard let check = unsafe EVP_PKEY_CTX_new_from_pkey(nil, key, nil) else { return .weak }
        defer { unsafe EVP_PKEY_CTX_free(check) }
        ERR_clear_error()
        defer { ERR_clear_error() }
        return unsafe EVP_PKEY_public_check(check) == 1 ? nil : .weak
    }

    /// The one public key of a PEM text (`PUBLIC KEY` or `RSA PUBLIC KEY`).
    public init(pem: RawSpan) throws(RSAKeyError) {
        ERR_clear_error()
        defer { ERR_clear_error() }
        let read: OpaquePointer? = unsafe pem.withUnsafeBytes { buffer in
            guard let memory = unsafe BIO_new_mem_buf(buffer.baseAddress, CInt(clamping: buffer.count)) else {
                return nil
            }
            defer { unsafe BIO_free(memory) }
            return unsafe PEM_read_bio_PUBKEY(memory, nil, nil, nil)
        }
        guard let read = unsafe read else {
            throw pem.array.contains("PRIVATE KEY") ? .isPrivate : .unreadable
        }
        try unsafe self.init(owning: read)
    }

    /// A key from the big-endian bytes of its two numbers, as a JWK has them (RFC 7518 §6.3.1).
    public init(modulus: RawSpan, exponent: RawSpan) throws(RSAKeyError) {
        // Longer than any key we take: not even read as a number.
        let bits = modulus.byteCount &* 8
        guard modulus.byteCount <= RSAPublicKey.largestBits / 8 + 1 else { throw .size(bits: bits) }
        guard modulus.byteCount > 0, exponent.byteCount > 0, exponent.byteCount <= 16 else { throw .weak }
        ERR_clear_error()
        defer { ERR_clear_error() }
        let made: OpaquePointer? = unsafe RSAPublicKey.make(modulus: modulus, exponent: exponent)
        guard let made = unsafe made else { throw .weak }
        try unsafe self.init(owning: made)
    }

    private static func make(modulus: RawSpan, exponent: RawSpan) -> OpaquePointer? {
        let modulus = unsafe number(modulus)
        let exponent = unsafe number(exponent)
        let builder = unsafe OSSL_PARAM_BLD_new()
        let maker = unsafe EVP_PKEY_CTX_new_from_name(nil, "RSA", nil)
        defer {
            unsafe BN_free(modulus)
            unsafe BN_free(exponent)
            unsafe OSSL_PARAM_BLD_free(builder)
            unsafe EVP_PKEY_CTX_free(maker)
        }
        guard unsafe modulus != nil, unsafe exponent != nil, unsafe builder != nil, unsafe maker != nil,
            unsafe copenssl_push_rsa_n(builder, modulus) == 1,
            unsafe copenssl_push_rsa_e(builder, exponent) == 1,
            let parameters = unsafe OSSL_PARAM_BLD_to_param(builder)
        else { return nil }
        defer { unsafe OSSL_PARAM_free(parameters) }
        var key: OpaquePointer?
        guard unsafe EVP_PKEY_fromdata_init(maker) == 1,
            unsafe EVP_PKEY_fromdata(maker, &key, copenssl_public_key_selection(), parameters) == 1
        else { return nil }
        return unsafe key
    }

    private static func number(_ bytes: RawSpan) -> OpaquePointer? {
        unsafe bytes.withUnsafeBytes { buffer in
            unsafe BN_bin2bn(
                buffer.baseAddress?.assumingMemoryBound(to: UInt8.self), CInt(clamping: buffer.count), nil)
        }
    }

    /// Whether `signature` is this key's over `message`. About 190,000 instructions for 2048 bits.
    public mutating func verify(_ message: RawSpan, signature: RawSpan) -> Bool {
        // RFC 8017 §8.2.2 step 1: any other length is no signature.
        guard signature.byteCount == signatureByteCount else { return false }
        let isValid = unsafe message.withUnsafeBytes { message in
            unsafe signature.withUnsafeBytes { signature in
                unsafe EVP_MD_CTX_copy_ex(working, prepared) == 1
                    && EVP_DigestVerify(
                        working, signature.baseAddress?.assumingMemoryBound(to: UInt8.self), signature.count,
                        message.baseAddress?.assumingMemoryBound(to: UInt8.self), message.count) == 1
            }
        }
        // A refused signature leaves entries in the thread's queue, which TLS would read as its own.
        if !isValid { ERR_clear_error() }
        return isValid
    }
}

extension [UInt8] {
    /// Whether the bytes of `text` stand somewhere in these. For cold paths.
    fileprivate func contains(_ text: StaticString) -> Bool {
        let wanted = text.utf8Span
        let whole = rawSpan
        guard count >= wanted.byteCount else { return false }
        return (0...(count - wanted.byteCount)).contains {
            whole.extracting($0..<($0 + wanted.byteCount)).equals(wanted)
        }
    }
}
