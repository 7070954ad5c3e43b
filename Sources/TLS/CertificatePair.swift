internal import COpenSSL
internal import Memory

/// What a server's certificate says of itself.
public struct CertificateFacts: Equatable, Sendable {
    /// When its time ends, in seconds since 1970.
    public let endSeconds: Int64
    /// The names that SNI may ask for it by, as the certificate has them.
    public let names: [String]
}

/// A chain and its key as OpenSSL holds them, known to belong together. Cold.
///
/// Invariant that makes it safe: the chain has at least one certificate; all is owned and never changes.
@safe final class CertificatePair {
    private let chain: [OpaquePointer]
    private let key: OpaquePointer
    let kind: KeyKind
    let names: [CertificateName]

    init(_ files: TLSCertificate, pair: Int) throws(TLSSettingsError) {
        let chain = try unsafe CertificatePair.readChain(files.chain, pair: pair)
        let key: OpaquePointer
        do throws(TLSSettingsError) {
            unsafe key = try unsafe CertificatePair.readKey(files.key, pair: pair)
        } catch {
            unsafe CertificatePair.free(chain)
            throw error
        }
        unsafe self.chain = chain
        unsafe self.key = key
        switch unsafe EVP_PKEY_get_base_id(X509_get0_pubkey(chain[0])) {
        case EVP_PKEY_EC: kind = .ecdsa
        case EVP_PKEY_RSA: kind = .rsa
        case EVP_PKEY_ED25519: kind = .ed25519
        default: kind = .other
        }
        unsafe names = CertificatePair.readNames(chain[0])
        ERR_clear_error()
        guard unsafe X509_check_private_key(chain[0], key) == 1 else {
            ERR_clear_error()
            throw .keyDoesNotFit(pair: pair)
        }
    }

    deinit {
        unsafe CertificatePair.free(chain)
        unsafe EVP_PKEY_free(key)
    }

    private static func free(_ chain: [OpaquePointer]) {
        for index in unsafe chain.indices { unsafe X509_free(chain[index]) }
    }

    /// The first of the chain; it lives as long as this value.
    var certificate: OpaquePointer { unsafe chain[0] }

    var facts: CertificateFacts {
        var end: Int64 = 0
        let isRead = unsafe copenssl_epoch(X509_get0_notAfter(chain[0]), &end) == 1
        return CertificateFacts(
            endSeconds: isRead ? end : 0,
            names: names.map { ($0.isWildcard ? "*." : "") + String(decoding: $0.text, as: UTF8.self) })
    }

    /// Adds the pair to an SSL_CTX, which takes references of its own.
    func use(in made: OpaquePointer, pair: Int) throws(TLSSettingsError) {
        ERR_clear_error()
        guard unsafe SSL_CTX_use_certificate(made, chain[0]) == 1 else {
            throw .badCertificate(
                pair: pair, reason: "OpenSSL refuses the certificate: \(takeErrorReason())")
        }
        for index in unsafe 1..<max(chain.count, 1) {
            guard unsafe copenssl_add_chain_certificate(made, chain[index]) == 1 else {
                throw .badCertificate(
                    pair: pair,
                    reason: "OpenSSL refuses certificate \(index + 1) of the chain: \(takeErrorReason())")
            }
        }
        guard unsafe SSL_CTX_use_PrivateKey(made, key) == 1 else {
            throw .badKey(pair: pair, reason: "OpenSSL refuses the key: \(takeErrorReason())")
        }
    }

    // MARK: Reading

    /// All certificates of the file: the first is the server's, the others its chain.
    private static func readChain(_ pem: [UInt8], pair: Int) throws(TLSSettingsError) -> [OpaquePointer] {
        guard pem.count <= 1 << 20 else { throw .badCertificate(pair: pair, reason: "larger than 1 MiB") }
        var chain: [OpaquePointer] = unsafe []
        let isWhole = unsafe readCertificates(pem) { unsafe chain.append($0) }
        if isWhole, unsafe !chain.isEmpty {
            ERR_clear_error()
            return unsafe chain
        }
        let number = unsafe chain.count + 1
        unsafe CertificatePair.free(chain)
        guard isWhole else {
            throw .badCertificate(
                pair: pair, reason: "certificate \(number) cannot be read: \(takeErrorReason())")
        }
        ERR_clear_error()
        throw .badCertificate(pair: pair, reason: "no certificate in it; a PEM file with one is wanted")
    }

    /// Hands over each certificate of a PEM file, which is then the taker's. `false` when there is damage, whose reason is
    /// OpenSSL's last error.
    static func readCertificates(_ pem: [UInt8], _ take: (OpaquePointer) -> Void) -> Bool {
        ERR_clear_error()
        var wasAsked: CInt = 0
        return unsafe pem.withUnsafeBytes { buffer in
            guard let bio = unsafe BIO_new_mem_buf(buffer.baseAddress, CInt(buffer.count)) else {
                // An empty file has no address.
                return unsafe buffer.isEmpty
            }
            defer { unsafe BIO_free(bio) }
            while let read = unsafe copenssl_read_certificate(bio, &wasAsked) { unsafe take(read) }
            // The end of the file shows as "no start line"; anything else is damage.
            let code = ERR_peek_last_error()
            return ERR_GET_LIB(code) == ERR_LIB_PEM && ERR_GET_REASON(code) == PEM_R_NO_START_LINE
        }
    }

    private static func readKey(_ pem: [UInt8], pair: Int) throws(TLSSettingsError) -> OpaquePointer {
        guard pem.count <= 1 << 20 else { throw .badKey(pair: pair, reason: "larger than 1 MiB") }
        ERR_clear_error()
        var wasAsked: CInt = 0
        let key: OpaquePointer? = unsafe pem.withUnsafeBytes { buffer in
            guard let bio = unsafe BIO_new_mem_buf(buffer.baseAddress, CInt(buffer.count)) else { return nil }
            defer { unsafe BIO_free(bio) }
            return unsafe copenssl_read_private_key(bio, &wasAsked)
        }
        if let key = unsafe key { return unsafe key }
        let reason = takeErrorReason()
        if wasAsked != 0 {
            throw .badKey(pair: pair, reason: "the key is encrypted; a key without a passphrase is wanted")
        }
        // OpenSSL's decoders say "unsupported" of a file without a key.
        guard pem.contains("PRIVATE KEY-----".utf8) else {
            throw .badKey(pair: pair, reason: "no private key in it; a PEM file with one is wanted")
        }
        throw .badKey(pair: pair, reason: "the private key cannot be read: \(reason)")
    }

    /// RFC 9525 §6: the subject alternative names and nothing else; a common name is no name of a server.
    private static func readNames(_ certificate: OpaquePointer) -> [CertificateName] {
        var names: [CertificateName] = []
        unsafe withUnsafeMutablePointer(to: &names) { names in
            unsafe copenssl_each_name(certificate, takeName, names)
        }
        return names
    }

    /// `nil` for what no client asks for: a wildcard that is not a whole first label, or bytes that no name has.
    static func name(dns bytes: RawSpan) -> CertificateName? {
        var text = bytes.array.map(\.lowercased)
        let isWildcard = text.starts(with: "*.".utf8)
        if isWildcard { text.removeFirst(2) }
        let isName = text.allSatisfy { byte in
            (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte) || byte.isDigit
                || byte == UInt8(ascii: "-") || byte == UInt8(ascii: "_") || byte == UInt8(ascii: ".")
        }
        guard isName, let first = text.first, first != UInt8(ascii: "."), text.count <= 253 else {
            return nil
        }
        return CertificateName(text: text, isWildcard: isWildcard)
    }

    /// As authorities spell an address: dotted, or with colons in brackets (RFC 5952 §4).
    static func name(address bytes: RawSpan) -> CertificateName? {
        switch bytes.byteCount {
        case 4:
            let text = bytes.array.map { "\($0)" }.joined(separator: ".")
            return CertificateName(text: Array(text.utf8), isWildcard: false)
        case 16:
            let groups = (0..<8).map { Int(bytes[2 * $0]) << 8 | Int(bytes[2 * $0 + 1]) }
            // The longest run of zeros, the first of equals, from two groups on, is left out.
            var (start, length) = (0, 0)
            for begin in 0..<8 {
                let run = groups[begin...].prefix { $0 == 0 }.count
                if run > length { (start, length) = (begin, run) }
            }
            let words = groups.map { String($0, radix: 16) }
            var text = words.joined(separator: ":")
            if length >= 2 {
                text =
                    words[..<start].joined(separator: ":") + "::"
                    + words[(start + length)...].joined(separator: ":")
            }
            return CertificateName(text: Array("[\(text)]".utf8), isWildcard: false)
        default: return nil
        }
    }
}

/// Takes one subject alternative name into the array that `owner` points at.
private func takeName(
    _ owner: UnsafeMutableRawPointer?, _ kind: CInt, _ bytes: UnsafePointer<UInt8>?, _ length: CInt
) {
    guard let names = unsafe owner?.assumingMemoryBound(to: [CertificateName].self),
        let bytes = unsafe bytes, length > 0
    else { return }
    let span = unsafe RawSpan(_unsafeStart: UnsafeRawPointer(bytes), byteCount: Int(length))
    let name: CertificateName?
    switch Int(kind) {
    case COPENSSL_NAME_DNS: name = CertificatePair.name(dns: span)
    case COPENSSL_NAME_IP: name = CertificatePair.name(address: span)
    default: name = nil
    }
    if let name, unsafe !names.pointee.contains(name) { unsafe names.pointee.append(name) }
}
