import HTTP
import HTTP1
import Memory

/// Limits as the gateway has them by itself.
let headLimits = HeadLimits(requestLine: 8192, head: 32768, fields: 100)

/// The head of a request of HTTP/1.1, parsed in place.
struct RequestHeadPart: Turning, ~Copyable {
    private let bytes: [UInt8]
    private let path: [UInt8]
    private let fields: Int
    private var head = RequestHead(fieldCapacity: 100)

    init(token: Bool, isSpoiled: Bool) {
        path = Array((token ? "/api/v1/documents" : "/bytes/128").utf8)
        fields = token ? 8 : 2
        let host = isSpoiled ? "api example" : "api.example.com"
        let short = """
            GET /bytes/128 HTTP/1.1\r
            Host: \(host)\r
            User-Agent: h2load nghttp2/1.52.0\r
            \r

            """
        let long = """
            GET /api/v1/documents?limit=50&after=0192f0c1 HTTP/1.1\r
            Host: \(host)\r
            User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r
            Accept: application/json\r
            Accept-Language: en-US,en;q=0.5\r
            Accept-Encoding: gzip, deflate, br, zstd\r
            Authorization: Bearer \(SampleTokens.all[0])\r
            Origin: https://app.example.com\r
            Connection: keep-alive\r
            \r

            """
        bytes = Array((token ? long : short).utf8)
    }

    mutating func turn(_ number: Int) -> Bool {
        let step = RequestHeadPart.parse(bytes, into: &head)
        return step == .complete(byteCount: bytes.count) && head.fields.count == fields
            && bytes.rawSpan[head.path].equals(path.rawSpan)
    }

    private static func parse(_ bytes: borrowing [UInt8], into head: inout RequestHead) -> HeadStep {
        var scanned = 0
        return RequestParser.parse(bytes.rawSpan, limits: headLimits, scanned: &scanned, into: &head)
    }
}

/// The head of a response of HTTP/1.1, parsed in place.
struct ResponseHeadPart: Turning, ~Copyable {
    private let bytes: [UInt8]
    private var head = ResponseHead(fieldCapacity: 100)

    init(isSpoiled: Bool) {
        let text = """
            HTTP/1.1 \(isSpoiled ? "600" : "200") OK\r
            Date: Fri, 27 Nov 2026 02:35:38 GMT\r
            Content-Type: application/json; charset=utf-8\r
            Content-Length: 128\r
            Cache-Control: private, max-age=0\r
            ETag: "5c1d9b2f7a3e4860"\r
            Vary: Accept-Encoding\r
            \r

            """
        bytes = Array(text.utf8)
    }

    mutating func turn(_ number: Int) -> Bool {
        let step = ResponseHeadPart.parse(bytes, into: &head)
        return step == .complete(byteCount: bytes.count) && head.status == 200
            && head.framing == .length(128) && head.fields.count == 6
    }

    private static func parse(_ bytes: borrowing [UInt8], into head: inout ResponseHead) -> ResponseStep {
        var scanned = 0
        return ResponseParser.parse(
            bytes.rawSpan, limits: headLimits, scanned: &scanned, into: &head, requestMethod: .get)
    }
}
