import CVector
public import Memory

/// Base64 with the URL alphabet, as JOSE has it (RFC 4648 §5, RFC 7515 §2): no padding, no line breaks, and one text
/// only for each sequence of bytes.
public enum Base64URL {
    /// How many bytes `textCount` characters stand for; `nil` when no text has that length.
    @inlinable public static func decodedCount(_ textCount: Int) -> Int? {
        guard textCount >= 0, textCount & 3 != 1 else { return nil }
        return textCount / 4 &* 3 &+ (textCount & 3 == 0 ? 0 : (textCount & 3) &- 1)
    }

    /// Decodes `text` to `offset` of `target`; returns how many bytes it wrote.
    ///
    /// `nil` when a character is not of the alphabet, when the length is impossible, when the bits that stand for no
    /// byte are not zero (RFC 4648 §3.5: else one token has many spellings, and a cache of refused ones is walked
    /// round), or when it does not fit.
    public static func decode(_ text: RawSpan, into target: inout FixedBytes, at offset: Int) -> Int? {
        guard let count = decodedCount(text.byteCount), offset >= 0, offset <= target.count,
            count <= target.count &- offset
        else { return nil }
        let invalid = unsafe text.withUnsafeBytes { text in
            unsafe target.fillUnsafely(offset..<(offset &+ count)) { target in
                // An empty span may have no address.
                unsafe text.isEmpty ? 0 : cvector_base64url(text.baseAddress, text.count, target)
            }
        }
        return invalid == 0 ? count : nil
    }
}
