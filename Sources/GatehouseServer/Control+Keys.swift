import Config
import LinuxIO
import Memory
import Proxy
import Reactor
import TLS

/// What is due for one source of keys. On the control thread alone.
struct KeyDuty {
    enum Phase { case idle, opening, fetching, taking }

    let source: KeySource
    var phase = Phase.idle
    /// When it is fetched next.
    var due: UInt64
    var failures = 0
    var maxAgeSeconds: Int?
    /// Until when no unknown key begins a fetch.
    var cooldownEnds: UInt64 = 0
    /// A fetch is wanted as soon as what is under way has ended.
    var isWished = false
}

// Key sets: when they are fetched or read again, and who is told. One tick a second looks at all of them.
extension Control {
    static let keyPause: UInt64 = 1_000_000_000

    /// Begins to look after the sources of the configuration that runs now.
    mutating func syncKeys(_ loop: inout EventLoop) {
        let old = keyDuties
        keyDuties = fleet.household.keys.materials.map { material in
            if var kept = old.first(where: { $0.source == material.source }) {
                kept = KeyDuty(keeping: kept, source: material.source)
                return kept
            }
            return KeyDuty(source: material.source, due: loop.now)
        }
        lookAtKeys(&loop)
        guard !keyDuties.isEmpty, !isTickingKeys else { return }
        isTickingKeys = true
        _ = loop.timers.schedule(Token(kind: Kind.keyTick, id: .none), at: loop.now + Control.keyPause)
    }

    mutating func tickKeys(_ loop: inout EventLoop) {
        guard !keyDuties.isEmpty, !isDraining else {
            isTickingKeys = false
            return
        }
        lookAtKeys(&loop)
        _ = loop.timers.schedule(Token(kind: Kind.keyTick, id: .none), at: loop.now + Control.keyPause)
    }

    private mutating func lookAtKeys(_ loop: inout EventLoop) {
        for index in keyDuties.indices {
            switch keyDuties[index].source.settings {
            case .file(let path): pollKeys(index, path.value, .file)
            case .url(let fetched):
                dropOldKeys(index, fetched)
                if keyDuties[index].phase == .idle, keyDuties[index].due <= loop.now {
                    beginFetch(index, &loop)
                } else if let path = fetched.cacheFile?.value {
                    pollKeys(index, path, .cacheFile)
                }
            }
        }
    }

    private func dropOldKeys(_ index: Int, _ fetched: FetchedKeySettings) {
        let source = keyDuties[index].source
        guard let material = fleet.household.keys.material(of: source.identity), !material.bytes.isEmpty
        else { return }
        let wall = Clock.wall()
        guard wall > material.takenWall, wall - material.takenWall > UInt64(fetched.keepNanoseconds) else {
            return
        }
        // What is being taken is fresh.
        guard keyDuties[index].phase != .taking else { return }
        log.tell(.error, "keys_dropped", [("issuer", source.issuer), source.place])
        _ = fleet.apart("keys") { $0.dropKeys(of: source) }
    }

    /// Looks whether a file is another than it was. A file that is missing is looked for again: it is being replaced.
    private mutating func pollKeys(_ index: Int, _ path: String, _ origin: KeyOrigin) {
        let source = keyDuties[index].source
        guard keyDuties[index].phase == .idle, let state = try? Files.state(path),
            let material = fleet.household.keys.material(of: source.identity), material.fileState != state
        else { return }
        keyDuties[index].phase = .taking
        let isBegun = fleet.apart("keys") { fleet in
            let taking = fleet.readKeys(of: source, path: path, state: state, from: origin)
            _ = fleet.mail.send(.keysTaken(source: source.identity, taking, origin))
        }
        if !isBegun { keyDuties[index].phase = .idle }
    }

    // MARK: Fetching

    private mutating func beginFetch(_ index: Int, _ loop: inout EventLoop) {
        let source = keyDuties[index].source
        guard !fetches.isFull else { return }
        keyDuties[index].phase = .opening
        // Before anything else: from here on a worker that needs a key waits for this fetch.
        fleet.expectFetch(of: source)
        if !fleet.apart("keys", { $0.openDoor(to: source) }) {
            fetchFailed(index, .own("no thread"), &loop)
        }
    }

    mutating func doorOpened(
        _ identity: UInt64, _ addresses: [SocketAddress], _ client: consuming TLSClient?,
        _ loop: inout EventLoop
    ) {
        guard let index = duty(identity), keyDuties[index].phase == .opening,
            let url = keyDuties[index].source.fetched?.url.value
        else { return }
        guard !fetches.isFull else {
            fetchFailed(index, .own("too many fetches at once"), &loop)
            return
        }
        keyDuties[index].phase = .fetching
        let id = fetches.insert(
            KeyFetch(url: url, source: identity, addresses: addresses, client: client))
        let token = Token(kind: Kind.keyFetch, id: id)
        fetches[id].timer = loop.timers.schedule(token, at: loop.now + KeyFetch.timeLimit) ?? .none
        fetchStepped(id, fetches[id].connect(token, &loop), &loop)
    }

    mutating func doorFailed(_ identity: UInt64, _ failure: KeyFetchFailure, _ loop: inout EventLoop) {
        guard let index = duty(identity), keyDuties[index].phase == .opening else { return }
        fetchFailed(index, failure, &loop)
    }

    mutating func driveFetch(_ id: SlabID, _ loop: inout EventLoop) {
        fetchStepped(id, fetches[id].ready(Token(kind: Kind.keyFetch, id: id), from: blocks, &loop), &loop)
    }

    mutating func fetchOverdue(_ id: SlabID, _ loop: inout EventLoop) {
        fetches[id].timer = .none
        fetchStepped(id, .failed(.timeout), &loop)
    }

    private mutating func fetchStepped(_ id: SlabID, _ step: KeyFetch.Step, _ loop: inout EventLoop) {
        guard step != .waiting else { return }
        fetches[id].leave(&loop)
        let identity = fetches[id].source
        _ = fetches.remove(id)
        // A reload may have taken its source away.
        guard let index = duty(identity), keyDuties[index].phase == .fetching else { return }
        switch step {
        case .waiting: return
        case .failed(let failure): fetchFailed(index, failure, &loop)
        case .done(let answer):
            let source = keyDuties[index].source
            keyDuties[index].phase = .taking
            keyDuties[index].maxAgeSeconds = answer.maxAgeSeconds
            let isBegun = fleet.apart("keys") { fleet in
                let taking = fleet.take(answer.bytes, for: source, from: .issuer, state: nil)
                _ = fleet.mail.send(.keysTaken(source: source.identity, taking, .issuer))
            }
            if !isBegun { fetchFailed(index, .own("no thread"), &loop) }
        }
    }

    private mutating func fetchFailed(_ index: Int, _ failure: KeyFetchFailure, _ loop: inout EventLoop) {
        let source = keyDuties[index].source
        guard let fetched = source.fetched else { return }
        keyDuties[index].failures += 1
        let pause = KeySchedule.retry(
            refresh: UInt64(fetched.refreshNanoseconds), failures: keyDuties[index].failures)
        _ = fleet.household.keys.update(source.identity) { $0.failure = failure.text }
        log.tell(
            .warning, "keys_fetch_failed",
            [
                ("issuer", source.issuer), source.place, ("result", failure.name), ("reason", failure.text),
                ("next_s", "\(pause / 1_000_000_000)"),
            ])
        fetchEnded(index, failure.name, next: loop.now + pause, isFetched: false)
    }

    private mutating func fetchEnded(_ index: Int, _ result: String, next: UInt64, isFetched: Bool) {
        let source = keyDuties[index].source
        keyDuties[index].isWished = false
        fleet.household.keys.count(result, of: source.issuer)
        keyDuties[index].phase = .idle
        keyDuties[index].due = next
        // Before the letter: whoever still sees the fetch under way, or one that it was not told of, gets the letter after that.
        var state = KeyFetchState(cell: fleet.keyCells.load(source.cell + 1))
        state.phase = isFetched ? .idle : .failed
        state.ended += 1
        fleet.keyCells.store(state.cell, at: source.cell + 1)
        fleet.settleKeys(
            source.identity, isFetched: isFetched,
            KeyFetchState.Told(ended: state.ended, cell: source.cell))
    }

    /// A set has been checked and given to the workers, or refused.
    mutating func keysTaken(
        _ identity: UInt64, _ taking: KeyTaking, _ origin: KeyOrigin, _ loop: inout EventLoop
    ) {
        guard let index = duty(identity), keyDuties[index].phase == .taking else { return }
        let source = keyDuties[index].source
        guard origin == .issuer, let fetched = source.fetched else {
            keyDuties[index].phase = .idle
            let name = source.fetched?.cacheFile?.value ?? source.place.value
            switch taking {
            case .taken(let isNew):
                if isNew { log.tell(.info, "keys_read", [("issuer", source.issuer), ("file", name)]) }
            case .refused(let reason):
                log.tell(
                    .warning, "keys_refused", [("issuer", source.issuer), ("file", name), ("reason", reason)])
            case .forgotten: return
            }
            if keyDuties[index].isWished {
                keyDuties[index].isWished = false
                beginFetch(index, &loop)
                wish(index, loop.now)
            }
            return
        }
        switch taking {
        case .taken(let isNew):
            keyDuties[index].failures = 0
            let pause = KeySchedule.interval(
                refresh: UInt64(fetched.refreshNanoseconds), maxAgeSeconds: keyDuties[index].maxAgeSeconds)
            log.tell(
                isNew ? .info : .debug, "keys_fetched",
                [
                    ("issuer", source.issuer), source.place, ("changed", "\(isNew)"),
                    ("next_s", "\(pause / 1_000_000_000)"),
                ])
            fetchEnded(index, isNew ? "new" : "unchanged", next: loop.now + pause, isFetched: true)
        case .refused(let reason): fetchFailed(index, .invalid(reason), &loop)
        case .forgotten: keyDuties[index].phase = .idle
        }
    }

    /// A worker has seen a token whose key it does not know: one fetch, for all who wait.
    mutating func takeWishes(_ loop: inout EventLoop) {
        fleet.keyWishes.wakeUp.clear()
        while let identity = fleet.keyWishes.receive() {
            guard let index = duty(identity), keyDuties[index].source.fetched != nil else {
                // Of a configuration that is no longer: nothing will come.
                fleet.settleKeys(identity, isFetched: false)
                continue
            }
            switch keyDuties[index].phase {
            case .opening, .fetching: wish(index, loop.now)
            case .taking: keyDuties[index].isWished = true
            case .idle:
                if loop.now < keyDuties[index].cooldownEnds {
                    // Asked before it knew that the fetch is over.
                    fleet.settleKeys(identity, isFetched: keyDuties[index].failures == 0)
                } else {
                    beginFetch(index, &loop)
                    wish(index, loop.now)
                }
            }
        }
    }

    /// Behind the beginning of a fetch: a worker that saw the cooldown and no fetch would refuse the very token it is for.
    private mutating func wish(_ index: Int, _ now: UInt64) {
        guard let fetched = keyDuties[index].source.fetched, now >= keyDuties[index].cooldownEnds else {
            return
        }
        let end = now + UInt64(fetched.cooldownNanoseconds)
        keyDuties[index].cooldownEnds = end
        fleet.keyCells.store(Int(clamping: end), at: keyDuties[index].source.cell)
    }

    private func duty(_ identity: UInt64) -> Int? {
        keyDuties.firstIndex { $0.source.identity == identity }
    }
}

extension KeyDuty {
    /// The same source with what a reload may have changed about it.
    fileprivate init(keeping old: KeyDuty, source: KeySource) {
        self.init(source: source, due: old.due)
        phase = old.phase
        failures = old.failures
        maxAgeSeconds = old.maxAgeSeconds
        cooldownEnds = old.cooldownEnds
        // A shorter `refresh` holds at once; the next fetch tells when the one after it is.
        if let new = source.fetched, let before = old.source.fetched,
            new.refreshNanoseconds < before.refreshNanoseconds
        {
            due = 0
        }
    }
}
