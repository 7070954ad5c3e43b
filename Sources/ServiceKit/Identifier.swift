internal import Foundation

/// Identifiers that sort by the time they were made: UUID version 7 (RFC 9562 §5.7).
public enum Identifier {
    /// A new identifier, in the canonical lower-case form of 36 characters.
    /// `milliseconds`: Unix time in milliseconds; its low 48 bits are used.
    public static func make(at milliseconds: Int64 = Timestamp.now) -> String {
        var bytes = Bytes.random(16)
        for index in 0..<6 {
            bytes[index] = UInt8(truncatingIfNeeded: milliseconds >> Int64(40 - 8 * index))
        }
        bytes[6] = (bytes[6] & 0x0F) | 0x70
        bytes[8] = (bytes[8] & 0x3F) | 0x80
        var text: [UInt8] = []
        text.reserveCapacity(36)
        for (index, byte) in bytes.enumerated() {
            if index == 4 || index == 6 || index == 8 || index == 10 { text.append(UInt8(ascii: "-")) }
            text.append(Bytes.hexDigit(byte >> 4))
            text.append(Bytes.hexDigit(byte & 15))
        }
        return String(decoding: text, as: UTF8.self)
    }

    /// Whether `text` has the canonical form that `make` gives, of any version.
    public static func isValid(_ text: some StringProtocol) -> Bool { isValid(String(text)) }

    /// The same for the most frequent case: the generic one is not specialised across rooms.
    public static func isValid(_ text: String) -> Bool {
        var text = text
        return text.withUTF8(isValid)
    }

    private static func isValid(_ bytes: UnsafeBufferPointer<UInt8>) -> Bool {
        guard bytes.count == 36 else { return false }
        for (index, byte) in bytes.enumerated() {
            switch (index, byte) {
            case (8, UInt8(ascii: "-")), (13, UInt8(ascii: "-")), (18, UInt8(ascii: "-")),
                (23, UInt8(ascii: "-")):
                continue
            case (8, _), (13, _), (18, _), (23, _): return false
            case (_, UInt8(ascii: "0")...UInt8(ascii: "9")), (_, UInt8(ascii: "a")...UInt8(ascii: "f")):
                continue
            default: return false
            }
        }
        return true
    }
}
