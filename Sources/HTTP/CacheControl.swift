import Memory

/// What `Cache-Control` says about freshness (RFC 9111 §5.2.2).
public enum CacheControl {
    /// Seconds of the smallest `max-age`; 0 where `no-store`, `no-cache` or a `max-age` that is no number stands (§4.2.1); `nil`
    /// where nothing is said.
    public static func maxAge(of fields: borrowing FieldTable, in bytes: RawSpan) -> Int? {
        var found: Int?
        for index in 0..<fields.count where bytes[fields[index].name].equalsIgnoringCase("cache-control") {
            for part in bytes[fields[index].value].text.split(separator: ",") {
                let words = part.split(separator: "=", maxSplits: 1)
                let name = trimmed(words.first ?? "").lowercased()
                if name == "no-store" || name == "no-cache" {
                    found = 0
                } else if name == "max-age" {
                    let said = words.count > 1 ? seconds(trimmed(words[1])) : 0
                    found = min(found ?? .max, said)
                }
            }
        }
        return found
    }

    /// A number past 2^31 is taken for 2^31 (RFC 9111 §1.2.2); what is none for 0.
    private static func seconds(_ text: Substring) -> Int {
        // A quoted form is read too (§5.2).
        let digits = text.hasPrefix("\"") && text.hasSuffix("\"") ? text.dropFirst().dropLast() : text
        guard !digits.isEmpty, digits.utf8.allSatisfy(\.isDigit) else { return 0 }
        return min(Int(digits) ?? Int(Int32.max), Int(Int32.max))
    }

    private static func trimmed(_ text: Substring) -> Substring {
        var text = text
        while let first = text.utf8.first, first == 0x20 || first == 0x09 { text = text.dropFirst() }
        while let last = text.utf8.last, last == 0x20 || last == 0x09 { text = text.dropLast() }
        return text
    }
}
