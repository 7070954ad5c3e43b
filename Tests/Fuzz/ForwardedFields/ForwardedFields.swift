import HTTP
import LinuxIO
import Memory

/// Any bytes as what proxies have written: nodes lie in the value and hold what an address may, and what a trusted proxy
/// appends to a value that is believed is its own element, as it wrote it.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ data: UnsafePointer<UInt8>, _ size: Int) -> CInt {
    let bytes = unsafe Array(UnsafeBufferPointer(start: data, count: size))
    let (found, isBroken) = elements(bytes)
    precondition(
        ForwardedFields.isValid(ByteRange(start: 0, end: size), of: bytes.rawSpan) == !isBroken)
    for node in found { check(node, bytes) }
    if !isBroken {
        for (appended, address) in [
            ("for=192.0.2.1", "192.0.2.1"), (#"for="[2001:db8::1]:80";proto=x"#, "2001:db8::1"),
        ] {
            let longer = bytes + Array(", \(appended)".utf8)
            let (more, isLongerBroken) = elements(longer)
            precondition(!isLongerBroken && more.count == found.count + 1)
            precondition(Array(more.dropLast()) == found)
            guard case .address(let range) = more[more.count - 1] else { preconditionFailure() }
            precondition(longer.rawSpan[range].text == address)
        }
    }
    let hop = ForwardedFields.node(inList: ByteRange(start: 0, end: size), of: bytes.rawSpan)
    check(hop, bytes)
    if case .address(let range) = hop, let address = SocketAddress.parse(bytes.rawSpan[range]) {
        // An address means the same however often it is written down and read.
        let again = Array(address.text.utf8)
        let node = ForwardedFields.node(inList: ByteRange(start: 0, end: again.count), of: again.rawSpan)
        guard case .address(let text) = node else { preconditionFailure() }
        precondition(SocketAddress.parse(again.rawSpan[text]) == address)
    }
    return 0
}

private func elements(_ bytes: [UInt8]) -> ([ForwardedNode], isBroken: Bool) {
    var cursor = ForwardedCursor(ByteRange(start: 0, end: bytes.count))
    var found: [ForwardedNode] = []
    while case .element(let node) = cursor.next(in: bytes.rawSpan) { found.append(node) }
    precondition(cursor.next(in: bytes.rawSpan) == .end)
    return (found, cursor.isBroken)
}

private func check(_ node: ForwardedNode, _ bytes: [UInt8]) {
    guard case .address(let range) = node else { return }
    precondition(!range.isEmpty && range.upperBound <= bytes.count)
    precondition(bytes.rawSpan[range].firstIndex(notIn: .ipv6Text, from: 0) == Int(range.count))
}
