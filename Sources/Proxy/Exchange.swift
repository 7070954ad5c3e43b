import HTTP
import HTTP2
import JWT
import LinuxIO
import Memory
import RateLimit
import Reactor
import Telemetry
import Upstreams

/// How the body of an answer is written to the client.
enum ResponseFraming: UInt8 {
    case none
    /// As many bytes as Content-Length said, nothing around them.
    case plain
    case chunked
    /// Until the connection closes: for HTTP/1.0 clients.
    case close
    /// DATA frames of HTTP/2.
    case frames
}

/// What the access log wants to know at the end. Times are monotonic nanoseconds, 0 for "not reached".
struct ExchangeFacts {
    var beganWall: UInt64 = 0
    var began: UInt64 = 0
    var authNanoseconds: UInt64 = 0
    var leaseBegan: UInt64 = 0
    var connected: UInt64 = 0
    var firstByte: UInt64 = 0
    var status = 0
    var reason: Refusal?
    var endpoint = -1
    /// Index of the endpoint in its service's list.
    var version = Version.http11
    var routeLabel = -1
    var serviceLabel = -1
    var bytesIn = 0
    var bytesOut = 0
    var isLogged = true
    var generation = 0
    // Ranges of the note.
    var requestID = ByteRange.empty
    /// Of the trace that the request is a part of, if of any.
    var traceID = ByteRange.empty
    var method = ByteRange.empty
    var host = ByteRange.empty
    var path = ByteRange.empty
    var target = ByteRange.empty
    var subject = ByteRange.empty
    var route = ByteRange.empty
}

/// One request and its answer, from the first byte of a valid or refused head to the access line.
struct Exchange: ~Copyable {
    var machine: ExchangeMachine
    let downstream: SlabID
    /// The stream of HTTP/2; `nil` for HTTP/1.
    let stream: StreamID?
    /// The snapshot that it began with, pinned; `none` once it is no longer needed.
    var snapshot: SlabID
    /// Whether it waits for the key of its token; then `lotPlace` is where it stands among those that do.
    var keyWait = KeyWait.none
    var lotPlace = 0
    var keySource: UInt64 = 0
    /// It waits for a fetch that had begun before it came, and so may have missed its key: then it may wait for another one.
    var joinsFetch = false
    /// When its patience is over, however often it waits.
    var keyDeadline: UInt64 = 0
    /// Of HTTP/1: how many bytes its head has, which lies in its connection's input until it goes on.
    var waitingHeadBytes = 0
    /// Index in the snapshot's routes; -1 before one was found.
    var route = -1
    var method = Method.other

    /// The connection to the service, `none` without one.
    var upstream = SlabID.none
    /// Its stream there, on a connection of HTTP/2.
    var upstreamStream: StreamID?
    /// Whether its service speaks HTTP/2.
    var isToHTTP2 = false
    /// A call of gRPC, which may last.
    var isGRPC = false
    /// Whether the connection had carried an exchange before.
    var isStreamReused = false
    /// The code with which the service reset the stream (RFC 9113 §7).
    var resetCode: UInt32 = 0
    /// The place in the line for a connection.
    var waiter = SlabID.none
    var timer = TimerID.none
    var timerFires = UInt64.max
    /// The endpoint that failed last; another is preferred for the next try.
    var failedEndpoint = -1
    var wantsFreshConnection = false
    /// Endpoints with which no TLS could be agreed on.
    var handshakesFailed = 0

    /// The request as it goes to the service, kept until the answer's head for a second try.
    var request = ByteQueue()
    var requestBody: BodyReader
    /// For a service of HTTP/2, what has come of the body, apart from the head: until there is a stream, and for another
    /// try.
    var keptBody = ByteQueue()
    /// Trailers of the request, in HTTP/1 form.
    var requestTrailers = ByteQueue()
    /// Connection listed fields, which may be among the trailers: none of those goes on, as RFC 9110 §6.5.2 allows.
    var dropsRequestTrailers = false
    var bodyLimit = Int.max
    /// Whether the request goes to the service in chunks.
    var sendsChunked = false
    /// The client waits for `100 Continue`, and none was sent yet.
    var owesContinue = false
    /// The client's body is read and thrown away: the answer has been decided.
    var discardsBody = false

    var responseBody = BodyReader(.none)
    var responseFraming = ResponseFraming.none
    var responseTrailers = ByteQueue()
    var dropsResponseTrailers = false
    /// Whether the head of an answer has been handed to the client's side.
    var hasAnswered = false
    /// Whether the upstream connection may carry another exchange after this one.
    var isUpstreamPersistent = true
    /// Heads of 1xx that have come.
    var interimAnswers = 0
    /// The response waits because the client's side holds enough.
    var isResponsePaused = false
    /// Bytes that the stream owed its client when that was last looked at.
    var pausedBytes = 0
    /// The request waits because the service's side holds enough.
    var isRequestPaused = false
    /// The request asks for a WebSocket, with the key that stands in the note.
    var asksWebSocket = false
    var webSocketKey = ByteRange.empty
    /// The tunnel was opened; it stays so when it has ended.
    var isTunnel = false
    /// The service has ended its side of the tunnel.
    var hasServiceEnded = false
    /// Its stream is closed, and is let go of with the exchange.
    var holdsClosedStream = false
    /// Body bytes that had come when the connection's window began; -1 when the rate of it is not looked at in this window.
    var bodyMark = -1
    /// The client may be silent in the middle of its body: gRPC, streams of events.
    var isRateExempt = false
    /// Bytes of HTTP/2 body taken from the stream whose credit was not given back yet.
    var owedCredit = 0

    /// Where it is counted among the requests that its key has under way; -1 where it is not.
    var countSlot = -1

    /// Who the client is for limits and logs.
    var client = SocketAddress(high: 0, low: 0, port: 0, isV6: false)

    // What a refusal tells beyond its reason.
    var limitIndex = -1
    var limitWindow = 0
    var limitAnswer: LimitAnswer?
    var tokenRefusal: TokenRefusal?

    /// Where the request's first block holds the value of Host, which depends on the endpoint.
    var hostValue = ByteRange.empty
    /// Index in the service's list of the endpoint that was chosen last.
    var endpointChoice = 0
    /// A deadline of the exchange's own: for a place in the line, and for the body of an HTTP/2 request.
    var deadline = UInt64.max
    /// When the wait for a service of HTTP/2 is over; one of HTTP/1 has its connection's deadline.
    var serviceDeadline = UInt64.max

    /// The texts of the facts.
    var note: Block
    var facts = ExchangeFacts()

    // Copies of what the plan says, so that the snapshot can go when the answer has begun.
    var serviceIndex = -1
    var keepaliveIdle: UInt64 = 0
    var keepaliveConnections = 0
    var idleTimeout: UInt64 = 0
    var requestTimeout: UInt64 = 0
    var echoesRequestID = true
    /// Whether the route edits the fields of requests.
    var editsRequest = false

    init(
        downstream: SlabID, stream: StreamID?, snapshot: SlabID, note: consuming Block,
        machine: ExchangeMachine,
        requestBody: BodyReader
    ) {
        self.downstream = downstream
        self.stream = stream
        self.snapshot = snapshot
        self.note = note
        self.machine = machine
        self.requestBody = requestBody
    }

    /// Whether the whole request lies in one block and stays there for a second try.
    var isKeptWhole: Bool {
        @inline(__always) get {
            machine.isIdempotent && machine.isKept && machine.hasRequestEnded && requestBody.isEnded
                && !sendsChunked && request.isContiguous
        }
    }

    /// The path is the target as it came.
    mutating func takeTargetAsPath() {
        // By way of a variable: else all the facts are copied.
        let target = facts.target
        facts.path = target
    }

    /// Copies what is needed of the route at `index` and of its service for as long as the exchange lives. Inlined, since a call would
    /// copy both plans for it.
    @inline(__always) mutating func take(
        _ plan: borrowing RoutePlan, at index: Int, _ service: borrowing ServicePlan
    ) {
        route = index
        editsRequest = !plan.requestEdits.isEmpty
        bodyLimit = isGRPC ? plan.streamLimit : plan.bodyLimit
        idleTimeout = plan.idleTimeout
        requestTimeout = plan.requestTimeout
        facts.routeLabel = plan.label
        facts.isLogged = plan.isLogged
        facts.serviceLabel = service.index
        isToHTTP2 = service.isHTTP2
        keepaliveIdle = service.keepaliveIdle
        keepaliveConnections = service.keepaliveConnections
    }

    /// Appends the client's address to the note, as text.
    mutating func keepClient() -> ByteRange {
        let start = note.byteCount
        client.appendText(to: &note)
        return ByteRange(start: start, end: note.byteCount)
    }

    mutating func moveRequest(
        from input: inout ByteQueue, to output: inout ByteQueue, pool: borrowing BlockPool, limit: Int
    ) -> BodyReader.Step {
        let step = requestBody.move(
            from: &input, to: &output, trailers: &requestTrailers, pool: pool, limit: limit)
        if step == .ended, dropsRequestTrailers { requestTrailers.removeAll() }
        return step
    }

    mutating func moveResponse(
        from input: inout ByteQueue, to output: inout ByteQueue, pool: borrowing BlockPool, limit: Int
    ) -> BodyReader.Step {
        let step = responseBody.move(
            from: &input, to: &output, trailers: &responseTrailers, pool: pool, limit: limit)
        if step == .ended, dropsResponseTrailers { responseTrailers.removeAll() }
        return step
    }

    /// Appends the id that was made for the exchange to the note.
    @inline(__always) mutating func keepRequestID(_ identity: CorrelationID) {
        let start = note.byteCount
        // Nothing stands in the note before it, so that there is room.
        note.append("", identity.bytes, "")
        facts.requestID = ByteRange(start: start, end: note.byteCount)
    }

    /// Appends at most `limit` bytes of `text` to the note; says where they are.
    mutating func keep(_ text: RawSpan, limit: Int) -> ByteRange {
        let start = note.byteCount
        note.append(text.extracting(0..<min(text.byteCount, limit)))
        return ByteRange(start: start, end: note.byteCount)
    }
}
