internal import Backbone
public import Foundation

/// What the operator says of the worker.
public struct WorkerSettings: Sendable {
    /// How many jobs of each queue run at once. Each queue has places of its own: mails go out while webhooks wait for
    /// slow receivers.
    public struct Concurrency: Sendable {
        public static let range = 1...64

        public var mail: Int
        public var webhooks: Int
        public var work: Int

        public init(mail: Int = 2, webhooks: Int = 8, work: Int = 8) {
            self.mail = mail
            self.webhooks = webhooks
            self.work = work
        }
    }

    /// Where the store is.
    public var directory: URL
    public var mail: MailSettings
    /// Which addresses webhooks may reach.
    public var webhookAddresses: AddressGuard
    public var concurrency: Concurrency
    /// A worker that dies leaves the jobs in its hands to others after so long.
    public var leaseSeconds: Int

    public static let leaseRange = JobLimits.leaseSeconds

    public init(
        directory: URL, mail: MailSettings, webhookAddresses: AddressGuard = AddressGuard(),
        concurrency: Concurrency = Concurrency(), leaseSeconds: Int = 30
    ) {
        self.directory = directory
        self.mail = mail
        self.webhookAddresses = webhookAddresses
        self.concurrency = concurrency
        self.leaseSeconds = leaseSeconds
    }
}
