import LinuxIO
public import Memory

/// Where one worker leaves its log lines for the log thread. Never blocks: what finds no room is dropped and counted.
public struct AccessLogRing: Sendable {
    let ring: ByteRing
    /// 1 while the log thread sleeps and wants to be woken; shared by all rings of the process.
    let isSleeping: SharedCells
    let wakeNumber: Int32
    /// Whether lines are wanted at all.
    let isOn: Bool

    /// `wakeNumber` is the number of the log thread's `WakeUp`, which outlives the workers.
    public init(ring: ByteRing, isSleeping: SharedCells, wakeNumber: Int32, isOn: Bool) {
        self.ring = ring
        self.isSleeping = isSleeping
        self.wakeNumber = wakeNumber
        self.isOn = isOn
    }

    /// Tells the log thread, if it sleeps, that there is something. Once a turn, not once a line.
    @inline(__always) func publish() {
        if isSleeping.load(0) == 1, ring.count > 0 { AccessLogRing.wake(isSleeping, wakeNumber) }
    }

    // Apart from the ring, which would be copied for the call, whether it is made or not.
    @inline(never) private static func wake(_ isSleeping: SharedCells, _ number: Int32) {
        isSleeping.store(0, at: 0)
        WakeUp.signal(number: number)
    }
}
