public import Memory

/// Fields that are about one connection and end here (RFC 9110 §7.6.1).
public enum HopByHop {
    /// How many options a head's Connection fields may list. Each is looked for among all fields, so without a bound one
    /// head of 32 KiB would cost a million comparisons.
    @inlinable public static var optionLimit: Int { 64 }

    /// Marks as dropped: Connection and every field it lists, Keep-Alive, Proxy-Connection, TE, Transfer-Encoding, Upgrade,
    /// HTTP2-Settings, Proxy-Authenticate and Proxy-Authorization. For requests and for responses.
    ///
    /// Host and Content-Length stay even when Connection lists them: dropping what frames or routes a message that has
    /// been framed and routed by it would smuggle the rest.
    /// `false` when Connection lists more than `optionLimit` options: the message is to be refused.
    @inlinable @inline(__always) public static func drop(in fields: inout FieldTable, bytes: RawSpan) -> Bool
    {
        fields.mayHold(kinds) ? dropThere(in: &fields, bytes: bytes) : true
    }

    /// The meanings of those that are dropped for their names.
    @inlinable @inline(__always) static var kinds: UInt32 {
        KnownField.connection.bit | KnownField.keepAlive.bit | KnownField.proxyConnection.bit
            | KnownField.te.bit | KnownField.transferEncoding.bit | KnownField.upgrade.bit
            | KnownField.http2Settings.bit | KnownField.proxyAuthenticate.bit
            | KnownField.proxyAuthorization.bit
    }

    @usableFromInline static func dropThere(in fields: inout FieldTable, bytes: RawSpan) -> Bool {
        var options = 0
        for index in 0..<fields.count {
            let line = fields[index]
            switch line.known {
            case .other: continue
            case .connection:
                fields.drop(index)
                // Nearly every Connection field says one of these two, and then lists no field.
                let value = bytes[line.value]
                if isKeepAlive(value) || isClose(value) { continue }
                guard dropListed(in: &fields, bytes: bytes, value: line.value, options: &options) else {
                    return false
                }
            case .keepAlive, .proxyConnection, .te, .transferEncoding, .upgrade, .http2Settings,
                .proxyAuthenticate, .proxyAuthorization:
                fields.drop(index)
            case .authorization, .contentLength, .cookie, .date, .expect, .forwarded, .host, .server,
                .trailer, .via, .xForwardedFor, .xForwardedHost, .xForwardedProto:
                continue
            }
        }
        return true
    }

    @usableFromInline static func dropListed(
        in fields: inout FieldTable, bytes: RawSpan, value: ByteRange, options: inout Int
    ) -> Bool {
        var rest = ListCursor(value)
        while let option = rest.next(in: bytes) {
            options &+= 1
            guard options <= optionLimit else { return false }
            for index in 0..<fields.count {
                let line = fields[index]
                guard line.name.count == option.count, line.known != .host, line.known != .contentLength
                else { continue }
                if bytes[line.name].equalsIgnoringCase(bytes[option]) { fields.drop(index) }
            }
        }
        return true
    }

    /// Whether Connection lists anything but what is said of the connection itself. It may name trailer fields too, which
    /// end here as well (§7.6.1) and come when the head is long gone.
    public static func listsFields(in fields: borrowing FieldTable, bytes: RawSpan) -> Bool {
        for index in 0..<fields.count where fields[index].known == .connection {
            var rest = ListCursor(fields[index].value)
            while let option = rest.next(in: bytes) {
                let name = bytes[option]
                if !isKeepAlive(name), !isClose(name), !name.equalsIgnoringCase("upgrade"),
                    !name.equalsIgnoringCase("te"), !name.equalsIgnoringCase("http2-settings")
                {
                    return true
                }
            }
        }
        return false
    }

    @inlinable static func isKeepAlive(_ value: RawSpan) -> Bool {
        value.byteCount == 10 && value.equalsIgnoringCase("keep-alive")
    }

    @inlinable static func isClose(_ value: RawSpan) -> Bool {
        value.byteCount == 5 && value.equalsIgnoringCase("close")
    }
}

/// What the Connection fields of a head say about the connection itself (RFC 9112 §9.3).
@frozen public struct ConnectionOptions: Sendable {
    public var isClose = false
    public var isKeepAlive = false
    /// `upgrade` is listed, without which an Upgrade field means nothing (RFC 9110 §7.8).
    public var isUpgrade = false

    @inlinable public init() {}

    /// Adds what the Connection value at `value` lists.
    @inlinable public mutating func add(_ value: ByteRange, of bytes: RawSpan) {
        if HopByHop.isKeepAlive(bytes[value]) {
            isKeepAlive = true
        } else if HopByHop.isClose(bytes[value]) {
            isClose = true
        } else {
            addList(value, of: bytes)
        }
    }

    @usableFromInline mutating func addList(_ value: ByteRange, of bytes: RawSpan) {
        var rest = ListCursor(value)
        while let option = rest.next(in: bytes) {
            let name = bytes[option]
            if HopByHop.isClose(name) { isClose = true }
            if HopByHop.isKeepAlive(name) { isKeepAlive = true }
            if name.equalsIgnoringCase("upgrade") { isUpgrade = true }
        }
    }

    /// Whether the connection persists after this message (RFC 9112 §9.3).
    @inlinable public func isPersistent(version: Version) -> Bool {
        !isClose && (version != .http10 || isKeepAlive)
    }
}

/// Goes through a comma-separated list of tokens (RFC 9110 §5.6.1): empty elements are passed over.
@frozen public struct ListCursor: Sendable {
    @usableFromInline var offset: Int
    @usableFromInline let end: Int

    @inlinable public init(_ value: ByteRange) {
        offset = value.lowerBound
        end = value.upperBound
    }

    /// The next element without the whitespace around it; `nil` when there is none left.
    @inlinable public mutating func next(in bytes: RawSpan) -> ByteRange? {
        while offset < end, bytes[offset] == 0x2c || isSpace(bytes[offset]) { offset &+= 1 }
        guard offset < end else { return nil }
        let start = offset
        while offset < end, bytes[offset] != 0x2c { offset &+= 1 }
        var last = offset
        while last > start, isSpace(bytes[last &- 1]) { last &-= 1 }
        return ByteRange(start: start, end: last)
    }

    @inlinable func isSpace(_ byte: UInt8) -> Bool { byte == 0x20 || byte == 0x09 }
}
