import Cryptography
import JSON
import JWT
import Memory
import Testing

@Suite("RFC 7517 §5 JWK Set, and PEM files") struct KeySetTests {
    private func read(_ text: String) throws { try read(Array(text.utf8)) }
    private func read(_ bytes: [UInt8]) throws { _ = try KeySet(file: bytes.rawSpan, algorithms: .rs256) }
    private func readAll(_ text: String) throws {
        let bytes = Array(text.utf8)
        _ = try KeySet(file: bytes.rawSpan, algorithms: Fixtures.everyAlgorithm)
    }

    private static let good = String(decoding: Fixtures.file("a.json"), as: UTF8.self)

    @Test("a JWKS and a PEM file are told apart by what stands in them") func content() throws {
        let jwks = try Fixtures.keys("a.json")
        let pem = try Fixtures.keys("a.pem")
        let counts = (jwks.count, pem.count)
        #expect(counts == (1, 1))
    }

    @Test("keys for something else are passed over, RFC 7517 §5") func passedOver() throws {
        let keys = try Fixtures.keys("a-and-b.json")
        let count = keys.count
        #expect(count == 2)
    }

    @Test("the one key of a set serves tokens that name none, and none that name another") func oneKey()
        throws
    {
        var verifier = try Fixtures.verifier(keys: "a.json")
        for (name, refusal) in [("good", nil), ("no-kid", nil), ("kid-unknown", .unknownKey)]
            as [(String, TokenRefusal?)]
        {
            let asked = verifier.ask(Fixtures.token(name))
            #expect(asked.refusal == refusal, "\(name)")
        }
    }

    @Test("a PEM key has no name: tokens may call it what they like") func pemKey() throws {
        var verifier = try Fixtures.verifier(keys: "a.pem")
        for name in ["good", "no-kid", "kid-unknown"] {
            let asked = verifier.ask(Fixtures.token(name))
            #expect(asked.refusal == nil, "\(name)")
        }
        let forged = verifier.ask(Fixtures.token("signed-by-b"))
        #expect(forged.refusal == .badSignature)
    }

    @Test("what is no key set is refused with the reason") func refused() {
        let n = Self.good
        let table: [(String, KeySetError)] = [
            ("", .empty), (" \r\n\t", .empty), ("[]", .notRecognised), ("hello", .notRecognised),
            ("{}", .noKeysArray), (#"{"keys":{}}"#, .noKeysArray), (#"{"keys":[]}"#, .noUsableKey),
            (#"{"keys":[1]}"#, .notAnObject(index: 0)),
            (#"{"keys":[{}]}"#, .badMember(index: 0, name: "kty")),
            (#"{"keys":[{"kty":1}]}"#, .badMember(index: 0, name: "kty")),
            (#"{"keys":[{"kty":"EC"}]}"#, .noUsableKey),
            (#"{"keys":[{"kty":"RSA"}]}"#, .badMember(index: 0, name: "n")),
            (#"{"keys":[{"kty":"RSA","n":"AQAB"}]}"#, .badMember(index: 0, name: "e")),
            (#"{"keys":[{"kty":"RSA","n":"AQA=","e":"AQAB"}]}"#, .badMember(index: 0, name: "n")),
            (#"{"keys":[{"kty":"RSA","n":"AQAB","e":"AQAB"}]}"#, .badKey(index: 0, .size(bits: 17))),
            (#"{"keys":[{"kty":"RSA","d":"AQAB"}]}"#, .privateKey(index: 0)),
            (#"{"keys":[{"kty":"RSA","use":"enc"}]}"#, .noUsableKey),
            (#"{"keys":[{"kty":"RSA","alg":"RS384"}]}"#, .noUsableKey),
            (#"{"keys":[{"kty":"RSA","key_ops":["sign"]}]}"#, .noUsableKey),
            (#"{"keys":[{"kty":"RSA","key_ops":"verify"}]}"#, .badMember(index: 0, name: "key_ops")),
            (#"{"keys":[],"keys":[]}"#, .json(.duplicateName(offset: 11))),
            (#"{"keys":[]"#, .json(.unfinished)), (n + "x", .json(.badByte(offset: n.utf8.count))),
        ]
        for (text, error) in table {
            #expect(throws: error, "\(text)") { try read(text) }
            #expect(!error.description.isEmpty)
        }
    }

    private static let x = "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU"
    private static let y = "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"
    private static let ed = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"

    @Test("RFC 7518 §6.2, RFC 8037 §2: keys on curves are read whole or refused with the reason")
    func curves() throws {
        func ec(_ more: String) -> String { #"{"keys":[{"kty":"EC",\#(more)}]}"# }
        func okp(_ more: String) -> String { #"{"keys":[{"kty":"OKP",\#(more)}]}"# }
        try readAll(ec(#""crv":"P-256","x":"\#(Self.x)","y":"\#(Self.y)""#))
        try readAll(okp(#""crv":"Ed25519","x":"\#(Self.ed)""#))
        let table: [(String, KeySetError)] = [
            (ec(#""x":"\#(Self.x)","y":"\#(Self.y)""#), .badMember(index: 0, name: "crv")),
            (okp(#""x":"\#(Self.ed)""#), .badMember(index: 0, name: "crv")),
            (ec(#""crv":1"#), .badMember(index: 0, name: "crv")),
            (ec(#""crv":"P-256","y":"\#(Self.y)""#), .badMember(index: 0, name: "x")),
            (ec(#""crv":"P-256","x":"\#(Self.x)""#), .badMember(index: 0, name: "y")),
            (ec(#""crv":"P-256","x":"AQAB","y":"\#(Self.y)""#), .badMember(index: 0, name: "x")),
            (ec(#""crv":"P-256","x":"\#(Self.x)","y":"AQAB""#), .badMember(index: 0, name: "y")),
            (ec(#""crv":"P-256","x":"\#(Self.x)A","y":"\#(Self.y)""#), .badMember(index: 0, name: "x")),
            (ec(#""crv":"P-256","x":"\#(Self.x)","y":"\#(Self.x)""#), .badKey(index: 0, .weak)),
            (ec(#""crv":"P-256","x":"\#(Self.x)","y":"\#(Self.y)","d":"AA""#), .privateKey(index: 0)),
            (ec(#""crv":"P-256","x":"\#(Self.x)","y":"\#(Self.y)","alg":"EdDSA""#), .noUsableKey),
            (ec(#""crv":"P-256","x":"\#(Self.x)","y":"\#(Self.y)","alg":"ES384""#), .noUsableKey),
            (ec(#""crv":"P-256","x":"\#(Self.x)","y":"\#(Self.y)","use":"enc""#), .noUsableKey),
            (ec(#""crv":"P-256","x":"\#(Self.x)","y":"\#(Self.y)","key_ops":["sign"]"#), .noUsableKey),
            (ec(#""crv":"P-384","x":"AA","y":"AA""#), .noUsableKey),
            (ec(#""crv":"Ed25519","x":"\#(Self.ed)""#), .noUsableKey),
            (okp(#""crv":"Ed448","x":"AA""#), .noUsableKey), (okp(#""crv":"X25519","x":"AA""#), .noUsableKey),
            (okp(#""crv":"Ed25519""#), .badMember(index: 0, name: "x")),
            (okp(#""crv":"Ed25519","x":"AQAB""#), .badMember(index: 0, name: "x")),
            (okp(#""crv":"Ed25519","x":"\#(Self.ed)","d":"AA""#), .privateKey(index: 0)),
            (okp(#""crv":"Ed25519","x":"\#(Self.ed)","alg":"ES256""#), .noUsableKey),
        ]
        for (text, error) in table { #expect(throws: error, "\(text)") { try readAll(text) } }
    }

    @Test("no prefix of a JWKS is one") func prefixes() {
        let bytes = Array(Self.good.utf8.dropLast())
        for count in bytes.indices {
            #expect(throws: KeySetError.self) { try read(Array(bytes.prefix(count))) }
        }
    }

    /// The object inside the one-key set, with another kid.
    private func jwk(kid: String?) -> String {
        let object = Self.good.drop { $0 != "[" }.dropFirst().prefix { $0 != "]" }
        let named = kid.map { #""kid": "\#($0)","# } ?? ""
        return String(object.replacing(#""kid": "a","#, with: named))
    }
    private func set(_ kids: [String?]) -> String {
        "{\"keys\":[" + kids.map(jwk).joined(separator: ",") + "]}"
    }

    @Test("two keys of one name are refused, and so is one without a name beside others") func names() throws
    {
        try read(set(["a", "b"]))
        try read(set([nil]))
        #expect(throws: KeySetError.duplicateKeyID("a")) { try read(set(["a", "b", "a"])) }
        #expect(throws: KeySetError.duplicateKeyID("a")) { try read(set(["a", "\\u0061"])) }
        #expect(throws: KeySetError.noKeyID(index: 1)) { try read(set(["a", nil])) }
        #expect(throws: KeySetError.badMember(index: 0, name: "kid")) {
            try read(set([String(repeating: "k", count: 257)]))
        }
    }

    @Test("the number of keys and bytes is bounded") func bounds() throws {
        try read(set((0..<KeySet.mostKeys).map { "k\($0)" }))
        #expect(throws: KeySetError.tooManyKeys) { try read(set((0...KeySet.mostKeys).map { "k\($0)" })) }
        let space = String(repeating: " ", count: KeySet.mostBytes)
        #expect(throws: KeySetError.tooLong) { try read(Self.good + space) }
    }

    @Test("a PEM file holds one public key") func pem() throws {
        let pem = String(decoding: Fixtures.file("a.pem"), as: UTF8.self)
        #expect(throws: KeySetError.severalPEMKeys) { try read(pem + pem) }
        #expect(throws: KeySetError.pem(.isPrivate)) {
            try read(pem.replacing("PUBLIC", with: "PRIVATE"))
        }
        #expect(throws: KeySetError.pem(.unreadable)) { try read(pem.replacing("MII", with: "MIJ")) }
    }
}

@Suite("Settings of an issuer") struct IssuerSettingsTests {
    private func make(_ change: (inout Parts) -> Void) throws -> IssuerSettings {
        var parts = Parts()
        change(&parts)
        return try IssuerSettings(
            issuer: parts.issuer, audiences: parts.audiences, algorithms: parts.algorithms,
            leewaySeconds: parts.leeway,
            requiredClaims: parts.required, maxTokenBytes: parts.maxTokenBytes, tokenType: parts.type,
            forwards: parts.forwards, cacheEntries: parts.cacheEntries, negativeSeconds: parts.negative)
    }
    private struct Parts {
        var issuer = "i"
        var audiences = ["a", "b"]
        var algorithms = SignatureAlgorithms.rs256
        var leeway = 30
        var required = ["sub"]
        var maxTokenBytes = 8192
        var type = IssuerSettings.TokenType.any
        var forwards = [IssuerSettings.Forward(fieldName: "X", claimName: "sub")]
        var cacheEntries = 10
        var negative = 10
    }

    @Test("equal settings have equal fingerprints, and a change of any has another") func fingerprint() throws
    {
        let base = try make { _ in }
        let again = try make { _ in }
        #expect(base.fingerprint == again.fingerprint)
        let others = try [
            make { $0.issuer = "j" }, make { $0.audiences = ["ab"] }, make { $0.audiences = ["b", "a"] },
            make { $0.leeway = 31 }, make { $0.required = [] }, make { $0.maxTokenBytes = 8193 },
            make { $0.type = .accessToken }, make { $0.algorithms = .rs384 },
            make { $0.algorithms = [.rs256, .rs384] },
            make { $0.forwards[0] = .init(fieldName: "Y", claimName: "sub") },
            make { $0.forwards[0] = .init(fieldName: "X", claimName: "sut") }, make { $0.forwards = [] },
            make { $0.cacheEntries = 11 }, make { $0.negative = 11 },
        ]
        #expect(Set(others.map(\.fingerprint)).count == others.count)
        #expect(!others.map(\.fingerprint).contains(base.fingerprint))
    }

    @Test("settings beyond the named limits are refused") func limits() {
        let names = (0..<17).map { "c\($0)" }
        let wrong: [(inout Parts) -> Void] = [
            { $0.issuer = "" }, { $0.audiences = [] }, { $0.audiences = [""] }, { $0.algorithms = [] },
            { $0.leeway = -1 },
            { $0.leeway = 86_401 }, { $0.required = names }, { $0.required = [""] },
            { $0.maxTokenBytes = 255 }, { $0.maxTokenBytes = 65_537 },
            { $0.forwards = names.map { .init(fieldName: "X", claimName: $0) } }, { $0.cacheEntries = -1 },
            { $0.cacheEntries = 1_000_001 }, { $0.negative = -1 }, { $0.negative = 3601 },
        ]
        for change in wrong { #expect(throws: IssuerSettingsError.self) { try make(change) } }
    }
}
