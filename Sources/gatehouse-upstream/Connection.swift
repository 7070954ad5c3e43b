import HTTP
import HTTP1
import LinuxIO
import Memory

/// What a request's path asks for.
enum Order {
    /// A JSON object that tells what came.
    case echo
    /// So many bytes, with a Content-Length.
    case bytes(Int)
    /// So many bytes, chunked.
    case chunked(Int)
    /// An empty answer after so many milliseconds.
    case delay(Int)
    /// An empty answer with this status.
    case status(Int)
    /// An answer, then the end of the connection.
    case close
    /// The end of the connection, without an answer.
    case drop
}

/// One client's connection.
struct Connection: ~Copyable {
    enum Phase {
        /// Between requests, or within a head.
        case head
        /// The rest of a request's body is to come.
        case body
        /// The answer waits for its time.
        case delaying
        /// The rest of an answer's body is to be made.
        case streaming
    }

    let descriptor: Descriptor
    var phase = Phase.head
    var inbound = ByteQueue()
    var outbound = ByteQueue()
    /// How far the search for the end of a head has come.
    var scannedBytes = 0
    /// The kernel may hold more to read.
    var mayHaveMore = false
    var isEnding = false
    /// The kernel takes no more until the poller says so.
    var isBlocked = false
    /// The connection ends when what is owed has been sent.
    var isLast = false

    // The request at hand.
    var order = Order.echo
    var isHeadOnly = false
    /// Of a body with a length; `nil` when it is chunked.
    var bodyLeft: Int?
    var decoder = ChunkedDecoder()
    var bodyCount = 0
    var bodySum = Checksum.empty
    /// Of an echo: what is known before the body.
    var echo = ByteQueue()
    var trailers = ByteQueue()

    // The answer at hand.
    var streamLeft = 0
    var isStreamChunked = false

    init(_ descriptor: consuming Descriptor) { self.descriptor = descriptor }

    mutating func receive(from pool: borrowing BlockPool) -> IOStep {
        if phase == .body, bodyLeft ?? Int.max > 16384 {
            return descriptor.receiveBody(into: &inbound, from: pool)
        }
        return descriptor.receive(into: &inbound, from: pool)
    }

    mutating func flush() -> IOStep { descriptor.send(from: &outbound) }
}
