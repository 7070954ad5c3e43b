public import HTTP
public import HTTP2
public import Memory

// What an exchange does with its stream on a connection of HTTP/2.
extension UpstreamConnection {
    /// Begins to speak HTTP/2: the preface and SETTINGS wait to be written.
    public mutating func beginHTTP2(_ settings: HTTP2Settings, workspace: borrowing HTTP2Workspace) {
        session = HTTP2Session(client: settings, workspace: workspace)
    }

    /// Streams that may still be opened.
    public var requestRoom: Int { session?.roomForRequests() ?? 0 }

    /// Frames that are ready, into the clear.
    public mutating func writeFrames(limit: Int, from pool: borrowing BlockPool) -> WriteStep {
        session?.write(into: &outbound, pool: pool, limit: limit) ?? .done
    }

    /// Gives what has come to the session.
    public mutating func readFrames(now: UInt64, from pool: borrowing BlockPool) -> ReceiveStep {
        while !inbound.isEmpty {
            let count = inbound.firstBytes.byteCount
            let step = apart(&session, inbound) { $0?.receive($1.firstBytes, now: now, pool: pool) ?? .ok }
            inbound.consume(count)
            if step != .ok { return step }
        }
        return .ok
    }

    public func readResponse(_ stream: StreamID, requestMethod: Method, into head: inout ResponseHead)
        -> ResponseHeadError?
    {
        session?.readResponse(stream, requestMethod: requestMethod, into: &head) ?? nil
    }

    /// `false` when the head does not fit the block.
    public func copyHead(of stream: StreamID, into block: inout Block) -> Bool {
        session?.copyHead(of: stream, to: &block) ?? false
    }

    /// Copies the trailers of a response and describes them. `false` when there are none or they are not valid.
    public func copyTrailers(of stream: StreamID, into block: inout Block, fields: inout FieldTable) -> Bool {
        session?.copyTrailers(of: stream, to: &block, fields: &fields) ?? false
    }

    public mutating func takeBody(
        of stream: StreamID, into queue: inout ByteQueue, limit: Int, _ pool: borrowing BlockPool
    ) -> Int {
        session?.takeBody(stream, into: &queue, limit: limit, pool: pool) ?? 0
    }
}

extension HTTP2Session {
    // A property of an optional cannot be asked for without consuming it; a method can.
    func roomForRequests() -> Int { requestRoom }

    func copyHead(of stream: StreamID, to block: inout Block) -> Bool {
        block.append(headBytes(stream)) == headBytes(stream).byteCount
    }

    func copyTrailers(of stream: StreamID, to block: inout Block, fields: inout FieldTable) -> Bool {
        guard readTrailers(stream, into: &fields) == nil else { return false }
        return block.append(trailerBytes(stream)) == trailerBytes(stream).byteCount
    }
}
