/// How large the parts of a configuration may be. Each is named in the message that refuses what is beyond it.
public enum ConfigurationBounds {
    /// Of one name, and of one text that is no name.
    public static let nameBytes = 64
    public static let textBytes = 4096
    public static let workers = 1...512
    public static let listeners = 64
    public static let addressesPerListener = 16
    public static let certificatesPerListener = 256
    public static let trustedProxies = 1024
    public static let redactedFields = 64
    public static let issuers = 64
    public static let audiences = 16
    public static let requiredClaims = 16
    public static let forwardedClaims = 16
    /// Of one route, each.
    public static let requiredGrants = 16
    /// What the scopes of one route may have together: all of them stand in a field of an answer.
    public static let scopeBytes = 512
    public static let roleBytes = 256
    /// Scopes and roles of all routes of one issuer together.
    public static let grantsPerIssuer = 256
    public static let tokenBytes = 256...(48 << 10)
    /// Nanoseconds: how often a key set is fetched, how seldom for unknown keys, and how long one is kept.
    public static let keyRefresh = Quantity.second...(24 * Quantity.hour)
    public static let keyCooldown = Quantity.second...Quantity.hour
    public static let keptKeys = Quantity.second...(8760 * Quantity.hour)
    public static let limits = 256
    public static let limitsPerRoute = 8
    public static let rateCount = 1...1_000_000
    public static let concurrency = 1...1_000_000
    public static let resilienceProfiles = 256
    public static let services = 1024
    public static let endpointsPerService = 256
    /// With two workers as many take 27 MiB more than ten do, 47 MiB once a reload has had both snapshots beside each other, and 1.2
    /// KiB of counters a route and worker as they are used; a start takes 0.13 s longer, a reload 0.12 s of CPU time.
    public static let routes = 10_000
    public static let hostsPerRoute = 64
    /// A head must fit the buffers that it is read into, together with what the gateway adds to it.
    public static let headBytes = 256...(60 << 10)
    public static let bodyBytes = 0...(1 << 50)
    /// Bytes a second.
    public static let bodyRate = 1...(1 << 30)
    public static let fields = 1...200
    public static let prefixBytes = 1024
    /// What the kernel's `sockaddr_un` holds.
    public static let socketPathBytes = 107
    /// Of one route in one direction, names to be set and to be removed together.
    public static let fieldEdits = 32
    /// What they may add to a head, names and values together.
    public static let fieldEditBytes = 2048
}
