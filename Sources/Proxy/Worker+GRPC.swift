import HTTP
import HTTP2
import Memory
import Reactor
import Telemetry

// Calls of gRPC: requests and answers of HTTP/2 like any others, but that they may last, and that their clients look for
// the outcome in grpc-status.
extension Worker {
    /// Notes whether the request is a call: its content type is `application/grpc`, alone or with a suffix or parameters.
    mutating func noteGRPC(_ id: SlabID, _ bytes: RawSpan) {
        let wanted: StaticString = "application/grpc"
        guard requestHead.fields.hasContentType(wanted, in: bytes),
            let value = requestHead.fields.contentType(in: bytes)
        else { return }
        let end = Int(value.lowerBound) &+ wanted.utf8CodeUnitCount
        exchanges[id].isGRPC =
            end == Int(value.upperBound) || bytes[end] == UInt8(ascii: "+") || bytes[end] == UInt8(ascii: ";")
    }

    /// The body that a client owes has a deadline; a call's client may be silent for as long as the service is.
    mutating func expectStreamBody(_ id: SlabID, _ loop: inout EventLoop) {
        if exchanges[id].isGRPC {
            exchanges[id].deadline = .max
        } else {
            setExchangeDeadline(id, loop.now &+ snapshots[current].http.bodyIdleTimeout, &loop)
        }
    }

    /// Our own answer to a call: HTTP says 200, grpc-status says what became of it, and that is all (a response of
    /// trailers only).
    mutating func refuseCall(_ id: SlabID, _ reason: Refusal) {
        let downstream = exchanges[id].downstream
        guard let stream = exchanges[id].stream, downstreams[downstream].session?.contains(stream) == true
        else { return }
        let isCancelled = reason == .upstreamReset && exchanges[id].resetCode == HTTP2ErrorCode.cancel
        var status = NumberText(isCancelled ? 1 : Worker.callStatus(reason.status))
        downstreams[downstream].session?.beginResponse(status: 200)
        downstreams[downstream].session?.addField("content-type", "application/grpc")
        status.withBytes { downstreams[downstream].session?.addField("grpc-status", $0) }
        downstreams[downstream].session?.addField("grpc-message", reason.title)
        if let seconds = retryAfter(id, reason) {
            var text = NumberText(seconds)
            text.withBytes { downstreams[downstream].session?.addField("retry-after", $0) }
        }
        addStreamFields(id)
        trailerFields.removeAll()
        downstreams[downstream].session?.submitResponse(
            stream, fields: trailerFields, bytes: RawSpan(), endsStream: true)
        markDirty(downstream: downstream)
    }

    /// What a call's client is told instead of an HTTP status.
    static func callStatus(_ status: Int) -> Int {
        switch status {
        case 400: 13
        case 401: 16
        case 403: 7
        case 404, 405: 12
        case 413, 429: 8
        case 502, 503: 14
        case 504: 4
        default: 2
        }
    }
}
