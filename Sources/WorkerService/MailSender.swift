internal import CCurl
internal import Foundation
internal import ServiceKit

/// The server that takes our mail. The operator names it, so its address is not judged.
public struct MailSettings: Sendable {
    /// Whether the connection to the server is to be encrypted, where the URL is `smtp:`.
    public enum Encryption: Int, Sendable {
        case never = 0
        case ifOffered = 1
        case required = 3
    }

    /// `smtp://host:port` or `smtps://host:port`.
    public var url: String
    public var from: String
    public var encryption: Encryption
    public var user: String?
    public var password: String?
    /// Put before the paths of links in mails.
    public var publicURL: String
    /// What the service is called in mails.
    public var product: String

    public init(
        url: String, from: String, encryption: Encryption = .ifOffered, user: String? = nil,
        password: String? = nil, publicURL: String, product: String = "Gatehouse"
    ) {
        self.url = url
        self.from = from
        self.encryption = encryption
        self.user = user
        self.password = password
        self.publicURL = publicURL
        self.product = product
    }

    /// Why no mail could be sent with these, ever; `nil` when it could.
    public static func fault(url: String, from: String, publicURL: String, product: String) -> String? {
        let server = URLComponents(string: url)
        guard let server, ["smtp", "smtps"].contains(server.scheme), server.host?.isEmpty == false,
            server.user == nil, server.path.isEmpty || server.path == "/"
        else { return "the mail server must be smtp://host[:port] or smtps://host[:port], found '\(url)'" }
        guard MailAddress(from) != nil else { return "the sender must be a plain address, found '\(from)'" }
        let page = URLComponents(string: publicURL)
        guard let page, ["http", "https"].contains(page.scheme), page.host?.isEmpty == false,
            page.query == nil, page.fragment == nil, publicURL.utf8.count <= MailTemplate.valueLimitBytes
        else { return "the public URL must be http:// or https:// and a host, found '\(publicURL)'" }
        guard (1...200).contains(product.utf8.count), !MailMessage.hasControl(product) else {
            return "the product must be 1 to 200 bytes without control characters"
        }
        return nil
    }
}

/// What came of one attempt to hand over a mail.
enum MailOutcome: Equatable, Sendable {
    case sent
    /// The server said 4xx, or nothing: worth another attempt.
    case failed(reason: String)
    /// The server said 5xx: it will not take this mail, ever.
    case refused(reason: String)
}

/// Hands mails to the server, one attempt at a time.
struct MailSender: Sendable {
    let threads: BlockingThreads
    let settings: MailSettings
    var timeout: Duration = .seconds(20)

    func send(_ message: MailMessage) async throws -> MailOutcome {
        let settings = settings
        let timeout = timeout
        return try await threads.call { stop in
            do {
                let transfer = try CurlTransfer(
                    url: settings.url, protocols: "smtp,smtps", timeout: timeout, addresses: nil, stop: stop)
                try transfer.set(CURLOPT_USE_SSL, settings.encryption.rawValue)
                if let user = settings.user { try transfer.set(CURLOPT_USERNAME, user) }
                if let password = settings.password { try transfer.set(CURLOPT_PASSWORD, password) }
                try transfer.set(CURLOPT_MAIL_FROM, "<\(message.from.text)>")
                try transfer.set(CURLOPT_MAIL_RCPT, ["<\(message.to.text)>"])
                try transfer.setUpload(message.bytes)
                let (status, failure) = transfer.run()
                return Self.judged(status: status, failure)
            } catch let failure as TransferFailure {
                return .failed(reason: failure.description)
            }
        }
    }

    private static func judged(status: Int, _ failure: TransferFailure?) -> MailOutcome {
        guard let failure else { return .sent }
        // A login that fails is our own fault, not the mail's: once it is put right, the mail can go.
        if failure != .loginRefused, failure != .stopped, (500..<600).contains(status) {
            return .refused(reason: "the mail server said \(status)")
        }
        if (400..<500).contains(status) { return .failed(reason: "the mail server said \(status)") }
        return .failed(reason: failure.description)
    }
}
