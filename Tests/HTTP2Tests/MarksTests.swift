import Testing

@testable import HTTP2

@Suite("Marks of streams") struct MarksTests {
    @Test("no two marks share a bit")
    func apart() {
        let marks: [StreamMarks] = [
            .tellRequest, .tellData, .tellTrailers, .tellStarved, .tellDrained, .tellReset, .tellClosed,
            .isListed,
            .isAnnounced, .inboundEnded, .hasData, .hasTrailers, .discardsInbound, .isClosed, .responded,
            .outboundEnded, .hasOutTrailers, .wasFull, .resetHere, .headTooLarge, .badName, .badValue,
            .trailersTooLarge, .badTrailers, .resetByPeer, .answeredEarly, .isTunnel, .isMalformed,
            .tellInterim, .finalHead, .headSent, .holdsSinceMark,
        ]
        #expect(Set(marks.map(\.rawValue)).count == marks.count)
        #expect(marks.reduce(0) { $0 + $1.rawValue.nonzeroBitCount } == marks.count)
    }
}
