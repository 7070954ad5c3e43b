import Config
import HTTP
import HTTP1
import JWT
import LinuxIO
import Memory
import Reactor
import TLS

/// Why a key set could not be had. Each has a name that the metrics count it by, and words for the log.
enum KeyFetchFailure: Error, Equatable, Sendable {
    case resolve(String)
    case connect(String)
    case tls(String)
    case timeout
    case status(Int)
    /// Redirects are not followed: the address in the configuration is the one that is trusted.
    case redirect(Int)
    /// Not HTTP, or not framed so that its end is certain.
    case notHTTP
    case truncated
    case tooLarge
    /// What came is no key set, and why.
    case invalid(String)
    /// The gateway itself was short of something.
    case own(String)

    var name: String {
        switch self {
        case .resolve: "resolve"
        case .connect: "connect"
        case .tls: "tls"
        case .timeout: "timeout"
        case .status: "status"
        case .redirect: "redirect"
        case .notHTTP: "not_http"
        case .truncated: "truncated"
        case .tooLarge: "too_large"
        case .invalid: "invalid"
        case .own: "own"
        }
    }

    var text: String {
        switch self {
        case .resolve(let reason): "the name cannot be resolved: \(reason)"
        case .connect(let reason): "no connection: \(reason)"
        case .tls(let reason): "no secure connection: \(reason)"
        case .timeout: "no whole answer within \(KeyFetch.timeLimit / 1_000_000_000) s"
        case .status(let status): "the answer has status \(status)"
        case .redirect(let status): "the answer is a redirect (\(status)), which is not followed"
        case .notHTTP: "the answer is not valid HTTP"
        case .truncated: "the answer was cut short"
        case .tooLarge: "the answer is larger than \(KeyFetch.mostBytes) bytes"
        case .invalid(let reason): "the answer is no key set: \(reason)"
        case .own(let reason): reason
        }
    }
}

/// A body, and for how long its sender says that it is fresh.
struct KeyAnswer: Sendable, Equatable {
    let bytes: [UInt8]
    /// Seconds, of `Cache-Control: max-age`; 0 where it must not be kept; `nil` where nothing is said.
    let maxAgeSeconds: Int?
}

/// One GET of a key set, without waiting: it is told what the poller saw, and says whether it is over.
///
/// Limits: `timeLimit` for all of it (its owner sets the timer), `mostBytes` of body, `headBytes` of a head, `mostInterim` heads
/// before the final one. Redirects are refused.
struct KeyFetch: ~Copyable {
    static let timeLimit: UInt64 = 5_000_000_000
    static let mostBytes = KeySet.mostBytes
    static let headBytes = 12288
    static let mostInterim = 8
    static var limits: AnswerLimits {
        AnswerLimits(headBytes: headBytes, fields: 64, interimHeads: mostInterim, bodyBytes: mostBytes)
    }

    enum Step: Equatable {
        /// The poller will tell more.
        case waiting
        case done(KeyAnswer)
        case failed(KeyFetchFailure)
    }

    private enum Phase { case connecting, handshake, asking }

    private let url: KeyURL
    /// Whose fetch this is.
    let source: UInt64
    private let addresses: [SocketAddress]
    private let client: TLSClient?
    var timer = TimerID.none
    private var nextAddress = 0
    private var descriptor: Descriptor?
    private var tls: TLSSession?
    private var phase = Phase.connecting
    private var ciphertext = ByteQueue()
    private var inbound = ByteQueue()
    private var plaintext = ByteQueue()
    private var outbound = ByteQueue()
    private var hasEnded = false
    private var reader = AnswerReader(limits: KeyFetch.limits)

    /// `client` where the URL is https; `addresses` are tried in their order.
    init(url: KeyURL, source: UInt64, addresses: [SocketAddress], client: consuming TLSClient?) {
        self.url = url
        self.source = source
        self.addresses = addresses
        self.client = client
    }

    /// Connects to the next address; `token` is what the poller tells about it.
    mutating func connect(_ token: Token, _ loop: inout EventLoop) -> Step {
        var reason = "no address"
        while nextAddress < addresses.count {
            let address = addresses[nextAddress]
            nextAddress += 1
            do throws(SystemError) {
                let made = try Sockets.connect(to: address)
                try loop.add(made.number, token, .readingAndWriting)
                descriptor = consume made
                phase = .connecting
                return .waiting
            } catch {
                reason = error.text
            }
        }
        return .failed(.connect(reason))
    }

    /// Takes the connection out of the poller.
    mutating func leave(_ loop: inout EventLoop) {
        loop.timers.cancel(timer)
        if let number = descriptor?.number { loop.remove(number) }
    }

    /// Something happened on the connection.
    mutating func ready(_ token: Token, from pool: borrowing BlockPool, _ loop: inout EventLoop) -> Step {
        if phase == .connecting {
            if let error = descriptor?.connectError() {
                leaveAddress(&loop)
                return nextAddress < addresses.count ? connect(token, &loop) : .failed(.connect(error.text))
            }
            if let failure = greet(from: pool) { return .failed(failure) }
        }
        while true {
            if phase == .handshake {
                switch shakeHands(from: pool) {
                case .waiting where phase == .handshake: break
                case .waiting: continue
                case let step: return step
                }
            } else {
                if let step = look(from: pool) { return step }
            }
            switch receive(from: pool) {
            case .bytes: continue
            case .wouldBlock: return .waiting
            case .ended:
                hasEnded = true
                if phase == .handshake { return .failed(.tls("closed_early")) }
                return look(from: pool) ?? .failed(.truncated)
            case .outOfBlocks: return .failed(.own("no block to read into"))
            case .failed(let error): return .failed(.connect(error.text))
            }
        }
    }

    private mutating func leaveAddress(_ loop: inout EventLoop) {
        if let number = descriptor?.number { loop.remove(number) }
        descriptor = nil
    }

    // MARK: The connection

    /// The connection stands: what is said first.
    private mutating func greet(from pool: borrowing BlockPool) -> KeyFetchFailure? {
        // RFC 9110 §12.5.3: without coding, which we would have to undo.
        let request =
            "GET \(url.target) HTTP/1.1\r\nHost: \(url.authority)\r\nAccept: application/jwk-set+json, application/json\r\n"
            + "Accept-Encoding: identity\r\nUser-Agent: gatehouse\r\nConnection: close\r\n\r\n"
        guard plaintext.append(Array(request.utf8).rawSpan, from: pool) else {
            return .own("no block to write into")
        }
        guard url.isSecure else {
            phase = .asking
            return flush(from: pool)
        }
        phase = .handshake
        switch url.host {
        case .address(let address): secure(address.networkBytes, isAddress: true)
        case .name(let text): secure(Array(text.utf8), isAddress: false)
        case .unix: return .own("a socket in the file system is no place for keys")
        }
        return tls == nil ? .own("no memory for TLS") : nil
    }

    private mutating func secure(_ name: [UInt8], isAddress: Bool) {
        tls = client?.makeSession(serverName: name.rawSpan, isAddress: isAddress, endpoint: 0)
    }

    private mutating func shakeHands(from pool: borrowing BlockPool) -> Step {
        let step =
            tls?.handshake(ciphertext: &ciphertext, output: &outbound, pool: pool) ?? .failed(.closedEarly)
        let flushed = send()
        switch step {
        case .done:
            phase = .asking
            return flush(from: pool).map { .failed($0) } ?? .waiting
        case .wantsRead: return flushed.map { .failed($0) } ?? .waiting
        case .outOfBlocks: return .failed(.own("no block for TLS"))
        case .failed(let failure): return .failed(.tls(KeyFetch.text(of: failure)))
        }
    }

    private static func text(of failure: TLSFailure) -> String {
        let pool = BlockPool(blockBytes: 1024, limit: 1)
        guard var block = pool.take() else { return "\(failure.name)" }
        failure.appendText(to: &block)
        return block.bytes.text
    }

    /// Encrypts and hands to the kernel what waits. What it does not take waits for the poller.
    private mutating func flush(from pool: borrowing BlockPool) -> KeyFetchFailure? {
        if tls != nil {
            let step = tls?.write(plaintext: &plaintext, output: &outbound, pool: pool, limit: .max)
            if case .failed(let failure) = step { return .tls(KeyFetch.text(of: failure)) }
        } else {
            outbound.append(contentsOf: &plaintext)
        }
        return send()
    }

    private mutating func send() -> KeyFetchFailure? {
        while !outbound.isEmpty {
            switch descriptor?.send(from: &outbound) ?? .ended {
            case .bytes: continue
            case .wouldBlock, .outOfBlocks: return nil
            // Its answer may be there all the same: a refusal that did not wait for the request.
            case .ended, .failed: return nil
            }
        }
        return nil
    }

    private mutating func receive(from pool: borrowing BlockPool) -> IOStep {
        if tls != nil {
            return descriptor?.receive(into: &ciphertext, from: pool) ?? .ended
        }
        return descriptor?.receive(into: &inbound, from: pool) ?? .ended
    }

    // MARK: The answer

    /// Looks at what has come. `nil` when more has to come.
    private mutating func look(from pool: borrowing BlockPool) -> Step? {
        if let failure = flush(from: pool) { return .failed(failure) }
        if tls != nil {
            let step = tls?.read(
                ciphertext: &ciphertext, plaintext: &inbound, output: &outbound, pool: pool,
                limit: KeyFetch.mostBytes)
            switch step {
            case .progress: break
            case .closed: hasEnded = true
            case .outOfBlocks, nil: return .failed(.own("no block to decrypt into"))
            case .failed(let failure): return .failed(.tls(KeyFetch.text(of: failure)))
            }
        }
        // Over TLS an end that was not said may be anybody's.
        let isSure = tls == nil || tls?.inputEnd == .clean
        var come = ByteQueue()
        swap(&come, &inbound)
        let step = reader.read(&come, hasEnded ? isSure ? .ended : .cut : .open, from: pool)
        swap(&come, &inbound)
        switch step {
        case .more: return nil
        case .done:
            return .done(KeyAnswer(bytes: reader.body, maxAgeSeconds: reader.maxAgeSeconds))
        case .failed(.status(let status)):
            return .failed(status / 100 == 3 ? .redirect(status) : .status(status))
        case .failed(.notHTTP): return .failed(.notHTTP)
        case .failed(.truncated): return .failed(.truncated)
        case .failed(.tooLarge): return .failed(.tooLarge)
        case .failed(.outOfBlocks): return .failed(.own("no block to keep"))
        }
    }
}

// What a fetch needs, found by those who may wait.
extension KeyFetch {
    static func addresses(
        of url: KeyURL, while isWanted: () -> Bool
    ) throws(KeyFetchFailure) -> [SocketAddress] {
        switch url.host {
        case .address(let host):
            return [SocketAddress(bytes: host.mappedBytes, port: url.port, isV6: !host.isIPv4)]
        case .name(let name):
            do throws(Resolver.Failure) {
                return try Resolver.resolve(host: name, port: url.port, while: isWanted)
            } catch {
                throw .resolve(error.text)
            }
        case .unix: return []
        }
    }

    /// For https: whom to trust, read anew each time, since authorities come and go.
    static func client(for url: KeyURL) throws(KeyFetchFailure) -> TLSClient? {
        guard url.isSecure else { return nil }
        do throws(TLSSettingsError) {
            return try TLSClient(
                TLSClientSettings(
                    authorities: nil, certificate: nil, applicationProtocol: .http11, endpoints: 1))
        } catch {
            throw .tls(error.reason)
        }
    }
}
