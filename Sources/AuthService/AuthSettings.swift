public import Foundation
public import ServiceKit

/// Settings of the auth service.
public struct AuthSettings: Sendable {
    public var directory: URL
    /// The `iss` of its tokens, and what the addresses in its metadata begin with.
    public var issuer: String
    /// The `aud` of its tokens.
    public var audience: String
    /// What other services show in order to introspect tokens; `nil`: nobody may.
    public var serviceToken: ServiceToken?
    /// How many passwords are hashed at once, and how many wait.
    public var hashingThreads: Int
    public var hashingQueueLimit: Int
    /// Wrong passwords of one account from one address, and of one address.
    public var accountGuesses: AttemptRule
    public var addressGuesses: AttemptRule
    /// New accounts from one address.
    public var registrations: AttemptRule
    /// Letters for a new password that are asked for from one address.
    public var letterRequests: AttemptRule
    /// Tokens out of letters that are shown from one address.
    public var redemptions: AttemptRule
    /// Events and jobs that may wait for the bus; above it nobody is registered.
    public var outboxLimit: Int
    /// The wall clock, Unix time in milliseconds.
    public var clock: @Sendable () -> Int64

    public init(
        directory: URL, issuer: String, audience: String, serviceToken: ServiceToken? = nil,
        hashingThreads: Int = 2, hashingQueueLimit: Int = 64,
        accountGuesses: AttemptRule = AttemptRule(burst: 5, secondsEach: 30),
        addressGuesses: AttemptRule = AttemptRule(burst: 30, secondsEach: 4),
        registrations: AttemptRule = AttemptRule(burst: 50, secondsEach: 5),
        letterRequests: AttemptRule = AttemptRule(burst: 20, secondsEach: 30),
        redemptions: AttemptRule = AttemptRule(burst: 30, secondsEach: 4),
        outboxLimit: Int = 100_000,
        clock: @escaping @Sendable () -> Int64 = { Timestamp.now }
    ) {
        self.directory = directory
        self.issuer = issuer
        self.audience = audience
        self.serviceToken = serviceToken
        self.hashingThreads = hashingThreads
        self.hashingQueueLimit = hashingQueueLimit
        self.accountGuesses = accountGuesses
        self.addressGuesses = addressGuesses
        self.registrations = registrations
        self.letterRequests = letterRequests
        self.redemptions = redemptions
        self.outboxLimit = outboxLimit
        self.clock = clock
    }
}
