import Memory
import Telemetry

/// Made once: a table is never freed.
private let label = NameTable(["a \"name\"\u{1}"])

/// Any bytes as the texts of an exchange: the line is one JSON object of strings and numbers, printable, and bounded.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ data: UnsafePointer<UInt8>, _ size: Int) -> CInt {
    guard size >= 1 else { return 0 }
    let bytes = unsafe Array(UnsafeBufferPointer(start: data, count: size))
    // The first byte says where the rest is cut in two: one half is told as some texts, the other as others.
    let cut = 1 + (size - 1) * Int(bytes[0]) / 255
    let first = Array(bytes[1..<max(1, cut)])
    let second = Array(bytes[max(1, cut)...])
    let pool = BlockPool(limit: 1)
    guard var block = pool.take() else { return 0 }
    var encoder = AccessLineEncoder(
        names: AccessNames(routes: label, services: label, endpoints: label, listeners: label, reasons: label)
    )
    var record = AccessRecord()
    record.route = 0
    let isEncoded = encoder.encode(
        record, requestID: second.rawSpan, traceID: second.rawSpan, client: first.rawSpan,
        method: second.rawSpan,
        host: first.rawSpan, path: first.rawSpan, target: second.rawSpan, subject: second.rawSpan,
        into: &block)
    precondition(isEncoded && block.byteCount <= AccessLineEncoder.longestLine)
    check(block.bytes.array)
    return 0
}

/// A reader of exactly what a line may be.
private func check(_ line: [UInt8]) {
    precondition(
        line.first == UInt8(ascii: "{") && line.suffix(2) == [UInt8(ascii: "}"), UInt8(ascii: "\n")])
    precondition(String(validating: line, as: UTF8.self) != nil)
    var place = 1
    let end = line.count - 2
    while place < end {
        if place > 1 { place = expect(line, place, UInt8(ascii: ",")) }
        place = expect(line, string(line, place), UInt8(ascii: ":"))
        if line[place] == UInt8(ascii: "\"") {
            place = string(line, place)
        } else {
            precondition(line[place].isDigit)
            while line[place].isDigit { place += 1 }
        }
    }
    precondition(place == end)
}

private func expect(_ line: [UInt8], _ place: Int, _ byte: UInt8) -> Int {
    precondition(line[place] == byte)
    return place + 1
}

/// The offset behind the string at `start`.
private func string(_ line: [UInt8], _ start: Int) -> Int {
    var place = expect(line, start, UInt8(ascii: "\""))
    while line[place] != UInt8(ascii: "\"") {
        precondition(line[place] >= 0x20 && line[place] != 0x7f)
        if line[place] != UInt8(ascii: "\\") {
            place += 1
        } else if line[place + 1] == UInt8(ascii: "u") {
            precondition((2..<6).allSatisfy { line[place + $0].hexValue != nil })
            place += 6
        } else {
            precondition(line[place + 1] == UInt8(ascii: "\"") || line[place + 1] == UInt8(ascii: "\\"))
            place += 2
        }
    }
    return place + 1
}
