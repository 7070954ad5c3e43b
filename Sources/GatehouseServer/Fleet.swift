import Config
import Cryptography
import LinuxIO
import Memory
import Proxy
import RateLimit
import Reactor
import Synchronization
import TLS
import Telemetry
import YAML

/// What the control loop is told by other threads.
enum ControlMessage: ~Copyable, Sendable {
    case workerEnded
    case reloadEnded
    /// What a fetch needs is there; https has a client of TLS.
    case doorOpened(source: UInt64, [SocketAddress], TLSClient?)
    case doorFailed(source: UInt64, KeyFetchFailure)
    /// A key set has been looked at.
    case keysTaken(source: UInt64, KeyTaking, KeyOrigin)
}

/// The workers, and the configuration that they run. Reloads happen on a thread of their own, one at a time.
final class Fleet: Sendable {
    struct State: ~Copyable {
        var configuration: Configuration
        var generation = 1
        var listeners: Listeners
        /// Of those listeners that speak TLS.
        var securities: [ListenerSecurity] = []
    }

    let options: ServerOptions
    let household: Household
    let log: EventLog
    let workers: Int
    let metrics: [WorkerMetrics]
    let connectionCounts: SharedCells
    let generations: SharedCells
    /// How many workers have ended, or could not begin.
    private let endedWorkers = SharedCells(count: 1)
    private let listenerCounts: SharedCells
    /// One cell, which every worker reads: a level of `MemoryPressure`.
    let pressure = SharedCells(count: 1)
    let budget: MemoryWatch
    let mail: Mailbox<ControlMessage>
    let adminAddress: Located<BindAddress>?
    let mailboxes: [Mailbox<WorkerMessage>]
    /// Of each source of keys that is fetched, two cells: until when no unknown key begins a fetch, and a `KeyFetchState`.
    let keyCells: SharedCells
    let keyWishes: Mailbox<UInt64>
    /// Held by whoever gives key sets to workers.
    let keyDelivery = Mutex(())
    let controlThreads = ControlThreads()
    private let logThread: LogThread
    private let logNumber: Int32
    private let threads = Mutex<[WorkThread]>([])
    let certificateEnds = Mutex(CertificateEnds())
    private let state: Mutex<State>
    /// Apart from the state, whose lock a reload holds while it reads files.
    private let currentGeneration = Atomic(1)
    private let connections: Int
    private let upstreamConnections: Int
    private let blockBytes: Int

    init(
        _ configuration: Configuration, options: ServerOptions, household: Household, log: EventLog
    ) throws(StartError) {
        self.options = options
        self.household = household
        self.log = log
        let workers = Fleet.workerCount(configuration)
        self.workers = workers
        metrics = (0..<workers).map { _ in WorkerMetrics() }
        connectionCounts = SharedCells(count: workers)
        generations = SharedCells(count: workers)
        listenerCounts = SharedCells(count: LabelTable.defaultCapacity)
        keyCells = SharedCells(count: 2 * Household.mostIssuers)
        connections = try Fleet.connectionLimit(configuration)
        upstreamConnections = Fleet.upstreamLimit(connections: connections, workers: workers)
        blockBytes = Fleet.memoryBudget(configuration) / 2 / workers
        budget = MemoryWatch(budget: Fleet.memoryBudget(configuration))
        adminAddress = configuration.adminListen
        do {
            mail = try Mailbox(capacity: 1024)
            keyWishes = try Mailbox(capacity: 1024)
            var boxes: [Mailbox<WorkerMessage>] = []
            for _ in 0..<workers { boxes.append(try Mailbox(capacity: 4096)) }
            mailboxes = boxes
        } catch {
            throw .system("cannot make mailboxes: \(error.text)")
        }
        (logThread, logNumber) = try Fleet.makeLog(configuration, workers: workers, log: log)
        state = Mutex(State(configuration: configuration, listeners: Listeners(workers: workers)))
    }

    static func workerCount(_ configuration: Configuration) -> Int {
        switch configuration.workers {
        case .auto: max(Machine.usableCores, 1)
        case .count(let count): count
        }
    }

    private static func memoryBudget(_ configuration: Configuration) -> Int {
        switch configuration.memoryBudget {
        case .bytes(let bytes): bytes
        case .threeQuarters: Machine.memoryBytes / 4 * 3
        }
    }

    /// Half of the descriptors, less those that are kept for what is no connection: each connection of a client may need one
    /// to a service. Where there are few, a quarter is kept.
    private static func descriptorRoom() -> Int {
        let all = Machine.raiseDescriptorLimit()
        return max((all - min(Server.reservedDescriptors, all / 4)) / 2, 1)
    }

    /// Connections to services, of one worker: together no more than there are descriptors for.
    private static func upstreamLimit(connections: Int, workers: Int) -> Int {
        min(max(connections, 1024), max(descriptorRoom() / workers, 1))
    }

    private static func connectionLimit(_ configuration: Configuration) throws(StartError) -> Int {
        let room = descriptorRoom()
        var wanted = 0
        // Listeners that say nothing share what one of them would have alone.
        if configuration.listeners.contains(where: { $0.connections.max == nil }) {
            wanted = Server.defaultConnections
        }
        for listener in configuration.listeners {
            guard let most = listener.connections.max else { continue }
            if most.value > room {
                let text =
                    "\(most.value) connections need more descriptors than there are: \(room) are possible under this limit (ulimit -n)"
                throw .configuration(
                    Diagnostics(file: configuration.file, errors: [Diagnostic(at: most.place, text)]))
            }
            wanted += most.value
        }
        return min(wanted, room)
    }

    private static func makeLog(
        _ configuration: Configuration, workers: Int, log: EventLog
    ) throws(StartError) -> (LogThread, Int32) {
        let destination: LogThread.Destination
        var number: Int32 = 1
        switch configuration.accessLog.destination {
        case .stdout: destination = .standardOutput
        case .stderr:
            destination = .standardError
            number = 2
        case .none: destination = .none
        case .file(let path):
            destination = .file(path.value)
            do {
                number = try Files.openToAppend(path.value).release()
            } catch {
                let message = Diagnostic(at: path.place, "cannot open the log '\(path.value)': \(error.text)")
                throw .configuration(Diagnostics(file: configuration.file, errors: [message]))
            }
        }
        // A power of two for each worker, together no more than the configured queue; 64 KiB hold some hundred lines.
        var ringBytes = 65536
        while destination != .none, ringBytes * 2 * workers <= configuration.accessLog.queueBytes {
            ringBytes *= 2
        }
        do {
            let thread = try LogThread(
                workers: workers, ringBytes: ringBytes, destination: destination, log: log)
            return (thread, number)
        } catch {
            throw .system("cannot start the log thread: \(error.text)")
        }
    }

    /// Builds the first snapshots, opens the ports, starts all threads.
    func start(_ names: HostNames) throws(StartError) {
        let result: Result<[Listeners.Opened], StartError> = state.withLock { state in
            do throws(StartError) {
                return .success(try open(&state, names))
            } catch {
                return .failure(error)
            }
        }
        let opened = try result.get()
        for each in opened {
            log.tell(.info, "listening", [("listener", each.listener), ("address", each.address)])
        }
        let (thread, number) = (logThread, logNumber)
        spawn("log") { thread.run(first: Descriptor(owning: number)) }
    }

    private func open(_ state: inout State, _ names: HostNames) throws(StartError) -> [Listeners.Opened] {
        let opened: [Listeners.Opened]
        do {
            let blueprint = try Blueprint(
                state.configuration, names: names, generation: 1, household: household,
                connections: connections, log: log)
            expectKeys(blueprint.keys)
            take(blueprint.securities, &state)
            for worker in 0..<workers { try startWorker(worker, blueprint.snapshot()) }
            adoptKeys(blueprint.keys)
            opened = try state.listeners.open(state.configuration, household: household) {
                worker, label, number, isShared in
                _ = mailboxes[worker].send(.listen(label: label, number: number, isShared: isShared))
            }
        } catch let error as Diagnostics {
            throw .configuration(error)
        } catch {
            throw .system("\(error)")
        }
        return opened
    }

    private func startWorker(_ index: Int, _ snapshot: consuming Snapshot) throws(StartError) {
        var random = Random()
        let settings = WorkerSettings(
            index: index, connections: connections, upstreamConnections: upstreamConnections,
            blockBytes: blockBytes, limiter: household.limiter, clients: household.clients,
            inFlight: household.inFlight,
            meters: metrics[index],
            connectionCounts: connectionCounts, listenerCounts: listenerCounts, generations: generations,
            log: AccessLogRing(
                ring: logThread.ring(index), isSleeping: logThread.isSleeping,
                wakeNumber: logThread.wakeNumber,
                isOn: logThread.isOn),
            events: AccessLogRing(
                ring: logThread.eventRing(index), isSleeping: logThread.isSleeping,
                wakeNumber: logThread.wakeNumber, isOn: log.level <= .warning),
            tellsHandshakes: log.level <= .info, names: household.names, pressure: pressure,
            mailbox: mailboxes[index],
            neighbours: Neighbours(mailboxes), keyCells: keyCells, keyWishes: keyWishes)
        let seed = random.next()
        // The snapshot reaches its worker through the mailbox, as every later one does.
        let letter = mailboxes[index].send(.snapshot(snapshot))
        precondition(letter == nil, "a fresh mailbox has room")
        let (log, mail, ended) = (log, mail, endedWorkers)
        let isBegun = spawn("worker-\(index)") {
            do throws(SystemError) {
                try Worker.serve(settings, seed: seed)
            } catch {
                log.tell(.error, "worker_failed", [("worker", "\(index)"), ("reason", error.text)])
            }
            ended.add(1, at: 0)
            _ = mail.send(.workerEnded)
        }
        if !isBegun {
            endedWorkers.add(1, at: 0)
            _ = mail.send(.workerEnded)
        }
    }

    /// How long a worker may take to make its tables before the others begin without it, and to take a snapshot before it is
    /// said to be in force.
    static let takingMilliseconds = 5000

    /// Waits until each worker has made its tables and taken the snapshot of this generation, or one is lost. What is allocated
    /// when all have the first is for clients.
    func awaitWorkers(generation: Int = 1) {
        guard var pause = try? Poller(capacity: 1) else { return }
        var left = Fleet.takingMilliseconds
        while left > 0, endedWorkers.load(0) == 0,
            (0..<workers).contains(where: { generations.load($0) < generation })
        {
            _ = pause.wait(milliseconds: 1)
            left -= 1
        }
    }

    /// Whether there is such a thread now.
    @discardableResult private func spawn(_ name: String, _ body: @escaping @Sendable () -> Void) -> Bool {
        do {
            let thread = try WorkThread(name: name, body)
            threads.withLock { $0.append(thread) }
            return true
        } catch {
            log.tell(.error, "thread_failed", [("thread", name), ("reason", error.text)])
            return false
        }
    }

    // MARK: Reload

    /// Builds the file's configuration whole and gives it to every worker, or keeps what runs and says why. On a thread
    /// of its own, so that the control loop goes on.
    func beginReload() {
        let isBegun = apart("reload") { fleet in
            fleet.reload()
            _ = fleet.mail.send(.reloadEnded)
        }
        if !isBegun {
            log.tell(.error, "reload_refused", [("reason", "there is no thread to be had")])
            _ = mail.send(.reloadEnded)
        }
    }

    private func reload() {
        let (configuration, names): (Configuration, HostNames)
        switch ConfigurationFile.load(options.configurationFile) {
        case .success(let loaded):
            configuration = loaded
            names = HostNames(of: loaded) { !controlThreads.isEnding }
        case .failure(let errors):
            return log.tell(.error, "reload_refused", [("reason", errors.description)])
        }
        let generation: Int? = state.withLock { state in
            do throws(Diagnostics) {
                let opened = try exchange(&state, configuration, names)
                for each in opened {
                    log.tell(.info, "listening", [("listener", each.listener), ("address", each.address)])
                }
                return state.generation
            } catch {
                log.tell(.error, "reload_refused", [("reason", error.description)])
                return nil
            }
        }
        guard let generation else { return }
        // Who reads the line may rely on it: a request that comes behind it meets the new configuration.
        awaitWorkers(generation: generation)
        log.tell(
            .info, "reloaded", [("generation", "\(generation)"), ("file", options.configurationFile)])
    }

    private func exchange(
        _ state: inout State, _ configuration: Configuration, _ names: HostNames
    ) throws(Diagnostics) -> [Listeners.Opened] {
        let generation = state.generation + 1
        let blueprint = try Blueprint(
            configuration, names: names, generation: generation, household: household,
            connections: connections, log: log)
        // All snapshots stand before the first is sent: a mistake leaves everything as it was.
        let letters = SnapshotLetters()
        for _ in 0..<workers { letters.append(try blueprint.snapshot()) }
        let opened = try state.listeners.open(configuration, household: household) {
            worker, label, number, isShared in
            _ = mailboxes[worker].send(.listen(label: label, number: number, isShared: isShared))
        }
        expectKeys(blueprint.keys)
        take(blueprint.securities, &state)
        tellFixed(configuration, state.configuration)
        // Before the snapshot of the same generation: whoever runs that has let go.
        state.listeners.retire(configuration, generation: generation) { worker, number in
            _ = mailboxes[worker].send(.unlisten(number: number))
        }
        for worker in 0..<workers {
            guard let snapshot = letters.take() else { break }
            if mailboxes[worker].send(.snapshot(snapshot)) != nil {
                log.tell(.error, "mailbox_full", [("worker", "\(worker)")])
            }
        }
        adoptKeys(blueprint.keys)
        state.configuration = configuration
        state.generation = generation
        currentGeneration.store(generation, ordering: .releasing)
        return opened
    }

    /// What a reload cannot change is said, not ignored in silence.
    private func tellFixed(_ new: Configuration, _ old: Configuration) {
        var names: [String] = []
        if new.workers != old.workers { names.append("workers") }
        if new.memoryBudget != old.memoryBudget { names.append("memory") }
        if new.limiterKeys != old.limiterKeys { names.append("limiter") }
        if new.accessLog != old.accessLog { names.append("log.access") }
        if new.errorLog != old.errorLog { names.append("log.errors") }
        if new.adminListen?.value != old.adminListen?.value { names.append("admin") }
        // Each listener's own number holds at once; what all of them may hold together was settled at the start.
        if new.listeners.compactMap(\.connections.max?.value).reduce(0, +) > connections {
            names.append("connections.max")
        }
        guard !names.isEmpty else { return }
        log.tell(.warning, "needs_restart", [("keys", names.joined(separator: ", "))])
    }

    /// Closes listening sockets that every worker has let go of. `true` when none is left to be closed, or when that
    /// cannot be known now; never waits for a reload.
    func closeRetired() -> Bool {
        var least = Int.max
        for worker in 0..<workers { least = min(least, generations.load(worker)) }
        return state.withLockIfAvailable { $0.listeners.closeRetired(generation: least) } ?? false
    }

    /// Closes every listening socket once all workers drain. `true` when that is done.
    func closeListeners() -> Bool {
        for worker in 0..<workers where generations.load(worker) != Int.max { return false }
        return state.withLockIfAvailable {
            $0.listeners.closeAll()
            return true
        } ?? false
    }

    var generation: Int { currentGeneration.load(ordering: .acquiring) }

    func withState(_ body: (inout State) -> Void) {
        state.withLock { body(&$0) }
    }

    /// `nil` while somebody else has it, a reload for one.
    func withStateIfAvailable(_ body: (inout State) -> Bool) -> Bool? {
        state.withLockIfAvailable { body(&$0) }
    }

    /// `false` when the worker's mailbox is full.
    func send(_ message: consuming sending WorkerMessage, to worker: Int) -> Bool {
        mailboxes[worker].send(message) == nil
    }

    // MARK: Memory

    /// Looks at how much memory is used, and tells the workers what to do about it. Whether half of the budget is used.
    func watchMemory() -> Bool {
        var open = 0
        for worker in 0..<workers { open += connectionCounts.load(worker) }
        let before = pressure.load(0)
        let used = budget.usedBytes(allocatedBytes: options.heapBytes, connections: open)
        let level = MemoryWatch.level(used: used, budget: budget.budgetBytes, before: before)
        if level != before {
            pressure.store(level, at: 0)
            let event = level > before ? "memory_short" : "memory_eased"
            log.tell(.warning, event, [("level", "\(level)"), ("budget", "\(budget.budgetBytes)")])
        }
        if level >= MemoryPressure.closeIdle {
            for mailbox in mailboxes { _ = mailbox.send(.relieve) }
        }
        return used >= budget.budgetBytes / 2
    }

    // MARK: The end

    func reopenLogs() { logThread.reopen() }

    var lostLogLines: Int { logThread.lostLines }

    func beginDrain(until deadline: UInt64) {
        for mailbox in mailboxes { _ = mailbox.send(.drain(deadline: deadline)) }
    }

    /// Ends what has begun of a start that failed: a process must not leave while its threads are still beginning.
    func abandon() {
        beginDrain(until: 0)
        finish()
    }

    /// After the last worker has ended: writes what the log still holds and joins all threads.
    func finish() {
        controlThreads.finish(milliseconds: 2000)
        // Files of sockets go, also where a second signal has cut the drain short. A reload that waits for a disk has the lock,
        // and is not waited for.
        state.withLockIfAvailable { $0.listeners.closeAll() }
        logThread.stop()
        for thread in threads.withLock({ $0 }) { thread.join() }
    }
}

/// Snapshots that wait to be sent.
private final class SnapshotLetters {
    private var waiting = FixedQueue<Snapshot>(capacity: 512)

    func append(_ snapshot: consuming Snapshot) {
        let refused = waiting.push(snapshot)
        precondition(refused == nil, "there are at most 512 workers")
    }

    func take() -> Snapshot? { waiting.pop() }
}
