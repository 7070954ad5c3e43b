internal import COpenSSL
internal import Synchronization

/// One key of session tickets: its name, which the ticket carries in clear, and its two secrets.
@unsafe struct TicketKey {
    var name: (UInt64, UInt64)
    /// The key of AES-CBC in the first half, that of HMAC-SHA-256 in the second; each half used as far as `isShort` allows.
    var secrets: (UInt64, UInt64, UInt64, UInt64, UInt64, UInt64, UInt64, UInt64)
    /// AES-128 and 16 bytes for the HMAC, from a file of the older form; else AES-256 and 32.
    var isShort = false
}

@unsafe struct TicketKeyState {
    let lock: UnsafeMutableRawPointer
    let cipher: OpaquePointer
    let shortCipher: OpaquePointer
    /// The first seals; all open.
    let keys: UnsafeMutablePointer<TicketKey>
    var count: Int
    /// Whether they came from a file, and do not rotate by themselves.
    var areGiven: Bool
    var rotatedAt: UInt64
    /// The address of the state that was made before this one.
    var earlier: UInt
}

/// Why a file of ticket keys cannot be used.
public enum TicketFileError: Error, Equatable, Sendable {
    case badSize(bytes: Int)
    case tooMany(limit: Int)
    case repeatedName

    /// What is wrong, to be put after the name of the file.
    public var reason: String {
        switch self {
        case .badSize(let bytes):
            "\(bytes) bytes are no whole number of keys, which have 80 (or 48) random bytes each"
        case .tooMany(let limit): "more than \(limit) keys in it"
        case .repeatedName: "two keys in it begin with the same 16 bytes, their name"
        }
    }
}

/// A file of ticket keys, in the form of nginx's `ssl_session_ticket_key`: 80 bytes a key (name 16, HMAC 32, AES 32), or 48
/// (name, AES, HMAC, 16 each), one behind the other. What can be cut in both ways is taken for the longer form.
public struct TicketFile: Sendable {
    let bytes: [UInt8]
    let keyBytes: Int

    public init(_ bytes: [UInt8]) throws(TicketFileError) {
        keyBytes = bytes.count % 80 == 0 ? 80 : 48
        guard !bytes.isEmpty, bytes.count % keyBytes == 0 else { throw .badSize(bytes: bytes.count) }
        guard bytes.count / keyBytes <= TicketKeys.limit else { throw .tooMany(limit: TicketKeys.limit) }
        self.bytes = bytes
        let size = keyBytes
        let names = Set((0..<(bytes.count / size)).map { Array(bytes[($0 * size)..<($0 * size + 16)]) })
        guard names.count == bytes.count / size else { throw .repeatedName }
    }
}

// The state that was made last, which leads to all others, so that a leak checker sees them held.
private let newest = Atomic<UInt>(0)

/// The keys that session tickets of a listener are sealed with: made once a process, used by every worker and across every
/// reload, or resumption would fail on the next connection. A handle: copies name the same keys.
///
/// Any thread may use it. The lock is OpenSSL's own read-write lock, held for one copy of a key at a handshake and at no
/// other time; a change excludes the readers.
///
/// Invariant that makes it safe: the state is never freed and touched only under its lock.
@safe public struct TicketKeys: @unchecked Sendable {
    let state: UnsafeMutablePointer<TicketKeyState>

    /// Most keys of a file.
    public static let limit = 16

    /// Random keys. `now` in nanoseconds, monotonic. `nil` when the system gives no randomness or no memory.
    public init?(now: UInt64) {
        guard let lock = unsafe CRYPTO_THREAD_lock_new() else { return nil }
        // Fetched once: a fetch by name costs more than the ticket's encryption.
        guard let cipher = unsafe EVP_CIPHER_fetch(nil, "AES-256-CBC", nil) else {
            unsafe CRYPTO_THREAD_lock_free(lock)
            return nil
        }
        guard let shortCipher = unsafe EVP_CIPHER_fetch(nil, "AES-128-CBC", nil) else {
            unsafe CRYPTO_THREAD_lock_free(lock)
            unsafe EVP_CIPHER_free(cipher)
            return nil
        }
        guard let first = unsafe TicketKeys.randomKey() else {
            unsafe CRYPTO_THREAD_lock_free(lock)
            unsafe EVP_CIPHER_free(cipher)
            unsafe EVP_CIPHER_free(shortCipher)
            return nil
        }
        let keys = UnsafeMutablePointer<TicketKey>.allocate(capacity: TicketKeys.limit)
        unsafe keys.initialize(repeating: first, count: TicketKeys.limit)
        unsafe state = .allocate(capacity: 1)
        unsafe state.initialize(
            to: TicketKeyState(
                lock: lock, cipher: cipher, shortCipher: shortCipher, keys: keys, count: 1, areGiven: false,
                rotatedAt: now, earlier: 0))
        let address = unsafe UInt(bitPattern: state)
        unsafe state.pointee.earlier = newest.exchange(address, ordering: .acquiringAndReleasing)
    }

    /// Takes a new key if the current one is older than `interval`; the one before is still accepted until the next rotation,
    /// the one before that is forgotten. Keys from a file stay. Tells whether it did. Times in nanoseconds.
    @discardableResult
    public func rotate(now: UInt64, interval: UInt64) -> Bool {
        guard unsafe CRYPTO_THREAD_write_lock(state.pointee.lock) == 1 else { return false }
        defer { unsafe CRYPTO_THREAD_unlock(state.pointee.lock) }
        let rotatedAt = unsafe state.pointee.rotatedAt
        guard unsafe !state.pointee.areGiven, now > rotatedAt, now - rotatedAt >= interval,
            let next = unsafe TicketKeys.randomKey()
        else { return false }
        unsafe state.pointee.keys[1] = state.pointee.keys[0]
        unsafe state.pointee.keys[0] = next
        unsafe state.pointee.count = 2
        unsafe state.pointee.rotatedAt = now
        return true
    }

    /// Replaces all keys by those of a file; the first seals.
    public func take(_ file: TicketFile) {
        let starts = stride(from: 0, to: file.bytes.count, by: file.keyBytes)
        let given = unsafe starts.map { unsafe TicketKeys.key(file.bytes[$0..<($0 + file.keyBytes)]) }
        guard unsafe CRYPTO_THREAD_write_lock(state.pointee.lock) == 1 else { return }
        defer { unsafe CRYPTO_THREAD_unlock(state.pointee.lock) }
        unsafe replace(given, areGiven: true)
    }

    /// Random keys again, where a file is no longer named. Keys that are random stay.
    public func takeRandom(now: UInt64) {
        guard unsafe CRYPTO_THREAD_write_lock(state.pointee.lock) == 1 else { return }
        defer { unsafe CRYPTO_THREAD_unlock(state.pointee.lock) }
        guard unsafe state.pointee.areGiven, let key = unsafe TicketKeys.randomKey() else { return }
        unsafe replace([key], areGiven: false)
        unsafe state.pointee.rotatedAt = now
    }

    // Under the lock.
    private func replace(_ keys: [TicketKey], areGiven: Bool) {
        unsafe OPENSSL_cleanse(
            UnsafeMutableRawPointer(state.pointee.keys), MemoryLayout<TicketKey>.stride * TicketKeys.limit)
        for index in unsafe keys.indices { unsafe state.pointee.keys[index] = keys[index] }
        unsafe state.pointee.count = keys.count
        unsafe state.pointee.areGiven = areGiven
    }

    private static func key(_ bytes: ArraySlice<UInt8>) -> TicketKey {
        var key = unsafe TicketKey(name: (0, 0), secrets: (0, 0, 0, 0, 0, 0, 0, 0))
        unsafe key.isShort = bytes.count == 48
        let parts = Array(bytes)
        let (cipher, mac) = unsafe key.isShort ? (16..<32, 32..<48) : (48..<80, 16..<48)
        unsafe withUnsafeMutableBytes(of: &key.name) { unsafe $0.copyBytes(from: parts[0..<16]) }
        unsafe withUnsafeMutableBytes(of: &key.secrets) { secrets in
            unsafe UnsafeMutableRawBufferPointer(rebasing: secrets[0..<32]).copyBytes(from: parts[cipher])
            unsafe UnsafeMutableRawBufferPointer(rebasing: secrets[32..<64]).copyBytes(from: parts[mac])
        }
        return unsafe key
    }

    private static func randomKey() -> TicketKey? {
        var key = unsafe TicketKey(name: (0, 0), secrets: (0, 0, 0, 0, 0, 0, 0, 0))
        let hasName = unsafe withUnsafeMutableBytes(of: &key.name) { bytes in
            unsafe RAND_bytes(bytes.bindMemory(to: UInt8.self).baseAddress, CInt(bytes.count)) == 1
        }
        let hasSecrets = unsafe withUnsafeMutableBytes(of: &key.secrets) { bytes in
            unsafe RAND_bytes(bytes.bindMemory(to: UInt8.self).baseAddress, CInt(bytes.count)) == 1
        }
        return unsafe hasName && hasSecrets ? key : nil
    }

    /// A copy of the key to seal with.
    func currentKey() -> TicketKey? {
        guard unsafe CRYPTO_THREAD_read_lock(state.pointee.lock) == 1 else { return nil }
        defer { unsafe CRYPTO_THREAD_unlock(state.pointee.lock) }
        return unsafe state.pointee.keys[0]
    }

    /// A copy of the key of that name, and whether it is the current one.
    func key(named name: (UInt64, UInt64)) -> (key: TicketKey, isCurrent: Bool)? {
        guard unsafe CRYPTO_THREAD_read_lock(state.pointee.lock) == 1 else { return nil }
        defer { unsafe CRYPTO_THREAD_unlock(state.pointee.lock) }
        for index in 0..<(unsafe state.pointee.count) where unsafe state.pointee.keys[index].name == name {
            return unsafe (state.pointee.keys[index], index == 0)
        }
        return nil
    }
}

/// OpenSSL's question for a ticket key (SSL_CTX_set_tlsext_ticket_key_evp_cb(3)): with `isSealing` 1 it wants one to make a
/// ticket with, with 0 the one that a ticket names. Answers: 1 use it, 2 use it and send a new ticket, 0 no ticket, -1 fail.
func chooseTicketKey(
    _ session: OpaquePointer?, _ name: UnsafeMutablePointer<UInt8>?, _ iv: UnsafeMutablePointer<UInt8>?,
    _ cipher: OpaquePointer?, _ mac: OpaquePointer?, _ isSealing: CInt
) -> CInt {
    guard let note = unsafe ServerNote.of(SSL_get_SSL_CTX(session)), let name = unsafe name,
        let iv = unsafe iv
    else { return -1 }
    let keys = unsafe TicketKeys(state: note.pointee.tickets)
    let nameBytes = UnsafeMutableRawPointer(name)
    var key: TicketKey
    var answer: CInt = 1
    if isSealing == 1 {
        guard let current = unsafe keys.currentKey() else { return -1 }
        unsafe key = current
        unsafe nameBytes.storeBytes(of: key.name.0, as: UInt64.self)
        unsafe nameBytes.storeBytes(of: key.name.1, toByteOffset: 8, as: UInt64.self)
        guard unsafe RAND_bytes(iv, 16) == 1 else { return -1 }
    } else {
        let wanted = unsafe (
            nameBytes.loadUnaligned(as: UInt64.self),
            nameBytes.loadUnaligned(fromByteOffset: 8, as: UInt64.self)
        )
        guard let found = unsafe keys.key(named: wanted) else { return 0 }
        unsafe key = found.key
        answer = unsafe found.isCurrent ? 1 : 2
    }
    let isShort = unsafe key.isShort
    let isReady = unsafe withUnsafeMutableBytes(of: &key.secrets) { secrets in
        let start = unsafe secrets.bindMemory(to: UInt8.self).baseAddress
        let algorithm = unsafe isShort ? keys.state.pointee.shortCipher : keys.state.pointee.cipher
        let isSet = unsafe copenssl_ticket_ready(
            cipher, mac, algorithm, start, start.map { unsafe $0 + 32 }, isShort ? 16 : 32, iv, isSealing)
        unsafe OPENSSL_cleanse(start, secrets.count)
        return isSet == 1
    }
    return isReady ? answer : -1
}

extension TicketKeys {
    init(state: UnsafeMutablePointer<TicketKeyState>) { unsafe self.state = state }
}
