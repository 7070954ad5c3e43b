import Config
import TLS
import Telemetry

/// When the certificates of all listeners end, for metrics and warnings.
struct CertificateEnds: Sendable {
    struct Entry: Sendable {
        let listener: String
        let file: String
        /// In seconds since 1970.
        let endSeconds: Int64
        var warnedSeconds: Int64?
    }

    /// How long before its end a certificate is warned of, and how often.
    static let warningSeconds: Int64 = 21 * 86400
    static let pauseSeconds: Int64 = 86400

    private(set) var entries: [Entry] = []

    /// Takes over what is served now; what has been warned of lately is not said again.
    mutating func replace(_ securities: [ListenerSecurity]) {
        let old = entries
        entries = securities.flatMap { security in
            zip(security.tls.certificates, security.facts).map { settings, facts in
                let (listener, file) = (security.listener.name.value, settings.certificateFile.value)
                let before = old.first {
                    $0.listener == listener && $0.file == file && $0.endSeconds == facts.endSeconds
                }
                return Entry(
                    listener: listener, file: file, endSeconds: facts.endSeconds,
                    warnedSeconds: before?.warnedSeconds)
            }
        }
    }

    mutating func warn(wallSeconds: Int64, _ log: EventLog) {
        for index in entries.indices {
            let entry = entries[index]
            let left = entry.endSeconds - wallSeconds
            guard left < CertificateEnds.warningSeconds else { continue }
            if let last = entry.warnedSeconds, wallSeconds - last < CertificateEnds.pauseSeconds { continue }
            entries[index].warnedSeconds = wallSeconds
            log.tell(
                left > 0 ? .warning : .error, left > 0 ? "certificate_expires" : "certificate_expired",
                [
                    ("listener", entry.listener), ("file", entry.file),
                    ("until", EventLog.text(milliseconds: Int(entry.endSeconds) * 1000)),
                    ("days_left", "\(max(left, 0) / 86400)"),
                ])
        }
    }

    /// In the text format of Prometheus.
    func metrics(wallSeconds: Int64) -> String {
        guard !entries.isEmpty else { return "" }
        let name = "gatehouse_certificate_expiry_seconds"
        var text = "# HELP \(name) Seconds until a listener's certificate ends; below 0 it has.\n"
        text += "# TYPE \(name) gauge\n"
        for entry in entries {
            let labels = "listener=\"\(entry.listener)\",file=\"\(PrometheusText.escaped(entry.file))\""
            text += "\(name){\(labels)} \(entry.endSeconds - wallSeconds)\n"
        }
        return text
    }
}
