internal import HTTPTypes
internal import Hummingbird
internal import NIOCore
internal import ServiceKit

/// The web page: a few files that are part of the program, so that there is nothing to install and no path to guard.
struct WebPage: Sendable {
    /// Scripts and styles are files of this origin, nothing is embedded, and a script that makes HTML of a string is
    /// stopped by the browser itself: a document's title or a snippet cannot become a part of the page.
    static let policy = """
        default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
        base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
        require-trusted-types-for 'script'; trusted-types 'none'
        """

    struct File: Sendable {
        let path: String
        let mediaType: String
        let bytes: [UInt8]
    }

    static let files = [
        File(path: "/", mediaType: "text/html; charset=utf-8", bytes: PackageResources.page_html),
        File(path: "/page/page.css", mediaType: "text/css; charset=utf-8", bytes: PackageResources.page_css),
        File(path: "/page/icon.svg", mediaType: "image/svg+xml", bytes: PackageResources.icon_svg),
        script("page", PackageResources.page_js),
        script("session", PackageResources.session_js),
        script("text", PackageResources.text_js),
    ]

    private static func script(_ name: String, _ bytes: [UInt8]) -> File {
        File(path: "/page/\(name).js", mediaType: "text/javascript; charset=utf-8", bytes: bytes)
    }

    func addRoutes(_ router: Router<Call>) {
        for file in Self.files {
            let body = ByteBuffer(bytes: file.bytes)
            let fields = Self.fields(of: file)
            router.get(RouterPath(file.path)) { request, _ in Self.answer(request, fields, body) }
            router.head(RouterPath(file.path)) { request, _ in
                Self.answer(request, fields, body).createHeadResponse()
            }
        }
    }

    private static func fields(of file: File) -> HTTPFields {
        var fields: HTTPFields = [
            .contentType: file.mediaType,
            // The bytes' own digest: a new release is a new validator, and a restart is not.
            .eTag: "\"\(Bytes.hex(Bytes.sha256(file.bytes).prefix(16)))\"",
            // Kept, and asked for at each visit: the files of two releases are never mixed.
            .cacheControl: "no-cache",
            .contentSecurityPolicy: policy,
            .xContentTypeOptions: "nosniff",
        ]
        for (name, value) in [
            ("Referrer-Policy", "no-referrer"), ("Cross-Origin-Opener-Policy", "same-origin"),
            ("Cross-Origin-Resource-Policy", "same-origin"),
        ] {
            if let name = HTTPField.Name(name) { fields[name] = value }
        }
        return fields
    }

    private static func answer(_ request: Request, _ fields: HTTPFields, _ body: ByteBuffer) -> Response {
        if let tag = fields[.eTag], EntityTagList(request.headers[.ifNoneMatch])?.matchesWeakly(tag) == true {
            // RFC 9110 §15.4.5: what the answer would have said of caching, and nothing of the body.
            var kept = fields
            kept[.contentType] = nil
            return Response(status: .notModified, headers: kept)
        }
        return Response(status: .ok, headers: fields, body: .init(byteBuffer: body))
    }
}
