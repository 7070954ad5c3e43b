public import HTTP
import Memory

/// The trailer fields of a chunked message, as `ChunkedDecoder` collected them.
public enum Trailers {
    /// Parses the collected lines into `fields`, which is emptied first, and marks as dropped those that must not go on.
    /// `false` when `bytes` are not such lines or the table is full.
    public static func parse(_ bytes: RawSpan, into fields: inout FieldTable) -> Bool {
        fields.removeAll()
        var cursor = 0
        while cursor < bytes.byteCount {
            var line = FieldLine()
            guard case .line = FieldLineParser.next(bytes, &cursor, into: &line) else { return false }
            line.isDropped = !mayForward(line, of: bytes)
            guard fields.append(line) else { return false }
        }
        return true
    }

    /// Whether a trailer field may be passed on: not one that frames, routes, authenticates, controls the request or says
    /// how the content is to be read (RFC 9110 §6.5.1). Whoever vouches for fields drops those on top.
    public static func mayForward(_ line: FieldLine, of bytes: RawSpan) -> Bool {
        switch line.known {
        case .authorization, .connection, .contentLength, .cookie, .date, .expect, .forwarded, .host,
            .http2Settings, .keepAlive, .proxyAuthenticate, .proxyAuthorization, .proxyConnection, .te,
            .trailer, .transferEncoding, .upgrade, .via, .xForwardedFor, .xForwardedHost, .xForwardedProto:
            return false
        case .server, .other: break
        }
        let name = bytes[line.name]
        switch name.byteCount {
        case 3: return !name.equalsIgnoringCase("age")
        case 4: return !name.equalsIgnoringCase("vary")
        case 5: return !name.equalsIgnoringCase("range")
        case 6: return !name.equalsIgnoringCase("pragma")
        case 7: return !name.equalsIgnoringCase("expires") && !name.equalsIgnoringCase("warning")
        case 8:
            return !name.equalsIgnoringCase("if-match") && !name.equalsIgnoringCase("if-range")
                && !name.equalsIgnoringCase("location")
        case 10: return !name.equalsIgnoringCase("set-cookie")
        case 11: return !name.equalsIgnoringCase("retry-after")
        case 12:
            return !name.equalsIgnoringCase("content-type") && !name.equalsIgnoringCase("max-forwards")
        case 13:
            return !name.equalsIgnoringCase("cache-control") && !name.equalsIgnoringCase("content-range")
                && !name.equalsIgnoringCase("if-none-match")
        case 16:
            return !name.equalsIgnoringCase("content-encoding")
                && !name.equalsIgnoringCase("www-authenticate")
        case 17: return !name.equalsIgnoringCase("if-modified-since")
        case 19: return !name.equalsIgnoringCase("if-unmodified-since")
        default: return true
        }
    }
}
