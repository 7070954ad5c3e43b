import LinuxIO

/// Somebody who asks the gateway.
protocol Caller: AnyObject {
    /// Whether nothing more will come of it by itself.
    var isIdle: Bool { get }
    /// How many requests nobody has answered.
    var unanswered: Int { get }
    func act(listener: Int32?)
    /// Goes away: politely, or not.
    func leave()
    /// Judges what it got in a schedule without faults.
    func judge(isNarrow: Bool)
}

// What clients of either protocol do alike.
extension World {
    /// Connects from an address of the client's own, over a wire that may be narrow.
    func connect(client number: Int, to listener: Int32, with protocolName: String) -> Wire {
        let address = SocketAddress(
            high: 0, low: UInt64(10 + number).byteSwapped | 0xffff << 16, port: UInt16(40000 + number),
            isV6: false)
        let wire = kernel.connect(to: listener, address: address)
        if chance.oneIn(3) { wire.capacity = [1, 200, 5000, 20_000][chance.below(4)] }
        if chance.oneIn(4) { wire.window = [64, 3000, 30_000][chance.below(3)] }
        trace("client \(number) connects as wire \(wire.number), with \(protocolName)")
        return wire
    }

    /// The client closes, resets, half-closes, or half-closes and reads no more. Whether all is over for it.
    func leave(_ wire: Wire, client number: Int, leavesAt: inout Int, stalledUntil: inout Int) -> Bool {
        let way = mood == .rough ? chance.below(4) : 0
        trace(
            "client \(number) leaves (\(["closes", "resets", "half-closes", "half-closes and reads no more"][way]))"
        )
        switch way {
        case 1: wire.reset(&chance)
        case 2, 3:
            wire.finish()
            leavesAt = .max
            if way == 3 { stalledUntil = .max }
            return false
        default: wire.close()
        }
        return true
    }
}
