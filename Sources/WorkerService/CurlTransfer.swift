internal import CCurl
internal import Foundation
internal import Synchronization

/// Why a transfer brought no answer.
enum TransferFailure: Error, Equatable, Sendable, CustomStringConvertible {
    /// The name has no address, or the servers that would know do not answer.
    case unresolved
    case unreachable
    /// Every address of the name that was left is one that may not be asked; this was the last of them.
    case addressRefused(String)
    case timedOut
    case tls(String)
    /// The service stops.
    case stopped
    /// The mail server did not take our name and password.
    case loginRefused
    /// Anything else, in libcurl's words.
    case broken(String)

    var description: String {
        switch self {
        case .unresolved: "the name could not be resolved"
        case .unreachable: "no connection"
        case .addressRefused(let address): "the address \(address) may not be asked"
        case .timedOut: "no answer in time"
        case .tls(let text): "TLS: \(text)"
        case .stopped: "the service stops"
        case .loginRefused: "the server refused the login"
        case .broken(let text): text
        }
    }
}

/// Told once that what runs on another thread shall end.
final class StopFlag: Sendable {
    private let cell = Atomic<Bool>(false)

    var isSet: Bool { cell.load(ordering: .relaxed) }
    func set() { cell.store(true, ordering: .relaxed) }
}

/// One transfer of libcurl on a handle of its own, so that no connection is ever used twice and each is made under the
/// eyes of the guard. It blocks its thread; it is made, run and dropped there.
final class CurlTransfer {
    private static let isReady: Bool = ccurl_global_init() == CURLE_OK

    /// What is read of an answer. Only its status matters to us; the rest is read so that the peer sees it taken.
    static let answerLimitBytes = 65_536
    static let answerHeadLimitBytes = 65_536

    private let handle: UnsafeMutableRawPointer
    private let stop: StopFlag
    private let addresses: AddressGuard?
    private var lists: [UnsafeMutablePointer<curl_slist>] = []
    private var upload: [UInt8] = []
    private var uploaded = 0
    private var headBytes = 0
    private var bodyBytes = 0
    private var refused: String?

    /// `addresses`: Asked for each address that a connection is about to be made to; `nil` allows all, for the mail server
    ///   that the operator names.
    init(url: String, protocols: String, timeout: Duration, addresses: AddressGuard?, stop: StopFlag) throws {
        guard Self.isReady, let handle = curl_easy_init() else { throw TransferFailure.broken("no libcurl") }
        self.handle = handle
        self.stop = stop
        self.addresses = addresses
        try set(CURLOPT_URL, url)
        try set(CURLOPT_PROTOCOLS_STR, protocols)
        // A proxy that the environment names would make the connection in our place, and the guard would see the proxy.
        try set(CURLOPT_PROXY, "")
        try set(CURLOPT_NOPROXY, "*")
        try set(CURLOPT_FOLLOWLOCATION, 0)
        try set(CURLOPT_NETRC, 0)
        try set(CURLOPT_NOSIGNAL, 1)
        // A resolver that hangs is left behind, or the time limit would wait for it.
        try set(CURLOPT_QUICK_EXIT, 1)
        let milliseconds = Int(timeout.components.seconds) * 1_000
        try set(CURLOPT_TIMEOUT_MS, milliseconds)
        try set(CURLOPT_CONNECTTIMEOUT_MS, max(1, milliseconds / 2))
        try watch()
    }

    deinit {
        curl_easy_cleanup(handle)
        for list in lists { curl_slist_free_all(list) }
    }

    func set(_ option: CURLoption, _ value: Int) throws {
        try check(ccurl_set_number(handle, option, value))
    }

    func set(_ option: CURLoption, _ value: String) throws {
        // libcurl takes C strings: what follows a zero byte would be lost.
        guard !value.utf8.contains(0) else { throw TransferFailure.broken("a zero byte in a setting") }
        try check(ccurl_set_text(handle, option, value))
    }

    func set(_ option: CURLoption, _ values: [String]) throws {
        var list: UnsafeMutablePointer<curl_slist>?
        for value in values {
            guard !value.utf8.contains(0), let longer = curl_slist_append(list, value) else {
                curl_slist_free_all(list)
                throw TransferFailure.broken("a list could not be made")
            }
            list = longer
        }
        if let list { lists.append(list) }
        try check(ccurl_set_list(handle, option, list))
    }

    /// The bytes that are sent as the body of a POST.
    func setBody(_ bytes: [UInt8]) throws {
        try set(CURLOPT_POST, 1)
        try set(CURLOPT_POSTFIELDSIZE, bytes.count)
        let code = bytes.withUnsafeBufferPointer { buffer -> CURLcode in
            guard let base = buffer.baseAddress else {
                return ccurl_set_text(handle, CURLOPT_COPYPOSTFIELDS, "")
            }
            return base.withMemoryRebound(to: CChar.self, capacity: buffer.count) {
                ccurl_set_text(handle, CURLOPT_COPYPOSTFIELDS, $0)
            }
        }
        try check(code)
    }

    /// The bytes that are uploaded: a mail.
    func setUpload(_ bytes: [UInt8]) throws {
        upload = bytes
        try set(CURLOPT_UPLOAD, 1)
        try check(ccurl_on_upload(handle, Self.onUpload, own))
    }

    /// Runs it. Returns the last status that the peer gave, 0 when it gave none; throws when the exchange broke off, with that
    /// status beside the reason.
    func run() -> (status: Int, failure: TransferFailure?) {
        let code = curl_easy_perform(handle)
        var status = 0
        _ = ccurl_number(handle, CURLINFO_RESPONSE_CODE, &status)
        if code == CURLE_OK { return (status, nil) }
        // Cut off by us, after its status had come.
        if code == CURLE_WRITE_ERROR, status != 0, bodyBytes > Self.answerLimitBytes { return (status, nil) }
        return (status, failure(code))
    }

    /// The seconds that an answer asked us to wait (RFC 9110 §10.2.3), as far ahead as it likes; 0 when it said nothing.
    var retryAfterSeconds: Int64 { max(0, Int64(ccurl_retry_after(handle))) }

    private func failure(_ code: CURLcode) -> TransferFailure {
        if stop.isSet { return .stopped }
        switch code {
        case CURLE_COULDNT_RESOLVE_HOST: return .unresolved
        case CURLE_COULDNT_CONNECT: return refused.map { .addressRefused($0) } ?? .unreachable
        case CURLE_OPERATION_TIMEDOUT: return .timedOut
        case CURLE_LOGIN_DENIED: return .loginRefused
        case CURLE_SSL_CONNECT_ERROR, CURLE_PEER_FAILED_VERIFICATION, CURLE_USE_SSL_FAILED:
            return .tls(String(cString: curl_easy_strerror(code)))
        default: return .broken(String(cString: curl_easy_strerror(code)))
        }
    }

    private func check(_ code: CURLcode) throws {
        guard code == CURLE_OK else {
            throw TransferFailure.broken(String(cString: curl_easy_strerror(code)))
        }
    }

    // MARK: What libcurl calls, on the thread that runs the transfer

    private var own: UnsafeMutableRawPointer { Unmanaged.passUnretained(self).toOpaque() }

    private static func transfer(_ state: UnsafeMutableRawPointer?) -> CurlTransfer? {
        state.map { Unmanaged<CurlTransfer>.fromOpaque($0).takeUnretainedValue() }
    }

    private func watch() throws {
        try check(ccurl_on_bytes(handle, CURLOPT_HEADERFUNCTION, Self.onHead, CURLOPT_HEADERDATA, own))
        try check(ccurl_on_bytes(handle, CURLOPT_WRITEFUNCTION, Self.onBody, CURLOPT_WRITEDATA, own))
        try check(ccurl_on_progress(handle, Self.onProgress, own))
        if addresses != nil { try check(ccurl_on_socket(handle, Self.onSocket, own)) }
    }

    private static let onHead: curl_write_callback = { _, size, count, state in
        guard let transfer = transfer(state) else { return 0 }
        transfer.headBytes += size * count
        return transfer.headBytes <= answerHeadLimitBytes ? size * count : 0
    }

    private static let onBody: curl_write_callback = { _, size, count, state in
        guard let transfer = transfer(state) else { return 0 }
        transfer.bodyBytes += size * count
        return transfer.bodyBytes <= answerLimitBytes ? size * count : 0
    }

    private static let onUpload: curl_read_callback = { buffer, size, count, state in
        guard let transfer = transfer(state), let buffer else { return 0 }
        let length = min(size * count, transfer.upload.count - transfer.uploaded)
        transfer.upload.withUnsafeBytes { bytes in
            UnsafeMutableRawBufferPointer(start: buffer, count: length)
                .copyMemory(from: .init(rebasing: bytes[transfer.uploaded..<transfer.uploaded + length]))
        }
        transfer.uploaded += length
        return length
    }

    private static let onProgress: curl_xferinfo_callback = { state, _, _, _, _ in
        transfer(state)?.stop.isSet == true ? 1 : 0
    }

    private static let onSocket: curl_opensocket_callback = { state, _, address in
        guard let transfer = transfer(state), let address, let guardian = transfer.addresses,
            let found = NetworkAddress(ccurl_address(address), lengthBytes: Int(address.pointee.addrlen))
        else { return ccurl_no_socket() }
        guard guardian.allows(found) else {
            transfer.refused = found.description
            return ccurl_no_socket()
        }
        return ccurl_open(address)
    }
}
