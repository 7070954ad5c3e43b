import Memory
import Telemetry
import Testing

private let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

/// All of it but the version.
private let rest = good.dropFirst(2)

private func traceID(_ text: String) -> String? {
    let bytes = Array(text.utf8)
    return TraceParent.traceID(of: bytes.rawSpan).map { bytes.rawSpan[$0].text }
}

@Suite("W3C Trace Context (level 1) §3.2 traceparent") struct TraceParentTests {
    @Test(
        "§3.2.2, §3.2.3: the examples",
        arguments: [good, "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"])
    func examples(text: String) { #expect(traceID(text) == "4bf92f3577b34da6a3ce929d0e0e4736") }

    @Test("§3.2.2.5: unknown flags are no mistake", arguments: ["ff", "02", "a0"])
    func flags(text: String) { #expect(traceID(String(good.dropLast(2)) + text) != nil) }

    private static let laterVersions: [(text: String, isValid: Bool)] = [
        ("01\(rest)", true), ("cc\(rest)", true), ("fe\(rest)-x", true),
        ("cc\(rest)-what the future brings", true),
        ("cc\(rest)-", true), ("cc\(rest).x", false), ("cc\(rest.dropLast())", false),
    ]

    @Test("§3.2.4: a later version is read as far as 00 goes", arguments: laterVersions)
    func later(text: String, isValid: Bool) { #expect((traceID(text) != nil) == isValid) }

    private static let badValues: [String] = [
        // §3.2.2.1: version 255, and no version.
        "ff\(rest)", "0g\(rest)", "0\(rest)", "",
        // §3.2.2.2: exactly so long in version 00.
        "\(good)-", "\(good)-01", "\(good)0", "\(good.dropLast())", "\(good.dropLast(3))", " \(good)",
        "\(good) ",
        // §3.2.2.3: a trace-id of all zeros, upper case, other bytes.
        "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e473x-00f067aa0ba902b7-01",
        // §3.2.2.4: the same for the parent-id.
        "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00F067AA0BA902B7-01",
        // §3.2.2.5: flags are two digits.
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0x",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0A",
        // Other separators.
        "00_4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736_00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7_01",
    ]

    @Test("§3.2.2: what is not to the letter is not valid", arguments: badValues)
    func bad(text: String) { #expect(traceID(text) == nil) }

    @Test("any byte but the right ones, at any place, is refused") func everyByte() {
        for offset in 0..<55 {
            for byte in UInt8.min...255 {
                var bytes = Array(good.utf8)
                bytes[offset] = byte
                let isHex = (0x30...0x39).contains(byte) || (0x61...0x66).contains(byte)
                let isDash = [2, 35, 52].contains(offset)
                // At the first two places another digit is a later version, whose length fits too.
                let isRight = isDash ? byte == 0x2d : isHex
                #expect((TraceParent.traceID(of: bytes.rawSpan) != nil) == isRight, "\(byte) at \(offset)")
            }
        }
    }

    @Test(
        "what is made is valid, not sampled, and never of zeros",
        arguments: [(0, 0, 0), (.max, .max, .max), (0x0123_4567_89ab_cdef, 1, 0xf)]
            as [(UInt64, UInt64, UInt64)])
    func made(high: UInt64, low: UInt64, parent: UInt64) {
        let pool = BlockPool(blockBytes: 128, limit: 1)
        guard var block = pool.take() else { return }
        block.append("xx")
        let range = TraceParent.append(trace: (high, low), parent: parent, to: &block)
        let text = String(block.bytes.text.dropFirst(2))
        #expect(traceID(text) == block.bytes[range].text)
        #expect(text.hasPrefix("00-") && text.hasSuffix("-00"))
        if high == 0x0123_4567_89ab_cdef {
            #expect(text == "00-0123456789abcdef0000000000000001-000000000000000f-00")
        }
    }
}
