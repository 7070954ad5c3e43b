internal import Foundation
internal import NIOCore
internal import NIOHTTP1
internal import NIOPosix
internal import Synchronization

/// What goes out, and how much may come back.
struct OutboundRequest: Sendable {
    let head: HTTPRequestHead
    let body: Data?
    let answerLimitBytes: Int
}

/// One connection to a service, for one request at a time.
struct OutboundConnection: Sendable {
    /// It ended without a byte of an answer: the request may not have been read at all.
    enum Fault: Error { case endedUnanswered }

    struct Outcome: Sendable {
        let answer: OutboundClient.Answer
        /// Whether the connection may carry another request.
        let mayGoOn: Bool
    }

    private let channel: any Channel
    private let reader: NIOLoopBound<AnswerReader>

    var isOpen: Bool { channel.isActive }

    /// `limit`: How long that may take, though the deadline may be later.
    static func open(
        _ target: Origin.Target, _ deadline: NIODeadline, atMost limit: Duration
    ) async throws -> OutboundConnection {
        let left = max(.milliseconds(1), min(TimeAmount(limit), deadline - .now()))
        let bootstrap = ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .connectTimeout(left)
            // A request is written in pieces, and each must not wait for the other side's acknowledgement.
            .channelOption(.socketOption(.tcp_nodelay), value: 1)
        do {
            return try await bootstrap.connect(host: target.host, port: target.port) { channel in
                channel.eventLoop.makeCompletedFuture {
                    let reader = AnswerReader()
                    try channel.pipeline.syncOperations.addHTTPClientHandlers()
                    try channel.pipeline.syncOperations.addHandler(reader)
                    return OutboundConnection(
                        channel: channel, reader: NIOLoopBound(reader, eventLoop: channel.eventLoop))
                }
            }
        } catch ChannelError.connectTimeout {
            throw OutboundClient.Failure.timedOut
        }
    }

    /// Sends a request and reads its answer. The connection is closed when this throws.
    func exchange(_ request: OutboundRequest, _ deadline: NIODeadline) async throws -> Outcome {
        do {
            return try await withTaskCancellationHandler {
                try await withCheckedThrowingContinuation { continuation in
                    channel.eventLoop.execute {
                        reader.value.begin(request, channel, deadline, continuation)
                    }
                }
            } onCancel: {
                channel.close(promise: nil)
            }
        } catch {
            channel.close(promise: nil)
            try Task.checkCancellation()
            throw error
        }
    }

    func close() { channel.close(promise: nil) }
}

/// Reads one answer after the other. On the connection's event loop only.
private final class AnswerReader: ChannelInboundHandler {
    typealias InboundIn = HTTPClientResponsePart
    typealias OutboundOut = HTTPClientRequestPart

    private struct Exchange {
        let continuation: CheckedContinuation<OutboundConnection.Outcome, any Error>
        let limitBytes: Int
        let timer: Scheduled<Void>
        var head: HTTPResponseHead?
        var body = ByteBuffer()
    }

    /// Memory taken for a body before it comes.
    private static let believedBytes = 1 << 20

    private var exchange: Exchange?

    func begin(
        _ request: OutboundRequest, _ channel: any Channel, _ deadline: NIODeadline,
        _ continuation: CheckedContinuation<OutboundConnection.Outcome, any Error>
    ) {
        precondition(exchange == nil, "one request at a time")
        guard channel.isActive else {
            continuation.resume(throwing: OutboundConnection.Fault.endedUnanswered)
            return
        }
        let bound = NIOLoopBound(self, eventLoop: channel.eventLoop)
        let timer = channel.eventLoop.scheduleTask(deadline: deadline) {
            bound.value.end(throwing: OutboundClient.Failure.timedOut)
        }
        exchange = Exchange(
            continuation: continuation, limitBytes: request.answerLimitBytes, timer: timer)
        let written = channel.eventLoop.makePromise(of: Void.self)
        // A field that no head may hold is refused here, and nothing goes out.
        written.futureResult.whenFailure { _ in bound.value.endEarly() }
        channel.write(HTTPClientRequestPart.head(request.head), promise: written)
        if let body = request.body {
            channel.write(HTTPClientRequestPart.body(.byteBuffer(ByteBuffer(bytes: body))), promise: nil)
        }
        channel.writeAndFlush(HTTPClientRequestPart.end(nil), promise: nil)
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        switch unwrapInboundIn(data) {
        case .head(let head):
            exchange?.head = head
            // Room for the whole body at once, as far as the other side's word for its length is believed.
            if let length = head.headers.first(name: "Content-Length").flatMap({ Int($0) }), length > 0 {
                exchange?.body.reserveCapacity(min(length, Self.believedBytes))
            }
        case .body(var buffer):
            // No copy of `exchange` is held here: with it, each piece would copy all that came before.
            guard let soFar = exchange?.body.readableBytes, let limit = exchange?.limitBytes else { return }
            guard soFar + buffer.readableBytes <= limit else {
                end(throwing: OutboundClient.Failure.tooLong)
                context.close(promise: nil)
                return
            }
            exchange?.body.writeBuffer(&buffer)
        case .end: finish()
        }
    }

    func channelInactive(context: ChannelHandlerContext) {
        endEarly()
        context.fireChannelInactive()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        endEarly()
        context.close(promise: nil)
    }

    private func finish() {
        guard let held = exchange, let head = held.head else { return }
        exchange = nil
        held.timer.cancel()
        let answer = OutboundClient.Answer(
            status: Int(head.status.code), fields: head.headers.map { (name: $0.name, value: $0.value) },
            body: Data(held.body.readableBytesView))
        held.continuation.resume(returning: .init(answer: answer, mayGoOn: head.isKeepAlive))
    }

    private func endEarly() {
        let fault: any Error =
            exchange?.head == nil
            ? OutboundConnection.Fault.endedUnanswered : OutboundClient.Failure.endedEarly
        end(throwing: fault)
    }

    private func end(throwing error: any Error) {
        guard let held = exchange else { return }
        exchange = nil
        held.timer.cancel()
        held.continuation.resume(throwing: error)
    }
}

/// Connections that wait for their next request, of one client.
final class ConnectionShelf: Sendable {
    /// Kept for one service; what comes back above it is closed.
    static let limit = 64
    /// Less than what a service of ours waits for on an idle connection (75 s), so that it is we who close.
    private static let longestIdle: Duration = .seconds(30)

    private struct Kept: Sendable {
        let connection: OutboundConnection
        let since: ContinuousClock.Instant
    }

    private let kept = Mutex<[Origin.Target: [Kept]]>([:])

    deinit {
        for connections in kept.withLock({ $0 }).values {
            for one in connections { one.connection.close() }
        }
    }

    /// The one that was used last, so that the others may grow old.
    func take(_ target: Origin.Target) -> OutboundConnection? {
        let now = ContinuousClock.now
        let (found, old) = kept.withLock { kept -> (OutboundConnection?, [Kept]) in
            guard var connections = kept[target] else { return (nil, []) }
            // The oldest stand first.
            let fresh = connections.firstIndex { $0.since.duration(to: now) < Self.longestIdle }
            let old = Array(connections[..<(fresh ?? connections.endIndex)])
            connections.removeFirst(old.count)
            var found: OutboundConnection?
            while found == nil, let last = connections.popLast() {
                if last.connection.isOpen { found = last.connection }
            }
            kept[target] = connections.isEmpty ? nil : connections
            return (found, old)
        }
        for one in old { one.connection.close() }
        return found
    }

    func put(_ connection: OutboundConnection, _ target: Origin.Target) {
        let isKept = kept.withLock { kept -> Bool in
            guard kept[target]?.count ?? 0 < Self.limit else { return false }
            kept[target, default: []].append(Kept(connection: connection, since: .now))
            return true
        }
        if !isKept { connection.close() }
    }
}
