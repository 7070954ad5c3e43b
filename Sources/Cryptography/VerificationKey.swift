import COpenSSL
import Memory

/// Why bytes are no key that signatures are verified with.
public enum VerificationKeyError: Error, Equatable, Sendable {
    /// The PEM text does not parse as a public key.
    case unreadable
    /// The PEM text holds a private key, which has no business at a verifier.
    case isPrivate
    /// A public key of a kind that no algorithm here takes.
    case unsupportedKind
    /// A public key that none of the algorithms asked for takes.
    case notForAlgorithms(KeyKind)
    /// The modulus has `bits` bits, less than 2048 or more than 8192.
    case size(bits: Int)
    /// RSA: the exponent is even, below 3 or above 64 bits; or the modulus is even or has a small factor. Else: no point
    /// of the curve.
    case weak
}

/// A public key, and what its signatures are verified with. For one thread.
///
/// Invariant that makes it safe: the pointers are owned, and live as long as the value.
@safe public struct VerificationKey: ~Copyable, @unchecked Sendable {
    /// RFC 7518 §3.3 asks for 2048 bits or more; the upper bound is for the price of one verification.
    public static let smallestBits = 2048
    public static let largestBits = 8192
    /// RFC 7518 §3.4, RFC 8032 §5.1.6: two numbers of 32 bytes.
    static let curveSignatureBytes = 64

    private let key: OpaquePointer
    /// What is set up once for the key and each of `algorithms`, in the order of `SignatureAlgorithm`: an `EVP_PKEY_CTX`, which
    /// verifies any number of digests. A copy of an `EVP_MD_CTX` for each would cost 3,400 instructions more (RSA with SHA-256);
    /// that is what Ed25519 has, which takes no digest.
    private let prepared: InlineArray<6, OpaquePointer?>
    /// The `EVP_MD` of each; `nil` for Ed25519.
    private let digests: InlineArray<6, OpaquePointer?>
    private let working: OpaquePointer
    /// A signature of ES256 as OpenSSL wants it.
    private var encoded = FixedBytes(count: 72)
    public let kind: KeyKind
    /// Those that were asked for and fit the kind; not empty.
    public let algorithms: SignatureAlgorithms
    /// The length of every signature of this key.
    public let signatureByteCount: Int
    public let bits: Int

    /// Takes ownership of `key`, whatever comes of it.
    private init(owning key: OpaquePointer, for wanted: SignatureAlgorithms) throws(VerificationKeyError) {
        let kind: KeyKind
        do throws(VerificationKeyError) {
            kind = try unsafe VerificationKey.kind(of: key)
            if wanted.isDisjoint(with: kind.algorithms) { throw .notForAlgorithms(kind) }
            if let flaw = unsafe VerificationKey.flaw(in: key, kind) { throw flaw }
        } catch {
            unsafe EVP_PKEY_free(key)
            throw error
        }
        let usable = wanted.intersection(kind.algorithms)
        guard let working = unsafe EVP_MD_CTX_new() else { preconditionFailure("no memory for a key") }
        unsafe digests = InlineArray { index in
            guard let algorithm = SignatureAlgorithm(rawValue: UInt8(index)), usable.contains(algorithm)
            else {
                return nil
            }
            return unsafe VerificationKey.digest(of: algorithm)
        }
        let digests = unsafe digests
        unsafe prepared = InlineArray { index in
            guard let algorithm = SignatureAlgorithm(rawValue: UInt8(index)), usable.contains(algorithm)
            else {
                return nil
            }
            return unsafe VerificationKey.prepare(key, algorithm, digests[index])
        }
        unsafe self.key = key
        unsafe self.working = working
        self.kind = kind
        algorithms = usable
        bits = unsafe Int(EVP_PKEY_get_bits(key))
        signatureByteCount =
            kind == .rsa ? unsafe Int(EVP_PKEY_get_size(key)) : VerificationKey.curveSignatureBytes
    }

    deinit {
        unsafe EVP_MD_CTX_free(working)
        for index in 0..<6 {
            if kind == .ed25519 {
                unsafe EVP_MD_CTX_free(prepared[index])
            } else {
                unsafe EVP_PKEY_CTX_free(prepared[index])
            }
            unsafe EVP_MD_free(digests[index])
        }
        unsafe EVP_PKEY_free(key)
    }

    private static func digest(of algorithm: SignatureAlgorithm) -> OpaquePointer? {
        switch algorithm {
        case .rs256, .ps256, .es256: return unsafe EVP_MD_fetch(nil, "SHA256", nil)
        case .rs384: return unsafe EVP_MD_fetch(nil, "SHA384", nil)
        case .rs512: return unsafe EVP_MD_fetch(nil, "SHA512", nil)
        // RFC 8032 §5.1: it hashes for itself.
        case .edDSA: return nil
        }
    }

    private static func prepare(
        _ key: OpaquePointer, _ algorithm: SignatureAlgorithm, _ digest: OpaquePointer?
    ) -> OpaquePointer {
        guard algorithm != .edDSA else {
            let made = unsafe EVP_MD_CTX_new()
            guard let made = unsafe made,
                unsafe EVP_DigestVerifyInit_ex(made, nil, nil, nil, nil, key, nil) == 1
            else { preconditionFailure("OpenSSL lacks Ed25519") }
            return unsafe made
        }
        guard let made = unsafe EVP_PKEY_CTX_new_from_pkey(nil, key, nil) else {
            preconditionFailure("no memory for a key")
        }
        var isReady =
            unsafe digest != nil && EVP_PKEY_verify_init(made) == 1
            && EVP_PKEY_CTX_set_signature_md(made, digest) == 1
        if isReady, algorithm == .ps256 {
            // RFC 7518 §3.5: MGF1 with the same digest, which is the default, and a salt as long as the digest.
            isReady =
                unsafe EVP_PKEY_CTX_set_rsa_padding(made, RSA_PKCS1_PSS_PADDING) == 1
                && EVP_PKEY_CTX_set_rsa_pss_saltlen(made, RSA_PSS_SALTLEN_DIGEST) == 1
        }
        precondition(isReady, "OpenSSL lacks an algorithm")
        return unsafe made
    }

    private static func kind(of key: OpaquePointer) throws(VerificationKeyError) -> KeyKind {
        if unsafe EVP_PKEY_is_a(key, "RSA") == 1 { return .rsa }
        if unsafe EVP_PKEY_is_a(key, "ED25519") == 1 { return .ed25519 }
        guard unsafe EVP_PKEY_is_a(key, "EC") == 1, unsafe copenssl_is_p256(key) == 1 else {
            throw .unsupportedKind
        }
        return .p256
    }

    private static func flaw(in key: OpaquePointer, _ kind: KeyKind) -> VerificationKeyError? {
        if kind == .rsa {
            let bits = unsafe Int(EVP_PKEY_get_bits(key))
            guard bits >= smallestBits, bits <= largestBits else { return .size(bits: bits) }
            var exponent: OpaquePointer?
            let hasExponent = unsafe EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_RSA_E, &exponent) == 1
            defer { unsafe BN_free(exponent) }
            // A long exponent makes each verification dear, and nobody uses one.
            guard hasExponent, unsafe BN_num_bits(exponent) <= 64 else { return .weak }
        }
        guard let check = unsafe EVP_PKEY_CTX_new_from_pkey(nil, key, nil) else { return .weak }
        defer { unsafe EVP_PKEY_CTX_free(check) }
        ERR_clear_error()
        defer { ERR_clear_error() }
        return unsafe EVP_PKEY_public_check(check) == 1 ? nil : .weak
    }

    // MARK: - Making

    /// The one public key of a PEM text (`PUBLIC KEY` or `RSA PUBLIC KEY`).
    public init(pem: RawSpan, for wanted: SignatureAlgorithms) throws(VerificationKeyError) {
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
        try unsafe self.init(owning: read, for: wanted)
    }

    /// An RSA key from the big-endian bytes of its two numbers, as a JWK has them (RFC 7518 §6.3.1).
    public init(
        modulus: RawSpan, exponent: RawSpan, for wanted: SignatureAlgorithms
    ) throws(VerificationKeyError) {
        // Longer than any key we take: not even read as a number.
        let bits = modulus.byteCount &* 8
        guard modulus.byteCount <= VerificationKey.largestBits / 8 + 1 else { throw .size(bits: bits) }
        guard modulus.byteCount > 0, exponent.byteCount > 0, exponent.byteCount <= 16 else { throw .weak }
        ERR_clear_error()
        defer { ERR_clear_error() }
        let made: OpaquePointer? = unsafe VerificationKey.make(modulus: modulus, exponent: exponent)
        guard let made = unsafe made else { throw .weak }
        try unsafe self.init(owning: made, for: wanted)
    }

    /// A key on P-256 from the two coordinates of its point, 32 bytes each (RFC 7518 §6.2.1).
    public init(x: RawSpan, y: RawSpan, for wanted: SignatureAlgorithms) throws(VerificationKeyError) {
        guard x.byteCount == 32, y.byteCount == 32 else { throw .weak }
        ERR_clear_error()
        defer { ERR_clear_error() }
        // SEC 1 §2.3.3: 4 says that both coordinates follow.
        var point = FixedBytes(count: 65)
        point[0] = 4
        point.copy(x, to: 1)
        point.copy(y, to: 33)
        let builder = unsafe OSSL_PARAM_BLD_new()
        defer { unsafe OSSL_PARAM_BLD_free(builder) }
        let isBuilt = unsafe point.bytes.withUnsafeBytes {
            unsafe copenssl_push_p256(builder, $0.baseAddress, $0.count) == 1
        }
        let made: OpaquePointer? = unsafe isBuilt ? VerificationKey.make("EC", builder) : nil
        guard let made = unsafe made else { throw .weak }
        try unsafe self.init(owning: made, for: wanted)
    }

    /// An Ed25519 key from its 32 bytes (RFC 8037 §2).
    public init(ed25519 bytes: RawSpan, for wanted: SignatureAlgorithms) throws(VerificationKeyError) {
        ERR_clear_error()
        defer { ERR_clear_error() }
        let made: OpaquePointer? = unsafe bytes.withUnsafeBytes {
            unsafe EVP_PKEY_new_raw_public_key_ex(
                nil, "ED25519", nil, $0.baseAddress?.assumingMemoryBound(to: UInt8.self), $0.count)
        }
        guard let made = unsafe made else { throw .weak }
        try unsafe self.init(owning: made, for: wanted)
    }

    private static func make(modulus: RawSpan, exponent: RawSpan) -> OpaquePointer? {
        let modulus = unsafe number(modulus)
        let exponent = unsafe number(exponent)
        let builder = unsafe OSSL_PARAM_BLD_new()
        defer {
            unsafe BN_free(modulus)
            unsafe BN_free(exponent)
            unsafe OSSL_PARAM_BLD_free(builder)
        }
        guard unsafe modulus != nil, unsafe exponent != nil, unsafe builder != nil,
            unsafe copenssl_push_rsa_n(builder, modulus) == 1,
            unsafe copenssl_push_rsa_e(builder, exponent) == 1
        else { return nil }
        return unsafe make("RSA", builder)
    }

    private static func make(_ type: String, _ builder: OpaquePointer?) -> OpaquePointer? {
        let maker = unsafe EVP_PKEY_CTX_new_from_name(nil, type, nil)
        defer { unsafe EVP_PKEY_CTX_free(maker) }
        guard unsafe maker != nil, let parameters = unsafe OSSL_PARAM_BLD_to_param(builder) else {
            return nil
        }
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

    // MARK: - Verifying

    /// Whether `signature` is this key's over `message`. About 190,000 instructions for RSA of 2048 bits.
    public mutating func verify(
        _ message: RawSpan, signature: RawSpan, _ algorithm: SignatureAlgorithm
    ) -> Bool {
        // RFC 8017 §8.2.2 step 1, RFC 7518 §3.4, RFC 8032 §5.1.7: any other length is no signature.
        guard algorithms.contains(algorithm), signature.byteCount == signatureByteCount else { return false }
        guard kind == .p256 else { return isSigned(message, signature, algorithm) }
        let count = VerificationKey.encode(signature, into: &encoded)
        return isSigned(message, encoded.bytes(0..<count), algorithm)
    }

    private func isSigned(_ message: RawSpan, _ signature: RawSpan, _ algorithm: SignatureAlgorithm) -> Bool {
        let prepared = unsafe prepared[Int(algorithm.rawValue)]
        let digest = unsafe digests[Int(algorithm.rawValue)]
        let isValid = unsafe message.withUnsafeBytes { message in
            unsafe signature.withUnsafeBytes { signature in
                let signed = unsafe signature.baseAddress?.assumingMemoryBound(to: UInt8.self)
                guard let digest = unsafe digest else {
                    return unsafe EVP_MD_CTX_copy_ex(working, prepared) == 1
                        && EVP_DigestVerify(
                            working, signed, signature.count,
                            message.baseAddress?.assumingMemoryBound(to: UInt8.self), message.count) == 1
                }
                // As long as the longest, that of SHA-512.
                var hash = InlineArray<64, UInt8>(repeating: 0)
                var count: UInt32 = 0
                return unsafe withUnsafeMutableBytes(of: &hash) { hash in
                    let hash = unsafe hash.baseAddress?.assumingMemoryBound(to: UInt8.self)
                    return unsafe EVP_DigestInit_ex2(working, digest, nil) == 1
                        && EVP_DigestUpdate(working, message.baseAddress, message.count) == 1
                        && EVP_DigestFinal_ex(working, hash, &count) == 1
                        && EVP_PKEY_verify(prepared, signed, signature.count, hash, Int(count)) == 1
                }
            }
        }
        // A refused signature leaves entries in the thread's queue, which TLS would read as its own.
        if !isValid { ERR_clear_error() }
        return isValid
    }

    /// The two numbers of a JOSE signature (RFC 7518 §3.4) as a SEQUENCE of INTEGERs in DER (RFC 3279 §2.2.3): each with
    /// no more zeros before it than keep it from being negative. At most 72 bytes.
    static func encode(_ signature: RawSpan, into target: inout FixedBytes) -> Int {
        precondition(signature.byteCount == curveSignatureBytes && target.count >= 72)
        var end = 2
        for half in 0..<2 {
            var start = half &* 32
            let stop = start &+ 32
            while start < stop &- 1, signature[start] == 0 { start &+= 1 }
            let isHigh = signature[start] >= 0x80
            target[end] = 0x02
            target[end &+ 1] = UInt8(stop &- start &+ (isHigh ? 1 : 0))
            end &+= 2
            if isHigh {
                target[end] = 0
                end &+= 1
            }
            target.copy(signature.extracting(start..<stop), to: end)
            end &+= stop &- start
        }
        target[0] = 0x30
        target[1] = UInt8(end &- 2)
        return end
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
