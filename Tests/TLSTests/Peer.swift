import COpenSSL
import Memory
import TLS

/// What a test's client offers.
struct ClientOffer {
    var minimum: CInt = TLS1_2_VERSION
    var maximum: CInt = TLS1_3_VERSION
    var protocols: [String] = []
    var serverName: String?
    var ciphers: String?
    /// A session to resume.
    var ticket: Ticket?
    /// What it shows.
    var certificate: TLSCertificate?
    /// The signature algorithms that it can verify, in OpenSSL's words.
    var signatures: String?
    var asksStatus = false
}

/// A client's `SSL_SESSION`, owned.
@safe final class Ticket {
    let handle: OpaquePointer
    init(_ handle: OpaquePointer) { unsafe self.handle = handle }
    deinit { unsafe SSL_SESSION_free(handle) }
}

/// OpenSSL's own client side, over memory.
@safe final class Peer {
    private let shared: OpaquePointer
    private let handle: OpaquePointer
    private let input: OpaquePointer
    private let output: OpaquePointer

    init?(_ offer: ClientOffer) {
        guard let shared = unsafe SSL_CTX_new(TLS_client_method()), let handle = unsafe SSL_new(shared),
            let input = unsafe BIO_new(BIO_s_mem()), let output = unsafe BIO_new(BIO_s_mem())
        else { return nil }
        unsafe (self.shared, self.handle, self.input, self.output) = unsafe (shared, handle, input, output)
        unsafe SSL_set_security_level(handle, 0)
        unsafe SSL_ctrl(handle, SSL_CTRL_SET_MIN_PROTO_VERSION, Int(offer.minimum), nil)
        unsafe SSL_ctrl(handle, SSL_CTRL_SET_MAX_PROTO_VERSION, Int(offer.maximum), nil)
        let list = offer.protocols.flatMap { [UInt8($0.utf8.count)] + Array($0.utf8) }
        if !list.isEmpty { unsafe SSL_set_alpn_protos(handle, list, UInt32(list.count)) }
        if let name = offer.serverName {
            var bytes = Array(name.utf8CString)
            unsafe SSL_ctrl(
                handle, SSL_CTRL_SET_TLSEXT_HOSTNAME, Int(TLSEXT_NAMETYPE_host_name), &bytes)
        }
        if let ciphers = offer.ciphers { unsafe SSL_set_cipher_list(handle, ciphers) }
        if let signatures = offer.signatures {
            var bytes = Array(signatures.utf8CString)
            unsafe SSL_ctrl(handle, SSL_CTRL_SET_SIGALGS_LIST, 0, &bytes)
        }
        if offer.asksStatus {
            unsafe SSL_ctrl(
                handle, SSL_CTRL_SET_TLSEXT_STATUS_REQ_TYPE, Int(TLSEXT_STATUSTYPE_ocsp), nil)
        }
        if let certificate = offer.certificate { unsafe Peer.use(certificate, handle) }
        if let ticket = offer.ticket { unsafe SSL_set_session(handle, ticket.handle) }
        unsafe BIO_ctrl(input, BIO_C_SET_BUF_MEM_EOF_RETURN, -1, nil)
        unsafe SSL_set_bio(handle, input, output)
        unsafe SSL_set_connect_state(handle)
    }

    deinit {
        // Or OpenSSL takes the session for broken off, and marks it as not to be resumed.
        unsafe SSL_set_shutdown(handle, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN)
        unsafe SSL_free(handle)
        unsafe SSL_CTX_free(shared)
    }

    private static func use(_ files: TLSCertificate, _ handle: OpaquePointer) {
        var wasAsked: CInt = 0
        if let bio = unsafe BIO_new_mem_buf(files.chain, CInt(files.chain.count)) {
            if let read = unsafe copenssl_read_certificate(bio, &wasAsked) {
                unsafe SSL_use_certificate(handle, read)
                unsafe X509_free(read)
            }
            unsafe BIO_free(bio)
        }
        if let bio = unsafe BIO_new_mem_buf(files.key, CInt(files.key.count)) {
            if let read = unsafe copenssl_read_private_key(bio, &wasAsked) {
                unsafe SSL_use_PrivateKey(handle, read)
                unsafe EVP_PKEY_free(read)
            }
            unsafe BIO_free(bio)
        }
    }

    /// The OCSP response that came beside the certificate.
    var stapled: [UInt8] {
        var bytes: UnsafeMutablePointer<UInt8>?
        let count = unsafe withUnsafeMutablePointer(to: &bytes) { bytes in
            unsafe SSL_ctrl(handle, SSL_CTRL_GET_TLSEXT_STATUS_REQ_OCSP_RESP, 0, bytes)
        }
        guard count > 0, let bytes = unsafe bytes else { return [] }
        return (0..<count).map { unsafe bytes[$0] }
    }

    /// Goes on with the handshake; `false` when it has failed.
    func handshake() -> Bool {
        ERR_clear_error()
        let result = unsafe SSL_do_handshake(handle)
        return result == 1 || (unsafe SSL_get_error(handle, result)) == SSL_ERROR_WANT_READ
    }

    var isEstablished: Bool { unsafe SSL_is_init_finished(handle) == 1 }

    func take(_ bytes: [UInt8]) { unsafe BIO_write(input, bytes, CInt(bytes.count)) }

    /// What it has to send.
    func drain() -> [UInt8] {
        var all: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 16384)
        while case let count = unsafe BIO_read(output, &buffer, 16384), count > 0 {
            all += buffer.prefix(Int(count))
        }
        return all
    }

    func write(_ bytes: [UInt8]) {
        ERR_clear_error()
        unsafe SSL_write(handle, bytes, CInt(bytes.count))
    }

    /// All that can be read by now.
    func read() -> [UInt8] {
        ERR_clear_error()
        var all: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 16384)
        while case let count = unsafe SSL_read(handle, &buffer, 16384), count > 0 {
            all += buffer.prefix(Int(count))
        }
        return all
    }

    func close() { unsafe SSL_shutdown(handle) }

    func updateKeys() { unsafe SSL_key_update(handle, SSL_KEY_UPDATE_REQUESTED) }

    var sawClose: Bool { unsafe SSL_get_shutdown(handle) & SSL_RECEIVED_SHUTDOWN != 0 }

    var isResumed: Bool { unsafe SSL_session_reused(handle) == 1 }

    var ticket: Ticket? {
        guard let session = unsafe SSL_get1_session(handle) else { return nil }
        return unsafe Ticket(session)
    }

    /// The common name of the server's certificate.
    var certificateName: String {
        guard let certificate = unsafe SSL_get0_peer_certificate(handle) else { return "" }
        var buffer = [CChar](repeating: 0, count: 256)
        let subject = unsafe X509_get_subject_name(certificate)
        let count = unsafe X509_NAME_get_text_by_NID(subject, NID_commonName, &buffer, 256)
        return String(
            decoding: buffer.prefix(max(0, Int(count))).map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }
}

/// A session of ours and a client, with the wire between them.
struct Line: ~Copyable {
    var session: TLSSession
    let peer: Peer
    let pool: BlockPool
    var ciphertext = ByteQueue()
    var output = ByteQueue()
    var plaintext = ByteQueue()
    /// Answers of the handshake that were `outOfBlocks`.
    var starvedCount = 0

    init(
        _ server: borrowing TLSServer, _ offer: ClientOffer = ClientOffer(), pool: consuming BlockPool? = nil
    ) throws {
        guard let session = server.makeSession(), let peer = Peer(offer) else {
            throw TLSSettingsError.refused(reason: "no memory")
        }
        self.session = session
        self.peer = peer
        self.pool = pool ?? BlockPool(limit: 1000)
    }

    /// Puts `bytes` into the ciphertext that our side has received.
    mutating func receive(_ bytes: [UInt8]) {
        precondition(ciphertext.append(bytes.rawSpan, from: pool))
    }

    mutating func deliver() {
        peer.take(output.array)
        output.removeAll()
    }

    /// Runs the handshake to its end, the client's bytes cut in pieces of `piece`.
    mutating func handshake(piece: Int = .max) -> TLSSession.HandshakeStep {
        for _ in 0..<10 {
            let isGoing = peer.handshake()
            var left = peer.drain()[...]
            if left.isEmpty && !isGoing { return .wantsRead }
            while !left.isEmpty {
                receive(Array(left.prefix(piece)))
                left = left.dropFirst(piece)
                var step = session.handshake(ciphertext: &ciphertext, output: &output, pool: pool)
                while step == .outOfBlocks {
                    starvedCount += 1
                    deliver()
                    step = session.handshake(ciphertext: &ciphertext, output: &output, pool: pool)
                }
                deliver()
                if step != .wantsRead {
                    if step == .done { receive(Array(left)) }
                    _ = peer.handshake()
                    return step
                }
            }
        }
        return .wantsRead
    }

    mutating func read(limit: Int = .max) -> TLSSession.ReadStep {
        session.read(
            ciphertext: &ciphertext, plaintext: &plaintext, output: &output, pool: pool, limit: limit)
    }

    /// Encrypts `bytes` and hands what becomes of them to the client.
    mutating func write(_ bytes: [UInt8]) -> TLSSession.WriteStep {
        var queue = ByteQueue()
        precondition(queue.append(bytes.rawSpan, from: pool))
        let step = session.write(plaintext: &queue, output: &output, pool: pool, limit: .max)
        deliver()
        return step
    }
}

/// A server with one certificate and the protocols, or what is wrong with it.
func makeServer(
    _ certificates: [TLSCertificate] = [Fixture.localhost], isStrict: Bool = false,
    minimum: TLSVersion = .tls12, protocols: [ApplicationProtocol] = [.h2, .http11],
    listener: String = "https", keys: TicketKeys? = nil, clients: ClientCertificates = .none,
    staples: [OCSPResponse] = []
) throws -> TLSServer {
    guard let keys = keys ?? TicketKeys(now: 0) else { throw TLSSettingsError.noCertificates }
    return try TLSServer(
        TLSServerSettings(
            certificates: certificates, isStrict: isStrict, minimumVersion: minimum, protocols: protocols,
            listenerName: listener, clientCertificates: clients, ticketSeconds: 3600, staples: staples),
        ticketKeys: keys)
}

/// Bytes that do not repeat soon.
func pattern(_ count: Int) -> [UInt8] {
    var state: UInt32 = 1
    return (0..<count).map { _ in
        state = state &* 1_664_525 &+ 1_013_904_223
        return UInt8(truncatingIfNeeded: state >> 24)
    }
}
