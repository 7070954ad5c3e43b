import Foundation
import Logging
import ServiceKit

/// A caller's world: keys that sign its tokens, a directory for a store, and a client.
enum Harness {
    static let issuer = "https://auth.test"
    static let audience = "test"
    static let signer: TokenSigner = {
        do { return try TokenSigner() } catch { fatalError("no key: \(error)") }
    }()

    static var log: Logger { ServiceLog.logger(service: "test", level: .critical) }

    static func verifier() throws -> TokenVerifier {
        let keys = try JSONEncoder().encode(PublishedKeySet(keys: [signer.published()]))
        return TokenVerifier(issuer: issuer, audience: audience) { keys }
    }

    static func token(
        _ subject: String, roles: [String] = ["user"], scope: String = "documents jobs profile search"
    ) throws -> String {
        let now = Timestamp.now / 1_000
        return try signer.token(
            AccessClaims(
                iss: issuer, aud: audience, sub: subject, iat: now, nbf: now, exp: now + 900,
                jti: Identifier.make(), roles: roles, scope: scope, sid: Identifier.make()))
    }

    static func directory() -> URL {
        FileManager.default.temporaryDirectory.appending(path: "gatehouse-\(Identifier.make())")
    }

    static func ask(
        _ origin: Origin, _ method: String, _ path: String, token: String? = nil, json: String? = nil,
        fields: [(String, String)] = []
    ) async throws -> OutboundClient.Answer {
        var fields = fields
        if let token { fields.append(("Authorization", "Bearer \(token)")) }
        if json != nil { fields.append(("Content-Type", "application/json")) }
        return try await OutboundClient(timeout: .seconds(600), connectTimeout: .seconds(600)).send(
            method, origin, path, fields: fields, body: json.map { Data($0.utf8) })
    }
}

extension OutboundClient.Answer {
    /// The body as a JSON object; empty when it is none.
    var object: [String: Any] {
        (try? JSONSerialization.jsonObject(with: body)) as? [String: Any] ?? [:]
    }

    func text(_ name: String) -> String? { object[name] as? String }
}
