import Cryptography
import Foundation
import JWT
import Memory
import Testing

/// Tokens and keys made by other code: see Tests/Fixtures/tokens/make_tokens.py.
enum Fixtures {
    private static let folder = URL(fileURLWithPath: #filePath)
        .deletingLastPathComponent().deletingLastPathComponent().appendingPathComponent("Fixtures/tokens")

    static let tokens: [String: [UInt8]] = {
        var found: [String: [UInt8]] = [:]
        for line in file("tokens.txt").split(separator: UInt8(ascii: "\n")) {
            let parts = line.split(separator: UInt8(ascii: "\t"))
            found[String(decoding: parts[0], as: UTF8.self)] = Array(parts[1])
        }
        return found
    }()

    static func file(_ name: String) -> [UInt8] {
        guard let data = FileManager.default.contents(atPath: folder.appendingPathComponent(name).path) else {
            Issue.record("no fixture \(name)")
            return []
        }
        return Array(data)
    }

    static func token(_ name: String) -> [UInt8] {
        guard let token = tokens[name] else {
            Issue.record("no token \(name)")
            return []
        }
        return token
    }

    /// 100 s after the tokens were issued, 800 s before most end.
    static let now: Int64 = 1_700_000_100
    static let end: Int64 = 1_700_000_900

    static func settings(
        audiences: [String] = ["someone", "platform-api"], leeway: Int = 30, required: [String] = [],
        maxTokenBytes: Int = 8192, type: IssuerSettings.TokenType = .any, cacheEntries: Int = 64,
        negativeSeconds: Int = 10
    ) throws -> IssuerSettings {
        try IssuerSettings(
            issuer: "https://auth.example.com", audiences: audiences, leewaySeconds: leeway,
            requiredClaims: required, maxTokenBytes: maxTokenBytes, tokenType: type,
            forwards: [
                .init(fieldName: "X-User-ID", claimName: "sub"),
                .init(fieldName: "X-Roles", claimName: "roles"),
            ],
            cacheEntries: cacheEntries, negativeSeconds: negativeSeconds)
    }

    static let everyAlgorithm: SignatureAlgorithms = [.rs256, .rs384, .rs512, .ps256, .es256, .edDSA]

    static func keys(
        _ name: String = "a-and-b.json", _ algorithms: SignatureAlgorithms = .rs256
    ) throws -> KeySet {
        let bytes = file(name)
        return try KeySet(file: bytes.rawSpan, algorithms: algorithms)
    }

    static func verifier(_ settings: IssuerSettings? = nil, keys name: String = "a-and-b.json") throws
        -> TokenVerifier
    {
        TokenVerifier(
            settings: try settings ?? Fixtures.settings(), keySet: try keys(name),
            hash: SipHash(key0: 1, key1: 2))
    }
}

extension TokenVerifier {
    /// The verdict without the entry's name, and what the entry holds.
    mutating func ask(_ token: [UInt8], at now: Int64 = Fixtures.now) -> Asked {
        switch verify(token.rawSpan, nowSeconds: now) {
        case .refused(let refusal): return Asked(refusal: refusal)
        case .accepted(let entry, let wasCached):
            var forwards: [String?] = []
            for index in 0..<forwardCount { forwards.append(forwardedValue(index, of: entry)?.text) }
            return Asked(
                refusal: nil, wasCached: wasCached, subject: subject(of: entry).text, forwards: forwards)
        }
    }
}

/// A verdict that a test can hold.
struct Asked: Equatable {
    var refusal: TokenRefusal?
    var wasCached = false
    var subject = ""
    var forwards: [String?] = []
}
