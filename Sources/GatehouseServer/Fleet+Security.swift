import Config
import LinuxIO
import Proxy
import Reactor
import Synchronization
import TLS
import Telemetry
import YAML

// Certificates and keys whose files change while all else stays as it is.
extension Fleet {
    /// What the listeners have become is what is watched from here on.
    func take(_ securities: [ListenerSecurity?], _ state: inout State) {
        state.securities = securities.compactMap { $0 }
        for security in state.securities { security.applyTickets(household, now: Clock.monotonic()) }
        tellEnds(state.securities)
    }

    private func tellEnds(_ securities: [ListenerSecurity]) {
        certificateEnds.withLock { ends in
            ends.replace(securities)
            ends.warn(wallSeconds: Fleet.wallSeconds, log)
        }
    }

    static var wallSeconds: Int64 { Int64(Clock.wall() / 1_000_000_000) }

    /// Looks after ticket keys, certificates that end, and files. `true` when files have changed and are to be read; never waits
    /// for a reload.
    func watchSecurity(now: UInt64) -> Bool {
        certificateEnds.withLock { $0.warn(wallSeconds: Fleet.wallSeconds, log) }
        return withStateIfAvailable { state in
            var isDue = false
            for index in state.securities.indices {
                let security = state.securities[index]
                household.ticketKeys(of: security.listener.name.value)?.rotate(
                    now: now, interval: UInt64(security.tls.ticketRotationNanoseconds))
                if state.securities[index].watch(wallSeconds: Fleet.wallSeconds, log) { isDue = true }
            }
            return isDue
        } ?? false
    }

    /// Reads changed files and gives every worker what came of them. On a thread of its own, as a reload, and like one at a
    /// time.
    func beginRefresh() {
        let isBegun = apart("refresh") { fleet in
            fleet.refresh()
            _ = fleet.mail.send(.reloadEnded)
        }
        if !isBegun { _ = mail.send(.reloadEnded) }
    }

    private func refresh() {
        withState { state in
            for index in state.securities.indices
            where state.securities[index].watch(wallSeconds: Fleet.wallSeconds, log) {
                let new = state.securities[index].refreshed(
                    wallSeconds: Fleet.wallSeconds, household, log)
                state.securities[index] = new
                new.applyTickets(household, now: Clock.monotonic())
                send(new)
            }
            tellEnds(state.securities)
        }
    }

    private func send(_ security: ListenerSecurity) {
        let label = household.listeners.label(for: security.listener.name.value)
        for worker in 0..<workers {
            do throws(TLSSettingsError) {
                let server = try security.makeServer(household)
                if !send(.security(label: label, server), to: worker) {
                    log.tell(.error, "mailbox_full", [("worker", "\(worker)")])
                }
            } catch {
                // It was made once already: what fails now is memory.
                log.tell(.error, "tls_file_refused", [("reason", error.reason)])
            }
        }
        log.tell(.info, "tls_files_read", [("listener", security.listener.name.value)])
    }
}
