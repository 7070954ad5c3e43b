internal import COpenSSL
internal import Memory

/// What all connections to one service have in common: whom to trust, what to show, which protocol to ask for, and the
/// latest session of each endpoint, for the next handshake to resume.
///
/// One a worker's snapshot. Sessions hold their own reference to the SSL_CTX, so they may outlive this value.
///
/// Invariant that makes it safe: the SSL_CTX does not change after `init`; the remembered sessions hang on it and are touched
/// by one thread alone, the one that makes sessions and reads them.
@safe public struct TLSClient: ~Copyable, @unchecked Sendable {
    private let handle: OpaquePointer

    /// Reads and checks the settings. Cold: parses files' bytes, allocates.
    public init(_ settings: TLSClientSettings) throws(TLSSettingsError) {
        ERR_clear_error()
        guard TLSClient.memoryIndex > 0, TLSClient.slotIndex > 0, unsafe ciphertextMethod != nil,
            let made = unsafe SSL_CTX_new(TLS_client_method())
        else { throw .refused(reason: "OpenSSL could not be set up: \(takeErrorReason())") }
        do throws(TLSSettingsError) {
            try unsafe TLSClient.setDefaults(made, settings)
            if let certificate = settings.certificate {
                try unsafe CertificatePair(certificate, pair: 0).use(in: made, pair: 0)
            }
        } catch {
            unsafe SSL_CTX_free(made)
            throw error
        }
        unsafe handle = made
    }

    deinit { unsafe SSL_CTX_free(handle) }

    /// A session for a connection that was just made to endpoint `endpoint` (below the settings' number of them).
    ///
    /// `serverName` is a DNS name in ASCII or, with `isAddress`, the 4 or 16 bytes of an address in network order: the
    /// certificate must be for exactly that (RFC 9525 §6). A name is also told as SNI, which addresses are not (RFC 6066 §3).
    /// `nil` when memory is out.
    public func makeSession(serverName: RawSpan, isAddress: Bool, endpoint: Int) -> TLSSession? {
        ERR_clear_error()
        guard let session = unsafe SSL_new(handle) else { return nil }
        guard let method = unsafe ciphertextMethod, let bio = unsafe BIO_new(method) else {
            unsafe SSL_free(session)
            return nil
        }
        unsafe BIO_set_init(bio, 1)
        // The one reference to the BIO is the session's now, for both directions.
        unsafe SSL_set_bio(session, bio, bio)
        unsafe SSL_set_connect_state(session)
        guard unsafe name(session, serverName, isAddress: isAddress) else {
            unsafe SSL_free(session)
            return nil
        }
        // 0 is what a session without a slot answers.
        unsafe SSL_set_ex_data(
            session, TLSClient.slotIndex, UnsafeMutableRawPointer(bitPattern: endpoint + 1))
        if let memory = unsafe SessionMemory.of(handle), unsafe endpoint < memory.pointee.count,
            let latest = unsafe memory.pointee.latest[endpoint], let copy = unsafe SSL_SESSION_dup(latest)
        {
            // A copy: OpenSSL marks what was used as used up (RFC 8446 §C.4), and a server need not send another ticket.
            unsafe SSL_set_session(session, copy)
            unsafe SSL_SESSION_free(copy)
        }
        return unsafe TLSSession(handle: session, bio: bio, isClient: true)
    }

    private func name(_ session: OpaquePointer, _ serverName: RawSpan, isAddress: Bool) -> Bool {
        guard serverName.byteCount > 0, serverName.byteCount <= 255,
            let parameters = unsafe SSL_get0_param(session)
        else { return false }
        unsafe X509_VERIFY_PARAM_set_hostflags(
            parameters,
            UInt32(X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS) | UInt32(X509_CHECK_FLAG_NEVER_CHECK_SUBJECT))
        return unsafe withUnsafeTemporaryAllocation(of: CChar.self, capacity: 256) { text in
            for offset in 0..<serverName.byteCount {
                unsafe text[offset] = CChar(bitPattern: serverName[offset])
            }
            unsafe text[serverName.byteCount] = 0
            guard let start = text.baseAddress else { return false }
            if isAddress {
                return unsafe start.withMemoryRebound(to: UInt8.self, capacity: 256) { bytes in
                    unsafe X509_VERIFY_PARAM_set1_ip(parameters, bytes, serverName.byteCount) == 1
                }
            }
            return unsafe X509_VERIFY_PARAM_set1_host(parameters, start, serverName.byteCount) == 1
                && copenssl_set_server_name(session, start) == 1
        }
    }

    /// How many endpoints have a session to resume. For tests.
    package var rememberedCount: Int {
        guard let memory = unsafe SessionMemory.of(handle) else { return 0 }
        var count = 0
        for slot in 0..<(unsafe memory.pointee.count) where unsafe memory.pointee.latest[slot] != nil {
            count += 1
        }
        return count
    }
}

// MARK: Making the SSL_CTX

extension TLSClient {
    /// Where an SSL_CTX keeps the sessions to resume, which it owns.
    fileprivate static let memoryIndex = unsafe copenssl_new_ctx_index(releaseMemory)
    /// Where an SSL keeps the number of its endpoint, plus one.
    fileprivate static let slotIndex = copenssl_new_ssl_index()

    private static func setDefaults(_ made: OpaquePointer, _ settings: TLSClientSettings)
        throws(TLSSettingsError)
    {
        let areTaken =
            unsafe copenssl_client_defaults(made) == 1
            && copenssl_set_min_version(made, TLS1_2_VERSION) == 1
            && SSL_CTX_set_cipher_list(made, TLSServer.ciphers) == 1
            && SSL_CTX_set_ciphersuites(made, TLSServer.suites) == 1
            && TLSServer.setGroups(made)
        let offer: StaticString = settings.applicationProtocol == .h2 ? "\u{2}h2" : "\u{8}http/1.1"
        // This one answers 0 for success.
        let isOffered =
            unsafe SSL_CTX_set_alpn_protos(made, offer.utf8Start, UInt32(offer.utf8CodeUnitCount)) == 0
        let memory = unsafe SessionMemory.make(count: settings.endpoints)
        guard unsafe SSL_CTX_set_ex_data(made, memoryIndex, UnsafeMutableRawPointer(memory)) == 1 else {
            unsafe SessionMemory.free(memory)
            throw .refused(reason: "OpenSSL refused the settings: \(takeErrorReason())")
        }
        unsafe SSL_CTX_sess_set_new_cb(made, rememberSession)
        guard areTaken, isOffered else {
            throw .refused(reason: "OpenSSL refused the settings: \(takeErrorReason())")
        }
        guard let authorities = settings.authorities else {
            guard unsafe SSL_CTX_set_default_verify_paths(made) == 1 else {
                throw .refused(reason: "the system's authorities cannot be read: \(takeErrorReason())")
            }
            return
        }
        try unsafe trust(authorities, made)
    }

    /// Adds every certificate of the PEM file to those that are trusted.
    private static func trust(_ pem: [UInt8], _ made: OpaquePointer) throws(TLSSettingsError) {
        guard pem.count <= 1 << 20 else { throw .badAuthorities(reason: "larger than 1 MiB") }
        guard let store = unsafe SSL_CTX_get_cert_store(made) else { throw .refused(reason: "no store") }
        ERR_clear_error()
        let bytes = pem
        var wasAsked: CInt = 0
        let count: Int = unsafe bytes.withUnsafeBytes { buffer in
            guard let bio = unsafe BIO_new_mem_buf(buffer.baseAddress, CInt(buffer.count)) else { return 0 }
            defer { unsafe BIO_free(bio) }
            var count = 0
            while let read = unsafe copenssl_read_certificate(bio, &wasAsked) {
                defer { unsafe X509_free(read) }
                guard unsafe X509_STORE_add_cert(store, read) == 1 else { return -1 }
                count += 1
            }
            // The end of the file shows as "no start line"; anything else is damage.
            let code = ERR_peek_last_error()
            let isEnd = ERR_GET_LIB(code) == ERR_LIB_PEM && ERR_GET_REASON(code) == PEM_R_NO_START_LINE
            return isEnd ? count : -1
        }
        guard count >= 0 else {
            throw .badAuthorities(reason: "a certificate in it cannot be read: \(takeErrorReason())")
        }
        ERR_clear_error()
        guard count > 0 else {
            throw .badAuthorities(reason: "no certificate in it; a PEM file with one is wanted")
        }
    }
}

// MARK: Sessions to resume

/// The latest session of each endpoint.
@unsafe private struct SessionMemory {
    let count: Int
    let latest: UnsafeMutablePointer<OpaquePointer?>

    static func make(count: Int) -> UnsafeMutablePointer<SessionMemory> {
        let latest = UnsafeMutablePointer<OpaquePointer?>.allocate(capacity: max(count, 1))
        unsafe latest.initialize(repeating: nil, count: max(count, 1))
        let memory = UnsafeMutablePointer<SessionMemory>.allocate(capacity: 1)
        unsafe memory.initialize(to: SessionMemory(count: max(count, 0), latest: latest))
        return unsafe memory
    }

    static func free(_ memory: UnsafeMutablePointer<SessionMemory>) {
        for slot in 0..<(unsafe memory.pointee.count) { unsafe SSL_SESSION_free(memory.pointee.latest[slot]) }
        unsafe memory.pointee.latest.deallocate()
        unsafe memory.deallocate()
    }

    static func of(_ owner: OpaquePointer?) -> UnsafeMutablePointer<SessionMemory>? {
        unsafe SSL_CTX_get_ex_data(owner, TLSClient.memoryIndex)?.assumingMemoryBound(to: SessionMemory.self)
    }
}

private func releaseMemory(
    _ parent: UnsafeMutableRawPointer?, _ stored: UnsafeMutableRawPointer?,
    _ data: UnsafeMutablePointer<CRYPTO_EX_DATA>?, _ index: CInt, _ number: Int,
    _ argument: UnsafeMutableRawPointer?
) {
    if let memory = unsafe stored {
        unsafe SessionMemory.free(memory.assumingMemoryBound(to: SessionMemory.self))
    }
}

/// SSL_CTX_sess_set_new_cb(3): keeps the session instead of the endpoint's last one. 1: the reference is ours now.
private func rememberSession(_ session: OpaquePointer?, _ made: OpaquePointer?) -> CInt {
    let slot = UInt(bitPattern: unsafe SSL_get_ex_data(session, TLSClient.slotIndex))
    guard slot > 0, let memory = unsafe SessionMemory.of(SSL_get_SSL_CTX(session)),
        unsafe slot <= UInt(memory.pointee.count)
    else { return 0 }
    unsafe SSL_SESSION_free(memory.pointee.latest[Int(slot) - 1])
    unsafe memory.pointee.latest[Int(slot) - 1] = made
    return 1
}
