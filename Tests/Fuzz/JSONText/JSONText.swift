import JSON
import Memory

/// Anything at all as a JSON text: what is accepted is balanced, its strings compare equal to what they resolve to, no
/// object names a member twice, and what a writer makes of the bytes is one string again.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ data: UnsafePointer<UInt8>, _ size: Int) -> CInt {
    let buffer = unsafe UnsafeRawBufferPointer(start: data, count: size)
    let bytes = unsafe RawSpan(_unsafeBytes: buffer)
    read(bytes)
    write(bytes)
    return 0
}

private func read(_ bytes: RawSpan) {
    var reader = JSONReader(bytes, maxDepth: 8, maxBytes: 65536)
    var open: [Set<[UInt8]>?] = []
    var target = FixedBytes(count: bytes.byteCount)
    while let token = try? reader.next() {
        precondition(reader.offset <= bytes.byteCount)
        switch token {
        case .objectStart: open.append([])
        case .arrayStart: open.append(nil)
        case .objectEnd: precondition(open.removeLast() != nil)
        case .arrayEnd: precondition(open.removeLast() == nil)
        case .name(let text):
            let name = resolve(text, bytes, &target)
            precondition(open[open.count - 1]?.insert(name).inserted == true)
        case .string(let text): _ = resolve(text, bytes, &target)
        case .number(let number):
            let digits = reader.raw(number)
            let down = JSONNumber.whole(digits, isRoundedUp: false, bound: 1 << 53)
            let up = JSONNumber.whole(digits, isRoundedUp: true, bound: 1 << 53)
            precondition(up - down == 0 || up - down == 1)
            if let value = Double(digits.text), abs(value) < 1e9 {
                precondition(Double(down) <= value + 1e-3 && value - 1e-3 <= Double(up))
            }
        case .bool, .null: break
        case .end:
            precondition(open.isEmpty && reader.depth == 0)
            return
        }
        precondition(open.count == reader.depth && open.count <= 8)
    }
}

private func resolve(_ text: JSONText, _ bytes: RawSpan, _ target: inout FixedBytes) -> [UInt8] {
    guard let count = text.resolve(in: bytes, into: &target, at: 0, limit: target.count) else {
        preconditionFailure("resolving makes no string longer")
    }
    let resolved = target.bytes(0..<count).array
    precondition(text.equals(resolved.rawSpan, in: bytes))
    precondition(String(validating: resolved, as: UTF8.self) != nil)
    return resolved
}

private func write(_ bytes: RawSpan) {
    guard bytes.byteCount < 2048 else { return }
    let pool = BlockPool(limit: 1)
    guard var block = pool.take() else { return }
    precondition(JSONWriter.append(bytes, to: &block))
    precondition(block.byteCount == JSONWriter.byteCount(bytes))
    var reader = JSONReader(block.bytes)
    guard case .string? = try? reader.next(), (try? reader.next()) == .end else {
        preconditionFailure("not one string")
    }
    for offset in 0..<block.byteCount {
        precondition(block.bytes[offset] >= 0x20 && block.bytes[offset] != 0x7f)
    }
}
