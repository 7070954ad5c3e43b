import Config
import LinuxIO
import TLS
import YAML

/// The files that one listener's TLS is made of, as they were read last, and what was found in them.
struct ListenerSecurity: Sendable {
    let listener: ListenerSettings
    let tls: TLSSettings
    private(set) var pairs: [TLSCertificate] = []
    private(set) var facts: [CertificateFacts] = []
    private(set) var authorities: [UInt8] = []
    private(set) var ticketFile: TicketFile?
    /// At most one of each certificate.
    private(set) var staples: [OCSPResponse] = []
    /// Of every file, when it was looked at before it was read.
    private var marks: [Files.State?]
    /// What a later look found, which has to stay so for one look more: who renews writes one file after the other.
    private var changedMarks: [Files.State?]?

    /// A file that cannot be used, and why.
    struct Flaw: Error {
        let file: Located<String>
        let reason: String

        /// To be told at the file's place.
        var diagnostic: Diagnostic { Diagnostic(at: file.place, "'\(file.value)': \(reason)") }
    }

    /// Reads all files. Those that cannot be used are told, each with its place.
    init(_ listener: ListenerSettings, _ tls: TLSSettings, _ errors: inout [Diagnostic]) {
        self.listener = listener
        self.tls = tls
        marks = []
        marks = paths.map { try? Files.state($0.value) }
        for settings in tls.certificates {
            if let pair = ListenerSecurity.keep(&errors, { () throws(Flaw) in try read(settings) }) {
                pairs.append(pair)
            }
        }
        if let file = tls.clientCertificates.authorityFile {
            authorities =
                ListenerSecurity.keep(&errors) { () throws(Flaw) in
                    try ListenerSecurity.read(file, "CA file")
                } ?? []
        }
        if let file = tls.ticketKeyFile {
            ticketFile = ListenerSecurity.keep(&errors) { () throws(Flaw) in try readTickets(file) }
        }
    }

    private static func keep<Value>(
        _ errors: inout [Diagnostic], _ make: () throws(Flaw) -> Value
    ) -> Value? {
        do {
            return try make()
        } catch {
            errors.append(error.diagnostic)
            return nil
        }
    }

    private var paths: [Located<String>] {
        var paths = tls.certificates.flatMap { [$0.certificateFile, $0.keyFile] }
        if let file = tls.clientCertificates.authorityFile { paths.append(file) }
        if let file = tls.ticketKeyFile { paths.append(file) }
        return paths + tls.stapleFiles
    }

    // MARK: Reading

    private static func read(_ file: Located<String>, _ what: String) throws(Flaw) -> [UInt8] {
        do {
            return try Files.read(file.value, limit: Blueprint.fileBytes)
        } catch {
            throw Flaw(file: file, reason: "cannot read the \(what): \(error.text)")
        }
    }

    private func read(_ settings: CertificateSettings) throws(Flaw) -> TLSCertificate {
        TLSCertificate(
            chain: try ListenerSecurity.read(settings.certificateFile, "certificate"),
            key: try ListenerSecurity.read(settings.keyFile, "private key"))
    }

    private func readTickets(_ file: Located<String>) throws(Flaw) -> TicketFile {
        let bytes = try ListenerSecurity.read(file, "ticket keys")
        do {
            return try TicketFile(bytes)
        } catch {
            throw Flaw(file: file, reason: error.reason)
        }
    }

    /// Which file an error of OpenSSL's is about.
    func flaw(_ error: TLSSettingsError) -> Flaw {
        let file: Located<String>?
        switch error {
        case .badKey(let pair, _), .keyDoesNotFit(let pair): file = tls.certificates[pair].keyFile
        case .badCertificate(let pair, _), .noNames(let pair), .repeatedName(let pair, _, _, _):
            file = tls.certificates[pair].certificateFile
        case .badAuthorities: file = tls.clientCertificates.authorityFile
        case .noCertificates, .refused: file = nil
        }
        return Flaw(file: file ?? tls.certificates[0].certificateFile, reason: error.reason)
    }

    // MARK: What comes of them

    /// One worker's.
    func makeServer(_ household: Household) throws(TLSSettingsError) -> TLSServer {
        guard let tickets = household.ticketKeys(of: listener.name.value) else {
            throw .refused(reason: "the system gives no randomness")
        }
        let http2: [ApplicationProtocol] = listener.protocols.hasHTTP2 ? [.h2] : []
        let http1: [ApplicationProtocol] = listener.protocols.hasHTTP1 ? [.http11] : []
        let asked: ClientCertificates
        switch tls.clientCertificates {
        case .none: asked = .none
        case .optional: asked = .optional(authorities)
        case .required: asked = .required(authorities)
        }
        let settings = TLSServerSettings(
            certificates: pairs, isStrict: tls.isStrict,
            minimumVersion: tls.minimumVersion == .tls12 ? .tls12 : .tls13,
            protocols: listener.protocols.prefersHTTP2 ? http2 + http1 : http1 + http2,
            listenerName: listener.name.value, clientCertificates: asked,
            ticketSeconds: tls.ticketRotationNanoseconds / 1_000_000_000, staples: staples)
        return try TLSServer(settings, ticketKeys: tickets)
    }

    /// Looks at what the certificates say, once the pairs are known to be good.
    mutating func judge(wallSeconds: Int64, _ log: EventLog) throws(Flaw) {
        var facts: [CertificateFacts] = []
        do throws(TLSSettingsError) {
            for (index, pair) in pairs.enumerated() {
                facts.append(try TLSServer.facts(of: pair, pair: index))
            }
        } catch {
            throw flaw(error)
        }
        self.facts = facts
        readStaples(wallSeconds: wallSeconds, log)
    }

    /// A response that cannot be stapled is no reason to refuse anything: it is said, and left out.
    private mutating func readStaples(wallSeconds: Int64, _ log: EventLog) {
        staples = []
        for file in tls.stapleFiles {
            do {
                let bytes = try ListenerSecurity.read(file, "OCSP response")
                let response = try OCSPResponse(
                    bytes, certificates: pairs, nowSeconds: wallSeconds, file: file.value)
                if let other = staples.first(where: { $0.pair == response.pair }) {
                    tellStaple("about the same certificate as '\(other.file)'", file.value, log)
                } else {
                    staples.append(response)
                }
            } catch let flaw as Flaw {
                tellStaple(flaw.reason, file.value, log)
            } catch let flaw as OCSPFlaw {
                tellStaple(flaw.reason, file.value, log)
            } catch {
                tellStaple("\(error)", file.value, log)
            }
        }
    }

    private func tellStaple(_ reason: String, _ file: String, _ log: EventLog) {
        log.tell(
            .warning, "ocsp_not_stapled",
            [
                ("listener", listener.name.value), ("file", file), ("reason", reason),
            ])
    }

    /// Sets the listener's ticket keys to what the configuration says. Whatever is sealed with other keys means a full
    /// handshake from here on.
    func applyTickets(_ household: Household, now: UInt64) {
        guard let keys = household.ticketKeys(of: listener.name.value) else { return }
        if let ticketFile { keys.take(ticketFile) } else { keys.takeRandom(now: now) }
    }

    // MARK: As time goes by

    /// What has to be looked at now and then: whether files have changed, and whether a stapled response has ended.
    /// `true` when they have, and have stayed so for one look.
    mutating func watch(wallSeconds: Int64, _ log: EventLog) -> Bool {
        for response in staples where response.endSeconds <= wallSeconds {
            // The workers have stopped by themselves.
            tellStaple(OCSPFlaw.expired.reason, response.file, log)
        }
        staples.removeAll { $0.endSeconds <= wallSeconds }
        let now = paths.map { try? Files.state($0.value) }
        guard now != marks else {
            changedMarks = nil
            return false
        }
        if changedMarks == now { return true }
        changedMarks = now
        return false
    }

    /// The same listener with its files read anew. Whatever cannot be used stays as it was, and that is said with the file.
    func refreshed(wallSeconds: Int64, _ household: Household, _ log: EventLog) -> ListenerSecurity {
        var new = self
        new.changedMarks = nil
        new.marks = paths.map { try? Files.state($0.value) }
        for (index, settings) in tls.certificates.enumerated() {
            do throws(Flaw) {
                let pair = try read(settings)
                do throws(TLSSettingsError) {
                    _ = try TLSServer.facts(of: pair, pair: index)
                } catch {
                    throw flaw(error)
                }
                new.pairs[index] = pair
            } catch {
                tellKept(error, log)
            }
        }
        if let file = tls.clientCertificates.authorityFile {
            do throws(Flaw) {
                new.authorities = try ListenerSecurity.read(file, "CA file")
            } catch {
                tellKept(error, log)
            }
        }
        if let file = tls.ticketKeyFile {
            do throws(Flaw) {
                new.ticketFile = try readTickets(file)
            } catch {
                tellKept(error, log)
            }
        }
        return new.usable(instead: self, wallSeconds: wallSeconds, household, log)
    }

    /// Good pairs may still not go together, and authorities are read by OpenSSL alone: then what they replace stays. Responses are
    /// read last, about the certificates that are served then.
    private func usable(
        instead old: ListenerSecurity, wallSeconds: Int64, _ household: Household, _ log: EventLog
    ) -> ListenerSecurity {
        var new = self
        for _ in 0..<2 {
            do throws(TLSSettingsError) {
                _ = try new.makeServer(household)
                new.facts = new.pairs.enumerated().compactMap {
                    try? TLSServer.facts(of: $0.element, pair: $0.offset)
                }
                new.readStaples(wallSeconds: wallSeconds, log)
                return new
            } catch {
                tellKept(flaw(error), log)
                if case .badAuthorities = error {
                    new.authorities = old.authorities
                } else {
                    new.pairs = old.pairs
                }
            }
        }
        var same = old
        (same.marks, same.changedMarks) = (marks, nil)
        return same
    }

    private func tellKept(_ flaw: Flaw, _ log: EventLog) {
        log.tell(
            .error, "tls_file_refused",
            [
                ("listener", listener.name.value), ("file", flaw.file.value), ("reason", flaw.reason),
                ("kept", "what was read before"),
            ])
    }
}
