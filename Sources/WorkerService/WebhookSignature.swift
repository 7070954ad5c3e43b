internal import CSodium
internal import Foundation
internal import ServiceKit

/// The secret of an endpoint, and what it signs, in the form of the Standard Webhooks specification.
struct WebhookSecret: Equatable, Sendable {
    static let prefix = "whsec_"
    /// The specification asks for 24 to 64 bytes.
    static let lengthsBytes = 24...64

    /// As the receiver is told it: `whsec_` and base64.
    let text: String
    private let key: [UInt8]

    /// `nil` unless it has that form and length.
    init?(_ text: String) {
        guard text.hasPrefix(Self.prefix),
            let key = Data(base64Encoded: String(text.dropFirst(Self.prefix.count))),
            Self.lengthsBytes.contains(key.count)
        else { return nil }
        self.text = text
        self.key = [UInt8](key)
    }

    /// A new one of 32 bytes.
    static func random() -> WebhookSecret { WebhookSecret(key: Bytes.random(32)) }

    private init(key: [UInt8]) {
        self.key = key
        text = Self.prefix + Data(key).base64EncodedString()
    }

    /// `v1,` and the base64 of HMAC-SHA256 over `id.timestamp.body`.
    /// `timestamp`: Unix seconds of this attempt.
    func signature(id: String, timestamp: Int64, body: [UInt8]) -> String {
        let signed = Array("\(id).\(timestamp).".utf8) + body
        return "v1," + Data(Self.hmac(key: key, signed)).base64EncodedString()
    }

    /// HMAC-SHA256 (RFC 2104 with FIPS 180-4), 32 bytes.
    static func hmac(key: [UInt8], _ message: [UInt8]) -> [UInt8] {
        Bytes.prepare()
        var state = crypto_auth_hmacsha256_state()
        var digest = [UInt8](repeating: 0, count: Int(crypto_auth_hmacsha256_BYTES))
        crypto_auth_hmacsha256_init(&state, key, key.count)
        crypto_auth_hmacsha256_update(&state, message, UInt64(message.count))
        crypto_auth_hmacsha256_final(&state, &digest)
        return digest
    }
}
