internal import COpenSSL
public import Memory

/// Who a client is by its certificate, in the words that services are told: made once a handshake, since to write a subject
/// anew for each request would cost more than the request. It hangs on the `SSL`, so that connections without one pay nothing.
///
/// Invariant that makes it safe: `bytes` holds the three texts one behind the other and does not change.
@safe struct ClientIdentity {
    /// SHA-256 of the certificate in hexadecimal, always `fingerprintBytes` long.
    static let fingerprintBytes = 64
    /// A longer text is left out: cut, it could be somebody else's.
    static let longestSubject = 512
    static let longestNames = 1024

    let bytes: UnsafeMutablePointer<UInt8>
    let subjectEnd: Int
    let namesEnd: Int

    /// Where an `SSL` keeps its own.
    static let index = unsafe copenssl_new_owning_ssl_index(releaseIdentity)

    static func of(_ session: OpaquePointer) -> UnsafeMutablePointer<ClientIdentity>? {
        unsafe SSL_get_ex_data(session, index)?.assumingMemoryBound(to: ClientIdentity.self)
    }

    /// Writes down who `certificate` is for, and hangs it on the session. `false` when memory is out.
    static func keep(_ certificate: OpaquePointer, on session: OpaquePointer) -> Bool {
        guard index > 0, unsafe of(session) == nil else { return index > 0 }
        var digest = [UInt8](repeating: 0, count: Int(SHA256_DIGEST_LENGTH))
        var count: UInt32 = 0
        guard unsafe X509_digest(certificate, EVP_sha256(), &digest, &count) == 1 else { return false }
        var text = digest.flatMap { [hex($0 >> 4, "a"), hex($0 & 15, "a")] }
        var length = 0
        let subject = unsafe copenssl_subject_text(certificate, &length)
        if let subject = unsafe subject, length <= longestSubject {
            for offset in 0..<length { unsafe text.append(UInt8(bitPattern: subject[offset])) }
        }
        unsafe copenssl_free(subject)
        let subjectEnd = text.count
        var names: [UInt8] = []
        unsafe withUnsafeMutablePointer(to: &names) { names in
            unsafe copenssl_each_name(certificate, takeClientName, names)
        }
        if names.count <= longestNames { text += names }
        let bytes = UnsafeMutablePointer<UInt8>.allocate(capacity: text.count)
        for (offset, byte) in text.enumerated() { unsafe (bytes + offset).initialize(to: byte) }
        let made = UnsafeMutablePointer<ClientIdentity>.allocate(capacity: 1)
        unsafe made.initialize(
            to: ClientIdentity(bytes: bytes, subjectEnd: subjectEnd, namesEnd: text.count))
        if unsafe SSL_set_ex_data(session, index, UnsafeMutableRawPointer(made)) == 1 { return true }
        unsafe release(made)
        return false
    }

    static func release(_ made: UnsafeMutablePointer<ClientIdentity>) {
        unsafe made.pointee.bytes.deallocate()
        unsafe made.deallocate()
    }

    static func hex(_ value: UInt8, _ ten: Unicode.Scalar) -> UInt8 {
        value < 10 ? UInt8(ascii: "0") + value : UInt8(ascii: ten) + value - 10
    }
}

private func releaseIdentity(
    _ parent: UnsafeMutableRawPointer?, _ stored: UnsafeMutableRawPointer?,
    _ data: UnsafeMutablePointer<CRYPTO_EX_DATA>?, _ index: CInt, _ number: Int,
    _ argument: UnsafeMutableRawPointer?
) {
    guard let made = unsafe stored?.assumingMemoryBound(to: ClientIdentity.self) else { return }
    unsafe ClientIdentity.release(made)
}

/// Appends `DNS:name`, `URI:uri`, `email:address` or `IP:address` to the bytes that `owner` points at, with a comma between.
/// Bytes that could be taken for the end of one, or that no field value has, become `\XX` as in a subject (RFC 4514 §2.4).
private func takeClientName(
    _ owner: UnsafeMutableRawPointer?, _ kind: CInt, _ bytes: UnsafePointer<UInt8>?, _ length: CInt
) {
    guard let names = unsafe owner?.assumingMemoryBound(to: [UInt8].self), let bytes = unsafe bytes,
        length > 0, unsafe names.pointee.count <= ClientIdentity.longestNames
    else { return }
    let span = unsafe RawSpan(_unsafeStart: UnsafeRawPointer(bytes), byteCount: Int(length))
    var text: [UInt8]
    let prefix: String
    switch Int(kind) {
    case COPENSSL_NAME_DNS: (prefix, text) = ("DNS:", span.array)
    case COPENSSL_NAME_URI: (prefix, text) = ("URI:", span.array)
    case COPENSSL_NAME_EMAIL: (prefix, text) = ("email:", span.array)
    case COPENSSL_NAME_IP:
        guard let address = CertificatePair.name(address: span) else { return }
        (prefix, text) = ("IP:", address.text.filter { $0 != UInt8(ascii: "[") && $0 != UInt8(ascii: "]") })
    default: return
    }
    text = text.flatMap { byte -> [UInt8] in
        let isPlain =
            byte > 0x20 && byte < 0x7f && byte != UInt8(ascii: ",") && byte != UInt8(ascii: "\\")
        return isPlain
            ? [byte]
            : [UInt8(ascii: "\\"), ClientIdentity.hex(byte >> 4, "A"), ClientIdentity.hex(byte & 15, "A")]
    }
    if unsafe !names.pointee.isEmpty { unsafe names.pointee.append(UInt8(ascii: ",")) }
    unsafe names.pointee += Array(prefix.utf8) + text
}

// MARK: What a session knows of its client

extension TLSSession {
    /// SHA-256 of the client's certificate, 64 hexadecimal digits in lower case: what tells clients apart whose certificates
    /// were verified. Empty when there was none. After the handshake; it lives as long as the session.
    public var clientFingerprint: RawSpan {
        @_lifetime(borrow self) get {
            guard let identity = unsafe ClientIdentity.of(handle) else { return RawSpan() }
            let bytes = unsafe RawSpan(
                _unsafeStart: UnsafeRawPointer(identity.pointee.bytes),
                byteCount: ClientIdentity.fingerprintBytes)
            return unsafe _overrideLifetime(bytes, borrowing: self)
        }
    }

    /// Whether the client has shown a certificate, which was verified.
    public var hasClientCertificate: Bool { unsafe ClientIdentity.of(handle) != nil }

    /// Appends the name that the client asks for, at most 255 bytes. At any time, whatever became of the handshake.
    public func appendServerName(to block: inout Block) { block.append(serverName) }

    /// The subject of the client's certificate (RFC 4514) in printable ASCII; empty when it has none, or a longer one than
    /// `ClientIdentity.longestSubject`.
    public var clientSubject: RawSpan {
        @_lifetime(borrow self) get {
            guard let identity = unsafe ClientIdentity.of(handle) else { return RawSpan() }
            let start = ClientIdentity.fingerprintBytes
            let bytes = unsafe RawSpan(
                _unsafeStart: UnsafeRawPointer(identity.pointee.bytes + start),
                byteCount: identity.pointee.subjectEnd - start)
            return unsafe _overrideLifetime(bytes, borrowing: self)
        }
    }

    /// Its subject alternative names as `DNS:a,URI:b`; empty when it has none, or longer ones than
    /// `ClientIdentity.longestNames`.
    public var clientNames: RawSpan {
        @_lifetime(borrow self) get {
            guard let identity = unsafe ClientIdentity.of(handle) else { return RawSpan() }
            let start = unsafe identity.pointee.subjectEnd
            let bytes = unsafe RawSpan(
                _unsafeStart: UnsafeRawPointer(identity.pointee.bytes + start),
                byteCount: identity.pointee.namesEnd - start)
            return unsafe _overrideLifetime(bytes, borrowing: self)
        }
    }

    /// Whether the certificate that SNI chose is for `host` too: an authority without its port. A client with another
    /// certificate's connection is told to go elsewhere (RFC 9110 §15.5.20). `true` where nothing was chosen.
    public func covers(_ host: RawSpan) -> Bool {
        guard let note = unsafe ServerNote.of(SSL_get_SSL_CTX(handle)) else { return true }
        return unsafe note.pointee.names.pointee.covers(host, by: note.pointee.choice)
    }

    /// What the handshake leaves to be looked at: a client's certificate, which a ticket carries from handshake to handshake
    /// and nobody verifies again. `nil` when all is well.
    func takeClientCertificate() -> TLSFailure? {
        guard let certificate = unsafe SSL_get0_peer_certificate(handle) else { return nil }
        // 0 is an error, and as bad as the past.
        guard unsafe X509_cmp_current_time(X509_get0_notAfter(certificate)) > 0 else {
            return .untrusted(code: X509_V_ERR_CERT_HAS_EXPIRED)
        }
        return unsafe ClientIdentity.keep(certificate, on: handle) ? nil : .other(code: 0)
    }
}
