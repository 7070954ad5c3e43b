import HTTP
import Memory

/// The normal form of a path is its own normal form, keeps no dot segment, and decodes to what the path decoded to when
/// its segments are resolved after decoding. The first byte says whether slashes are merged.
@_cdecl("LLVMFuzzerTestOneInput") public func fuzz(_ data: UnsafePointer<UInt8>, _ size: Int) -> CInt {
    guard size > 0 else { return 0 }
    let all = unsafe Array(UnsafeBufferPointer(start: data, count: size))
    let isMerging = all[0] & 1 == 0
    let raw = Array(all.dropFirst())
    let pool = BlockPool(limit: 2)
    guard var block = pool.take(), var second = pool.take() else { return 0 }
    let answer = normalized(raw, isMerging, &block)
    let form: [UInt8]
    switch answer {
    case .refused: return 0
    case .unchanged: form = raw
    case .rewritten: form = block.bytes.array
    }
    precondition(form.count <= raw.count && form.first == 0x2f)
    let again = normalized(form, isMerging, &second)
    precondition(again == .unchanged)
    let segments = form.split(separator: 0x2f, omittingEmptySubsequences: false).dropFirst()
    for (index, segment) in segments.enumerated() {
        precondition(!segment.elementsEqual([0x2e]) && !segment.elementsEqual([0x2e, 0x2e]))
        precondition(!isMerging || !segment.isEmpty || index == segments.count - 1)
    }
    precondition(form.allSatisfy { $0 > 0x20 && $0 < 0x7f && !"#?\\".utf8.contains($0) })
    precondition(form == reference(raw, isMerging: isMerging))
    return 0
}

private func normalized(_ path: [UInt8], _ isMerging: Bool, _ block: inout Block) -> PathAnswer {
    PathForm.normalize(path.rawSpan, mergeSlashes: isMerging, into: &block)
}

/// The normal form of a path that has one, by the letter: decode each segment, then resolve, then encode again.
private func reference(_ raw: [UInt8], isMerging: Bool) -> [UInt8] {
    let segments = raw.split(separator: 0x2f, omittingEmptySubsequences: false).dropFirst().map(decoded)
    var resolved: [[UInt16]] = []
    for (index, segment) in segments.enumerated() {
        let isLast = index == segments.count - 1
        switch segment {
        case [0x2e]:
            if isLast { resolved.append([]) }
        case [0x2e, 0x2e]:
            resolved.removeLast()
            if isLast { resolved.append([]) }
        case []:
            if !isMerging || isLast { resolved.append([]) }
        default: resolved.append(segment)
        }
    }
    return resolved.flatMap { [0x2f] + $0.flatMap(encoded) }
}

/// The characters of a segment; those that stay encoded are told from the same byte as it is by 256 more.
private func decoded(_ segment: ArraySlice<UInt8>) -> [UInt16] {
    var characters: [UInt16] = []
    var rest = segment
    while let byte = rest.popFirst() {
        if byte != 0x25 {
            characters.append(UInt16(byte))
            continue
        }
        guard let value = UInt8(String(decoding: rest.prefix(2), as: UTF8.self), radix: 16) else {
            preconditionFailure("a bad encoding was accepted")
        }
        rest = rest.dropFirst(2)
        let isUnreserved = ByteSet.unreserved.contains(value)
        characters.append(isUnreserved ? UInt16(value) : UInt16(value) + 256)
    }
    return characters
}

private func encoded(_ character: UInt16) -> [UInt8] {
    if character < 256 { return [UInt8(character)] }
    let digits = String(character - 256, radix: 16, uppercase: true)
    return [0x25] + Array((digits.count == 1 ? "0" + digits : digits).utf8)
}
