import Config
import YAML

/// Any bytes are a configuration whose promises hold, or have errors that can be shown.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ data: UnsafePointer<UInt8>, _ size: Int) -> CInt {
    let text = unsafe Array(UnsafeBufferPointer(start: data, count: size))
    switch ConfigLoader.load(text: text, file: "conf/fuzz.yaml") {
    case .success(let configuration): checkModel(configuration)
    case .failure(let diagnostics): checkErrors(diagnostics, text)
    }
    return 0
}

private func checkErrors(_ diagnostics: Diagnostics, _ text: [UInt8]) {
    precondition(!diagnostics.errors.isEmpty)
    // libyaml's breaks are LF, CR, NEL, LS and PS: no more lines than bytes, and one more.
    for error in diagnostics.errors {
        precondition((1...text.count + 2).contains(error.place.line))
        precondition((1...text.count + 2).contains(error.place.column))
        precondition(!error.message.utf8.contains { $0 < 0x20 || $0 == 0x7F })
    }
    for (earlier, later) in zip(diagnostics.errors, diagnostics.errors.dropFirst()) {
        precondition(earlier.place <= later.place)
    }
    precondition(diagnostics.description.utf8.count { $0 == UInt8(ascii: "\n") } <= Diagnostics.printedAtMost)
}

private func checkModel(_ it: Configuration) {
    precondition(!it.listeners.isEmpty && !it.routes.isEmpty)
    for listener in it.listeners {
        precondition(!listener.addresses.isEmpty)
        precondition(listener.protocols.hasHTTP1 || listener.protocols.hasHTTP2)
        if let tls = listener.tls { precondition(!tls.certificates.isEmpty) }
        if listener.securePort != nil { precondition(listener.tls == nil) }
        if listener.requiresPreamble { precondition(!it.clientAddress.trustedProxies.isEmpty) }
        for address in listener.addresses {
            guard case .unix(let path) = address.value else { continue }
            precondition(path.first == "/" && path.utf8.count <= ConfigurationBounds.socketPathBytes)
        }
    }
    precondition(it.http.requestLineBytes <= it.http.headBytes)
    precondition(ConfigurationBounds.headBytes.contains(it.http.headBytes))
    precondition(ConfigurationBounds.fields.contains(it.http.fieldCount))
    for limit in it.limits {
        precondition(ConfigurationBounds.rateCount.contains(limit.rate.count))
        precondition(limit.burst > 0 && limit.rate.windowNanoseconds / limit.rate.count > 0)
    }
    for issuer in it.issuers { precondition(!issuer.issuer.isEmpty && !issuer.audiences.isEmpty) }
    for service in it.services { precondition(!service.endpoints.isEmpty) }
    for prefix in it.clientAddress.trustedProxies { precondition((0...128).contains(prefix.lengthBits)) }
    for route in it.routes { checkRoute(route, of: it) }
    for file in it.referencedFiles {
        precondition(!file.path.value.isEmpty && !file.path.value.utf8.contains(0))
    }
}

private func checkRoute(_ route: RouteSettings, of it: Configuration) {
    precondition(route.prefix.value.utf8.first == UInt8(ascii: "/"))
    precondition(it.services.indices.contains(route.service))
    precondition(route.limits.allSatisfy(it.limits.indices.contains))
    precondition(route.limits.count <= ConfigurationBounds.limitsPerRoute)
    for edits in [route.requestFields, route.responseFields] {
        precondition(edits.set.count + edits.removed.count <= ConfigurationBounds.fieldEdits)
        for field in edits.set {
            precondition(!field.value.isEmpty && field.value.utf8.allSatisfy { (0x20...0x7E).contains($0) })
            precondition(
                !["content-length", "transfer-encoding", "connection"].contains(field.name.lowercased()))
        }
    }
    precondition(route.bodyMaxBytes >= 0 && route.timeouts.requestNanoseconds > 0)
    switch route.listeners {
    case .all: break
    case .only(let listeners):
        precondition(!listeners.isEmpty && listeners.allSatisfy(it.listeners.indices.contains))
    }
    switch route.authentication {
    // Nobody is counted who was not asked for.
    case .none: precondition(route.limits.allSatisfy { it.limits[$0].owner != .subject })
    case .issuer(let issuer): precondition(it.issuers.indices.contains(issuer))
    }
}
