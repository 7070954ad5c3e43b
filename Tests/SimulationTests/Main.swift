import LinuxIO
import Memory
import Proxy
import Telemetry

/// `simulation [--seeds COUNT] [--from SEED] [--seed SEED]`
@main enum Main {
    /// So many schedules are one worker's: that nothing is left behind is proven by those that follow.
    static let batch: UInt64 = 32

    static func main() {
        var from: UInt64 = 0
        var count: UInt64 = 100_000
        var traced: UInt64?
        var words = CommandLine.arguments.dropFirst()
        while let word = words.popFirst() {
            guard let number = words.popFirst().flatMap({ UInt64($0) }) else { usage() }
            switch word {
            case "--seeds": count = number
            case "--from": from = number
            case "--seed": traced = number
            default: usage()
            }
        }
        do {
            if let traced {
                try replay(traced)
            } else {
                try run(from: from, count: count)
            }
        } catch {
            print("no worker: \(error.text)")
            exit(1)
        }
    }

    private static func usage() -> Never {
        print("usage: simulation [--seeds COUNT] [--from SEED] [--seed SEED]")
        exit(2)
    }

    private static func exit(_ status: Int32) -> Never { Machine.exit(status: status) }

    private static func run(from: UInt64, count: UInt64) throws(SystemError) {
        let began = ContinuousClock.now
        var tally = Tally()
        var runner = Runner()
        for seed in from..<(from + count) {
            let world = try runner.run(seed)
            tally.add(world)
            if !world.violations.isEmpty {
                tell(world)
                exit(1)
            }
        }
        let took = ContinuousClock.now - began
        tally.tell(
            count: count,
            seconds: Double(took.components.seconds) + Double(took.components.attoseconds) / 1e18)
        exit(Visits.tell(isFull: count >= 20_000) ? 0 : 1)
    }

    /// Runs the schedules of the seed's worker up to it, and shows the last.
    private static func replay(_ seed: UInt64) throws(SystemError) {
        var runner = Runner()
        for earlier in seed / batch * batch..<seed { _ = try runner.run(earlier) }
        let world = try runner.run(seed, isTracing: true)
        if world.violations.isEmpty {
            print("seed \(seed): nothing is wrong")
        } else {
            tell(world)
            exit(1)
        }
    }

    private static func tell(_ world: World) {
        print("seed \(world.seed) (\(world.mood)) fails:")
        for violation in world.violations { print("  " + violation) }
        print("Replay with: SEED=\(world.seed) make simulation")
    }
}

/// Runs schedules one after the other, with a new worker for each batch and after each drain.
struct Runner {
    private let household = Household()
    private let memory = PeerMemory()
    private let names: AccessNames
    private var gateway: Gateway?

    init() { names = household.names }

    private func usable(for seed: UInt64) -> Gateway? {
        guard let gateway, !gateway.isStopped, seed % Main.batch != 0 else { return nil }
        return gateway
    }

    mutating func run(_ seed: UInt64, isTracing: Bool = false) throws(SystemError) -> World {
        let world = World(seed: seed, memory: memory, isTracing: isTracing)
        let gateway: Gateway
        if let kept = usable(for: seed) {
            gateway = kept
        } else {
            // The old one closes its descriptors before their numbers are given again.
            self.gateway = nil
            gateway = try Gateway(household, names: names, seed: seed)
            self.gateway = gateway
        }
        Schedule(world, gateway).run()
        return world
    }
}

struct Tally {
    private var moods: [String: Int] = [:]
    private var requests = 0
    private var answered = 0
    private var refused = 0
    private var broken = 0
    private var turns = 0

    mutating func add(_ world: World) {
        moods["\(world.mood)", default: 0] += 1
        turns += world.kernel.turn
        for asking in world.askings where asking.hasBegun {
            requests += 1
            switch asking.outcome {
            case .none: break
            case .answered: answered += 1
            case .refused: refused += 1
            case .broken: broken += 1
            }
        }
    }

    func tell(count: UInt64, seconds: Double) {
        let rate = Int(Double(count) / max(seconds, 0.001))
        print("\(count) schedules in \(Int(seconds)) s, \(rate) a second; \(turns) turns")
        print(
            "moods: "
                + moods.sorted { $0.key < $1.key }.map { "\($0.key) \($0.value)" }.joined(separator: ", "))
        print(
            "requests: \(requests); answered \(answered), refused \(refused), broken \(broken), "
                + "without an answer \(requests - answered - refused - broken)")
    }
}
