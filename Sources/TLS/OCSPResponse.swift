internal import COpenSSL

/// Why a response is not stapled. A server without one is as good as it was before there were any, so this refuses nothing.
public enum OCSPFlaw: Error, Equatable, Sendable {
    case malformed
    /// The responder had no answer (RFC 6960 §2.3).
    case unsuccessful
    case otherCertificate
    /// Revoked, or not known.
    case notGood
    case hasNoEnd
    case notYetValid
    case expired

    /// What is wrong, to be put after the name of the file.
    public var reason: String {
        switch self {
        case .malformed: "not an OCSP response in DER"
        case .unsuccessful: "the responder answered with an error"
        case .otherCertificate: "it is about none of this listener's certificates"
        case .notGood: "it does not say that the certificate is good"
        case .hasNoEnd: "it does not say until when it holds"
        case .notYetValid: "its time has not begun"
        case .expired: "its time is over"
        }
    }
}

/// An OCSP response (RFC 6960) that may be stapled: it is about one of the server's certificates, and good.
public struct OCSPResponse: Sendable {
    let bytes: [UInt8]
    /// Where it was read from.
    public let file: String
    /// Which of the certificates it is about.
    public let pair: Int
    /// In seconds since 1970; from then on it is not stapled.
    public let endSeconds: Int64

    /// Two clocks need not agree to the second.
    static let toleranceSeconds: Int64 = 300

    /// `nowSeconds` since 1970. The certificates must be such as a server can be made with.
    public init(
        _ bytes: [UInt8], certificates: [TLSCertificate], nowSeconds: Int64, file: String = ""
    ) throws(OCSPFlaw) {
        var found = OCSPFlaw.otherCertificate
        for (index, files) in certificates.enumerated() {
            guard let pair = try? CertificatePair(files, pair: index) else { continue }
            var (begin, end): (Int64, Int64) = (0, 0)
            let verdict = unsafe copenssl_read_ocsp(bytes, bytes.count, pair.certificate, &begin, &end)
            ERR_clear_error()
            switch Int(verdict) {
            case COPENSSL_OCSP_GOOD:
                guard begin <= nowSeconds + OCSPResponse.toleranceSeconds else { throw .notYetValid }
                guard end > nowSeconds else { throw .expired }
                self.bytes = bytes
                self.file = file
                self.pair = index
                endSeconds = end
                return
            case COPENSSL_OCSP_MALFORMED: found = .malformed
            case COPENSSL_OCSP_UNSUCCESSFUL: found = .unsuccessful
            case COPENSSL_OCSP_NOT_GOOD: throw .notGood
            case COPENSSL_OCSP_NO_END: throw .hasNoEnd
            default: continue
            }
        }
        throw found
    }
}

/// What an SSL_CTX staples: a copy of the response, until when, and beside which certificate.
@unsafe struct Staple {
    let bytes: UnsafeMutablePointer<UInt8>
    let count: Int
    let end: UnsafeMutablePointer<ASN1_TIME>
    /// The SSL_CTX that this hangs on owns it.
    let certificate: OpaquePointer
    /// Of another certificate of the same SSL_CTX.
    let next: UnsafeMutablePointer<Staple>?

    /// A chain that begins with `response`, or `next` where there is no memory for it.
    static func make(
        _ response: OCSPResponse, certificate: OpaquePointer, next: UnsafeMutablePointer<Staple>?
    ) -> UnsafeMutablePointer<Staple>? {
        guard let end = unsafe ASN1_TIME_set(nil, Int(response.endSeconds)) else { return unsafe next }
        let bytes = UnsafeMutablePointer<UInt8>.allocate(capacity: max(response.bytes.count, 1))
        for (offset, byte) in response.bytes.enumerated() { unsafe (bytes + offset).initialize(to: byte) }
        let made = UnsafeMutablePointer<Staple>.allocate(capacity: 1)
        unsafe made.initialize(
            to: Staple(
                bytes: bytes, count: response.bytes.count, end: end, certificate: certificate, next: next))
        return unsafe made
    }

    static func free(_ staple: UnsafeMutablePointer<Staple>) {
        if let next = unsafe staple.pointee.next { unsafe free(next) }
        unsafe ASN1_TIME_free(staple.pointee.end)
        unsafe staple.pointee.bytes.deallocate()
        unsafe staple.deallocate()
    }
}

/// RFC 6066 §8: asked when the client wants a response and the certificate is chosen.
func stapleResponse(_ session: OpaquePointer?, _ argument: UnsafeMutableRawPointer?) -> CInt {
    guard let note = unsafe ServerNote.of(SSL_get_SSL_CTX(session)) else { return SSL_TLSEXT_ERR_NOACK }
    var found = unsafe note.pointee.staple
    while let each = unsafe found, unsafe SSL_get_certificate(session) != each.pointee.certificate {
        unsafe found = each.pointee.next
    }
    guard let staple = unsafe found, unsafe X509_cmp_current_time(staple.pointee.end) > 0,
        unsafe copenssl_staple(session, staple.pointee.bytes, staple.pointee.count) == 1
    else { return SSL_TLSEXT_ERR_NOACK }
    return SSL_TLSEXT_ERR_OK
}
