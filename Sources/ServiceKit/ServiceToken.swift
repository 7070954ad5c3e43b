public import Foundation
internal import HTTPTypes
public import Hummingbird

/// The secret by which services of one platform know each other.
public struct ServiceToken: Sendable {
    /// As it goes into an `Authorization` field.
    public let field: String

    /// `secret`: At least 16 bytes of printable ASCII; `nil` for anything less.
    public init?(_ secret: String) {
        guard secret.utf8.count >= 16, secret.utf8.count <= 1_024,
            secret.utf8.allSatisfy({ (0x21...0x7E).contains($0) })
        else { return nil }
        field = "Bearer \(secret)"
    }

    /// A new one that nobody else knows.
    public static func random() -> ServiceToken? { ServiceToken(Bytes.base64url(Bytes.random(32))) }

    /// Reads one from a file; white space at its ends is not part of it.
    public init(file: URL) throws(FileFailure) {
        let text: String
        do { text = try String(contentsOf: file, encoding: .utf8) } catch { throw FileFailure(file, error) }
        guard let token = ServiceToken(text.trimmingCharacters(in: .whitespacesAndNewlines)) else {
            throw FileFailure(file, "does not hold 16 to 1024 printable characters")
        }
        self = token
    }

    /// Throws 401 unless the request shows this secret.
    public func require(_ request: Request) throws {
        let shown = request.headers[.authorization] ?? ""
        // Digests have one length, so that comparing them tells nothing of the secret's.
        guard Bytes.isEqual(Bytes.sha256(shown.utf8), Bytes.sha256(field.utf8)) else {
            throw Problem(
                .unauthorized, "service_token_invalid", "This is for services of the platform.",
                fields: [.wwwAuthenticate: "Bearer realm=\"internal\""])
        }
    }
}
