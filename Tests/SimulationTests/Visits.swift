import Proxy

/// How often each phase of the exchange machine met each event, and which pairs cannot be.
enum Visits {
    /// Pairs that no sequence of events leads to, with the reason.
    static let impossible: [String: String] = {
        var all: [String: String] = [:]
        // `handle` has an answer to each of these, for the day when somebody makes a mistake.
        for event in ["upstreamLost", "responseHead", "responseEnded", "responseBroken"] {
            all["leasing \(event)"] = "there is no connection that could tell"
        }
        for event in ["connected", "connectFailed"] {
            all["waiting \(event)"] = "the connection stands"
            all["streaming \(event)"] = "the connection stands"
        }
        for phase in ["leasing", "streaming"] {
            all["\(phase) tunnelOpened"] = "a 101 is the answer to a request that waits"
        }
        for event in ["connected", "connectFailed", "responseHead", "responseBroken", "tunnelOpened"] {
            all["tunnelling \(event)"] = "bytes of another protocol"
        }
        all["waiting responseEnded"] = "a body ends after its head"
        all["streaming responseHead"] = "one head to an exchange"
        for event in MachineVisits.events {
            all["finished \(event)"] = "an exchange is freed with its last action"
        }
        return all
    }()

    /// Prints the table; `false` when a pair that can be was never met, or one that cannot be was.
    static func tell(isFull: Bool) -> Bool {
        var isGood = true
        print("visits of the exchange machine:")
        for (phase, name) in MachineVisits.phases.enumerated() {
            for (event, other) in MachineVisits.events.enumerated() {
                let count = MachineVisits.count(phase: phase, event: event)
                let pair = "\(name) \(other)"
                let reason = impossible[pair]
                let isWrong = reason == nil ? count == 0 && isFull : count > 0
                if isWrong { isGood = false }
                let note = isWrong ? "  WRONG" : ""
                print("  \(pair): \(count)\(reason.map { " (impossible: \($0))" } ?? "")\(note)")
            }
        }
        return isGood
    }
}
