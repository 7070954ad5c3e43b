internal import CCurl
internal import Foundation
internal import ServiceKit

/// Where webhooks go.
struct WebhookURL: Equatable, Sendable {
    static let lengthLimitBytes = 2_048

    /// Why a text is not one.
    enum Refusal: String, Error {
        case tooLong = "is too long"
        case form = "is not a URL"
        case scheme = "must begin with http:// or https://"
        case credentials = "must not hold a user name or a password"
        case fragment = "must not have a fragment"
        case port = "must name port 80, 443, or one from 1024 on"
        case address = "names an address that is not public"
    }

    /// In libcurl's normal form.
    let text: String

    /// Read by libcurl's own parser: what was judged here is what is asked later. Names are not resolved here, because what
    /// they mean may have changed by then.
    init(_ text: String, addresses: AddressGuard) throws(Refusal) {
        guard text.utf8.count <= Self.lengthLimitBytes else { throw .tooLong }
        // libcurl takes spaces where it is asked to, and control characters have no business in a URL.
        guard text.utf8.allSatisfy({ (0x21...0x7E).contains($0) }), let url = curl_url() else { throw .form }
        defer { curl_url_cleanup(url) }
        guard curl_url_set(url, CURLUPART_URL, text, UInt32(CURLU_NON_SUPPORT_SCHEME)) == CURLUE_OK,
            let scheme = Self.part(url, CURLUPART_SCHEME), let host = Self.part(url, CURLUPART_HOST),
            let whole = Self.part(url, CURLUPART_URL)
        else { throw .form }
        guard scheme == "http" || scheme == "https" else { throw .scheme }
        guard Self.part(url, CURLUPART_USER) == nil, Self.part(url, CURLUPART_PASSWORD) == nil else {
            throw .credentials
        }
        guard Self.part(url, CURLUPART_FRAGMENT) == nil else { throw .fragment }
        let bare = host.hasPrefix("[") ? String(host.dropFirst().dropLast()) : host
        let address = NetworkAddress(bare)
        if let address, !addresses.allows(address) { throw .address }
        // Mail servers, databases and the like listen below 1024, and a POST can say much to them.
        let port = Self.part(url, CURLUPART_PORT).flatMap { Int($0) } ?? (scheme == "https" ? 443 : 80)
        guard port == 80 || port == 443 || (1_024...65_535).contains(port) else { throw .port }
        self.text = whole
    }

    private static func part(_ url: OpaquePointer, _ part: CURLUPart) -> String? {
        var text: UnsafeMutablePointer<CChar>?
        guard curl_url_get(url, part, &text, 0) == CURLUE_OK, let text else { return nil }
        defer { curl_free(text) }
        return String(cString: text)
    }
}

/// One message for one endpoint.
struct WebhookMessage: Sendable {
    /// The same at each attempt, by which the receiver knows a message that came twice.
    let id: String
    let url: String
    let body: [UInt8]
    /// The newest first; while a secret is being changed, both sign.
    let secrets: [WebhookSecret]
    let trace: TraceFields
}

/// What came of one attempt.
enum WebhookOutcome: Equatable, Sendable {
    /// A status of 2xx.
    case delivered(status: Int)
    /// Worth another attempt.
    /// `notBeforeSeconds`: From now on; what a receiver that is overloaded asked for, within `WebhookLimits.longestWaitSeconds`.
    case failed(status: Int?, reason: String, notBeforeSeconds: Int64 = 0)
    /// The receiver said 410: it wants no more, ever.
    case gone
    /// It may not be asked at all.
    case refused(reason: String)
}

/// Sends webhooks, one attempt at a time.
struct WebhookSender: Sendable {
    let threads: BlockingThreads
    let addresses: AddressGuard
    var timeout: Duration = .seconds(10)

    /// `now`: Unix milliseconds; the time that is signed.
    func send(_ message: WebhookMessage, now: Int64) async throws -> WebhookOutcome {
        let addresses = addresses
        let timeout = timeout
        return try await threads.call { stop in
            do {
                return try Self.attempt(message, addresses, timeout: timeout, now: now, stop: stop)
            } catch let failure as TransferFailure {
                return Self.judged(failure, status: 0)
            }
        }
    }

    private static func attempt(
        _ message: WebhookMessage, _ addresses: AddressGuard, timeout: Duration, now: Int64, stop: StopFlag
    ) throws -> WebhookOutcome {
        // What is allowed may have changed since the endpoint was made.
        let url: WebhookURL
        do throws(WebhookURL.Refusal) {
            url = try WebhookURL(message.url, addresses: addresses)
        } catch {
            return .refused(reason: "the URL \(error.rawValue)")
        }
        let transfer = try CurlTransfer(
            url: url.text, protocols: "http,https", timeout: timeout, addresses: addresses, stop: stop)
        let seconds = now / 1_000
        let signatures = message.secrets.map {
            $0.signature(id: message.id, timestamp: seconds, body: message.body)
        }
        var fields = [
            "Content-Type: application/json", "User-Agent: gatehouse-worker",
            "webhook-id: \(message.id)", "webhook-timestamp: \(seconds)",
            "webhook-signature: \(signatures.joined(separator: " "))",
            // libcurl would ask first and wait a second for the answer.
            "Expect:", "Accept: */*",
        ]
        fields += message.trace.fields.map { "\($0.name): \($0.value)" }
        try transfer.set(CURLOPT_HTTPHEADER, fields)
        try transfer.setBody(message.body)
        let (status, failure) = transfer.run()
        if let failure { return judged(failure, status: status) }
        switch status {
        case 200..<300: return .delivered(status: status)
        case 410: return .gone
        case 300..<400: return .failed(status: status, reason: "redirects are not followed")
        case 429, 503:
            // RFC 6585 §4, RFC 9110 §15.6.4: the two that say when to come back.
            return .failed(
                status: status, reason: "status \(status)",
                notBeforeSeconds: min(transfer.retryAfterSeconds, WebhookLimits.longestWaitSeconds))
        default: return .failed(status: status, reason: "status \(status)")
        }
    }

    private static func judged(_ failure: TransferFailure, status: Int) -> WebhookOutcome {
        if case .addressRefused = failure { return .refused(reason: failure.description) }
        return .failed(status: status == 0 ? nil : status, reason: failure.description)
    }
}
