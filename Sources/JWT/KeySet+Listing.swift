public import Cryptography
import JSON
import Memory

/// What is to be said of one key of a set.
public struct KeyDescription: Sendable, Equatable {
    /// As the set writes it; empty where it has none.
    public let kid: String
    public let kty: String
    /// What the key says that it is for; empty where it says nothing.
    public let algorithm: String
    /// `nil` for a key that could not be read.
    public let bits: Int?
    /// Names of the algorithms that it verifies here.
    public let usable: [String]
    /// Why it verifies nothing here; `nil` where it does.
    public let flaw: String?
}

extension KeySet {
    /// Each key of `file` with what it is good for, for those who look for a mistake: unlike a set that is to be used, it goes on
    /// behind a key that cannot be. Cold.
    public static func describe(
        _ file: RawSpan, algorithms: SignatureAlgorithms
    ) throws(KeySetError) -> [KeyDescription] {
        guard file.byteCount <= KeySet.mostBytes else { throw .tooLong }
        var start = 0
        while start < file.byteCount, [0x20, 0x09, 0x0a, 0x0d].contains(file[start]) { start += 1 }
        guard start < file.byteCount else { throw .empty }
        guard file[start] == UInt8(ascii: "{") else {
            let set = try KeySet(file: file, algorithms: algorithms)
            return set.described(from: 0)
        }
        var found: [KeyDescription] = []
        var set = KeySet(for: algorithms)
        try KeySet.forEachKey(of: file) { (file, jwk, index) throws(KeySetError) in
            found.append(set.describe(jwk, file, index: index))
        }
        return found
    }

    private mutating func describe(_ jwk: JWK, _ file: RawSpan, index: Int) -> KeyDescription {
        var usable: SignatureAlgorithms = []
        var flaw: String?
        var bits: Int?
        do throws(KeySetError) {
            usable = try jwk.usable(file, algorithms, index: index)
            if usable.isEmpty {
                flaw = jwk.whyNot(file)
            } else {
                try add(jwk, file, usable, index: index)
                // Keys are never taken out of a set: the last one is the newest.
                if let id = keys.name(at: keys.walkCount - 1) { bits = keys[id].key.bits }
            }
        } catch {
            usable = []
            flaw = error.description
        }
        return KeyDescription(
            kid: KeySet.text(jwk.kid, file), kty: KeySet.text(jwk.kty, file),
            algorithm: KeySet.text(jwk.alg, file), bits: bits, usable: KeySet.names(of: usable), flaw: flaw)
    }

    /// Of keys that are in the set.
    private func described(from first: Int) -> [KeyDescription] {
        (first..<keys.walkCount).compactMap { index in
            guard let id = keys.name(at: index) else { return nil }
            return KeyDescription(
                kid: "", kty: "\(keys[id].key.kind.text)", algorithm: "", bits: keys[id].key.bits,
                usable: KeySet.names(of: keys[id].key.algorithms), flaw: nil)
        }
    }

    private static func names(of algorithms: SignatureAlgorithms) -> [String] {
        SignatureAlgorithm.allCases.filter { algorithms.contains($0) }.map { "\($0.name)" }
    }

    private static func text(_ text: JSONText?, _ file: RawSpan) -> String {
        guard let text else { return "" }
        return file[text.range].text
    }
}

extension JWK {
    /// Why no algorithm that is named takes the key.
    func whyNot(_ file: RawSpan) -> String {
        if !canVerify { return "its key_ops do not have 'verify'" }
        if let use, !use.equals("sig", in: file) { return "its use is not 'sig'" }
        guard let kind = kind(file) else { return "no algorithm here takes its kty and crv" }
        if let alg {
            let isOfKind = SignatureAlgorithm.allCases.contains {
                kind.algorithms.contains($0) && alg.equals($0.name, in: file)
            }
            if !isOfKind { return "no algorithm here is its alg" }
        }
        return "none of the algorithms in the configuration is for it"
    }
}
