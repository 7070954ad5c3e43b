internal import CSodium
internal import Foundation

/// Digests, random bytes and their text forms, from libsodium.
public enum Bytes {
    /// libsodium picks its code for this processor once; every entry of this type asks for it first.
    private static let isReady: Bool = sodium_init() >= 0

    /// Makes libsodium ready. It fails only where the system has no source of random bytes.
    public static func prepare() {
        precondition(isReady, "libsodium could not be initialised")
    }

    /// SHA-256 (FIPS 180-4), 32 bytes.
    public static func sha256(_ input: some Sequence<UInt8>) -> [UInt8] {
        prepare()
        let message = [UInt8](input)
        var digest = [UInt8](repeating: 0, count: Int(crypto_hash_sha256_BYTES))
        crypto_hash_sha256(&digest, message, UInt64(message.count))
        return digest
    }

    /// HMAC-SHA-256 (RFC 2104), 32 bytes. The key may have any length.
    public static func hmacSHA256(key: [UInt8], _ message: some Sequence<UInt8>) -> [UInt8] {
        prepare()
        let message = [UInt8](message)
        var state = crypto_auth_hmacsha256_state()
        var code = [UInt8](repeating: 0, count: Int(crypto_auth_hmacsha256_BYTES))
        crypto_auth_hmacsha256_init(&state, key, key.count)
        crypto_auth_hmacsha256_update(&state, message, UInt64(message.count))
        crypto_auth_hmacsha256_final(&state, &code)
        return code
    }

    /// Bytes fit for keys and tokens.
    public static func random(_ count: Int) -> [UInt8] {
        prepare()
        var bytes = [UInt8](repeating: 0, count: count)
        randombytes_buf(&bytes, count)
        return bytes
    }

    /// Compares secrets in a time that depends on their length only.
    public static func isEqual(_ left: [UInt8], _ right: [UInt8]) -> Bool {
        prepare()
        return left.count == right.count && sodium_memcmp(left, right, left.count) == 0
    }

    /// Lower-case hexadecimal.
    public static func hex(_ bytes: some Sequence<UInt8>) -> String {
        let bytes = [UInt8](bytes)
        var text: [UInt8] = []
        text.reserveCapacity(bytes.count * 2)
        for byte in bytes {
            text.append(hexDigit(byte >> 4))
            text.append(hexDigit(byte & 15))
        }
        return String(decoding: text, as: UTF8.self)
    }

    /// Of a number below 16.
    static func hexDigit(_ value: UInt8) -> UInt8 {
        value < 10 ? UInt8(ascii: "0") + value : UInt8(ascii: "a") + (value - 10)
    }

    /// Base64url without padding (RFC 4648 §5, RFC 7515 §2).
    public static func base64url(_ bytes: some Sequence<UInt8>) -> String {
        Data(bytes).base64EncodedString()
            .replacingOccurrences(of: "+", with: "-")
            .replacingOccurrences(of: "/", with: "_")
            .replacingOccurrences(of: "=", with: "")
    }

    /// `nil` for anything but canonical unpadded base64url.
    public static func fromBase64url(_ text: some StringProtocol) -> [UInt8]? {
        guard text.utf8.allSatisfy({ isBase64url($0) }) else { return nil }
        var padded = text.replacingOccurrences(of: "-", with: "+").replacingOccurrences(of: "_", with: "/")
        while padded.utf8.count % 4 != 0 { padded.append("=") }
        guard let data = Data(base64Encoded: padded) else { return nil }
        let bytes = [UInt8](data)
        // Spare bits in the last character would give one token several spellings.
        return base64url(bytes) == String(text) ? bytes : nil
    }

    private static func isBase64url(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "_"):
            true
        default: false
        }
    }
}
