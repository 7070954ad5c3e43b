internal import Foundation
internal import ServiceKit

/// Where a mail goes: the plain form of RFC 5321 §4.1.2, without quoted parts and address literals.
struct MailAddress: Equatable, Sendable {
    static let lengthLimitBytes = 254

    let text: String

    /// `nil` for anything that is not plainly an address. It goes into a line of SMTP and a header field, so what could end
    /// either, or begin another, is refused and never repaired.
    init?(_ text: String) {
        let halves = text.split(separator: "@", omittingEmptySubsequences: false)
        guard text.utf8.count <= Self.lengthLimitBytes, halves.count == 2, halves[0].utf8.count <= 64,
            Self.isDotAtom(halves[0], extra: "!#$%&'*+-/=?^_`{|}~"), Self.isDotAtom(halves[1], extra: "-")
        else { return nil }
        self.text = text
    }

    var domain: Substring { text.split(separator: "@")[1] }

    private static func isDotAtom(_ text: Substring, extra: String) -> Bool {
        text.split(separator: ".", omittingEmptySubsequences: false).allSatisfy { atom in
            !atom.isEmpty
                && atom.utf8.allSatisfy { byte in
                    switch byte {
                    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                        UInt8(ascii: "0")...UInt8(ascii: "9"):
                        true
                    default: extra.utf8.contains(byte)
                    }
                }
        }
    }
}

/// A mail before it has its header.
struct MailMessage: Sendable {
    /// Why a message cannot be sent, ever.
    enum Refusal: String, Error {
        case sender = "the sender is not an address"
        case recipient = "the recipient is not an address"
        case subject = "a control character in the subject"
        case name = "a field of a wrong form"
    }

    static let subjectLimitBytes = 400

    /// The job that sends it: its `Message-ID` is the same however often it is sent.
    let job: String
    let from: MailAddress
    let to: MailAddress
    let subject: String
    let body: String
    /// When it was ordered, Unix milliseconds.
    let orderedAt: Int64
    let trace: TraceFields

    init(
        job: String, from: MailAddress, to: MailAddress, subject: String, body: String, orderedAt: Int64,
        trace: TraceFields
    ) throws(Refusal) {
        // RFC 5322 §2.2: a header field ends at CRLF; whoever gets one in writes the next field.
        guard subject.utf8.count <= Self.subjectLimitBytes, !Self.hasControl(subject) else { throw .subject }
        guard !job.isEmpty, MailAddress("\(job)@\(from.domain)") != nil else { throw .name }
        self.job = job
        self.from = from
        self.to = to
        self.subject = subject
        self.body = body
        self.orderedAt = orderedAt
        self.trace = trace
    }

    var messageID: String { "<\(job)@\(from.domain)>" }

    /// Header and body as RFC 5322 has them, lines ended by CRLF.
    var bytes: [UInt8] {
        var lines = [
            "Date: \(Self.date(orderedAt))", "From: <\(from.text)>", "To: <\(to.text)>",
            "Subject: \(Self.encodedWords(subject))", "Message-ID: \(messageID)",
        ]
        lines += trace.fields.map { "\($0.name): \($0.value)" }
        lines += [
            "MIME-Version: 1.0", "Content-Type: text/plain; charset=utf-8",
            // Any text in lines of 76 characters, with no dot at a line's start and nothing that looks like a header.
            "Content-Transfer-Encoding: base64", "Auto-Submitted: auto-generated", "",
        ]
        let encoded = Data(body.utf8).base64EncodedString(options: [
            .lineLength76Characters, .endLineWithCarriageReturn, .endLineWithLineFeed,
        ])
        return Array((lines.joined(separator: "\r\n") + "\r\n" + encoded + "\r\n").utf8)
    }

    static func hasControl(_ text: String) -> Bool {
        text.unicodeScalars.contains { scalar in
            // C0, DEL, C1 and the two line separators of Unicode.
            scalar.value < 0x20 || (0x7F...0x9F).contains(scalar.value) || scalar.value == 0x2028
                || scalar.value == 0x2029
        }
    }

    /// RFC 5322 §3.3, in UTC.
    private static func date(_ milliseconds: Int64) -> String {
        let days = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"]
        let months = [
            "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
        ]
        let time = CivilTime(epochSeconds: milliseconds / 1_000)
        func two(_ number: Int) -> String { number < 10 ? "0\(number)" : "\(number)" }
        return "\(days[time.weekday]), \(time.day) \(months[time.month - 1]) \(time.year) "
            + "\(two(time.hour)):\(two(time.minute)):\(two(time.second)) +0000"
    }

    /// ASCII as it is, anything else as encoded words (RFC 2047 §2) of at most 75 characters, cut between characters.
    static func encodedWords(_ text: String) -> String {
        guard !text.utf8.allSatisfy({ (0x20...0x7E).contains($0) }) || text.contains("=?") else {
            return text
        }
        var words: [String] = []
        var piece: [UInt8] = []
        func close() {
            if !piece.isEmpty { words.append("=?utf-8?B?\(Data(piece).base64EncodedString())?=") }
            piece = []
        }
        for scalar in text.unicodeScalars {
            let bytes = Array(String(scalar).utf8)
            if piece.count + bytes.count > 45 { close() }
            piece += bytes
        }
        close()
        return words.joined(separator: "\r\n ")
    }
}
