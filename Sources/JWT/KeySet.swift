public import Cryptography
public import JSON
import Memory

/// Why bytes are no key set.
public enum KeySetError: Error, Equatable, Sendable, CustomStringConvertible {
    case empty
    case tooLong
    /// Neither a JSON object nor a PEM text.
    case notRecognised
    case json(JSONError)
    case noKeysArray
    case tooManyKeys
    /// The key at `index` is no JSON object.
    case notAnObject(index: Int)
    /// A member of the key at `index` is missing or has the wrong kind of value.
    case badMember(index: Int, name: String)
    case privateKey(index: Int)
    case badKey(index: Int, RSAKeyError)
    case duplicateKeyID(String)
    /// The key at `index` has no `kid`, though there are several.
    case noKeyID(index: Int)
    case noUsableKey
    case pem(RSAKeyError)
    case severalPEMKeys

    public var description: String {
        switch self {
        case .empty: "the key set is empty"
        case .tooLong: "the key set is longer than \(KeySet.mostBytes) bytes"
        case .notRecognised: "neither a JWKS (a JSON object) nor a PEM public key"
        case .json(let error): "not valid JSON: \(error)"
        case .noKeysArray: "a JWKS is a JSON object with an array 'keys' (RFC 7517 §5)"
        case .tooManyKeys: "more than \(KeySet.mostKeys) keys"
        case .notAnObject(let index): "keys[\(index)] is not a JSON object"
        case .badMember(let index, let name): "keys[\(index)]: '\(name)' is missing or malformed"
        case .privateKey(let index): "keys[\(index)] is a private key; only public keys belong here"
        case .badKey(let index, let error): "keys[\(index)]: \(KeySetError.text(error))"
        case .duplicateKeyID(let name): "two keys have the kid '\(name)'"
        case .noKeyID(let index): "keys[\(index)] has no 'kid', which several keys need"
        case .noUsableKey: "no key with kty RSA, use sig and alg RS256"
        case .pem(let error): KeySetError.text(error)
        case .severalPEMKeys: "several PEM keys; a JWKS names them, a PEM file holds one"
        }
    }

    private static func text(_ error: RSAKeyError) -> String {
        switch error {
        case .unreadable: "not a readable public key"
        case .isPrivate: "a private key; only public keys belong here"
        case .notRSA: "not an RSA key"
        case .size(let bits):
            "an RSA key must have \(RSAPublicKey.smallestBits) to \(RSAPublicKey.largestBits) bits, this has \(bits)"
        case .weak: "an RSA key with unsafe numbers"
        }
    }
}

/// A key with the name that tokens call it by.
struct NamedKey: ~Copyable, Sendable {
    /// Where its `kid` stands in the set's names; `nil` when it has none.
    let name: ByteRange?
    var key: RSAPublicKey
}

/// The keys that an issuer signs RS256 with, from a JWKS (RFC 7517 §5) or a PEM file. For one thread: keys hold the
/// state of OpenSSL, so each worker has its own, made from the same bytes.
public struct KeySet: ~Copyable, Sendable {
    public static let mostKeys = 64
    public static let mostBytes = 1 << 20
    static let mostKeyIDBytes = 256

    var keys: Slab<NamedKey>
    var names: FixedBytes
    private var nameEnd = 0
    /// Of the bytes that the set was made from: equal digests mean equal sets.
    public let digest: SHA256Digest

    public var count: Int { keys.count }

    /// The set in `file`. Keys of a JWKS that are for something else (`kty`, `use`, `alg`, `key_ops`) are passed
    /// over; a key that is for us and cannot be used is an error, so that a mistake is told and not found later.
    public init(file: RawSpan) throws(KeySetError) {
        var sha = SHA256()
        digest = sha.hash(file)
        keys = Slab(capacity: KeySet.mostKeys)
        names = FixedBytes(count: KeySet.mostKeys * KeySet.mostKeyIDBytes)
        guard file.byteCount <= KeySet.mostBytes else { throw .tooLong }
        var start = 0
        while start < file.byteCount, [0x20, 0x09, 0x0a, 0x0d].contains(file[start]) { start += 1 }
        guard start < file.byteCount else { throw .empty }
        if file[start] == UInt8(ascii: "{") {
            try readSet(file)
        } else {
            try readPEM(file)
        }
    }

    // MARK: - PEM

    private mutating func readPEM(_ file: RawSpan) throws(KeySetError) {
        let begin: StaticString = "-----BEGIN "
        var blocks = 0
        var at = 0
        while at < file.byteCount {
            at = file.firstIndex(of: UInt8(ascii: "-"), from: at)
            guard at < file.byteCount else { break }
            if file.extracting(at..<file.byteCount).starts(with: begin.utf8Span) { blocks += 1 }
            at += 1
        }
        guard blocks > 0 else { throw .notRecognised }
        guard blocks == 1 else { throw .severalPEMKeys }
        do {
            _ = keys.insert(NamedKey(name: nil, key: try RSAPublicKey(pem: file)))
        } catch { throw .pem(error) }
    }

    // MARK: - JWKS

    private mutating func readSet(_ file: RawSpan) throws(KeySetError) {
        var reader = JSONReader(file, maxBytes: KeySet.mostBytes)
        var isFound = false
        var unnamed: Int?
        do throws(JSONError) {
            guard try reader.next() == .objectStart else { throw .badByte(offset: 0) }
        } catch { throw .json(error) }
        while case .name(let name) = try KeySet.next(&reader) {
            let first = try KeySet.next(&reader)
            guard name.equals("keys", in: file) else {
                try KeySet.skip(&reader, first)
                continue
            }
            guard first == .arrayStart else { throw .noKeysArray }
            isFound = true
            try readKeys(&reader, file, &unnamed)
        }
        guard isFound else { throw .noKeysArray }
        _ = try KeySet.next(&reader)
        guard keys.count > 0 else { throw .noUsableKey }
        if let unnamed, keys.count > 1 { throw .noKeyID(index: unnamed) }
    }

    private mutating func readKeys(
        _ reader: inout JSONReader, _ file: RawSpan, _ unnamed: inout Int?
    ) throws(KeySetError) {
        var index = 0
        while true {
            let token = try KeySet.next(&reader)
            if token == .arrayEnd { return }
            guard index < KeySet.mostKeys else { throw .tooManyKeys }
            guard token == .objectStart else { throw .notAnObject(index: index) }
            let jwk = try JWK(&reader, file, index: index)
            if jwk.isForUs {
                if jwk.kid == nil { unnamed = index }
                try add(jwk, file, index: index)
            }
            index += 1
        }
    }

    private mutating func add(_ jwk: JWK, _ file: RawSpan, index: Int) throws(KeySetError) {
        guard !jwk.isPrivate else { throw .privateKey(index: index) }
        var numbers = FixedBytes(count: 4096)
        guard let n = jwk.n, !n.isEscaped, n.range.count < 2048,
            let modulus = Base64URL.decode(file[n.range], into: &numbers, at: 0)
        else { throw .badMember(index: index, name: "n") }
        guard let e = jwk.e, !e.isEscaped, e.range.count < 64,
            let exponent = Base64URL.decode(file[e.range], into: &numbers, at: 2048)
        else { throw .badMember(index: index, name: "e") }
        var name: ByteRange?
        if let kid = jwk.kid {
            let limit = nameEnd + KeySet.mostKeyIDBytes
            guard let count = kid.resolve(in: file, into: &names, at: nameEnd, limit: limit) else {
                throw .badMember(index: index, name: "kid")
            }
            name = ByteRange(start: nameEnd, end: nameEnd + count)
            try requireNew(names.bytes(nameEnd..<(nameEnd + count)))
            nameEnd += count
        }
        do {
            let key = try RSAPublicKey(
                modulus: numbers.bytes(0..<modulus), exponent: numbers.bytes(2048..<(2048 + exponent)))
            _ = keys.insert(NamedKey(name: name, key: key))
        } catch { throw .badKey(index: index, error) }
    }

    private func requireNew(_ name: RawSpan) throws(KeySetError) {
        for index in 0..<keys.walkCount {
            guard let id = keys.name(at: index), let other = keys[id].name else { continue }
            if names.bytes[other].equals(name) { throw .duplicateKeyID(name.text) }
        }
    }

    // MARK: - Choosing

    /// The key that a token with this `kid` was signed with, if it says the truth. `header` is the text of `kid`.
    func find(_ kid: JSONText?, in header: RawSpan) throws(TokenRefusal) -> SlabID {
        if let only = keys.name(at: 0), keys.count == 1 {
            // Nothing to choose: a token need not name the one key, and a PEM key has no name to compare with.
            guard let kid, let name = keys[only].name else { return only }
            guard kid.equals(names.bytes[name], in: header) else { throw .unknownKey }
            return only
        }
        guard let kid else { throw .keyNotNamed }
        for index in 0..<keys.walkCount {
            guard let id = keys.name(at: index), let name = keys[id].name else { continue }
            if kid.equals(names.bytes[name], in: header) { return id }
        }
        throw .unknownKey
    }

    static func next(_ reader: inout JSONReader) throws(KeySetError) -> JSONToken {
        do { return try reader.next() } catch { throw .json(error) }
    }

    static func skip(_ reader: inout JSONReader, _ first: JSONToken) throws(KeySetError) {
        do { try reader.skipValue(from: first) } catch { throw .json(error) }
    }
}

/// The members of one JSON Web Key that matter here (RFC 7517 §4, RFC 7518 §6.3).
private struct JWK {
    var kty: JSONText?
    var use: JSONText?
    var alg: JSONText?
    var kid: JSONText?
    var n: JSONText?
    var e: JSONText?
    var isPrivate = false
    var isForUs = true

    /// Reads the members of the object that the last token opened, up to its end.
    init(_ reader: inout JSONReader, _ file: RawSpan, index: Int) throws(KeySetError) {
        while case .name(let name) = try KeySet.next(&reader) {
            let first = try KeySet.next(&reader)
            if name.equals("kty", in: file) {
                kty = try JWK.text(first, index, "kty")
            } else if name.equals("use", in: file) {
                use = try JWK.text(first, index, "use")
            } else if name.equals("alg", in: file) {
                alg = try JWK.text(first, index, "alg")
            } else if name.equals("kid", in: file) {
                kid = try JWK.text(first, index, "kid")
            } else if name.equals("n", in: file) {
                n = try JWK.text(first, index, "n")
            } else if name.equals("e", in: file) {
                e = try JWK.text(first, index, "e")
            } else if name.equals("key_ops", in: file) {
                try readOperations(&reader, first, file, index: index)
            } else {
                // RFC 7518 §6.3.2: `d` is what makes an RSA key private.
                if name.equals("d", in: file) { isPrivate = true }
                try KeySet.skip(&reader, first)
            }
        }
        guard let kty else { throw .badMember(index: index, name: "kty") }
        if !kty.equals("RSA", in: file) { isForUs = false }
        if let use, !use.equals("sig", in: file) { isForUs = false }
        if let alg, !alg.equals("RS256", in: file) { isForUs = false }
    }

    private mutating func readOperations(
        _ reader: inout JSONReader, _ first: JSONToken, _ file: RawSpan, index: Int
    ) throws(KeySetError) {
        guard first == .arrayStart else { throw .badMember(index: index, name: "key_ops") }
        var canVerify = false
        while true {
            let token = try KeySet.next(&reader)
            if token == .arrayEnd { break }
            guard case .string(let operation) = token else {
                throw .badMember(index: index, name: "key_ops")
            }
            if operation.equals("verify", in: file) { canVerify = true }
        }
        if !canVerify { isForUs = false }
    }

    private static func text(_ token: JSONToken, _ index: Int, _ name: String) throws(KeySetError) -> JSONText
    {
        guard case .string(let text) = token else { throw .badMember(index: index, name: name) }
        return text
    }
}
