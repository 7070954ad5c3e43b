public import Foundation
internal import NIOCore
internal import NIOHTTP1
internal import Synchronization

/// An `http` address of another service. It can be made before the port is known, and told it later.
public final class Origin: Sendable {
    private let cell: Mutex<Target?>

    /// Where a request goes.
    public struct Target: Hashable, Sendable {
        public let host: String
        public let port: Int
        /// Put before each path; empty or begins with a slash.
        public let path: String

        public init(host: String, port: Int, path: String = "") {
            self.host = host
            self.port = port
            self.path = path
        }
    }

    public init(_ target: Target?) {
        cell = Mutex(target)
    }

    /// `url`: `http://host[:port][/path]`. `nil` for anything else: these are services of one machine or one
    ///   private network, and TLS between them is the gateway's affair.
    public convenience init?(url: String) {
        guard let parts = URLComponents(string: url), parts.scheme == "http", let host = parts.host,
            !host.isEmpty, parts.query == nil, parts.fragment == nil, parts.user == nil
        else { return nil }
        self.init(Target(host: host, port: parts.port ?? 80, path: parts.percentEncodedPath))
    }

    /// `nil` until the port is known.
    public var target: Target? {
        get { cell.withLock { $0 } }
        set { cell.withLock { $0 = newValue } }
    }
}

/// Asks other services over HTTP/1.1. Connections are kept for the next request of the same client.
public struct OutboundClient: Sendable {
    /// An answer, its body whole.
    public struct Answer: Sendable {
        public let status: Int
        public let fields: [(name: String, value: String)]
        public let body: Data

        /// The first field of that name, compared without regard to case.
        public func field(_ name: String) -> String? {
            fields.first { $0.name.lowercased() == name.lowercased() }?.value
        }
    }

    public enum Failure: Error, Equatable {
        /// The origin's port is not known yet.
        case unknownOrigin
        /// No whole answer within the time limit.
        case timedOut
        /// The connection ended before the answer did.
        case endedEarly
        /// The answer's body is longer than the limit.
        case tooLong
    }

    private let timeout: Duration
    private let connectTimeout: Duration
    private let answerLimitBytes: Int
    private let shelf = ConnectionShelf()

    /// `connectTimeout`: A part of `timeout`: where nobody takes the connection, another attempt may do better.
    public init(
        timeout: Duration = .seconds(5), connectTimeout: Duration = .seconds(2),
        answerLimitBytes: Int = 1 << 20
    ) {
        self.timeout = timeout
        self.connectTimeout = connectTimeout
        self.answerLimitBytes = answerLimitBytes
    }

    /// Sends one request and reads its answer whole.
    /// `path`: Begins with a slash, percent-encoded.
    /// `timeout`: Of this request; `nil` means the client's.
    /// `isRepeatable`: Whether it does no harm twice; `nil` means what the method says (RFC 9110 §9.2.2). Such a request is
    ///   sent once more when a kept connection ends before a byte of the answer: the other side had closed it meanwhile.
    public func send(
        _ method: String, _ origin: Origin, _ path: String, fields: [(String, String)] = [],
        body: Data? = nil, timeout: Duration? = nil, isRepeatable: Bool? = nil
    ) async throws -> Answer {
        guard let target = origin.target else { throw Failure.unknownOrigin }
        let request = OutboundRequest(
            head: head(method, target, path, fields: fields, body: body), body: body,
            answerLimitBytes: answerLimitBytes)
        let deadline = NIODeadline.now() + TimeAmount(timeout ?? self.timeout)
        let isRepeatable = isRepeatable ?? ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"].contains(method)
        if let kept = shelf.take(target) {
            do {
                return try await exchange(request, kept, target, deadline)
            } catch OutboundConnection.Fault.endedUnanswered where isRepeatable && !Task.isCancelled {
            } catch OutboundConnection.Fault.endedUnanswered {
                throw Failure.endedEarly
            }
        }
        do {
            let connection = try await OutboundConnection.open(target, deadline, atMost: connectTimeout)
            return try await exchange(request, connection, target, deadline)
        } catch OutboundConnection.Fault.endedUnanswered {
            throw Failure.endedEarly
        }
    }

    private func exchange(
        _ request: OutboundRequest, _ connection: OutboundConnection, _ target: Origin.Target,
        _ deadline: NIODeadline
    ) async throws -> Answer {
        let outcome = try await connection.exchange(request, deadline)
        if outcome.mayGoOn { shelf.put(connection, target) } else { connection.close() }
        return outcome.answer
    }

    private func head(
        _ method: String, _ target: Origin.Target, _ path: String, fields: [(String, String)], body: Data?
    ) -> HTTPRequestHead {
        var headers = HTTPHeaders(fields)
        let host = target.host.contains(":") ? "[\(target.host)]" : target.host
        headers.replaceOrAdd(name: "Host", value: "\(host):\(target.port)")
        if let body { headers.replaceOrAdd(name: "Content-Length", value: String(body.count)) }
        return HTTPRequestHead(
            version: .http1_1, method: HTTPMethod(rawValue: method), uri: target.path + path, headers: headers
        )
    }
}
