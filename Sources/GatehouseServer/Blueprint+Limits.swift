import Config
import Memory
import Proxy
import RateLimit

// The limits of routes, as plans.
extension Blueprint {
    /// Those that are judged before the token come first; else the order is the file's.
    func makeLimits(_ route: RouteSettings) -> FixedArray<LimitPlan> {
        let limits = route.limits.map { configuration.limits[$0] }
        let ordered = limits.filter { !$0.owner.isLate } + limits.filter(\.owner.isLate)
        return FixedArray(count: ordered.count) { makeLimit(ordered[$0], route) }
    }

    private func makeLimit(_ settings: LimitSettings, _ route: RouteSettings) -> LimitPlan {
        LimitPlan(
            windows: FixedArray(count: settings.windows.count) { makeWindow($0, settings) },
            key: makeKey(settings.owner, route), isAlwaysTold: settings.fields == .always)
    }

    /// The shortest window's buckets are those of the limit's name, so that a limit to which a longer one is added goes on
    /// with what it has; the others' are of the name with the window's length.
    private func makeWindow(_ index: Int, _ settings: LimitSettings) -> LimitWindow {
        let window = settings.windows[index]
        let seconds = max(window.rate.windowNanoseconds / 1_000_000_000, 1)
        let own = Array("\(settings.name.value)-\(seconds)s".utf8)
        let plain = Array(settings.name.value.utf8)
        let name = index == 0 ? plain : own + Array("#".utf8)
        let limit = household.limiter.limit(
            name: name.rawSpan, count: window.rate.count, periodSeconds: seconds, burst: window.burst)
        return LimitWindow(limit: limit, name: settings.windows.count == 1 ? plain : own)
    }

    private func makeKey(_ owner: LimitOwner, _ route: RouteSettings) -> LimitKey {
        switch owner {
        case .client: LimitKey(.client)
        case .subject: LimitKey(.subject)
        case .consumer: LimitKey(.consumer)
        case .route: LimitKey(.route)
        case .certificate: LimitKey(.certificate)
        case .header(let name): LimitKey(.header, field: Array(name.utf8))
        case .claim(let name): LimitKey(.claim, claim: index(ofClaim: name, route))
        }
    }

    func makeConcurrency(_ route: RouteSettings) -> ConcurrencyPlan {
        guard let settings = route.concurrency else { return ConcurrencyPlan() }
        let name = Array(route.name.value.utf8)
        return ConcurrencyPlan(
            most: settings.max, key: makeKey(settings.owner, route),
            hash: household.inFlight.hash(name: name.rawSpan))
    }

    // MARK: Claims

    /// The claims that limits of an issuer's routes count by and that are not kept for a field anyway.
    func countedClaims(ofIssuer issuer: Int) -> [String] {
        var names: [String] = []
        for route in configuration.routes where route.authentication == .issuer(issuer) {
            let owners = route.limits.map { configuration.limits[$0].owner }
            for case .claim(let name) in owners + [route.concurrency?.owner].compactMap({ $0 })
            where !names.contains(name) { names.append(name) }
        }
        let forwarded = configuration.issuers[issuer].forwardedClaims
        return names.filter { name in !forwarded.contains { $0.claim == name } }
    }

    /// Where the issuer of a route keeps a claim's value; -1 where nobody is asked for a token.
    private func index(ofClaim name: String, _ route: RouteSettings) -> Int {
        guard case .issuer(let issuer) = route.authentication else { return -1 }
        let kept =
            configuration.issuers[issuer].forwardedClaims.map(\.claim) + countedClaims(ofIssuer: issuer)
        return kept.firstIndex(of: name) ?? -1
    }
}

extension LimitOwner {
    /// Whether it is known only when the token is.
    fileprivate var isLate: Bool {
        switch self {
        case .client, .route, .certificate, .header: false
        case .subject, .consumer, .claim: true
        }
    }
}
