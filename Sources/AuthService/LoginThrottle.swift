internal import Synchronization

/// Slows down guessing: failed sign-ins are counted by account and address together, and by address alone.
///
/// The pair keeps an attacker from locking the owner out from elsewhere; the address alone keeps one attacker from trying
/// one password on every account.
final class LoginThrottle: Sendable {
    /// Failures at once, and the seconds in which one of them is forgotten.
    struct Rule: Sendable {
        var burst: Double
        var secondsEach: Double
    }

    private struct Bucket {
        var failures: Double
        var at: Double
    }

    private let pairRule: Rule
    private let addressRule: Rule
    private let capacity: Int
    private let buckets = Mutex<[String: Bucket]>([:])

    init(
        pairRule: Rule = Rule(burst: 5, secondsEach: 30), addressRule: Rule = Rule(burst: 30, secondsEach: 4),
        capacity: Int = 10_000
    ) {
        self.pairRule = pairRule
        self.addressRule = addressRule
        self.capacity = capacity
    }

    /// Counts an attempt as failed in advance, so that many at once cannot all slip through before the first has failed.
    /// `now`: Seconds, monotonic.
    /// Returns `nil` when the attempt may go on, otherwise the seconds to wait.
    func begin(account: String, address: String, now: Double) -> Int? {
        buckets.withLock { buckets in
            let checks = [(pairKey(account, address), pairRule), (addressKey(address), addressRule)]
            for (key, rule) in checks {
                let failures = Self.failures(buckets[key], rule, now)
                if failures + 1 > rule.burst {
                    return max(1, Int(((failures + 1 - rule.burst) * rule.secondsEach).rounded(.up)))
                }
            }
            makeRoom(&buckets, now: now)
            for (key, rule) in checks {
                buckets[key] = Bucket(failures: Self.failures(buckets[key], rule, now) + 1, at: now)
            }
            return nil
        }
    }

    /// The password was right: the pair is forgotten, the address gets back what this attempt took.
    func succeed(account: String, address: String) {
        buckets.withLock { buckets in
            buckets[pairKey(account, address)] = nil
            giveBack(&buckets, addressKey(address))
        }
    }

    /// The attempt was not judged (no room to hash): both get back what it took.
    func forget(account: String, address: String) {
        buckets.withLock { buckets in
            giveBack(&buckets, pairKey(account, address))
            giveBack(&buckets, addressKey(address))
        }
    }

    private static func failures(_ bucket: Bucket?, _ rule: Rule, _ now: Double) -> Double {
        guard let bucket else { return 0 }
        return max(0, bucket.failures - max(0, now - bucket.at) / rule.secondsEach)
    }

    private func giveBack(_ buckets: inout [String: Bucket], _ key: String) {
        guard let failures = buckets[key]?.failures else { return }
        if failures <= 1 { buckets[key] = nil } else { buckets[key]?.failures = failures - 1 }
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

    private func pairKey(_ account: String, _ address: String) -> String { "p\(address) \(account)" }
    private func addressKey(_ address: String) -> String { "a\(address)" }
}
