internal import COpenSSL
internal import Memory

/// What all sessions of a listener have in common: certificates, versions, ciphers, ticket keys. One OpenSSL SSL_CTX for each
/// certificate; sessions hold their own reference to it, so they may outlive this value.
///
/// Each worker's snapshot should have one of its own: a session counts references in it, and a count that two cores change
/// is a cache line that they fight over. It is safe to share all the same.
///
/// Invariant that makes it safe: nothing of it changes after `init`, and OpenSSL lets any thread make sessions from an
/// SSL_CTX that does not change (openssl-threads(7)).
@safe public struct TLSServer: ~Copyable, @unchecked Sendable {
    private let handle: OpaquePointer

    /// Reads and checks the settings. Cold: parses files' bytes, allocates.
    public init(_ settings: TLSServerSettings, ticketKeys: TicketKeys) throws(TLSSettingsError) {
        guard !settings.certificates.isEmpty else { throw .noCertificates }
        guard TLSServer.ticketIndex > 0, TLSServer.nextIndex > 0, unsafe ciphertextMethod != nil else {
            throw .refused(reason: "OpenSSL could not be set up: \(takeErrorReason())")
        }
        // Built from the last to the first, each holding the next, so that the first frees them all.
        var next: OpaquePointer?
        for pair in settings.certificates.indices.reversed() {
            do throws(TLSSettingsError) {
                let made = try unsafe TLSServer.make(settings, pair: pair, ticketKeys: ticketKeys)
                if let owned = unsafe next {
                    unsafe SSL_CTX_set_ex_data(made, TLSServer.nextIndex, UnsafeMutableRawPointer(owned))
                }
                unsafe next = made
            } catch {
                unsafe SSL_CTX_free(next)
                throw error
            }
        }
        guard let first = unsafe next else { throw .noCertificates }
        unsafe handle = first
    }

    deinit { unsafe SSL_CTX_free(handle) }

    /// A session for a connection that was just accepted. `nil` when memory is out.
    public func makeSession() -> TLSSession? {
        ERR_clear_error()
        guard let session = unsafe SSL_new(handle) else { return nil }
        guard let method = unsafe ciphertextMethod, let bio = unsafe BIO_new(method) else {
            unsafe SSL_free(session)
            return nil
        }
        unsafe BIO_set_init(bio, 1)
        // The one reference to the BIO is the session's now, for both directions.
        unsafe SSL_set_bio(session, bio, bio)
        unsafe SSL_set_accept_state(session)
        return unsafe TLSSession(handle: session, bio: bio)
    }
}

// MARK: What hangs on an SSL_CTX

extension TLSServer {
    /// Where an SSL_CTX keeps the pointer to the ticket keys, which live for ever.
    static let ticketIndex = copenssl_new_ctx_index(nil)
    /// Where an SSL_CTX keeps the next certificate's, which it owns.
    static let nextIndex = unsafe copenssl_new_ctx_index(releaseNext)
}

private func releaseNext(
    _ parent: UnsafeMutableRawPointer?, _ stored: UnsafeMutableRawPointer?,
    _ data: UnsafeMutablePointer<CRYPTO_EX_DATA>?, _ index: CInt, _ number: Int,
    _ argument: UnsafeMutableRawPointer?
) {
    if let owned = unsafe stored { unsafe SSL_CTX_free(OpaquePointer(owned)) }
}

/// RFC 6066 §3: chooses the certificate by the name that the client asks for. Always acknowledges, so that the session
/// remembers the name and a resumed one still has it.
private func chooseCertificate(
    _ session: OpaquePointer?, _ alert: UnsafeMutablePointer<CInt>?, _ argument: UnsafeMutableRawPointer?
) -> CInt {
    guard let name = unsafe SSL_get_servername(session, TLSEXT_NAMETYPE_host_name) else {
        return SSL_TLSEXT_ERR_OK
    }
    var candidate = unsafe SSL_get_SSL_CTX(session)
    while let current = unsafe candidate {
        if let certificate = unsafe SSL_CTX_get0_certificate(current),
            unsafe X509_check_host(certificate, name, 0, 0, nil) == 1
        {
            unsafe SSL_set_SSL_CTX(session, current)
            break
        }
        unsafe candidate = SSL_CTX_get_ex_data(current, TLSServer.nextIndex).map { OpaquePointer($0) }
    }
    return SSL_TLSEXT_ERR_OK
}

/// RFC 7301 §3.2: the server's order decides; nothing in common is the fatal alert `no_application_protocol`. `wanted` is not a
/// pointer: it holds up to four of our protocols, a byte each, the most wanted lowest.
private func chooseProtocol(
    _ session: OpaquePointer?, _ chosen: UnsafeMutablePointer<UnsafePointer<UInt8>?>?,
    _ chosenLength: UnsafeMutablePointer<UInt8>?, _ offered: UnsafePointer<UInt8>?, _ offeredLength: UInt32,
    _ wanted: UnsafeMutableRawPointer?
) -> CInt {
    guard let offered = unsafe offered else { return SSL_TLSEXT_ERR_ALERT_FATAL }
    let list = unsafe RawSpan(_unsafeStart: UnsafeRawPointer(offered), byteCount: Int(offeredLength))
    var left = UInt(bitPattern: wanted)
    while left != 0 {
        let name: StaticString = left & 0xff == 1 ? "h2" : "http/1.1"
        left &>>= 8
        var offset = 0
        while offset < list.byteCount {
            let length = Int(list[offset])
            guard offset &+ 1 &+ length <= list.byteCount else { return SSL_TLSEXT_ERR_ALERT_FATAL }
            if list.extracting((offset &+ 1)..<(offset &+ 1 &+ length)).equals(name) {
                unsafe chosen?.pointee = offered + (offset &+ 1)
                unsafe chosenLength?.pointee = UInt8(truncatingIfNeeded: length)
                return SSL_TLSEXT_ERR_OK
            }
            offset &+= 1 &+ length
        }
    }
    return SSL_TLSEXT_ERR_ALERT_FATAL
}

// MARK: Making one SSL_CTX

extension TLSServer {
    private static func make(_ settings: TLSServerSettings, pair: Int, ticketKeys: TicketKeys)
        throws(TLSSettingsError)
        -> OpaquePointer
    {
        ERR_clear_error()
        guard let made = unsafe SSL_CTX_new(TLS_server_method()) else {
            throw .refused(reason: "OpenSSL could not be set up: \(takeErrorReason())")
        }
        do throws(TLSSettingsError) {
            try unsafe setDefaults(made, settings, ticketKeys)
            try unsafe useCertificate(made, settings.certificates[pair], pair: pair)
        } catch {
            unsafe SSL_CTX_free(made)
            throw error
        }
        return unsafe made
    }

    // Forward secrecy and AEAD only (RFC 9325 §4.2). AES-128 first: it is the quickest, and the weakest link is elsewhere.
    static let ciphers =
        "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:"
        + "ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305"
    static let suites = "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
    static let groups = "X25519:P-256:P-384"

    private static func setDefaults(
        _ made: OpaquePointer, _ settings: TLSServerSettings, _ ticketKeys: TicketKeys
    )
        throws(TLSSettingsError)
    {
        let version = settings.minimumVersion == .tls12 ? TLS1_2_VERSION : TLS1_3_VERSION
        let areTaken =
            unsafe copenssl_server_defaults(made) == 1
            && copenssl_set_min_version(made, version) == 1
            && SSL_CTX_set_cipher_list(made, ciphers) == 1
            && SSL_CTX_set_ciphersuites(made, suites) == 1
            && copenssl_set_groups(made, groups) == 1
        var digest = [UInt8](repeating: 0, count: Int(SHA256_DIGEST_LENGTH))
        // "none" stands for the settings of client certificates, which are part of what a ticket must not be carried across.
        let policy = Array("gatehouse\0\(settings.listenerName)\0none".utf8)
        unsafe SHA256(policy, policy.count, &digest)
        let isNamed = unsafe SSL_CTX_set_session_id_context(made, digest, UInt32(digest.count)) == 1
        // A ticket's life is at most one rotation, so that the key before the current one still opens it.
        unsafe SSL_CTX_set_timeout(made, 12 * 3600)
        let areKeysSet =
            unsafe SSL_CTX_set_ex_data(made, ticketIndex, UnsafeMutableRawPointer(ticketKeys.state)) == 1
            && SSL_CTX_set_tlsext_ticket_key_evp_cb(made, chooseTicketKey) == 1
        guard areTaken, isNamed, areKeysSet else {
            throw .refused(reason: "OpenSSL refused the settings: \(takeErrorReason())")
        }
        unsafe copenssl_set_servername_callback(made, chooseCertificate)
        var wanted: UInt = 0
        for choice in settings.protocols.prefix(4).reversed() {
            switch choice {
            case .h2: wanted = wanted << 8 | 1
            case .http11: wanted = wanted << 8 | 2
            case .none: continue
            }
        }
        if wanted != 0 {
            unsafe SSL_CTX_set_alpn_select_cb(
                made, chooseProtocol, UnsafeMutableRawPointer(bitPattern: wanted))
        }
    }

    static func useCertificate(_ made: OpaquePointer, _ certificate: TLSCertificate, pair: Int)
        throws(TLSSettingsError)
    {
        let count = try unsafe addChain(made, certificate.chain, pair: pair)
        guard count > 0 else {
            throw .badCertificate(pair: pair, reason: "no certificate in it; a PEM file with one is wanted")
        }
        let key = try unsafe readKey(certificate.key, pair: pair)
        defer { unsafe EVP_PKEY_free(key) }
        ERR_clear_error()
        guard unsafe X509_check_private_key(SSL_CTX_get0_certificate(made), key) == 1 else {
            ERR_clear_error()
            throw .keyDoesNotFit(pair: pair)
        }
        guard unsafe SSL_CTX_use_PrivateKey(made, key) == 1 else {
            throw .badKey(pair: pair, reason: "OpenSSL refuses the key: \(takeErrorReason())")
        }
    }

    /// Reads all certificates of the file: the first is the server's, the others its chain. How many there were.
    private static func addChain(_ made: OpaquePointer, _ pem: [UInt8], pair: Int) throws(TLSSettingsError)
        -> Int
    {
        guard pem.count <= 1 << 20 else { throw .badCertificate(pair: pair, reason: "larger than 1 MiB") }
        ERR_clear_error()
        // `pem` is only read while `bytes` lives, as BIO_new_mem_buf does not copy.
        let bytes = pem
        var wasAsked: CInt = 0
        let result: Result<Int, TLSSettingsError> = unsafe bytes.withUnsafeBytes { buffer in
            guard let bio = unsafe BIO_new_mem_buf(buffer.baseAddress, CInt(buffer.count)) else {
                return .success(0)
            }
            defer { unsafe BIO_free(bio) }
            var count = 0
            while let read = unsafe copenssl_read_certificate(bio, &wasAsked) {
                if count == 0 {
                    defer { unsafe X509_free(read) }
                    guard unsafe SSL_CTX_use_certificate(made, read) == 1 else {
                        let reason = "OpenSSL refuses the certificate: \(takeErrorReason())"
                        return .failure(.badCertificate(pair: pair, reason: reason))
                    }
                } else if unsafe copenssl_add_chain_certificate(made, read) != 1 {
                    unsafe X509_free(read)
                    let reason = "OpenSSL refuses certificate \(count + 1) of the chain: \(takeErrorReason())"
                    return .failure(.badCertificate(pair: pair, reason: reason))
                }
                count += 1
            }
            // The end of the file shows as "no start line"; anything else is damage.
            let code = ERR_peek_last_error()
            if ERR_GET_LIB(code) == ERR_LIB_PEM, ERR_GET_REASON(code) == PEM_R_NO_START_LINE {
                return .success(count)
            }
            let reason = "certificate \(count + 1) cannot be read: \(takeErrorReason())"
            return .failure(.badCertificate(pair: pair, reason: reason))
        }
        ERR_clear_error()
        return try result.get()
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
}

/// OpenSSL's words for the first error in this thread's queue, which is emptied.
func takeErrorReason() -> String {
    let code = ERR_get_error()
    ERR_clear_error()
    guard let text = unsafe ERR_reason_error_string(code) else { return "error \(String(code, radix: 16))" }
    return unsafe String(cString: text)
}
