import LinuxIO
import Synchronization
import Testing

@Suite("Names to addresses") struct ResolverTests {
    /// Answers nobody until it is opened. Each has places of its own: those of the process belong to other tests too.
    private final class Door: Sendable {
        let places = Resolver.Places()
        private let isOpen = Atomic(false)
        let waiting = Atomic(0)

        @Sendable func ask(_ host: String) -> Resolver.Answer {
            guard host.hasPrefix("slow") else { return .failure(.refused(host)) }
            waiting.add(1, ordering: .releasing)
            pause { isOpen.load(ordering: .acquiring) }
            return .success([])
        }

        func open() { isOpen.store(true, ordering: .releasing) }
    }

    private static func pause(until isSo: () -> Bool) {
        guard var poller = try? Poller(capacity: 1) else { return }
        while !isSo() { _ = poller.wait(milliseconds: 1) }
    }

    private static let second: UInt64 = 1_000_000_000

    @Test("each name gets its own answer, in the order that was asked in, however many there are")
    func order() {
        let door = Door()
        let hosts = (0..<1000).map { "name \($0)" }
        let answers = Resolver.resolve(
            hosts, within: 60 * Self.second, while: { true }, places: door.places, asking: door.ask)
        #expect(answers == hosts.map { .failure(.refused($0)) })
        #expect(Resolver.resolve([], within: 0, while: { true }, places: door.places, asking: door.ask) == [])
    }

    @Test("a name that has no answer in time is told so, and takes nothing from the others") func timeout() {
        let door = Door()
        let answers = Resolver.resolve(
            ["a", "slow", "b"], within: Self.second, while: { true }, places: door.places, asking: door.ask)
        #expect(
            answers == [
                .failure(.refused("a")), .failure(.timeout(milliseconds: 1000)), .failure(.refused("b")),
            ])
        #expect(Resolver.Failure.timeout(milliseconds: 250).text == "no answer within 250 ms")
        #expect(Resolver.Failure.timeout(milliseconds: 10000).text == "no answer within 10 s")
        door.open()
    }

    @Test("so many threads may be left behind, and then nobody is asked until one comes back") func bound() {
        let door = Door()
        let slow = (0..<100).map { "slow \($0)" }
        let answers = Resolver.resolve(
            slow, within: 3600 * Self.second,
            while: { door.waiting.load(ordering: .acquiring) < Resolver.mostLookups }, places: door.places,
            asking: door.ask)
        #expect(answers == slow.map { _ in .failure(.calledOff) })
        #expect(ask(["a", "b"], door) == [.failure(.busy), .failure(.busy)])
        #expect(door.waiting.load(ordering: .acquiring) == Resolver.mostLookups)
        door.open()
        Self.pause { ask(["a", "b"], door) == [.failure(.refused("a")), .failure(.refused("b"))] }
    }

    private func ask(_ hosts: [String], _ door: Door) -> [Resolver.Answer] {
        Resolver.resolve(
            hosts, within: 60 * Self.second, while: { true }, places: door.places, asking: door.ask)
    }

    @Test("what nobody wants any more is called off long before its time") func calledOff() {
        let door = Door()
        var asked = 0
        let answers = Resolver.resolve(
            ["slow", "slow too"], within: 3600 * Self.second,
            while: {
                asked += 1
                return asked < 3
            }, places: door.places, asking: door.ask)
        #expect(answers == [.failure(.calledOff), .failure(.calledOff)])
        door.open()
    }
}
