public import Memory

// Names as little-endian words, bit 5 set in each byte: one or two compares a name. The comment beside each is the text
// that it stands for; the test of this table feeds every name in three spellings.
extension FieldNames {
    /// Names of 2 to 7 bytes; `word` holds them, zero above.
    @inlinable static func classifyShort(_ word: UInt64, count: Int) -> KnownField {
        let name = word | caseBits
        switch count {
        case 2:
            if name == 0x2020_2020_2020_6574 { return .te }  // te
        case 3:
            if name == 0x2020_2020_2061_6976 { return .via }  // via
        case 4:
            if name == 0x2020_2020_7473_6f68 { return .host }  // host
            if name == 0x2020_2020_6574_6164 { return .date }  // date
        case 6:
            if name == 0x2020_6569_6b6f_6f63 { return .cookie }  // cookie
            if name == 0x2020_7463_6570_7865 { return .expect }  // expect
            if name == 0x2020_7265_7672_6573 { return .server }  // server
        case 7:
            if name == 0x2072_656c_6961_7274 { return .trailer }  // trailer
            if name == 0x2065_6461_7267_7075 { return .upgrade }  // upgrade
        default: break
        }
        return .other
    }

    /// Names of 8 bytes and more: `first` is their first word, as it came.
    @inlinable static func classifyLong(_ name: RawSpan, first: UInt64) -> KnownField {
        let count = name.byteCount
        let head = first | caseBits
        let tail = name.word(at: count &- 8) | caseBits
        switch count {
        case 9:
            if head == 0x6564_7261_7772_6f66, tail == 0x6465_6472_6177_726f {
                return .forwarded  // forwarded
            }
        case 10:
            if head == 0x6974_6365_6e6e_6f63, tail == 0x6e6f_6974_6365_6e6e {
                return .connection  // connection
            }
            if head == 0x696c_612d_7065_656b, tail == 0x6576_696c_612d_7065 {
                return .keepAlive  // keep-alive
            }
        case 13:
            if head == 0x7a69_726f_6874_7561, tail == 0x6e6f_6974_617a_6972 {
                return .authorization  // authorization
            }
        case 14:
            if head == 0x2d74_6e65_746e_6f63, tail == 0x6874_676e_656c_2d74 {
                return .contentLength  // content-length
            }
            if head == 0x6573_2d32_7074_7468, tail == 0x7367_6e69_7474_6573 {
                return .http2Settings  // http2-settings
            }
        case 15:
            if head == 0x7261_7772_6f66_2d78, tail == 0x726f_662d_6465_6472 {
                return .xForwardedFor  // x-forwarded-for
            }
        case 16:
            if head == 0x6f63_2d79_786f_7270, tail == 0x6e6f_6974_6365_6e6e {
                return .proxyConnection  // proxy-connection
            }
            if head == 0x7261_7772_6f66_2d78, tail == 0x7473_6f68_2d64_6564 {
                return .xForwardedHost  // x-forwarded-host
            }
        case 17:
            if head == 0x7265_6673_6e61_7274, tail == 0x676e_6964_6f63_6e65,
                isMiddle(name, 0x6e69_646f_636e_652d)
            {
                return .transferEncoding  // transfer-encoding
            }
            if head == 0x7261_7772_6f66_2d78, tail == 0x6f74_6f72_702d_6465,
                isMiddle(name, 0x746f_7270_2d64_6564)
            {
                return .xForwardedProto  // x-forwarded-proto
            }
        case 18:
            if head == 0x7561_2d79_786f_7270, tail == 0x6574_6163_6974_6e65,
                isMiddle(name, 0x6163_6974_6e65_6874)
            {
                return .proxyAuthenticate  // proxy-authenticate
            }
        case 19:
            if head == 0x7561_2d79_786f_7270, tail == 0x6e6f_6974_617a_6972,
                isMiddle(name, 0x7461_7a69_726f_6874)
            {
                return .proxyAuthorization  // proxy-authorization
            }
        default: break
        }
        return .other
    }

    /// Whether the second word of a name longer than 16 bytes is `word`.
    @inlinable static func isMiddle(_ name: RawSpan, _ word: UInt64) -> Bool {
        name.word(at: 8) | caseBits == word
    }
}
