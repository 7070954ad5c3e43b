import HTTP
import HTTP1
import Memory
import Telemetry

/// What is done with the trace that a request belongs to (W3C Trace Context, level 1).
public enum TraceHandling: UInt8, Sendable {
    /// A valid `traceparent` goes on as it came, with its `tracestate`; anything else is no trace, and both go.
    case propagate
    /// The same, and a request without a trace begins one.
    case generate
    /// Both go.
    case drop
}

extension Worker {
    /// Whether a field is one of the two that tell of a trace.
    @inline(__always) func isTrace(_ name: RawSpan) -> Bool {
        // User-Agent is as long as one of them.
        guard name.byteCount == 10 || name.byteCount == 11, name[0] | 0x20 == 0x74 else { return false }
        return name.equalsIgnoringCase("tracestate") || name.equalsIgnoringCase("traceparent")
    }

    /// Decides about the trace fields of a request that has some, or should have. `true` when one is to be written anew.
    @inline(never) mutating func takeTrace(_ id: SlabID, _ bytes: RawSpan) -> Bool {
        noteTrace(id, bytes)
        let isKept = !exchanges[id].facts.traceID.isEmpty
        if !isKept {
            // §3.3: without a parent that can be read its state means nothing.
            for index in 0..<requestHead.fields.count where isTrace(bytes[requestHead.fields[index].name]) {
                requestHead.fields.drop(index)
            }
        }
        return !isKept && snapshots[current].tracing == .generate
    }

    /// Remembers the trace of a request for its access line: that of one `traceparent` which is valid. Of several none is
    /// (§3.2: the field stands at most once).
    @inline(never) mutating func noteTrace(_ id: SlabID, _ bytes: RawSpan) {
        guard snapshots[current].tracing != .drop, exchanges[id].facts.traceID.isEmpty else { return }
        var parent: ByteRange?
        for index in 0..<requestHead.fields.count where !requestHead.fields[index].isDropped {
            guard requestHead.fields[index].name.count == 11, isTrace(bytes[requestHead.fields[index].name])
            else { continue }
            guard parent == nil else { return }
            parent = requestHead.fields[index].value
        }
        guard let parent, let trace = TraceParent.traceID(of: bytes[parent]) else { return }
        exchanges[id].facts.traceID = exchanges[id].keep(bytes[parent][trace], limit: 32)
    }

    /// Begins a trace: its ids are random, which the counted ones of requests are not.
    @inline(never) mutating func writeTrace(_ writer: inout HeadWriter, _ id: SlabID) {
        identityCount &+= 2
        let trace = identityHash.hash128(prefix: identityCount &- 1, RawSpan())
        let parent = identityHash.hash128(prefix: identityCount, RawSpan())
        lineBlock.removeAll()
        let range = TraceParent.append(trace: trace, parent: parent.0, to: &lineBlock)
        exchanges[id].facts.traceID = apart(&exchanges, lineBlock) { $0[id].keep($1.bytes[range], limit: 32) }
        writer.field("traceparent: ", lineBlock.bytes)
    }
}
