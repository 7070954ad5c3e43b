internal import CSodium
internal import Foundation
internal import Glibc
internal import HTTPTypes
internal import NIOPosix
internal import ServiceKit
public import ServiceLifecycle
internal import Synchronization

/// Argon2id (RFC 9106) on threads of its own: a hash takes 10 ms and 19 MiB, so that a crowd at the door must neither hold
/// up other requests nor take the machine's memory.
public final class PasswordHasher: Service, Sendable {
    /// OWASP's first choice for Argon2id: 19 MiB, two passes, one lane.
    private static let memoryBytes = 19 * 1_024 * 1_024
    private static let passes: UInt64 = 2
    /// A longer password is refused before it is hashed.
    static let lengthsBytes = 8...1_024

    private let threads: NIOThreadPool
    private let limit: Int
    private let inHand = Mutex(0)
    private let spent = Mutex(Spent())

    /// What hashing has cost since the start.
    private struct Spent {
        var hashes = 0
        var microseconds = 0
    }

    /// `threadCount`: How many hashes are computed at once.
    /// `queueLimit`: How many wait for a thread; one more is refused.
    public init(threadCount: Int = 2, queueLimit: Int = 64) {
        threads = NIOThreadPool(numberOfThreads: threadCount)
        limit = threadCount + queueLimit
        threads.start()
    }

    /// Keeps the threads until the service stops.
    public func run() async throws {
        try? await gracefulShutdown()
        try await threads.shutdownGracefully()
    }

    /// How many hashes are computed or waited for.
    var load: Int { inHand.withLock { $0 } }

    /// For the metrics. The microseconds are processor time of these threads, to be set beside the process's.
    var gauges: [String: Int] {
        let spent = spent.withLock { $0 }
        return [
            "hashing_in_hand": load, "hashes": spent.hashes, "hashing_microseconds": spent.microseconds,
        ]
    }

    /// The PHC string of a password: its parameters, salt and hash.
    /// Throws `Problem` 503 when the queue is full.
    func hash(_ password: String) async throws -> String {
        try await computed {
            Bytes.prepare()
            var text = [CChar](repeating: 0, count: Int(crypto_pwhash_STRBYTES))
            let bytes = Self.normal(password)
            let status = crypto_pwhash_str(
                &text, bytes, UInt64(bytes.count), Self.passes, Self.memoryBytes)
            // The one cause is that 19 MiB are not to be had.
            guard status == 0 else { throw Self.overloaded }
            return String(decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        }
    }

    /// Whether the password is the one that gave `stored`.
    /// Throws `Problem` 503 when the queue is full.
    func verify(_ password: String, against stored: String) async throws -> Bool {
        try await computed {
            Bytes.prepare()
            let bytes = Self.normal(password)
            return crypto_pwhash_str_verify(stored, bytes, UInt64(bytes.count)) == 0
        }
    }

    func computed<Value: Sendable>(_ work: @escaping @Sendable () throws -> Value) async throws
        -> Value
    {
        let isAdmitted = inHand.withLock { count -> Bool in
            guard count < limit else { return false }
            count += 1
            return true
        }
        guard isAdmitted else { throw Self.overloaded }
        defer { inHand.withLock { $0 -= 1 } }
        return try await threads.runIfActive {
            let before = Self.threadMicroseconds
            defer {
                let after = Self.threadMicroseconds
                self.spent.withLock { spent in
                    spent.hashes &+= 1
                    spent.microseconds &+= after &- before
                }
            }
            return try work()
        }
    }

    /// Processor time of the thread that asks.
    private static var threadMicroseconds: Int {
        var time = timespec()
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
        return time.tv_sec &* 1_000_000 &+ time.tv_nsec / 1_000
    }

    private static var overloaded: Problem {
        .retryLater(
            .serviceUnavailable, "hashing_overloaded", "Too many sign-ins at once.", afterSeconds: 1)
    }

    /// One password has one spelling, whatever keyboard made it (NIST SP 800-63B §5.1.1.2: NFKC).
    private static func normal(_ password: String) -> [CChar] {
        password.precomposedStringWithCompatibilityMapping.utf8.map { CChar(bitPattern: $0) }
    }
}
