import Foundation
import Testing

@testable import WorkerService

@Suite("What a mail may hold") struct MailMessageTests {
    private static func message(
        job: String = "job-1", to: String = "ada@example.org", subject: String = "Hello",
        body: String = "Text", trace: TraceFields = TraceFields(requestID: "", traceparent: nil)
    ) throws -> MailMessage {
        try MailMessage(
            job: job, from: #require(MailAddress("us@example.com")), to: #require(MailAddress(to)),
            subject: subject, body: body, orderedAt: 1_795_760_000_000, trace: trace)
    }

    @Test(
        "What could end a line, or an address, is no address",
        arguments: [
            "", "@", "a@", "@b", "a", "a@b@c", "a b@c", "a@b c", "a@b\r\nBcc: c@d", "a\r\n@b", "a@b\n",
            "a@b\0",
            "<a@b>", "a@b>", "a@b> SIZE=1", "\"a\"@b", "a..b@c", ".a@b", "a@b.", "a@[127.0.0.1]", "a,b@c",
            "a@b,c@d", "ä@b", "a@ü.example", "a:b@c", "a;b@c", String(repeating: "a", count: 65) + "@b",
            "a@" + String(repeating: "b", count: 253),
        ])
    func addresses(text: String) { #expect(MailAddress(text) == nil) }

    @Test(
        "Plain addresses are taken",
        arguments: ["a@b", "ada.lovelace+x@mail.example.org", "o'neil_{1}@x-y.example"])
    func plain(text: String) { #expect(MailAddress(text)?.text == text) }

    @Test(
        "Mail header injection: a subject with a control character is refused, never repaired",
        arguments: [
            "a\r\nBcc: eve@example.net", "a\nb", "a\rb", "a\0b", "a\u{85}b", "a\u{2028}b", "\r\n\r\nbody",
        ])
    func injection(subject: String) {
        #expect(throws: MailMessage.Refusal.subject) { try Self.message(subject: subject) }
    }

    @Test("Mail header injection: an id that is not plain gets no field") func ids() throws {
        let trace = TraceFields(requestID: "a\r\nBcc: eve@example.net", traceparent: "00-x\r\nBcc: e@f")
        #expect(trace.fields.isEmpty)
        let text = String(decoding: try Self.message(trace: trace).bytes, as: UTF8.self)
        #expect(!text.contains("Bcc"))
        #expect(throws: MailMessage.Refusal.name) { try Self.message(job: "a>\r\nBcc: e@f") }
    }

    @Test("A mail has the fields of RFC 5322, the same at each attempt") func fields() throws {
        let traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        let message = try Self.message(
            subject: "Grüße", body: "Täxt\n.\n",
            trace: TraceFields(requestID: "req-1", traceparent: traceparent))
        let text = String(decoding: message.bytes, as: UTF8.self)
        let parts = text.components(separatedBy: "\r\n\r\n")
        #expect(
            parts[0].components(separatedBy: "\r\n") == [
                "Date: Fri, 27 Nov 2026 06:13:20 +0000", "From: <us@example.com>", "To: <ada@example.org>",
                "Subject: =?utf-8?B?R3LDvMOfZQ==?=", "Message-ID: <job-1@example.com>", "X-Request-ID: req-1",
                "traceparent: \(traceparent)", "MIME-Version: 1.0", "Content-Type: text/plain; charset=utf-8",
                "Content-Transfer-Encoding: base64", "Auto-Submitted: auto-generated",
            ])
        #expect(
            Data(base64Encoded: parts[1].replacingOccurrences(of: "\r\n", with: "")) == Data("Täxt\n.\n".utf8)
        )
    }

    @Test("RFC 2047 §2: encoded words are at most 75 characters, and no character is cut") func words() {
        let encoded = MailMessage.encodedWords(String(repeating: "ü€😀", count: 20))
        let words = encoded.components(separatedBy: "\r\n ")
        #expect(words.count > 1)
        var decoded = ""
        for word in words {
            #expect(word.utf8.count <= 75)
            let data = Data(base64Encoded: String(word.dropFirst("=?utf-8?B?".count).dropLast(2)))
            decoded += data.flatMap { String(data: $0, encoding: .utf8) } ?? "broken"
        }
        #expect(decoded == String(repeating: "ü€😀", count: 20))
        #expect(MailMessage.encodedWords("plain") == "plain")
        #expect(MailMessage.encodedWords("=?utf-8?B?YQ==?=") != "=?utf-8?B?YQ==?=")
    }

    @Test("A template takes its values as text, and refuses what could write a line of its own")
    func templates() throws {
        let receipt = try #require(MailTemplate.all["receipt"])
        let values = ["number": "7", "amount": "1.00", "currency": "EUR", "description": "{number}"]
        let filled = try receipt.filled(values)
        #expect(filled.subject == "Your receipt 7")
        #expect(filled.body.contains("1.00 EUR for {number}."))
        #expect(throws: MailTemplate.Refusal.missing("number")) { try receipt.filled([:]) }
        #expect(throws: MailTemplate.Refusal.unfit("number")) {
            try receipt.filled(values.merging(["number": "7\r\nBcc: eve@example.net"]) { $1 })
        }
        #expect(throws: MailTemplate.Refusal.unfit("description")) {
            try receipt.filled(values.merging(["description": String(repeating: "x", count: 1_025)]) { $1 })
        }
        let needed = ["product": "P", "public_url": "https://p", "token": "t"].merging(values) { $1 }
        for template in MailTemplate.all.values {
            #expect(throws: Never.self) { try template.filled(needed) }
        }
    }
}

@Suite("Handing over mails") struct MailSenderTests {
    private func send(_ url: String) async throws -> MailOutcome {
        let threads = BlockingThreads(count: 1)
        let sender = MailSender(
            threads: threads,
            settings: MailSettings(url: url, from: "us@example.com", publicURL: "https://example.com"))
        let message = try MailMessage(
            job: "job-1", from: #require(MailAddress("us@example.com")),
            to: #require(MailAddress("ada@example.org")), subject: "Hello", body: "Text", orderedAt: 0,
            trace: TraceFields(requestID: "req-1", traceparent: nil))
        let outcome = try await sender.send(message)
        try await threads.stop()
        return outcome
    }

    @Test("A mail is taken by the server, envelope and text") func sent() async throws {
        let sink = try MailSink()
        #expect(try await send(sink.url) == .sent)
        let mail = try #require(sink.taken.first)
        #expect(mail.commands.contains("MAIL FROM:<us@example.com>"))
        #expect(mail.commands.contains("RCPT TO:<ada@example.org>"))
        #expect(mail.data.contains("\r\nMessage-ID: <job-1@example.com>\r\nX-Request-ID: req-1\r\n"))
    }

    @Test(
        "4xx at any point is worth another attempt, 5xx is the end",
        arguments: ["greeting", "MAIL", "RCPT", "DATA", "end"])
    func answers(point: String) async throws {
        let busy = try MailSink { $0 == point ? "451 later" : nil }
        guard case .failed = try await send(busy.url) else {
            Issue.record("451 at \(point) was final")
            return
        }
        let closed = try MailSink { $0 == point ? "550 no" : nil }
        #expect(try await send(closed.url) == .refused(reason: "the mail server said 550"))
        #expect(busy.taken.isEmpty && closed.taken.isEmpty)
    }

    @Test("A server that is not there is worth another attempt") func down() async throws {
        let url = "smtp://127.0.0.1:\(try Peer.nobody.get())"
        #expect(try await send(url) == .failed(reason: TransferFailure.unreachable.description))
    }
}

@Suite("What the operator says of mails") struct MailSettingsTests {
    private static func fault(
        url: String = "smtp://mail.example.com:25", from: String = "us@example.com",
        publicURL: String = "https://example.com", product: String = "P"
    ) -> String? {
        MailSettings.fault(url: url, from: from, publicURL: publicURL, product: product)
    }

    @Test("A setting with which no mail could go is refused at the start") func faults() {
        #expect(Self.fault() == nil)
        #expect(Self.fault(url: "smtps://[::1]:465/") == nil)
        for url in ["", "mail", "http://mail", "smtp://", "smtp://u:p@mail", "smtp://mail/x"] {
            #expect(Self.fault(url: url)?.contains("'\(url)'") == true)
        }
        #expect(Self.fault(from: "Us <us@example.com>")?.contains("sender") == true)
        for url in ["example.com", "ftp://example.com", "https://example.com?x", "https://"] {
            #expect(Self.fault(publicURL: url)?.contains("'\(url)'") == true)
        }
        #expect(Self.fault(product: "") != nil)
        #expect(Self.fault(product: "a\r\nBcc: b@c") != nil)
    }
}
