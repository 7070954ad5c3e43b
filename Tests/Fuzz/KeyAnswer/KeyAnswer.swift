import Cryptography
import HTTP
import HTTP1
import JWT
import Memory

/// What an issuer may answer when it is asked for its keys: any bytes, in any pieces, ended in any way. However they come, the
/// verdict is that of the whole; a body that is taken is what a plain reader makes of it, within the limits; and a key set made of
/// it keeps its own. The first byte chooses how large pieces are, the second how the connection ends and how much is taken.
@_cdecl("LLVMFuzzerTestOneInput") public func fuzz(_ data: UnsafePointer<UInt8>, _ size: Int) -> CInt {
    guard size > 2 else { return 0 }
    let all = unsafe Array(UnsafeBufferPointer(start: data, count: size))
    let bytes = Array(all.dropFirst(2))
    let end: AnswerInput = all[1] & 1 == 0 ? .ended : .cut
    // Small limits are reached, large ones let a whole key set through.
    let limits =
        all[1] & 2 == 0
        ? AnswerLimits(headBytes: 2048, fields: 16, interimHeads: 2, bodyBytes: 4096)
        : AnswerLimits(headBytes: 256, fields: 4, interimHeads: 1, bodyBytes: 64)
    let pool = BlockPool(blockBytes: 4096, limit: 64)
    let whole = outcome(of: bytes, pieces: bytes.count, end, limits, pool)
    let pieces = outcome(of: bytes, pieces: 1 + Int(all[0]), end, limits, pool)
    guard case .done = whole.step else {
        // What fails in one piece fails in many. For which reason may differ: a head that is wrong is cut short before it is read.
        precondition(pieces.step != .done && whole.step != .more && whole.step != .failed(.outOfBlocks))
        return 0
    }
    precondition(whole == pieces)
    precondition(whole.body.count <= limits.bodyBytes)
    if let seconds = whole.maxAge { precondition(seconds >= 0 && seconds <= Int(Int32.max)) }
    compare(whole, bytes, end, limits)
    keySet(whole.body)
    return 0
}

private struct Outcome: Equatable {
    var step = AnswerReader.Step.more
    var body: [UInt8] = []
    var maxAge: Int?
}

private func outcome(
    of bytes: [UInt8], pieces: Int, _ end: AnswerInput, _ limits: AnswerLimits, _ pool: borrowing BlockPool
) -> Outcome {
    var reader = AnswerReader(limits: limits)
    var queue = ByteQueue()
    var step = AnswerReader.Step.more
    var offset = 0
    while step == .more {
        let next = min(offset + pieces, bytes.count)
        guard queue.append(bytes.rawSpan.extracting(offset..<next), from: pool) else {
            preconditionFailure("blocks leak")
        }
        offset = next
        step = reader.read(&queue, offset == bytes.count ? end : .open, from: pool)
    }
    guard step == .done else { return Outcome(step: step) }
    return Outcome(step: step, body: reader.body, maxAge: reader.maxAgeSeconds)
}

/// The plain way: heads by their empty lines, and what is behind the last of them by its framing.
private func compare(
    _ outcome: Outcome, _ bytes: [UInt8], _ end: AnswerInput, _ limits: AnswerLimits
) {
    var rest = bytes[...]
    var status = 100
    var head = ResponseHead(fieldCapacity: limits.fields)
    var interim = -1
    while status < 200 {
        let text = Array(rest)
        var scanned = 0
        let step = ResponseParser.parse(
            text.rawSpan,
            limits: HeadLimits(requestLine: 1, head: limits.headBytes, fields: limits.fields),
            scanned: &scanned, into: &head, requestMethod: .get)
        guard case .complete(let count) = step else { preconditionFailure("a head that is none") }
        rest = rest.dropFirst(count)
        status = head.status
        interim += 1
    }
    precondition(status == 200 && interim <= limits.interimHeads)
    switch head.framing {
    case .none: precondition(outcome.body.isEmpty)
    case .length(let length): precondition(outcome.body == Array(rest.prefix(length)) && rest.count >= length)
    case .close: precondition(outcome.body == Array(rest) && end == .ended)
    // `ChunkedBody` holds the decoder to its own plain reader.
    case .chunked: precondition(outcome.body.count < rest.count)
    case .stream: preconditionFailure("HTTP/1 has no such framing")
    }
}

private func keySet(_ file: [UInt8]) {
    do throws(KeySetError) {
        let keys = try KeySet(file: file.rawSpan, algorithms: [.rs256, .es256, .edDSA])
        precondition(keys.count > 0 && keys.count <= KeySet.mostKeys)
    } catch { precondition(!error.description.isEmpty) }
}
