internal import COpenSSL
public import Memory

/// Why a session can go no further. Whatever OpenSSL has to say to the peer (an alert) lies in the output queue by then.
public enum TLSFailure: Error, Equatable, Sendable {
    /// The peer offers no cipher, group or signature algorithm that we allow.
    case noSharedCipher
    /// The peer speaks no version that we allow (or none that exists).
    case unsupportedVersion
    /// The peer spoke HTTP without TLS. It may be answered in kind: nothing was written yet.
    case plainHTTP
    /// A record or message that is not TLS, not in its place, or not authentic.
    case badRecord
    /// The connection ended in the middle: during the handshake, or without `close_notify` (RFC 8446 §6.1).
    case closedEarly
    /// The peer gave up, with this alert (RFC 8446 §6).
    case alertReceived(UInt8)
    /// The peer's ALPN list has nothing of ours; it was told `no_application_protocol` (RFC 7301 §3.2).
    case noSharedProtocol
    /// The peer's certificate is not one that we trust for its name; the code is that of `openssl-verification-options(1)`.
    case untrusted(code: Int32)
    /// The client asks for no name of ours, and the listener is strict; it was told `unrecognized_name` (RFC 6066 §3).
    case unknownServerName
    /// The client shows no certificate, and has to.
    case certificateMissing
    /// Any other code of OpenSSL's error queue (`openssl errstr` explains it in hexadecimal); 0 if it left none.
    case other(code: UInt32)

    /// A stable name for logs and metric labels.
    public var name: StaticString {
        switch self {
        case .noSharedCipher: "no_shared_cipher"
        case .unsupportedVersion: "unsupported_version"
        case .plainHTTP: "plain_http"
        case .badRecord: "bad_record"
        case .closedEarly: "closed_early"
        case .alertReceived: "alert_received"
        case .noSharedProtocol: "no_shared_protocol"
        case .untrusted: "untrusted"
        case .unknownServerName: "unknown_server_name"
        case .certificateMissing: "certificate_missing"
        case .other: "other"
        }
    }

    /// Appends the name and what more is known, in words: for a log, since it has OpenSSL's own.
    public func appendText(to block: inout Block) {
        block.append(name)
        switch self {
        case .untrusted(let code):
            unsafe TLSFailure.append(X509_verify_cert_error_string(Int(code)), to: &block)
        case .other(let code): unsafe TLSFailure.append(ERR_reason_error_string(UInt(code)), to: &block)
        case .alertReceived(let alert):
            unsafe TLSFailure.append(SSL_alert_desc_string_long(CInt(alert)), to: &block)
        case .noSharedCipher, .unsupportedVersion, .plainHTTP, .badRecord, .closedEarly, .noSharedProtocol,
            .unknownServerName, .certificateMissing:
            break
        }
    }

    private static func append(_ text: UnsafePointer<CChar>?, to block: inout Block) {
        guard let text = unsafe text else { return }
        var length = 0
        while length < 255, unsafe text[length] != 0 { length &+= 1 }
        block.append(": ")
        unsafe block.append(RawSpan(_unsafeStart: UnsafeRawPointer(text), byteCount: length))
    }

    /// Empties this thread's error queue and tells the first error that libssl put there, else the very first: a provider's
    /// "bad decrypt" stands before the reason that it is one.
    @inline(never) static func fromErrorQueue() -> TLSFailure {
        let first = ERR_get_error()
        var code = first
        while code != 0, ERR_GET_LIB(code) != ERR_LIB_SSL { code = ERR_get_error() }
        ERR_clear_error()
        return TLSFailure(code: code != 0 ? code : first)
    }

    init(code: UInt) {
        let reason = ERR_GET_REASON(code)
        guard ERR_GET_LIB(code) == ERR_LIB_SSL else {
            self = .other(code: UInt32(truncatingIfNeeded: code))
            return
        }
        switch reason {
        case SSL_R_NO_SHARED_CIPHER, SSL_R_NO_SUITABLE_SIGNATURE_ALGORITHM, SSL_R_NO_SUITABLE_KEY_SHARE,
            SSL_R_NO_SUITABLE_GROUPS, SSL_R_NO_CIPHERS_SPECIFIED:
            self = .noSharedCipher
        case SSL_R_UNSUPPORTED_PROTOCOL, SSL_R_VERSION_TOO_LOW, SSL_R_VERSION_TOO_HIGH,
            SSL_R_UNKNOWN_PROTOCOL,
            SSL_R_NO_PROTOCOLS_AVAILABLE, SSL_R_INAPPROPRIATE_FALLBACK:
            self = .unsupportedVersion
        case SSL_R_HTTP_REQUEST, SSL_R_HTTPS_PROXY_REQUEST: self = .plainHTTP
        case SSL_R_NO_APPLICATION_PROTOCOL: self = .noSharedProtocol
        case SSL_R_CALLBACK_FAILED: self = .unknownServerName
        case SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE: self = .certificateMissing
        case SSL_R_UNEXPECTED_EOF_WHILE_READING: self = .closedEarly
        case SSL_R_CERTIFICATE_VERIFY_FAILED: self = .untrusted(code: 0)
        case SSL_R_DECRYPTION_FAILED_OR_BAD_RECORD_MAC, SSL_R_DECRYPTION_FAILED, SSL_R_BAD_RECORD_TYPE,
            SSL_R_WRONG_VERSION_NUMBER, SSL_R_UNEXPECTED_MESSAGE, SSL_R_UNEXPECTED_RECORD,
            SSL_R_LENGTH_MISMATCH,
            SSL_R_LENGTH_TOO_SHORT, SSL_R_LENGTH_TOO_LONG, SSL_R_PACKET_LENGTH_TOO_LONG,
            SSL_R_ENCRYPTED_LENGTH_TOO_LONG, SSL_R_DATA_LENGTH_TOO_LONG, SSL_R_RECORD_LENGTH_MISMATCH,
            SSL_R_RECORD_TOO_SMALL, SSL_R_BAD_PACKET, SSL_R_BAD_LENGTH, SSL_R_BAD_EXTENSION,
            SSL_R_EXCESSIVE_MESSAGE_SIZE, SSL_R_NOT_ON_RECORD_BOUNDARY, SSL_R_INVALID_CCS_MESSAGE,
            SSL_R_UNEXPECTED_CCS_MESSAGE, SSL_R_INVALID_ALERT:
            self = .badRecord
        case SSL_AD_REASON_OFFSET..<(SSL_AD_REASON_OFFSET + 256):
            self = .alertReceived(UInt8(truncatingIfNeeded: reason - SSL_AD_REASON_OFFSET))
        default: self = .other(code: UInt32(truncatingIfNeeded: code))
        }
    }
}
