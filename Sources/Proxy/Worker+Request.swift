import HTTP
import HTTP1
import HTTP2
import JWT
import LinuxIO
import Memory
import Reactor
import Telemetry
import Upstreams

// The request's way to the service: its head as the service gets it, the connection, the body.
extension Worker {
    /// Writes the head into the exchange's request queue. `nil` when that worked.
    mutating func writeRequest(
        _ id: SlabID, _ route: Int, _ bytes: RawSpan, usesPathBlock: Bool, peer: SocketAddress,
        isTrusted: Bool,
        entry: TokenEntryID?
    ) -> Refusal? {
        let wantsTrailers = exchanges[id].isToHTTP2 && acceptsTrailers(bytes)
        guard HopByHop.drop(in: &requestHead.fields, bytes: bytes) else { return .badRequest }
        let seesTrace = dropVouched(bytes, isTrusted: isTrusted, route: route)
        let beginsTrace =
            (seesTrace || snapshots[current].tracing == .generate) && takeTrace(id, bytes)
        if requestHead.asksWebSocket, let refusal = prepareTunnel(id, bytes) { return refusal }
        let snapshot = current
        let isEdited = exchanges[id].editsRequest
        if isEdited {
            apart(&requestHead, snapshots) {
                $1[snapshot].routes[route].requestEdits.apply(to: &$0.fields, of: bytes)
            }
        }
        // Looked up before the first byte is written: what is written might change it, for all that the compiler knows.
        let stripped = snapshots[current].routes[route].strippedBytes
        let preservesHost = snapshots[current].routes[route].preservesHost
        let service = snapshots[current].routes[route].service
        let began = exchanges[id].facts.began
        // Most services have one endpoint.
        var choice = 0
        if snapshots[snapshot].services[service].endpoints.count > 1 {
            choice = apart(&pools, snapshots) {
                $0.pick($1[snapshot].services[service], avoiding: -1, now: began)
            }
        }
        exchanges[id].endpointChoice = choice
        // 4 KiB are for what we add; a block of the usual size does for nearly every head.
        let hasIdentity = downstreams[exchanges[id].downstream].hasIdentity
        let added =
            4096 &+ (hasIdentity ? 2048 : 0)
            &+ (isEdited ? snapshots[snapshot].routes[route].requestEdits.byteCount : 0)
        let isLarge = bytes.byteCount > blocks.blockCapacity &- added
        guard var writer = isLarge ? HeadWriter(from: largeBlocks) : HeadWriter(from: blocks) else {
            return .overloaded
        }

        if stripped == 0, !usesPathBlock, let line = requestHead.line {
            writer.requestLine(bytes[line])
        } else if usesPathBlock {
            Worker.writeLine(&writer, requestHead, path: pathBlock.bytes, stripped: stripped, bytes)
        } else {
            Worker.writeLine(&writer, requestHead, path: bytes[requestHead.path], stripped: stripped, bytes)
        }
        writer.text("Host: ")
        if preservesHost, !requestHead.authority.isEmpty {
            writer.text("", bytes[requestHead.authority], "\r\n")
        } else {
            let start = writer.byteCount
            let count = snapshots[current].services[service].endpoints[choice].authority.count
            writer.text("", snapshots[current].services[service].endpoints[choice].authority.span, "\r\n")
            exchanges[id].hostValue = ByteRange(start: start, end: start &+ count)
        }
        writer.fields(requestHead.fields, of: bytes, isText: exchanges[id].stream == nil)
        if isEdited { snapshots[snapshot].routes[route].requestEdits.write(to: &writer) }
        // Calls of gRPC fail without it; it is about this connection, so it is ours to say (RFC 9110 §10.1.4).
        if wantsTrailers { writer.text("TE: trailers\r\n") }
        writeForwarding(&writer, exchanges[id].downstream, bytes, isV6: peer.isV6, isTrusted: isTrusted)
        if hasIdentity { downstreams[exchanges[id].downstream].writeIdentity(to: &writer) }
        writer.bytes(snapshots[current].requestIDStart.span)
        writer.text("", exchanges[id].note.bytes[exchanges[id].facts.requestID], "\r\n")
        if beginsTrace { writeTrace(&writer, id) }
        if let entry { writeClaims(&writer, issuer: snapshots[current].routes[route].issuer, entry) }
        switch requestHead.framing {
        case .chunked, .stream:
            // HTTP/2 frames bodies itself.
            exchanges[id].sendsChunked = !exchanges[id].isToHTTP2
            exchanges[id].dropsRequestTrailers = HopByHop.listsFields(in: requestHead.fields, bytes: bytes)
            if exchanges[id].sendsChunked { writer.text("Transfer-Encoding: chunked\r\n") }
        case .none, .length, .close: break
        }
        if requestHead.asksWebSocket { writeUpgrade(&writer, id) }
        writer.end()
        exchanges[id].owesContinue = requestHead.expectsContinue && !exchanges[id].requestBody.isEnded
        return writer.finish(into: &exchanges[id].request) ? nil : .headTooLarge
    }

    /// Whether the client takes trailers (RFC 9110 §10.1.4).
    private mutating func acceptsTrailers(_ bytes: RawSpan) -> Bool {
        for index in 0..<requestHead.fields.count where requestHead.fields[index].known == .te {
            var rest = ListCursor(requestHead.fields[index].value)
            while let coding = rest.next(in: bytes) {
                if bytes[coding].equalsIgnoringCase("trailers") { return true }
            }
        }
        return false
    }

    private static func writeLine(
        _ writer: inout HeadWriter, _ head: borrowing RequestHead, path: RawSpan, stripped: Int,
        _ bytes: RawSpan
    ) {
        let query = bytes[head.query]
        // RFC 8441 §5: what was an Extended CONNECT is a GET with Upgrade in HTTP/1.1.
        let get: StaticString = "GET"
        let method = head.asksWebSocket ? get.utf8Span : bytes[head.methodBytes]
        if stripped == 0 || stripped > path.byteCount {
            writer.requestLine(method: method, path: path, query: query, hasQuery: head.hasQuery)
            return
        }
        // The prefix goes; what is left begins with a slash, or is one.
        let rest = path.extracting(stripped..<path.byteCount)
        if rest.byteCount > 0, rest[0] == UInt8(ascii: "/") {
            writer.requestLine(method: method, path: rest, query: query, hasQuery: head.hasQuery)
        } else {
            let slash: StaticString = "/"
            writer.requestLine(
                method: method, path: slash.utf8Span, query: query, hasQuery: head.hasQuery)
        }
    }

    /// Drops what only we may say, and what we say anew. `true` when a field tells of a trace.
    private mutating func dropVouched(_ bytes: RawSpan, isTrusted: Bool, route: Int) -> Bool {
        var seesTrace = false
        let issuer = snapshots[current].routes[route].issuer
        let dropsToken = issuer >= 0 && !snapshots[current].issuers[issuer].passesToken
        let lengths = snapshots[current].vouchedLengths
        for index in 0..<requestHead.fields.count where !requestHead.fields[index].isDropped {
            switch requestHead.fields[index].known {
            case .host, .expect, .xForwardedFor, .xForwardedHost, .xForwardedProto, .forwarded:
                requestHead.fields.drop(index)
            case .authorization:
                if dropsToken { requestHead.fields.drop(index) }
            case .other:
                let name = bytes[requestHead.fields[index].name]
                if isTrace(name) { seesTrace = true }
                if Worker.isIdentity(name) {
                    requestHead.fields.drop(index)
                    continue
                }
                guard lengths & Snapshot.lengthBit(name.byteCount) != 0 else { continue }
                for vouched in 0..<snapshots[current].vouchedFields.count
                where FieldNames.equalsIgnoringCaseAndUnderscore(
                    name, known: snapshots[current].vouchedFields[vouched].span)
                {
                    requestHead.fields.drop(index)
                    break
                }
            default: break
            }
        }
        return seesTrace
    }

    private mutating func writeClaims(_ writer: inout HeadWriter, issuer: Int, _ entry: TokenEntryID) {
        for index in 0..<snapshots[current].issuers[issuer].forwardNames.count {
            snapshots[current].issuers[issuer].writeClaim(index, of: entry, to: &writer)
        }
    }

    // MARK: The connection

    /// Goes on after the decision: refuses, or asks for a connection.
    mutating func proceed(_ id: SlabID, _ refusal: Refusal?, _ loop: inout EventLoop) {
        if let refusal {
            perform(exchanges[id].machine.handle(.refused(refusal)), id, &loop)
            return
        }
        guard exchanges[id].keyWait == .none else { return }
        exchanges[id].facts.leaseBegan = loop.now
        lease(id, &loop)
    }

    mutating func lease(_ id: SlabID, _ loop: inout EventLoop) {
        if exchanges[id].isToHTTP2 {
            leaseStream(id, &loop)
            return
        }
        let (snapshot, service, choice) = connectionPlan(id)
        let isFreshOnly = exchanges[id].wantsFreshConnection
        let answer = apart(&pools, snapshots) {
            $0.lease(
                $1[snapshot].services[service], choice: choice, holder: id, isFreshOnly: isFreshOnly, &loop)
        }
        switch answer {
        case .leased(let connection):
            exchanges[id].upstream = connection
            exchanges[id].facts.endpoint = pools.connections[connection].endpoint
            exchanges[id].facts.connected = loop.now
            perform(exchanges[id].machine.handle(.connected), id, &loop)
        case .connecting(let connection):
            exchanges[id].upstream = connection
            exchanges[id].facts.endpoint = pools.connections[connection].endpoint
            pools.setDeadline(connection, loop.now &+ connectTimeout(id), &loop)
        case .waiting(let waiter):
            exchanges[id].waiter = waiter
            // The first wait's deadline holds, however often the exchange comes back to the line.
            setExchangeDeadline(id, exchanges[id].facts.leaseBegan &+ connectTimeout(id), &loop)
        case .overloaded:
            perform(exchanges[id].machine.handle(.connectFailed(.upstreamOverloaded)), id, &loop)
        case .failed:
            exchanges[id].failedEndpoint = snapshots[snapshot].services[service].endpoints[choice].index
            perform(exchanges[id].machine.handle(.connectFailed(.upstreamConnect)), id, &loop)
        }
    }

    mutating func connectTimeout(_ id: SlabID) -> UInt64 {
        snapshots[exchanges[id].snapshot].routes[exchanges[id].route].connectTimeout
    }

    /// The snapshot, the service in it and the endpoint of that by which a connection for the exchange is made: the exchange's
    /// own, or, where a reload has come since it began, what is said of the same endpoint now. How a service is secured is
    /// no part of what was promised to a request that has waited: a certificate that was taken back is not to be shown again.
    @inline(__always) mutating func connectionPlan(_ id: SlabID) -> (
        snapshot: SlabID, service: Int, choice: Int
    ) {
        let snapshot = exchanges[id].snapshot
        let service = snapshots[snapshot].routes[exchanges[id].route].service
        let choice = exchanges[id].endpointChoice
        if snapshot == current { return (snapshot, service, choice) }
        return presentPlan(snapshot, service, choice)
    }

    @inline(never) private mutating func presentPlan(
        _ snapshot: SlabID, _ service: Int, _ choice: Int
    ) -> (snapshot: SlabID, service: Int, choice: Int) {
        let name = snapshots[snapshot].services[service].index
        let isHTTP2 = snapshots[snapshot].services[service].isHTTP2
        let endpoint = snapshots[snapshot].services[service].endpoints[choice].index
        for other in 0..<snapshots[current].services.count
        where snapshots[current].services[other].index == name
            && snapshots[current].services[other].isHTTP2 == isHTTP2
        {
            for index in 0..<snapshots[current].services[other].endpoints.count
            where snapshots[current].services[other].endpoints[index].index == endpoint {
                return (current, other, index)
            }
        }
        return (snapshot, service, choice)
    }

    /// The next try: another endpoint if there is one, and never a kept connection.
    mutating func retry(_ id: SlabID, _ loop: inout EventLoop) {
        let snapshot = exchanges[id].snapshot
        let service = snapshots[snapshot].routes[exchanges[id].route].service
        exchanges[id].wantsFreshConnection = true
        exchanges[id].facts.leaseBegan = loop.now
        let failed = exchanges[id].failedEndpoint
        let choice: Int
        if exchanges[id].handshakesFailed > 0 {
            // In turn, so that none is asked twice.
            choice =
                (exchanges[id].endpointChoice &+ 1) % snapshots[snapshot].services[service].endpoints.count
        } else {
            choice = apart(&pools, snapshots) {
                $0.pick($1[snapshot].services[service], avoiding: failed, now: loop.now)
            }
        }
        if choice != exchanges[id].endpointChoice, !exchanges[id].hostValue.isEmpty {
            guard rewriteHost(id, service: service, choice: choice) else {
                perform(exchanges[id].machine.handle(.refused(.overloaded)), id, &loop)
                return
            }
        }
        exchanges[id].endpointChoice = choice
        lease(id, &loop)
    }

    /// Puts another endpoint's authority into the kept head.
    mutating func rewriteHost(_ id: SlabID, service: Int, choice: Int) -> Bool {
        let snapshot = exchanges[id].snapshot
        let host = exchanges[id].hostValue
        var head = ByteQueue()
        var old = ByteQueue()
        swap(&old, &exchanges[id].request)
        let isWritten =
            head.append(first: host.lowerBound, of: &old, from: largeBlocks)
            && head.append(
                snapshots[snapshot].services[service].endpoints[choice].authority.span, from: largeBlocks)
        old.consume(Int(host.count))
        let length = snapshots[snapshot].services[service].endpoints[choice].authority.count
        head.append(contentsOf: &old)
        swap(&head, &exchanges[id].request)
        exchanges[id].hostValue = ByteRange(start: host.lowerBound, end: host.lowerBound + length)
        return isWritten
    }

    /// Hands the request to its connection, and keeps a copy where a second try may be made.
    mutating func sendRequest(_ id: SlabID, _ loop: inout EventLoop) {
        if exchanges[id].isToHTTP2 {
            sendStreamRequest(id, &loop)
            return
        }
        let connection = exchanges[id].upstream
        if exchanges[id].isKeptWhole, !pools.connections[connection].hasTLS {
            // Nothing follows it: what is kept is what is sent.
            pools.connections[connection].owesRequest = true
        } else if exchanges[id].machine.isIdempotent, exchanges[id].machine.isKept {
            var isCopied = true
            var kept = ByteQueue()
            swap(&kept, &exchanges[id].request)
            kept.forEachBlock { span in
                isCopied = pools.connections[connection].outbound.append(span, from: blocks)
                return isCopied
            }
            swap(&kept, &exchanges[id].request)
            guard isCopied else {
                settings.meters.count(.blocks)
                perform(exchanges[id].machine.handle(.refused(.overloaded)), id, &loop)
                return
            }
        } else {
            pools.connections[connection].outbound.append(contentsOf: &exchanges[id].request)
        }
        pools.setDeadline(connection, loop.now &+ exchanges[id].requestTimeout, &loop)
        markDirty(upstream: connection)
        if !exchanges[id].requestBody.isEnded { pumpRequest(id, &loop) }
    }

    // MARK: The body

    /// Moves the request's body on, as far as it has come and its sink has room.
    mutating func pumpRequest(_ id: SlabID, _ loop: inout EventLoop) {
        guard exchanges.contains(id), exchanges[id].keyWait == .none else { return }
        if exchanges[id].isTunnel {
            pumpTunnelUp(id, &loop)
            return
        }
        guard !exchanges[id].requestBody.isEnded || hasStreamEnd(id) else { return }
        if exchanges[id].stream != nil {
            pumpStreamRequest(id, &loop)
            return
        }
        let downstream = exchanges[id].downstream
        sendContinue(id, downstream)
        let before = exchanges[id].requestBody.byteCount
        var room = requestRoom(id)
        while room > 0 {
            var piece = ByteQueue()
            let step = exchanges[id].moveRequest(
                from: &downstreams[downstream].inbound, to: &piece, pool: blocks, limit: room)
            guard takePiece(id, &piece, step, &loop) else { return }
            if step != .limitReached { break }
            room = requestRoom(id)
        }
        exchanges[id].isRequestPaused = room <= 0 && !exchanges[id].requestBody.isEnded
        if exchanges[id].requestBody.isEnded {
            setReadDeadline(downstream, .max, &loop)
        } else if exchanges[id].isRequestPaused {
            // Now the service is the one that is waited for, and its own deadline runs.
            exchanges[id].bodyMark = -1
            setReadDeadline(downstream, .max, &loop)
        } else {
            if exchanges[id].requestBody.byteCount != before || downstreams[downstream].deadline == .max {
                setReadDeadline(downstream, loop.now &+ snapshots[current].http.bodyIdleTimeout, &loop)
            }
            watchRate(downstream, &loop)
        }
    }

    /// How many body bytes the service's side may still take.
    mutating func requestRoom(_ id: SlabID) -> Int {
        let connection = exchanges[id].upstream
        if exchanges[id].isToHTTP2 {
            guard let stream = exchanges[id].upstreamStream else {
                return Worker.sinkBytes &- exchanges[id].keptBody.byteCount
            }
            return Worker.sinkBytes &- (pools.connections[connection].session?.outboundCount(stream) ?? 0)
        }
        if connection.isNone || exchanges[id].machine.phase == .leasing {
            return Worker.sinkBytes &- exchanges[id].request.byteCount
        }
        return Worker.sinkBytes &- pools.connections[connection].outbound.byteCount
    }

    /// Gives one piece of the body to the connection, or to what waits for one. `false` when the exchange is over.
    mutating func takePiece(
        _ id: SlabID, _ piece: inout ByteQueue, _ step: BodyReader.Step, _ loop: inout EventLoop
    ) -> Bool {
        exchanges[id].facts.bytesIn = exchanges[id].requestBody.byteCount
        if exchanges[id].requestBody.isLonger(than: exchanges[id].bodyLimit) {
            perform(exchanges[id].machine.handle(.refused(.bodyTooLarge)), id, &loop)
            return false
        }
        if exchanges[id].requestTrailers.byteCount > snapshots[current].http.limits.head {
            perform(exchanges[id].machine.handle(.refused(.headTooLarge)), id, &loop)
            return false
        }
        switch step {
        case .refused:
            perform(exchanges[id].machine.handle(.refused(.badFraming)), id, &loop)
            return false
        case .outOfBlocks:
            perform(exchanges[id].machine.handle(.refused(.overloaded)), id, &loop)
            return false
        case .needsMore, .limitReached, .ended: break
        }
        if exchanges[id].isToHTTP2 {
            return takeStreamPiece(id, &piece, isLast: step == .ended, &loop)
        }
        var framed = ByteQueue()
        guard frame(id, &piece, into: &framed, isLast: step == .ended) else {
            perform(exchanges[id].machine.handle(.refused(.overloaded)), id, &loop)
            return false
        }
        if step == .ended { perform(exchanges[id].machine.handle(.requestEnded), id, &loop) }
        let connection = exchanges[id].upstream
        if connection.isNone || exchanges[id].machine.phase == .leasing {
            exchanges[id].request.append(contentsOf: &framed)
            return true
        }
        keepBody(id, framed)
        if !framed.isEmpty {
            pools.connections[connection].outbound.append(contentsOf: &framed)
            markDirty(upstream: connection)
        }
        // The service's time to answer runs from the last that it was sent: a slow upload is the client's doing.
        if exchanges[id].machine.phase == .waiting {
            pools.setDeadline(connection, loop.now &+ exchanges[id].requestTimeout, &loop)
        }
        return true
    }

    /// A copy for a second try, as long as it is small.
    private mutating func keepBody(_ id: SlabID, _ framed: borrowing ByteQueue) {
        guard exchanges[id].machine.isIdempotent, exchanges[id].machine.isKept,
            exchanges[id].machine.phase == .waiting
        else { return }
        var isKept = exchanges[id].request.byteCount &+ framed.byteCount <= Worker.keptRequestBytes
        if isKept {
            framed.forEachBlock { span in
                isKept = exchanges[id].request.append(span, from: blocks)
                return isKept
            }
        }
        if !isKept {
            exchanges[id].machine.forgetRequest()
            exchanges[id].request.removeAll()
        }
    }

    private mutating func frame(
        _ id: SlabID, _ piece: inout ByteQueue, into framed: inout ByteQueue, isLast: Bool
    ) -> Bool {
        guard exchanges[id].sendsChunked else {
            framed.append(contentsOf: &piece)
            return true
        }
        if !piece.isEmpty {
            guard ChunkWriter.header(size: piece.byteCount, into: &framed, from: blocks) else { return false }
            let count = piece.byteCount
            guard framed.append(first: count, of: &piece, from: blocks),
                ChunkWriter.end(into: &framed, from: blocks)
            else { return false }
        }
        guard isLast else { return true }
        var trailers = ByteQueue()
        swap(&trailers, &exchanges[id].requestTrailers)
        return writeTrailers(&trailers, into: &framed, editor: exchanges[id].editsRequest ? id : nil)
    }

    /// The last chunk, and behind it those trailer fields that may be forwarded.
    /// `editor` is the exchange whose route edits the fields of requests, where these are a request's.
    mutating func writeTrailers(
        _ trailers: inout ByteQueue, into framed: inout ByteQueue, editor: SlabID? = nil
    ) -> Bool {
        guard !trailers.isEmpty, trailers.makeContiguous(in: largeBlocks),
            Trailers.parse(trailers.firstBytes, into: &trailerFields), var writer = HeadWriter(from: blocks)
        else { return ChunkWriter.last(hasTrailers: false, into: &framed, from: blocks) }
        dropVouchedTrailers(trailers.firstBytes)
        if let editor { dropEdited(of: trailers.firstBytes, by: editor) }
        guard ChunkWriter.last(hasTrailers: true, into: &framed, from: blocks) else { return false }
        writer.fields(trailerFields, of: trailers.firstBytes, isText: true)
        writer.end()
        return writer.finish(into: &framed)
    }

    /// What a route sets or removes does not come back behind the body.
    mutating func dropEdited(of bytes: RawSpan, by id: SlabID) {
        let snapshot = exchanges[id].snapshot
        let route = exchanges[id].route
        for index in 0..<trailerFields.count {
            // The answer has begun, and the names that were edited are forgotten: then no trailer goes on.
            if snapshot.isNone
                || snapshots[snapshot].routes[route].requestEdits.removes(bytes[trailerFields[index].name])
            {
                trailerFields.drop(index)
            }
        }
    }

    /// What only the gateway may say does not come behind a body either, in whichever direction.
    mutating func dropVouchedTrailers(_ bytes: RawSpan) {
        for index in 0..<trailerFields.count where isVouched(bytes[trailerFields[index].name]) {
            trailerFields.drop(index)
        }
    }

    mutating func isVouched(_ name: RawSpan) -> Bool {
        if Worker.isIdentity(name) { return true }
        for index in 0..<snapshots[current].vouchedFields.count
        where FieldNames.equalsIgnoringCaseAndUnderscore(
            name, known: snapshots[current].vouchedFields[index].span)
        {
            return true
        }
        return false
    }

    /// We read the body ourselves, so we say that it may come (RFC 9110 §10.1.1); the service is not asked.
    private mutating func sendContinue(_ id: SlabID, _ downstream: SlabID) {
        guard exchanges[id].owesContinue else { return }
        exchanges[id].owesContinue = false
        guard downstreams[downstream].inbound.isEmpty else { return }
        if downstreams[downstream].plaintext.append("HTTP/1.1 100 Continue\r\n\r\n", from: blocks) {
            markDirty(downstream: downstream)
        }
    }
}
