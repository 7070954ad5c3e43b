internal import Foundation

/// Addresses as accounts have them: a dot-atom at a domain (RFC 5321 §4.1.2), with the letters of RFC 6531 §3.3. No quoted
/// strings, comments or literals: an address goes into a letter's head, and nothing in it may act there.
enum EmailAddress {
    private static let limitBytes = 254
    private static let localLimitBytes = 64
    private static let labelLimitBytes = 63

    /// The address in lower case, or `nil` when it cannot be one: the rest only a letter to it could tell.
    static func normal(_ text: String) -> String? {
        let text = text.precomposedStringWithCanonicalMapping.lowercased()
        let parts = text.split(separator: "@", omittingEmptySubsequences: false)
        guard text.utf8.count <= limitBytes, parts.count == 2, parts[0].utf8.count <= localLimitBytes else {
            return nil
        }
        let labels = parts[1].split(separator: ".", omittingEmptySubsequences: false)
        let atoms = parts[0].split(separator: ".", omittingEmptySubsequences: false)
        guard labels.count >= 2,
            atoms.allSatisfy({ !$0.isEmpty && $0.unicodeScalars.allSatisfy(isOfAtom) }),
            labels.allSatisfy({ label in
                (1...labelLimitBytes).contains(label.utf8.count) && !label.hasPrefix("-")
                    && !label.hasSuffix("-") && label.unicodeScalars.allSatisfy(isOfLabel)
            })
        else { return nil }
        return text
    }

    /// What shows, or is a plain space: no control, no direction mark, no line break.
    static func isGraphicOrSpace(_ scalar: Unicode.Scalar) -> Bool { scalar == " " || isGraphic(scalar) }

    private static func isGraphic(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar.properties.generalCategory {
        case .control, .format, .surrogate, .privateUse, .unassigned, .lineSeparator, .paragraphSeparator,
            .spaceSeparator:
            false
        default: true
        }
    }

    private static func isOfAtom(_ scalar: Unicode.Scalar) -> Bool {
        guard scalar.isASCII else { return isGraphic(scalar) }
        return isOfLabel(scalar) || "!#$%&'*+/=?^_`{|}~".unicodeScalars.contains(scalar)
    }

    private static func isOfLabel(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar {
        case "a"..."z", "A"..."Z", "0"..."9", "-": true
        default: !scalar.isASCII && isGraphic(scalar)
        }
    }
}
