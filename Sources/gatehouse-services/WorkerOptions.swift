public import ArgumentParser
import Foundation
import ServiceKit
public import WorkerService

/// What the worker takes besides.
struct WorkerOptions: ParsableArguments {
    @Option(help: "The server that takes mails: smtp://host[:port], or smtps:// where TLS comes first.")
    var smtpURL = "smtp://127.0.0.1:25"

    @Option(help: "Whether smtp:// is to be encrypted: never, if-offered or required.")
    var smtpTLS = MailSettings.Encryption.ifOffered

    @Option(help: "The name to sign in with at the mail server.")
    var smtpUser: String?

    @Option(help: "A file with the password to it.")
    var smtpPasswordFile: String?

    @Option(help: "The sender of mails.")
    var mailFrom = "gatehouse@localhost"

    @Option(help: "Where users find the platform: begins the links in mails.")
    var publicURL = "https://localhost:8443"

    @Option(help: "What the platform is called in mails.")
    var product = "Gatehouse"

    @Flag(help: "Webhooks may go to any address, private ones too. For development.")
    var allowPrivateWebhooks = false

    @Option(
        help:
            "A range of addresses that webhooks may go to although it is not public, such as 10.1.0.0/16; repeatable."
    )
    var allowWebhooksTo: [NetworkRange] = []

    @Option(help: "How many mails are sent at once.") var mailJobs = 2
    @Option(help: "How many webhooks are sent at once.") var webhookJobs = 8
    @Option(help: "How many other jobs run at once.") var workJobs = 8
    @Option(
        help: "After so long others take the jobs of a worker that died; a living one extends its leases.")
    var leaseSeconds = 30

    func validate() throws {
        if let fault = MailSettings.fault(
            url: smtpURL, from: mailFrom, publicURL: publicURL, product: product)
        {
            throw ValidationError(fault)
        }
        guard (smtpUser == nil) == (smtpPasswordFile == nil) else {
            throw ValidationError("--smtp-user and --smtp-password-file go together")
        }
        let range = WorkerSettings.Concurrency.range
        for (count, option) in [
            (mailJobs, "--mail-jobs"), (webhookJobs, "--webhook-jobs"), (workJobs, "--work-jobs"),
        ] {
            guard range.contains(count) else {
                throw ValidationError(
                    "\(option) must be from \(range.lowerBound) to \(range.upperBound), found \(count)")
            }
        }
        let leases = WorkerSettings.leaseRange
        guard leases.contains(leaseSeconds) else {
            throw ValidationError(
                "--lease-seconds must be from \(leases.lowerBound) to \(leases.upperBound), found \(leaseSeconds)"
            )
        }
    }

    func settings(directory: URL) throws -> WorkerSettings {
        WorkerSettings(
            directory: directory,
            mail: MailSettings(
                url: smtpURL, from: mailFrom, encryption: smtpTLS, user: smtpUser, password: try password(),
                publicURL: publicURL, product: product),
            webhookAddresses: allowPrivateWebhooks ? .everything : AddressGuard(exceptions: allowWebhooksTo),
            concurrency: .init(mail: mailJobs, webhooks: webhookJobs, work: workJobs),
            leaseSeconds: leaseSeconds)
    }

    private func password() throws -> String? {
        guard let smtpPasswordFile else { return nil }
        let file = URL(filePath: smtpPasswordFile)
        do {
            return try String(contentsOf: file, encoding: .utf8).trimmingCharacters(in: .newlines)
        } catch {
            throw FileFailure(file, error)
        }
    }
}

extension MailSettings.Encryption: ExpressibleByArgument {
    public init?(argument: String) {
        switch argument {
        case "never": self = .never
        case "if-offered": self = .ifOffered
        case "required": self = .required
        default: return nil
        }
    }
}

extension NetworkRange: ExpressibleByArgument {
    public init?(argument: String) { self.init(argument) }
}
