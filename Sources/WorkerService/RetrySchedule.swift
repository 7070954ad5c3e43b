internal import Backbone

/// How long a job waits after each of its failures.
struct RetrySchedule: Sendable {
    let pauses: [Duration]

    /// So many failures make a job of this schedule dead: it is tried once more after each pause.
    var failureLimit: Int { min(pauses.count + 1, JobLimits.failuresRange.upperBound) }

    /// `failures`: Before this one. Less up to a fifth by chance, so that what failed together does not come back together.
    func pause(after failures: Int) -> Duration {
        guard let last = pauses.last else { return .zero }
        let full = failures < pauses.count ? pauses[max(0, failures)] : last
        return full * Double.random(in: 0.8...1)
    }

    /// What the Standard Webhooks specification suggests: over three days, since receivers are mended by people.
    static let webhooks = RetrySchedule(pauses: [
        .seconds(5), .seconds(300), .seconds(1_800), .seconds(7_200), .seconds(18_000), .seconds(36_000),
        .seconds(50_400), .seconds(72_000), .seconds(86_400),
    ])

    /// Nearly a day. RFC 5321 §4.5.4.1 wants half an hour between attempts at a server far away; the first ones come sooner,
    /// because this server is our own, and people wait for such mails.
    static let mails = RetrySchedule(pauses: [
        .seconds(5), .seconds(30), .seconds(120), .seconds(600), .seconds(1_800), .seconds(3_600),
        .seconds(7_200), .seconds(14_400), .seconds(14_400), .seconds(14_400), .seconds(14_400),
    ])
}
