import Config
import Memory
import TLS
import Upstreams

// The security of connections to services.
extension Blueprint {
    /// One client of TLS for each service that has an endpoint with it, by the service's index.
    func makeClients(_ errors: inout [Diagnostic]) -> [Int: TLSClientBox] {
        var clients: [Int: TLSClientBox] = [:]
        for (index, service) in configuration.services.enumerated()
        where endpoints[index].contains(where: { $0.scheme.hasTLS }) {
            let settings = TLSClientSettings(
                authorities: serviceFiles[index].authorities, certificate: serviceFiles[index].certificate,
                applicationProtocol: service.isHTTP2 ? .h2 : .http11, endpoints: endpoints[index].count)
            do throws(TLSSettingsError) {
                clients[index] = TLSClientBox(try TLSClient(settings))
            } catch {
                errors.append(Blueprint.text(of: error, service))
            }
        }
        return clients
    }

    private static func text(of error: TLSSettingsError, _ service: ServiceSettings) -> Diagnostic {
        let file: Located<String>?
        switch error {
        case .badKey, .keyDoesNotFit: file = service.tls?.certificate?.keyFile
        case .badCertificate, .noNames, .repeatedName: file = service.tls?.certificate?.certificateFile
        case .badAuthorities: file = service.tls?.authorityFile
        case .noCertificates, .refused: file = nil
        }
        guard let file else { return Diagnostic(at: service.name.place, error.reason) }
        return Diagnostic(at: file.place, "'\(file.value)': \(error.reason)")
    }

    /// For whom an endpoint's certificate must be, and a fingerprint of all that its connections are agreed on with.
    func security(of endpoint: Endpoint, service index: Int) -> EndpointSecurity {
        guard endpoint.scheme.hasTLS else { return .none }
        let files = serviceFiles[index]
        let name: [UInt8]
        let isAddress: Bool
        switch configuration.services[index].tls?.serverName ?? endpoint.host {
        case .address(let address):
            name = address.networkBytes
            isAddress = true
        case .name(let text):
            name = Array(text.utf8)
            isAddress = false
        case .unix:
            // Spoken to in clear, whatever the service's other endpoints do.
            return .none
        }
        var identity: UInt64 = isAddress ? 1 : 2
        for part in [
            name, files.authorities ?? [], files.certificate?.chain ?? [], files.certificate?.key ?? [],
        ] {
            identity = household.tokenHash.hash128(prefix: identity, part.rawSpan).0
        }
        // 0 means that there is none.
        return EndpointSecurity(identity: identity | 1, serverName: name, isAddress: isAddress)
    }
}
