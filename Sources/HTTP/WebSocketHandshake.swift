public import Memory

/// What the two heads of a WebSocket handshake over HTTP/1.1 must say (RFC 6455 §4). Pure: whether the answer proves
/// that the key was read is for who can hash.
public enum WebSocketHandshake {
    /// Characters of `Sec-WebSocket-Key`: the Base64 of 16 bytes (§4.1).
    @inlinable public static var keyCount: Int { 24 }

    /// The value of `Sec-WebSocket-Key` of a request that asks for nothing but a WebSocket, `nil` where anything that §4.2.1
    /// wants is missing, repeated or of another form: such a request means what it would without its Upgrade (RFC 9110
    /// §7.8), and upgrades nothing. That Connection lists `upgrade` is the caller's to know.
    public static func requestKey(of head: borrowing RequestHead, bytes: RawSpan) -> ByteRange? {
        guard head.method == .get, head.version == .http11,
            head.framing == .none || head.framing == .length(0)
        else { return nil }
        var isListed = false
        var versions = 0
        var key: ByteRange?
        for index in 0..<head.fields.count {
            let line = head.fields[index]
            switch line.known {
            case .upgrade: isListed = isListed || lists(line.value, bytes)
            case .other:
                guard isOfHandshake(bytes[line.name]) else { continue }
                let name = bytes[line.name]
                if name.equalsIgnoringCase("sec-websocket-key") {
                    guard key == nil, isKey(bytes[line.value]) else { return nil }
                    key = line.value
                } else if name.equalsIgnoringCase("sec-websocket-version") {
                    guard !line.value.isEmpty else { return nil }
                    versions &+= 1
                }
            default: continue
            }
        }
        return isListed && versions == 1 ? key : nil
    }

    /// The index of the `Sec-WebSocket-Accept` line of a 101, `nil` where the head is not what §4.1 wants of one: Connection
    /// lists `upgrade`, one Upgrade says `websocket` and nothing else, one Accept stands there, and no body is announced.
    public static func acceptLine(of head: borrowing ResponseHead, bytes: RawSpan) -> Int? {
        guard head.status == 101, head.version == .http11 else { return nil }
        var connection = ConnectionOptions()
        var upgrades = 0
        var accept: Int?
        for index in 0..<head.fields.count {
            let line = head.fields[index]
            switch line.known {
            case .connection: connection.add(line.value, of: bytes)
            case .upgrade:
                guard bytes[line.value].equalsIgnoringCase("websocket") else { return nil }
                upgrades &+= 1
            // RFC 9112 §6.1: none may stand in a 1xx, and behind this one the bytes have no framing of HTTP any more.
            case .transferEncoding: return nil
            case .other where bytes[line.name].equalsIgnoringCase("sec-websocket-accept"):
                guard accept == nil else { return nil }
                accept = index
            default: continue
            }
        }
        return connection.isUpgrade && upgrades == 1 ? accept : nil
    }

    /// Whether a field of that name belongs to the handshake.
    public static func isOfHandshake(_ name: RawSpan) -> Bool {
        name.byteCount > 14 && name.extracting(0..<14).equalsIgnoringCase("sec-websocket-")
    }

    private static func lists(_ value: ByteRange, _ bytes: RawSpan) -> Bool {
        var rest = ListCursor(value)
        while let name = rest.next(in: bytes) {
            if bytes[name].equalsIgnoringCase("websocket") { return true }
        }
        return false
    }

    private static func isKey(_ value: RawSpan) -> Bool {
        guard value.byteCount == keyCount, value[22] == UInt8(ascii: "="), value[23] == UInt8(ascii: "=")
        else {
            return false
        }
        for index in 0..<22 {
            let byte = value[index]
            let letter = (byte | 0x20) &- UInt8(ascii: "a")
            guard letter < 26 || byte.isDigit || byte == UInt8(ascii: "+") || byte == UInt8(ascii: "/") else {
                return false
            }
        }
        return true
    }
}
