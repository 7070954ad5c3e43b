internal import COpenSSL
internal import Synchronization

/// One key of session tickets: its name, which the ticket carries in clear, and its two secrets.
@unsafe struct TicketKey {
    var name: (UInt64, UInt64)
    /// AES-256 key in the first half, HMAC-SHA-256 key in the second.
    var secrets: (UInt64, UInt64, UInt64, UInt64, UInt64, UInt64, UInt64, UInt64)

    static let secretBytes = 64
}

@unsafe struct TicketKeyState {
    let lock: UnsafeMutableRawPointer
    let cipher: OpaquePointer
    var current: TicketKey
    var previous: TicketKey
    var rotatedAt: UInt64
}

// Kept here so that a leak checker sees them held.
private let immortals = Mutex<[UInt]>([])

/// The keys that session tickets are sealed with: made once a process, used by every worker and across every reload, or
/// resumption would fail on the next connection. A handle: copies name the same keys.
///
/// Any thread may use it. The lock is OpenSSL's own read-write lock, held for one copy of a key at a handshake and at no
/// other time; a rotation excludes the readers.
///
/// Invariant that makes it safe: the state is never freed and touched only under its lock.
@safe public struct TicketKeys: @unchecked Sendable {
    let state: UnsafeMutablePointer<TicketKeyState>

    /// Random keys. `now` in nanoseconds, monotonic. `nil` when the system gives no randomness or no memory.
    public init?(now: UInt64) {
        guard let lock = unsafe CRYPTO_THREAD_lock_new() else { return nil }
        // Fetched once: a fetch by name costs more than the ticket's encryption.
        guard let cipher = unsafe EVP_CIPHER_fetch(nil, "AES-256-CBC", nil) else {
            unsafe CRYPTO_THREAD_lock_free(lock)
            return nil
        }
        guard let first = unsafe TicketKeys.randomKey(), let second = unsafe TicketKeys.randomKey() else {
            unsafe CRYPTO_THREAD_lock_free(lock)
            unsafe EVP_CIPHER_free(cipher)
            return nil
        }
        unsafe state = .allocate(capacity: 1)
        unsafe state.initialize(
            to: TicketKeyState(lock: lock, cipher: cipher, current: first, previous: second, rotatedAt: now))
        let address = unsafe UInt(bitPattern: state)
        immortals.withLock { $0.append(address) }
    }

    /// Takes a new key if the current one is older than `interval` (12 hours unless configured); the one before is still
    /// accepted until the next rotation, the one before that is forgotten. Tells whether it did. Times in nanoseconds.
    @discardableResult
    public func rotate(now: UInt64, interval: UInt64 = 12 * 3600 * 1_000_000_000) -> Bool {
        guard let next = unsafe TicketKeys.randomKey() else { return false }
        guard unsafe CRYPTO_THREAD_write_lock(state.pointee.lock) == 1 else { return false }
        defer { unsafe CRYPTO_THREAD_unlock(state.pointee.lock) }
        let rotatedAt = unsafe state.pointee.rotatedAt
        guard now > rotatedAt, now - rotatedAt >= interval else { return false }
        unsafe state.pointee.previous = state.pointee.current
        unsafe state.pointee.current = next
        unsafe state.pointee.rotatedAt = now
        return true
    }

    private static func randomKey() -> TicketKey? {
        var key = unsafe TicketKey(name: (0, 0), secrets: (0, 0, 0, 0, 0, 0, 0, 0))
        let isRandom = unsafe withUnsafeMutableBytes(of: &key) { bytes in
            unsafe RAND_bytes(bytes.bindMemory(to: UInt8.self).baseAddress, CInt(bytes.count)) == 1
        }
        return unsafe isRandom ? key : nil
    }

    /// A copy of the key to seal with.
    func currentKey() -> TicketKey? {
        guard unsafe CRYPTO_THREAD_read_lock(state.pointee.lock) == 1 else { return nil }
        defer { unsafe CRYPTO_THREAD_unlock(state.pointee.lock) }
        return unsafe state.pointee.current
    }

    /// A copy of the key of that name, and whether it is the current one.
    func key(named name: (UInt64, UInt64)) -> (key: TicketKey, isCurrent: Bool)? {
        guard unsafe CRYPTO_THREAD_read_lock(state.pointee.lock) == 1 else { return nil }
        defer { unsafe CRYPTO_THREAD_unlock(state.pointee.lock) }
        if unsafe state.pointee.current.name == name { return unsafe (state.pointee.current, true) }
        if unsafe state.pointee.previous.name == name { return unsafe (state.pointee.previous, false) }
        return nil
    }
}

/// OpenSSL's question for a ticket key (SSL_CTX_set_tlsext_ticket_key_evp_cb(3)): with `isSealing` 1 it wants one to make a
/// ticket with, with 0 the one that a ticket names. Answers: 1 use it, 2 use it and send a new ticket, 0 no ticket, -1 fail.
func chooseTicketKey(
    _ session: OpaquePointer?, _ name: UnsafeMutablePointer<UInt8>?, _ iv: UnsafeMutablePointer<UInt8>?,
    _ cipher: OpaquePointer?, _ mac: OpaquePointer?, _ isSealing: CInt
) -> CInt {
    guard let owner = unsafe SSL_get_SSL_CTX(session), let name = unsafe name, let iv = unsafe iv,
        let stored = unsafe SSL_CTX_get_ex_data(owner, TLSServer.ticketIndex)
    else { return -1 }
    let keys = unsafe TicketKeys(state: stored.assumingMemoryBound(to: TicketKeyState.self))
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
    let isReady = unsafe withUnsafeMutableBytes(of: &key.secrets) { secrets in
        let start = unsafe secrets.bindMemory(to: UInt8.self).baseAddress
        let isSet = unsafe copenssl_ticket_ready(
            cipher, mac, keys.state.pointee.cipher, start, start.map { unsafe $0 + 32 }, iv, isSealing)
        unsafe OPENSSL_cleanse(start, secrets.count)
        return isSet == 1
    }
    return isReady ? answer : -1
}

extension TicketKeys {
    init(state: UnsafeMutablePointer<TicketKeyState>) { unsafe self.state = state }
}
