internal import HTTP
internal import Memory

/// Lower-case names, which are the only ones in HTTP/2, to their meanings.
enum FieldName {
    static func classify(_ name: RawSpan) -> KnownField {
        switch name.byteCount {
        case 2: name.equals("te") ? .te : .other
        case 3: name.equals("via") ? .via : .other
        case 4: name.equals("host") ? .host : name.equals("date") ? .date : .other
        case 6:
            name.equals("cookie")
                ? .cookie : name.equals("expect") ? .expect : name.equals("server") ? .server : .other
        case 7: name.equals("trailer") ? .trailer : name.equals("upgrade") ? .upgrade : .other
        case 9: name.equals("forwarded") ? .forwarded : .other
        case 10: name.equals("connection") ? .connection : name.equals("keep-alive") ? .keepAlive : .other
        case 13: name.equals("authorization") ? .authorization : .other
        case 14:
            name.equals("content-length")
                ? .contentLength : name.equals("http2-settings") ? .http2Settings : .other
        case 15: name.equals("x-forwarded-for") ? .xForwardedFor : .other
        case 16:
            name.equals("proxy-connection")
                ? .proxyConnection : name.equals("x-forwarded-host") ? .xForwardedHost : .other
        case 17:
            name.equals("transfer-encoding")
                ? .transferEncoding : name.equals("x-forwarded-proto") ? .xForwardedProto : .other
        case 18: name.equals("proxy-authenticate") ? .proxyAuthenticate : .other
        case 19: name.equals("proxy-authorization") ? .proxyAuthorization : .other
        default: .other
        }
    }
}
