/// Why a handshake with a client failed, for the counter that tells how often. Closed: the case's number is its place among the
/// counters.
public enum HandshakeFailure: Int, CaseIterable, Sendable {
    case noSharedCipher, unsupportedVersion, plainHTTP, badRecord, closedEarly, alertReceived
    case noSharedProtocol, untrusted, unknownServerName, certificateMissing, timedOut, other

    /// The label of the counter, and the beginning of the reason in the error log.
    public var name: String {
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
        case .timedOut: "timed_out"
        case .other: "other"
        }
    }
}
