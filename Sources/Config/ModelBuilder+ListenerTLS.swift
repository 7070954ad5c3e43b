internal import YAML

// A listener's `tls`.
extension ModelBuilder {
    mutating func tls(_ node: Node?) -> TLSSettings? {
        guard node != nil else { return nil }
        let map = keys(
            of: node, "tls",
            built: [
                "certificates", "min_version", "strict_sni", "client_certificates", "handshake",
                "session_tickets", "ocsp_stapling", "hsts",
            ])
        var certificates: [CertificateSettings] = []
        let items = list(
            required("certificates", of: map), "certificates", 1...ConfigurationBounds.certificatesPerListener
        )
        for item in items {
            let pair = keys(of: item, "a certificate", built: ["cert", "key"])
            let certificate = path(required("cert", of: pair), "cert")
            let key = path(required("key", of: pair), "key")
            if let certificate, let key {
                certificates.append(CertificateSettings(certificateFile: certificate, keyFile: key))
            }
        }
        let handshake = keys(of: map["handshake"], "handshake", built: ["timeout", "in_flight"])
        let tickets = keys(of: map["session_tickets"], "session_tickets", built: ["rotate", "key_file"])
        let stapling = keys(of: map["ocsp_stapling"], "ocsp_stapling", built: ["file", "files"])
        return TLSSettings(
            certificates: certificates,
            isStrict: boolean(map["strict_sni"], "strict_sni", default: false),
            minimumVersion: word(
                map["min_version"], "min_version", default: .tls12, ["1.2": .tls12, "1.3": .tls13]),
            handshakeTimeoutNanoseconds: duration(
                handshake["timeout"], "timeout", default: 10 * Quantity.second,
                (10 * Quantity.millisecond)...(5 * Quantity.minute)),
            handshakesInFlight: integer(handshake["in_flight"], "in_flight", default: 1_000, 1...1_000_000),
            ticketRotationNanoseconds: duration(
                tickets["rotate"], "rotate", default: 12 * Quantity.hour,
                Quantity.minute...(720 * Quantity.hour)),
            ticketKeyFile: path(tickets["key_file"], "key_file"),
            clientCertificates: clientCertificates(map["client_certificates"]),
            stapleFiles: stapleFiles(stapling),
            transportSecurity: transportSecurity(map["hsts"]))
    }

    /// One response, or one for each of several certificates.
    private mutating func stapleFiles(_ map: KeyedValues) -> [Located<String>] {
        guard let several = map["files"] else {
            return path(required("file", of: map), "file").map { [$0] } ?? []
        }
        if let one = map["file"] {
            report(at: one.place, "file and files cannot be together: files holds all")
        }
        var files: [Located<String>] = []
        for item in list(several, "files", 1...ConfigurationBounds.certificatesPerListener) {
            if let file = path(item, "files") { files.append(file) }
        }
        return files
    }

    private enum ClientMode { case none, optional, required }

    private mutating func clientCertificates(_ node: Node?) -> ClientCertificateSettings {
        let map = keys(of: node, "client_certificates", built: ["mode", "ca"])
        let authorities = path(map["ca"], "ca")
        let mode = word(
            required("mode", of: map), "mode", default: ClientMode.none,
            ["none": .none, "optional": .optional, "required": .required])
        // With `none` the file is not looked at: so that asking can be switched off without forgetting whom was asked.
        guard mode != .none else { return .none }
        guard let authorities else {
            if map["ca"] == nil { _ = required("ca", of: map) }
            return .none
        }
        return mode == .required
            ? .required(authorityFile: authorities) : .optional(authorityFile: authorities)
    }

    private mutating func transportSecurity(_ node: Node?) -> TransportSecuritySettings? {
        guard node != nil else { return nil }
        let map = keys(of: node, "hsts", built: ["max_age", "include_subdomains"])
        return TransportSecuritySettings(
            maxAgeSeconds: longDuration(required("max_age", of: map), "max_age", 0...(3650 * Quantity.day))
                / Quantity.second,
            includesSubdomains: boolean(map["include_subdomains"], "include_subdomains", default: false))
    }
}
