internal import HTTPTypes
internal import Hummingbird
internal import ServiceKit

/// The key by which a client marks the repeats of one request, so that a lost answer does not make two documents.
/// It means something to its account alone.
struct IdempotencyKey: Equatable, Sendable {
    /// A repeat that comes later is a new request.
    static let lifetimeMilliseconds: Int64 = 24 * 3_600 * 1_000
    static let lengthsBytes = 1...255

    let text: String

    /// `nil` when the request has none. Throws 400 for one that is empty, too long, or not printable ASCII; several
    /// fields come here as one with a space in it, and are refused too.
    init?(_ request: Request) throws {
        guard let name = HTTPField.Name("Idempotency-Key"), let field = request.headers[name] else {
            return nil
        }
        guard Self.lengthsBytes.contains(field.utf8.count),
            field.utf8.allSatisfy({ (0x21...0x7E).contains($0) })
        else {
            throw Problem(
                .badRequest, "invalid_idempotency_key",
                "Idempotency-Key must be 1 to \(Self.lengthsBytes.upperBound) printable characters without a space."
            )
        }
        text = field
    }
}

/// A key with what was asked under it.
struct KeyedRequest: Sendable {
    let key: String
    /// Of the title and the body: the same key with another digest is another request by mistake.
    let digest: [UInt8]

    init(_ key: IdempotencyKey, title: String, body: String) {
        self.key = key.text
        // The length keeps the two apart.
        digest = Bytes.sha256(Array("\(title.utf8.count):".utf8) + Array(title.utf8) + Array(body.utf8))
    }
}
