import TLS
import Telemetry
import Testing

@testable import Proxy

@Suite("Failed handshakes") struct HandshakeFailureTests {
    @Test(
        "are counted under the name that the log tells",
        arguments: [
            .noSharedCipher, .unsupportedVersion, .plainHTTP, .badRecord, .closedEarly, .alertReceived(48),
            .noSharedProtocol, .untrusted(code: 18), .unknownServerName, .certificateMissing, .other(code: 1),
        ] as [TLSFailure])
    func names(failure: TLSFailure) {
        #expect("\(failure.name)" == Worker.kind(of: failure).name)
    }
}
