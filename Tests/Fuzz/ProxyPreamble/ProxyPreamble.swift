import LinuxIO
import Memory
import Proxy

/// Any bytes before a connection: what is accepted says again what it said, no more is used up than came, each prefix of
/// what is accepted is incomplete, and what is refused is refused for one reason however it is cut.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ data: UnsafePointer<UInt8>, _ size: Int) -> CInt {
    let bytes = unsafe Array(UnsafeBufferPointer(start: data, count: size))
    let whole = ProxyPreamble.parse(bytes.rawSpan)
    var end = bytes.count
    if case .complete(let consumed, let ends) = whole {
        precondition(consumed > 0 && consumed <= bytes.count && consumed <= ProxyPreamble.mostBytes)
        end = consumed
        if let ends { check(ends, Array(bytes[..<consumed])) }
    }
    for count in 0..<end {
        let step = ProxyPreamble.parse(bytes.rawSpan.extracting(0..<count))
        switch whole {
        case .complete, .incomplete: precondition(step == .incomplete)
        case .refused: precondition(step == .incomplete || step == whole)
        }
    }
    // More than the longest preamble always decides.
    if bytes.count >= ProxyPreamble.mostBytes { precondition(whole != .incomplete) }
    return 0
}

private func check(_ ends: ProxyPreamble.Ends, _ bytes: [UInt8]) {
    if bytes.first == UInt8(ascii: "P") {
        let text = line(ends)
        // IPv6 has many spellings (RFC 5952 §1), and IPv4 in it one more: those must mean the same.
        if bytes.starts(with: Array("PROXY TCP4".utf8)) { precondition(text == bytes) }
        let again = ProxyPreamble.parse(text.rawSpan)
        precondition(again == .complete(consumed: text.count, ends: ends))
        return
    }
    let isV6 = bytes[13] == 0x21
    let block =
        address(ends.source, isV6) + address(ends.destination, isV6) + port(ends.source)
        + port(ends.destination)
    precondition(Array(bytes[16..<16 + block.count]) == block)
}

private func line(_ ends: ProxyPreamble.Ends) -> [UInt8] {
    let isV6 = ends.source.isV6 || ends.destination.isV6
    let texts = [ends.source, ends.destination].map { end in
        let text = String(end.text[..<(end.text.lastIndex(of: ":") ?? end.text.endIndex)])
        let bare = text.hasPrefix("[") ? String(text.dropFirst().dropLast()) : text
        return isV6 && !end.isV6 ? "::ffff:" + bare : bare
    }
    let ports = "\(ends.source.port) \(ends.destination.port)"
    return Array("PROXY \(isV6 ? "TCP6" : "TCP4") \(texts[0]) \(texts[1]) \(ports)\r\n".utf8)
}

private func address(_ end: SocketAddress, _ isV6: Bool) -> [UInt8] {
    let bytes = end.withAddressBytes { $0.array }
    return isV6 ? bytes : Array(bytes[12...])
}

private func port(_ end: SocketAddress) -> [UInt8] {
    [UInt8(end.port >> 8), UInt8(truncatingIfNeeded: end.port)]
}
