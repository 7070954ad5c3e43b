internal import COpenSSL
internal import Memory

/// What all sessions of a listener have in common: certificates, versions, ciphers, ticket keys. One OpenSSL SSL_CTX for each
/// set of certificates that goes with a name; sessions hold their own reference to it, so they may outlive this value.
///
/// Each worker should have one of its own: a session counts references in it, and a count that two cores change is a cache
/// line that they fight over. It is safe to share all the same.
///
/// Invariant that makes it safe: nothing of it changes after `init`, and OpenSSL lets any thread make sessions from an
/// SSL_CTX that does not change (openssl-threads(7)).
@safe public struct TLSServer: ~Copyable, @unchecked Sendable {
    private let handle: OpaquePointer

    /// Most sets of certificates that names of one listener may go with.
    static let choiceLimit = 1024
    /// Certificates between a client's own and an authority.
    static let chainDepth: CInt = 4

    /// Reads and checks the settings. Cold: parses files' bytes, allocates.
    public init(_ settings: TLSServerSettings, ticketKeys: TicketKeys) throws(TLSSettingsError) {
        guard unsafe ServerNote.index > 0, ClientIdentity.index > 0, unsafe ciphertextMethod != nil else {
            throw .refused(reason: "OpenSSL could not be set up: \(takeErrorReason())")
        }
        let pairs = try TLSServer.load(settings.certificates)
        let names = try TLSServer.collectNames(pairs)
        let first = TLSServer.firstChoice(pairs, names)
        var numbers = [first: 0]
        var choices = [first]
        for choice in names.values where numbers[choice] == nil {
            numbers[choice] = choices.count
            choices.append(choice)
        }
        guard choices.count <= TLSServer.choiceLimit else {
            throw .refused(reason: "its names need more than \(TLSServer.choiceLimit) sets of certificates")
        }
        let table = unsafe ServerNames.make(names.mapValues { (numbers[$0] ?? 0, $0) })
        // Each SSL_CTX holds the table by a count of its own.
        defer { unsafe ServerNames.release(table) }
        var made: [OpaquePointer] = unsafe []
        for choice in choices {
            do throws(TLSSettingsError) {
                let next = try unsafe TLSServer.make(settings, pairs, choice, table, ticketKeys)
                unsafe made.append(next)
            } catch {
                for index in unsafe made.indices { unsafe SSL_CTX_free(made[index]) }
                throw error
            }
        }
        unsafe handle = made[0]
        unsafe ServerNote.of(made[0])?.pointee.own(made)
    }

    deinit { unsafe SSL_CTX_free(handle) }

    /// What can be said of a pair that a server could be made with.
    public static func facts(of certificate: TLSCertificate, pair: Int) throws(TLSSettingsError)
        -> CertificateFacts
    {
        try CertificatePair(certificate, pair: pair).facts
    }

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

// MARK: Which certificates go with which name

extension TLSServer {
    private static func load(_ files: [TLSCertificate]) throws(TLSSettingsError) -> [CertificatePair] {
        guard !files.isEmpty else { throw .noCertificates }
        var pairs: [CertificatePair] = []
        for (index, pair) in files.enumerated() { pairs.append(try CertificatePair(pair, pair: index)) }
        return pairs
    }

    private static func collectNames(_ pairs: [CertificatePair]) throws(TLSSettingsError)
        -> [CertificateName: CertificateChoice]
    {
        var names: [CertificateName: CertificateChoice] = [:]
        for (index, pair) in pairs.enumerated() {
            // The first is there for whoever asks for nothing; any other would never be shown.
            guard index == 0 || !pair.names.isEmpty else { throw .noNames(pair: index) }
            for name in pair.names {
                var choice = names[name] ?? CertificateChoice()
                guard choice[pair.kind] < 0 else {
                    let text = (name.isWildcard ? "*." : "") + String(decoding: name.text, as: UTF8.self)
                    throw .repeatedName(
                        pair: index, other: choice[pair.kind], name: text, kind: pair.kind.name)
                }
                choice[pair.kind] = index
                names[name] = choice
            }
        }
        return names
    }

    /// What is shown when no name is asked for, or none that is known: the first certificate, and those of another kind of key
    /// that share its first name.
    private static func firstChoice(
        _ pairs: [CertificatePair], _ names: [CertificateName: CertificateChoice]
    ) -> CertificateChoice {
        if let name = pairs[0].names.first, let choice = names[name] { return choice }
        var choice = CertificateChoice()
        choice[pairs[0].kind] = 0
        return choice
    }
}

// MARK: What hangs on an SSL_CTX

/// What the callbacks of an SSL_CTX need to know. The SSL_CTX owns it.
@unsafe struct ServerNote {
    let names: UnsafeMutablePointer<ServerNames>
    let choice: CertificateChoice
    /// They live for ever.
    let tickets: UnsafeMutablePointer<TicketKeyState>
    let isStrict: Bool
    var staple: UnsafeMutablePointer<Staple>?
    /// Of the first SSL_CTX, which sessions are made from: all of them by their number, the first not counted in again.
    var all: UnsafeMutablePointer<OpaquePointer>?
    var count = 0

    static let index = unsafe copenssl_new_ctx_index(releaseNote)

    static func of(_ owner: OpaquePointer?) -> UnsafeMutablePointer<ServerNote>? {
        unsafe SSL_CTX_get_ex_data(owner, index)?.assumingMemoryBound(to: ServerNote.self)
    }

    /// Takes the others over.
    mutating func own(_ made: [OpaquePointer]) {
        let all = unsafe UnsafeMutablePointer<OpaquePointer>.allocate(capacity: made.count)
        for index in unsafe made.indices { unsafe (all + index).initialize(to: made[index]) }
        unsafe self.all = unsafe all
        unsafe count = made.count
    }

    static func free(_ note: UnsafeMutablePointer<ServerNote>) {
        if let all = unsafe note.pointee.all {
            for number in 1..<(unsafe max(note.pointee.count, 1)) { unsafe SSL_CTX_free(all[number]) }
            unsafe all.deallocate()
        }
        if let staple = unsafe note.pointee.staple { unsafe Staple.free(staple) }
        unsafe ServerNames.release(note.pointee.names)
        unsafe note.deallocate()
    }
}

private func releaseNote(
    _ parent: UnsafeMutableRawPointer?, _ stored: UnsafeMutableRawPointer?,
    _ data: UnsafeMutablePointer<CRYPTO_EX_DATA>?, _ index: CInt, _ number: Int,
    _ argument: UnsafeMutableRawPointer?
) {
    guard let note = unsafe stored?.assumingMemoryBound(to: ServerNote.self) else { return }
    unsafe ServerNote.free(note)
}

/// RFC 6066 §3: chooses the certificates by the name that the client asks for. Always acknowledges a name, so that the session
/// remembers it and a resumed one still has it.
func chooseCertificate(
    _ session: OpaquePointer?, _ alert: UnsafeMutablePointer<CInt>?, _ argument: UnsafeMutableRawPointer?
) -> CInt {
    guard let note = unsafe ServerNote.of(SSL_get_SSL_CTX(session)) else { return SSL_TLSEXT_ERR_OK }
    // After a HelloRetryRequest we are asked again, with what was chosen then.
    guard let all = unsafe note.pointee.all else { return SSL_TLSEXT_ERR_OK }
    if let name = unsafe SSL_get_servername(session, TLSEXT_NAMETYPE_host_name) {
        var length = 0
        while length < 255, unsafe name[length] != 0 { length &+= 1 }
        let bytes = unsafe RawSpan(_unsafeStart: UnsafeRawPointer(name), byteCount: length)
        if let number = unsafe note.pointee.names.pointee.number(for: bytes) {
            if number > 0 { unsafe SSL_set_SSL_CTX(session, all[number]) }
            return SSL_TLSEXT_ERR_OK
        }
    }
    guard unsafe note.pointee.isStrict else { return SSL_TLSEXT_ERR_OK }
    unsafe alert?.pointee = SSL_AD_UNRECOGNIZED_NAME
    return SSL_TLSEXT_ERR_ALERT_FATAL
}

/// RFC 7301 §3.2: the server's order decides; nothing in common is the fatal alert `no_application_protocol`. `wanted` is not a
/// pointer: it holds up to four of our protocols, a byte each, the most wanted lowest.
func chooseProtocol(
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
