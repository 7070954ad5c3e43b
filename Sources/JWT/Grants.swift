import JSON
import Memory

/// Some of the scopes and roles that routes ask for, by number.
@frozen public struct GrantSet: Equatable, Sendable {
    @usableFromInline var words: (UInt64, UInt64, UInt64, UInt64) = (0, 0, 0, 0)

    @inlinable public init() {}

    init(words: (UInt64, UInt64, UInt64, UInt64)) { self.words = words }

    /// `number` is below `GrantNames.most`.
    public mutating func insert(_ number: Int) {
        let bit: UInt64 = 1 &<< UInt64(number & 63)
        switch number >> 6 {
        case 0: words.0 |= bit
        case 1: words.1 |= bit
        case 2: words.2 |= bit
        case 3: words.3 |= bit
        default: preconditionFailure("there are no more than \(GrantNames.most) names")
        }
    }

    @inlinable public var isEmpty: Bool { words.0 | words.1 | words.2 | words.3 == 0 }

    /// Whether any is in both.
    @inlinable public func overlaps(_ other: GrantSet) -> Bool {
        words.0 & other.words.0 | words.1 & other.words.1 | words.2 & other.words.2
            | words.3 & other.words.3 != 0
    }

    @inlinable public static func == (left: GrantSet, right: GrantSet) -> Bool { left.words == right.words }
}

/// What a route asks of a token beyond that it is good: one of the scopes, if any are named, and one of the roles, if any
/// are named.
@frozen public struct GrantRequirement: Sendable {
    public let scopes: GrantSet
    public let roles: GrantSet

    @inlinable public init(scopes: GrantSet = GrantSet(), roles: GrantSet = GrantSet()) {
        self.scopes = scopes
        self.roles = roles
    }

    @inlinable public var isEmpty: Bool { scopes.isEmpty && roles.isEmpty }
}

/// Where the claims of a payload stand that grant something.
struct GrantClaims {
    private(set) var scope = FoundClaim()
    private(set) var scp = FoundClaim()
    private(set) var roles = FoundClaim()

    init() {}

    /// Those of `payload`; `nil` when it is no JSON object.
    init?(_ payload: RawSpan) {
        var reader = JSONReader(payload)
        guard (try? reader.next()) == .objectStart else { return nil }
        while case .name(let name)? = try? reader.next() {
            guard let first = try? reader.next() else { return nil }
            let start = reader.offset &- 1
            guard (try? reader.skipValue(from: first)) != nil else { return nil }
            note(name, first, start: start, end: reader.offset, in: payload)
        }
    }

    /// Notes the member `name`, whose value `first` began and which stands before `end`, if it is one of them.
    mutating func note(_ name: JSONText, _ first: JSONToken, start: Int, end: Int, in payload: RawSpan) {
        if name.equals("scope", in: payload) {
            scope = FoundClaim(first, start: start, end: end)
        } else if name.equals("scp", in: payload) {
            scp = FoundClaim(first, start: start, end: end)
        } else if name.equals("roles", in: payload) {
            roles = FoundClaim(first, start: start, end: end)
        }
    }
}

/// The scopes and roles that the routes of one issuer ask for. Scopes have the first numbers, roles those behind.
public struct GrantNames: ~Copyable, Sendable {
    /// Of both together.
    public static let most = 256

    let texts: FixedBytes
    let scopes: FixedArray<ByteRange>
    let roles: FixedArray<ByteRange>
    /// Differs when any name or its number does (but for one chance in 2^64); 0 only when there is no name. Names come
    /// from the operator, so the key need not be secret.
    let identity: UInt64

    /// No name stands twice in one list.
    public init(scopes: [String] = [], roles: [String] = []) {
        precondition(scopes.count + roles.count <= GrantNames.most)
        var all: [UInt8] = []
        func place(_ text: String) -> ByteRange {
            let start = all.count
            all += Array(text.utf8)
            // Parts two names in what is hashed.
            all.append(0)
            return ByteRange(start: start, end: all.count - 1)
        }
        self.scopes = FixedArray(scopes.map(place))
        all.append(0)
        self.roles = FixedArray(roles.map(place))
        var bytes = FixedBytes(count: all.count)
        bytes.copy(all.rawSpan, to: 0)
        texts = bytes
        let isEmpty = scopes.isEmpty && roles.isEmpty
        identity = isEmpty ? 0 : SipHash(key0: 0x6772_616e, key1: 0x7473).hash64(all.rawSpan) | 1
    }

    public var isEmpty: Bool { identity == 0 }

    /// Those that the claims in `payload` grant, which was read once and is a JSON object.
    func granted(by payload: RawSpan) -> GrantSet {
        guard let claims = GrantClaims(payload) else { return GrantSet() }
        return granted(by: claims, in: payload)
    }

    /// Those that `claims` of `payload` grant: scopes of `scope` (RFC 8693 §4.2: words parted by spaces) and `scp`, roles of
    /// `roles`. Any of the three may be a text or a list of texts; what is neither grants nothing.
    ///
    /// Each word is compared with each name, so this is for tokens whose signature is good.
    func granted(by claims: GrantClaims, in payload: RawSpan) -> GrantSet {
        var found = GrantSet()
        note(claims.scope, payload, isScope: true, in: &found)
        note(claims.scp, payload, isScope: true, in: &found)
        note(claims.roles, payload, isScope: false, in: &found)
        return found
    }

    private func note(_ claim: FoundClaim, _ payload: RawSpan, isScope: Bool, in found: inout GrantSet) {
        switch claim.kind {
        case .absent, .verbatim, .unfit: return
        case .text:
            let text = JSONText(range: claim.range, isEscaped: claim.isEscaped)
            // A list in one text is what scopes are; a role may have spaces in its name.
            if isScope {
                noteWords(text, payload, in: &found)
            } else {
                note(text, payload, isScope: false, in: &found)
            }
        case .array: noteElements(payload[claim.range], isScope: isScope, in: &found)
        }
    }

    private func noteElements(_ list: RawSpan, isScope: Bool, in found: inout GrantSet) {
        var reader = JSONReader(list)
        guard (try? reader.next()) == .arrayStart else { return }
        while let token = try? reader.next(), token != .arrayEnd {
            if case .string(let text) = token {
                note(text, list, isScope: isScope, in: &found)
            } else if (try? reader.skipValue(from: token)) == nil {
                return
            }
        }
    }

    private func note(_ text: JSONText, _ payload: RawSpan, isScope: Bool, in found: inout GrantSet) {
        let count = isScope ? scopes.count : roles.count
        for index in 0..<count {
            let range = isScope ? scopes[index] : roles[index]
            if text.equals(texts.bytes[range], in: payload) {
                found.insert(isScope ? index : scopes.count &+ index)
            }
        }
    }

    private func noteWords(_ text: JSONText, _ payload: RawSpan, in found: inout GrantSet) {
        let space = UInt8(ascii: " ")
        // No byte of a scope must be escaped (RFC 6749 §3.3), but some writers escape each solidus.
        guard !text.isEscaped else {
            for index in 0..<scopes.count where text.hasWord(texts.bytes[scopes[index]], in: payload) {
                found.insert(index)
            }
            return
        }
        let words = payload[text.range]
        var start = 0
        while start < words.byteCount {
            let stop = words.firstIndex(of: space, from: start)
            if stop > start {
                let word = JSONText(range: ByteRange(start: start, end: stop), isEscaped: false)
                note(word, words, isScope: true, in: &found)
            }
            start = stop &+ 1
        }
    }
}
