import LinuxIO
import Memory
import Synchronization

/// The thread that writes the access log: takes what the workers have left in their rings, and hands it to the kernel in
/// large pieces. Workers never wait for it.
final class LogThread: Sendable {
    enum Destination: Sendable, Equatable {
        case standardOutput
        case standardError
        case file(String)
        case none
    }

    private let rings: [ByteRing]
    /// What workers have to say in the error log.
    private let eventRings: [ByteRing]
    let isSleeping = SharedCells(count: 1)
    private let wakeUp: WakeUp
    private let destination: Destination
    private let isStopping = Atomic(false)
    private let wantsReopen = Atomic(false)
    private let lost = Atomic(0)
    private let log: EventLog

    /// `ringBytes` for each of `workers`, a power of two.
    init(workers: Int, ringBytes: Int, destination: Destination, log: EventLog) throws(SystemError) {
        rings = (0..<workers).map { _ in ByteRing(capacity: ringBytes) }
        eventRings = (0..<workers).map { _ in ByteRing(capacity: 16384) }
        wakeUp = try WakeUp()
        self.destination = destination
        self.log = log
    }

    var isOn: Bool { destination != .none }
    var wakeNumber: Int32 { wakeUp.number }
    func ring(_ worker: Int) -> ByteRing { rings[worker] }
    func eventRing(_ worker: Int) -> ByteRing { eventRings[worker] }
    /// Access lines of pieces that could not be written whole: a disk is full, or nobody reads any more.
    var lostLines: Int { lost.load(ordering: .relaxed) }

    /// Opens the file anew (SIGUSR1), so that what was moved away is written to no longer.
    func reopen() {
        wantsReopen.store(true, ordering: .releasing)
        wakeUp.signal()
    }

    /// Writes what is left, then ends the thread.
    func stop() {
        isStopping.store(true, ordering: .releasing)
        wakeUp.signal()
    }

    /// The thread's body. `first` is the file that was opened at the start, where a mistake could still be told.
    func run(first: consuming Descriptor) {
        var file = first
        var isFailing = false
        guard var poller = try? Poller(capacity: 1) else { return }
        try? poller.add(wakeUp.number, token: 0, interest: .level)
        while true {
            if wantsReopen.exchange(false, ordering: .acquiring), case .file(let path) = destination {
                do {
                    file = try Files.openToAppend(path)
                    log.tell(.info, "log_reopened", [("file", path)])
                } catch {
                    log.tell(.error, "log_reopen_failed", [("file", path), ("reason", error.text)])
                }
            }
            let stops = isStopping.load(ordering: .acquiring)
            if drain(to: file, &isFailing) {
                if stops { continue }
                // More will come soon: a short nap gathers lines, and spares the workers the call that wakes us.
                _ = poller.wait(milliseconds: 5)
                wakeUp.clear()
                continue
            }
            if stops { break }
            isSleeping.store(1, at: 0)
            // A line that was left just before the flag was set would otherwise wait for the next one.
            if drain(to: file, &isFailing) { continue }
            _ = poller.wait(milliseconds: 1000)
            isSleeping.store(0, at: 0)
            wakeUp.clear()
        }
        switch destination {
        // These two are not ours to close.
        case .standardOutput, .standardError: _ = file.release()
        case .file, .none: break
        }
    }

    /// A failure that lasts is told where it begins and where it ends: each piece of the log would else be a line of this one.
    private func drain(to file: borrowing Descriptor, _ isFailing: inout Bool) -> Bool {
        var wrote = false
        for ring in rings {
            ring.drain { bytes in
                wrote = true
                do throws(SystemError) {
                    try file.writeAll(bytes)
                    if isFailing { log.tell(.info, "log_write_resumed", [("lost_lines", "\(lostLines)")]) }
                    isFailing = false
                } catch {
                    lost.add(bytes.array.count { $0 == UInt8(ascii: "\n") }, ordering: .relaxed)
                    if !isFailing { log.tell(.error, "log_write_failed", [("reason", error.text)]) }
                    isFailing = true
                }
            }
        }
        for ring in eventRings {
            ring.drain { bytes in
                wrote = true
                Files.write(bytes.text, to: 2)
            }
        }
        return wrote
    }
}
