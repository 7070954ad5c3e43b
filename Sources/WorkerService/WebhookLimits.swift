/// Bounds of webhooks. Each has its answer when it is reached.
struct WebhookLimits: Sendable {
    /// However long a receiver asks us to wait by `Retry-After`, it is asked again after so long: as after the longest pause of
    /// our own.
    static let longestWaitSeconds: Int64 = 86_400

    /// What waited for a receiver to come back is sent within so long after that.
    static let longestSpread: Duration = .seconds(60)

    /// More are refused with 403.
    var endpointsPerOwner = 20
    /// Of everybody; more are refused with 503.
    var endpoints = 100_000
    var descriptionBytes = 256
    /// Attempts that are remembered of one endpoint, and of all; the oldest go first.
    var deliveriesPerEndpoint = 200
    var deliveries = 200_000
    /// An endpoint may be tried out by hand once in so long; sooner is refused with 429.
    var testPauseMilliseconds: Int64 = 1_000
    /// The secret before goes on signing for so long after a change.
    var previousSecretMilliseconds: Int64 = 24 * 3_600_000
    /// An endpoint that has failed for so long without a success is disabled,
    var failingMilliseconds: Int64 = 5 * 86_400_000
    /// provided that it failed so often: a message a week that went wrong twice says little.
    var failures = 10
}
