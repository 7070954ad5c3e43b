/// The form that a route's prefix must have: the normal form of paths, since that is what it is compared with.
enum PathPrefix {
    /// What is wrong with a prefix, as the end of a sentence; `nil` = nothing.
    static func flaw(in text: String, mergesSlashes: Bool) -> String? {
        let bytes = Array(text.utf8)
        guard bytes.first == UInt8(ascii: "/") else { return "must begin with '/'" }
        guard bytes.count <= ConfigurationBounds.prefixBytes else {
            return "has more than \(ConfigurationBounds.prefixBytes) bytes"
        }
        guard bytes.count > 1 else { return nil }
        guard bytes.last != UInt8(ascii: "/") else {
            return "must not end with '/' (it matches whole segments)"
        }
        let segments = bytes.dropFirst().split(separator: UInt8(ascii: "/"), omittingEmptySubsequences: false)
        for segment in segments {
            if segment.isEmpty, mergesSlashes { return "must not contain '//' (paths.merge_slashes is true)" }
            if segment.elementsEqual(".".utf8) || segment.elementsEqual("..".utf8) {
                return "must not contain the segments '.' and '..'"
            }
            if let flaw = flaw(inSegment: segment) { return flaw }
        }
        return nil
    }

    /// RFC 3986 §3.3 pchar, with percent-encodings as the normal form writes them (§6.2.2).
    private static func flaw(inSegment segment: ArraySlice<UInt8>) -> String? {
        var index = segment.startIndex
        while index < segment.endIndex {
            let byte = segment[index]
            if byte == UInt8(ascii: "%") {
                guard segment.endIndex - index > 2, let high = hexDigit(segment[index + 1]),
                    let low = hexDigit(segment[index + 2])
                else { return "must have two of 0-9 and A-F after each '%'" }
                let decoded = high << 4 | low
                if decoded == 0 { return "must not contain '%00'" }
                if isUnreserved(decoded) {
                    return "must not percent-encode letters, digits, '-', '.', '_' and '~'"
                }
                if decoded == UInt8(ascii: "\\") { return "must not contain a backslash" }
                index += 3
                continue
            }
            guard isUnreserved(byte) || "!$&'()*+,;=:@".utf8.contains(byte) else {
                return "has a character that must be percent-encoded"
            }
            index += 1
        }
        return nil
    }

    private static func hexDigit(_ byte: UInt8) -> UInt8? {
        switch byte {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): return byte - UInt8(ascii: "0")
        case UInt8(ascii: "A")...UInt8(ascii: "F"): return byte - UInt8(ascii: "A") + 10
        default: return nil
        }
    }

    private static func isUnreserved(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"):
            return true
        default: return "-._~".utf8.contains(byte)
        }
    }
}
