import Foundation
import Hummingbird
import NIOCore
import NIOHTTP1
import NIOPosix
import ServiceLifecycle
import Synchronization
import Testing

@testable import ServiceKit

/// A server that answers as many requests of a connection as it is told to, and closes it when one more comes.
private final class ForgetfulServer: Sendable {
    struct Counts: Sendable {
        var connections = 0
        var requests = 0
    }

    let counts = Mutex(Counts())
    private let answersOfConnection: Int

    init(answersOfConnection: Int) { self.answersOfConnection = answersOfConnection }

    func run(_ body: (Origin) async throws -> Void) async throws {
        let channel = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.configureHTTPServerPipeline()
                    try channel.pipeline.syncOperations.addHandler(Answering(self))
                }
            }
            .bind(host: "127.0.0.1", port: 0).get()
        let result: Result<Void, any Error>
        do {
            try await body(Origin(.init(host: "127.0.0.1", port: channel.localAddress?.port ?? 0)))
            result = .success(())
        } catch { result = .failure(error) }
        try await channel.close()
        try result.get()
    }

    private final class Answering: ChannelInboundHandler {
        typealias InboundIn = HTTPServerRequestPart
        typealias OutboundOut = HTTPServerResponsePart

        private let server: ForgetfulServer
        private var answers = 0

        init(_ server: ForgetfulServer) { self.server = server }

        func channelActive(context: ChannelHandlerContext) {
            server.counts.withLock { $0.connections += 1 }
        }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            guard case .end = unwrapInboundIn(data) else { return }
            server.counts.withLock { $0.requests += 1 }
            answers += 1
            guard answers <= server.answersOfConnection else {
                context.close(promise: nil)
                return
            }
            let head = HTTPResponseHead(version: .http1_1, status: .ok, headers: ["Content-Length": "0"])
            context.write(wrapOutboundOut(.head(head)), promise: nil)
            context.writeAndFlush(wrapOutboundOut(.end(nil)), promise: nil)
        }
    }
}

@Suite("A client that keeps its connections") struct OutboundClientTests {
    /// Among a thousand tests on two processors a turn may be long in coming.
    private static func patient() -> OutboundClient {
        OutboundClient(timeout: .seconds(600), connectTimeout: .seconds(600))
    }

    @Test("Requests one after the other share a connection; another client has its own") func kept()
        async throws
    {
        let server = ForgetfulServer(answersOfConnection: .max)
        try await server.run { origin in
            let client = Self.patient()
            for _ in 0..<5 { _ = try await client.send("POST", origin, "/") }
            #expect(server.counts.withLock { $0.connections } == 1)
            #expect(try await Self.patient().send("GET", origin, "/").status == 200)
            #expect(server.counts.withLock { $0.connections } == 2)
        }
    }

    @Test(
        "RFC 9110 §9.2.2: a kept connection that ends unanswered costs a harmless request nothing, any other an error"
    )
    func stale() async throws {
        let server = ForgetfulServer(answersOfConnection: 1)
        try await server.run { origin in
            let client = Self.patient()
            for _ in 0..<2 { _ = try await client.send("GET", origin, "/") }
            #expect(server.counts.withLock { $0.requests } == 3)
            await #expect(throws: OutboundClient.Failure.endedEarly) {
                try await client.send("POST", origin, "/")
            }
            #expect(server.counts.withLock { $0.requests } == 4)
            // The next one opens a connection, and the one after finds it stale.
            for _ in 0..<2 {
                _ = try await client.send("POST", origin, "/", isRepeatable: true)
            }
            #expect(server.counts.withLock { $0.requests } == 7)
        }
    }

    @Test("A new connection that ends unanswered is not tried again") func once() async throws {
        let server = ForgetfulServer(answersOfConnection: 0)
        try await server.run { origin in
            await #expect(throws: OutboundClient.Failure.endedEarly) {
                try await Self.patient().send("GET", origin, "/")
            }
            #expect(server.counts.withLock { $0.requests } == 1)
        }
    }

    @Test("A request that is not answered in time is given up, and one that is cancelled at once")
    func givenUp()
        async throws
    {
        let hasEntered = Doorbell()
        let parts = ServiceParts(name: "test") { router in
            router.get("/slow") { _, _ in
                hasEntered.ring()
                // Until the service stops: nobody tells a handler that its client has gone.
                try await gracefulShutdown()
                return Reply.noContent
            }
        }
        try await withRunning(parts, log: Harness.log) { origin in
            await #expect(throws: OutboundClient.Failure.timedOut) {
                try await OutboundClient(timeout: .milliseconds(50)).send("GET", origin, "/slow")
            }
            await hasEntered.wait(upTo: .seconds(60))
            let asking = Task {
                try await OutboundClient(timeout: .seconds(600)).send("GET", origin, "/slow")
            }
            await hasEntered.wait(upTo: .seconds(60))
            asking.cancel()
            await #expect(throws: CancellationError.self) { try await asking.value }
        }
    }

    @Test("A field that no head may hold is refused before anything is sent") func badField() async throws {
        let server = ForgetfulServer(answersOfConnection: .max)
        try await server.run { origin in
            await #expect(throws: (any Error).self) {
                try await Self.patient().send("GET", origin, "/", fields: [("X-A", "b\r\nX-C: d")])
            }
            let right = try await Self.patient().send("GET", origin, "/", fields: [("X-A", "b")])
            #expect(right.status == 200)
            #expect(server.counts.withLock { $0.requests } == 1)
        }
    }
}
