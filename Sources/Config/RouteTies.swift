/// Finds routes that nothing puts in order: same host (or both none), same prefix, and a listener in common.
struct RouteTies {
    private struct Key: Hashable {
        let host: HostPattern?
        let prefix: String
    }

    /// Who has a key: one route for all listeners, one for each listener, and any of them.
    private struct Owners {
        var all: String?
        var byListener: [Int: String] = [:]
        var any: String?
    }

    private var owners: [Key: Owners] = [:]

    /// The name of an earlier route that this one ties with.
    mutating func add(_ route: RouteSettings) -> String? {
        let hosts: [HostPattern?] = route.hosts.isEmpty ? [nil] : route.hosts
        var tied: String?
        for host in hosts {
            let key = Key(host: host, prefix: route.prefix.value)
            var known = owners[key] ?? Owners()
            switch route.listeners {
            case .all:
                tied = tied ?? known.any
                known.all = route.name.value
            case .only(let listeners):
                tied = tied ?? known.all
                for listener in listeners {
                    let other = known.byListener.updateValue(route.name.value, forKey: listener)
                    tied = tied ?? other
                }
            }
            known.any = route.name.value
            owners[key] = known
        }
        return tied
    }
}
