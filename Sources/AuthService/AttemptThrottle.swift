internal import Synchronization

/// Attempts at once, and the seconds in which one of them is forgotten.
public struct AttemptRule: Sendable {
    public var burst: Double
    public var secondsEach: Double

    public init(burst: Double, secondsEach: Double) {
        self.burst = burst
        self.secondsEach = secondsEach
    }
}

/// Counts attempts of a kind, such as failed sign-ins, and holds back who has made too many.
///
/// Sign-ins are counted by account and address together, and by address alone. The pair keeps an attacker from locking
/// the owner out from elsewhere; the address alone keeps one attacker from trying one password on every account. Of IPv6
/// addresses the network counts (`ClientNetwork`).
final class AttemptThrottle: Sendable {
    private struct Bucket {
        var attempts: Double
        var at: Double
    }

    private let pairRule: AttemptRule
    private let addressRule: AttemptRule
    private let capacity: Int
    private let buckets = Mutex<[String: Bucket]>([:])

    init(pairRule: AttemptRule, addressRule: AttemptRule, capacity: Int = 10_000) {
        self.pairRule = pairRule
        self.addressRule = addressRule
        self.capacity = capacity
    }

    /// Counts by the address alone.
    convenience init(addressRule: AttemptRule) {
        self.init(pairRule: addressRule, addressRule: addressRule)
    }

    /// Counts an attempt as failed in advance, so that many at once cannot all slip through before the first has failed.
    /// `account`: `nil` to count by the address alone.
    /// `now`: Seconds, monotonic.
    /// Returns `nil` when the attempt may go on, otherwise the seconds to wait.
    func begin(account: String?, address: String, now: Double) -> Int? {
        buckets.withLock { buckets in
            let checks = checks(account, address)
            for (key, rule) in checks {
                let attempts = Self.attempts(buckets[key], rule, now)
                if attempts + 1 > rule.burst {
                    return max(1, Int(((attempts + 1 - rule.burst) * rule.secondsEach).rounded(.up)))
                }
            }
            makeRoom(&buckets, now: now)
            for (key, rule) in checks {
                buckets[key] = Bucket(attempts: Self.attempts(buckets[key], rule, now) + 1, at: now)
            }
            return nil
        }
    }

    /// The password was right: the pair is forgotten, the address gets back what this attempt took.
    func succeed(account: String, address: String) {
        buckets.withLock { buckets in
            buckets[Self.pairKey(account, address)] = nil
            giveBack(&buckets, Self.addressKey(address))
        }
    }

    /// The password is another now: wrong ones that were tried before say nothing. The address gets nothing back.
    func forgive(account: String, address: String) {
        buckets.withLock { $0[Self.pairKey(account, address)] = nil }
    }

    /// The attempt was not judged (no room to hash): what it took is given back.
    func forget(account: String?, address: String) {
        buckets.withLock { buckets in
            for (key, _) in checks(account, address) { giveBack(&buckets, key) }
        }
    }

    private func checks(_ account: String?, _ address: String) -> [(String, AttemptRule)] {
        (account.map { [(Self.pairKey($0, address), pairRule)] } ?? [])
            + [(Self.addressKey(address), addressRule)]
    }

    private static func attempts(_ bucket: Bucket?, _ rule: AttemptRule, _ now: Double) -> Double {
        guard let bucket else { return 0 }
        return max(0, bucket.attempts - max(0, now - bucket.at) / rule.secondsEach)
    }

    private func giveBack(_ buckets: inout [String: Bucket], _ key: String) {
        guard let attempts = buckets[key]?.attempts else { return }
        if attempts <= 1 { buckets[key] = nil } else { buckets[key]?.attempts = attempts - 1 }
    }

    /// Drops what has been forgotten by time; if the table is still full, whatever comes first: memory stays bounded, and
    /// the hashing queue goes on holding back a flood from ten thousand addresses.
    private func makeRoom(_ buckets: inout [String: Bucket], now: Double) {
        guard buckets.count + 2 > capacity else { return }
        let forgotten = max(
            pairRule.burst * pairRule.secondsEach, addressRule.burst * addressRule.secondsEach)
        buckets = buckets.filter { now - $0.value.at < forgotten }
        while buckets.count + 2 > capacity, let first = buckets.keys.first { buckets[first] = nil }
    }

    private static func pairKey(_ account: String, _ address: String) -> String {
        "p\(ClientNetwork.name(of: address)) \(account)"
    }
    private static func addressKey(_ address: String) -> String { "a\(ClientNetwork.name(of: address))" }
}
