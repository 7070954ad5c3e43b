internal import Foundation

/// The mails that can be sent. Orders name one and give its values, so that nobody who can order a job can write a mail of
/// their own.
struct MailTemplate: Sendable {
    /// Why a mail could not be made.
    enum Refusal: Error, CustomStringConvertible, Equatable {
        case missing(String)
        case unfit(String)

        var description: String {
            switch self {
            case .missing(let name): "the value '\(name)' is missing"
            case .unfit(let name): "the value '\(name)' is too long or has a control character"
            }
        }
    }

    static let valueLimitBytes = 1_024

    let name: String
    private let subject: String
    private let body: String

    /// A name that the new user chose does not stand in the welcome: the address need not be theirs, and then it would be a
    /// message of theirs to a stranger.
    static let all: [String: MailTemplate] = Dictionary(
        uniqueKeysWithValues: [
            MailTemplate(
                name: "welcome", subject: "Welcome to {product}",
                body: """
                    Hello,

                    an account at {product} was made for this address. You can sign in at {public_url}.

                    If it was not you, you need not do anything.
                    """),
            MailTemplate(
                name: "verification", subject: "Confirm your address for {product}",
                body: """
                    Hello,

                    please confirm that this is your address:

                    {public_url}/verify?token={token}

                    The link works once. If you did not ask for it, you need not do anything.
                    """),
            MailTemplate(
                name: "reset", subject: "Set a new password for {product}",
                body: """
                    Hello,

                    somebody, hopefully you, wants to set a new password for your account:

                    {public_url}/reset?token={token}

                    The link works once. If it was not you, your password stays as it is.
                    """),
            MailTemplate(
                name: "receipt", subject: "Your receipt {number}",
                body: """
                    Hello,

                    thank you. We have received {amount} {currency} for {description}.

                    Receipt: {number}
                    """),
        ].map { ($0.name, $0) })

    /// Puts the values in.
    /// `values`: What goes for each name in braces. A value is text and nothing else: one that holds braces is not looked into again.
    func filled(_ values: [String: String]) throws(Refusal) -> (subject: String, body: String) {
        (try Self.fill(subject, values), try Self.fill(body, values))
    }

    private static func fill(_ template: String, _ values: [String: String]) throws(Refusal) -> String {
        var filled = ""
        var rest = Substring(template)
        while let open = rest.firstIndex(of: "{"), let close = rest[open...].firstIndex(of: "}") {
            let name = String(rest[rest.index(after: open)..<close])
            guard let value = values[name] else { throw .missing(name) }
            // A line feed in a value would begin a header field in the subject, and in the body a text that is not ours.
            guard value.utf8.count <= valueLimitBytes, !MailMessage.hasControl(value) else {
                throw .unfit(name)
            }
            filled += rest[..<open] + value
            rest = rest[rest.index(after: close)...]
        }
        return filled + rest
    }
}
