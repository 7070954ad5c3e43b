internal import Foundation
internal import ServiceKit
internal import Synchronization

/// The keys in hand: the one that signs, and what is published.
final class KeyRing: Sendable {
    private struct Held {
        var keys: [StoredKey]
        var signer: TokenSigner
    }

    private let held: Mutex<Held>

    /// Returns `nil` when none of them is active.
    init?(_ keys: [StoredKey]) {
        guard let signer = Self.signer(keys) else { return nil }
        held = Mutex(Held(keys: keys, signer: signer))
    }

    /// The key that signs now.
    var signer: TokenSigner { held.withLock { $0.signer } }

    /// After a rotation.
    func replace(_ keys: [StoredKey]) {
        held.withLock { held in
            held.keys = keys
            held.signer = Self.signer(keys) ?? held.signer
        }
    }

    /// Those that tokens which have not expired may name, and the next one.
    func published(now: Int64) -> [StoredKey] {
        held.withLock { $0.keys }.filter { key in
            key.retiredAt.map { now < $0 + AuthStore.keyTrailMilliseconds } ?? true
        }
    }

    /// RFC 7517 §5.
    func keySet(now: Int64) throws -> Data {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys]
        return try encoder.encode(PublishedKeySet(keys: published(now: now).map(\.published)))
    }

    /// The seconds until the next key may sign, at least 0.
    func secondsUntilRotation(now: Int64) -> Int {
        let createdAt = held.withLock { $0.keys }.first { $0.state == .next }?.createdAt ?? now
        return Int(max(0, (createdAt + AuthStore.keyLeadMilliseconds - now + 999) / 1_000))
    }

    private static func signer(_ keys: [StoredKey]) -> TokenSigner? {
        keys.first { $0.state == .active }?.signer
    }
}
