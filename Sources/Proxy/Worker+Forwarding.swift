import HTTP
import HTTP1
import Memory

// What a service is told of the client and of the proxies before us.
extension Worker {
    /// `X-Forwarded-*` and `Forwarded` (RFC 7239). From a trusted proxy the lists go on with its address behind them;
    /// from anybody else they begin anew.
    @inline(__always) mutating func writeForwarding(
        _ writer: inout HeadWriter, _ downstream: SlabID, _ bytes: RawSpan, isV6: Bool, isTrusted: Bool
    ) {
        let isEncrypted = downstreams[downstream].hasTLS
        let authority = requestHead.authority
        if isTrusted {
            goOnForwarding(&writer, downstream, bytes)
        } else {
            if isEncrypted {
                writer.text(
                    "X-Forwarded-For: ", downstreams[downstream].peerText, "\r\nX-Forwarded-Proto: https\r\n")
            } else {
                writer.text(
                    "X-Forwarded-For: ", downstreams[downstream].peerText, "\r\nX-Forwarded-Proto: http\r\n")
            }
            // HTTP/1.0 knows requests without a host; of those nothing is said.
            if authority.isEmpty {
                writer.text("Forwarded: ")
            } else {
                writer.text("X-Forwarded-Host: ", bytes[authority], "\r\nForwarded: ")
            }
        }
        // An IPv6 address has colons, which want quotes and brackets (RFC 7239 §6).
        if isV6 {
            writer.text("for=\"[", downstreams[downstream].peerText, "]\";proto=http")
        } else {
            writer.text("for=", downstreams[downstream].peerText, ";proto=http")
        }
        if isEncrypted { writer.text("s") }
        if authority.isEmpty {
            writer.text("\r\n")
        } else {
            writer.text(";host=\"", bytes[authority], "\"\r\n")
        }
    }

    /// The beginning of it behind a trusted proxy, up to the place for our own element of Forwarded.
    @inline(never) private mutating func goOnForwarding(
        _ writer: inout HeadWriter, _ downstream: SlabID, _ bytes: RawSpan
    ) {
        writer.text("X-Forwarded-For: ")
        writeList(&writer, .xForwardedFor, bytes)
        writer.text("", downstreams[downstream].peerText, "\r\nX-Forwarded-Proto: ")
        if let proto = lastLine(.xForwardedProto) {
            writer.bytes(bytes[proto])
        } else if downstreams[downstream].hasTLS {
            writer.text("https")
        } else {
            writer.text("http")
        }
        let host = lastLine(.xForwardedHost) ?? requestHead.authority
        if !host.isEmpty { writer.text("\r\nX-Forwarded-Host: ", bytes[host], "") }
        writer.text("\r\nForwarded: ")
        writeList(&writer, .forwarded, bytes)
    }

    /// The values of all lines of that name, joined, with a comma behind.
    private mutating func writeList(_ writer: inout HeadWriter, _ known: KnownField, _ bytes: RawSpan) {
        for index in 0..<requestHead.fields.count
        where requestHead.fields[index].known == known && !requestHead.fields[index].value.isEmpty {
            // Behind a quoted string that is still open our own element would be a part of that string.
            if known == .forwarded, !ForwardedFields.isValid(requestHead.fields[index].value, of: bytes) {
                continue
            }
            writer.bytes(bytes[requestHead.fields[index].value])
            writer.text(", ")
        }
    }

    private mutating func lastLine(_ known: KnownField) -> ByteRange? {
        var found: ByteRange?
        for index in 0..<requestHead.fields.count where requestHead.fields[index].known == known {
            found = requestHead.fields[index].value
        }
        return found
    }
}
