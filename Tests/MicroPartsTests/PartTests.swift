import MicroParts
import Testing

/// The same parts that `make micro` counts, so that they cannot rot.
@Suite("The parts that are counted alone") struct PartTests {
    @Test("each comes to the right result, whatever the turn", arguments: Part.allCases)
    func right(part: Part) throws {
        // More turns than there are inputs to rotate through, but of signatures, which cost a millisecond here.
        try part.run([.tokenNew, .rs256].contains(part) ? 9 : 70)
    }

    @Test("each finds a wrong result in its first turn", arguments: Part.allCases)
    func spoiled(part: Part) {
        do {
            try part.run(1, isSpoiled: true)
            Issue.record("\(part.rawValue) does not look at its result")
        } catch {
            #expect(error.part == part)
        }
    }
}
