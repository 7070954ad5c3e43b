import Testing

@testable import GatehouseServer

@Suite("The connections of a listener that does not say how many") struct ConnectionShareTests {
    @Test("are an equal part of what the others leave")
    func parts() {
        #expect(Blueprint.share(of: 1000, claims: [nil]) == 1000)
        #expect(Blueprint.share(of: 1000, claims: [nil, nil]) == 500)
        #expect(Blueprint.share(of: 1000, claims: [nil, 400, nil]) == 300)
        #expect(Blueprint.share(of: 65536 + 100, claims: [100, nil]) == 65536)
    }

    @Test("are a quarter of an even part where the others leave hardly any, and never none")
    func fewLeft() {
        #expect(Blueprint.share(of: 1000, claims: [1000, nil]) == 125)
        #expect(Blueprint.share(of: 1000, claims: [.max, nil]) == 125)
        #expect(Blueprint.share(of: 3, claims: [3, nil, nil]) == 1)
    }

    @Test("together with what others claim are no more than all, where all fits")
    func together() {
        for silent in 1...5 {
            for claim in stride(from: 0, through: 500, by: 50) {
                let claims: [Int?] = [claim] + Array(repeating: nil, count: silent)
                #expect(claim + Blueprint.share(of: 1000, claims: claims) * silent <= 1000)
            }
        }
    }
}
