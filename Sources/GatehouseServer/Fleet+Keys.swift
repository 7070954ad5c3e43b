import Config
import Cryptography
import JWT
import LinuxIO
import Memory
import Proxy
import Reactor
import Synchronization
import TLS

/// What a key set came from.
enum KeyOrigin: Sendable { case issuer, file, cacheFile }

/// What became of one that came.
enum KeyTaking: Sendable {
    case taken(isNew: Bool)
    case refused(String)
    /// No configuration names its source any more.
    case forgotten
}

// Key sets on their way to the workers. Reading, checking and writing wait for disks and cost milliseconds: all of that happens
// on threads of their own, never on the control loop.
extension Fleet {
    /// Does `work` on a thread that ends with it. `false` when there was none to be had.
    func apart(_ name: String, _ work: @escaping @Sendable (Fleet) -> Void) -> Bool {
        let fleet = self
        do {
            try controlThreads.start(name) { work(fleet) }
            return true
        } catch {
            log.tell(.error, "thread_failed", [("thread", name), ("reason", error.text)])
            return false
        }
    }

    /// Finds what a fetch needs: addresses and, for https, what is trusted, read anew each time.
    func openDoor(to source: KeySource) {
        guard let url = source.fetched?.url.value else { return }
        do throws(KeyFetchFailure) {
            let addresses = try KeyFetch.addresses(of: url, while: { !controlThreads.isEnding })
            let client = try KeyFetch.client(for: url)
            _ = mail.send(.doorOpened(source: source.identity, addresses, client))
        } catch {
            _ = mail.send(.doorFailed(source: source.identity, error))
        }
    }

    /// Checks a key set, keeps it, and gives it to every worker if it is another than before.
    func take(_ bytes: [UInt8], for source: KeySource, from origin: KeyOrigin, state: Files.State?)
        -> KeyTaking
    {
        // A reload may have changed meanwhile what the keys are for.
        let source = household.keys.material(of: source.identity)?.source ?? source
        if let flaw = KeyMaterial.flaw(in: bytes, of: source) {
            _ = household.keys.update(source.identity) {
                $0.failure = flaw
                if let state { $0.fileState = state }
            }
            return .refused(flaw)
        }
        // One at a time, with reloads: what a worker gets last is what is kept.
        return keyDelivery.withLock { _ in
            let old = household.keys.material(of: source.identity)
            let wall = Clock.wall()
            var written = state
            if origin == .issuer, let path = source.fetched?.cacheFile?.value {
                written = keep(bytes, at: path, source)
            }
            let isKnown = household.keys.update(source.identity) {
                $0.bytes = bytes
                $0.takenWall = origin == .issuer ? wall : min(written?.written ?? wall, wall)
                $0.fileState = written ?? $0.fileState
                $0.failure = nil
            }
            guard isKnown, let old else { return .forgotten }
            let isNew = old.bytes != bytes
            if isNew { deliver(bytes, source) }
            return .taken(isNew: isNew)
        }
    }

    /// Writes the cache file; a disk that is full costs the next start its keys, and nothing else.
    private func keep(_ bytes: [UInt8], at path: String, _ source: KeySource) -> Files.State? {
        do throws(SystemError) {
            try Files.replace(path, with: bytes.rawSpan)
            return try Files.state(path)
        } catch {
            log.tell(
                .warning, "key_cache_failed",
                [("issuer", source.issuer), ("file", path), ("reason", error.text)])
            return nil
        }
    }

    /// Gives a set to every worker; no bytes take it away. Under `keyDelivery`.
    private func deliver(_ bytes: [UInt8], _ source: KeySource) {
        for mailbox in mailboxes {
            let keys: KeySet
            do throws(KeySetError) {
                keys =
                    bytes.isEmpty ? KeySet() : try KeySet(file: bytes.rawSpan, algorithms: source.algorithms)
            } catch {
                preconditionFailure("a set that was checked is a set")
            }
            if mailbox.send(.keys(keys, source: source.identity)) != nil {
                log.tell(.error, "mailbox_full", [("message", "keys")])
            }
        }
    }

    /// Before a configuration is served: where there is no set yet, the first fetch is waited for from the first request on. The
    /// control loop begins it as soon as the configuration runs.
    func expectKeys(_ built: [KeyMaterial]) {
        for material in built where material.bytes.isEmpty && material.source.fetched != nil {
            if household.keys.material(of: material.source.identity) == nil {
                expectFetch(of: material.source)
            }
            if let failure = material.failure {
                log.tell(
                    .warning, "key_cache_ignored", [("issuer", material.source.issuer), ("reason", failure)])
            }
        }
    }

    /// After a start or a reload: the sources that run now. What came while the snapshots were built is sent after them.
    func adoptKeys(_ built: [KeyMaterial]) {
        keyDelivery.withLock { _ in
            household.keys.adopt(built)
            for material in household.keys.materials {
                guard let sent = built.first(where: { $0.source == material.source }) else { continue }
                if sent.bytes != material.bytes { deliver(material.bytes, material.source) }
            }
        }
    }

    /// Takes a set away that is too old to be believed.
    func dropKeys(of source: KeySource) {
        keyDelivery.withLock { _ in
            let isKnown = household.keys.update(source.identity) {
                $0.bytes = []
                $0.failure = $0.failure ?? "the issuer has not been reached for too long"
            }
            if isKnown { deliver([], source) }
        }
    }

    /// From here on a worker that needs a key waits for a fetch.
    func expectFetch(of source: KeySource) {
        var state = KeyFetchState(cell: keyCells.load(source.cell + 1))
        state.phase = .underWay
        keyCells.store(state.cell, at: source.cell + 1)
    }

    /// Tells those who wait for a key that the fetch is over; `told` where one is over just now.
    func settleKeys(_ source: UInt64, isFetched: Bool, _ told: KeyFetchState.Told? = nil) {
        for mailbox in mailboxes {
            if mailbox.send(.keysSettled(source: source, isFetched: isFetched, told: told)) != nil {
                log.tell(.error, "mailbox_full", [("message", "keys_settled")])
            }
        }
    }

    /// A file, or a cache file that somebody else has replaced, is read again.
    func readKeys(of source: KeySource, path: String, state: Files.State, from origin: KeyOrigin) -> KeyTaking
    {
        do {
            return take(
                try Files.read(path, limit: KeySet.mostBytes), for: source, from: origin, state: state)
        } catch {
            _ = household.keys.update(source.identity) {
                $0.failure = error.text
                $0.fileState = state
            }
            return .refused(error.text)
        }
    }
}
