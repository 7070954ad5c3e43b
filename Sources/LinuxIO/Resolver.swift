internal import CLinux
internal import Synchronization

/// Names to addresses, with a limit in time. Waits: for the control side alone.
///
/// `getaddrinfo(3)` takes as long as the name servers take, and cannot be called off. So threads of their own ask it. One that
/// has no answer in time is left behind: it ends when its answer comes, which nobody looks at any more. How many there are at
/// once has a limit, for a name server that never answers.
public enum Resolver {
    /// For all names that are asked for together. glibc gives up after 10 s by itself where there are one or two silent name
    /// servers (resolv.conf(5): two attempts of 5 s each).
    public static let timeLimit: UInt64 = 10_000_000_000
    /// Threads that ask, in the whole process, those that were left behind among them.
    public static let mostLookups = 16
    /// Addresses of a name that are looked at.
    public static let mostAddresses = 16
    /// How often it is looked whether the answer is still wanted.
    static let pauseMilliseconds: Int32 = 20

    /// Places of threads that ask.
    package final class Places: Sendable {
        /// The process's own.
        static let own = Places()
        private let taken = Atomic(0)

        package init() {}

        func take() -> Bool {
            guard taken.add(1, ordering: .relaxed).oldValue >= mostLookups else { return true }
            leave()
            return false
        }

        func leave() { taken.subtract(1, ordering: .relaxed) }
    }

    public enum Failure: Error, Equatable, Sendable {
        /// What `getaddrinfo(3)` says.
        case refused(String)
        case timeout(milliseconds: UInt64)
        /// Those who were asked before have not answered: nobody is left to ask.
        case busy
        case calledOff
        case system(SystemError)

        public var text: String {
            switch self {
            case .refused(let text): text
            case .timeout(let time):
                "no answer within \(time % 1000 == 0 ? "\(time / 1000) s" : "\(time) ms")"
            case .busy: "\(mostLookups) earlier questions have had no answer yet, so this one was not asked"
            case .calledOff: "called off, since the gateway ends"
            case .system(let error): error.text
            }
        }
    }

    public typealias Answer = Result<[SocketAddress], Failure>

    /// Up to `mostAddresses` addresses of `host`, in the order of `getaddrinfo(3)`.
    public static func resolve(
        host: String, port: UInt16, within: UInt64 = timeLimit, while isWanted: () -> Bool = { true }
    ) throws(Failure) -> [SocketAddress] {
        let answer = resolve([host], within: within, while: isWanted)[0]
        return try answer.get().map { address in
            var address = address
            address.port = port
            return address
        }
    }

    /// The addresses of each of `hosts`, with port 0. They are asked for at the same time, so that one slow name takes nothing
    /// from the others. It is over at the latest after `within` nanoseconds, and soon after `isWanted` says no.
    public static func resolve(
        _ hosts: [String], within: UInt64 = timeLimit, while isWanted: () -> Bool = { true }
    ) -> [Answer] {
        resolve(hosts, within: within, while: isWanted, asking: ask)
    }

    /// As above, with somebody else to be asked, by threads that have their places in `places`.
    package static func resolve(
        _ hosts: [String], within: UInt64, while isWanted: () -> Bool, places: Places = .own,
        asking: @escaping @Sendable (String) -> Answer
    ) -> [Answer] {
        guard !hosts.isEmpty else { return [] }
        do throws(SystemError) {
            let round = try LookupRound(hosts, asking)
            var poller = try Poller(capacity: 1)
            try poller.add(round.wakeUp.number, token: 0, interest: .level)
            if let failure = begin(round, threads: min(hosts.count, mostLookups), places) {
                return round.finish(failure)
            }
            return wait(for: round, &poller, within: within, while: isWanted)
        } catch {
            return hosts.map { _ in .failure(.system(error)) }
        }
    }

    private static func wait(
        for round: LookupRound, _ poller: inout Poller, within: UInt64, while isWanted: () -> Bool
    ) -> [Answer] {
        let deadline = Clock.monotonic() + within
        while !round.isAnswered {
            guard isWanted() else { return round.finish(.calledOff) }
            let now = Clock.monotonic()
            guard now < deadline else { return round.finish(.timeout(milliseconds: within / 1_000_000)) }
            let left = (deadline - now) / 1_000_000 + 1
            _ = poller.wait(milliseconds: min(pauseMilliseconds, Int32(clamping: left)))
            round.wakeUp.clear()
        }
        return round.finish(.calledOff)
    }

    /// Starts as many threads as there are places for, one at least. Why not, where there is none.
    private static func begin(_ round: LookupRound, threads: Int, _ places: Places) -> Failure? {
        for started in 0..<threads {
            guard places.take() else { return started > 0 ? nil : .busy }
            do throws(SystemError) {
                let thread = try WorkThread(name: "resolver") {
                    round.work()
                    places.leave()
                }
                thread.detach()
            } catch {
                places.leave()
                return started > 0 ? nil : .system(error)
            }
        }
        return nil
    }

    @Sendable private static func ask(_ host: String) -> Answer {
        let most = mostAddresses
        var bytes = [UInt8](repeating: 0, count: 16 * most)
        var kinds = [Int32](repeating: 0, count: most)
        let found = unsafe bytes.withUnsafeMutableBytes { space in
            unsafe kinds.withUnsafeMutableBufferPointer { kinds in
                typealias Row = (
                    UInt8, UInt8, UInt8, UInt8, UInt8, UInt8, UInt8, UInt8, UInt8, UInt8, UInt8, UInt8, UInt8,
                    UInt8,
                    UInt8, UInt8
                )
                let rows = unsafe space.baseAddress?.bindMemory(to: Row.self, capacity: most)
                return unsafe cl_resolve(host, rows, kinds.baseAddress, Int32(most))
            }
        }
        guard found >= 0 else {
            return .failure(.refused(unsafe String(cString: gai_strerror(found + 1000))))
        }
        return .success(
            (0..<Int(found)).map { index in
                SocketAddress(
                    bytes: Array(bytes[index * 16..<index * 16 + 16]), port: 0, isV6: kinds[index] != 0)
            })
    }
}

/// Names that are asked for together. Threads take one after the other; it lives as long as the last of them.
private final class LookupRound: Sendable {
    /// Written once, by the thread that asked.
    private final class Kept: Sendable {
        let answer: Resolver.Answer
        init(_ answer: Resolver.Answer) { self.answer = answer }
    }

    private final class Lookup: Sendable {
        let host: String
        let kept = AtomicLazyReference<Kept>()
        init(_ host: String) { self.host = host }
    }

    private let lookups: [Lookup]
    private let asking: @Sendable (String) -> Resolver.Answer
    private let begun = Atomic(0)
    private let answered = Atomic(0)
    private let isOver = Atomic(false)
    let wakeUp: WakeUp

    init(_ hosts: [String], _ asking: @escaping @Sendable (String) -> Resolver.Answer) throws(SystemError) {
        lookups = hosts.map(Lookup.init)
        self.asking = asking
        wakeUp = try WakeUp()
    }

    /// What each of the threads does.
    func work() {
        while !isOver.load(ordering: .relaxed) {
            let index = begun.add(1, ordering: .relaxed).oldValue
            guard index < lookups.count else { return }
            _ = lookups[index].kept.storeIfNil(Kept(asking(lookups[index].host)))
            answered.add(1, ordering: .releasing)
            wakeUp.signal()
        }
    }

    var isAnswered: Bool { answered.load(ordering: .acquiring) == lookups.count }

    /// No more is asked; what has no answer gets `failure`.
    func finish(_ failure: Resolver.Failure) -> [Resolver.Answer] {
        isOver.store(true, ordering: .relaxed)
        return lookups.map { $0.kept.load()?.answer ?? .failure(failure) }
    }
}
