public import Foundation
internal import NIOCore
internal import NIOHTTP1
internal import NIOPosix
internal import Synchronization

/// An `http` address of another service. It can be made before the port is known, and told it later.
public final class Origin: Sendable {
    private let cell: Mutex<Target?>

    /// Where a request goes.
    public struct Target: Equatable, Sendable {
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

/// Asks another service over HTTP/1.1, one connection a request.
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
    private let answerLimitBytes: Int

    public init(timeout: Duration = .seconds(5), answerLimitBytes: Int = 1 << 20) {
        self.timeout = timeout
        self.answerLimitBytes = answerLimitBytes
    }

    /// Sends one request and reads its answer whole.
    /// `path`: Begins with a slash, percent-encoded.
    public func send(
        _ method: String, _ origin: Origin, _ path: String, fields: [(String, String)] = [], body: Data? = nil
    ) async throws -> Answer {
        guard let target = origin.target else { throw Failure.unknownOrigin }
        return try await withThrowingTaskGroup(of: Answer.self) { group in
            group.addTask { try await exchange(method, target, path, fields: fields, body: body) }
            group.addTask {
                try await Task.sleep(for: timeout)
                throw Failure.timedOut
            }
            defer { group.cancelAll() }
            guard let answer = try await group.next() else { throw Failure.endedEarly }
            return answer
        }
    }

    private func exchange(
        _ method: String, _ target: Origin.Target, _ path: String, fields: [(String, String)], body: Data?
    ) async throws -> Answer {
        let channel = try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .connectTimeout(.seconds(2))
            .connect(host: target.host, port: target.port) { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHTTPClientHandlers()
                    return try NIOAsyncChannel<HTTPClientResponsePart, HTTPClientRequestPart>(
                        wrappingChannelSynchronously: channel)
                }
            }
        return try await channel.executeThenClose { inbound, outbound in
            var headers = HTTPHeaders(fields)
            let host = target.host.contains(":") ? "[\(target.host)]" : target.host
            headers.replaceOrAdd(name: "Host", value: "\(host):\(target.port)")
            headers.replaceOrAdd(name: "Connection", value: "close")
            if let body { headers.replaceOrAdd(name: "Content-Length", value: String(body.count)) }
            let head = HTTPRequestHead(
                version: .http1_1, method: HTTPMethod(rawValue: method), uri: target.path + path,
                headers: headers)
            try await outbound.write(.head(head))
            if let body { try await outbound.write(.body(.byteBuffer(ByteBuffer(bytes: body)))) }
            try await outbound.write(.end(nil))
            return try await answer(inbound)
        }
    }

    private func answer(_ inbound: NIOAsyncChannelInboundStream<HTTPClientResponsePart>) async throws
        -> Answer
    {
        var head: HTTPResponseHead?
        var body = Data()
        for try await part in inbound {
            switch part {
            case .head(let found): head = found
            case .body(let buffer):
                guard body.count + buffer.readableBytes <= answerLimitBytes else { throw Failure.tooLong }
                body.append(contentsOf: buffer.readableBytesView)
            case .end:
                guard let head else { throw Failure.endedEarly }
                return Answer(
                    status: Int(head.status.code),
                    fields: head.headers.map { (name: $0.name, value: $0.value) }, body: body)
            }
        }
        throw Failure.endedEarly
    }
}
