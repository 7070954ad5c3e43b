import Config
import Cryptography
import HTTP
import JWT
import LinuxIO
import Memory
import Proxy
import RateLimit
import Routing
import Synchronization
import TLS
import Telemetry
import Upstreams
import YAML

/// What outlives every configuration: the tables of names, the limiter, the keys of tickets.
final class Household: Sendable {
    let routes = LabelTable(capacity: LabelTable.routeCapacity)
    let services = LabelTable()
    let endpoints = LabelTable()
    let listeners = LabelTable()
    /// Names that a process may see over all of its reloads.
    static let mostIssuers = 1024
    let issuers = LabelTable(capacity: Household.mostIssuers)
    let keys = KeyStore()
    let reasons = NameTable(Refusal.allCases.map { "\($0.name)" })
    let limiter: LimitTable
    let clients: CountTable
    let inFlight: CountTable
    let tokenHash: SipHash
    /// Of each listener, by its label.
    private let tickets = Mutex<[Int: TicketKeys]>([:])

    init(limiterKeys: Int) {
        var random = Random()
        limiter = LimitTable(slots: limiterKeys, hashKey: (random.next(), random.next()))
        tokenHash = random.sipHash()
        clients = CountTable(slots: 65536, hash: random.sipHash())
        inFlight = CountTable(slots: 65536, hash: random.sipHash())
    }

    /// The keys that tickets of a listener are sealed with, whatever becomes of its configuration. `nil` when the system gives
    /// no randomness.
    func ticketKeys(of listener: String) -> TicketKeys? {
        let label = listeners.label(for: listener)
        return tickets.withLock { tickets in
            if let keys = tickets[label] { return keys }
            let keys = TicketKeys(now: Clock.monotonic())
            tickets[label] = keys
            return keys
        }
    }

    var names: AccessNames {
        AccessNames(
            routes: routes.names, services: services.names, endpoints: endpoints.names,
            listeners: listeners.names,
            reasons: reasons)
    }
}

/// A configuration with everything that it names: files read, names resolved, numbers given. From it come the workers'
/// snapshots, one each.
struct Blueprint: Sendable {
    struct Endpoint: Sendable {
        let index: Int
        let address: SocketAddress
        /// Of a socket in the file system; empty for any other.
        let path: [UInt8]
        let authority: [UInt8]
        let scheme: EndpointScheme
        /// For whom its certificate must be.
        let host: EndpointAddress.Host
    }

    /// The files of a service's `tls`.
    struct ServiceFiles: Sendable {
        var authorities: [UInt8]?
        var certificate: TLSCertificate?
    }

    /// Most bytes of one file that a configuration names.
    static let fileBytes = 1 << 20

    let configuration: Configuration
    let generation: Int
    let household: Household
    /// What a listener takes at most that does not say.
    let connectionShare: Int
    /// One an issuer.
    let keys: [KeyMaterial]
    /// By the listeners' index; `nil` on plaintext ones.
    let securities: [ListenerSecurity?]
    let endpoints: [[Endpoint]]
    let serviceFiles: [ServiceFiles]

    /// What the routes of each issuer ask for.
    let grants: [Grants]

    /// Reads files; all that is wrong is told at once, each at its place. `connections` is how many all listeners together
    /// may hold.
    init(
        _ configuration: Configuration, names: HostNames, generation: Int, household: Household,
        connections: Int, log: EventLog
    ) throws(Diagnostics) {
        var errors: [Diagnostic] = []
        func read(_ path: Located<String>, _ what: String) -> [UInt8] {
            do {
                return try Files.read(path.value, limit: Blueprint.fileBytes)
            } catch {
                errors.append(
                    Diagnostic(at: path.place, "cannot read \(what) '\(path.value)': \(error.text)"))
                return []
            }
        }
        var securities = configuration.listeners.map { listener in
            listener.tls.map { ListenerSecurity(listener, $0, &errors) }
        }
        let wall = Clock.wall()
        keys = configuration.issuers.map { issuer in
            let label = household.issuers.label(for: issuer.name.value)
            if label == LabelTable.other {
                errors.append(
                    Diagnostic(
                        at: issuer.name.place,
                        "this process has seen \(Household.mostIssuers) names of issuers, its limit; restart it"
                    ))
            }
            switch issuer.keys {
            case .file(let path):
                var material = KeyMaterial(
                    source: KeySource(issuer, cell: -1))
                // Before it is read: a change that comes between is seen as one.
                material.fileState = try? Files.state(path.value)
                material.takenWall = material.fileState?.written ?? wall
                material.bytes = read(path, "key set")
                return material
            case .url:
                let source = KeySource(issuer, cell: 2 * label)
                if var known = household.keys.material(of: source.identity) {
                    known = KeyMaterial(
                        source: source, bytes: known.bytes, takenWall: known.takenWall,
                        fileState: known.fileState, failure: known.failure)
                    return known
                }
                return KeyMaterial.cached(source, wall: wall)
            }
        }
        serviceFiles = configuration.services.map { service in
            ServiceFiles(
                authorities: service.tls?.authorityFile.map { read($0, "CA file") },
                certificate: service.tls?.certificate.map {
                    TLSCertificate(
                        chain: read($0.certificateFile, "certificate"), key: read($0.keyFile, "private key"))
                })
        }
        endpoints = configuration.services.map { service in
            var found: [Endpoint] = []
            for endpoint in service.endpoints {
                do throws(HostNames.Unresolved) {
                    found += try Blueprint.resolve(endpoint.value, names, household)
                } catch {
                    errors.append(Diagnostic(at: endpoint.place, error.text))
                }
                if found.contains(where: { $0.index == LabelTable.other }) {
                    errors.append(
                        Diagnostic(
                            at: endpoint.place,
                            "this process has seen \(ConnectionPools.tableSize) addresses, its limit; restart it"
                        ))
                }
            }
            return found
        }
        for service in configuration.services
        where household.services.label(for: service.name.value) == LabelTable.other {
            errors.append(
                Diagnostic(
                    at: service.name.place,
                    "this process has seen \(ConnectionPools.tableSize) names of services, its limit; restart it"
                ))
        }
        guard errors.isEmpty else { throw Diagnostics(file: configuration.file, errors: errors) }
        grants = configuration.issuers.indices.map { Grants(of: $0, configuration.routes) }
        for index in securities.indices {
            do throws(ListenerSecurity.Flaw) {
                try securities[index]?.judge(wallSeconds: Int64(Clock.wall() / 1_000_000_000), log)
            } catch {
                errors.append(error.diagnostic)
            }
        }
        guard errors.isEmpty else { throw Diagnostics(file: configuration.file, errors: errors) }
        self.securities = securities
        self.configuration = configuration
        self.generation = generation
        self.household = household
        connectionShare = Blueprint.share(
            of: connections, claims: configuration.listeners.map(\.connections.max?.value))
    }

    /// What each listener takes that makes no claim: an equal part of what the others leave, so that none of them fills the
    /// places that another counts on. Where hardly any are left, which is when descriptors are few, a quarter of what would be an
    /// even part of all: a listener that takes nothing serves nobody.
    static func share(of connections: Int, claims: [Int?]) -> Int {
        let silent = claims.count { $0 == nil }
        guard silent > 0 else { return connections }
        let left = connections - min(claims.compactMap { $0 }.reduce(0, +), connections)
        return max(left / silent, connections / claims.count / 4, 1)
    }

    private static func resolve(
        _ endpoint: EndpointAddress, _ names: HostNames, _ household: Household
    ) throws(HostNames.Unresolved) -> [Endpoint] {
        let addresses: [SocketAddress]
        switch endpoint.host {
        case .address(let host):
            addresses = [SocketAddress(bytes: host.mappedBytes, port: endpoint.port, isV6: !host.isIPv4)]
        case .unix(let path):
            let label = household.endpoints.label(for: "unix:\(path)")
            return [
                Endpoint(
                    index: label, address: .unix, path: Array(path.utf8),
                    authority: Array(endpoint.authority.utf8), scheme: endpoint.scheme, host: endpoint.host)
            ]
        case .name(let name):
            addresses = try names.addresses(of: name, port: endpoint.port)
        }
        return addresses.map { address in
            // The same address spoken to in another way is another endpoint.
            let scheme = endpoint.scheme == .http ? "" : endpoint.scheme.rawValue + "://"
            return Endpoint(
                index: household.endpoints.label(for: scheme + address.text), address: address, path: [],
                authority: Array(endpoint.authority.utf8), scheme: endpoint.scheme, host: endpoint.host)
        }
    }

    /// One worker's snapshot.
    func snapshot() throws(Diagnostics) -> Snapshot {
        var errors: [Diagnostic] = []
        let listeners = makeListeners(&errors)
        let issuers = makeIssuers(&errors)
        var clients = makeClients(&errors)
        guard errors.isEmpty else { throw Diagnostics(file: configuration.file, errors: errors) }
        let table: RouteTable
        do {
            table = try RouteTable(rules)
        } catch {
            let message = Blueprint.text(of: error, configuration)
            throw Diagnostics(file: configuration.file, errors: [message])
        }
        let http = configuration.http
        let limits = HeadLimits(
            requestLine: http.requestLineBytes, head: http.headBytes, fields: http.fieldCount)
        return Snapshot(
            generation: generation, table: table,
            routes: FixedArray(count: configuration.routes.count) { makeRoute(configuration.routes[$0]) },
            services: FixedArray(count: configuration.services.count) { makeService($0, &clients) },
            issuers: issuers, listeners: listeners,
            http: HTTPSettings(
                limits: limits, headTimeout: UInt64(http.headTimeoutNanoseconds),
                bodyIdleTimeout: UInt64(http.bodyIdleTimeoutNanoseconds),
                bytesPerWindow: http.minimumBodyRate.bytesPerWindow,
                rateWindow: UInt64(http.minimumBodyRate.windowNanoseconds),
                idleTimeout: UInt64(http.idleTimeoutNanoseconds),
                webSocketIdleTimeout: UInt64(http.webSocketIdleTimeoutNanoseconds), streams: http.streamCount,
                resetsPerWindow: http.resets.count, resetWindow: UInt64(http.resets.windowNanoseconds),
                mergesSlashes: configuration.mergesSlashes),
            trustedProxies: configuration.clientAddress.trustedProxies.map {
                AddressRange(high: $0.high, low: $0.low, bits: $0.lengthBits)
            },
            ipv6PrefixBits: configuration.clientAddress.ipv6PrefixBits,
            requestIDField: Array(configuration.requestID.header.utf8), requestIDAcceptance: acceptance,
            echoesRequestID: configuration.requestID.isEchoed, tracing: tracing, vouchedFields: vouchedFields)
    }

    private var tracing: TraceHandling {
        switch configuration.traceParent {
        case .propagate: .propagate
        case .generate: .generate
        case .drop: .drop
        }
    }

    private var acceptance: RequestIDAcceptance {
        switch configuration.requestID.acceptFrom {
        case .any: .anyone
        case .trustedProxies: .trustedProxies
        case .nobody: .nobody
        }
    }

    /// What only we may say to a service, on every route.
    private var vouchedFields: [[UInt8]] {
        var names = ["X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "Forwarded"]
        names.append(configuration.requestID.header)
        for issuer in configuration.issuers {
            for claim in issuer.forwardedClaims where !names.contains(claim.field) {
                names.append(claim.field)
            }
        }
        // As they are, they are known and framed the message. `Content_Length` is another field to us and to HTTP, and the
        // same to whatever stands behind CGI or WSGI, whose variables have no hyphens.
        names += ["Content-Length", "Transfer-Encoding"]
        // Dropped from heads; this drops them from trailers too.
        if configuration.traceParent == .drop { names += ["traceparent", "tracestate"] }
        return names.map { Array($0.utf8) }
    }

    private var rules: [RouteRule] {
        configuration.routes.enumerated().map { index, route in
            let listeners: [Int]
            switch route.listeners {
            case .all: listeners = []
            case .only(let chosen): listeners = chosen
            }
            return RouteRule(
                index: index, prefix: Array(route.prefix.value.utf8),
                hosts: route.hosts.map { Array(($0.isWildcard ? "*." + $0.name : $0.name).utf8) },
                listeners: listeners)
        }
    }

    private static func text(of error: RouteTableError, _ configuration: Configuration) -> Diagnostic {
        switch error {
        case .tie(let first, let second):
            let other = configuration.routes[first].name.value
            return Diagnostic(
                at: configuration.routes[second].name.place,
                "this route and '\(other)' match the same requests")
        case .badPrefix(let rule):
            return Diagnostic(at: configuration.routes[rule].prefix.place, "the prefix is not valid")
        case .badHost(let rule):
            return Diagnostic(at: configuration.routes[rule].name.place, "a host of this route is not valid")
        }
    }

    private func makeRoute(_ route: RouteSettings) -> RoutePlan {
        let issuer: Int
        switch route.authentication {
        case .none: issuer = -1
        case .issuer(let index): issuer = index
        }
        // A prefix's trailing slash is no part of what is stripped: what is left must begin with one.
        var prefix = Array(route.prefix.value.utf8)
        while prefix.last == UInt8(ascii: "/") { prefix.removeLast() }
        return RoutePlan(
            label: household.routes.label(for: route.name.value), name: Array(route.name.value.utf8),
            service: route.service, issuer: issuer,
            requirement: issuer < 0 ? GrantRequirement() : grants[issuer].requirement(route.requirement),
            scopeText: Array(route.requirement.scopes.joined(separator: " ").utf8),
            limits: makeLimits(route), concurrency: makeConcurrency(route),
            bodyLimit: route.bodyMaxBytes,
            streamLimit: route.limitsBodyItself ? route.bodyMaxBytes : .max,
            connectTimeout: UInt64(route.timeouts.connectNanoseconds),
            requestTimeout: UInt64(route.timeouts.requestNanoseconds),
            idleTimeout: UInt64(route.timeouts.idleNanoseconds),
            strippedBytes: route.stripsPrefix ? prefix.count : 0, preservesHost: route.preservesHost,
            isLogged: route.isLogged, requestEdits: Blueprint.makeEdits(route.requestFields),
            responseEdits: Blueprint.makeEdits(route.responseFields))
    }

    private static func makeEdits(_ edits: FieldEditSettings) -> FieldEdits {
        FieldEdits(
            set: edits.set.map { (Array($0.name.utf8), Array($0.value.utf8)) },
            remove: edits.removed.map { Array($0.utf8) })
    }

    private func makeService(_ index: Int, _ clients: inout [Int: TLSClientBox]) -> ServicePlan {
        let service = configuration.services[index]
        let balance: Upstreams.Balance
        switch service.balance {
        case .roundRobin: balance = .roundRobin
        case .leastRequest: balance = .leastRequest
        case .random: balance = .random
        }
        return ServicePlan(
            index: household.services.label(for: service.name.value),
            endpoints: FixedArray(count: endpoints[index].count) {
                let endpoint = endpoints[index][$0]
                return EndpointPlan(
                    index: endpoint.index, address: endpoint.address, path: endpoint.path,
                    authority: endpoint.authority, security: security(of: endpoint, service: index))
            },
            balance: balance, connectTimeout: UInt64(service.timeouts.connectNanoseconds),
            requestTimeout: UInt64(service.timeouts.requestNanoseconds),
            idleTimeout: UInt64(service.timeouts.idleNanoseconds),
            keepaliveIdle: UInt64(service.keepaliveIdleNanoseconds),
            keepaliveConnections: service.keepaliveConnections, isHTTP2: service.isHTTP2,
            tls: clients[index]?.take())
    }

    // MARK: What OpenSSL has to judge

    private func makeListeners(_ errors: inout [Diagnostic]) -> FixedArray<ListenerPlan> {
        var servers: [Int: TLSServerBox] = [:]
        for (index, security) in securities.enumerated() {
            guard let security else { continue }
            do throws(TLSSettingsError) {
                servers[index] = TLSServerBox(try security.makeServer(household))
            } catch {
                errors.append(security.flaw(error).diagnostic)
            }
        }
        return FixedArray(count: configuration.listeners.count) { index in
            let listener = configuration.listeners[index]
            return ListenerPlan(
                label: household.listeners.label(for: listener.name.value),
                name: Array(listener.name.value.utf8),
                tls: servers[index]?.take(), allowsHTTP1: listener.protocols.hasHTTP1,
                allowsHTTP2: listener.protocols.hasHTTP2,
                handshakeTimeout: UInt64(listener.tls?.handshakeTimeoutNanoseconds ?? 0),
                handshakesInFlight: listener.tls?.handshakesInFlight ?? 0,
                connectionsPerClient: listener.connections.perClient,
                requiresPreamble: listener.requiresPreamble, securePort: listener.securePort ?? 0,
                connections: listener.connections.max?.value ?? connectionShare,
                bindsAuthority: listener.tls.map { $0.isStrict || $0.clientCertificates != .none } ?? false,
                transportSecurity: Blueprint.transportSecurity(listener.tls?.transportSecurity))
        }
    }

    /// RFC 6797 §6.1.
    private static func transportSecurity(_ settings: TransportSecuritySettings?) -> [UInt8] {
        guard let settings else { return [] }
        let domains = settings.includesSubdomains ? "; includeSubDomains" : ""
        return Array("max-age=\(settings.maxAgeSeconds)\(domains)".utf8)
    }

    private func makeIssuers(_ errors: inout [Diagnostic]) -> FixedArray<IssuerPlan> {
        var plans: [IssuerPlanBox] = []
        for (index, issuer) in configuration.issuers.enumerated() {
            do {
                plans.append(
                    IssuerPlanBox(
                        try makeIssuer(
                            issuer, keys: keys[index], grants[index],
                            countedClaims: countedClaims(ofIssuer: index))))
            } catch {
                var place = issuer.name.place
                if case .file(let path) = issuer.keys { place = path.place }
                errors.append(Diagnostic(at: place, "\(error)"))
            }
        }
        guard errors.isEmpty else {
            return FixedArray(count: 0) { _ in preconditionFailure("no element is made") }
        }
        return FixedArray(count: plans.count) { plans[$0].take() }
    }

    private struct IssuerFailure: Error, CustomStringConvertible { let description: String }

    private func makeIssuer(
        _ issuer: Config.IssuerSettings, keys: KeyMaterial, _ grants: Grants, countedClaims: [String]
    ) throws(IssuerFailure) -> IssuerPlan {
        guard issuer.forwardedClaims.count + countedClaims.count <= JWT.IssuerSettings.mostForwards else {
            throw IssuerFailure(
                description:
                    "of one token at most \(JWT.IssuerSettings.mostForwards) claims can be forwarded or counted by"
            )
        }
        let keySet: KeySet
        if keys.bytes.isEmpty, keys.source.fetched != nil {
            keySet = KeySet()
        } else {
            do {
                keySet = try KeySet(file: keys.bytes.rawSpan, algorithms: issuer.signatureAlgorithms)
            } catch {
                throw IssuerFailure(description: "'\(keys.source.place.value)': \(error.description)")
            }
        }
        let settings: JWT.IssuerSettings
        do {
            settings = try issuer.tokenSettings(countedClaims: countedClaims)
        } catch {
            throw IssuerFailure(description: error.description)
        }
        return IssuerPlan(
            settings: settings.fingerprint, source: keys.source.identity, cell: keys.source.cell,
            verifier: TokenVerifier(
                settings: settings, keySet: keySet, hash: household.tokenHash, grantNames: grants.names),
            forwardNames: issuer.forwardedClaims.map { Array($0.field.utf8) }, passesToken: issuer.passesToken
        )
    }
}

// Boxes for what cannot be copied, so that it can wait in a collection.
private final class TLSServerBox {
    private var server: TLSServer?
    init(_ server: consuming TLSServer) { self.server = consume server }
    func take() -> TLSServer? { server.take() }
}

final class TLSClientBox {
    private var client: TLSClient?
    init(_ client: consuming TLSClient) { self.client = consume client }
    func take() -> TLSClient? { client.take() }
}

private final class IssuerPlanBox {
    private var plan: IssuerPlan?
    init(_ plan: consuming IssuerPlan) { self.plan = consume plan }
    func take() -> IssuerPlan {
        guard let plan = plan.take() else { preconditionFailure("a plan is taken once") }
        return plan
    }
}
