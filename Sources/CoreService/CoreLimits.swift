public import Backbone

/// How much the service keeps, for everybody and for one account. Each has its answer when it is reached.
public struct CoreLimits: Sendable {
    /// Changes are refused with 503 while so many events and jobs wait for the backbone.
    public var outbox: Int
    /// The same, for the bytes of them.
    public var outboxBytes: Int
    /// More are refused with 403.
    public var documentsPerOwner: Int
    /// Keyed requests of one account that are remembered; more are refused with 429.
    public var keysPerOwner: Int
    /// Keyed requests of everybody that are remembered, about 300 bytes each; more are refused with 503.
    public var keys: Int

    public init(
        outbox: Int = Outbox.standardLimit, outboxBytes: Int = Outbox.standardLimitBytes,
        documentsPerOwner: Int = 100_000, keysPerOwner: Int = 10_000, keys: Int = 200_000
    ) {
        self.outbox = outbox
        self.outboxBytes = outboxBytes
        self.documentsPerOwner = documentsPerOwner
        self.keysPerOwner = keysPerOwner
        self.keys = keys
    }
}
