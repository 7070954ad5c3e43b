internal import COpenSSL
internal import Memory

// One SSL_CTX: what it allows, whom it believes, what it shows.
extension TLSServer {
    static func make(
        _ settings: TLSServerSettings, _ pairs: [CertificatePair], _ choice: CertificateChoice,
        _ names: UnsafeMutablePointer<ServerNames>, _ ticketKeys: TicketKeys
    ) throws(TLSSettingsError) -> OpaquePointer {
        ERR_clear_error()
        guard let made = unsafe SSL_CTX_new(TLS_server_method()) else {
            throw .refused(reason: "OpenSSL could not be set up: \(takeErrorReason())")
        }
        do throws(TLSSettingsError) {
            try unsafe setDefaults(made, settings)
            try unsafe askClients(made, settings)
            for kind in KeyKind.allCases where choice[kind] >= 0 {
                try unsafe pairs[choice[kind]].use(in: made, pair: choice[kind])
            }
            try unsafe hang(settings, pairs, choice, names, ticketKeys, on: made)
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
    private static let groups = "X25519:P-256:P-384"
    /// OpenSSL 3.5 is the first to know it. What is recorded today can be read by no machine of tomorrow.
    private static let hybridGroup = "X25519MLKEM768"

    /// Takes the groups for key exchange, the hybrid one first where it is known. `false` when OpenSSL takes none.
    static func setGroups(_ made: OpaquePointer) -> Bool {
        if unsafe copenssl_set_groups(made, "\(hybridGroup):\(groups)") == 1 { return true }
        ERR_clear_error()
        return unsafe copenssl_set_groups(made, groups) == 1
    }

    private static func setDefaults(_ made: OpaquePointer, _ settings: TLSServerSettings)
        throws(TLSSettingsError)
    {
        let version = settings.minimumVersion == .tls12 ? TLS1_2_VERSION : TLS1_3_VERSION
        let areTaken =
            unsafe copenssl_server_defaults(made) == 1
            && copenssl_set_min_version(made, version) == 1
            && SSL_CTX_set_cipher_list(made, ciphers) == 1
            && SSL_CTX_set_ciphersuites(made, suites) == 1
            && setGroups(made)
        let digest = policyDigest(settings)
        let isNamed = unsafe SSL_CTX_set_session_id_context(made, digest, UInt32(digest.count)) == 1
        // A ticket's life is at most one rotation, so that the key before the current one still opens it.
        unsafe SSL_CTX_set_timeout(made, settings.ticketSeconds)
        guard areTaken, isNamed, unsafe SSL_CTX_set_tlsext_ticket_key_evp_cb(made, chooseTicketKey) == 1
        else {
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

    /// What a ticket must not be carried across: another listener, other demands on clients, other authorities. A ticket of
    /// another policy means a full handshake, never a way round it.
    private static func policyDigest(_ settings: TLSServerSettings) -> [UInt8] {
        var policy = Array("gatehouse\0\(settings.listenerName)\0".utf8)
        switch settings.clientCertificates {
        case .none: policy += "none".utf8
        case .optional(let authorities): policy += Array("optional\0".utf8) + authorities
        case .required(let authorities): policy += Array("required\0".utf8) + authorities
        }
        var digest = [UInt8](repeating: 0, count: Int(SHA256_DIGEST_LENGTH))
        unsafe SHA256(policy, policy.count, &digest)
        return digest
    }

    private static func askClients(_ made: OpaquePointer, _ settings: TLSServerSettings)
        throws(TLSSettingsError)
    {
        let authorities: [UInt8]
        var mode = SSL_VERIFY_PEER
        switch settings.clientCertificates {
        case .none: return
        case .optional(let pem): authorities = pem
        case .required(let pem):
            authorities = pem
            mode |= SSL_VERIFY_FAIL_IF_NO_PEER_CERT
        }
        guard authorities.count <= 1 << 20 else { throw .badAuthorities(reason: "larger than 1 MiB") }
        guard let store = unsafe SSL_CTX_get_cert_store(made) else { throw .refused(reason: "no store") }
        var count = 0
        var areTaken = true
        let isWhole = unsafe CertificatePair.readCertificates(authorities) { certificate in
            // The store and the list of names take references and copies of their own.
            areTaken =
                unsafe areTaken && X509_STORE_add_cert(store, certificate) == 1
                && SSL_CTX_add_client_CA(made, certificate) == 1
            unsafe X509_free(certificate)
            count += 1
        }
        guard isWhole, areTaken else {
            throw .badAuthorities(reason: "a certificate in it cannot be read: \(takeErrorReason())")
        }
        ERR_clear_error()
        guard count > 0 else {
            throw .badAuthorities(reason: "no certificate in it; a PEM file with one is wanted")
        }
        unsafe copenssl_trust_partial_chains(made, chainDepth)
        unsafe SSL_CTX_set_verify(made, mode, nil)
    }

    /// Leaves what the callbacks need with the SSL_CTX.
    private static func hang(
        _ settings: TLSServerSettings, _ pairs: [CertificatePair], _ choice: CertificateChoice,
        _ names: UnsafeMutablePointer<ServerNames>, _ ticketKeys: TicketKeys, on made: OpaquePointer
    ) throws(TLSSettingsError) {
        let note = UnsafeMutablePointer<ServerNote>.allocate(capacity: 1)
        unsafe ServerNames.retain(names)
        unsafe note.initialize(
            to: ServerNote(
                names: names, choice: choice, tickets: ticketKeys.state, isStrict: settings.isStrict))
        for response in settings.staples
        where response.pair < pairs.count && choice[pairs[response.pair].kind] == response.pair {
            let certificate = unsafe pairs[response.pair].certificate
            unsafe note.pointee.staple = unsafe Staple.make(
                response, certificate: certificate, next: note.pointee.staple)
            unsafe copenssl_set_status_callback(made, stapleResponse)
        }
        guard unsafe SSL_CTX_set_ex_data(made, ServerNote.index, UnsafeMutableRawPointer(note)) == 1 else {
            unsafe ServerNote.free(note)
            throw .refused(reason: "OpenSSL refused the settings: \(takeErrorReason())")
        }
    }
}

/// OpenSSL's words for the first error in this thread's queue, which is emptied.
func takeErrorReason() -> String {
    let code = ERR_get_error()
    ERR_clear_error()
    guard let text = unsafe ERR_reason_error_string(code) else { return "error \(String(code, radix: 16))" }
    return unsafe String(cString: text)
}
