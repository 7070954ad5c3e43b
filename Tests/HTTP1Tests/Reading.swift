import HTTP
import HTTP1
import Memory

/// A request head as plain values, so that tests can compare it.
struct ReadRequest: Equatable {
    var method = ""
    var target = ""
    var path = ""
    var query: String?
    var authority = ""
    var version = Version.http11
    var framing = BodyFraming.none
    var isPersistent = true
    var expectsContinue = false
    var fields: [String] = []
    var byteCount = 0
}

enum ReadStep<Head: Equatable, Failure: Equatable>: Equatable {
    case incomplete
    case complete(Head)
    case refused(Failure)
}

let testLimits = HeadLimits(requestLine: 8192, head: 32768, fields: 100)

func fieldLines(_ table: borrowing FieldTable, _ bytes: RawSpan) -> [String] {
    (0..<table.count).filter { !table[$0].isDropped }
        .map { "\(bytes[table[$0].name].text): \(bytes[table[$0].value].text)" }
}

/// Feeds `bytes` in pieces of `step` bytes (all at once when 0) and answers what the parser last said.
func readRequest(_ bytes: [UInt8], step: Int = 0, limits: HeadLimits = testLimits)
    -> ReadStep<ReadRequest, RequestHeadError>
{
    var head = RequestHead(fieldCapacity: 128)
    var scanned = 0
    var end = 0
    while true {
        end = step == 0 ? bytes.count : min(end + step, bytes.count)
        let span = bytes.rawSpan.extracting(0..<end)
        switch RequestParser.parse(span, limits: limits, scanned: &scanned, into: &head) {
        case .incomplete:
            if end == bytes.count { return .incomplete }
        case .refused(let error): return .refused(error)
        case .complete(let count):
            return .complete(
                ReadRequest(
                    method: span[head.methodBytes].text, target: span[head.target].text,
                    path: span[head.path].text, query: head.hasQuery ? span[head.query].text : nil,
                    authority: span[head.authority].text, version: head.version, framing: head.framing,
                    isPersistent: head.isPersistent, expectsContinue: head.expectsContinue,
                    fields: fieldLines(head.fields, span), byteCount: count))
        }
    }
}

func readRequest(_ text: String, step: Int = 0, limits: HeadLimits = testLimits)
    -> ReadStep<ReadRequest, RequestHeadError>
{
    readRequest(Array(text.utf8), step: step, limits: limits)
}

/// A response head as plain values.
struct ReadResponse: Equatable {
    var status = 200
    var version = Version.http11
    var framing = BodyFraming.none
    var isPersistent = true
    var fields: [String] = []
    var byteCount = 0
}

func readResponse(
    _ text: String, to method: HTTP.Method = .get, step: Int = 0, limits: HeadLimits = testLimits
)
    -> ReadStep<ReadResponse, ResponseHeadError>
{
    let bytes = Array(text.utf8)
    var head = ResponseHead(fieldCapacity: 128)
    var scanned = 0
    var end = 0
    while true {
        end = step == 0 ? bytes.count : min(end + step, bytes.count)
        let span = bytes.rawSpan.extracting(0..<end)
        switch ResponseParser.parse(
            span, limits: limits, scanned: &scanned, into: &head, requestMethod: method)
        {
        case .incomplete:
            if end == bytes.count { return .incomplete }
        case .refused(let error): return .refused(error)
        case .complete(let count):
            return .complete(
                ReadResponse(
                    status: head.status, version: head.version, framing: head.framing,
                    isPersistent: head.isPersistent, fields: fieldLines(head.fields, span), byteCount: count))
        }
    }
}
