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
    case badKey(index: Int, VerificationKeyError)
    case duplicateKeyID(String)
    /// The key at `index` has no `kid`, though there are several.
    case noKeyID(index: Int)
    case noUsableKey
    case pem(VerificationKeyError)
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
        case .noUsableKey:
            "no key for signatures of the algorithms that are named (kty, crv, use, alg, key_ops)"
        case .pem(let error): KeySetError.text(error)
        case .severalPEMKeys: "several PEM keys; a JWKS names them, a PEM file holds one"
        }
    }

    private static func text(_ error: VerificationKeyError) -> String {
        switch error {
        case .unreadable: "not a readable public key"
        case .isPrivate: "a private key; only public keys belong here"
        case .unsupportedKind: "neither an RSA key nor one on P-256 or Ed25519"
        case .notForAlgorithms(let kind): "\(kind.text), which none of the algorithms named takes"
        case .size(let bits):
            "an RSA key must have \(VerificationKey.smallestBits) to \(VerificationKey.largestBits) bits, this has \(bits)"
        case .weak: "a key with unsafe numbers"
        }
    }
}

/// A key with the name that tokens call it by.
struct NamedKey: ~Copyable, Sendable {
    /// Where its `kid` stands in the set's names; `nil` when it has none.
    let name: ByteRange?
    var key: VerificationKey
}

/// The keys that an issuer signs with, from a JWKS (RFC 7517 §5) or a PEM file. For one thread: keys hold the
/// state of OpenSSL, so each worker has its own, made from the same bytes.
public struct KeySet: ~Copyable, Sendable {
    public static let mostKeys = 64
    public static let mostBytes = 1 << 20
    static let mostKeyIDBytes = 256

    var keys: Slab<NamedKey>
    var names: FixedBytes
    private var nameEnd = 0
    let algorithms: SignatureAlgorithms
    /// Of the bytes that the set was made from: equal digests mean equal sets.
    public let digest: SHA256Digest

    public var count: Int { keys.count }

    /// A set without a key: nothing is signed with one of it.
    public init() {
        algorithms = []
        var sha = SHA256()
        digest = sha.hash(RawSpan())
        keys = Slab(capacity: 1)
        names = FixedBytes(count: 8)
    }

    /// A set that is still to get its keys.
    init(for algorithms: SignatureAlgorithms) {
        self.algorithms = algorithms
        var sha = SHA256()
        digest = sha.hash(RawSpan())
        keys = Slab(capacity: KeySet.mostKeys)
        names = FixedBytes(count: KeySet.mostKeys * KeySet.mostKeyIDBytes)
    }

    /// The set in `file`, for those of `algorithms` that each key is of a kind for. Keys of a JWKS that are for something
    /// else (`kty`, `crv`, `use`, `alg`, `key_ops`) are passed over; a key that is for us and cannot be used is an error,
    /// so that a mistake is told and not found later.
    public init(file: RawSpan, algorithms: SignatureAlgorithms) throws(KeySetError) {
        self.algorithms = algorithms
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
            _ = keys.insert(NamedKey(name: nil, key: try VerificationKey(pem: file, for: algorithms)))
        } catch { throw .pem(error) }
    }

    // MARK: - JWKS

    private mutating func readSet(_ file: RawSpan) throws(KeySetError) {
        var unnamed: Int?
        try KeySet.forEachKey(of: file) { (file, jwk, index) throws(KeySetError) in
            let usable = try jwk.usable(file, algorithms, index: index)
            guard !usable.isEmpty else { return }
            if jwk.kid == nil { unnamed = index }
            try add(jwk, file, usable, index: index)
        }
        guard keys.count > 0 else { throw .noUsableKey }
        if let unnamed, keys.count > 1 { throw .noKeyID(index: unnamed) }
    }

    /// Hands each key of the set to `body`, with the file and the key's place in the list (RFC 7517 §5).
    static func forEachKey(
        of file: RawSpan, _ body: (RawSpan, JWK, Int) throws(KeySetError) -> Void
    ) throws(KeySetError) {
        var reader = JSONReader(file, maxBytes: KeySet.mostBytes)
        do throws(JSONError) {
            guard try reader.next() == .objectStart else { throw .badByte(offset: 0) }
        } catch { throw .json(error) }
        var isFound = false
        while case .name(let name) = try KeySet.next(&reader) {
            let first = try KeySet.next(&reader)
            guard name.equals("keys", in: file) else {
                try KeySet.skip(&reader, first)
                continue
            }
            guard first == .arrayStart else { throw .noKeysArray }
            isFound = true
            var index = 0
            while true {
                let token = try KeySet.next(&reader)
                if token == .arrayEnd { break }
                guard index < KeySet.mostKeys else { throw .tooManyKeys }
                guard token == .objectStart else { throw .notAnObject(index: index) }
                try body(file, try JWK(&reader, file, index: index), index)
                index += 1
            }
        }
        guard isFound else { throw .noKeysArray }
        _ = try KeySet.next(&reader)
    }

    mutating func add(
        _ jwk: JWK, _ file: RawSpan, _ usable: SignatureAlgorithms, index: Int
    ) throws(KeySetError) {
        guard !jwk.isPrivate else { throw .privateKey(index: index) }
        var numbers = FixedBytes(count: 4096)
        let first: Int
        let second: Int
        switch jwk.kind(file) {
        case .rsa?:
            first = try KeySet.number(jwk.n, "n", in: file, mostCharacters: 2047, &numbers, at: 0, index)
            second = try KeySet.number(jwk.e, "e", in: file, mostCharacters: 63, &numbers, at: 2048, index)
        case .p256?:
            first = try KeySet.number(jwk.x, "x", in: file, mostCharacters: 43, &numbers, at: 0, index)
            second = try KeySet.number(jwk.y, "y", in: file, mostCharacters: 43, &numbers, at: 2048, index)
            // RFC 7518 §6.2.1.2: zeros in front are a part of a coordinate.
            guard first == 32 else { throw .badMember(index: index, name: "x") }
            guard second == 32 else { throw .badMember(index: index, name: "y") }
        case .ed25519?:
            first = try KeySet.number(jwk.x, "x", in: file, mostCharacters: 43, &numbers, at: 0, index)
            second = 0
            guard first == 32 else { throw .badMember(index: index, name: "x") }
        case nil: preconditionFailure("a key without a kind is for nobody")
        }
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
            let key = try KeySet.key(
                jwk.kind(file), numbers.bytes(0..<first), numbers.bytes(2048..<(2048 + second)), usable)
            _ = keys.insert(NamedKey(name: name, key: key))
        } catch { throw .badKey(index: index, error) }
    }

    private static func key(
        _ kind: KeyKind?, _ first: RawSpan, _ second: RawSpan, _ usable: SignatureAlgorithms
    ) throws(VerificationKeyError) -> VerificationKey {
        switch kind {
        case .rsa?: try VerificationKey(modulus: first, exponent: second, for: usable)
        case .p256?: try VerificationKey(x: first, y: second, for: usable)
        case .ed25519?: try VerificationKey(ed25519: first, for: usable)
        case nil: throw .unsupportedKind
        }
    }

    /// Decodes the number that the member `name` is to have; returns how many bytes it has.
    private static func number(
        _ text: JSONText?, _ name: String, in file: RawSpan, mostCharacters: Int, _ target: inout FixedBytes,
        at offset: Int, _ index: Int
    ) throws(KeySetError) -> Int {
        guard let text, !text.isEscaped, text.range.count <= mostCharacters,
            let count = Base64URL.decode(file[text.range], into: &target, at: offset)
        else { throw .badMember(index: index, name: name) }
        return count
    }

    private func requireNew(_ name: RawSpan) throws(KeySetError) {
        for index in 0..<keys.walkCount {
            guard let id = keys.name(at: index), let other = keys[id].name else { continue }
            if names.bytes[other].equals(name) { throw .duplicateKeyID(name.text) }
        }
    }

    // MARK: - Choosing

    /// The key that a token with this `kid` and `alg` was signed with, if it says the truth. `header` is the text of `kid`.
    func find(
        _ kid: JSONText?, in header: RawSpan, _ algorithm: SignatureAlgorithm
    ) throws(TokenRefusal) -> SlabID {
        let id = try find(kid, in: header)
        // RFC 8725 §3.1: a key is for its own algorithms; the token does not decide.
        guard keys[id].key.algorithms.contains(algorithm) else { throw .keyNotForAlgorithm }
        return id
    }

    private func find(_ kid: JSONText?, in header: RawSpan) throws(TokenRefusal) -> SlabID {
        guard keys.count > 0 else { throw .unknownKey }
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
