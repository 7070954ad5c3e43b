import JSON
import Memory

/// The subject and the values to forward of one token, ready to stand in request fields.
///
/// A value must mean to the service what it meant to the issuer. Field values lose their outer spaces on the way
/// (RFC 9110 §5.5), and lists are split at commas, so what would change its meaning is refused.
struct ClaimValues: ~Copyable {
    static let mostSubjectBytes = 255
    /// Of all forwarded values together.
    static let mostForwardedBytes = 1024
    static let mostBytes = mostSubjectBytes + mostForwardedBytes

    private(set) var bytes = FixedBytes(count: ClaimValues.mostBytes)
    private(set) var byteCount = 0
    /// Index 0 is the subject, 1 the first forward, and so on; an empty range is none.
    private(set) var ranges = InlineArray<17, ByteRange>(repeating: .empty)

    /// Takes the values of `claims` in place of those held.
    mutating func take(
        _ claims: borrowing Claims, in payload: RawSpan, forwards: Int
    ) throws(TokenRefusal) {
        byteCount = 0
        for index in 0..<17 { ranges[index] = .empty }
        if let subject = claims.subject {
            // An empty subject would be nobody's, and so everybody's.
            guard try append(subject, in: payload, limit: ClaimValues.mostSubjectBytes) else {
                throw .claimNotForwardable
            }
            ranges[0] = ByteRange(start: 0, end: byteCount)
        }
        let limit = byteCount &+ ClaimValues.mostForwardedBytes
        for index in 0..<forwards {
            let start = byteCount
            let claim = claims.found[index]
            switch claim.kind {
            case .absent: break
            case .text:
                let text = JSONText(range: claim.range, isEscaped: claim.isEscaped)
                _ = try append(text, in: payload, limit: limit)
            case .verbatim:
                try appendVerbatim(payload[claim.range], limit: limit)
            case .array:
                try appendList(payload[claim.range], limit: limit)
            case .unfit: throw .claimNotForwardable
            }
            ranges[index &+ 1] = ByteRange(start: start, end: byteCount)
        }
    }

    /// `false` when the text is empty.
    private mutating func append(
        _ text: JSONText, in source: RawSpan, limit: Int
    ) throws(TokenRefusal) -> Bool {
        let start = byteCount
        guard let count = text.resolve(in: source, into: &bytes, at: start, limit: limit) else {
            throw .claimNotForwardable
        }
        byteCount = start &+ count
        for offset in start..<byteCount where bytes[offset] < 0x20 || bytes[offset] == 0x7f {
            throw .claimNotForwardable
        }
        guard count > 0 else { return false }
        guard bytes[start] != 0x20, bytes[byteCount &- 1] != 0x20 else { throw .claimNotForwardable }
        return true
    }

    private mutating func appendVerbatim(_ text: RawSpan, limit: Int) throws(TokenRefusal) {
        guard text.byteCount <= limit &- byteCount else { throw .claimNotForwardable }
        bytes.copy(text, to: byteCount)
        byteCount &+= text.byteCount
    }

    /// The elements of the array in `source`, which was read once and is JSON, joined by commas.
    private mutating func appendList(_ source: RawSpan, limit: Int) throws(TokenRefusal) {
        var reader = JSONReader(source)
        var isFirst = true
        guard (try? reader.next()) == .arrayStart else { throw .claimNotForwardable }
        while true {
            guard let token = try? reader.next() else { throw .claimNotForwardable }
            if token == .arrayEnd { return }
            if !isFirst {
                guard byteCount < limit else { throw .claimNotForwardable }
                bytes[byteCount] = UInt8(ascii: ",")
                byteCount &+= 1
            }
            isFirst = false
            let start = byteCount
            switch token {
            case .string(let text):
                guard try append(text, in: source, limit: limit) else { throw .claimNotForwardable }
                // A comma inside would make two elements of one.
                for offset in start..<byteCount where bytes[offset] == UInt8(ascii: ",") {
                    throw .claimNotForwardable
                }
            case .number(let number): try appendVerbatim(reader.raw(number), limit: limit)
            case .bool(let isTrue):
                let word: StaticString = isTrue ? "true" : "false"
                try appendVerbatim(word.utf8Span, limit: limit)
            case .objectStart, .objectEnd, .arrayStart, .arrayEnd, .name, .null, .end:
                throw .claimNotForwardable
            }
        }
    }
}
